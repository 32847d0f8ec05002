//! The configuration: redis.conf, the command line, and what `CONFIG GET`, `SET` and `REWRITE` do with it.
//!
//! * `directives`: the table. One entry makes a field of [`Config`], its default, and its [`Directive`].
//! * `kind`: how the values of each kind of directive are read, checked and printed.
//! * `values`: the types of values that are more than numbers and texts.
//! * `error`: why the server cannot start with its configuration.
//! * `parse`: configuration files. `startup`: the command line, which is a file's last lines in disguise.
//! * `rewrite`: a new text for the configuration file that keeps its comments and order.
//!
//! Nothing here touches the server. Whoever changes the configuration applies what follows from it: [`Config::set`]
//! tells which directives changed, and a clone of the configuration before it brings back the old values.

mod directives;
mod error;
mod kind;
mod parse;
mod rewrite;
mod startup;
mod values;

pub use directives::{Config, DIRECTIVES};
pub use error::{ConfigError, Origin, SourceLine};
pub use kind::{Flags, Kind, Unit};
pub use parse::Reading;
pub use rewrite::{RewriteOptions, rewrite, rewrite_file};
pub use startup::Startup;
pub use values::*;

use crate::rdb::writer::RdbVersion;
use crate::resp::error::CommandError;
use crate::server::flavour;
use crate::server::flavour::Flavour;
use crate::util::glob::glob_match;
use crate::value::list::ListLimits;

/// A directive of [`Config`].
pub type Directive = kind::Directive<Config>;

/// The version of Redis that the server claims to be.
pub const REDIS_VERSION: &str = "7.2.4";

/// The directive with a name, in any case, and its name or alias as the table spells it.
pub fn lookup(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    let names = DIRECTIVES.iter().flat_map(names_of);
    names.into_iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name))
}

fn names_of(
    directive: &'static Directive,
) -> impl Iterator<Item = (&'static Directive, &'static str)> {
    std::iter::once(directive.name).chain(directive.alias).map(move |name| (directive, name))
}

/// Circumstances of a `CONFIG SET`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetContext {
    /// The dataset is being loaded.
    pub loading: bool,
    /// The client came over loopback or a Unix socket.
    pub local: bool,
}

/// Why `CONFIG SET` failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// There is no such directive.
    UnknownOption(Vec<u8>),
    /// The directive cannot be set while the dataset is being loaded.
    Loading,
    /// The value, or applying it, was refused.
    Failed {
        /// Name of the directive, as it was given.
        argument: Vec<u8>,
        /// Redis's words.
        reason: Reason,
    },
}

impl SetError {
    /// An error for a directive whose new value could not be applied.
    pub fn failed(argument: impl Into<Vec<u8>>, reason: impl Into<Reason>) -> Self {
        Self::Failed { argument: argument.into(), reason: reason.into() }
    }
}

impl From<SetError> for CommandError {
    fn from(error: SetError) -> CommandError {
        match error {
            SetError::UnknownOption(name) => {
                let before = "Unknown option or number of arguments for CONFIG SET - '";
                CommandError::quoting(before, &name, "'")
            }
            SetError::Loading => CommandError::loading("Redis"),
            SetError::Failed { argument, reason } => {
                let before = b"CONFIG SET failed (possibly related to argument '";
                let reason = reason.to_string();
                CommandError::err_with(
                    [before, &argument[..], b"') - ", reason.as_bytes()].concat(),
                )
            }
        }
    }
}

impl Config {
    /// The defaults of a server of this flavour.
    ///
    /// # Panics
    /// If [`flavour::DEFAULTS`] has a directive that there is not, or a value that it does not take.
    pub fn defaults_of(flavour: Flavour) -> Config {
        let mut config = Config { flavour, ..Config::default() };
        if flavour == Flavour::VALKEY {
            for (name, value) in flavour::DEFAULTS {
                let (directive, _) = lookup(name.as_bytes()).expect("a directive");
                directive.set(&mut config, value.as_bytes()).expect("a value of it");
            }
        }
        config
    }
}

impl Config {
    /// Whether the server names itself Valkey.
    pub fn is_valkey(&self) -> bool {
        self.flavour.names_itself_valkey && !self.extended_redis_compatibility
    }

    /// What the server calls itself in errors.
    pub fn title(&self) -> &'static str {
        if self.is_valkey() { "Valkey" } else { "Redis" }
    }

    /// The port by which the server is known: the one for TLS if there is no other.
    pub fn main_port(&self) -> u16 {
        if self.port == 0 { self.tls_port } else { self.port }
    }

    /// How large a list's nodes may be, and how many of them are not compressed.
    pub fn list_limits(&self) -> ListLimits {
        ListLimits::new(self.list_max_listpack_size, self.list_compress_depth)
    }

    /// The limits that decide about the encodings of all types.
    pub fn value_limits(&self) -> crate::value::Limits {
        crate::value::Limits {
            list: self.list_limits(),
            set: crate::value::set::SetLimits {
                intset: self.set_max_intset_entries,
                entries: self.set_max_listpack_entries,
                value: self.set_max_listpack_value,
            },
            hash: crate::value::hash::HashLimits {
                entries: self.hash_max_listpack_entries,
                value: self.hash_max_listpack_value,
            },
            zset: crate::value::zset::ZsetLimits {
                entries: self.zset_max_listpack_entries,
                value: self.zset_max_listpack_value,
            },
        }
    }

    /// Names and values for `CONFIG GET`: each name, or alias, that one of the patterns matches, once.
    ///
    /// Case does not matter. A pattern without `*`, `?` and `[` is a name, which the answer spells as the question
    /// did; only so are hidden directives found, and in Redis's place those of Valkey.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |directive: &Directive, name: &str| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_owned(), directive.value(self)));
            }
        };
        for &pattern in patterns {
            if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                if let Some((directive, _)) = lookup(pattern) {
                    add(directive, &String::from_utf8_lossy(pattern));
                }
                continue;
            }
            for (directive, name) in DIRECTIVES.iter().flat_map(names_of) {
                let found = directive.is_found_as(name, self.flavour);
                if found && glob_match(pattern, name.as_bytes(), true) {
                    add(directive, name);
                }
            }
        }
        found
    }

    /// Sets all of `pairs` (name, value), or none of them. Returns the directives whose values changed, or are to be
    /// applied all the same.
    pub fn set(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        context: SetContext,
    ) -> Result<Vec<&'static Directive>, SetError> {
        let mut chosen: Vec<(&'static Directive, &'static str, &[u8])> = Vec::new();
        for &(argument, value) in pairs {
            let (directive, name) =
                lookup(argument).ok_or_else(|| SetError::UnknownOption(argument.to_vec()))?;
            if directive.flags.contains(Flags::IMMUTABLE) {
                return Err(SetError::failed(argument, "can't set immutable config"));
            }
            if directive.flags.contains(Flags::PROTECTED)
                && !self.enable_protected_configs.allows(context.local)
            {
                return Err(SetError::failed(argument, "can't set protected config"));
            }
            if context.loading && directive.flags.contains(Flags::DENY_LOADING) {
                return Err(SetError::Loading);
            }
            // As in Redis, a directive may be set by its name and by its alias at once.
            if chosen.iter().any(|(_, known, _)| *known == name) {
                return Err(SetError::failed(argument, "duplicate parameter"));
            }
            chosen.push((directive, name, value));
        }

        let mut new = self.clone();
        for (directive, name, value) in &chosen {
            directive.set(&mut new, value).map_err(|reason| SetError::failed(*name, reason))?;
        }
        new.normalize();
        let is_read_anew = |directive: &Directive| {
            directive.flags.contains(Flags::READS_FILE)
                && chosen.iter().any(|(set, _, _)| set.name == directive.name)
        };
        let changed = DIRECTIVES.iter().filter(|directive| {
            directive.value(self) != directive.value(&new) || is_read_anew(directive)
        });
        let changed = changed.collect();
        *self = new;
        Ok(changed)
    }

    /// The version of RDB in which this server writes hashes whose fields expire, where nobody asks for another.
    pub fn expiring_fields_version(&self) -> RdbVersion {
        match self.flavour.writes_expiring_fields_as_valkey {
            true => RdbVersion::Valkey80,
            false => RdbVersion::V12,
        }
    }

    /// Brings values that are taken as hints into range: in Redis, too, they are no errors.
    fn normalize(&mut self) {
        self.hz = self.hz.clamp(1, 500);
        self.repl_backlog_size = self.repl_backlog_size.max(16 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::alloc::TELLS_AREAS;

    /// Names and defaults of Redis 7.2.4; those that depend on the machine are left out of the file.
    const DEFAULTS: &str = include_str!("redis-7.2-defaults.tsv");

    fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect();
        let changed = config
            .set(&pairs, SetContext::default())
            .map_err(|error| CommandError::from(error).to_string())?;
        Ok(changed.iter().map(|directive| directive.name).collect())
    }

    fn get(config: &Config, name: &str) -> String {
        String::from_utf8(config.get(&[name.as_bytes()])[0].1.clone()).unwrap()
    }

    #[test]
    fn every_directive_of_redis_is_known_with_its_default() {
        let config = Config::default();
        for line in DEFAULTS.lines() {
            let (name, default) = line.split_once('\t').unwrap();
            let (directive, _) =
                lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is unknown"));
            assert_eq!(String::from_utf8(directive.value(&config)).unwrap(), default, "{name}");
        }
    }

    #[test]
    fn names_are_unique_and_lower_case() {
        let mut names: Vec<_> =
            DIRECTIVES.iter().flat_map(names_of).map(|(_, name)| name).collect();
        assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn bounds_fit_their_fields() {
        for directive in DIRECTIVES {
            let Kind::Number { get, set, min, max, .. } = directive.kind else {
                continue;
            };
            let mut config = Config::default();
            assert!((min..=max).contains(&get(&config)), "{}", directive.name);
            for bound in [min, max] {
                set(&mut config, bound);
                assert_eq!(get(&config), bound, "{}", directive.name);
            }
        }
    }

    #[test]
    fn every_value_can_be_set_to_itself() {
        let mut config =
            Config { enable_protected_configs: ProtectedAction::Yes, ..Config::default() };
        for (name, value) in config.get(&[b"*"]) {
            let (directive, _) = lookup(name.as_bytes()).unwrap();
            if directive.flags.contains(Flags::IMMUTABLE) {
                continue;
            }
            let before = config.clone();
            let changed = config.set(&[(name.as_bytes(), &value)], SetContext::default());
            let changed = changed.unwrap_or_else(|error| panic!("{error:?}"));
            // What names a file counts as changed: the file may be another.
            let reads_file = directive.flags.contains(Flags::READS_FILE);
            assert!(reads_file || changed.is_empty(), "{name}");
            assert_eq!(config, before, "{name}");
        }
    }

    #[test]
    fn get_matches_names_aliases_and_patterns_once() {
        let config = Config::default();
        let names = |patterns: &[&[u8]]| -> Vec<String> {
            config.get(patterns).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&[b"*of"]), ["replicaof", "slaveof"]);
        assert_eq!(names(&[b"MaxMemory", b"maxmemory"]), ["MaxMemory"]);
        assert_eq!(names(&[b"MAXMEMORY-S*", b"port", b"p[o]rt"]), ["maxmemory-samples", "port"]);
        assert_eq!(names(&[b"key-load*"]), Vec::<String>::new());
        assert_eq!(names(&[b"key-load-delay", b"nothing"]), ["key-load-delay"]);
    }

    #[test]
    fn patterns_find_valkeys_directives_in_its_place() {
        let names = |flavour, pattern: &[u8]| -> Vec<String> {
            let config = Config::defaults_of(flavour);
            config.get(&[pattern]).into_iter().map(|(name, _)| name).collect()
        };
        for (pattern, in_both, only_valkey) in [
            (&b"unixsocket*"[..], &["unixsocket", "unixsocketperm"][..], &["unixsocketgroup"][..]),
            (b"*user", &["masteruser"], &["primaryuser"]),
            (b"bio?cpulist", &["bio_cpulist"], &["bio-cpulist"]),
        ] {
            let mut redis = names(Flavour::REDIS, pattern);
            redis.sort_unstable();
            assert_eq!(redis, in_both);
            let mut valkey = names(Flavour::VALKEY, pattern);
            valkey.retain(|name| !in_both.contains(&name.as_str()));
            assert_eq!(valkey, only_valkey);
            assert_eq!(names(Flavour::REDIS, only_valkey[0].as_bytes()), only_valkey);
        }
        let redis: Vec<_> = DEFAULTS.lines().map(|line| line.split_once('\t').unwrap().0).collect();
        for directive in DIRECTIVES.iter().filter(|d| d.flags.contains(Flags::VALKEY)) {
            assert!(!redis.contains(&directive.name), "{}", directive.name);
        }
    }

    #[test]
    fn set_is_all_or_nothing() {
        let mut config = Config::default();
        let before = config.clone();
        let error = set(
            &mut config,
            &[
                ("maxmemory", "10000001"),
                ("maxmemory-clients", "200%"),
                ("client-query-buffer-limit", "invalid"),
            ],
        );
        assert_eq!(
            error.unwrap_err(),
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must \
             be less or equal to 100"
        );
        assert_eq!(config, before);

        let changed =
            set(&mut config, &[("MAXMEMORY", "10mb"), ("save", "3000 5"), ("timeout", "0")]);
        assert_eq!(changed.unwrap(), ["maxmemory", "save"]);
        assert_eq!((config.maxmemory, get(&config, "save").as_str()), (10 << 20, "3000 5"));
        set(&mut config, &[("save", ""), ("hz", "1000"), ("slave-priority", "7")]).unwrap();
        assert_eq!((config.save.len(), config.hz, config.replica_priority), (0, 500, 7));
    }

    #[test]
    fn set_errors() {
        let failed = |argument, reason| {
            format!("ERR CONFIG SET failed (possibly related to argument '{argument}') - {reason}")
        };
        let table: [(&[(&str, &str)], String); 11] = [
            (
                &[("x", "1")],
                "ERR Unknown option or number of arguments for CONFIG SET - 'x'".into(),
            ),
            (&[("maxmemory", "1"), ("MaxMemory", "2")], failed("MaxMemory", "duplicate parameter")),
            (&[("DAEMONIZE", "yes")], failed("DAEMONIZE", "can't set immutable config")),
            (&[("dir", "/")], failed("dir", "can't set protected config")),
            (&[("Appendonly", "x")], failed("appendonly", "argument must be 'yes' or 'no'")),
            (
                &[("timeout", "-1")],
                failed("timeout", "argument must be between 0 and 2147483647 inclusive"),
            ),
            (
                &[("maxclients", "-1")],
                failed("maxclients", "argument must be between 1 and 4294967295 inclusive"),
            ),
            (
                &[("appendfsync", "x")],
                failed(
                    "appendfsync",
                    "argument(s) must be one of the following: everysec, always, no",
                ),
            ),
            (&[("save", "1  2")], failed("save", "Invalid save parameters")),
            (
                &[("proc-title-template", "{x}")],
                failed(
                    "proc-title-template",
                    "template format is invalid or contains unknown variables",
                ),
            ),
            (
                &[("cluster-announce-hostname", "a b")],
                failed(
                    "cluster-announce-hostname",
                    "Hostnames may only contain alphanumeric characters, hyphens or dots",
                ),
            ),
        ];
        for (pairs, expected) in table {
            assert_eq!(set(&mut Config::default(), pairs).unwrap_err(), expected);
        }
        let defrag = set(&mut Config::default(), &[("activedefrag", "yes")]);
        assert_eq!(defrag.is_ok(), TELLS_AREAS);

        let loading = SetContext { loading: true, local: true };
        let mut config =
            Config { enable_protected_configs: ProtectedAction::Local, ..Config::default() };
        let error = config.set(&[(b"dir", b"/")], loading).unwrap_err();
        assert_eq!(error, SetError::Loading);
        assert!(config.set(&[(b"loglevel", b"debug")], loading).is_ok());
        assert!(config.set(&[(b"dbfilename", b"x")], loading).is_ok());
        let error = config.set(&[(b"dbfilename", b"a/b")], loading).unwrap_err();
        assert_eq!(
            CommandError::from(error).to_string(),
            failed("dbfilename", "dbfilename can't be a path, just a filename")
        );
    }

    #[test]
    fn secrets_may_be_any_bytes() {
        let mut config = Config::default();
        config.set(&[(b"requirepass", b"\xff\0x")], SetContext::default()).unwrap();
        assert_eq!(config.requirepass.as_deref(), Some(&b"\xff\0x"[..]));
        config.set(&[(b"requirepass", b"")], SetContext::default()).unwrap();
        assert_eq!(config.requirepass, None);
        assert!(config.set(&[(b"availability-zone", b"\xff")], SetContext::default()).is_err());
    }
}
