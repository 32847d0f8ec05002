//! Configuration files: one directive a line, `include`d files, and the errors that stop the start.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::directives::{Config, DIRECTIVES};
use super::error::{ConfigError, Origin, SourceLine};
use super::kind::Flags;
use super::values::Reason;
use super::{Directive, lookup};
use crate::util::args::split_args;
use crate::util::glob::glob_match;
use crate::util::io_reason;

/// Files may include each other this deeply; a file that includes itself ends here.
const MAX_INCLUDE_DEPTH: usize = 32;

/// Lines of old versions that are accepted and ignored, each with one argument.
const DEPRECATED: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

/// Text with lines of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub origin: Origin,
    pub text: Vec<u8>,
}

/// What some sources say.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The configuration, without the lines that are wrong.
    pub config: Config,
    /// Lines to log, about directives without effect.
    pub log: Vec<String>,
    /// What is wrong.
    pub faults: Vec<ConfigError>,
}

impl Reading {
    /// # Errors
    /// The first fault.
    pub(super) fn without_fault(self) -> Result<(Config, Vec<String>), ConfigError> {
        match self.faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok((self.config, self.log)),
        }
    }
}

impl Config {
    /// Reads the text of a configuration file over the defaults of `base`. Also returns lines to log, about directives
    /// without effect.
    ///
    /// Paths of `include` start from `dir`, as it is at that line.
    pub fn load(base: Self, text: &[u8]) -> Result<(Self, Vec<String>), ConfigError> {
        let source = Source { origin: Origin::StandardInput, text: text.to_vec() };
        Self::read(base, &[source], 1).without_fault()
    }

    /// Reads one source after the other, until there are so many faults.
    pub(super) fn read(base: Self, sources: &[Source], max_faults: usize) -> Reading {
        let mut loader = Loader {
            config: base,
            log: Vec::new(),
            faults: Vec::new(),
            max_faults,
            save_seen: false,
        };
        loader.load(sources, 0);
        let Loader { mut config, mut log, mut faults, .. } = loader;
        if config.cluster_enabled && config.replicaof.is_some() {
            let reason = "replicaof directive not allowed in cluster mode";
            faults.push(ConfigError::Whole(reason.into()));
        }
        config.normalize();
        let defaults = Self::default();
        let idle = DIRECTIVES.iter().filter(|directive| directive.flags.contains(Flags::NO_EFFECT));
        let set = idle.filter(|directive| directive.value(&config) != directive.value(&defaults));
        log.extend(set.map(Directive::no_effect_line));
        Reading { config, log, faults }
    }
}

struct Loader {
    config: Config,
    log: Vec<String>,
    faults: Vec<ConfigError>,
    max_faults: usize,
    /// The first `save` replaces the default points, the next ones add to it.
    save_seen: bool,
}

impl Loader {
    fn load(&mut self, sources: &[Source], depth: usize) {
        let mut before = 0;
        for source in sources {
            if matches!(source.origin, Origin::File(_)) {
                before = 0;
            }
            let lines = source.text.split(|&byte| byte == b'\n');
            for (line_no, line) in (before + 1..).zip(lines) {
                if self.faults.len() >= self.max_faults {
                    return;
                }
                if let Err(fault) = self.text_line(&source.origin, line_no, line, depth) {
                    self.faults.push(fault);
                }
            }
            before += source.text.iter().filter(|&&byte| byte == b'\n').count();
        }
    }

    fn text_line(
        &mut self,
        origin: &Origin,
        line_no: usize,
        line: &[u8],
        depth: usize,
    ) -> Result<(), ConfigError> {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            return Ok(());
        }
        let mut source = SourceLine {
            origin: origin.clone(),
            line_no,
            line: String::from_utf8_lossy(line).into_owned(),
            args: Vec::new(),
        };
        source.args = split_args(line)
            .ok_or_else(|| source.error("Unbalanced quotes in configuration line"))?;
        if source.args.is_empty() { Ok(()) } else { self.line(source, depth) }
    }

    fn line(&mut self, source: SourceLine, depth: usize) -> Result<(), ConfigError> {
        let name = source.args[0].to_ascii_lowercase();
        let values: Vec<&[u8]> = source.args[1..].iter().map(Vec::as_slice).collect();
        if let Some((directive, _)) = lookup(&name) {
            return self.directive(directive, &values).map_err(|reason| source.error(reason));
        }
        match (name.as_slice(), values.as_slice()) {
            (b"include", [path]) => {
                if depth == MAX_INCLUDE_DEPTH {
                    return Err(source.error("Too many levels of include"));
                }
                let path = self.config.dir.join(std::ffi::OsStr::from_bytes(path));
                self.load(&read(&path)?, depth + 1);
            }
            (b"rename-command", [_, _]) => self.config.rename_command.push(source),
            (b"user", [_, ..]) => self.config.user.push(source),
            (b"loadmodule", [path, ..]) => {
                let path = String::from_utf8_lossy(path);
                self.log.push(format!("Module '{path}' is not loaded: modules have no effect yet"));
            }
            (b"sentinel", _) => {
                return Err(source.error("sentinel directive while not in sentinel mode"));
            }
            (deprecated, [_]) if DEPRECATED.contains(&deprecated) => {}
            (module, []) if module.contains(&b'.') => {
                return Err(source.error("Module config specified without value"));
            }
            (module, _) if module.contains(&b'.') => {
                let name = String::from_utf8_lossy(module);
                self.log.push(format!("Directive '{name}' is accepted but has no effect yet"));
            }
            _ => return Err(source.error("Bad directive or wrong number of arguments")),
        }
        Ok(())
    }

    fn directive(&mut self, directive: &Directive, args: &[&[u8]]) -> Result<(), Reason> {
        // `save "900 1"` is the same as `save 900 1`; a lone empty argument has a meaning of its own.
        let split = match args {
            [one] if directive.flags.contains(Flags::MULTI_ARG) && !one.is_empty() => {
                Some(split_args(one).ok_or("Unbalanced quotes in configuration line")?)
            }
            _ => None,
        };
        let split: Option<Vec<&[u8]>> =
            split.as_ref().map(|args| args.iter().map(Vec::as_slice).collect());
        let args = split.as_deref().unwrap_or(args);
        if directive.name != "save" {
            return directive.assign(&mut self.config, args);
        }
        let mut before = std::mem::take(&mut self.config.save);
        directive.assign(&mut self.config, args)?;
        let reset = matches!(args, [only] if only.is_empty());
        if self.save_seen && !reset {
            before.append(&mut self.config.save);
            self.config.save = before;
        }
        self.save_seen = true;
        Ok(())
    }
}

/// A file, or all files that a path with wildcards matches (there may be none).
pub(super) fn read(path: &Path) -> Result<Vec<Source>, ConfigError> {
    let files = if has_wildcard(path.as_os_str().as_bytes()) {
        expand(path)
    } else {
        vec![path.to_owned()]
    };
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(mut text) => {
            text.push(b'\n');
            Ok(Source { origin: Origin::File(path), text })
        }
        Err(error) => Err(ConfigError::Unreadable { path, reason: io_reason(&error) }),
    };
    files.into_iter().map(read).collect()
}

fn has_wildcard(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// The paths that a path with wildcards stands for, sorted. A wildcard does not match a `.` in front.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let component = component.as_os_str();
        let bytes = component.as_bytes();
        if !has_wildcard(bytes) {
            found = found.into_iter().map(|base| base.join(component)).collect();
            continue;
        }
        let entries =
            found.into_iter().flat_map(|base| fs::read_dir(base).into_iter().flatten().flatten());
        let matching = entries.filter(|entry| {
            let name = entry.file_name();
            let hidden = name.as_bytes().starts_with(b".") && !bytes.starts_with(b".");
            !hidden && glob_match(bytes, name.as_bytes(), false)
        });
        found = matching.map(|entry| entry.path()).collect();
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::super::values::{CLASS_PUBSUB, CLASS_REPLICA};
    use super::*;
    use proptest::prelude::*;

    /// The directives of the file that Redis ships, in short.
    const SAMPLE: &str = r#"
# Comments and empty lines are skipped.
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-keepalive 300
daemonize no
pidfile /var/run/redis_6379.pid
loglevel notice
logfile ""
proc-title-template "{title} {listen-addr} {server-mode}"
locale-collate ""
dir ./
slave-read-only yes
oom-score-adj-values 0 200 800
appenddirname "appendonlydir"
auto-aof-rewrite-min-size 64mb
notify-keyspace-events ""
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 512mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 61
list-max-ziplist-entries 512
	HASH-MAX-ZIPLIST-VALUE 65
io-threads 4
tls-port 6380
loadmodule /path/to/module.so with arguments
json.limit 3
rename-command CONFIG ""
user worker +@list ~jobs:*
"#;

    fn load(text: &str) -> Result<Config, String> {
        Config::load(Config::default(), text.as_bytes())
            .map(|(config, _)| config)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sample_file() {
        let (config, log) = Config::load(Config::default(), SAMPLE.as_bytes()).unwrap();
        assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
        assert_eq!(config.pidfile.as_deref(), Some("/var/run/redis_6379.pid"));
        assert_eq!(config.client_output_buffer_limit[CLASS_REPLICA].hard, 512 << 20);
        assert_eq!(config.client_output_buffer_limit[CLASS_PUBSUB].soft_seconds, 61);
        assert_eq!(config.hash_max_listpack_value, 65);
        assert_eq!(config.rename_command[0].args[1..], [b"CONFIG".to_vec(), Vec::new()]);
        assert_eq!(config.user[0].line, "user worker +@list ~jobs:*");
        assert_eq!(log.len(), 3, "{log:?}");
        assert!(
            log.iter()
                .any(|line| line == "Directive 'io-threads' is accepted but has no effect yet")
        );
    }

    #[test]
    fn errors_name_line_and_reason() {
        assert_eq!(
            load("port 1\n\n  nonsense 1 2  \n").unwrap_err(),
            "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\nReading the configuration file, at line 3\n\
             >>> 'nonsense 1 2'\nBad directive or wrong number of arguments"
        );
        let table = [
            ("port", "wrong number of arguments"),
            ("port 1 2", "wrong number of arguments"),
            ("port \"1", "Unbalanced quotes in configuration line"),
            ("port abc", "argument couldn't be parsed into an integer"),
            ("replicaof 127.0.0.1", "wrong number of arguments"),
            (
                "shutdown-on-sigint",
                "argument(s) must be one of the following: default, save, nosave, now, force",
            ),
            ("save 1 2 3", "Invalid save parameters"),
            ("dir /no/such/place", "No such file or directory"),
            ("user", "Bad directive or wrong number of arguments"),
            ("rename-command x", "Bad directive or wrong number of arguments"),
            ("json.limit", "Module config specified without value"),
            ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
            (
                "cluster-enabled yes\nreplicaof h 1",
                "replicaof directive not allowed in cluster mode",
            ),
        ];
        for (text, reason) in table {
            assert!(load(text).unwrap_err().ends_with(&format!("\n{reason}")), "{text}");
        }
    }

    #[test]
    fn save_lines_add_up() {
        let save = |text: &str| load(text).unwrap().save.len();
        assert_eq!(save(""), 3);
        assert_eq!(save("save 900 1"), 1);
        assert_eq!(save("save 900 1\nsave 100 100"), 2);
        assert_eq!(save("save \"900 1\"\nsave 1 2 3 4"), 3);
        assert_eq!(save("save 900 1\nsave \"\""), 0);
        assert_eq!(save("save \"\"\nsave 900 1"), 1);
        assert_eq!(save("save 900 1\nsave"), 1);
        assert_eq!(save("save"), 0);
    }

    #[test]
    fn include_files_and_patterns() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        fs::create_dir(dir.join("conf.d")).unwrap();
        fs::write(dir.join("conf.d/1.conf"), "port 1\nmaxclients 5").unwrap();
        fs::write(dir.join("conf.d/2.conf"), "port 2").unwrap();
        fs::write(dir.join("conf.d/.3.conf"), "port 3").unwrap();
        fs::write(dir.join("self.conf"), "include self.conf").unwrap();
        let with = |line: &str| load(&format!("dir {}\n{line}", dir.display()));
        let config = with("include conf.d/*.conf").unwrap();
        assert_eq!((config.port, config.maxclients), (2, 5));
        assert_eq!(with("include conf.d/1.conf\nport 9").unwrap().port, 9);
        assert_eq!(with("include none.d/*").unwrap().port, 6379);
        assert!(
            with("include none.conf")
                .unwrap_err()
                .ends_with("none.conf': No such file or directory")
        );
        assert!(with("include self.conf").unwrap_err().ends_with("Too many levels of include"));
    }

    #[test]
    fn hints_come_into_range_and_defrag_may_be_on_in_a_file() {
        let config =
            load("hz 0\nactivedefrag yes\nreplicaof \"10.0.0.1 6379\"\nslaveof no one").unwrap();
        assert_eq!((config.hz, config.activedefrag, config.replicaof), (1, true, None));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(port|save|bind|dir|user|include|maxmemory-clients|latency-tracking-info-percentiles|client-output-buffer-limit|[a-z.]{1,9})? ?\\PC{0,40}\n?\\PC{0,20}") {
            let _ = Config::load(Config::default(), text.as_bytes());
        }
    }
}
