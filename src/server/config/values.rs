//! The types of configuration values that are more than a number or a text.
//!
//! Directives with a closed set of words are plain enums made by [`choices!`]; they share the trait [`Choice`].
//! Directives with a grammar of their own (`save`, `bind`, …) implement [`Special`]: read a list of arguments,
//! print the value as `CONFIG GET` does, and give the lines for `CONFIG REWRITE`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use bitflags::bitflags;

use crate::server::flavour::Flavour;
use crate::util::args::quote;
use crate::util::io_reason;
use crate::util::memory_units::parse_memory;

/// Why a value was refused, in Redis's words.
pub type Reason = Cow<'static, str>;

/// A line that `CONFIG REWRITE` would write for a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteLine {
    /// The whole line, without its end.
    pub text: Vec<u8>,
    /// Whether the line is appended when the file does not mention the directive yet.
    pub force: bool,
}

impl RewriteLine {
    fn new(name: &str, value: &str, force: bool) -> Self {
        Self { text: format!("{name} {value}").into_bytes(), force }
    }

    /// A line whose value is one quoted argument.
    pub fn quoted(name: &str, value: &[u8], force: bool) -> Self {
        let mut text = format!("{name} ").into_bytes();
        text.extend(quote(value));
        Self { text, force }
    }
}

/// A directive's value that is one word of a fixed list.
pub trait Choice: Copy + PartialEq + 'static {
    /// The words in the order in which Redis lists them. Two words may stand for one value: the first is printed.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value.
    fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("unknown", |(word, _)| word)
    }

    /// The value for a word, in any case.
    fn parse(word: &[u8]) -> Result<Self, Reason> {
        Self::WORDS
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(word))
            .map(|(_, value)| *value)
            .ok_or_else(|| one_of(Self::WORDS.iter().map(|(known, _)| *known)))
    }
}

fn one_of(words: impl Iterator<Item = &'static str>) -> Reason {
    let words: Vec<_> = words.collect();
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

/// Declares an enum with its words: `Name { Variant = "word" | "synonym", … }`.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $($word:literal)|+),+ $(,)?
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$($(($word, $name::$variant)),+),+];
        }
    )+};
}

choices! {
    /// How snapshots are made.
    SnapshotMethod {
        /// By a forked child.
        Fork = "fork",
        /// By the server itself, in slices between turns of the loop.
        Incremental = "incremental" | "forkless",
    }

    /// The form of a line of the log.
    LogFormat {
        /// `PID:ROLE TIME LEVEL TEXT`, as always.
        Legacy = "legacy",
        /// `name=value` for each part.
        Logfmt = "logfmt",
        /// An object of JSON.
        Json = "json",
    }

    /// How a line of the log says when it was written.
    LogTimestamp {
        /// `01 Jan 2026 00:00:00.000`, as always.
        Legacy = "legacy",
        /// `2026-01-01T00:00:00.000+00:00`
        Iso8601 = "iso8601",
        /// Milliseconds since 1970.
        Milliseconds = "milliseconds",
    }

    /// What to do when a cluster's file can't be written.
    ClusterSaveBehavior {
        /// End, so that nothing is promised that is not kept.
        Sync = "sync",
        /// Go on.
        BestEffort = "best-effort",
    }

    /// Which snapshots of other versions are read.
    RdbVersionCheck {
        /// Those whose version is known.
        Strict = "strict",
        /// Any that can be read to the end.
        Relaxed = "relaxed",
    }

    /// What to do when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// Evict the least recently used of the keys with a time to live.
        VolatileLru = "volatile-lru",
        /// Evict the least frequently used of the keys with a time to live.
        VolatileLfu = "volatile-lfu",
        /// Evict any key with a time to live.
        VolatileRandom = "volatile-random",
        /// Evict the key that expires soonest.
        VolatileTtl = "volatile-ttl",
        /// Evict the least recently used key.
        AllkeysLru = "allkeys-lru",
        /// Evict the least frequently used key.
        AllkeysLfu = "allkeys-lfu",
        /// Evict any key.
        AllkeysRandom = "allkeys-random",
        /// Refuse commands that need memory.
        NoEviction = "noeviction",
    }

    /// The facility under which messages go to syslog.
    SyslogFacility {
        /// `LOG_USER`.
        User = "user",
        /// `LOG_LOCAL0`.
        Local0 = "local0",
        /// `LOG_LOCAL1`.
        Local1 = "local1",
        /// `LOG_LOCAL2`.
        Local2 = "local2",
        /// `LOG_LOCAL3`.
        Local3 = "local3",
        /// `LOG_LOCAL4`.
        Local4 = "local4",
        /// `LOG_LOCAL5`.
        Local5 = "local5",
        /// `LOG_LOCAL6`.
        Local6 = "local6",
        /// `LOG_LOCAL7`.
        Local7 = "local7",
    }

    /// The least important messages that are logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much that is rarely useful.
        Verbose = "verbose",
        /// What one wants in production.
        Notice = "notice",
        /// Only what is important.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }

    /// Which init system started the server.
    Supervised {
        /// Raise SIGSTOP when ready.
        Upstart = "upstart",
        /// Write `READY=1` to `$NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// Find out from the environment.
        Auto = "auto",
        /// None.
        No = "no",
    }

    /// When the append-only file is flushed to disk.
    AppendFsync {
        /// Once a second, from a background thread.
        Everysec = "everysec",
        /// Before the reply to each write is sent.
        Always = "always",
        /// When the system likes to.
        No = "no",
    }

    /// How a replica loads the snapshot of its primary.
    ReplDisklessLoad {
        /// Through a file.
        Disabled = "disabled",
        /// From the socket when there is nothing to lose.
        OnEmptyDb = "on-empty-db",
        /// From the socket into second databases, swapped in at the end.
        Swapdb = "swapdb",
    }

    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        /// No.
        No = "no",
        /// Yes.
        Yes = "yes",
        /// Checked only when shown.
        Optional = "optional",
    }

    /// What in a TLS client's certificate names the user that the client is.
    TlsAuthClientsUser {
        /// Nothing.
        Off = "off",
        /// The common name.
        Cn = "CN",
        /// One of the URIs among the alternative names.
        Uri = "URI",
    }

    /// How `oom_score_adj` of the process is set.
    OomScoreAdj {
        /// Left alone.
        No = "no",
        /// The values are added to what the process started with.
        Relative = "yes" | "relative",
        /// The values are set as they are.
        Absolute = "absolute",
    }

    /// Which pub/sub channels a new user may use.
    AclPubsubDefault {
        /// All.
        AllChannels = "allchannels",
        /// None.
        ResetChannels = "resetchannels",
    }

    /// When dumped payloads are checked deeply.
    SanitizeDumpPayload {
        /// Never.
        No = "no",
        /// Always.
        Yes = "yes",
        /// For RESTORE from clients, not for files and the primary.
        Clients = "clients",
    }

    /// Who may do something dangerous.
    ProtectedAction {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections over loopback or a Unix socket.
        Local = "local",
    }

    /// Which endpoint cluster clients are told.
    ClusterEndpointType {
        /// The address.
        Ip = "ip",
        /// The announced host name.
        Hostname = "hostname",
        /// None: the client keeps the address that it used.
        UnknownEndpoint = "unknown-endpoint",
    }

    /// What to do when a replicated command, or one of the append-only file, fails.
    PropagationErrorBehavior {
        /// Go on.
        Ignore = "ignore",
        /// Stop the server.
        Panic = "panic",
        /// Stop the server if it is a replica.
        PanicOnReplicas = "panic-on-replicas",
    }
}

impl MaxmemoryPolicy {
    /// Whether keys are evicted by how long they have been idle.
    pub fn is_lru(self) -> bool {
        matches!(self, Self::VolatileLru | Self::AllkeysLru)
    }

    /// Whether keys are evicted by how often they are used.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Whether keys are evicted by chance.
    pub fn is_random(self) -> bool {
        matches!(self, Self::VolatileRandom | Self::AllkeysRandom)
    }

    /// Whether only keys with a time to live are evicted.
    pub fn is_volatile(self) -> bool {
        use MaxmemoryPolicy::{VolatileLfu, VolatileLru, VolatileRandom, VolatileTtl};
        matches!(self, VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl)
    }
}

impl ProtectedAction {
    /// Whether a client may do it; `local` says that it came over loopback or a Unix socket.
    pub fn allows(self, local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Local => local,
        }
    }
}

/// A directive's value with a grammar of its own.
pub trait Special: PartialEq + Sized {
    /// Reads the value from its arguments; `flavour` says whose words an error has. On an error the value stays as it
    /// was.
    fn assign(&mut self, args: &[&[u8]], flavour: Flavour) -> Result<(), Reason>;

    /// The value as `CONFIG GET` prints it.
    fn format(&self) -> String;

    /// The lines that set this value; `default` is what the directive means when it is missing.
    fn rewrite(&self, name: &str, default: &Self) -> Vec<RewriteLine> {
        let value = self.format();
        let value = if value.is_empty() { "\"\"".into() } else { value };
        vec![RewriteLine::new(name, &value, self != default)]
    }
}

fn text(arg: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(arg).map_err(|_| "argument must be valid UTF-8".into())
}

fn number<T: std::str::FromStr>(arg: &[u8]) -> Option<T> {
    std::str::from_utf8(arg).ok()?.parse().ok()
}

/// One argument that is the empty text means no arguments (`save ""`).
fn without_lone_empty<'a, 'b>(args: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    if matches!(args, [only] if only.is_empty()) { &[] } else { args }
}

fn join<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

/// `save`: a snapshot is taken after `seconds` if at least `changes` writes happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot, at least 1.
    pub seconds: u64,
    /// Number of writes since the last snapshot.
    pub changes: u64,
}

impl Special for Vec<SavePoint> {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let pairs = without_lone_empty(args).chunks(2);
        let point = |pair: &[&[u8]]| {
            let &[seconds, changes] = pair else {
                return None;
            };
            let (seconds, changes): (i64, i64) = (number(seconds)?, number(changes)?);
            let point =
                SavePoint { seconds: seconds.try_into().ok()?, changes: changes.try_into().ok()? };
            (point.seconds >= 1).then_some(point)
        };
        let points: Option<Vec<_>> = pairs.map(point).collect();
        *self = points.ok_or("Invalid save parameters")?;
        Ok(())
    }

    fn format(&self) -> String {
        join(self.iter().flat_map(|point| [point.seconds, point.changes]))
    }

    /// A line for each point. Always written: a file without `save` means the default points.
    fn rewrite(&self, name: &str, _default: &Self) -> Vec<RewriteLine> {
        if self.is_empty() {
            return always_written(self, name);
        }
        let value = |point: &SavePoint| format!("{} {}", point.seconds, point.changes);
        self.iter().map(|point| RewriteLine::new(name, &value(point), true)).collect()
    }
}

fn always_written<T: Special>(value: &T, name: &str) -> Vec<RewriteLine> {
    let value = value.format();
    vec![RewriteLine::new(name, if value.is_empty() { "\"\"" } else { &value }, true)]
}

/// When a client is closed because it does not read its replies. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is closed at once.
    pub hard: u64,
    /// Bytes at which it is closed after `soft_seconds` above them.
    pub soft: u64,
    /// Seconds.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`: one limit for each class of clients, in the order of the constants here.
pub type OutputLimits = [OutputLimit; 3];

/// Index of normal clients in [`OutputLimits`].
pub const CLASS_NORMAL: usize = 0;
/// Index of replicas in [`OutputLimits`].
pub const CLASS_REPLICA: usize = 1;
/// Index of clients that subscribed to a channel in [`OutputLimits`].
pub const CLASS_PUBSUB: usize = 2;

fn client_class(name: &[u8]) -> Option<usize> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Some(CLASS_NORMAL),
        b"slave" | b"replica" => Some(CLASS_REPLICA),
        b"pubsub" => Some(CLASS_PUBSUB),
        _ => None,
    }
}

impl Special for OutputLimits {
    /// `class hard soft seconds`, any number of times; the classes that are not named keep their limits.
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let mut limits = *self;
        for group in args.chunks(4) {
            let &[class, hard, soft, soft_seconds] = group else {
                return Err("Wrong number of arguments in buffer limit configuration.".into());
            };
            let class = client_class(class)
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let memory = |arg: &[u8]| parse_memory(std::str::from_utf8(arg).ok()?);
            let limit = || {
                let soft_seconds: i64 = number(soft_seconds)?;
                Some(OutputLimit {
                    hard: memory(hard)?,
                    soft: memory(soft)?,
                    soft_seconds: soft_seconds.try_into().ok()?,
                })
            };
            limits[class] = limit().ok_or(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            )?;
        }
        *self = limits;
        Ok(())
    }

    fn format(&self) -> String {
        let one = |(name, limit): (&str, &OutputLimit)| {
            format!("{name} {} {} {}", limit.hard, limit.soft, limit.soft_seconds)
        };
        join(["normal", "slave", "pubsub"].into_iter().zip(self).map(one))
    }

    /// One line for each class.
    fn rewrite(&self, name: &str, default: &Self) -> Vec<RewriteLine> {
        let classes = ["normal", "replica", "pubsub"].into_iter().zip(self.iter().zip(default));
        classes
            .map(|(class, (limit, default))| {
                let (hard, soft) = (format_memory(limit.hard), format_memory(limit.soft));
                let value = format!("{class} {hard} {soft} {}", limit.soft_seconds);
                RewriteLine::new(name, &value, limit != default)
            })
            .collect()
    }
}

/// Bytes with the largest unit that divides them, as `CONFIG REWRITE` writes them.
pub fn format_memory(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match UNITS.iter().find(|(size, _)| bytes != 0 && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

/// `oom-score-adj-values`: the scores of a primary, a replica, and a background child.
pub type OomScores = [i32; 3];

impl Special for OomScores {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let args: &[&[u8]; 3] = args.try_into().map_err(|_| "wrong number of arguments")?;
        let mut scores = [0; 3];
        for (score, arg) in scores.iter_mut().zip(args) {
            *score = number(arg)
                .filter(|score| (-2000..=2000).contains(score))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        *self = scores;
        Ok(())
    }

    fn format(&self) -> String {
        join(self)
    }
}

bitflags! {
    /// `notify-keyspace-events`: the classes of events that are published. The bits are Redis's own.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct NotifyFlags: u32 {
        /// `K`: publish on `__keyspace@<db>__:<key>`.
        const KEYSPACE = 1 << 0;
        /// `E`: publish on `__keyevent@<db>__:<event>`.
        const KEYEVENT = 1 << 1;
        /// `g`: commands for any type, such as DEL and EXPIRE.
        const GENERIC = 1 << 2;
        /// `$`: strings.
        const STRING = 1 << 3;
        /// `l`: lists.
        const LIST = 1 << 4;
        /// `s`: sets.
        const SET = 1 << 5;
        /// `h`: hashes.
        const HASH = 1 << 6;
        /// `z`: sorted sets.
        const ZSET = 1 << 7;
        /// `x`: keys that expired.
        const EXPIRED = 1 << 8;
        /// `e`: keys that were evicted.
        const EVICTED = 1 << 9;
        /// `t`: streams.
        const STREAM = 1 << 10;
        /// `m`: keys that were looked up in vain. Not part of `A`.
        const KEY_MISS = 1 << 11;
        /// `d`: keys of modules.
        const MODULE = 1 << 13;
        /// `n`: new keys. Not part of `A`.
        const NEW = 1 << 14;
        /// `A`: all classes but `m` and `n`.
        const ALL = Self::GENERIC.bits() | Self::STRING.bits() | Self::LIST.bits() | Self::SET.bits()
            | Self::HASH.bits() | Self::ZSET.bits() | Self::EXPIRED.bits() | Self::EVICTED.bits()
            | Self::STREAM.bits() | Self::MODULE.bits();
    }
}

impl NotifyFlags {
    const LETTERS: [(char, Self); 14] = [
        ('g', Self::GENERIC),
        ('$', Self::STRING),
        ('l', Self::LIST),
        ('s', Self::SET),
        ('h', Self::HASH),
        ('z', Self::ZSET),
        ('x', Self::EXPIRED),
        ('e', Self::EVICTED),
        ('t', Self::STREAM),
        ('d', Self::MODULE),
        ('n', Self::NEW),
        ('K', Self::KEYSPACE),
        ('E', Self::KEYEVENT),
        ('m', Self::KEY_MISS),
    ];

    /// The flags for a text of class letters, or `None` if one of them is unknown.
    pub fn from_letters(letters: &str) -> Option<Self> {
        letters.chars().try_fold(Self::empty(), |flags, letter| match letter {
            'A' => Some(flags | Self::ALL),
            _ => Self::LETTERS
                .iter()
                .find(|(known, _)| *known == letter)
                .map(|(_, flag)| flags | *flag),
        })
    }

    /// The shortest letters for these flags. `n` is kept beside `A` (Redis 7.2 forgets it).
    pub fn to_letters(self) -> String {
        let all = self.contains(Self::ALL);
        let rest = if all { self - Self::ALL } else { self };
        let letters =
            Self::LETTERS.iter().filter(|(_, flag)| rest.contains(*flag)).map(|(c, _)| *c);
        all.then_some('A').into_iter().chain(letters).collect()
    }
}

impl Special for NotifyFlags {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let [letters] = args else {
            return Err("wrong number of arguments".into());
        };
        *self = std::str::from_utf8(letters)
            .ok()
            .and_then(Self::from_letters)
            .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(())
    }

    fn format(&self) -> String {
        self.to_letters()
    }

    fn rewrite(&self, name: &str, default: &Self) -> Vec<RewriteLine> {
        vec![RewriteLine::quoted(name, self.format().as_bytes(), self != default)]
    }
}

/// The most addresses that `bind` takes.
const BINDADDR_MAX: usize = 16;

/// `bind`: addresses to listen on; `-` in front: no error if it is not there.
impl Special for Vec<String> {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        if args.len() > BINDADDR_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        // What no address has could not be read again from the file, either.
        let is_plain = |b: &u8| b.is_ascii_graphic() && !b"\"'\\#".contains(b);
        let address = |arg: &&[u8]| match text(arg) {
            Ok(address) if arg.iter().all(is_plain) => Ok(address.to_owned()),
            _ => Err("argument must be an address".into()),
        };
        *self = without_lone_empty(args).iter().map(address).collect::<Result<_, Reason>>()?;
        Ok(())
    }

    fn format(&self) -> String {
        self.join(" ")
    }

    /// The default cannot be told from a missing line, so it is written as that.
    fn rewrite(&self, name: &str, default: &Self) -> Vec<RewriteLine> {
        if self == default { Vec::new() } else { always_written(self, name) }
    }
}

/// `replicaof`: where the primary is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Special for Option<PrimaryAddress> {
    fn assign(&mut self, args: &[&[u8]], flavour: Flavour) -> Result<(), Reason> {
        let [host, port] = args else {
            return Err("wrong number of arguments".into());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = number(port).ok_or_else(|| format!("Invalid {} port", flavour.primary()))?;
        *self = Some(PrimaryAddress { host: text(host)?.to_owned(), port });
        Ok(())
    }

    fn format(&self) -> String {
        self.as_ref().map_or(String::new(), |primary| format!("{} {}", primary.host, primary.port))
    }

    fn rewrite(&self, name: &str, _default: &Self) -> Vec<RewriteLine> {
        if self.is_none() { Vec::new() } else { always_written(self, name) }
    }
}

/// `latency-tracking-info-percentiles`: from 0 to 100.
impl Special for Vec<f64> {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let mut percentiles = Vec::with_capacity(args.len());
        for arg in without_lone_empty(args) {
            let percentile = number(arg)
                .filter(|percentile: &f64| !percentile.is_nan())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                let reason =
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
                return Err(reason.into());
            }
            percentiles.push(percentile);
        }
        *self = percentiles;
        Ok(())
    }

    fn format(&self) -> String {
        let trimmed = |value: &f64| {
            format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        join(self.iter().map(trimmed))
    }

    fn rewrite(&self, name: &str, _default: &Self) -> Vec<RewriteLine> {
        always_written(self, name)
    }
}

bitflags! {
    /// `shutdown-on-sigint`, `shutdown-on-sigterm`: how to stop on a signal. The bits are Redis's own.
    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub struct ShutdownFlags: u8 {
        /// Save even when there are no save points.
        const SAVE = 1;
        /// Do not save even when there are save points.
        const NOSAVE = 2;
        /// Do not wait for replicas.
        const NOW = 4;
        /// Stop even when saving fails.
        const FORCE = 8;
    }
}

impl ShutdownFlags {
    const WORDS: [(&'static str, Self); 5] = [
        ("default", Self::empty()),
        ("save", Self::SAVE),
        ("nosave", Self::NOSAVE),
        ("now", Self::NOW),
        ("force", Self::FORCE),
    ];
}

impl Special for ShutdownFlags {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let refused = || one_of(Self::WORDS.iter().map(|(word, _)| *word));
        if args.is_empty() {
            return Err(refused());
        }
        let mut flags = Self::empty();
        for arg in args {
            let known =
                Self::WORDS.iter().find(|(word, _)| word.as_bytes().eq_ignore_ascii_case(arg));
            flags |= known.ok_or_else(refused)?.1;
        }
        if flags.contains(Self::SAVE | Self::NOSAVE) {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }

    fn format(&self) -> String {
        let words = Self::WORDS.iter().skip(1).filter(|(_, flag)| self.contains(*flag));
        if self.is_empty() { "default".into() } else { join(words.map(|(word, _)| word)) }
    }
}

/// `dir`: the working directory, always absolute. A relative value starts from the one before, as with chdir(2).
/// It is only checked here; the caller changes the directory.
impl Special for PathBuf {
    fn assign(&mut self, args: &[&[u8]], _: Flavour) -> Result<(), Reason> {
        let [path] = args else {
            return Err("wrong number of arguments".into());
        };
        if path.is_empty() {
            return Err("dir can't be empty".into());
        }
        let path = self.join(text(path)?).canonicalize().map_err(|error| io_reason(&error))?;
        if !path.is_dir() {
            return Err("Not a directory".into());
        }
        *self = path;
        Ok(())
    }

    fn format(&self) -> String {
        self.display().to_string()
    }

    fn rewrite(&self, name: &str, _default: &Self) -> Vec<RewriteLine> {
        use std::os::unix::ffi::OsStrExt;
        vec![RewriteLine::quoted(name, Path::as_os_str(self).as_bytes(), true)]
    }
}

/// Replaces each `{variable}` of a `proc-title-template`; `{{` is a brace. `None` if a variable is unknown or open.
pub fn expand_template(
    template: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut title = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        title.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            title.push('{');
            rest = after;
        } else {
            let (name, after) = after.split_once('}')?;
            title.push_str(&variable(name)?);
            rest = after;
        }
    }
    title.push_str(rest);
    Some(title.trim_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<T: Special>(value: &mut T, args: &[&str]) -> Result<(), Reason> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        value.assign(&args, Flavour::REDIS)
    }

    #[test]
    fn choices_read_any_case_and_print_the_first_word() {
        assert_eq!(MaxmemoryPolicy::parse(b"AllKeys-LRU"), Ok(MaxmemoryPolicy::AllkeysLru));
        assert_eq!(OomScoreAdj::parse(b"relative").map(Choice::name), Ok("yes"));
        assert_eq!(
            LogLevel::parse(b"zz").unwrap_err(),
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing"
        );
    }

    #[test]
    fn save_points() {
        let mut save = vec![SavePoint { seconds: 9, changes: 9 }];
        for bad in
            [&["1"][..], &["0", "1"], &["1", "-1"], &["a", "1"], &["1", "2", "3"], &["1", ""]]
        {
            assert_eq!(set(&mut save, bad).unwrap_err(), "Invalid save parameters", "{bad:?}");
        }
        assert_eq!(save.format(), "9 9");
        set(&mut save, &["900", "1", "60", "0"]).unwrap();
        assert_eq!(save.format(), "900 1 60 0");
        set(&mut save, &[""]).unwrap();
        assert_eq!(save.format(), "");
    }

    #[test]
    fn output_limits_keep_the_classes_that_are_not_named() {
        let zero = OutputLimit { hard: 0, soft: 0, soft_seconds: 0 };
        let mut limits = [zero; 3];
        set(&mut limits, &["replica", "1mb", "2k", "3"]).unwrap();
        assert_eq!(limits.format(), "normal 0 0 0 slave 1048576 2000 3 pubsub 0 0 0");
        let lines = limits.rewrite("x", &[zero; 3]);
        assert_eq!(lines[1], RewriteLine { text: b"x replica 1mb 2000 3".to_vec(), force: true });
        assert!(!lines[0].force);
        assert!(set(&mut limits, &["normal", "1", "2"]).unwrap_err().starts_with("Wrong number"));
        assert!(
            set(&mut limits, &["master", "1", "2", "3"]).unwrap_err().starts_with("Invalid client")
        );
        assert!(
            set(&mut limits, &["normal", "1", "2", "-3"]).unwrap_err().starts_with("Error in hard")
        );
    }

    #[test]
    fn notify_letters_round_trip() {
        for letters in ["", "A", "AKE", "g$lshzxetdn", "Km", "AnKE"] {
            let flags = NotifyFlags::from_letters(letters).unwrap();
            assert_eq!(NotifyFlags::from_letters(&flags.to_letters()), Some(flags), "{letters}");
        }
        assert_eq!(NotifyFlags::from_letters("KEA").unwrap().to_letters(), "AKE");
        assert_eq!(NotifyFlags::from_letters("q"), None);
    }

    #[test]
    fn shutdown_flags() {
        let mut flags = ShutdownFlags::empty();
        set(&mut flags, &["nosave", "force", "now"]).unwrap();
        assert_eq!(flags.format(), "nosave now force");
        assert!(set(&mut flags, &["save", "nosave"]).unwrap_err().contains("simultaneously"));
        assert!(set(&mut flags, &[]).unwrap_err().starts_with("argument(s) must be one of"));
        set(&mut flags, &["default"]).unwrap();
        assert_eq!(flags.format(), "default");
    }

    #[test]
    fn replicaof_percentiles_scores() {
        let mut primary = None;
        set(&mut primary, &["host", "1"]).unwrap();
        assert_eq!(primary.format(), "host 1");
        assert_eq!(set(&mut primary, &["host", "abc"]).unwrap_err(), "Invalid master port");
        set(&mut primary, &["NO", "one"]).unwrap();
        assert_eq!(primary, None);

        let mut percentiles: Vec<f64> = Vec::new();
        set(&mut percentiles, &["50", "99.9"]).unwrap();
        assert_eq!(percentiles.format(), "50 99.9");
        assert!(set(&mut percentiles, &["nan"]).is_err());
        assert!(set(&mut percentiles, &["101"]).unwrap_err().ends_with("[0.0,100.0]"));
        assert_eq!(percentiles.len(), 2);

        let mut scores = [0, 1, 2];
        assert!(set(&mut scores, &["1", "2"]).is_err());
        assert!(set(&mut scores, &["1", "2", "2001"]).is_err());
        set(&mut scores, &["-1", "2", "3"]).unwrap();
        assert_eq!(scores.format(), "-1 2 3");
    }

    #[test]
    fn dir_is_absolute_and_checked() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("sub")).unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        let mut dir = temp.path().to_path_buf();
        set(&mut dir, &["./sub"]).unwrap();
        assert!(dir.is_absolute() && dir.ends_with("sub"));
        assert_eq!(set(&mut dir, &["nothing"]).unwrap_err(), "No such file or directory");
        assert_eq!(set(&mut dir, &["../file"]).unwrap_err(), "Not a directory");
        assert_eq!(set(&mut dir, &[""]).unwrap_err(), "dir can't be empty");
    }

    #[test]
    fn templates() {
        let title = |name: &str| (name == "title").then(|| "aeolis".to_owned());
        assert_eq!(expand_template(" a {title} {{b} ", title).unwrap(), "a aeolis {b}");
        for bad in ["{", "{title", "{other}"] {
            assert_eq!(expand_template(bad, title), None, "{bad}");
        }
    }

    #[test]
    fn memory_units() {
        for (bytes, text) in
            [(0, "0"), (1000, "1000"), (2048, "2kb"), (3 << 20, "3mb"), (1 << 30, "1gb")]
        {
            assert_eq!(format_memory(bytes), text);
        }
    }
}
