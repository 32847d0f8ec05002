//! Where a debugged script stops: the client's requests, until one of them lets it go on.

use super::session::{NoRequest, Session};
use super::show;
use crate::lua::engine::Engine;
use crate::lua::error::{LibError, plain_text};
use mlua::debug::{Debug, DebugEvent};
use mlua::{Function, HookTriggers, Lua, MultiValue, Table, Value, VmState};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Lines that `list` shows before and behind the present one.
const CONTEXT: usize = 5;
/// So many instructions are executed between two looks at the clock.
const INSTRUCTIONS: u32 = 100_000;
/// A script that runs for so long, if there is no `busy-reply-threshold`, may be in an endless loop.
const LONG: Duration = Duration::from_secs(5);

type Shared = Rc<RefCell<Session>>;

/// A script that stands still.
struct Stop<'a> {
    lua: &'a Lua,
    session: &'a Shared,
    env: &'a Table,
    locals: &'a Function,
}

/// What the client wants.
enum Then {
    Ask,
    GoOn,
}

/// Has a session be asked at each line of the scripts that run in this state.
///
/// # Errors
/// If there is no memory for it.
pub fn watch_lines(engine: &Engine, session: &Shared, threshold_ms: u64) -> mlua::Result<()> {
    let locals: Function =
        engine.lua.load(include_str!("locals.lua")).set_name("=debugger").call(())?;
    let (session, env) = (Rc::clone(session), engine.env.clone());
    let patience = if threshold_ms == 0 { LONG } else { Duration::from_millis(threshold_ms) };
    let since = Cell::new(Instant::now());
    let triggers = HookTriggers::EVERY_LINE.every_nth_instruction(INSTRUCTIONS);
    engine.lua.set_global_hook(triggers, move |lua, debug| {
        let (true, Some(line)) = (is_scripts(debug), debug.current_line()) else {
            return Ok(VmState::Continue);
        };
        let reason = session.borrow_mut().reach(line);
        let late = debug.event() == DebugEvent::Count && reason.is_none();
        let reason = match reason {
            None if late && since.get().elapsed() >= patience => {
                "timeout reached, infinite loop?".to_string()
            }
            None => return Ok(VmState::Continue),
            Some(reason) => reason,
        };
        session.borrow_mut().stop(&reason);
        let stop = Stop { lua, session: &session, env: &env, locals: &locals };
        let alone = stop.serve()?;
        if alone && late {
            // Nobody is left who could end it.
            return Err(raised("timeout during Lua debugging with client closing connection"));
        }
        since.set(Instant::now());
        Ok(VmState::Continue)
    })
}

/// Whether it is a line of the script.
fn is_scripts(debug: &Debug) -> bool {
    debug.source().short_src.is_some_and(|name| name.contains("user_script"))
}

fn raised(text: &str) -> mlua::Error {
    mlua::Error::external(LibError::table(format!("ERR {text}")))
}

impl Stop<'_> {
    /// Serves requests until the script is to go on; answers whether the client has gone.
    fn serve(&self) -> mlua::Result<bool> {
        loop {
            // Bound to a name: the session must not be borrowed while a request is served.
            let request = self.session.borrow_mut().next_request();
            let words = match request {
                Ok(words) => words,
                Err(NoRequest::Gone) => {
                    self.session.borrow_mut().let_run();
                    return Ok(true);
                }
                Err(NoRequest::Nonsense(why)) => return Err(raised(why)),
            };
            match self.obey(&words)? {
                Then::Ask => self.session.borrow_mut().send(),
                Then::GoOn => return Ok(false),
            }
        }
    }

    fn obey(&self, words: &[Vec<u8>]) -> mlua::Result<Then> {
        let (name, args) = (words[0].to_ascii_lowercase(), &words[1..]);
        let session = || self.session.borrow_mut();
        match &name[..] {
            b"h" | b"help" => session().log_help(),
            b"s" | b"step" | b"n" | b"next" => {
                session().set_stepping(true);
                return Ok(Then::GoOn);
            }
            b"c" | b"continue" => return Ok(Then::GoOn),
            b"t" | b"trace" => self.trace(),
            b"m" | b"maxlen" => session().set_max_len(args),
            b"b" | b"break" => session().set_breakpoints(args),
            b"e" | b"eval" => self.eval(&args.join(&b' ')),
            b"a" | b"abort" => return Err(raised("script aborted for user request")),
            b"r" | b"redis" | b"v" | b"valkey" | b"server" if !args.is_empty() => {
                self.call(args)?
            }
            b"p" | b"print" => match args {
                [name] => self.print(name)?,
                _ => self.print_all()?,
            },
            b"l" | b"list" => {
                let number =
                    |at: usize| std::str::from_utf8(args.get(at)?).ok()?.parse::<usize>().ok();
                let mut session = session();
                let around = number(0).filter(|line| *line > 0).unwrap_or(session.line());
                session.list(around, number(1).unwrap_or(CONTEXT));
            }
            b"w" | b"whole" => session().list(1, usize::MAX),
            _ => session().log_unknown_command(),
        }
        Ok(Then::Ask)
    }

    /// Shows who called whom.
    fn trace(&self) {
        for level in 0.. {
            let place = self.lua.inspect_stack(level, |debug| {
                let line = debug.current_line().filter(|_| is_scripts(debug))?;
                let name = debug.names().name.map(|name| name.into_owned());
                Some((name.unwrap_or_else(|| "top level".to_string()), line))
            });
            match place {
                None => break,
                Some(None) => {}
                Some(Some((name, line))) => {
                    let mut session = self.session.borrow_mut();
                    let how = if level == 0 { "In" } else { "From" };
                    session.log(format!("{how} {name}:").into_bytes());
                    session.log_source_line(line);
                }
            }
        }
    }

    /// Executes code of the client's as an expression, or as statements.
    fn eval(&self, code: &[u8]) {
        let compiled = |code: Vec<u8>| {
            let chunk = self.lua.load(code).set_name("@ldb_eval");
            chunk.set_environment(self.env.clone()).into_function()
        };
        let function = compiled([b"return ", code].concat()).or_else(|_| compiled(code.to_vec()));
        let outcome = function.and_then(|function| function.call::<Value>(()));
        let mut session = self.session.borrow_mut();
        match outcome {
            Ok(value) => session.log_trimmed(show::value("<retval> ", &value)),
            Err(error) => session.log([b"<error> ", &plain_text(&error)[..]].concat()),
        }
    }

    /// Calls a command as the script would; what it is and answers is shown.
    fn call(&self, args: &[Vec<u8>]) -> mlua::Result<()> {
        let redis: Table = self.env.get("redis")?;
        let call: Function = redis.get("call")?;
        let mut values = MultiValue::new();
        for arg in args {
            values.push_back(Value::String(self.lua.create_string(arg)?));
        }
        self.session.borrow_mut().set_stepping(true);
        // An error has been shown.
        let _ = call.call::<Value>(values);
        self.session.borrow_mut().set_stepping(false);
        Ok(())
    }

    /// Names and values of the local variables of a function on the stack; `None`: there is no such function.
    fn locals_at(&self, level: usize) -> mlua::Result<Option<Vec<(String, Value)>>> {
        let (names, values): (Option<Vec<String>>, Option<Table>) = self.locals.call(level)?;
        let (Some(names), Some(values)) = (names, values) else { return Ok(None) };
        let value = |(i, name): (usize, String)| Ok((name, values.raw_get(i + 1)?));
        names.into_iter().enumerate().map(value).collect::<mlua::Result<_>>().map(Some)
    }

    fn print_all(&self) -> mlua::Result<()> {
        let locals = self.locals_at(0)?.unwrap_or_default();
        let mut session = self.session.borrow_mut();
        let mut any = false;
        for (name, value) in locals.iter().filter(|(name, _)| !name.contains("(*temporary)")) {
            session.log_trimmed(show::value(&format!("<value> {name} = "), value));
            any = true;
        }
        if !any {
            session.log(b"No local variables in the current context.".to_vec());
        }
        Ok(())
    }

    /// Shows a variable of the innermost function that has it.
    fn print(&self, wanted: &[u8]) -> mlua::Result<()> {
        let mut found = None;
        for level in 0.. {
            let Some(locals) = self.locals_at(level)? else { break };
            found = locals.into_iter().find(|(name, _)| name.as_bytes() == wanted);
            if found.is_some() {
                break;
            }
        }
        let value = match (found, wanted) {
            (Some((_, value)), _) => Some(value),
            (None, b"KEYS") => Some(self.env.get("KEYS")?),
            (None, b"ARGV") => Some(self.env.get("ARGV")?),
            (None, _) => None,
        };
        let mut session = self.session.borrow_mut();
        match value {
            Some(value) => session.log_trimmed(show::value("<value> ", &value)),
            None => session.log(b"No such variable.".to_vec()),
        }
        Ok(())
    }
}
