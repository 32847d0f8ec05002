//! A Lua state in which scripts run: what it starts with, and what is reached of it from outside.

use super::args::{Args, caught, guarded, library, native};
use super::error::{LibError, LibResult, PRELUDE, plain_text};
use super::guard::{BYTES_A_STEP, Guard, Interrupt, PIECE_BYTES};
use super::value::error_text;
use super::{bit, cjson, cmsgpack, pack, random, text};
use crate::resp::error::{CommandError, CommandResult};
use crate::sys::lent::Lent;
use crate::sys::lua::state_with_debug;
use crate::sys::lua_stack::Stack;
use mlua::chunk::ChunkMode;
use mlua::debug::DebugSource;
use mlua::{Function, Lua, LuaOptions, LuaString, MultiValue, RegistryKey, StdLib, Table, Value};
use sha1::{Digest, Sha1};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// A function that outlives a command. It is in Lua's registry: what the binding itself refers to is on a stack of its
/// own, which has room for some 8,000 values.
pub type LuaRef = Rc<RegistryKey>;

/// What whoever runs a script lends to its functions while it runs.
pub type CurrentRun = Rc<Loan>;

/// A server, and the script that it runs.
#[derive(Default)]
pub struct Loan {
    server: Lent<dyn Any>,
    run: Lent<dyn Any>,
}

impl Loan {
    /// Lends both while `act` runs.
    pub fn lend<T>(&self, server: &mut impl Any, run: &mut impl Any, act: impl FnOnce() -> T) -> T {
        self.server.lend(server, || self.run.lend(run, act))
    }

    /// Borrows both; `None` if no script runs, or they are in use.
    pub fn borrow<S: Any, R: Any, T>(&self, act: impl FnOnce(&mut S, &mut R) -> T) -> Option<T> {
        let of_both = |server: &mut dyn Any| {
            let server = server.downcast_mut()?;
            self.run.borrow(|run| Some(act(server, run.downcast_mut()?))).flatten()
        };
        self.server.borrow(of_both).flatten()
    }
}

/// What whoever runs scripts lends to a Lua state.
#[derive(Clone, Copy)]
pub struct Host {
    /// Makes the functions by which scripts reach the server that runs them.
    pub natives: fn(&Lua, &CurrentRun) -> mlua::Result<Table>,
    /// Lets others be served in the midst of the script that runs; an error: it is to end.
    pub interrupt: fn(&CurrentRun) -> LibResult,
}

#[cfg(test)]
impl Host {
    /// Scripts that call nobody.
    pub(crate) fn nobody() -> Host {
        Host { natives: |lua, _| lua.create_table(), interrupt: |_| Ok(()) }
    }
}

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
    /// What holds the scripts.
    pub guard: Guard,
    /// The globals that scripts see.
    pub env: Table,
    /// The table behind it.
    globals: RegistryKey,
    /// Makes a table of an error that a script did not catch, with its place.
    traced: RegistryKey,
    /// Has scripts see a version.
    show_version: Function,
    shown_version: RefCell<String>,
    /// What scripts call.
    pub current: CurrentRun,
    /// Says that a library is being loaded, and who takes its functions.
    pub bind_library: Function,
    /// Runs the code of a library; answers the text of its error, if it has one.
    pub load: Function,
    /// Has the server that runs a script serve others.
    interrupt: Interrupt,
    purpose: Purpose,
}

impl Engine {
    /// # Errors
    /// If there is no memory for it.
    pub fn new(purpose: Purpose, host: Host) -> mlua::Result<Engine> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        // Without the panic-catching `pcall`: nothing here panics, and Lua's own is faster.
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = match purpose {
            Purpose::Debugging => state_with_debug(libs, options),
            _ => Lua::new_with(libs, options)?,
        };
        let guard = Guard::new(&lua)?;
        let current = CurrentRun::default();
        let server = Rc::clone(&current);
        let prelude: Table =
            lua.load(include_str!("prelude.lua")).set_name(format!("={PRELUDE}")).call((
                native_functions(&lua, (host.natives)(&lua, &current)?)?,
                libraries(&lua)?,
                constants(&lua)?,
                purpose == Purpose::Libraries,
            ))?;
        Ok(Engine {
            env: prelude.raw_get("env")?,
            globals: lua.create_registry_value(prelude.raw_get::<Table>("globals")?)?,
            traced: lua.create_registry_value(prelude.raw_get::<Function>("traced")?)?,
            show_version: prelude.raw_get("show_version")?,
            shown_version: RefCell::default(),
            current,
            bind_library: prelude.raw_get("bind_library")?,
            load: prelude.raw_get("load")?,
            interrupt: Rc::new(move || (host.interrupt)(&server)),
            purpose,
            guard,
            lua,
        })
    }

    /// A state that several know of.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn shared(purpose: Purpose, host: Host) -> CommandResult<Rc<Engine>> {
        Engine::new(purpose, host).map(Rc::new).map_err(no_state)
    }

    /// A script begins. Others are served from `turn_at` on, unless somebody goes through it line by line; it may use
    /// so many bytes, 0 being any number.
    pub fn begin(&self, now: Instant, turn_at: Option<Instant>, limit_bytes: u64) {
        let turn_at = turn_at.filter(|_| self.purpose != Purpose::Debugging);
        self.guard.begin(&self.lua, now, turn_at, Rc::clone(&self.interrupt), limit_bytes);
    }

    /// Calls a function with keys and arguments, a script with these as globals. Answers whether it went well, and
    /// leaves its result on the stack, or its error: a table, but for Lua's own where there was no memory for that.
    ///
    /// # Errors
    /// If there is no room on the stack.
    pub fn run(
        &self,
        stack: &mut Stack,
        function: &LuaRef,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> mlua::Result<bool> {
        let limit_bytes = self.guard.lua_limit_bytes();
        if self.purpose == Purpose::Libraries {
            return stack.call(function, &self.traced, limit_bytes, |stack| {
                stack.push_texts(keys)?;
                stack.push_texts(args)
            });
        }
        stack.push_kept(&self.globals)?;
        for (name, texts) in [("KEYS", keys), ("ARGV", args)] {
            stack.push_text(name.as_bytes())?;
            stack.push_texts(texts)?;
            stack.set_field()?;
        }
        stack.pop(1);
        stack.call(function, &self.traced, limit_bytes, |_| Ok(()))
    }

    /// Has scripts see this version of Redis. To be called before each run: it may have changed.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn show_version(&self, version: &str) -> mlua::Result<()> {
        let mut shown = self.shown_version.borrow_mut();
        if *shown != version {
            self.show_version.call::<()>((version, version_number(version)))?;
            version.clone_into(&mut shown);
        }
        Ok(())
    }

    /// Compiles a script. Its name is what errors call it.
    ///
    /// # Errors
    /// If it is no Lua.
    pub fn compile(&self, script: &[u8], name: &str) -> mlua::Result<LuaRef> {
        let chunk = self.lua.load(script).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
        let function = chunk.set_environment(self.env.clone()).into_function();
        function.and_then(|function| self.keep(function))
    }

    /// Keeps a function until its last owner lets it go.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn keep(&self, function: Function) -> mlua::Result<LuaRef> {
        self.lua.create_registry_value(function).map(Rc::new)
    }

    /// Lets Lua free the functions that nobody keeps any more. Otherwise it can when others take their places.
    pub fn free_dropped(&self) {
        self.lua.expire_registry_values();
    }
}

/// What a client hears if there is no Lua state for it.
pub fn no_state(error: mlua::Error) -> CommandError {
    CommandError::err_with([b"Can't make a Lua state: ", &plain_text(&error)[..]].concat())
}

/// What `prelude.lua` needs that Lua has not.
fn native_functions(lua: &Lua, of_host: Table) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("server", of_host)?;
    table.set("where", guarded(lua, |lua, ()| place_of_error(lua))?)?;
    table.set("caught", guarded(lua, caught)?)?;
    let guard = Guard::of(lua)?;
    table.set("has_ended", lua.create_function(move |_, ()| Ok(guard.has_ended()))?)?;
    let text = |lua: &Lua, text: LuaString| lua.create_string(error_text(&text.as_bytes()));
    table.set("error_text", guarded(lua, text)?)?;
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

fn sha1hex(lua: &Lua, args: &Args, results: &mut Stack) -> LibResult {
    if args.len() != 1 {
        return Err(LibError::table("ERR wrong number of arguments"));
    }
    let text = args.text(0).ok();
    let mut hash = Sha1::new();
    for piece in text.as_deref().unwrap_or_default().chunks(PIECE_BYTES) {
        args.guard().tick(lua, piece.len() / BYTES_A_STEP)?;
        hash.update(piece);
    }
    Ok(results.push_text(&hex_digits(&hash.finalize()))?)
}

/// The SHA1 of bytes in hexadecimal digits.
pub fn sha1_hex(bytes: &[u8]) -> [u8; 40] {
    hex_digits(&Sha1::digest(bytes))
}

fn hex_digits(hash: &[u8]) -> [u8; 40] {
    let mut hex = [0; 40];
    for (two, &byte) in hex.chunks_exact_mut(2).zip(hash) {
        two.copy_from_slice(
            &[byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[digit as usize]),
        );
    }
    hex
}

fn libraries(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let concat = lua.create_table_from([("concat", native(lua, text::concat)?)])?;
    table.set("table", concat)?;
    table.set("string", text::library(lua)?)?;
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
