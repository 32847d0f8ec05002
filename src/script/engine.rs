//! A Lua state in which scripts run: what it starts with, and what is reached of it from outside.
#![forbid(unsafe_code)]

use super::args::{Args, LibError, LibResult, caught, library, one, plain_text};
use super::run::{CurrentServer, natives};
use super::value::error_text;
use super::{bit, cjson, cmsgpack, pack, random};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::REDIS_VERSION;
use crate::sys::lua::state_with_debug;
use mlua::chunk::ChunkMode;
use mlua::debug::DebugSource;
use mlua::{
    Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, RegistryKey, StdLib, Table,
    Value, VmState,
};
use sha1::{Digest, Sha1};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// What the chunks of the server's own are called; errors are never reported there.
const PRELUDE: &str = "prelude";
/// So many instructions are executed between two looks at the clock.
const INSTRUCTIONS: u32 = 100_000;

/// A function that outlives a command. It is in Lua's registry: what the binding itself refers to is on a stack of its
/// own, which has room for some 8,000 values.
pub type Kept = Rc<RegistryKey>;

/// What a Lua state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Scripts that are given with `EVAL`.
    Scripts,
    /// Libraries of functions, which are loaded before they are called.
    Libraries,
    /// One script, line by line.
    Debugging,
}

/// A Lua state, made ready by `prelude.lua`.
pub struct Engine {
    pub lua: Lua,
    /// The globals that scripts see.
    pub env: Table,
    /// Calls a function with keys and arguments, a script with these as globals; answers whether it went well, and its
    /// result or the error.
    pub run: Function,
    /// Whom scripts call.
    pub current: CurrentServer,
    /// Says that a library is being loaded, and who takes its functions.
    pub bind_library: Function,
    /// Runs the code of a library; answers the text of its error, if it has one.
    pub load: Function,
    /// From then on the server is asked regularly whether to go on.
    alarm: Rc<Cell<Option<Instant>>>,
    interrupt: Function,
    interrupted: Rc<Cell<bool>>,
}

impl Engine {
    /// # Errors
    /// If there is no memory for it.
    pub fn new(purpose: Purpose) -> mlua::Result<Engine> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        // Without the panic-catching `pcall`: nothing here panics, and Lua's own is faster.
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = match purpose {
            Purpose::Debugging => state_with_debug(libs, options),
            _ => Lua::new_with(libs, options)?,
        };
        let current = CurrentServer::default();
        let prelude: Table =
            lua.load(include_str!("prelude.lua")).set_name(format!("={PRELUDE}")).call((
                native_functions(&lua, &current)?,
                libraries(&lua)?,
                constants(&lua)?,
                purpose == Purpose::Libraries,
            ))?;
        let engine = Engine {
            env: prelude.raw_get("env")?,
            run: prelude.raw_get("run")?,
            current,
            bind_library: prelude.raw_get("bind_library")?,
            load: prelude.raw_get("load")?,
            alarm: Rc::default(),
            interrupt: prelude.raw_get("interrupt")?,
            interrupted: Rc::default(),
            lua,
        };
        engine.watch_clock()?;
        Ok(engine)
    }

    /// A state that several know of.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn shared(purpose: Purpose) -> CommandResult<Rc<Engine>> {
        Engine::new(purpose).map(Rc::new).map_err(no_state)
    }

    /// From that time on the server is asked, again and again while a script runs. If that is an
    /// error, the script is ended by it.
    pub fn set_alarm(&self, at: Option<Instant>) {
        self.alarm.set(at);
    }

    /// The script has ended.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn clear_alarm(&self) -> mlua::Result<()> {
        self.alarm.set(None);
        if self.interrupted.replace(false) { self.watch_clock() } else { Ok(()) }
    }

    fn watch_clock(&self) -> mlua::Result<()> {
        let (alarm, interrupted) = (Rc::clone(&self.alarm), Rc::clone(&self.interrupted));
        let interrupt = self.interrupt.clone();
        let triggers = HookTriggers::new().every_nth_instruction(INSTRUCTIONS);
        self.lua.set_global_hook(triggers, move |lua, _| {
            if alarm.get().is_none_or(|at| Instant::now() < at) {
                return Ok(VmState::Continue);
            }
            let Err(error) = interrupt.call::<()>(()) else { return Ok(VmState::Continue) };
            // Not as the error of a call that scripts know nothing of.
            let own = error.downcast_ref::<LibError>().cloned();
            let error = own.map_or(error, mlua::Error::external);
            interrupted.set(true);
            // A script that catches errors catches this one too, but gets no further than a line.
            let again = error.clone();
            lua.set_global_hook(HookTriggers::EVERY_LINE, move |_, _| Err(again.clone()))?;
            Err(error)
        })
    }

    /// Compiles a script. Its name is what errors call it.
    ///
    /// # Errors
    /// Lua's message.
    pub fn compile(&self, script: &[u8], name: &str) -> Result<Kept, String> {
        let chunk = self.lua.load(script).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
        let function = chunk.set_environment(self.env.clone()).into_function();
        function.and_then(|function| self.keep(function)).map_err(|error| plain_text(&error))
    }

    /// Keeps a function until its last owner lets it go.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn keep(&self, function: Function) -> mlua::Result<Kept> {
        self.lua.create_registry_value(function).map(Rc::new)
    }

    /// Lets Lua free the functions that nobody keeps any more. Otherwise it can when others take their places.
    pub fn free_dropped(&self) {
        self.lua.expire_registry_values();
    }
}

/// What a client hears if there is no Lua state for it.
pub fn no_state(error: mlua::Error) -> CommandError {
    CommandError::err(format_args!("Can't make a Lua state: {}", plain_text(&error)))
}

/// What `prelude.lua` needs that Lua has not.
fn native_functions(lua: &Lua, current: &CurrentServer) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("server", natives(lua, current)?)?;
    table.set("where", lua.create_function(|lua, ()| place_of_error(lua))?)?;
    table.set("caught", lua.create_function(caught)?)?;
    let text = |lua: &Lua, text: LuaString| lua.create_string(error_text(&text.as_bytes()));
    table.set("error_text", lua.create_function(text)?)?;
    Ok(table)
}

/// The source and line of the innermost function on the stack that is a script's.
fn place_of_error(lua: &Lua) -> mlua::Result<MultiValue> {
    for level in 1.. {
        let place = lua.inspect_stack(level, |debug| {
            let DebugSource { source, what, .. } = debug.source();
            let source = source.filter(|s| what != "C" && s.starts_with('@'))?;
            Some((source.into_owned(), debug.current_line()?))
        });
        match place {
            None => break,
            Some(None) => {}
            Some(Some((source, line))) => {
                let values =
                    [Value::String(lua.create_string(source)?), Value::Integer(line as i64)];
                return Ok(MultiValue::from_iter(values));
            }
        }
    }
    Ok(MultiValue::new())
}

fn sha1hex(lua: &Lua, args: &Args) -> LibResult {
    if args.len() != 1 {
        return Err(LibError::table("ERR wrong number of arguments"));
    }
    let text = lua.coerce_string(args.get(0).clone())?;
    let text = text.as_ref().map(LuaString::as_bytes);
    one(Value::String(lua.create_string(sha1_hex(text.as_deref().unwrap_or_default()))?))
}

/// The SHA1 of bytes in hexadecimal digits.
pub fn sha1_hex(bytes: &[u8]) -> [u8; 40] {
    let mut hex = [0; 40];
    for (two, byte) in hex.chunks_exact_mut(2).zip(Sha1::digest(bytes)) {
        two.copy_from_slice(
            &[byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[digit as usize]),
        );
    }
    hex
}

fn libraries(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("math", random::library(lua)?)?;
    table.set("bit", library(lua, bit::FUNCTIONS)?)?;
    table.set("struct", library(lua, pack::FUNCTIONS)?)?;
    table.set("cmsgpack", library(lua, cmsgpack::FUNCTIONS)?)?;
    table.set("cjson", cjson::library(lua)?)?;
    table.set("redis", library(lua, &[("sha1hex", sha1hex)])?)?;
    Ok(table)
}

fn constants(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let redis = lua.create_table()?;
    redis.set("REDIS_VERSION", REDIS_VERSION)?;
    redis.set("REDIS_VERSION_NUM", version_number(REDIS_VERSION))?;
    for (level, name) in
        ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].iter().enumerate()
    {
        redis.set(*name, level)?;
    }
    for (name, targets) in
        [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)]
    {
        redis.set(name, targets)?;
    }
    table.set("redis", redis)?;
    table.set("cmsgpack", cmsgpack::constants(lua)?)?;
    Ok(table)
}

/// `a.b.c` as one number, a byte for each part.
fn version_number(version: &str) -> u32 {
    version.split('.').fold(0, |number, part| number << 8 | part.parse().unwrap_or(0))
}
