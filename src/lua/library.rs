//! The libraries of functions that the server knows: `FUNCTION LOAD` runs a library's code once, which registers
//! functions that `FCALL` runs.

use super::engine::{Engine, Host, LuaRef, Purpose};
use super::error::{LibError, LibResult, plain_text};
use super::log::log_line;
use super::shebang::ScriptFlags;
use super::value::to_argument;
use crate::ds::hash::{self, HashSeed};
use crate::resp::error::{CommandError, CommandResult};
use crate::util::args::split_args;
use crate::util::log_level::Level;
use mlua::{LuaString, MultiValue, Table, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The only engine, as it is shown.
pub const ENGINE: &str = "LUA";
/// Functions' names are seldom longer.
const USUAL_NAME: usize = 64;
const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                        character long";

/// A function of a library.
#[derive(Clone, Debug)]
pub struct LibraryFunction {
    /// Letters, digits and underscores.
    pub name: Rc<str>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
    pub callback: LuaRef,
}

/// A library that has been loaded.
#[derive(Clone, Debug)]
pub struct Library {
    pub name: Vec<u8>,
    /// With its first line.
    pub code: Vec<u8>,
    pub functions: Vec<Rc<LibraryFunction>>,
}

impl Library {
    fn memory(&self) -> usize {
        let functions = self.functions.iter().map(|function| {
            let description = function.description.as_ref().map_or(0, Vec::len);
            size_of::<LibraryFunction>() + function.name.len() + description
        });
        size_of::<Library>() + self.name.len() + self.code.len() + functions.sum::<usize>()
    }
}

/// All libraries, and their functions.
pub struct Libraries {
    host: Host,
    engine: Option<Rc<Engine>>,
    libraries: BTreeMap<Vec<u8>, Library>,
    /// By their names in lower case.
    functions: HashMap<Vec<u8>, Rc<LibraryFunction>, HashSeed>,
}

/// How a library is loaded.
pub struct Load<'a> {
    /// One of that name that is there already is replaced; otherwise it is an error.
    pub replace: bool,
    /// Its code may run for so long.
    pub timeout: Duration,
    /// It may use so many bytes; 0: any number.
    pub memory_limit_bytes: u64,
    /// The version of Redis that it sees.
    pub version: &'a str,
    /// Who takes what it logs.
    pub log: &'a dyn Fn(Level, &str),
}

impl Libraries {
    /// None yet. What will be loaded is run by this host.
    pub fn new(host: Host) -> Libraries {
        let functions = HashMap::with_hasher(hash::seed());
        Libraries { host, engine: None, libraries: BTreeMap::new(), functions }
    }

    /// None yet, with a Lua state of their own.
    pub fn fresh(&self) -> Libraries {
        Libraries::new(self.host)
    }

    /// Forgets all, and all that they have left in Lua.
    pub fn clear(&mut self) {
        *self = self.fresh();
    }

    /// The Lua state of all libraries, which is made for the first one.
    pub fn engine(&mut self) -> CommandResult<Rc<Engine>> {
        if let Some(engine) = &self.engine {
            return Ok(Rc::clone(engine));
        }
        Ok(Rc::clone(self.engine.insert(Engine::shared(Purpose::Libraries, self.host)?)))
    }

    /// The function of that name, in whatever case.
    pub fn function(&self, name: &[u8]) -> Option<&Rc<LibraryFunction>> {
        let mut lower = [0; USUAL_NAME];
        match lower.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.functions.get(&*lower)
            }
            None => self.functions.get(&name.to_ascii_lowercase()),
        }
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Library> {
        self.libraries.values()
    }

    /// How many libraries there are.
    pub fn len(&self) -> usize {
        self.libraries.len()
    }

    /// How many functions all libraries have.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of the libraries' texts and of what is known of them.
    pub fn memory(&self) -> usize {
        self.libraries.values().map(Library::memory).sum()
    }

    /// Bytes that Lua holds.
    pub fn lua_memory(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.lua.used_memory())
    }

    /// Forgets a library and its functions; answers whether it was there.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let was_there = self.remove(name).is_some();
        self.free_removed();
        was_there
    }

    fn free_removed(&self) {
        if let Some(engine) = &self.engine {
            engine.free_dropped();
        }
    }

    fn remove(&mut self, name: &[u8]) -> Option<Library> {
        let library = self.libraries.remove(name)?;
        for function in &library.functions {
            self.functions.remove(function.name.to_ascii_lowercase().as_bytes());
        }
        Some(library)
    }

    fn insert(&mut self, library: Library) {
        for function in &library.functions {
            let name = function.name.to_ascii_lowercase().into_bytes();
            self.functions.insert(name, Rc::clone(function));
        }
        self.libraries.insert(library.name.clone(), library);
    }

    /// Loads a library; answers its name.
    ///
    /// # Errors
    /// Why it can't be loaded. What was there is still there.
    pub fn load(&mut self, code: &[u8], how: &Load) -> CommandResult<Vec<u8>> {
        let Metadata { engine, name, body } = Metadata::parse(code)?;
        if !is_name(&name) {
            return Err(CommandError::err(BAD_NAME));
        }
        if !engine.eq_ignore_ascii_case(ENGINE.as_bytes()) {
            return Err(CommandError::quoting("Engine '", &engine, "' not found"));
        }
        if !how.replace && self.libraries.contains_key(&name) {
            return Err(CommandError::quoting("Library '", &name, "' already exists"));
        }
        let functions = register_functions(&*self.engine()?, body, how)?;
        if functions.is_empty() {
            return Err(CommandError::err("No functions registered"));
        }
        let old = self.remove(&name);
        if let Some(function) =
            functions.iter().find(|f| self.function(f.name.as_bytes()).is_some())
        {
            let error =
                CommandError::quoting("Function ", function.name.as_bytes(), " already exists");
            old.into_iter().for_each(|old| self.insert(old));
            return Err(error);
        }
        self.insert(Library { name: name.clone(), code: code.to_vec(), functions });
        Ok(name)
    }

    /// Takes in all libraries of another; those of `other` must have been loaded by the same engine.
    ///
    /// # Errors
    /// If a library (unless `replace`) or a function is there already. Nothing has changed then.
    pub fn join(&mut self, other: Libraries, replace: bool) -> CommandResult {
        let known = other.libraries.keys().find(|name| self.libraries.contains_key(*name));
        if let Some(name) = known.filter(|_| !replace) {
            return Err(CommandError::quoting("Library ", name, " already exists"));
        }
        let replaced: Vec<Library> =
            other.libraries.keys().filter_map(|name| self.remove(name)).collect();
        if let Some(function) =
            other.functions.values().find(|f| self.function(f.name.as_bytes()).is_some())
        {
            let error =
                CommandError::quoting("Function ", function.name.as_bytes(), " already exists");
            replaced.into_iter().for_each(|library| self.insert(library));
            return Err(error);
        }
        other.libraries.into_values().for_each(|library| self.insert(library));
        Ok(())
    }

    /// None, but what is loaded shares the Lua state with these.
    ///
    /// # Errors
    /// If there is none and none can be made.
    pub fn sibling(&mut self) -> CommandResult<Libraries> {
        Ok(Libraries { engine: Some(self.engine()?), ..self.fresh() })
    }
}

/// Whether functions and libraries may be called so.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a library's first line says: `#!lua name=mylib`.
struct Metadata<'a> {
    engine: Vec<u8>,
    name: Vec<u8>,
    /// From the end of that line on, so that lines keep their numbers.
    body: &'a [u8],
}

impl Metadata<'_> {
    fn parse(code: &[u8]) -> CommandResult<Metadata<'_>> {
        const INVALID: CommandError = CommandError::err("Invalid library metadata");
        let line = code.strip_prefix(b"#!").ok_or(CommandError::err("Missing library metadata"))?;
        let end = memchr::memchr(b'\n', line).ok_or(INVALID)?;
        let words = split_args(&code[..end + 2]).ok_or(INVALID)?;
        let (engine, options) = words.split_first().ok_or(INVALID)?;
        let mut name = None;
        for option in options {
            match option.split_at_checked(5) {
                Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => {
                    if name.is_some() {
                        let text = "Invalid metadata value, name argument was given multiple times";
                        return Err(CommandError::err(text));
                    }
                    name = Some(value.to_vec());
                }
                _ => {
                    let before = "Invalid metadata value given: ";
                    return Err(CommandError::quoting(before, option, ""));
                }
            }
        }
        let name = name.ok_or(CommandError::err("Library name was not given"))?;
        let engine = engine.get(2..).unwrap_or_default().to_vec();
        Ok(Metadata { engine, name, body: &line[end..] })
    }
}

/// The name of a function, if it can be one.
fn function_name(name: &[u8]) -> LibResult<Rc<str>> {
    let text = std::str::from_utf8(name).ok().filter(|_| is_name(name));
    text.map(Rc::from).ok_or_else(|| LibError::table(format!("ERR {BAD_NAME}")))
}

/// Runs the code of a library; answers the functions that it registered.
fn register_functions(
    engine: &Engine,
    body: &[u8],
    how: &Load,
) -> CommandResult<Vec<Rc<LibraryFunction>>> {
    let failed = |what: &str, text: &[u8]| {
        CommandError::err_with([b"Error ", what.as_bytes(), b": ", text].concat())
    };
    let function = engine
        .compile(body, "user_function")
        .map_err(|error| failed("compiling function", &plain_text(&error)))?;
    let registered = RefCell::new(Vec::new());
    let outcome = engine.lua.scope(|scope| {
        let register = scope.create_function(|lua, args: MultiValue| {
            let function = read_registration(engine, &args)
                .and_then(|function| add_function(&mut registered.borrow_mut(), function));
            function.map_err(|error| error.raise(lua))
        })?;
        let log = scope.create_function(|lua, args: MultiValue| {
            let args: Vec<Value> = args.into_iter().collect();
            let (level, line) = log_line(&args).map_err(|error| error.raise(lua))?;
            (how.log)(level, &line);
            Ok(())
        })?;
        engine.bind_library.call::<()>((register, log))?;
        engine.show_version(how.version)?;
        let guard = &engine.guard;
        let late = Rc::new(|| Err(LibError::table("ERR FUNCTION LOAD timeout")));
        let now = Instant::now();
        let deadline = now.checked_add(how.timeout);
        guard.begin(&engine.lua, now, deadline, late, how.memory_limit_bytes);
        let outcome =
            guard.enter(&engine.lua, || engine.load.call::<Option<LuaString>>(&*function));
        guard.end(&engine.lua)?;
        engine.bind_library.call::<()>(())?;
        outcome
    });
    match outcome {
        Ok(None) => Ok(registered.into_inner()),
        Ok(Some(text)) => Err(failed("registering functions", &text.as_bytes())),
        Err(error) => Err(failed("registering functions", &plain_text(&error))),
    }
}

fn add_function(registered: &mut Vec<Rc<LibraryFunction>>, function: LibraryFunction) -> LibResult {
    if registered.iter().any(|known| known.name.eq_ignore_ascii_case(&function.name)) {
        return Err(LibError::table("ERR Function already exists in the library"));
    }
    registered.push(Rc::new(function));
    Ok(())
}

/// The function that a call of `register_function` describes. In front of its arguments there is the name of the table
/// through which it was called.
fn read_registration(engine: &Engine, args: &MultiValue) -> LibResult<LibraryFunction> {
    let api = args.front().and_then(to_argument).unwrap_or_default();
    let api = String::from_utf8_lossy(&api);
    let err = |text: String| LibError::table(format!("ERR {text}"));
    match (args.len(), args.get(1), args.get(2)) {
        (2, Some(Value::Table(named)), _) => read_named(engine, named, &api),
        (2, ..) => Err(err(format!(
            "calling {api}.register_function with a single argument is only applicable to Lua table (representing \
             named arguments)."
        ))),
        (3, Some(name), Some(callback)) => {
            let name = to_argument(name).ok_or_else(|| {
                err(format!("first argument to {api}.register_function must be a string"))
            })?;
            let Value::Function(callback) = callback.clone() else {
                let text = format!("second argument to {api}.register_function must be a function");
                return Err(err(text));
            };
            let (flags, callback) = (ScriptFlags::empty(), engine.keep(callback)?);
            Ok(LibraryFunction { name: function_name(&name)?, description: None, flags, callback })
        }
        _ => Err(err(format!("wrong number of arguments to {api}.register_function"))),
    }
}

/// The function that a table describes.
fn read_named(engine: &Engine, named: &Table, api: &str) -> LibResult<LibraryFunction> {
    let err = |text: String| LibError::table(format!("ERR {text}"));
    let of_type = |argument: &str, what: &str| {
        err(format!("{argument} argument given to {api}.register_function must be a {what}"))
    };
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = ScriptFlags::empty();
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = to_argument(&key).ok_or_else(|| {
            err(format!("named argument key given to {api}.register_function is not a string"))
        })?;
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => {
                name = Some(to_argument(&value).ok_or_else(|| of_type("function_name", "string"))?);
            }
            b"description" => {
                let text = to_argument(&value).ok_or_else(|| of_type("description", "string"))?;
                description = Some(text);
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(engine.keep(function)?),
                _ => return Err(of_type("callback", "function")),
            },
            b"flags" => match value {
                Value::Table(names) => flags = read_flags(&names)?,
                _ => {
                    return Err(err(format!(
                        "flags argument to {api}.register_function must be a table representing function flags"
                    )));
                }
            },
            _ => return Err(err(format!("unknown argument given to {api}.register_function"))),
        }
    }
    let missing = |what: &str| err(format!("{api}.register_function must get a {what} argument"));
    let name = name.ok_or_else(|| missing("function name"))?;
    let callback = callback.ok_or_else(|| missing("callback"))?;
    Ok(LibraryFunction { name: function_name(&name)?, description, flags, callback })
}

fn read_flags(names: &Table) -> LibResult<ScriptFlags> {
    let mut flags = ScriptFlags::empty();
    for name in names.sequence_values::<Value>() {
        let name = to_argument(&name?).map(|name| name.to_ascii_lowercase());
        flags |= name
            .and_then(|name| ScriptFlags::named(&name))
            .ok_or_else(|| LibError::table("ERR unknown flag given"))?;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(libraries: &mut Libraries, code: &str, replace: bool) -> Result<Vec<u8>, String> {
        let how = Load {
            replace,
            timeout: Duration::from_secs(10),
            memory_limit_bytes: 0,
            version: "7.2.4",
            log: &|_, _| (),
        };
        libraries.load(code.as_bytes(), &how).map_err(|error| error.to_string())
    }

    fn library(name: &str, functions: &[&str]) -> String {
        let register = functions
            .iter()
            .map(|f| format!("redis.register_function('{f}', function() end)\n"))
            .collect::<String>();
        format!("#!lua name={name}\n{register}")
    }

    #[test]
    fn each_function_has_one_library() {
        let mut libraries = Libraries::new(Host::nobody());
        assert_eq!(load(&mut libraries, &library("a", &["f", "G"]), false), Ok(b"a".to_vec()));
        let known = load(&mut libraries, &library("a", &["h"]), false);
        assert_eq!(known, Err("ERR Library 'a' already exists".to_string()));
        let taken = load(&mut libraries, &library("b", &["g"]), false);
        assert_eq!(taken, Err("ERR Function g already exists".to_string()));
        assert_eq!((libraries.len(), libraries.functions()), (1, 2));
        assert!(libraries.function(b"F").is_some() && libraries.function(b"h").is_none());
        // What can't be loaded leaves what was there.
        assert!(load(&mut libraries, &library("a", &[]), true).is_err());
        assert!(libraries.function(b"g").is_some());
        assert_eq!(load(&mut libraries, &library("a", &["h"]), true), Ok(b"a".to_vec()));
        assert!(libraries.function(b"g").is_none() && libraries.function(b"h").is_some());
        assert!(libraries.delete(b"a") && !libraries.delete(b"a"));
        assert_eq!((libraries.functions(), libraries.memory()), (0, 0));
    }

    #[test]
    fn libraries_join_all_or_none() {
        let mut libraries = Libraries::new(Host::nobody());
        load(&mut libraries, &library("a", &["f"]), false).unwrap();
        let other = |functions: &[&str], libraries: &mut Libraries| {
            let mut other = libraries.sibling().unwrap();
            load(&mut other, &library("b", &["g"]), false).unwrap();
            load(&mut other, &library("c", functions), false).unwrap();
            other
        };
        let colliding = other(&["f"], &mut libraries);
        assert!(libraries.join(colliding, true).is_err());
        assert_eq!((libraries.len(), libraries.functions()), (1, 1));
        let apart = other(&["h"], &mut libraries);
        assert!(libraries.join(apart, false).is_ok());
        assert_eq!((libraries.len(), libraries.functions()), (3, 3));
    }

    #[test]
    fn first_lines() {
        let read = |code: &str| {
            Metadata::parse(code.as_bytes())
                .map(|m| format!("{} {}", m.engine.escape_ascii(), m.name.escape_ascii()))
                .unwrap_or_else(|error| error.to_string())
        };
        for (code, read_as) in [
            ("#!lua name=lib\ncode", "lua lib"),
            ("#!LUA NAME=\"lib\"\n", "LUA lib"),
            ("#! name=lib\n", " lib"),
            ("", "ERR Missing library metadata"),
            ("return 1", "ERR Missing library metadata"),
            ("#!lua name=lib", "ERR Invalid library metadata"),
            ("#!lua name=\"lib\n", "ERR Invalid library metadata"),
            ("#!lua\n", "ERR Library name was not given"),
            ("#!lua x\n", "ERR Invalid metadata value given: x"),
            ("#!lua name=lib foo=bar\n", "ERR Invalid metadata value given: foo=bar"),
            (
                "#!lua name=a name=b\n",
                "ERR Invalid metadata value, name argument was given multiple times",
            ),
        ] {
            assert_eq!(read(code), read_as, "{code}");
        }
        assert_eq!(
            Metadata::parse(b"#!lua name=x\na\nb").map(|m| m.body).ok(),
            Some(&b"\na\nb"[..])
        );
    }
}
