//! What may differ between Aeolis and its peers, each with its reason: nothing else may. `docs/differences.md` is made
//! from this table.

use super::peer::Kind;
use super::reply::Agreement;
use crate::grammar::Words;

/// What is done about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is not sent.
    NotSent,
    /// Its replies have to agree only so far.
    Agree(Agreement),
}

/// One difference, or one reason to look less closely.
pub struct Difference {
    /// Empty: all peers.
    pub peers: &'static [Kind],
    /// Names of commands (`config|get`), or all of a container's (`client|`).
    pub commands: &'static [&'static str],
    /// Only commands that have this word, in any case.
    pub word: &'static str,
    pub treatment: Treatment,
    pub reason: &'static str,
}

const ALL: &[Kind] = &[];
const NOT_SENT: Treatment = Treatment::NotSent;
const UNORDERED: Treatment = Treatment::Agree(Agreement::Unordered { pairs: false });
const UNORDERED_PAIRS: Treatment = Treatment::Agree(Agreement::Unordered { pairs: true });
const NEAR: Treatment = Treatment::Agree(Agreement::Near);
const SHAPE: Treatment = Treatment::Agree(Agreement::Shape);

pub const DIFFERENCES: &[Difference] = &[
    // What one of them does not know, or knows otherwise. These come first: the first row that fits counts.
    Difference {
        peers: ALL,
        commands: &["xgroup|create", "xgroup|setid"],
        word: "ENTRIESREAD",
        treatment: NOT_SENT,
        reason: "a number beyond what was ever added is clamped, as only 8.2 does, which refuses repeated options instead",
    },
    Difference {
        peers: &[Kind::Redis7, Kind::Redis8],
        commands: &["set"],
        word: "IFEQ",
        treatment: NOT_SENT,
        reason: "comes from Valkey 8.1 (Redis has it from 8.4 on)",
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        word: "NX",
        treatment: NOT_SENT,
        reason: "conditions on the key are Valkey's; Redis has those on fields",
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["hsetex"],
        word: "XX",
        treatment: NOT_SENT,
        reason: "conditions on the key are Valkey's; Redis has those on fields",
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &["hsetex"],
        word: "EXAT",
        treatment: NOT_SENT,
        reason: "fields whose time is past are announced by them as set and deleted; here they are not set",
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &["hsetex"],
        word: "PXAT",
        treatment: NOT_SENT,
        reason: "fields whose time is past are announced by them as set and deleted; here they are not set",
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &["hsetex"],
        word: "0",
        treatment: NOT_SENT,
        reason: "the same, for a time of 0",
    },
    Difference {
        peers: ALL,
        commands: &["set", "msetex", "getex"],
        word: "PXAT",
        treatment: NOT_SENT,
        reason: "a time in the past is announced as set and expired by some versions, and as deleted by others",
    },
    Difference {
        peers: ALL,
        commands: &["set", "msetex", "getex"],
        word: "EXAT",
        treatment: NOT_SENT,
        reason: "the same",
    },
    Difference {
        peers: &[Kind::Redis8],
        commands: &["flushdb"],
        word: "",
        treatment: NOT_SENT,
        reason: "tells a client that caches before it answers; 7.2 answers first",
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["zrank", "zrevrank"],
        word: "",
        treatment: NOT_SENT,
        reason: "WITHSCORE, and with it the number of arguments, comes from Redis 7.2",
    },
    Difference {
        peers: &[Kind::Redis7],
        commands: &["xread", "xreadgroup"],
        word: "",
        treatment: Treatment::Agree(Agreement::OrError),
        reason: "the last ID `+` comes from Redis 7.4; texts of errors name the command since 7.2",
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
        word: "",
        treatment: Treatment::Agree(Agreement::ErrorText),
        reason: "texts of errors, and which of two faults is told",
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
        ],
        word: "",
        treatment: Treatment::Agree(Agreement::ErrorText),
        reason: "texts of errors, and which of two faults is told, are those of 7.2",
    },
    Difference {
        peers: ALL,
        commands: &["bitcount", "bitpos"],
        word: "",
        treatment: Treatment::Agree(Agreement::OrError),
        reason: "whether arguments are judged where there is no key",
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
            "zunion",
            "zinter",
            "zdiff",
        ],
        word: "",
        treatment: Treatment::Agree(Agreement::Number),
        reason: "the shortest text of a double comes from 7.2; 7.0 has 17 digits",
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
        word: "",
        treatment: NOT_SENT,
        reason: "texts of errors, bounds of times, repeated options and events are those of Redis, which had them first",
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
        word: "",
        treatment: Treatment::Agree(Agreement::OrError),
        reason: "it judges arguments before it looks for the key, and refuses some that 7.2 takes",
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
        word: "",
        treatment: Treatment::Agree(Agreement::Number),
        reason: "coordinates have the shortest text there, and 17 decimals in 7.2",
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &[""],
        word: "0x*",
        treatment: NOT_SENT,
        reason: "hexadecimal numbers are doubles in 7.2 only",
    },
    Difference {
        peers: &[Kind::Redis8, Kind::Valkey9],
        commands: &[""],
        word: " 1",
        treatment: NOT_SENT,
        reason: "a blank before a double is allowed in 7.2 only",
    },
    Difference {
        peers: ALL,
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
        word: "",
        treatment: NOT_SENT,
        reason: "what is made for scripts at random hardly runs; instead the commands of all families are called by scripts",
    },
    // What a comparison can't be made of.
    Difference {
        peers: ALL,
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
        word: "",
        treatment: NOT_SENT,
        reason: "tells of the server itself, not of the data; or in a form of the server's own",
    },
    Difference {
        peers: ALL,
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
        word: "",
        treatment: NOT_SENT,
        reason: "ends or changes the connection or the server, on which the comparison depends",
    },
    Difference {
        peers: ALL,
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
        word: "",
        treatment: NOT_SENT,
        reason: "has not one reply for each; a connection of its own subscribes, and transactions are made whole",
    },
    Difference {
        peers: ALL,
        commands: &["spop", "randomkey"],
        word: "",
        treatment: NOT_SENT,
        reason: "takes something at random",
    },
    Difference {
        peers: ALL,
        commands: &["srandmember", "hrandfield", "zrandmember"],
        word: "",
        treatment: SHAPE,
        reason: "answers something at random",
    },
    Difference {
        peers: ALL,
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
        word: "",
        treatment: UNORDERED,
        reason: "has no order",
    },
    Difference {
        peers: ALL,
        commands: &["hgetall", "pubsub|numsub"],
        word: "",
        treatment: UNORDERED_PAIRS,
        reason: "has no order",
    },
    Difference {
        peers: ALL,
        commands: &["hkeys", "hvals"],
        word: "",
        treatment: UNORDERED,
        reason: "has no order",
    },
    Difference {
        peers: ALL,
        commands: &["sort", "sort_ro"],
        word: "",
        treatment: NOT_SENT,
        reason: "what compares as equal has no order, and stored lists would differ",
    },
    Difference {
        peers: ALL,
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
        word: "",
        treatment: NEAR,
        reason: "time passes between two servers",
    },
];

/// The full name of the command that these words call (`config|get`).
pub fn name_of(words: &Words) -> String {
    let lower = |at: usize| {
        words.get(at).map(|word| String::from_utf8_lossy(word).to_lowercase()).unwrap_or_default()
    };
    format!("{}|{}", lower(0), lower(1))
}

/// What applies to a command beside this peer: the first row that fits.
pub fn treatment(kind: Kind, words: &Words) -> Treatment {
    let name = name_of(words);
    let fits = |row: &&Difference| {
        (row.peers.is_empty() || row.peers.contains(&kind))
            && row.commands.iter().any(|command| names(command, &name))
            && (row.word.is_empty() || words.iter().skip(1).any(|word| is_word(row.word, word)))
    };
    DIFFERENCES.iter().find(fits).map_or(Treatment::Agree(Agreement::Exact), |row| row.treatment)
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

/// Whether a table's name of a command (empty: of all) means this command (with its first argument behind a bar).
fn names(command: &str, name: &str) -> bool {
    match command.split_once('|') {
        _ if command.is_empty() => true,
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
            Treatment::Agree(Agreement::Exact) => "compared to the byte",
            Treatment::Agree(Agreement::Unordered { .. }) => "compared in any order",
            Treatment::Agree(Agreement::Number) => "numbers may be written otherwise",
            Treatment::Agree(Agreement::Near) => "times may be a little apart",
            Treatment::Agree(Agreement::Shape) => "compared by kind and length",
            Treatment::Agree(Agreement::ErrorText) => "texts of errors may differ",
            Treatment::Agree(Agreement::OrError) => "one may answer an error",
        };
        let commands: Vec<String> = row
            .commands
            .iter()
            .map(|name| if name.is_empty() { "any |" } else { *name })
            .map(|name| format!("`{}`", name.replace('|', " ").trim_end()))
            .collect();
        let word =
            if row.word.is_empty() { String::new() } else { format!(" with `{}`", row.word) };
        page.push_str(&format!(
            "| {}{word} | {} | {what} | {} |\n",
            commands.join(", "),
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
