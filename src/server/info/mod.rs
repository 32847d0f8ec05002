//! What the server knows about itself, in sections: the text of `INFO`, from which its metrics are made, too.
//!
//! Sections and fields are those of Redis 7.2, in its order. A field of a feature that this server does not have
//! says what Redis says where the feature is not in use: tools look for the field, not for the feature.

pub(crate) mod fields;

use crate::server::blocking;
use crate::server::clients::Census;
use crate::server::cluster;
use crate::server::config::Choice;
use crate::server::config::SnapshotMethod;
use crate::server::links::primary::PrimaryLink;
use crate::server::memory::evict;
use crate::server::memory::overhead::{Excess, MemoryOverhead, Tally};
use crate::server::observe::progress::Work;
use crate::server::observe::stats::Stats;
use crate::server::persistence::saver::{Reports, Saver};
use crate::server::pubsub::Topic;
use crate::server::table::CommandStats;
use crate::server::{Server, VALKEY_VERSION, VERSION};
use crate::sys::process;
use crate::util::alloc;
use crate::util::memory_units::human;
use crate::util::pace::Pace;
use std::collections::BTreeSet;
use std::fmt::{self, Display, Write};

/// Lines `name:value`.
struct Lines {
    text: Vec<u8>,
    /// Bytes that were used before the text was begun.
    used: u64,
    /// What is known of these, once anything has asked for it.
    census: Option<Census>,
    tally: Option<Tally>,
}

impl Lines {
    fn census(&mut self, s: &Server) -> Census {
        *self.census.get_or_insert_with(|| s.clients.census())
    }

    fn tally(&mut self, s: &Server) -> Tally {
        let census = self.census(s);
        *self.tally.get_or_insert_with(|| Tally::with(census))
    }

    fn add(&mut self, name: impl AsRef<[u8]>, value: impl Display) {
        self.text.extend_from_slice(name.as_ref());
        self.text.push(b':');
        // Writing to a vector does not fail.
        _ = write!(self, "{value}");
        self.text.extend_from_slice(b"\r\n");
    }

    /// A number of bytes, and the same for people.
    fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(format!("{name}_human"), human(bytes));
    }

    fn add_flag(&mut self, name: &str, flag: bool) {
        self.add(name, u8::from(flag));
    }

    fn add_zeros(&mut self, names: &[&str]) {
        for name in names {
            self.add(name, 0);
        }
    }
}

impl Write for Lines {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

struct Section {
    /// As it is asked for, in lower case.
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&Server, &mut Lines),
}

/// When a section is shown without being asked for by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    /// By `all` and `everything`.
    InAll,
    OnlyByName,
}

const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", shown: Shown::Always, write: server },
    Section { name: "clients", title: "Clients", shown: Shown::Always, write: clients },
    Section { name: "memory", title: "Memory", shown: Shown::Always, write: memory },
    Section { name: "persistence", title: "Persistence", shown: Shown::Always, write: persistence },
    Section { name: "stats", title: "Stats", shown: Shown::Always, write: stats },
    Section { name: "replication", title: "Replication", shown: Shown::Always, write: replication },
    Section { name: "cpu", title: "CPU", shown: Shown::Always, write: cpu },
    Section { name: "modules", title: "Modules", shown: Shown::Always, write: |_, _| {} },
    Section {
        name: "commandstats",
        title: "Commandstats",
        shown: Shown::InAll,
        write: commandstats,
    },
    Section { name: "errorstats", title: "Errorstats", shown: Shown::Always, write: errorstats },
    Section {
        name: "latencystats",
        title: "Latencystats",
        shown: Shown::InAll,
        write: latencystats,
    },
    Section {
        name: "cluster",
        title: "Cluster",
        shown: Shown::Always,
        write: |s, l| l.add("cluster_enabled", u8::from(s.cluster.is_some())),
    },
    Section { name: "keyspace", title: "Keyspace", shown: Shown::Always, write: keyspace },
    Section { name: "debug", title: "Debug", shown: Shown::OnlyByName, write: debug },
];

/// The sections with these names (`default`, `all` and `everything` are several), each once, in their order.
pub fn info_text(s: &Server, names: &[&[u8]]) -> Vec<u8> {
    info_text_with(s, names, None)
}

/// The same, where what takes longest where there is much may be known already.
pub fn info_text_with(s: &Server, names: &[&[u8]], tally: Option<Tally>) -> Vec<u8> {
    let names: BTreeSet<Vec<u8>> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let asked = |name: &str| names.contains(name.as_bytes());
    let all = asked("all") || asked("everything");
    let default = all || names.is_empty() || asked("default");
    let used = alloc::used_memory() as u64;
    let census = tally.map(|tally| tally.census);
    let mut lines = Lines { text: Vec::with_capacity(8192), used, census, tally };
    for section in SECTIONS {
        let shown = match section.shown {
            Shown::Always => default,
            Shown::InAll => all,
            Shown::OnlyByName => false,
        };
        if !shown && !asked(section.name) {
            continue;
        }
        if !lines.text.is_empty() {
            lines.text.extend_from_slice(b"\r\n");
        }
        lines.text.extend([b"# ", section.title.as_bytes(), b"\r\n"].concat());
        (section.write)(s, &mut lines);
    }
    lines.text
}

fn server(s: &Server, lines: &mut Lines) {
    let uptime = s.process.uptime_ms(s.ks.now_ms) / 1000;
    lines.add("redis_version", &s.config.redis_version_announced);
    if s.config.flavour.info_names_the_server {
        lines.add("server_name", "valkey");
        lines.add("valkey_version", VALKEY_VERSION);
    }
    lines.add("aeolis_version", VERSION);
    lines.add("redis_git_sha1", "00000000");
    lines.add("redis_git_dirty", 0);
    lines.add("redis_build_id", "0000000000000000");
    let mode = if s.config.is_valkey() { "server_mode" } else { "redis_mode" };
    lines.add(mode, cluster::mode(s));
    lines.add("os", process::system_name());
    lines.add("arch_bits", usize::BITS);
    lines.add("monotonic_clock", "POSIX clock_gettime");
    lines.add("multiplexing_api", "epoll");
    lines.add("atomicvar_api", "c11-builtin");
    // As Redis says when another compiler built it.
    lines.add("gcc_version", "0.0.0");
    lines.add("process_id", std::process::id());
    lines.add("process_supervised", s.process.supervised().unwrap_or("no"));
    lines.add("run_id", s.process.run_id());
    lines.add("tcp_port", s.config.main_port());
    lines.add("server_time_usec", s.ks.clock.unix_us());
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / (24 * 3600));
    lines.add("hz", s.config.hz);
    lines.add("configured_hz", s.config.hz);
    lines.add("lru_clock", s.now_seconds() & 0xff_ffff);
    lines.add("executable", &s.process.origin().executable);
    lines.add("config_file", s.process.origin().config_file.display());
    lines.add("io_threads_active", 0);
    for (i, listener) in s.process.listeners().iter().enumerate() {
        lines.add(format!("listener{i}"), listener);
    }
    if let Some(left) = s.lifecycle.shutdown.milliseconds_left(s.ks.now_ms) {
        lines.add("shutdown_in_milliseconds", left);
    }
}

fn clients(s: &Server, lines: &mut Lines) {
    let census = lines.census(s);
    lines.add("connected_clients", census.ordinary);
    // One each way with each other node.
    let others = s.cluster.as_ref().map_or(0, |cluster| cluster.known_nodes() - 1);
    lines.add("cluster_connections", 2 * others);
    lines.add("maxclients", s.config.maxclients);
    lines.add("client_recent_max_input_buffer", census.largest_input);
    lines.add("client_recent_max_output_buffer", census.largest_output);
    lines.add("blocked_clients", blocking::blocked_clients(s));
    lines.add("tracking_clients", s.tracking.clients());
    lines.add("pubsub_clients", census.subscribers);
    lines.add("watching_clients", s.blocking.watched.clients());
    lines.add("clients_in_timeout_table", s.blocking.waits.with_deadline());
    lines.add("total_watched_keys", s.blocking.watched.len());
    lines.add("total_blocking_keys", s.ks.changes.blocked.len());
    lines.add("total_blocking_keys_on_nokey", s.ks.changes.blocked.len_on_no_key());
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn memory(s: &Server, lines: &mut Lines) {
    let m = MemoryOverhead::of(s, lines.used, &lines.tally(s));
    let MemoryOverhead { used, rss, peak, .. } = m;
    let total = process::total_memory();
    lines.add_bytes("used_memory", used);
    lines.add_bytes("used_memory_rss", rss);
    lines.add_bytes("used_memory_peak", peak);
    lines.add("used_memory_peak_perc", format_args!("{:.2}%", ratio(used, peak) * 100.0));
    lines.add("used_memory_overhead", m.total);
    lines.add("used_memory_startup", m.startup);
    lines.add("used_memory_dataset", m.dataset);
    lines.add("used_memory_dataset_perc", format_args!("{:.2}%", m.dataset_percent()));
    lines.add("allocator_allocated", used);
    lines.add("allocator_active", m.allocator_active);
    lines.add("allocator_resident", m.allocator_resident);
    lines.add_bytes("total_system_memory", total);
    let lua = s.scripting.scripts.lua_memory();
    lines.add("used_memory_lua", lua);
    lines.add("used_memory_vm_eval", lua);
    lines.add("used_memory_lua_human", human(lua as u64));
    lines.add("used_memory_scripts_eval", s.scripting.scripts.memory());
    lines.add("number_of_cached_scripts", s.scripting.scripts.len());
    lines.add("number_of_functions", s.scripting.libraries.functions());
    lines.add("number_of_libraries", s.scripting.libraries.len());
    lines.add("used_memory_vm_functions", s.scripting.libraries.lua_memory());
    lines.add_bytes("used_memory_vm_total", (lua + s.scripting.libraries.lua_memory()) as u64);
    lines.add("used_memory_functions", s.scripting.libraries.memory());
    lines.add_bytes(
        "used_memory_scripts",
        (s.scripting.scripts.memory() + s.scripting.libraries.memory()) as u64,
    );
    lines.add_bytes("maxmemory", s.config.maxmemory);
    lines.add("maxmemory_policy", s.config.maxmemory_policy.name());
    let mut add_excess = |name: &str, excess: Excess| {
        lines.add(format!("{name}_ratio"), format_args!("{:.2}", excess.ratio()));
        lines.add(format!("{name}_bytes"), excess.bytes());
    };
    add_excess("allocator_frag", m.allocator_fragmentation());
    add_excess("allocator_rss", m.allocator_rss());
    add_excess("rss_overhead", m.rss_overhead());
    add_excess("mem_fragmentation", m.fragmentation());
    lines.add("mem_not_counted_for_evict", evict::memory_not_counted_for_eviction(s));
    lines.add("mem_replication_backlog", m.backlog);
    lines.add("mem_total_replication_buffers", m.backlog + m.replicas);
    lines.add("mem_clients_slaves", m.replicas);
    lines.add("mem_clients_normal", m.normal_clients);
    lines.add("mem_cluster_links", s.net.bus().total_memory());
    lines.add("mem_aof_buffer", s.persistence.aof.appender().buffer_memory());
    lines.add("mem_allocator", alloc::NAME);
    lines.add("active_defrag_running", s.memory.defrag().running_percent(&s.config));
    lines.add("lazyfree_pending_objects", s.memory.lazyfree().pending());
    lines.add("lazyfreed_objects", s.memory.lazyfree().freed());
}

fn persistence(s: &Server, lines: &mut Lines) {
    let now = s.now_seconds();
    let (saver, snapshots) = (s.persistence.saver(), &s.persistence.snapshots);
    let is_async = s.persistence.loading.as_ref().is_some_and(|l| l.is_async());
    lines.add_flag("loading", s.persistence.is_loading() && !is_async);
    lines.add_flag("async_loading", is_async);
    let reports = saver.map(Saver::reports);
    let figure = |of: fn(&Reports) -> u64| reports.map_or(0, of);
    let (done, total) = (figure(|r| r.keys_done), figure(|r| r.keys_total));
    lines.add("current_cow_peak", figure(|r| r.cow_peak));
    lines.add("current_cow_size", figure(|r| r.cow));
    lines.add(
        "current_cow_size_age",
        reports.map_or(0, |r| (s.ks.now_ms - r.updated_ms).max(0) / 1000),
    );
    lines.add("current_fork_perc", format_args!("{:.2}", ratio(done, total) * 100.0));
    lines.add("current_save_keys_processed", done);
    lines.add("current_save_keys_total", total);
    lines.add("rdb_changes_since_last_save", s.ks.changes.dirty);
    let saving = saver.filter(|_| !s.persistence.is_rewriting_aof());
    let rewriting = saver.filter(|_| s.persistence.is_rewriting_aof());
    lines.add_flag("rdb_bgsave_in_progress", saving.is_some());
    lines.add("rdb_last_save_time", snapshots.last_save());
    lines.add("rdb_last_bgsave_status", status(snapshots.last_ok()));
    lines.add("rdb_last_bgsave_time_sec", snapshots.last_duration().unwrap_or(-1));
    lines.add("rdb_current_bgsave_time_sec", saving.map_or(-1, |saver| now - saver.started()));
    let method = |method: Option<SnapshotMethod>| match method {
        None => "none",
        Some(SnapshotMethod::Fork) => "fork",
        Some(SnapshotMethod::Incremental) => "forkless",
    };
    lines.add("rdb_current_bgsave_type", method(saving.map(Saver::method)));
    lines.add("rdb_last_bgsave_type", method(snapshots.last_method()));
    let forkless = saving.filter(|saver| saver.method() == SnapshotMethod::Incremental);
    lines.add("forkless_estimated_seconds_remaining", forkless.map_or(-1, |_| saving_left(s)));
    lines.add("rdb_saves", snapshots.saves());
    lines.add("rdb_last_cow_size", snapshots.last_cow_bytes());
    lines.add("rdb_last_load_keys_expired", snapshots.keys_expired());
    lines.add("rdb_last_load_keys_loaded", snapshots.keys_loaded());
    append_only_file(s, rewriting.map(Saver::started), lines);
    if let Some(loading) = &s.persistence.loading {
        let (total, loaded) = loading.bytes();
        lines.add("loading_start_time", loading.started_ms() / 1000);
        lines.add("loading_total_bytes", total);
        lines.add("loading_rdb_used_mem", loading.rdb_used_mem());
        lines.add("loading_loaded_bytes", loaded);
        lines.add("loading_loaded_perc", format_args!("{:.2}", ratio(loaded, total) * 100.0));
        lines.add("loading_eta_seconds", loading.eta_seconds(s.ks.now_ms));
    }
    for (work, pace) in s.observer.progress.running() {
        lines.add(format!("progress_{}", work.name()), course(work, pace));
    }
}

/// `rewriting_since`: when somebody began to rewrite it, in seconds since 1970.
fn append_only_file(s: &Server, rewriting_since: Option<i64>, lines: &mut Lines) {
    lines.add_flag("aof_enabled", s.config.appendonly);
    let aof = &s.persistence.aof;
    let (rewrites, appender) = (aof.rewrites(), aof.appender());
    lines.add_flag("aof_rewrite_in_progress", rewriting_since.is_some());
    lines.add_flag("aof_rewrite_scheduled", rewrites.is_scheduled());
    lines.add("aof_last_rewrite_time_sec", rewrites.last_seconds().unwrap_or(-1));
    lines.add(
        "aof_current_rewrite_time_sec",
        rewriting_since.map_or(-1, |since| s.now_seconds() - since),
    );
    lines.add("aof_last_bgrewrite_status", status(rewrites.last_ok().unwrap_or(true)));
    lines.add("aof_rewrites", rewrites.count());
    lines.add("aof_rewrites_consecutive_failures", rewrites.failures());
    lines.add("aof_last_write_status", status(aof.error().is_none()));
    lines.add("aof_last_cow_size", rewrites.last_cow_bytes());
    lines.add_zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if !aof.is_off() {
        lines.add("aof_current_size", rewrites.size());
        lines.add("aof_base_size", rewrites.base_size());
        lines.add_flag("aof_pending_rewrite", rewrites.is_scheduled());
        lines.add("aof_buffer_length", appender.buffered());
        lines.add("aof_pending_bio_fsync", s.persistence.bio.pending_fsyncs());
        lines.add("aof_delayed_fsync", appender.delayed_fsyncs());
    }
}

/// How many seconds saving will take; -1: nobody knows.
fn saving_left(s: &Server) -> i64 {
    let mut running = s.observer.progress.running();
    let pace = running.find(|(work, _)| *work == Work::Saving).map(|(_, pace)| pace);
    pace.and_then(Pace::seconds_left).map_or(-1, |seconds| seconds as i64)
}

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

/// How far some work is; what is not known is left out.
fn course(work: Work, pace: &Pace) -> String {
    let mut text = format!("unit={},done={}", work.unit(), pace.done());
    let mut add = |name: &str, figure: Option<u64>| {
        if let Some(figure) = figure {
            text += &format!(",{name}={figure}");
        }
    };
    add("total", pace.total());
    add("per_second", pace.per_second());
    add("seconds_left", pace.seconds_left());
    if let Some(percent) = pace.percent() {
        text += &format!(",percent={percent:.2}");
    }
    text
}

fn stats(s: &Server, lines: &mut Lines) {
    let stats = s.observer.stats();
    let refused = s.acl.log.refused();
    let keys = &s.ks.stats;
    let kbps = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    lines.add("total_connections_received", stats.connections);
    lines.add("total_commands_processed", stats.commands);
    lines.add("instantaneous_ops_per_sec", stats.ops_rate.per_second());
    lines.add("total_net_input_bytes", stats.net_in + stats.net_repl_in);
    lines.add("total_net_output_bytes", stats.net_out + stats.net_repl_out);
    lines.add("total_net_repl_input_bytes", stats.net_repl_in);
    lines.add("total_net_repl_output_bytes", stats.net_repl_out);
    lines.add("instantaneous_input_kbps", kbps(stats.in_rate.per_second()));
    lines.add("instantaneous_output_kbps", kbps(stats.out_rate.per_second()));
    lines.add("instantaneous_input_repl_kbps", kbps(stats.repl_in_rate.per_second()));
    lines.add("instantaneous_output_repl_kbps", kbps(stats.repl_out_rate.per_second()));
    lines.add("rejected_connections", stats.rejected_connections);
    lines.add("sync_full", stats.sync_full);
    lines.add("sync_partial_ok", stats.sync_partial_ok);
    lines.add("sync_partial_err", stats.sync_partial_err);
    lines.add("expired_keys", keys.expired);
    lines.add("expired_stale_perc", format_args!("{:.2}", keys.expired_stale_perc));
    lines.add("expired_time_cap_reached_count", keys.expire_time_cap_reached);
    lines.add("expire_cycle_cpu_milliseconds", keys.expire_cycle_us / 1000);
    lines.add("evicted_keys", keys.evicted);
    lines.add("evicted_clients", stats.evicted_clients);
    lines.add("evicted_scripts", s.scripting.scripts.evicted());
    let (total, current) = s.memory.eviction().exceeded_ms(s.ks.clock.nanos());
    lines.add("total_eviction_exceeded_time", total);
    lines.add("current_eviction_exceeded_time", current);
    lines.add("keyspace_hits", keys.hits);
    lines.add("keyspace_misses", keys.misses);
    lines.add("pubsub_channels", s.pubsub.of(Topic::Channel).len());
    lines.add("pubsub_patterns", s.pubsub.of(Topic::Pattern).len());
    lines.add("pubsubshard_channels", s.pubsub.of(Topic::Shard).len());
    lines.add("latest_fork_usec", stats.latest_fork_us);
    lines.add("total_forks", stats.forks);
    lines.add("migrate_cached_sockets", s.net.targets().count());
    lines.add("slave_expires_tracked_keys", s.ks.replica_keys.len());
    let moves = s.memory.defrag().counts();
    lines.add("active_defrag_hits", moves.moved);
    lines.add("active_defrag_misses", moves.kept);
    lines.add("active_defrag_key_hits", moves.moved_keys);
    lines.add("active_defrag_key_misses", moves.kept_keys);
    let (total, current) = s.memory.defrag().spent_ms();
    lines.add("total_active_defrag_time", total);
    lines.add("current_active_defrag_time", current);
    lines.add("tracking_total_keys", s.tracking.keys());
    lines.add("tracking_total_items", s.tracking.items());
    lines.add("tracking_total_prefixes", s.tracking.prefixes());
    lines.add("unexpected_error_replies", stats.unexpected_error_replies);
    lines.add("total_error_replies", stats.error_replies);
    lines.add("dump_payload_sanitizations", stats.dump_payload_sanitizations);
    lines.add("total_reads_processed", stats.reads);
    lines.add("total_writes_processed", stats.writes);
    lines.add_zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    lines.add("client_query_buffer_limit_disconnections", stats.query_buffer_limit_disconnections);
    lines
        .add("client_output_buffer_limit_disconnections", stats.output_buffer_limit_disconnections);
    lines.add_zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    loop_stats(stats, lines);
    lines.add("acl_access_denied_auth", refused.logins);
    lines.add("acl_access_denied_cmd", refused.commands);
    lines.add("acl_access_denied_key", refused.keys);
    lines.add("acl_access_denied_channel", refused.channels);
    if refused.certificates > 0 {
        lines.add("acl_access_denied_tls_cert", refused.certificates);
    }
}

fn loop_stats(stats: &Stats, lines: &mut Lines) {
    let cycles = stats.cycle_rate.per_second();
    lines.add("eventloop_cycles", stats.loop_cycles);
    lines.add("eventloop_duration_sum", stats.loop_us);
    lines.add("eventloop_duration_cmd_sum", stats.command_us);
    lines.add("instantaneous_eventloop_cycles_per_sec", cycles);
    lines.add(
        "instantaneous_eventloop_duration_usec",
        stats.cycle_us_rate.per_second().checked_div(cycles).unwrap_or(0),
    );
}

fn replication(s: &Server, lines: &mut Lines) {
    let repl = &s.repl;
    match repl.primary() {
        None => lines.add("role", "master"),
        Some(link) => {
            lines.add("role", "slave");
            primary_link(s, link, lines);
        }
    }
    lines.add("connected_slaves", repl.replicas().len());
    if s.config.min_replicas_to_write > 0 && s.config.min_replicas_max_lag > 0 {
        lines.add("min_slaves_good_slaves", repl.good_replicas());
    }
    replicas(s, lines);
    if lines.census(s).handshakes > 0 {
        handshakes(s, lines);
    }
    lines.add("replicas_waiting_psync", repl.reserved());
    lines.add("master_failover_state", repl.failover().name());
    lines.add("master_replid", repl.id());
    lines.add("master_replid2", repl.second_id());
    lines.add("master_repl_offset", repl.offset());
    lines.add("second_repl_offset", repl.second_offset());
    lines.add_flag("repl_backlog_active", repl.stream().is_some());
    lines.add("repl_backlog_size", s.config.repl_backlog_size);
    // Offsets in the protocol count from 1.
    lines.add(
        "repl_backlog_first_byte_offset",
        repl.stream().map_or(0, |stream| stream.start() + 1),
    );
    lines.add("repl_backlog_histlen", repl.stream().map_or(0, |stream| stream.len()));
}

fn primary_link(s: &Server, link: &PrimaryLink, lines: &mut Lines) {
    let now = s.now_seconds();
    let connected = link.is_connected();
    let client = link.token().filter(|_| connected).and_then(|token| s.clients.get(token));
    let (read, applied) = match (client, s.repl.cached_offset()) {
        (Some(client), _) => (client.read_offset, client.applied_offset),
        (None, Some(offset)) => (offset, offset),
        (None, None) => (1, 1),
    };
    let syncing = link.is_syncing();
    lines.add("master_host", link.host());
    lines.add("master_port", link.port());
    lines.add("master_link_status", if connected { "up" } else { "down" });
    lines
        .add("master_last_io_seconds_ago", if connected { now - link.heard_seconds() } else { -1 });
    lines.add_flag("master_sync_in_progress", syncing);
    lines.add("slave_read_repl_offset", read);
    lines.add("slave_repl_offset", applied);
    let (in_memory, peak, _) = link.kept_bytes();
    lines.add("replicas_repl_buffer_size", in_memory);
    lines.add("replicas_repl_buffer_peak", peak);
    if syncing {
        let (total, received) = link.transfer_progress().unwrap_or((0, 0));
        // A length that is not known yet goes into the figures as -1, as in Redis.
        let part = if total == 0 { 0.0 } else { received as f64 / total as f64 };
        lines.add("master_sync_total_bytes", total);
        lines.add("master_sync_read_bytes", received);
        lines.add("master_sync_left_bytes", total - received as i64);
        lines.add("master_sync_perc", format_args!("{:.2}", part * 100.0));
        lines.add("master_sync_last_io_seconds_ago", now - link.heard_seconds());
    }
    if !connected {
        let since = s.repl.down_since_seconds();
        lines.add("master_link_down_since_seconds", since.map_or(-1, |since| now - since));
    }
    lines.add("slave_priority", s.config.replica_priority);
    lines.add_flag("slave_read_only", s.config.replica_read_only);
    lines.add_flag("replica_announced", s.config.replica_announced);
}

fn replicas(s: &Server, lines: &mut Lines) {
    let links = s.repl.replicas().iter().filter_map(|&token| {
        let client = s.clients.get(token)?;
        let link = client.replstate.as_ref().filter(|link| !link.is_shaking_hands())?;
        Some((client, link))
    });
    for (i, (client, link)) in links.enumerate() {
        let ip = if link.announced.ip_address.is_empty() {
            client.conn.peer_ip().map_or_else(String::new, |ip| ip.to_string())
        } else {
            link.announced.ip_address.clone()
        };
        let lag = if link.is_online() { s.now_seconds() - link.heard_seconds() } else { 0 };
        let kind = link.kind();
        let (port, state, offset) =
            (link.announced.listening_port, link.state_name(), link.ack_offset());
        lines.add(
            format!("slave{i}"),
            format_args!("ip={ip},port={port},state={state},offset={offset},lag={lag},type={kind}"),
        );
    }
}

/// Connections that have said they are replicas', and have not asked for anything yet.
fn handshakes(s: &Server, lines: &mut Lines) {
    let strangers = s.clients.iter().map(|(_, client)| client).filter(|c| c.is_shaking_hands());
    let with_links = strangers.filter_map(|client| Some((client, client.replstate.as_ref()?)));
    for (i, (client, link)) in with_links.enumerate() {
        let ip = client.conn.peer_ip().map_or_else(String::new, |ip| ip.to_string());
        let (port, step) = (link.announced.listening_port, client.last_command.unwrap_or("none"));
        let age = s.now_seconds() - client.created_seconds;
        lines.add(
            format!("handshake{i}"),
            format_args!("ip={ip},port={port},step={step},age={age}"),
        );
    }
}

fn cpu(_: &Server, lines: &mut Lines) {
    let [all, children, main_thread] = process::cpu_times();
    let mut add = |name: &str, seconds: f64| lines.add(name, format_args!("{seconds:.6}"));
    add("used_cpu_sys", all.system);
    add("used_cpu_user", all.user);
    add("used_cpu_sys_children", children.system);
    add("used_cpu_user_children", children.user);
    add("used_cpu_sys_main_thread", main_thread.system);
    add("used_cpu_user_main_thread", main_thread.user);
}

fn commandstats(s: &Server, lines: &mut Lines) {
    for command in s.commands.iter() {
        let CommandStats { calls, nanos, rejected, failed, .. } = command.stats;
        if calls + rejected + failed == 0 {
            continue;
        }
        let micros = nanos / 1000;
        let average = ratio(micros, calls);
        lines.add(
            format!("cmdstat_{}", command.name),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={average:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

fn errorstats(s: &Server, lines: &mut Lines) {
    for (code, count) in &s.observer.stats().errors {
        // A code may hold anything, and must not look like another line.
        let safe =
            |byte: &u8| if matches!(byte, b'#' | b':' | b'\r' | b'\n') { b'_' } else { *byte };
        let code: Vec<u8> = code.iter().map(safe).collect();
        lines.add([b"errorstat_", &code[..]].concat(), format_args!("count={count}"));
    }
}

fn latencystats(s: &Server, lines: &mut Lines) {
    if !s.config.latency_tracking {
        return;
    }
    for command in s.commands.iter().filter(|c| c.stats.calls > 0) {
        let percentiles = s.config.latency_tracking_info_percentiles.iter();
        let values: Vec<String> = percentiles
            .map(|percent| format!("p{percent}={:.3}", command.stats.percentile_us(*percent)))
            .collect();
        lines.add(format!("latency_percentiles_usec_{}", command.name), values.join(","));
    }
}

fn keyspace(s: &Server, lines: &mut Lines) {
    for (n, db) in s.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        lines.add(
            format!("db{n}"),
            format_args!("keys={},expires={},avg_ttl={}", db.len(), db.volatile(), db.avg_ttl),
        );
    }
}

fn debug(s: &Server, lines: &mut Lines) {
    lines.add("eventloop_duration_aof_sum", 0);
    lines.add("eventloop_duration_cron_sum", s.observer.stats().cron_us);
    lines.add("eventloop_duration_max", s.observer.stats().loop_us_max);
    lines.add("eventloop_cmd_per_cycle_max", s.observer.stats().commands_per_cycle_max);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Config;
    use crate::server::observe::log::Log;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn new_server() -> Server {
        let commands = crate::cli::command_table();
        Server::new(Config::default(), commands, SmallRng::seed_from_u64(1), Log::silent())
    }

    /// Sections and fields of Redis 7.2, empty.
    const REDIS_FIELDS: &str = include_str!("info-redis-7.2.txt");

    #[test]
    fn the_fields_are_those_of_redis_in_its_order() {
        let text = String::from_utf8(info_text(&new_server(), &[b"everything"])).unwrap();
        let mut have = text.lines().map(|line| line.split_once(':').map_or(line, |(name, _)| name));
        for line in REDIS_FIELDS.lines().map(|line| line.trim_end_matches(':')) {
            // Statistics of what ran depend on what ran, listeners on the loop.
            if line.starts_with("cmdstat")
                || line.starts_with("latency_percentiles")
                || line == "listener0"
            {
                continue;
            }
            assert!(have.any(|name| name == line), "{line:?} is missing, or not in its place");
        }
    }

    #[test]
    fn sections_are_chosen_by_name_and_shown_once() {
        let server = new_server();
        let titles = |names: &[&[u8]]| -> Vec<String> {
            let text = String::from_utf8(info_text(&server, names)).unwrap();
            text.lines().filter_map(|line| line.strip_prefix("# ").map(str::to_string)).collect()
        };
        assert_eq!(titles(&[b"CPU", b"keyspace", b"cpu"]), ["CPU", "Keyspace"]);
        assert!(titles(&[b"nosuch"]).is_empty());
        assert_eq!(titles(&[]), titles(&[b"default"]));
        assert!(!titles(&[]).contains(&"Commandstats".to_string()));
        assert_eq!(titles(&[b"cpu", b"all"]).len(), 13);
    }
}
