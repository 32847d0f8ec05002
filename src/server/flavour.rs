//! Whose place the server takes: what it does where Redis 7.2 and Valkey 8.0 can't both be had.
//!
//! The name that the program is called by decides: `valkey-server` is Valkey 8.0, every other name Redis 7.2. One table
//! lists all that differs; from it come the fields of [`Flavour`], which the code asks, and the table of
//! `docs/compatibility.md`, which users read. Directives whose defaults differ are in [`DEFAULTS`].

use std::ffi::OsStr;
use std::path::Path;

/// The name of a program in whose place the server is Valkey.
const VALKEY_SERVER: &str = "valkey-server";

/// Directives whose defaults differ, with Valkey's; Redis's are those of [`Config::default`](super::config::Config).
pub const DEFAULTS: &[(&str, &str)] = &[
    ("lazyfree-lazy-eviction", "yes"),
    ("lazyfree-lazy-expire", "yes"),
    ("lazyfree-lazy-server-del", "yes"),
    ("lazyfree-lazy-user-del", "yes"),
    ("lazyfree-lazy-user-flush", "yes"),
    ("replica-lazy-flush", "yes"),
    ("repl-backlog-size", "10mb"),
    ("syslog-ident", "valkey"),
];

/// A row of the table, for readers.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub subject: &'static str,
    pub redis: &'static str,
    pub valkey: &'static str,
}

/// An entry reads: `field: "subject", "Redis's way", "Valkey's way";`, under a doc comment that says what holds where
/// the field is true, which is Valkey's way.
macro_rules! differences {
    ($($(#[$doc:meta])* $field:ident: $subject:literal, $redis:literal, $valkey:literal;)*) => {
        /// Whose place the server takes. A field tells of one thing that differs, and is true for Valkey.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Flavour {
            $($(#[$doc])* pub $field: bool,)*
        }

        impl Flavour {
            pub const REDIS: Flavour = Flavour { $($field: false,)* };
            pub const VALKEY: Flavour = Flavour { $($field: true,)* };
        }

        /// All that differs, in the order of the table.
        #[cfg(test)]
        pub const DIFFERENCES: &[Difference] =
            &[$(Difference { subject: $subject, redis: $redis, valkey: $valkey },)*];
    };
}

differences! {
    /// `SCAN` refuses types that there are not.
    scan_rejects_unknown_type: "`SCAN` with an unknown `TYPE`",
        "finds nothing", "`ERR unknown type name`";
    /// `SCAN` deletes those expired keys only that are of the wanted type.
    scan_expires_wanted_type_only: "`SCAN … TYPE` deletes the expired keys that it meets",
        "of every type", "of the wanted type";
    /// The start may stand without an end.
    bitcount_takes_start_alone: "`BITCOUNT key start`",
        "`ERR syntax error`", "counts from there to the end";
    /// An expiry that has passed deletes what is there, and nothing is set.
    set_in_the_past_deletes: "`SET` with `EXAT` or `PXAT` in the past",
        "sets, and the key is deleted when it is met", "deletes, and does not set";
    /// `BLOCK` is taken and means nothing, as in a transaction.
    scripts_may_ask_to_block: "`XREAD` and `XREADGROUP` with `BLOCK` in scripts",
        "an error", "do not block";
    /// `WAITAOF` answers at once.
    scripts_may_call_waitaof: "`WAITAOF` in scripts",
        "is not allowed", "does not wait";
    /// Errors of scripts say neither Redis nor redis.
    errors_of_scripts_name_no_redis: "errors of scripts that call what there is not, or with wrong arguments",
        "`Unknown Redis command`, `this redis lib call`, `redis.acl_check_cmd()` and so on",
        "`Unknown command`, `this call`, `server.acl_check_cmd()` and so on";
    /// The debugger of scripts has Valkey's words.
    debugger_names_no_redis: "the debugger of scripts",
        "`Unknown Redis Lua debugger command`, `redis.breakpoint() called` and so on",
        "`Unknown Lua debugger command`, `server.breakpoint() called` and so on";
    /// What must not be in a transaction aborts it.
    nested_multi_aborts: "`MULTI` and `WATCH` in a transaction",
        "an error, and the transaction goes on",
        "`ERR Command not allowed inside a transaction`, and it is aborted";
    /// Who is subscribed to nothing can't unsubscribe.
    unsubscribes_subscribers_only: "`UNSUBSCRIBE` and its kin without a subscription",
        "a reply as to others", "`NOSUB`";
    /// Whoever is still the same user stays connected.
    acl_load_keeps_clients: "`ACL LOAD` disconnects",
        "every client that is not the default user", "clients whose user is gone, or lost a channel that they hear";
    /// Patterns find directives that Redis does not have, too.
    config_patterns_find_valkeys_directives: "`CONFIG GET` with a pattern",
        "finds Redis's directives; those that only Valkey has by their whole name", "finds the directives of both";
    /// A primary is called so.
    says_primary: "A primary, in errors at the start and where the log tells why a link failed",
        "`master`", "`primary`";
    /// `watch` is shown.
    client_list_tells_of_watched_keys: "`watch` in `CLIENT LIST`",
        "none", "the number of keys that a client watches";
    /// What runs is no part of the query buffer any more.
    qbuf_is_without_running_request: "`qbuf` in `CLIENT LIST`, of the client that asks",
        "with the request that is running", "without it";
    /// The form of Valkey 9, where nobody asks for another.
    writes_expiring_fields_as_valkey: "hashes whose fields expire, in files and `DUMP`",
        "RDB version 12, which Redis 7.4 reads", "RDB version 80, which Valkey 9.0 reads";
    /// Later times, and several conditions.
    field_expiry_is_valkeys: "`HEXPIRE` and its kin",
        "take times up to the year 4199, and one condition", "take any time, and conditions such as `XX GT`";
    /// It calls itself Valkey, unless `extended-redis-compatibility` is on.
    names_itself_valkey: "what it calls itself in `HELLO`, `BUSY`, `LOADING` and `MISCONF`; the mode in `INFO server`",
        "`redis` and `redis-version-announced`; `redis_mode`",
        "`valkey` 8.0.1, or with `extended-redis-compatibility yes` as Redis; `server_mode`";
    /// `INFO` tells that this is another server.
    info_names_the_server: "`server_name` in `INFO server`",
        "none", "`valkey`";
}

impl Flavour {
    /// What a primary is called.
    pub fn primary(self) -> &'static str {
        if self.says_primary { "primary" } else { "master" }
    }

    /// The same where it is shouted.
    pub fn primary_in_capitals(self) -> &'static str {
        if self.says_primary { "PRIMARY" } else { "MASTER" }
    }

    /// Whose place a program of this name takes.
    pub fn of(program: &OsStr) -> Flavour {
        match Path::new(program).file_name() {
            Some(name) if name == VALKEY_SERVER => Flavour::VALKEY,
            _ => Flavour::REDIS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Config;

    /// The table as the page has it.
    fn table() -> String {
        let mut text = "| | called `redis-server`, or anything else | called `valkey-server` |\n| --- | --- | --- |\n"
            .to_string();
        for Difference { subject, redis, valkey } in DIFFERENCES {
            text += &format!("| {subject} | {redis} | {valkey} |\n");
        }
        let redis = Config::default();
        for (name, valkey) in DEFAULTS {
            let value = &redis.get(&[name.as_bytes()])[0].1;
            let value = String::from_utf8_lossy(value);
            text += &format!("| the default of `{name}` | `{value}` | `{valkey}` |\n");
        }
        text
    }

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../../docs/compatibility.md");
        assert!(page.contains(&table()), "docs/compatibility.md lacks:\n{}", table());
    }

    #[test]
    fn the_name_decides() {
        for (name, flavour) in [
            ("valkey-server", Flavour::VALKEY),
            ("/usr/bin/valkey-server", Flavour::VALKEY),
            ("redis-server", Flavour::REDIS),
            ("aeolis", Flavour::REDIS),
            ("/opt/valkey-server/aeolis", Flavour::REDIS),
            ("", Flavour::REDIS),
        ] {
            assert_eq!(Flavour::of(OsStr::new(name)), flavour, "{name}");
        }
    }

    #[test]
    fn defaults_follow() {
        assert_eq!(Config::defaults_of(Flavour::REDIS), Config::default());
        let valkey = Config::defaults_of(Flavour::VALKEY);
        assert_eq!((valkey.replica_lazy_flush, valkey.repl_backlog_size), (true, 10 << 20));
    }
}
