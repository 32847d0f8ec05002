//! The table of all directives of Redis 7.2 and Valkey 8.0, from which [`Config`], its defaults, and
//! [`DIRECTIVES`] are made.
//!
//! Under the title of its section an entry reads: `field: type = default, kind, "name" | "alias", FLAGS…;`. Its comment
//! is what the manual and the example file say of it. The kinds are
//!
//! | Kind | Field | Value |
//! | --- | --- | --- |
//! | `bool`, `bool(refusal)` | `bool` | yes or no; `refusal`: why `CONFIG SET` cannot turn it on, if so |
//! | `int(min, max)`, `octal(min, max)` | an integer | a number |
//! | `memory(min, max)`, `memory_or_percent(min, max)` | an integer | bytes; a percentage is negative |
//! | `choice` | a [`Choice`] | one word of a list |
//! | `text`, `text(check)` | `String` | any text |
//! | `optional`, `optional(check)` | `Option<String>` | a text, the empty one means none |
//! | `secret` | `Option<Vec<u8>>` | bytes, none if empty |
//! | `special` | a [`Special`] | a grammar of its own |
//!
//! The defaults are those of Redis 7.2, and of Valkey 8.0 where Redis lacks the directive. Where both have a name for
//! the same thing, Redis's comes first. What is Valkey's alone has a flag that
//! says so.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::REDIS_VERSION;
use super::error::SourceLine;
use super::kind::{Directive, Flags, Kind, Unit};
use super::values::*;
use crate::server::flavour::Flavour;
use crate::sys::locale::can_collate;
use crate::util::alloc::TELLS_AREAS;

const INT_MAX: i32 = i32::MAX;
const LONG_MAX: i64 = i64::MAX;
const MB: u64 = 1024 * 1024;

/// Defaults of `client-output-buffer-limit`.
const OUTPUT_LIMITS: OutputLimits = [
    OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
    OutputLimit { hard: 256 * MB, soft: 64 * MB, soft_seconds: 60 },
    OutputLimit { hard: 32 * MB, soft: 8 * MB, soft_seconds: 60 },
];

/// Makes the [`Kind`] of one entry.
macro_rules! kind {
    ($field:ident, $ty:ty, bool) => { kind!(@bool $field, None) };
    ($field:ident, $ty:ty, bool($refusal:expr)) => { kind!(@bool $field, $refusal) };
    (@bool $field:ident, $refusal:expr) => {
        Kind::Bool { get: |c| c.$field, set: |c, value| c.$field = value, refusal: $refusal }
    };
    ($field:ident, $ty:ty, int($min:expr, $max:expr)) => {
        kind!(@number $field, $ty, $min, $max, Integer)
    };
    ($field:ident, $ty:ty, octal($min:expr, $max:expr)) => {
        kind!(@number $field, $ty, $min, $max, Octal)
    };
    ($field:ident, $ty:ty, memory($min:expr, $max:expr)) => {
        kind!(@number $field, $ty, $min, $max, Memory)
    };
    ($field:ident, $ty:ty, memory_or_percent($min:expr, $max:expr)) => {
        kind!(@number $field, $ty, $min, $max, MemoryOrPercent)
    };
    // The cast is exact: values are checked against `min` and `max`, which a test checks to fit the field.
    (@number $field:ident, $ty:ty, $min:expr, $max:expr, $unit:ident) => {
        Kind::Number {
            get: |c| c.$field.into(),
            set: |c, value| c.$field = value as $ty,
            min: $min as i128,
            max: $max as i128,
            unit: Unit::$unit,
        }
    };
    ($field:ident, $ty:ty, choice) => {
        Kind::Enum {
            get: |c| c.$field.name(),
            set: |c, value| { c.$field = <$ty>::parse(value)?; Ok(()) },
            words: || <$ty as Choice>::WORDS.iter().map(|(word, _)| *word).collect(),
        }
    };
    ($field:ident, $ty:ty, text) => { kind!($field, $ty, text(anything)) };
    ($field:ident, $ty:ty, text($check:expr)) => {
        Kind::Text {
            get: |c| Some(c.$field.as_bytes()),
            set: |c, value| { c.$field = checked(value, $check)?; Ok(()) },
        }
    };
    ($field:ident, $ty:ty, optional) => { kind!($field, $ty, optional(anything)) };
    ($field:ident, $ty:ty, optional($check:expr)) => {
        Kind::Text {
            get: |c| c.$field.as_deref().map(str::as_bytes),
            set: |c, value| {
                c.$field = Some(checked(value, $check)?).filter(|text| !text.is_empty());
                Ok(())
            },
        }
    };
    ($field:ident, $ty:ty, secret) => {
        Kind::Text {
            get: |c| c.$field.as_deref(),
            set: |c, value| {
                c.$field = Some(value.to_vec()).filter(|secret| !secret.is_empty());
                Ok(())
            },
        }
    };
    ($field:ident, $ty:ty, special) => {
        Kind::Special {
            get: |c| Special::format(&c.$field),
            set: |c, args| c.$field.assign(args, c.flavour),
            rewrite: |name, c, defaults| c.$field.rewrite(name, &defaults.$field),
        }
    };
}

macro_rules! directives {
    ($(
        [$section:literal]
        $(
            $(#[doc = $doc:literal])*
            $field:ident: $ty:ty = $default:expr, $kind:ident $(($($arg:expr),*))?,
                $name:literal $(| $alias:literal)? $(, $flag:ident)*;
        )*
    )*) => {
        /// The configuration: one field for each directive, named like it.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            /// Whose place the server takes.
            pub flavour: Flavour,
            $($($(#[doc = $doc])* pub $field: $ty,)*)*
            /// Lines `rename-command <from> <to>` in order; an empty `<to>` removes the command.
            pub rename_command: Vec<SourceLine>,
            /// Lines `user <name> <rule>…` in order.
            pub user: Vec<SourceLine>,
        }

        impl Default for Config {
            /// What an empty configuration file means, started in the current directory.
            fn default() -> Self {
                Self { flavour: Flavour::REDIS, $($($field: $default,)*)* rename_command: Vec::new(), user: Vec::new() }
            }
        }

        /// All directives, in the order in which `CONFIG GET *` and `CONFIG REWRITE` give them.
        pub static DIRECTIVES: &[Directive<Config>] = &[$($(
            Directive {
                section: $section,
                name: $name,
                summary: concat!($($doc),*),
                alias: directives!(@alias $($alias)?),
                flags: Flags::empty()$(.union(Flags::$flag))*,
                kind: kind!($field, $ty, $kind $(($($arg),*))?),
            },
        )*)*];
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}

directives! {
    ["Network"]

    /// Addresses to listen on.
    bind: Vec<String> = vec!["*".into(), "-::*".into()], special, "bind", MULTI_ARG;
    /// Local address of outgoing connections.
    bind_source_addr: Option<String> = None, optional, "bind-source-addr";
    /// Refuse clients of other hosts while the default user has no password.
    protected_mode: bool = true, bool, "protected-mode";
    /// TCP port; 0: none.
    port: u16 = 6379, int(0, 65535), "port";
    /// Length of the queue of listen(2).
    tcp_backlog: u32 = 511, int(0, INT_MAX), "tcp-backlog", IMMUTABLE;
    /// Clients may use several paths (Multipath TCP).
    mptcp: bool = false, bool, "mptcp", IMMUTABLE, NO_EFFECT, LATER;
    /// Replication may use several paths.
    repl_mptcp: bool = false, bool, "repl-mptcp", IMMUTABLE, NO_EFFECT, LATER;
    /// Text that the order of SCAN follows from; empty: by chance.
    hash_seed: String = String::new(), text, "hash-seed", IMMUTABLE, NO_EFFECT, LATER;
    /// Path of the Unix socket.
    unixsocket: Option<String> = None, optional, "unixsocket", IMMUTABLE;
    /// Group that owns the Unix socket.
    unixsocketgroup: Option<String> = None, optional, "unixsocketgroup", IMMUTABLE, VALKEY;
    /// Permissions of the Unix socket; 0: those of the umask.
    unixsocketperm: u32 = 0, octal(0, 0o777), "unixsocketperm", IMMUTABLE;
    /// Seconds after which an idle client is closed; 0: never.
    timeout: u32 = 0, int(0, INT_MAX), "timeout";
    /// Seconds between TCP keep-alive probes; 0: none.
    tcp_keepalive: u32 = 300, int(0, INT_MAX), "tcp-keepalive";
    /// Mark of the listening sockets (SO_MARK); 0: none.
    socket_mark_id: u32 = 0, int(0, u32::MAX), "socket-mark-id", IMMUTABLE;
    /// Connections accepted in one turn of the loop.
    max_new_connections_per_cycle: u32 = 10, int(1, 1000), "max-new-connections-per-cycle", VALKEY;
    /// TLS connections accepted in one turn of the loop.
    max_new_tls_connections_per_cycle: u32 = 1, int(1, 1000), "max-new-tls-connections-per-cycle", NO_EFFECT, VALKEY;

    ["Metrics over HTTP"]

    /// TCP port of the HTTP listener for metrics; 0: none. A directive of Aeolis, as the two after it.
    metrics_port: u16 = 0, int(0, 65535), "metrics-port";
    /// Addresses that it listens on.
    metrics_bind: Vec<String> = vec!["127.0.0.1".into(), "-::1".into()], special, "metrics-bind", MULTI_ARG;
    /// It speaks TLS, with the certificates of `tls-port`.
    metrics_tls: bool = false, bool, "metrics-tls";

    ["TLS"]

    /// TCP port for TLS; 0: none.
    tls_port: u16 = 0, int(0, 65535), "tls-port";
    /// The server's certificate.
    tls_cert_file: Option<String> = None, optional, "tls-cert-file", READS_FILE;
    /// The server's private key.
    tls_key_file: Option<String> = None, optional, "tls-key-file", READS_FILE;
    /// Password of the private key.
    tls_key_file_pass: Option<Vec<u8>> = None, secret, "tls-key-file-pass", SENSITIVE, NO_EFFECT;
    /// Certificate for outgoing connections.
    tls_client_cert_file: Option<String> = None, optional, "tls-client-cert-file", READS_FILE;
    /// Private key for outgoing connections.
    tls_client_key_file: Option<String> = None, optional, "tls-client-key-file", READS_FILE;
    /// Password of that key.
    tls_client_key_file_pass: Option<Vec<u8>> = None, secret, "tls-client-key-file-pass", SENSITIVE, NO_EFFECT;
    /// Diffie-Hellman parameters.
    tls_dh_params_file: Option<String> = None, optional, "tls-dh-params-file", NO_EFFECT;
    /// Certificates of authorities.
    tls_ca_cert_file: Option<String> = None, optional, "tls-ca-cert-file", READS_FILE;
    /// Directory of certificates of authorities.
    tls_ca_cert_dir: Option<String> = None, optional, "tls-ca-cert-dir", READS_FILE;
    /// Whether clients must show a certificate.
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, choice, "tls-auth-clients";
    /// What in a client's certificate names the user that it is logged in as.
    tls_auth_clients_user: TlsAuthClientsUser = TlsAuthClientsUser::Off, choice, "tls-auth-clients-user", LATER;
    /// TLS on replication links.
    tls_replication: bool = false, bool, "tls-replication";
    /// TLS on the cluster bus.
    tls_cluster: bool = false, bool, "tls-cluster";
    /// Versions of TLS.
    tls_protocols: Option<String> = None, optional, "tls-protocols";
    /// Ciphers up to TLS 1.2.
    tls_ciphers: Option<String> = None, optional, "tls-ciphers";
    /// Ciphers of TLS 1.3.
    tls_ciphersuites: Option<String> = None, optional, "tls-ciphersuites";
    /// The server's order of ciphers wins.
    tls_prefer_server_ciphers: bool = false, bool, "tls-prefer-server-ciphers";
    /// Sessions may be resumed.
    tls_session_caching: bool = true, bool, "tls-session-caching";
    /// Number of sessions kept; 0: any.
    tls_session_cache_size: u32 = 20480, int(0, INT_MAX), "tls-session-cache-size";
    /// Seconds after which keys and certificates that were renewed are read anew; 0: never.
    tls_auto_reload_interval: u32 = 0, int(0, INT_MAX), "tls-auto-reload-interval", LATER;
    /// Seconds for which a session is kept.
    tls_session_cache_timeout: u32 = 300, int(0, INT_MAX), "tls-session-cache-timeout", NO_EFFECT;

    ["The process"]

    /// Run in the background.
    daemonize: bool = false, bool, "daemonize", IMMUTABLE;
    /// Which init system started the server.
    supervised: Supervised = Supervised::No, choice, "supervised", IMMUTABLE;
    /// File that holds the process id.
    pidfile: Option<String> = None, optional, "pidfile", IMMUTABLE;
    /// Least important messages that are logged.
    loglevel: LogLevel = LogLevel::Notice, choice, "loglevel";
    /// Log file; empty: standard output.
    logfile: String = String::new(), text, "logfile", IMMUTABLE;
    /// Form of a line of the log.
    log_format: LogFormat = LogFormat::Legacy, choice, "log-format", LATER;
    /// How a line of the log says when it was written.
    log_timestamp_format: LogTimestamp = LogTimestamp::Legacy, choice, "log-timestamp-format", LATER;
    /// Log to syslog too.
    syslog_enabled: bool = false, bool, "syslog-enabled", IMMUTABLE;
    /// Name in syslog.
    syslog_ident: String = "redis".into(), text, "syslog-ident", IMMUTABLE;
    /// Facility in syslog.
    syslog_facility: SyslogFacility = SyslogFacility::Local0, choice, "syslog-facility", IMMUTABLE;
    /// Keep keys and values out of the log.
    hide_user_data_from_log: bool = true, bool, "hide-user-data-from-log", NO_EFFECT, VALKEY;
    /// Log a report when the server crashes.
    crash_log_enabled: bool = true, bool, "crash-log-enabled";
    /// Test the memory when the server crashes.
    crash_memcheck_enabled: bool = true, bool, "crash-memcheck-enabled", NO_EFFECT;
    /// Exit instead of abort on a panic.
    use_exit_on_panic: bool = false, bool, "use-exit-on-panic", HIDDEN, NO_EFFECT;
    /// Checks for debugging.
    enable_debug_assert: bool = false, bool, "enable-debug-assert", IMMUTABLE, HIDDEN, NO_EFFECT;
    /// Text for crash reports.
    debug_context: String = String::new(), text, "debug-context", HIDDEN, NO_EFFECT;
    /// Milliseconds after which a hanging loop is logged; 0: never.
    watchdog_period: u32 = 0, int(0, INT_MAX), "watchdog-period", HIDDEN;
    /// Number of databases.
    databases: u32 = 16, int(1, INT_MAX), "databases", IMMUTABLE;
    /// Log the banner even when not on a terminal.
    always_show_logo: bool = false, bool, "always-show-logo", IMMUTABLE;
    /// Change the title of the process.
    set_proc_title: bool = true, bool, "set-proc-title", IMMUTABLE;
    /// Title of the process, see [`expand_template`].
    proc_title_template: String = "{title} {listen-addr} {server-mode}".into(), text(title_template), "proc-title-template";
    /// The version of Redis that clients and primaries are told.
    redis_version_announced: String = REDIS_VERSION.into(), text(version), "redis-version-announced";
    /// Locale for comparing texts.
    locale_collate: String = String::new(), text(locale), "locale-collate", NO_EFFECT;
    /// Warnings at the start that do not stop it.
    ignore_warnings: String = String::new(), text, "ignore-warnings", NO_EFFECT;
    /// Turn transparent huge pages off.
    disable_thp: bool = true, bool, "disable-thp", IMMUTABLE;
    /// CPUs of the main thread, such as `0,2-5,8-14:2`.
    server_cpulist: Option<String> = None, optional, "server_cpulist" | "server-cpulist", IMMUTABLE, VALKEYS_ALIAS;
    /// CPUs of the background threads.
    bio_cpulist: Option<String> = None, optional, "bio_cpulist" | "bio-cpulist", IMMUTABLE, VALKEYS_ALIAS;
    /// CPUs of the child, or the thread, that rewrites the append-only file.
    aof_rewrite_cpulist: Option<String> = None, optional, "aof_rewrite_cpulist" | "aof-rewrite-cpulist", IMMUTABLE, VALKEYS_ALIAS;
    /// CPUs of the child, or the thread, that saves.
    bgsave_cpulist: Option<String> = None, optional, "bgsave_cpulist" | "bgsave-cpulist", IMMUTABLE, VALKEYS_ALIAS;
    /// How `oom_score_adj` is set.
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, choice, "oom-score-adj";
    /// Scores of a primary, a replica, and a background child.
    oom_score_adj_values: OomScores = [0, 200, 800], special, "oom-score-adj-values", MULTI_ARG;
    /// How to stop on SIGINT.
    shutdown_on_sigint: ShutdownFlags = ShutdownFlags::empty(), special, "shutdown-on-sigint", MULTI_ARG;
    /// How to stop on SIGTERM.
    shutdown_on_sigterm: ShutdownFlags = ShutdownFlags::empty(), special, "shutdown-on-sigterm", MULTI_ARG;
    /// Seconds for which a shutdown waits for replicas.
    shutdown_timeout: u32 = 10, int(0, INT_MAX), "shutdown-timeout";
    /// Calls of the cron in a second, from 1 to 500.
    hz: u32 = 10, int(0, INT_MAX), "hz";
    /// More calls of the cron when there are many clients.
    dynamic_hz: bool = true, bool, "dynamic-hz";
    /// Microseconds for which a busy loop looks for the next request before it sleeps; 0: none. It sleeps at once where
    /// that has been in vain, and where others want its processor.
    busy_wait_us: u32 = 0, int(0, 50), "busy-wait-us";
    /// Number of threads for input and output.
    io_threads: u32 = 1, int(1, 128), "io-threads", IMMUTABLE, NO_EFFECT;
    /// Read in those threads too.
    io_threads_do_reads: bool = false, bool, "io-threads-do-reads", IMMUTABLE, NO_EFFECT;
    /// Events that make one more thread worth while.
    events_per_io_thread: u32 = 2, int(0, INT_MAX), "events-per-io-thread", NO_EFFECT, VALKEY;
    /// Keys that are prefetched together.
    prefetch_batch_max_size: u32 = 16, int(0, 128), "prefetch-batch-max-size", NO_EFFECT, VALKEY;
    /// Availability zone that INFO shows.
    availability_zone: String = String::new(), text, "availability-zone", VALKEY;
    /// Called `valkey-server`, it names itself Redis all the same.
    extended_redis_compatibility: bool = false, bool, "extended-redis-compatibility", VALKEY;

    ["Security"]

    /// Password of the default user.
    requirepass: Option<Vec<u8>> = None, secret, "requirepass", SENSITIVE;
    /// File of users; empty: users are in the configuration file.
    aclfile: String = String::new(), text, "aclfile", IMMUTABLE;
    /// Entries of `ACL LOG`.
    acllog_max_len: u64 = 128, int(0, LONG_MAX), "acllog-max-len";
    /// Channels of a new user.
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, choice, "acl-pubsub-default";
    /// Who may set protected directives.
    enable_protected_configs: ProtectedAction = ProtectedAction::No, choice, "enable-protected-configs", IMMUTABLE;
    /// Who may use DEBUG.
    enable_debug_command: ProtectedAction = ProtectedAction::No, choice, "enable-debug-command", IMMUTABLE;
    /// Who may use MODULE.
    enable_module_command: ProtectedAction = ProtectedAction::No, choice, "enable-module-command", IMMUTABLE;

    ["Clients"]

    /// Number of clients.
    maxclients: u32 = 10000, int(1, u32::MAX), "maxclients";
    /// Bytes of all clients' buffers; negative: percents of `maxmemory`; 0: any.
    maxmemory_clients: i64 = 0, memory_or_percent(-100, LONG_MAX), "maxmemory-clients";
    /// Bytes of replies that may wait for a client.
    client_output_buffer_limit: OutputLimits = OUTPUT_LIMITS, special, "client-output-buffer-limit", MULTI_ARG;
    /// Bytes of a client's query buffer.
    client_query_buffer_limit: u64 = 1024 * MB, memory(MB, LONG_MAX), "client-query-buffer-limit";
    /// Bytes of one argument.
    proto_max_bulk_len: u64 = 512 * MB, memory(MB, LONG_MAX), "proto-max-bulk-len";
    /// Keys that are tracked for client-side caches; 0: any.
    tracking_table_max_keys: u64 = 1_000_000, int(0, LONG_MAX), "tracking-table-max-keys";

    ["Memory"]

    /// Bytes of the dataset; 0: any.
    maxmemory: u64 = 0, memory(0, u64::MAX), "maxmemory";
    /// What to do at that limit.
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, choice, "maxmemory-policy";
    /// Keys that are looked at to evict one. Valkey 8.0 refuses more than 64, Redis 7.2 does not.
    maxmemory_samples: u32 = 5, int(1, INT_MAX), "maxmemory-samples";
    /// How long to evict before serving again, from 0 to 100.
    maxmemory_eviction_tenacity: u32 = 10, int(0, 100), "maxmemory-eviction-tenacity";
    /// How slowly the frequency counter grows.
    lfu_log_factor: u32 = 10, int(0, INT_MAX), "lfu-log-factor";
    /// Minutes after which the frequency counter shrinks by one; 0: never.
    lfu_decay_time: u32 = 1, int(0, INT_MAX), "lfu-decay-time";
    /// Work spent on expired keys, from 1 to 10.
    active_expire_effort: u32 = 1, int(1, 10), "active-expire-effort";
    /// Data are being imported: nothing expires or is evicted, the server that they come from decides.
    import_mode: bool = false, bool, "import-mode", VALKEY;
    /// Free evicted values in the background.
    lazyfree_lazy_eviction: bool = false, bool, "lazyfree-lazy-eviction";
    /// Free expired values in the background.
    lazyfree_lazy_expire: bool = false, bool, "lazyfree-lazy-expire";
    /// Free overwritten values in the background.
    lazyfree_lazy_server_del: bool = false, bool, "lazyfree-lazy-server-del";
    /// DEL works like UNLINK.
    lazyfree_lazy_user_del: bool = false, bool, "lazyfree-lazy-user-del";
    /// FLUSHDB and FLUSHALL work in the background.
    lazyfree_lazy_user_flush: bool = false, bool, "lazyfree-lazy-user-flush";
    /// Resize hash tables between commands.
    activerehashing: bool = true, bool, "activerehashing";
    /// Background thread of jemalloc.
    jemalloc_bg_thread: bool = true, bool, "jemalloc-bg-thread", NO_EFFECT;
    /// Move values to defragment the memory.
    activedefrag: bool = false, bool(NO_DEFRAG), "activedefrag";
    /// Fragmented bytes that start it.
    active_defrag_ignore_bytes: u64 = 100 * MB, memory(1, LONG_MAX), "active-defrag-ignore-bytes";
    /// Percentage of fragmentation that starts it.
    active_defrag_threshold_lower: u32 = 10, int(0, 1000), "active-defrag-threshold-lower";
    /// Percentage of fragmentation for its full effort.
    active_defrag_threshold_upper: u32 = 100, int(0, 1000), "active-defrag-threshold-upper";
    /// Least percentage of CPU for it.
    active_defrag_cycle_min: u32 = 1, int(1, 99), "active-defrag-cycle-min";
    /// Highest percentage of CPU for it.
    active_defrag_cycle_max: u32 = 25, int(1, 99), "active-defrag-cycle-max";
    /// Microseconds of one step of it.
    active_defrag_cycle_us: u32 = 500, int(0, 100000), "active-defrag-cycle-us", NO_EFFECT, LATER;
    /// Elements of a value that are moved at once.
    active_defrag_max_scan_fields: u64 = 1000, int(1, LONG_MAX), "active-defrag-max-scan-fields";

    ["Snapshots"]

    /// When to save.
    save: Vec<SavePoint> = default_save(), special, "save", MULTI_ARG;
    /// Refuse writes after a failed save.
    stop_writes_on_bgsave_error: bool = true, bool, "stop-writes-on-bgsave-error";
    /// Compress texts in snapshots.
    rdbcompression: bool = true, bool, "rdbcompression";
    /// Write and check the checksum of snapshots.
    rdbchecksum: bool = true, bool, "rdbchecksum", IMMUTABLE;
    /// Which snapshots of other versions are read.
    rdb_version_check: RdbVersionCheck = RdbVersionCheck::Strict, choice, "rdb-version-check", NO_EFFECT, LATER;
    /// When dumped payloads are checked deeply.
    sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No, choice, "sanitize-dump-payload";
    /// Name of the snapshot.
    dbfilename: String = "dump.rdb".into(), text(dbfilename), "dbfilename", PROTECTED;
    /// Remove snapshots for replication when nothing else needs them.
    rdb_del_sync_files: bool = false, bool, "rdb-del-sync-files";
    /// How snapshots are made: by a forked child, or in slices by the server itself.
    snapshot_method: SnapshotMethod = SnapshotMethod::Fork, choice, "snapshot-method" | "bgsave-default-method";
    /// Bytes that may wait to be written of what changes during an incremental snapshot; 0: no limit.
    snapshot_buffer_limit: u64 = 256 * MB, memory(0, LONG_MAX), "snapshot-buffer-limit";
    /// Flush a snapshot to disk while it is written.
    rdb_save_incremental_fsync: bool = true, bool, "rdb-save-incremental-fsync";
    /// Microseconds to wait after each key that is saved; negative: keys in a microsecond. For tests.
    rdb_key_save_delay: i32 = 0, int(i32::MIN, INT_MAX), "rdb-key-save-delay", HIDDEN;
    /// Microseconds to wait after each key that is loaded; negative: keys in a microsecond. For tests.
    key_load_delay: i32 = 0, int(i32::MIN, INT_MAX), "key-load-delay", HIDDEN;
    /// Bytes loaded between two looks at the clients.
    loading_process_events_interval_bytes: u32 = 2 * 1024 * 1024, int(1024, INT_MAX), "loading-process-events-interval-bytes", HIDDEN;
    /// Working directory, absolute.
    dir: PathBuf = std::env::current_dir().unwrap_or_else(|_| "/".into()), special, "dir", PROTECTED, DENY_LOADING;

    ["The append-only file"]

    /// Write one.
    appendonly: bool = false, bool, "appendonly", DENY_LOADING;
    /// Start of its files' names.
    appendfilename: String = "appendonly.aof".into(), text(appendfilename), "appendfilename", IMMUTABLE;
    /// Directory of its files, below `dir`.
    appenddirname: String = "appendonlydir".into(), text(appenddirname), "appenddirname", IMMUTABLE;
    /// When it is flushed to disk.
    appendfsync: AppendFsync = AppendFsync::Everysec, choice, "appendfsync";
    /// Do not flush while a child saves or rewrites.
    no_appendfsync_on_rewrite: bool = false, bool, "no-appendfsync-on-rewrite";
    /// Growth in percents that starts a rewrite; 0: never.
    auto_aof_rewrite_percentage: u32 = 100, int(0, INT_MAX), "auto-aof-rewrite-percentage";
    /// Bytes below which no rewrite starts by itself.
    auto_aof_rewrite_min_size: u64 = 64 * MB, memory(0, LONG_MAX), "auto-aof-rewrite-min-size";
    /// Load a file whose end is missing.
    aof_load_truncated: bool = true, bool, "aof-load-truncated";
    /// The base file is a snapshot.
    aof_use_rdb_preamble: bool = true, bool, "aof-use-rdb-preamble";
    /// Write times into the file.
    aof_timestamp_enabled: bool = false, bool, "aof-timestamp-enabled";
    /// Flush a rewritten file to disk while it is written.
    aof_rewrite_incremental_fsync: bool = true, bool, "aof-rewrite-incremental-fsync";
    /// Keep the files of the past. For tests.
    aof_disable_auto_gc: bool = false, bool, "aof-disable-auto-gc", HIDDEN;

    ["Replication"]

    /// The primary, if this is a replica.
    replicaof: Option<PrimaryAddress> = None, special, "replicaof" | "slaveof", IMMUTABLE, MULTI_ARG;
    /// User for the primary.
    masteruser: Option<Vec<u8>> = None, secret, "masteruser" | "primaryuser", SENSITIVE, VALKEYS_ALIAS;
    /// Password for the primary.
    masterauth: Option<Vec<u8>> = None, secret, "masterauth" | "primaryauth", SENSITIVE, VALKEYS_ALIAS;
    /// Serve clients without a link to the primary.
    replica_serve_stale_data: bool = true, bool, "replica-serve-stale-data" | "slave-serve-stale-data";
    /// Refuse writes of clients.
    replica_read_only: bool = true, bool, "replica-read-only" | "slave-read-only";
    /// Empty the old dataset in the background.
    replica_lazy_flush: bool = false, bool, "replica-lazy-flush" | "slave-lazy-flush";
    /// Leave eviction to the primary.
    replica_ignore_maxmemory: bool = true, bool, "replica-ignore-maxmemory" | "slave-ignore-maxmemory";
    /// Go on when a command of the primary cannot be written to disk.
    replica_ignore_disk_write_errors: bool = false, bool, "replica-ignore-disk-write-errors";
    /// Sentinel prefers low numbers; 0: never promote.
    replica_priority: u32 = 100, int(0, INT_MAX), "replica-priority" | "slave-priority";
    /// Sentinel may know of it.
    replica_announced: bool = true, bool, "replica-announced";
    /// Address told to the primary.
    replica_announce_ip: Option<String> = None, optional, "replica-announce-ip" | "slave-announce-ip";
    /// Port told to the primary; 0: its own.
    replica_announce_port: u16 = 0, int(0, 65535), "replica-announce-port" | "slave-announce-port";
    /// Send snapshots without a file.
    repl_diskless_sync: bool = true, bool, "repl-diskless-sync";
    /// Seconds to wait for more replicas before such a snapshot.
    repl_diskless_sync_delay: u32 = 5, int(0, INT_MAX), "repl-diskless-sync-delay";
    /// Number of replicas that ends the wait; 0: none.
    repl_diskless_sync_max_replicas: u32 = 0, int(0, INT_MAX), "repl-diskless-sync-max-replicas";
    /// How a snapshot of the primary is loaded.
    repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled, choice, "repl-diskless-load", DENY_LOADING;
    /// Send the snapshot over a second connection.
    dual_channel_replication_enabled: bool = false, bool, "dual-channel-replication-enabled", VALKEY;
    /// As Redis 8 calls it; to Redis, the snapshot goes through one channel.
    repl_rdb_channel: bool = false, bool, "repl-rdb-channel", NO_EFFECT, LATER;
    /// Bytes that a replica keeps of what comes beside the snapshot; 0: as much as its output buffer.
    replica_full_sync_buffer_limit: u64 = 0, memory(0, u64::MAX), "replica-full-sync-buffer-limit", NO_EFFECT, LATER;
    /// Let the system join small packets to replicas.
    repl_disable_tcp_nodelay: bool = false, bool, "repl-disable-tcp-nodelay";
    /// Seconds between PINGs to replicas.
    repl_ping_replica_period: u32 = 10, int(1, INT_MAX), "repl-ping-replica-period" | "repl-ping-slave-period";
    /// Seconds of silence that end a link.
    repl_timeout: u32 = 60, int(1, INT_MAX), "repl-timeout";
    /// Bytes of the backlog, at least 16 KB.
    repl_backlog_size: u64 = MB, memory(1, LONG_MAX), "repl-backlog-size";
    /// Seconds after which the backlog is freed without replicas; 0: never.
    repl_backlog_ttl: u64 = 3600, int(0, LONG_MAX), "repl-backlog-ttl";
    /// Replicas without which writes are refused.
    min_replicas_to_write: u32 = 0, int(0, INT_MAX), "min-replicas-to-write" | "min-slaves-to-write";
    /// Seconds of lag with which a replica counts for that.
    min_replicas_max_lag: u32 = 10, int(0, INT_MAX), "min-replicas-max-lag" | "min-slaves-max-lag";
    /// What to do when a replicated command fails.
    propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore, choice, "propagation-error-behavior";

    ["Scripts, slow log, latency, events"]

    /// Milliseconds after which a script may be killed; 0: never.
    busy_reply_threshold: u64 = 5000, int(0, LONG_MAX), "busy-reply-threshold" | "lua-time-limit";
    /// Bytes that scripts of one kind may use together; 0: any number. A directive of Aeolis.
    lua_memory_limit: u64 = 1024 * MB, memory(0, LONG_MAX), "lua-memory-limit";
    /// Microseconds from which a command is slow; -1: none is.
    slowlog_log_slower_than: i64 = 10000, int(-1, LONG_MAX), "slowlog-log-slower-than" | "commandlog-execution-slower-than", VALKEYS_ALIAS;
    /// Entries of the slow log.
    slowlog_max_len: u64 = 128, int(0, LONG_MAX), "slowlog-max-len" | "commandlog-slow-execution-max-len", VALKEYS_ALIAS;
    /// Bytes from which a request is large; -1: none is.
    commandlog_request_larger_than: i64 = 1024 * 1024, int(-1, LONG_MAX), "commandlog-request-larger-than", VALKEY;
    /// Entries of the log of large requests.
    commandlog_large_request_max_len: u64 = 128, int(0, LONG_MAX), "commandlog-large-request-max-len", VALKEY;
    /// Bytes from which a reply is large; -1: none is.
    commandlog_reply_larger_than: i64 = 1024 * 1024, int(-1, LONG_MAX), "commandlog-reply-larger-than", VALKEY;
    /// Entries of the log of large replies.
    commandlog_large_reply_max_len: u64 = 128, int(0, LONG_MAX), "commandlog-large-reply-max-len", VALKEY;
    /// Milliseconds from which an event is a latency spike; 0: none is.
    latency_monitor_threshold: u64 = 0, int(0, LONG_MAX), "latency-monitor-threshold";
    /// Keep a histogram for each command.
    latency_tracking: bool = true, bool, "latency-tracking";
    /// Percentiles in INFO.
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9], special, "latency-tracking-info-percentiles", MULTI_ARG;
    /// Events of keys that are published.
    notify_keyspace_events: NotifyFlags = NotifyFlags::empty(), special, "notify-keyspace-events";

    ["Encodings of small values"]

    /// Fields of a hash that is a listpack.
    hash_max_listpack_entries: u64 = 512, int(0, LONG_MAX), "hash-max-listpack-entries" | "hash-max-ziplist-entries";
    /// Bytes of a field or value of such a hash.
    hash_max_listpack_value: u64 = 64, memory(0, LONG_MAX), "hash-max-listpack-value" | "hash-max-ziplist-value";
    /// Size of a list's node: elements, or with -1 to -5 from 4 to 64 KB.
    list_max_listpack_size: i32 = -2, int(i32::MIN, INT_MAX), "list-max-listpack-size" | "list-max-ziplist-size";
    /// Nodes at both ends of a list that are not compressed; 0: none is compressed.
    list_compress_depth: u32 = 0, int(0, INT_MAX), "list-compress-depth";
    /// Members of a set that is an intset.
    set_max_intset_entries: u64 = 512, int(0, LONG_MAX), "set-max-intset-entries";
    /// Members of a set that is a listpack.
    set_max_listpack_entries: u64 = 128, int(0, LONG_MAX), "set-max-listpack-entries";
    /// Bytes of a member of such a set.
    set_max_listpack_value: u64 = 64, int(0, LONG_MAX), "set-max-listpack-value";
    /// Members of a sorted set that is a listpack.
    zset_max_listpack_entries: u64 = 128, int(0, LONG_MAX), "zset-max-listpack-entries" | "zset-max-ziplist-entries";
    /// Bytes of a member of such a sorted set.
    zset_max_listpack_value: u64 = 64, memory(0, LONG_MAX), "zset-max-listpack-value" | "zset-max-ziplist-value";
    /// Bytes of a sparse HyperLogLog.
    hll_sparse_max_bytes: u64 = 3000, memory(0, LONG_MAX), "hll-sparse-max-bytes";
    /// Bytes of a stream's node; 0: any.
    stream_node_max_bytes: u64 = 4096, memory(0, LONG_MAX), "stream-node-max-bytes";
    /// Entries of a stream's node; 0: any.
    stream_node_max_entries: u64 = 100, int(0, LONG_MAX), "stream-node-max-entries";

    ["Cluster"]

    /// Run as a node of a cluster.
    cluster_enabled: bool = false, bool, "cluster-enabled", IMMUTABLE;
    /// File of the cluster's state.
    cluster_config_file: String = "nodes.conf".into(), text(cluster_config_file), "cluster-config-file", IMMUTABLE;
    /// Milliseconds after which a node is taken for lost.
    cluster_node_timeout: u64 = 15000, int(0, LONG_MAX), "cluster-node-timeout";
    /// Milliseconds between PINGs to nodes.
    cluster_ping_interval: u64 = 0, int(0, LONG_MAX), "cluster-ping-interval", HIDDEN;
    /// Port of the cluster bus; 0: `port` + 10000.
    cluster_port: u16 = 0, int(0, 65535), "cluster-port", IMMUTABLE;
    /// How old a replica's data may be for a failover.
    cluster_replica_validity_factor: u32 = 10, int(0, INT_MAX), "cluster-replica-validity-factor" | "cluster-slave-validity-factor";
    /// Replicas that a primary keeps when others are in need.
    cluster_migration_barrier: u32 = 1, int(0, INT_MAX), "cluster-migration-barrier";
    /// Replicas may move to other primaries.
    cluster_allow_replica_migration: bool = true, bool, "cluster-allow-replica-migration";
    /// Serve only while all slots are covered.
    cluster_require_full_coverage: bool = true, bool, "cluster-require-full-coverage";
    /// A replica does not try to become a primary.
    cluster_replica_no_failover: bool = false, bool, "cluster-replica-no-failover" | "cluster-slave-no-failover";
    /// Serve reads while the cluster is down.
    cluster_allow_reads_when_down: bool = false, bool, "cluster-allow-reads-when-down";
    /// Serve sharded pub/sub while the cluster is down.
    cluster_allow_pubsubshard_when_down: bool = true, bool, "cluster-allow-pubsubshard-when-down";
    /// Bytes that may wait on a cluster link; 0: any.
    cluster_link_sendbuf_limit: u64 = 0, memory(0, u64::MAX), "cluster-link-sendbuf-limit";
    /// Address told to other nodes.
    cluster_announce_ip: Option<String> = None, optional, "cluster-announce-ip";
    /// IPv4 address told to clients.
    cluster_announce_client_ipv4: Option<String> = None, optional(ipv4), "cluster-announce-client-ipv4", VALKEY;
    /// IPv6 address told to clients.
    cluster_announce_client_ipv6: Option<String> = None, optional(ipv6), "cluster-announce-client-ipv6", VALKEY;
    /// Port told to clients; 0: the one told to other nodes.
    cluster_announce_client_port: u16 = 0, int(0, 65535), "cluster-announce-client-port", LATER;
    /// TLS port told to clients; 0: the one told to other nodes.
    cluster_announce_client_tls_port: u16 = 0, int(0, 65535), "cluster-announce-client-tls-port", LATER;
    /// Host name told to clients.
    cluster_announce_hostname: Option<String> = None, optional(hostname), "cluster-announce-hostname";
    /// Name of the node for people.
    cluster_announce_human_nodename: Option<String> = None, optional(nodename), "cluster-announce-human-nodename";
    /// Port told to other nodes; 0: `port`.
    cluster_announce_port: u16 = 0, int(0, 65535), "cluster-announce-port";
    /// TLS port told to other nodes; 0: `tls-port`.
    cluster_announce_tls_port: u16 = 0, int(0, 65535), "cluster-announce-tls-port";
    /// Port of the bus told to other nodes; 0: the port + 10000.
    cluster_announce_bus_port: u16 = 0, int(0, 65535), "cluster-announce-bus-port";
    /// Endpoint that clients are told.
    cluster_preferred_endpoint_type: ClusterEndpointType = ClusterEndpointType::Ip, choice, "cluster-preferred-endpoint-type";
    /// Seconds for which a forgotten node stays forgotten.
    cluster_blacklist_ttl: u64 = 60, int(0, u64::MAX), "cluster-blacklist-ttl", VALKEY;
    /// Databases of a cluster.
    cluster_databases: u32 = 1, int(1, INT_MAX), "cluster-databases", IMMUTABLE, LATER;
    /// Milliseconds after which a failover that somebody asked for is given up.
    cluster_manual_failover_timeout: u32 = 5000, int(1, INT_MAX), "cluster-manual-failover-timeout", LATER;
    /// What to do when the cluster's file can't be written.
    cluster_config_save_behavior: ClusterSaveBehavior = ClusterSaveBehavior::Sync, choice, "cluster-config-save-behavior", NO_EFFECT, LATER;
    /// How many moves of slots are kept in memory, to be shown, once they are over.
    cluster_slot_migration_log_max_len: u64 = 1000, int(0, LONG_MAX), "cluster-slot-migration-log-max-len", LATER;
    /// Bytes that may still be on their way when a move of slots holds writes back; -1: any.
    slot_migration_max_failover_repl_bytes: i64 = 0, int(-1, LONG_MAX), "slot-migration-max-failover-repl-bytes", NO_EFFECT, LATER;
    /// Share of commands that are judged as in a cluster.
    cluster_compatibility_sample_ratio: u32 = 0, int(0, 100), "cluster-compatibility-sample-ratio", NO_EFFECT, LATER;
    /// Count the traffic of each slot.
    cluster_slot_stats_enabled: bool = false, bool, "cluster-slot-stats-enabled", VALKEY;
}

/// Redis's words where the allocator gives no help with defragmentation.
const NO_DEFRAG: Option<&str> = if TELLS_AREAS {
    None
} else {
    Some(
        "Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
        modified Jemalloc like the one shipped by default with the Redis source distribution",
    )
};

fn default_save() -> Vec<SavePoint> {
    [(3600, 1), (300, 100), (60, 10000)]
        .map(|(seconds, changes)| SavePoint { seconds, changes })
        .to_vec()
}

/// The value as text if `check` has nothing against it.
fn checked(value: &[u8], check: fn(&str) -> Result<(), Reason>) -> Result<String, Reason> {
    let text = std::str::from_utf8(value).map_err(|_| "argument must be valid UTF-8")?;
    check(text)?;
    Ok(text.to_owned())
}

fn anything(_: &str) -> Result<(), Reason> {
    Ok(())
}

fn title_template(template: &str) -> Result<(), Reason> {
    // Variables that may turn out empty count as empty: a title must have something else.
    let variable = |name: &str| match name {
        "title" | "server-mode" | "unixsocket" => Some(String::new()),
        "listen-addr" | "port" | "tls-port" | "config-file" => Some(name.to_owned()),
        _ => None,
    };
    match expand_template(template, variable) {
        Some(title) if !title.is_empty() => Ok(()),
        _ => Err("template format is invalid or contains unknown variables".into()),
    }
}

/// Three numbers, each of which has its place in one byte of `REDIS_VERSION_NUM`.
fn version(text: &str) -> Result<(), Reason> {
    let is_part = |part: &str| part.parse::<u8>().is_ok_and(|number| number.to_string() == part);
    match text.split('.').map(is_part).collect::<Vec<_>>()[..] {
        [true, true, true] => Ok(()),
        _ => Err("argument must be a version like 8.2.0".into()),
    }
}

fn base_name(name: &str, directive: &str, what: &str) -> Result<(), Reason> {
    if name.is_empty() {
        return Err(format!("{directive} can't be empty").into());
    }
    if name.contains(['/', '\\']) {
        return Err(format!("{directive} can't be a path, just a {what}").into());
    }
    Ok(())
}

fn locale(name: &str) -> Result<(), Reason> {
    if can_collate(name) { Ok(()) } else { Err("Invalid locale name".into()) }
}

fn dbfilename(name: &str) -> Result<(), Reason> {
    base_name(name, "dbfilename", "filename")
}

fn appendfilename(name: &str) -> Result<(), Reason> {
    base_name(name, "appendfilename", "filename")
}

fn appenddirname(name: &str) -> Result<(), Reason> {
    base_name(name, "appenddirname", "dirname")
}

fn cluster_config_file(name: &str) -> Result<(), Reason> {
    if name.is_empty() { Err("cluster-config-file can't be empty".into()) } else { Ok(()) }
}

fn ipv4(address: &str) -> Result<(), Reason> {
    let valid = address.is_empty() || address.parse::<Ipv4Addr>().is_ok();
    if valid { Ok(()) } else { Err("Invalid IPv4 address".into()) }
}

fn ipv6(address: &str) -> Result<(), Reason> {
    let valid = address.is_empty() || address.parse::<Ipv6Addr>().is_ok();
    if valid { Ok(()) } else { Err("Invalid IPv6 address".into()) }
}

fn hostname(name: &str) -> Result<(), Reason> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters".into());
    }
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') {
        return Ok(());
    }
    Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into())
}

fn nodename(name: &str) -> Result<(), Reason> {
    // These have a meaning in the file of the cluster's state.
    let valid = !name.contains(|c| "!#$%&()*+;<>?@[]^{|}~\0".contains(c));
    if valid { Ok(()) } else { Err("Announced human node name contained invalid character".into()) }
}
