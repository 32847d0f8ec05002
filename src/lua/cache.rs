//! The scripts that the server knows, by their SHA1.

use super::debugger::Debugger;
use super::engine::{Engine, Host, LuaRef, Purpose, sha1_hex};
use super::error::plain_text;
use super::shebang::{ScriptFlags, split_shebang};
use crate::ds::hash::{self, HashSeed};
use crate::resp::error::{CommandError, CommandResult};
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::rc::Rc;

/// So many scripts that came with `EVAL` are kept: a client that makes a new one for each call must not fill the
/// memory. Those of `SCRIPT LOAD` are kept for good.
const EVAL_SCRIPTS: usize = 500;

/// A script's SHA1 in lower-case hexadecimal digits.
pub type Sha = [u8; 40];

/// The SHA1 that a client means; `None` if it can't be one.
pub fn parse_sha(arg: &[u8]) -> Option<Sha> {
    let mut sha: Sha = arg.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

/// Compiles a script, and reads what it says of itself.
///
/// # Errors
/// If it can't be compiled.
pub fn compile(engine: &Engine, body: &[u8]) -> CommandResult<(ScriptFlags, LuaRef)> {
    let (flags, code) = split_shebang(body)?;
    let function = engine.compile(code, "user_script").map_err(|error| {
        let before = b"Error compiling script (new function): ";
        CommandError::err_with([before, &plain_text(&error)[..]].concat())
    })?;
    Ok((flags, function))
}

/// A script that has been compiled.
#[derive(Clone)]
pub struct Script {
    pub function: LuaRef,
    /// What errors call it: its SHA1.
    pub name: Rc<str>,
    pub flags: ScriptFlags,
    /// As it came.
    pub body: Rc<[u8]>,
    /// When it was used last, in uses of scripts; `None`: it is kept for good.
    used: Option<u64>,
}

/// All that is known of scripts.
pub struct Scripts {
    host: Host,
    engine: Option<Rc<Engine>>,
    known: HashMap<Sha, Script, HashSeed>,
    by_use: BTreeMap<u64, Sha>,
    uses: u64,
    memory: usize,
    /// `evicted_scripts`
    evicted: u64,
    /// `DEBUG SET-DISABLE-DENY-SCRIPTS`: scripts may call what is denied to them otherwise.
    may_call_all: bool,
    pub debugger: Debugger,
}

impl Scripts {
    /// None yet. What will be known is run by this host.
    pub fn new(host: Host) -> Scripts {
        Scripts {
            host,
            engine: None,
            known: HashMap::with_hasher(hash::seed()),
            by_use: BTreeMap::new(),
            uses: 0,
            memory: 0,
            evicted: 0,
            may_call_all: false,
            debugger: Debugger::default(),
        }
    }

    /// The Lua state, which is made when a script comes for the first time.
    pub fn engine(&mut self) -> CommandResult<Rc<Engine>> {
        if let Some(engine) = &self.engine {
            return Ok(Rc::clone(engine));
        }
        Ok(Rc::clone(self.engine.insert(Engine::shared(Purpose::Scripts, self.host)?)))
    }

    pub fn find(&self, sha: &Sha) -> Option<&Script> {
        self.known.get(sha)
    }

    /// How many scripts are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// How many scripts were forgotten for others since the statistics were reset.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    pub fn reset_statistics(&mut self) {
        self.evicted = 0;
    }

    /// Whether scripts may call what is denied to them otherwise.
    pub fn may_call_all(&self) -> bool {
        self.may_call_all
    }

    pub fn set_may_call_all(&mut self, may: bool) {
        self.may_call_all = may;
    }

    /// Bytes of the scripts' texts and of what is known of them.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Bytes that Lua holds.
    pub fn lua_memory(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.lua.used_memory())
    }

    /// Forgets all, and all that scripts have left in Lua.
    pub fn flush(&mut self) {
        let Scripts { host, evicted, may_call_all, .. } = *self;
        let debugger = mem::take(&mut self.debugger);
        *self = Scripts { evicted, may_call_all, debugger, ..Scripts::new(host) };
    }

    /// Takes a script in, if it is not known yet; answers its SHA1. `for_good`: it is never evicted.
    ///
    /// # Errors
    /// If it can't be compiled.
    pub fn load(&mut self, body: &[u8], for_good: bool) -> CommandResult<Sha> {
        let sha = sha1_hex(body);
        if let Some(script) = self.known.get_mut(&sha) {
            if for_good && let Some(used) = script.used.take() {
                self.by_use.remove(&used);
            }
            return Ok(sha);
        }
        let (flags, function) = compile(&*self.engine()?, body)?;
        while !for_good && self.by_use.len() >= EVAL_SCRIPTS {
            self.evict_oldest();
        }
        self.memory += script_memory(body.len());
        let name = String::from_utf8_lossy(&sha).into();
        let script = Script { function, name, flags, body: body.into(), used: None };
        self.known.insert(sha, script);
        if !for_good {
            self.note_use_of(&sha, true);
        }
        Ok(sha)
    }

    fn evict_oldest(&mut self) {
        let Some((_, sha)) = self.by_use.pop_first() else { return };
        if let Some(script) = self.known.remove(&sha) {
            self.memory -= script_memory(script.body.len());
            self.evicted += 1;
        }
    }

    /// A script, which was found here, has been used: the others go before it.
    pub fn note_use(&mut self, sha: &Sha, script: &Script) {
        // One that is kept for good, or was used last, is where it belongs.
        if script.used.is_some_and(|used| used != self.uses) {
            self.note_use_of(sha, false);
        }
    }

    fn note_use_of(&mut self, sha: &Sha, is_new: bool) {
        let Some(script) = self.known.get_mut(sha) else { return };
        match script.used {
            Some(used) => drop(self.by_use.remove(&used)),
            None if is_new => {}
            None => return,
        }
        self.uses += 1;
        script.used = Some(self.uses);
        self.by_use.insert(self.uses, *sha);
    }
}

fn script_memory(len: usize) -> usize {
    len + size_of::<Sha>() + size_of::<Script>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(scripts: &mut Scripts, n: usize, for_good: bool) -> Sha {
        scripts.load(format!("return {n}").as_bytes(), for_good).unwrap()
    }

    #[test]
    fn the_scripts_of_eval_that_were_not_used_for_longest_go_first() {
        let mut scripts = Scripts::new(Host::nobody());
        let kept = load(&mut scripts, 0, true);
        let shas: Vec<Sha> = (1..=EVAL_SCRIPTS).map(|n| load(&mut scripts, n, false)).collect();
        assert_eq!((scripts.len(), scripts.evicted()), (EVAL_SCRIPTS + 1, 0));
        let first = scripts.find(&shas[0]).unwrap().clone();
        scripts.note_use(&shas[0], &first);
        // One that is asked for again is not new, and may be kept from now on.
        assert_eq!(load(&mut scripts, 2, true), shas[1]);
        load(&mut scripts, EVAL_SCRIPTS + 1, false);
        assert_eq!((scripts.len(), scripts.evicted()), (EVAL_SCRIPTS + 2, 0));
        load(&mut scripts, EVAL_SCRIPTS + 2, false);
        assert_eq!((scripts.len(), scripts.evicted()), (EVAL_SCRIPTS + 2, 1));
        let known = |sha| scripts.find(sha).is_some();
        assert!(known(&kept) && known(&shas[0]) && known(&shas[1]) && !known(&shas[2]));
        scripts.flush();
        assert_eq!((scripts.len(), scripts.memory(), scripts.evicted()), (0, 0, 1));
    }

    #[test]
    fn what_is_no_lua_is_not_known() {
        let mut scripts = Scripts::new(Host::nobody());
        assert!(scripts.load(b"return (", true).is_err());
        assert_eq!((scripts.len(), scripts.memory()), (0, 0));
    }
}
