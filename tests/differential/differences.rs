//! What may differ between Aeolis and its peers, each with its reason: nothing else may. `docs/differences.md` is made
//! from this table.

use super::peer::Kind;
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
    /// Only commands that have this word, in any case.
    pub word: &'static str,
    /// Only where all that is true here is true.
    pub scene: Scene,
    pub treatment: Treatment,
    pub reason: &'static str,
}

const ANYWHERE: Scene = Scene { script: false, tracks: false };
const IN_SCRIPTS: Scene = Scene { script: true, tracks: false };
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
    word: "",
    scene: ANYWHERE,
    treatment: NOT_SENT,
    reason: "",
};

/// Every row that fits a command counts.
pub const DIFFERENCES: &[Difference] = &[
    // What one of them does not know, or knows otherwise.
    Difference {
        commands: &["xgroup|create", "xgroup|setid"],
        word: "ENTRIESREAD",
        reason: "a number beyond what was ever added is clamped, as only 8.2 does, which refuses repeated options instead",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Redis8],
        commands: &["set"],
        word: "IFEQ",
        reason: "comes from Valkey 8.1 (Redis has it from 8.4 on)",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        word: "NX",
        reason: "conditions on the key are Valkey's; Redis has those on fields",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        word: "XX",
        reason: "conditions on the key are Valkey's; Redis has those on fields",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &["hsetex"],
        word: "EXAT",
        reason: "fields whose time is past are announced by them as set and deleted; here they are not set",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &["hsetex"],
        word: "PXAT",
        reason: "fields whose time is past are announced by them as set and deleted; here they are not set",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &["hsetex"],
        word: "0",
        reason: "the same, for a time of 0",
        ..ROW
    },
    Difference {
        commands: &["set", "msetex", "getex"],
        word: "PXAT",
        reason: "a time in the past is announced as set and expired by some versions, and as deleted by others",
        ..ROW
    },
    Difference { commands: &["set", "msetex", "getex"], word: "EXAT", reason: "the same", ..ROW },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["flushdb"],
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
        peers: &[Kind::Valkey9],
        commands: &["watch"],
        treatment: ERROR_TEXTS,
        reason: "the error of a `WATCH` in a transaction has its name there",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey9],
        scene: IN_SCRIPTS,
        treatment: ERROR_TEXTS,
        reason: "errors do not name the script's SHA1 there",
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
        peers: &[Kind::Redis8, Kind::Valkey9],
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
        word: "92233720368547*",
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
        peers: &[Kind::Valkey9],
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
            "hgetex",
            "hgetdel",
            "hsetex",
        ],
        reason: "texts of errors, bounds of times, repeated options and events are those of Redis, which had them first",
        ..ROW
    },
    Difference {
        peers: &[Kind::Valkey9],
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
        peers: &[Kind::Redis8, Kind::Valkey9],
        word: "0x*",
        reason: "hexadecimal numbers are doubles in 7.2 only",
        ..ROW
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        word: " 1",
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
            "client|",
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
            "monitor",
            "acl|log",
            "acl|genpass",
            "acl|cat",
            "acl|list",
            "acl|help",
            "acl|users",
            "acl|getuser",
            "acl|setuser",
            "acl|deluser",
            "acl|load",
            "acl|save",
            "acl|dryrun",
            "acl|whoami",
            "script|help",
            "function|help",
            "function|stats",
            "function|dump",
            "xinfo|help",
            "xgroup|help",
            "pubsub|help",
            "hotkeys",
            "commandlog|",
            "xinfo|stream",
            "xinfo|groups",
            "xinfo|consumers",
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
        commands: &["object|encoding"],
        treatment: Treatment::Values(Values::Encoding),
        reason: "encodings have a table of their own, below",
        ..ROW
    },
    Difference {
        commands: &["sort", "sort_ro"],
        reason: "what compares as equal has no order, and stored lists would differ",
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
            && (row.word.is_empty() || words.iter().skip(1).any(|word| is_word(row.word, word)))
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

/// Whether a table's word, at whose end an asterisk stands for anything, means this one.
fn is_word(pattern: &str, word: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => {
            word.len() >= start.len() && word[..start.len()].eq_ignore_ascii_case(start.as_bytes())
        }
        None => word.eq_ignore_ascii_case(pattern.as_bytes()),
    }
}

/// Whether a table's name of a command means this command (with its first argument behind a bar).
fn names(command: &str, name: &str) -> bool {
    match command.split_once('|') {
        Some((_, "")) => name.starts_with(command),
        Some(_) => command == name,
        None => name.split('|').next() == Some(command),
    }
}

/// Encodings of values, as peers name them and as we do: `docs/differences.md` tells why.
const ENCODINGS: &[(&[Kind], &str, &str, &str)] = &[
    (
        &[Kind::Redis7],
        "listpack",
        "quicklist",
        "Redis 7.2 keeps small lists in a listpack, Redis 7.0 does not",
    ),
    (
        &[Kind::Redis7],
        "listpack",
        "hashtable",
        "Redis 7.2 keeps small sets in a listpack, Redis 7.0 does not",
    ),
    (
        &[Kind::Redis7, Kind::Redis8],
        "skiplist",
        "listpack",
        "members that are too long for a listpack are made room for before it is known whether they are added, as in Valkey",
    ),
    (
        &[Kind::Redis8],
        "listpack",
        "listpackex",
        "a hash that once had expiring fields is a listpack again when it has none",
    ),
    (
        &[Kind::Redis8, Kind::Valkey9],
        "embstr",
        "raw",
        "the key is part of the same allocation there, and counts",
    ),
    (
        &[Kind::Valkey9],
        "raw",
        "embstr",
        "strings of up to 64 bytes, less the length of the key, are embedded there",
    ),
    (
        &[Kind::Valkey9],
        "listpackex",
        "hashtable",
        "hashes with expiring fields have no listpack there",
    ),
    (&[Kind::Valkey9], "listpack", "hashtable", "the same, and they stay so"),
    (&[Kind::Valkey9], "int", "embstr", "`MSETEX` keeps numbers as texts there"),
];

/// What is announced otherwise, or not at all (`there` is empty).
struct Event {
    peers: &'static [Kind],
    here: &'static str,
    there: &'static str,
    reason: &'static str,
}

const EVENTS: &[Event] = &[
    Event {
        peers: &[Kind::Redis7],
        here: "xgroup-createconsumer",
        there: "",
        reason: "7.2 announces consumers that come into being because they read or claim",
    },
    Event {
        peers: &[Kind::Valkey9],
        here: "del",
        there: "expired",
        reason: "a key that is given a time in the past is deleted in 7.2, and expires there",
    },
];

/// The name under which an event is compared; `None`: it is not.
pub fn event_name(kind: Kind, event: &str) -> Option<&str> {
    let mine =
        |row: &&Event| row.peers.contains(&kind) && (row.here == event || row.there == event);
    match EVENTS.iter().find(mine) {
        Some(row) if row.there.is_empty() => None,
        Some(row) => Some(row.here),
        None => Some(event),
    }
}

/// Whether our encoding of a value may differ so from the peer's.
pub fn encoding_may_differ(kind: Kind, ours: &[u8], theirs: &[u8]) -> bool {
    ENCODINGS.iter().any(|(peers, our, their, _)| {
        peers.contains(&kind) && our.as_bytes() == ours && their.as_bytes() == theirs
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
            Treatment::Values(Values::Encoding) => "encodings may differ",
            Treatment::Values(Values::Shape) => "compared by kind and length",
            Treatment::Errors(Errors::Text) => "texts of errors may differ",
            Treatment::Errors(Errors::Either) => {
                "one may answer an error; then events may differ, too"
            }
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
        let word =
            if row.word.is_empty() { String::new() } else { format!(" with `{}`", row.word) };
        let scene = match row.scene {
            Scene { script: false, tracks: false } => "",
            Scene { script: true, tracks: false } => " in scripts",
            Scene { script: false, tracks: true } => " while the client caches",
            Scene { script: true, tracks: true } => " in scripts while the client caches",
        };
        page.push_str(&format!(
            "| {commands}{word}{scene} | {} | {what} | {} |\n",
            peers_shown(row.peers),
            row.reason
        ));
    }
    page.push_str("\n| Event here | Event there | Peers | Reason |\n| --- | --- | --- | --- |\n");
    for row in EVENTS {
        let there = if row.there.is_empty() { "none".into() } else { format!("`{}`", row.there) };
        let peers = peers_shown(row.peers);
        page.push_str(&format!("| `{}` | {there} | {peers} | {} |\n", row.here, row.reason));
    }
    page.push_str(
        "\n| Encoding here | Encoding there | Peers | Reason |\n| --- | --- | --- | --- |\n",
    );
    for (peers, ours, theirs, reason) in ENCODINGS {
        page.push_str(&format!("| `{ours}` | `{theirs}` | {} | {reason} |\n", peers_shown(peers)));
    }
    page
}

fn peers_shown(peers: &[Kind]) -> String {
    match peers {
        [] => "all".into(),
        _ => peers.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "),
    }
}
