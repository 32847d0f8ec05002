//! The flag sets of the command metadata, each flag with the name that clients, ACL rules and the
//! texts of `src/spec/commands` use.
//!
//! The order of the flags is the order in which Redis's replies show them.

/// A bit set whose flags have names.
macro_rules! named_flags {
    (
        $(#[$doc:meta])*
        pub struct $Set:ident: $Bits:ty {
            $($(#[doc = $flag_doc:literal])* $FLAG:ident = $bit:literal, $name:literal;)*
        }
    ) => {
        bitflags::bitflags! {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $Set: $Bits {
                $($(#[doc = $flag_doc])* const $FLAG = 1 << $bit;)*
            }
        }

        impl $Set {
            /// Every flag with its name.
            pub const NAMES: &'static [(&'static str, $Set)] = &[$(($name, $Set::$FLAG)),*];

            /// The flag called `name`, in any letter case.
            pub fn named(name: &[u8]) -> Option<$Set> {
                let found = Self::NAMES.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name));
                found.map(|&(_, flag)| flag)
            }

            /// The names of the flags that are set.
            pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
                let set = Self::NAMES.iter().filter(move |&&(_, flag)| self.contains(flag));
                set.map(|&(name, _)| name)
            }
        }
    };
}

named_flags! {
    /// What a command does and where it may run: looked at before every call.
    pub struct CommandFlags: u64 {
        /// May change the keyspace.
        WRITE = 0, "write";
        /// Reads keys and changes none.
        READONLY = 1, "readonly";
        /// May take more memory, so it is refused when memory is out.
        DENYOOM = 2, "denyoom";
        /// Comes from a module.
        MODULE = 3, "module";
        /// For administrators: shutdown, configuration, replication and the like.
        ADMIN = 4, "admin";
        /// Belongs to pub/sub.
        PUBSUB = 5, "pubsub";
        /// Refused in scripts.
        NOSCRIPT = 6, "noscript";
        /// May suspend the client.
        BLOCKING = 7, "blocking";
        /// Allowed while the dataset is being loaded.
        LOADING = 8, "loading";
        /// Allowed on a replica whose data is out of date.
        STALE = 9, "stale";
        /// Not shown by MONITOR (or shown by its own code, as scripts are).
        SKIP_MONITOR = 10, "skip_monitor";
        /// Never in the slow log.
        SKIP_SLOWLOG = 11, "skip_slowlog";
        /// Acts as if ASKING had come before it.
        ASKING = 12, "asking";
        /// Takes constant or logarithmic time: never the cause of a delay.
        FAST = 13, "fast";
        /// Allowed before the client has logged in.
        NO_AUTH = 14, "no_auth";
        /// Without any key it is still well-formed (EVAL with zero keys).
        NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
        /// Refused while a replica loads a new dataset beside the old one.
        NO_ASYNC_LOADING = 16, "no_async_loading";
        /// Refused inside MULTI.
        NO_MULTI = 17, "no_multi";
        /// The first, last and step numbers don't tell all keys.
        MOVABLEKEYS = 18, "movablekeys";
        /// Allowed while a script runs too long.
        ALLOW_BUSY = 19, "allow_busy";
        /// Is no write, but may cause one on replicas, so it is refused where writes are.
        MAY_REPLICATE = 20, "may_replicate";
        /// Refused unless `enable-debug-command` allows it.
        PROTECTED_DEBUG = 21, "protected_debug";
        /// Touches keys that its arguments don't name (RANDOMKEY, SCAN).
        TOUCHES_ARBITRARY_KEYS = 22, "touches_arbitrary_keys";
        /// Runs the script whose text its first argument is.
        RUNS_TEXT = 23, "runs_text";
        /// Executed at once in a transaction, too: it begins or ends one, or ends the connection.
        NEVER_QUEUED = 24, "never_queued";
        /// Executes what a transaction has queued.
        EXECUTES_QUEUE = 25, "executes_queue";
        /// A subscriber may send it in RESP2, in which it takes all other replies for messages.
        FOR_SUBSCRIBERS = 26, "for_subscribers";
        /// Fails like a write when the disk does, to tell those who watch over the server.
        SHOWS_DISK_ERRORS = 27, "shows_disk_errors";
        /// Runs the known script whose SHA1 its first argument is.
        RUNS_KNOWN = 28, "runs_known";
        /// Runs the function that its first argument names.
        RUNS_FUNCTION = 29, "runs_function";
        /// Refused unless `enable-module-command` allows it.
        PROTECTED_MODULE = 30, "protected_module";
        /// What it allows it allows to the request behind it (`ASKING`).
        ALLOWS_NEXT = 31, "allows_next";
        /// Has what follows work on the database that its first argument names.
        SELECTS_DATABASE = 32, "selects_database";
        /// Does nothing but answer: no key, client or state of the server is another one afterwards.
        ONLY_ANSWERS = 33, "only_answers";
    }
}

named_flags! {
    /// The categories of ACL rules; their names here are without the `@`.
    pub struct AclCategories: u32 {
        KEYSPACE = 0, "keyspace";
        READ = 1, "read";
        WRITE = 2, "write";
        SET = 3, "set";
        SORTEDSET = 4, "sortedset";
        LIST = 5, "list";
        HASH = 6, "hash";
        STRING = 7, "string";
        BITMAP = 8, "bitmap";
        HYPERLOGLOG = 9, "hyperloglog";
        GEO = 10, "geo";
        STREAM = 11, "stream";
        PUBSUB = 12, "pubsub";
        ADMIN = 13, "admin";
        FAST = 14, "fast";
        SLOW = 15, "slow";
        BLOCKING = 16, "blocking";
        DANGEROUS = 17, "dangerous";
        CONNECTION = 18, "connection";
        TRANSACTION = 19, "transaction";
        SCRIPTING = 20, "scripting";
    }
}

named_flags! {
    /// How a command uses a key. One of the first four speaks of the key as a whole, the others of its content.
    pub struct KeySpecFlags: u16 {
        /// Reads the value.
        RO = 0, "RO";
        /// Reads and changes the value.
        RW = 1, "RW";
        /// Replaces the value whatever it was.
        OW = 2, "OW";
        /// Removes the key.
        RM = 3, "RM";
        /// The reply tells of the content.
        ACCESS = 4, "access";
        /// Content is changed.
        UPDATE = 5, "update";
        /// Content is added, none changed or removed.
        INSERT = 6, "insert";
        /// Content is removed on purpose.
        DELETE = 7, "delete";
        /// Not the name of a key, but routed like one (shard channels).
        NOT_KEY = 8, "not_key";
        /// The spec may miss keys.
        INCOMPLETE = 9, "incomplete";
        /// The flags depend on the other arguments.
        VARIABLE_FLAGS = 10, "variable_flags";
    }
}

named_flags! {
    /// Remarks for documentation.
    pub struct DocFlags: u8 {
        /// Something better exists.
        DEPRECATED = 0, "deprecated";
        /// Not for users.
        SYSCMD = 1, "syscmd";
    }
}

named_flags! {
    /// How often an argument may be given.
    pub struct ArgFlags: u8 {
        /// May be left out.
        OPTIONAL = 0, "optional";
        /// May be repeated.
        MULTIPLE = 1, "multiple";
        /// Its token is repeated with it.
        MULTIPLE_TOKEN = 2, "multiple_token";
    }
}
