//! What may differ between Aeolis and its peers, each with its reason: nothing else may. `docs/differences.md` is made
//! from this table.

use super::peer::PEERS;
use super::peers::Kind;
use super::reply::{Agreement, Errors, Values};
use crate::grammar::Words;

/// What is done about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is not sent.
    NotSent,
    /// Its replies have to agree only so far, where they are no errors.
    Values(Values),
    /// Its errors have to agree only so far.
    Errors(Errors),
}

/// Of which arguments a command has to be for a row to fit.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Always,
    /// One of them is this word, in any case.
    Has(&'static str),
    /// One of them is one of these words, in any case.
    HasOneOf(&'static [&'static str]),
    /// One of them begins so.
    Begins(&'static str),
    /// One of them has this byte somewhere.
    Holds(u8),
    /// An `EXAT` or `PXAT` among them names a time that is not to come.
    IsPast,
}

impl When {
    fn fits(self, words: &Words) -> bool {
        let mut arguments = words.iter().skip(1);
        match self {
            When::Always => true,
            When::Has(word) => {
                arguments.any(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
            }
            When::HasOneOf(words) => arguments.any(|argument| {
                words.iter().any(|word| argument.eq_ignore_ascii_case(word.as_bytes()))
            }),
            When::Begins(start) => arguments.any(|argument| {
                argument
                    .get(..start.len())
                    .is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()))
            }),
            When::Holds(byte) => arguments.any(|argument| argument.contains(&byte)),
            When::IsPast => words.windows(2).any(|pair| is_past(&pair[0], &pair[1])),
        }
    }

    fn shown(self) -> String {
        match self {
            When::Always => String::new(),
            When::Has(word) => format!(" with `{}`", word.replace('\0', "\\0")),
            When::HasOneOf(words) => format!(" with `{}`", words.join("`, `")),
            When::Begins(start) => format!(" with `{}…`", start.replace('\0', "\\0")),
            When::Holds(byte) => format!(" with a byte {byte:#04x}"),
            When::IsPast => " with `EXAT` or `PXAT` and a time in the past".into(),
        }
    }
}

fn is_past(option: &[u8], time: &[u8]) -> bool {
    let unit_ms = match option.to_ascii_uppercase().as_slice() {
        b"EXAT" => 1000,
        b"PXAT" => 1,
        _ => return false,
    };
    let time: Option<i64> = std::str::from_utf8(time).ok().and_then(|text| text.parse().ok());
    let now_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
    time.is_some_and(|time| time.saturating_mul(unit_ms) <= now_ms)
}

/// Where a command is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// By a script.
    pub script: bool,
    /// By a client that is told of changes of what it has read.
    pub tracks: bool,
}

/// One difference, or one reason to look less closely.
pub struct Difference {
    /// Empty: all peers.
    pub peers: &'static [Kind],
    /// Names of commands (`config|get`), or all of a container's (`client|`). Empty: all commands.
    pub commands: &'static [&'static str],
    pub when: When,
    /// Only where all that is true here is true.
    pub scene: Scene,
    pub treatment: Treatment,
    pub reason: &'static str,
}

const ANYWHERE: Scene = Scene { script: false, tracks: false };
const IN_SCRIPTS: Scene = Scene { script: true, tracks: false };
const TRACKED: Scene = Scene { script: false, tracks: true };
const IN_SCRIPTS_TRACKED: Scene = Scene { script: true, tracks: true };

const NOT_SENT: Treatment = Treatment::NotSent;
const UNORDERED: Treatment = Treatment::Values(Values::Unordered { pairs: false });
const UNORDERED_PAIRS: Treatment = Treatment::Values(Values::Unordered { pairs: true });
const NEAR: Treatment = Treatment::Values(Values::Near);
const NUMBER: Treatment = Treatment::Values(Values::Number);
const SHAPE: Treatment = Treatment::Values(Values::Shape);
const ERROR_TEXTS: Treatment = Treatment::Errors(Errors::Text);
const EITHER_ERRS: Treatment = Treatment::Errors(Errors::Either);

/// What a row holds where it says nothing.
const ROW: Difference = Difference {
    peers: &[],
    commands: &[],
    when: When::Always,
    scene: ANYWHERE,
    treatment: NOT_SENT,
    reason: "",
};

/// Every row that fits a command counts.
pub const DIFFERENCES: &[Difference] = &[
    // What one of them does not know, or knows otherwise.
    Difference {
        peers: &[Kind::Redis7],
        commands: &["lrem"],
        when: When::Has("-9223372036854775808"),
        reason: "a count that has no opposite overflows there; later versions refuse it",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["xclaim", "xautoclaim"],
        reason: "a consumer that gets nothing does not come into being there",
        ..ROW
    },
    Difference {
        commands: &["xgroup|create", "xgroup|setid"],
        when: When::Has("ENTRIESREAD"),
        reason: "a number beyond what was ever added is clamped, as only 8.2 does, which refuses repeated options instead",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Redis8],
        commands: &["set"],
        when: When::Has("IFEQ"),
        reason: "comes from Valkey 8.1 (Redis has it from 8.4 on)",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Valkey],
        commands: &["bitop"],
        when: When::HasOneOf(&["DIFF", "DIFF1", "ANDOR", "ONE"]),
        reason: "comes from Redis 8.2",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Valkey],
        commands: &["xadd", "xtrim"],
        when: When::HasOneOf(&["KEEPREF", "DELREF", "ACKED"]),
        reason: "comes from Redis 8.2",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["hscan"],
        when: When::Has("NOVALUES"),
        reason: "comes from Redis 7.4",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Redis8],
        commands: &["zscan"],
        when: When::Has("NOSCORES"),
        reason: "comes from Valkey 9.1",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Redis8],
        commands: &["geosearch", "geosearchstore"],
        when: When::Has("BYPOLYGON"),
        reason: "comes from Valkey 9.0",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        when: When::HasOneOf(&["NX", "XX"]),
        reason: "conditions on the key are Valkey's; Redis has those on fields",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        when: When::IsPast,
        reason: "fields whose time is past are announced there as set and deleted; here they are not set",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        when: When::Has("0"),
        reason: "the same, for a time of 0",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["client|setname", "client|setinfo"],
        when: When::Holds(0),
        reason: "what follows a NUL is judged there, too",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Redis8],
        commands: &["client|import-source"],
        reason: "comes from Valkey 8.1",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["lpos"],
        when: When::Has("-9223372036854775808"),
        reason: "a rank that has no opposite overflows there; later versions refuse it",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey],
        commands: &["lset"],
        when: When::Begins("-9223372036854775"),
        reason: "an index far before the list's beginning overflows there, and an element is replaced",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &["lset"],
        when: When::Has("9007199254740992"),
        reason: "the same behind the list's end",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey],
        commands: &["lset"],
        when: When::Has("4294967295"),
        reason: "the same: of the index, 32 bits count there",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["xreadgroup"],
        when: When::Has("18446744073709551615-18446744073709551615"),
        reason: "the same ID as `>`, with which no consumer comes into being there",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["flushdb"],
        scene: TRACKED,
        reason: "tells a client that caches before it answers; 7.2 answers first",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        scene: IN_SCRIPTS_TRACKED,
        reason: "a client is told of the keys that its scripts read since 7.2, and of those that they declare in 7.0",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &[
            "watch", "unwatch", "acl|", "client|", "object|", "pubsub|", "xgroup|", "xinfo|",
        ],
        scene: IN_SCRIPTS,
        treatment: ERROR_TEXTS,
        reason: "the error of what scripts may not call names Valkey there, and an unknown subcommand has an error of its own",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &["watch"],
        treatment: ERROR_TEXTS,
        reason: "the error of a `WATCH` in a transaction has its name there",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        scene: IN_SCRIPTS,
        treatment: Treatment::Errors(Errors::ButSha1),
        reason: "texts of errors have the script's SHA1 in 7.2 and in 8.0",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["zrank", "zrevrank"],
        reason: "WITHSCORE, and with it the number of arguments, comes from Redis 7.2",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["xread", "xreadgroup"],
        treatment: EITHER_ERRS,
        reason: "the last ID `+` comes from Redis 7.4; texts of errors name the command since 7.2",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey],
        commands: &[
            "xread",
            "xreadgroup",
            "blpop",
            "brpop",
            "bzpopmin",
            "bzpopmax",
            "blmpop",
            "bzmpop",
            "blmove",
            "brpoplpush",
        ],
        treatment: ERROR_TEXTS,
        reason: "texts of errors, and which of two faults is told",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &[
            "blpop",
            "brpop",
            "bzpopmin",
            "bzpopmax",
            "blmpop",
            "bzmpop",
            "blmove",
            "brpoplpush",
            "xgroup|create",
            "lpos",
        ],
        treatment: ERROR_TEXTS,
        reason: "texts of errors, and which of two faults is told, are those of 7.2",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &[
            "bzpopmin",
            "bzpopmax",
            "blpop",
            "brpop",
            "blmpop",
            "bzmpop",
            "blmove",
            "brpoplpush",
        ],
        when: When::Begins("92233720368547"),
        reason: "times so far away that they overflow are not refused there",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["bitcount", "bitpos"],
        reason: "the key is looked up there, and expires, before arguments are judged, which are not where there is none",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &[
            "zincrby",
            "zscore",
            "zmscore",
            "zadd",
            "zrange",
            "zrangebyscore",
            "zrevrange",
            "zrevrangebyscore",
            "zpopmin",
            "zpopmax",
            "zmpop",
            "bzpopmin",
            "bzpopmax",
            "bzmpop",
            "zunion",
            "zinter",
            "zdiff",
        ],
        treatment: NUMBER,
        reason: "the shortest text of a double comes from 7.2; 7.0 has 17 digits",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &[
            "hexpire",
            "hpexpire",
            "hexpireat",
            "hpexpireat",
            "hpersist",
            "httl",
            "hpttl",
            "hexpiretime",
            "hpexpiretime",
        ],
        treatment: EITHER_ERRS,
        reason: "texts of errors, bounds of times and repeated options are those of Redis, which had them first",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &["hgetex", "hgetdel", "hsetex"],
        reason: "the same; and what they miss is announced there",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &["set", "msetex"],
        when: When::IsPast,
        reason: "a time in the past is announced as set and expired, as Redis does, and there as deleted",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey],
        commands: &[
            "getex",
            "geosearch",
            "geosearchstore",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "xgroup|create",
        ],
        treatment: EITHER_ERRS,
        reason: "it judges arguments before it looks for the key, and refuses some that 7.2 takes",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &[
            "geopos",
            "geosearch",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
        ],
        treatment: NUMBER,
        reason: "coordinates have the shortest text there, and 17 decimals in 7.2",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey],
        when: When::Begins("0x"),
        reason: "hexadecimal numbers are doubles in 7.2 only",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey],
        when: When::Has(" 1"),
        reason: "a blank before a double is allowed in 7.2 only",
        ..ROW
    },
    Difference {
        commands: &[
            "eval",
            "eval_ro",
            "evalsha",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
            "script|",
            "function|",
        ],
        reason: "what is made for scripts at random hardly runs; instead the commands of all families are called by scripts",
        ..ROW
    },
    // What a comparison can't be made of.
    Difference {
        commands: &[
            "info",
            "memory|",
            "latency|",
            "slowlog|",
            "client|id",
            "client|info",
            "client|list",
            "client|unblock",
            "client|help",
            "config|",
            "module|",
            "command|",
            "command",
            "debug",
            "lolwut",
            "role",
            "object|freq",
            "object|idletime",
            "object|refcount",
            "object|help",
            "cluster|",
            "time",
            "lastsave",
            "dump",
            "repltrace",
            "clustertrace",
            "monitor",
            "acl|log",
            "acl|genpass",
            "acl|cat",
            "acl|list",
            "acl|help",
            "acl|getuser",
            "acl|setuser",
            "acl|load",
            "acl|save",
            "script|help",
            "function|help",
            "function|stats",
            "function|dump",
            "xinfo|help",
            "xgroup|help",
            "pubsub|help",
            "hotkeys",
            "commandlog|",
            "scan",
            "sscan",
            "hscan",
            "zscan",
            "pfdebug",
            "pfselftest",
            "pfcount",
        ],
        reason: "tells of the server itself, not of the data; or in a form of the server's own",
        ..ROW
    },
    Difference {
        commands: &[
            "shutdown",
            "save",
            "bgsave",
            "bgrewriteaof",
            "replicaof",
            "slaveof",
            "failover",
            "sync",
            "psync",
            "replconf",
            "migrate",
            "quit",
            "reset",
            "auth",
            "hello",
            "restore",
            "restore-asking",
            "asking",
            "readonly",
            "readwrite",
            "wait",
            "waitaof",
            "script|debug",
            "script|kill",
            "function|kill",
            "function|restore",
            "swapdb",
            "flushall",
            "client|kill",
            "client|pause",
            "client|reply",
            "client|tracking",
        ],
        reason: "ends or changes the connection or the server, on which the comparison depends",
        ..ROW
    },
    Difference {
        commands: &[
            "subscribe",
            "psubscribe",
            "ssubscribe",
            "unsubscribe",
            "punsubscribe",
            "sunsubscribe",
            "multi",
            "exec",
            "discard",
        ],
        reason: "has not one reply for each; a connection of its own subscribes, and transactions are made whole",
        ..ROW
    },
    Difference { commands: &["spop", "randomkey"], reason: "takes something at random", ..ROW },
    Difference {
        commands: &["srandmember", "hrandfield", "zrandmember"],
        treatment: SHAPE,
        reason: "answers something at random",
        ..ROW
    },
    Difference {
        commands: &[
            "smembers",
            "sunion",
            "sinter",
            "sdiff",
            "keys",
            "pubsub|channels",
            "pubsub|shardchannels",
            "function|list",
        ],
        treatment: UNORDERED,
        reason: "has no order",
        ..ROW
    },
    Difference {
        commands: &["hgetall", "pubsub|numsub"],
        treatment: UNORDERED_PAIRS,
        reason: "has no order",
        ..ROW
    },
    Difference {
        commands: &["hkeys", "hvals"],
        treatment: UNORDERED,
        reason: "has no order",
        ..ROW
    },
    Difference {
        commands: &["xinfo|stream", "xinfo|groups", "xinfo|consumers"],
        treatment: Treatment::Values(Values::Timeless),
        reason: "times pass, and nodes of the tree in which a stream is kept are its implementation's",
        ..ROW
    },
    Difference {
        commands: &["object|encoding"],
        treatment: Treatment::Values(Values::Encoding),
        reason: "encodings have a table of their own, below",
        ..ROW
    },
    Difference {
        commands: &["sort", "sort_ro"],
        when: When::Has("BY"),
        reason: "what compares as equal has no order",
        ..ROW
    },
    Difference {
        commands: &[
            "ttl",
            "pttl",
            "expiretime",
            "pexpiretime",
            "httl",
            "hpttl",
            "hexpiretime",
            "hpexpiretime",
            "xpending",
        ],
        treatment: NEAR,
        reason: "time passes between two servers",
        ..ROW
    },
];

/// The full name of the command that these words call (`config|get`).
pub fn name_of(words: &Words) -> String {
    let lower = |at: usize| {
        words.get(at).map(|word| String::from_utf8_lossy(word).to_lowercase()).unwrap_or_default()
    };
    format!("{}|{}", lower(0), lower(1))
}

/// How closely the replies of this peer to a command have to agree; `None`: it is not sent.
pub fn agreement(kind: Kind, words: &Words, scene: Scene) -> Option<Agreement> {
    let name = name_of(words);
    let fits = |row: &&Difference| {
        (row.peers.is_empty() || row.peers.contains(&kind))
            && (row.commands.is_empty() || row.commands.iter().any(|command| names(command, &name)))
            && row.when.fits(words)
            && (scene.script || !row.scene.script)
            && (scene.tracks || !row.scene.tracks)
    };
    let mut agreement = Agreement::EXACT;
    for row in DIFFERENCES.iter().filter(fits) {
        match row.treatment {
            Treatment::NotSent => return None,
            Treatment::Values(values) => agreement.values = values,
            Treatment::Errors(errors) => agreement.errors = agreement.errors.max(errors),
        }
    }
    Some(agreement)
}

/// Whether a table's name of a command means this command (with its first argument behind a bar).
fn names(command: &str, name: &str) -> bool {
    match command.split_once('|') {
        Some((_, "")) => name.starts_with(command),
        Some(_) => command == name,
        None => name.split('|').next() == Some(command),
    }
}

/// What a peer names otherwise, or has nothing like (`there` is empty).
struct Naming {
    peers: &'static [Kind],
    here: &'static str,
    there: &'static str,
    reason: &'static str,
}

/// Encodings of values.
const ENCODINGS: &[Naming] = &[
    Naming {
        peers: &[Kind::Redis7],
        here: "listpack",
        there: "quicklist",
        reason: "Redis 7.2 keeps small lists in a listpack, Redis 7.0 does not",
    },
    Naming {
        peers: &[Kind::Redis7],
        here: "listpack",
        there: "hashtable",
        reason: "Redis 7.2 keeps small sets in a listpack, Redis 7.0 does not",
    },
    Naming {
        peers: &[Kind::Redis7, Kind::Redis8],
        here: "skiplist",
        there: "listpack",
        reason: "members that are too long for a listpack are made room for before it is known whether they are added, as in Valkey",
    },
    Naming {
        peers: &PEERS,
        here: "listpack",
        there: "skiplist",
        reason: "`SORT` of a sorted set makes it a skip list there",
    },
    Naming {
        peers: &[Kind::Redis8],
        here: "listpack",
        there: "listpackex",
        reason: "a hash that once had expiring fields is a listpack again when it has none",
    },
    Naming {
        peers: &[Kind::Redis8, Kind::Valkey],
        here: "embstr",
        there: "raw",
        reason: "the key is part of the same allocation there, and counts",
    },
    Naming {
        peers: &[Kind::Valkey],
        here: "raw",
        there: "embstr",
        reason: "strings of up to 64 bytes, less the length of the key, are embedded there",
    },
    Naming {
        peers: &[Kind::Valkey],
        here: "listpackex",
        there: "hashtable",
        reason: "hashes with expiring fields have no listpack there",
    },
    Naming {
        peers: &[Kind::Valkey],
        here: "listpack",
        there: "hashtable",
        reason: "the same, and they stay so",
    },
    Naming {
        peers: &[Kind::Valkey],
        here: "int",
        there: "embstr",
        reason: "`MSETEX` keeps numbers as texts there",
    },
];

/// Keyspace events.
const EVENTS: &[Naming] = &[
    Naming {
        peers: &[Kind::Redis7],
        here: "xgroup-createconsumer",
        there: "",
        reason: "7.2 announces consumers that come into being because they read or claim",
    },
    Naming {
        peers: &[Kind::Valkey],
        here: "del",
        there: "expired",
        reason: "a key that is given a time in the past is deleted in 7.2, and expires there",
    },
    Naming {
        peers: &[Kind::Valkey],
        here: "hdel",
        there: "hexpired",
        reason: "the same for fields",
    },
];

/// What no row can tell from its command alone, as it depends on the data or on the moment. Each comes about once in a
/// million random commands.
const SELDOM: &[(&[Kind], &str)] = &[
    (
        &PEERS,
        "`ZRANGEBYLEX` and its kin on members of different scores, for which their order is not defined: what they find \
         depends on the levels of a skip list there",
    ),
    (
        &[Kind::Redis7],
        "`PEXPIRE` by a millisecond, which may be over before the command is: 7.0 reads the clock twice",
    ),
    (&PEERS, "`DBSIZE` counts keys whose time is over until somebody has found them"),
    (
        &[Kind::Redis7],
        "`XREADGROUP` of a group whose last ID is beyond the stream's: no consumer comes into being there",
    ),
    (
        &[Kind::Valkey],
        "`LSET` with an index far behind the list's end: of it, 32 bits count there, and an element is replaced",
    ),
    (
        &[Kind::Valkey],
        "`BITCOUNT` with a number beyond 64 bits and an unknown unit: the unit is judged first there",
    ),
    (&[Kind::Valkey], "`SORT` of an empty element: 0 in 7.2, and no number there"),
    (
        &[Kind::Valkey],
        "`HDEL` of a field whose time has come leaves a hash without fields there, until a cycle finds it",
    ),
];

/// The name under which an event is compared; `None`: it is not.
pub fn event_name(kind: Kind, event: &str) -> Option<&str> {
    let mine =
        |row: &&Naming| row.peers.contains(&kind) && (row.here == event || row.there == event);
    match EVENTS.iter().find(mine) {
        Some(row) if row.there.is_empty() => None,
        Some(row) => Some(row.here),
        None => Some(event),
    }
}

/// Whether our encoding of a value may differ so from the peer's.
pub fn encoding_may_differ(kind: Kind, ours: &[u8], theirs: &[u8]) -> bool {
    ENCODINGS.iter().any(|row| {
        row.peers.contains(&kind) && row.here.as_bytes() == ours && row.there.as_bytes() == theirs
    })
}

/// The page on differences.
pub fn document() -> String {
    let mut page = String::from(
        "# Where Aeolis and its peers differ\n\n\
         `tests/differential` sends the same commands to Aeolis and to Redis 7.0, Redis 8.2 and Valkey 9.1, and compares \
         replies, data, keyspace events and invalidations. What follows is all that may differ, or is not compared, with the \
         reason; it is the table that the comparison itself uses \
         (`cargo test --test differential -- --document`). Commands that a peer does not know are not sent to it.\n\n\
         | Commands | Peers | What | Reason |\n| --- | --- | --- | --- |\n",
    );
    for row in DIFFERENCES {
        let what = match row.treatment {
            Treatment::NotSent => "not sent",
            Treatment::Values(Values::Unordered { .. }) => "compared in any order",
            Treatment::Values(Values::Number) => "numbers may be written otherwise",
            Treatment::Values(Values::Near) => "times may be a little apart",
            Treatment::Values(Values::Timeless) => "compared but for times and nodes",
            Treatment::Values(Values::Encoding) => "encodings may differ",
            Treatment::Values(Values::Shape) => "compared by kind and length",
            Treatment::Errors(Errors::ButSha1) => "errors may lack a SHA1",
            Treatment::Errors(Errors::Text) => {
                "texts of errors may differ, and events where there are errors"
            }
            Treatment::Errors(Errors::Either) => "one may answer an error; then events may differ",
            Treatment::Values(Values::Exact) | Treatment::Errors(Errors::Exact) => {
                "compared to the byte"
            }
        };
        let commands = match row.commands {
            [] => "all".into(),
            names => {
                let shown = |name: &&str| format!("`{}`", name.replace('|', " ").trim_end());
                names.iter().map(shown).collect::<Vec<_>>().join(", ")
            }
        };
        let when = row.when.shown();
        let scene = match row.scene {
            Scene { script: false, tracks: false } => "",
            Scene { script: true, tracks: false } => " in scripts",
            Scene { script: false, tracks: true } => " while the client caches",
            Scene { script: true, tracks: true } => " in scripts while the client caches",
        };
        page.push_str(&format!(
            "| {commands}{when}{scene} | {} | {what} | {} |\n",
            peers_shown(row.peers),
            row.reason
        ));
    }
    for (what, rows) in [("Event", EVENTS), ("Encoding", ENCODINGS)] {
        page.push_str(&format!(
            "\n| {what} here | {what} there | Peers | Reason |\n| --- | --- | --- | --- |\n"
        ));
        for Naming { peers, here, there, reason } in rows {
            let there = if there.is_empty() { "none".into() } else { format!("`{there}`") };
            page.push_str(&format!("| `{here}` | {there} | {} | {reason} |\n", peers_shown(peers)));
        }
    }
    page.push_str(
        "\nBeside these, seen about once in a million random commands, as it depends on the data or on the moment:\n\n",
    );
    for (peers, what) in SELDOM {
        page.push_str(&format!("* {}: {what}.\n", peers_shown(peers)));
    }
    page
}

fn peers_shown(peers: &[Kind]) -> String {
    match peers {
        [] => "all".into(),
        _ => peers.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "),
    }
}
