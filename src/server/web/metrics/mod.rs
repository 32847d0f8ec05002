//! `GET /metrics`: what `INFO` and its sisters know, for Prometheus.
//!
//! Names, types and labels are those of redis_exporter, so that dashboards and alerts made for it work here unchanged.
//! Most of the numbers are fields of `INFO` ([`fields`]), taken from its text: there is one source for both. What an
//! exporter can't see is called `aeolis_*`.
//!
//! Nothing here depends on the number of keys, and clients are counted in one pass, in a turn of the loop before the
//! one in which the metrics are written.

mod exposition;
mod fields;

pub use exposition::Format;

use super::access::Needs;
use crate::server::Server;
use crate::server::VERSION;
use crate::server::info::fields::{Fields, Parts};
use crate::server::info::info_text_with;
use crate::server::links::trace::LinkRole;
use crate::server::memory::overhead::Tally;
use crate::server::observe::command_log::Measure;
use crate::server::replication::status;
use crate::server::table::Command;
use crate::util::pace::Pace;
use exposition::{Exposition, Kind};

/// Whoever sees them could have asked for them with `INFO`.
pub const NEEDS: Needs = Needs { commands: &["info"], all_keys: false };
/// Databases that are shown although they are empty.
const EMPTY_DBS_SHOWN: usize = 16;
/// The shortest and the longest time that histograms have a bound for: 2^8 and 2^32 nanoseconds, 256 ns and 4.3 s.
const BOUNDS: std::ops::RangeInclusive<usize> = 8..=32;

/// What is known of scrapes: redis_exporter tells of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scrapes {
    count: u64,
    last_nanos: u64,
    total_nanos: u64,
}

impl Scrapes {
    /// A scrape took so long.
    pub fn record(&mut self, nanos: u64) {
        self.count += 1;
        self.last_nanos = nanos;
        self.total_nanos += nanos;
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// All metrics of a server, for which all was counted before.
pub fn metrics(server: &Server, tally: Tally, format: Format, scrapes: Scrapes) -> Vec<u8> {
    let text = info_text_with(server, &[], Some(tally));
    let text = String::from_utf8_lossy(&text);
    let info = Fields::of(&text);
    let mut out = Exposition::new(format);
    info_fields(&info, &mut out);
    identity(&info, &mut out);
    databases(server, &info, &mut out);
    errors_and_spikes(server, &mut out);
    slow_log(server, &mut out);
    configuration(server, &mut out);
    commands(server, &mut out);
    loop_turns(server, &mut out);
    replicas_and_primary(&info, &mut out);
    replication_links(server, &mut out);
    long_work(server, &mut out);
    viewers(server, &mut out);
    exporter(scrapes, &mut out);
    out.finish()
}

fn info_fields(info: &Fields<'_>, out: &mut Exposition) {
    for (field, value) in info.iter() {
        if let Some((metric, kind)) = fields::metric_of(field)
            && let Some(value) = fields::value_of(value)
        {
            out.single(metric, kind, format_args!("The field {field} of INFO."), value);
        }
    }
}

fn identity(info: &Fields<'_>, out: &mut Exposition) {
    out.head("redis_instance_info", Kind::Gauge, "Information about this server.");
    let names = [
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
    ];
    let value = |name| match (name, info.get(name)) {
        // So called by one that calls itself Valkey.
        ("redis_mode", "") => info.get("server_mode"),
        (_, value) => value,
    };
    out.sample(&names.map(|name| (name, value(name))), 1);
    out.head("aeolis_build_info", Kind::Gauge, "The version of Aeolis.");
    out.sample(&[("version", VERSION)], 1);
    let number = |field: &str| info.get(field).parse::<f64>().unwrap_or(0.0);
    let started = (number("server_time_usec") / 1e6).trunc() - number("uptime_in_seconds");
    let help = "Start time of the server since the Unix epoch in seconds.";
    out.single("redis_start_time_seconds", Kind::Gauge, help, started);
    let help = "How long the last fork took, in seconds.";
    out.single("redis_latest_fork_seconds", Kind::Gauge, help, number("latest_fork_usec") / 1e6);
}

fn databases(server: &Server, info: &Fields<'_>, out: &mut Exposition) {
    let used: Vec<(&str, Parts<'_>)> = info.numbered("db").collect();
    let empty: Vec<String> = (0..server.ks.dbs.len().min(EMPTY_DBS_SHOWN))
        .map(|n| format!("db{n}"))
        .filter(|name| !used.iter().any(|(used, _)| used == name))
        .collect();
    for (metric, part, help) in [
        ("redis_db_keys", "keys", "Keys of a database."),
        ("redis_db_keys_expiring", "expires", "Keys of a database that have an expiry."),
    ] {
        out.head(metric, Kind::Gauge, help);
        for (db, parts) in &used {
            out.sample(&[("db", db)], parts.get(part));
        }
        for db in &empty {
            out.sample(&[("db", db)], 0);
        }
    }
    let help = "The average time to live of a database's keys with an expiry.";
    out.head("redis_db_avg_ttl_seconds", Kind::Gauge, help);
    for (db, parts) in &used {
        let ms: f64 = parts.get("avg_ttl").parse().unwrap_or(0.0);
        out.sample(&[("db", db)], ms / 1000.0);
    }
}

fn errors_and_spikes(server: &Server, out: &mut Exposition) {
    out.head("redis_errors_total", Kind::Counter, "Error replies by code.");
    for (code, count) in &server.stats().errors {
        out.sample(&[("err", &String::from_utf8_lossy(code))], count);
    }
    let spikes: Vec<_> = server.observer.latency.events().collect();
    let help = "When an event was last slow, in seconds since the Unix epoch.";
    out.head("redis_latency_spike_last", Kind::Gauge, help);
    for (event, series) in &spikes {
        out.sample(&[("event_name", event)], series.latest().time);
    }
    let help = "How long that event took, in seconds.";
    out.head("redis_latency_spike_duration_seconds", Kind::Gauge, help);
    for (event, series) in &spikes {
        out.sample(&[("event_name", event)], series.latest().ms as f64 / 1000.0);
    }
}

fn slow_log(server: &Server, out: &mut Exposition) {
    let mut entries = server.observer.command_logs.of(Measure::Duration).entries();
    let len = entries.len();
    let last = entries.next();
    let mut gauge = |name, help: &str, value: f64| out.single(name, Kind::Gauge, help, value);
    gauge("redis_slowlog_length", "Entries of the slow log.", len as f64);
    let id = last.map_or(0, |entry| entry.id);
    gauge("redis_slowlog_last_id", "The id of the newest of them.", id as f64);
    gauge(
        "redis_last_slow_execution_duration_seconds",
        "How long its command took, in seconds.",
        last.map_or(0.0, |entry| entry.measured as f64 / 1e6),
    );
}

fn configuration(server: &Server, out: &mut Exposition) {
    let config = &server.config;
    for (name, directive, value) in [
        ("redis_config_maxclients", "maxclients", u64::from(config.maxclients)),
        ("redis_config_maxmemory", "maxmemory", config.maxmemory),
        ("redis_config_io_threads", "io-threads", u64::from(config.io_threads)),
        ("redis_config_repl_backlog_size", "repl-backlog-size", config.repl_backlog_size),
    ] {
        out.single(name, Kind::Gauge, format_args!("The directive {directive}."), value);
    }
    let limits =
        || ["normal", "slave", "pubsub"].into_iter().zip(config.client_output_buffer_limit);
    let help = "The directive client-output-buffer-limit, in bytes.";
    out.head("redis_config_client_output_buffer_limit_bytes", Kind::Gauge, help);
    for (class, limit) in limits() {
        out.sample(&[("class", class), ("limit", "hard")], limit.hard);
        out.sample(&[("class", class), ("limit", "soft")], limit.soft);
    }
    let help = "For how long the soft limit of that directive may be exceeded, in seconds.";
    out.head("redis_config_client_output_buffer_limit_overcome_seconds", Kind::Gauge, help);
    for (class, limit) in limits() {
        out.sample(&[("class", class), ("limit", "soft")], limit.soft_seconds);
    }
}

fn commands(server: &Server, out: &mut Exposition) {
    type Figure = fn(&Command) -> f64;
    let counters: [(&'static str, &str, Figure); 4] = [
        ("redis_commands_total", "Calls of a command.", |c| c.stats.calls as f64),
        ("redis_commands_duration_seconds_total", "Time spent in a command, in seconds.", |c| {
            (c.stats.nanos / 1000) as f64 / 1e6
        }),
        (
            "redis_commands_rejected_calls_total",
            "Calls of a command that were refused before it ran.",
            |c| c.stats.rejected as f64,
        ),
        ("redis_commands_failed_calls_total", "Calls of a command that failed.", |c| {
            c.stats.failed as f64
        }),
    ];
    let called: Vec<&Command> = server
        .commands
        .iter()
        .filter(|c| c.stats.calls + c.stats.rejected + c.stats.failed > 0)
        .collect();
    for (metric, help, figure) in counters {
        out.head(metric, Kind::Counter, help);
        for command in &called {
            out.sample(&[("cmd", command.name)], figure(command));
        }
    }
    if server.config.latency_tracking {
        latencies(server, &called, out);
    }
}

fn latencies(server: &Server, called: &[&Command], out: &mut Exposition) {
    let ran = || called.iter().filter(|command| command.stats.calls > 0);
    let help = "Percentiles of a command's latency, in microseconds.";
    out.head("redis_latency_percentiles_usec", Kind::Percentiles, help);
    for command in ran() {
        for percent in &server.config.latency_tracking_info_percentiles {
            let labels = [("cmd", command.name), ("quantile", &*percent.to_string())];
            out.sample(&labels, format_args!("{:.3}", command.stats.percentile_us(*percent)));
        }
    }
    for (metric, of) in [
        ("redis_latency_percentiles_usec_sum", (|c| c.stats.nanos / 1000) as fn(&Command) -> u64),
        ("redis_latency_percentiles_usec_count", |c| c.stats.calls),
    ] {
        out.part_of_percentiles(metric);
        for command in ran() {
            out.sample(&[("cmd", command.name)], of(command));
        }
    }
    let help = "How long calls of a command took, in microseconds.";
    out.head("redis_commands_latencies_usec", Kind::Histogram, help);
    for command in ran() {
        let Some(histogram) = &command.stats.histogram else { continue };
        let buckets = histogram.buckets(BOUNDS).map(|(nanos, n)| (nanos as f64 / 1000.0, n));
        let sum = command.stats.nanos / 1000;
        out.histogram(&[("cmd", command.name)], buckets, histogram.count(), sum);
    }
}

fn loop_turns(server: &Server, out: &mut Exposition) {
    let stats = server.stats();
    let help = "How long turns of the event loop took, in seconds.";
    out.head("aeolis_event_loop_turn_seconds", Kind::Histogram, help);
    let turns = &stats.loop_turns;
    let buckets = turns.buckets(BOUNDS).map(|(nanos, n)| (seconds(nanos), n));
    out.histogram(&[], buckets, turns.count(), stats.loop_us as f64 / 1e6);
    let help = "The longest of them since the start or CONFIG RESETSTAT, in seconds.";
    let longest = stats.loop_us_max as f64 / 1e6;
    out.single("aeolis_event_loop_turn_seconds_max", Kind::Gauge, help, longest);
}

fn replicas_and_primary(info: &Fields<'_>, out: &mut Exposition) {
    for (metric, part, help) in [
        (
            "redis_connected_slave_lag_seconds",
            "lag",
            "How long ago a replica was heard, in seconds.",
        ),
        ("redis_connected_slave_offset_bytes", "offset", "The offset that a replica acknowledged."),
    ] {
        out.head(metric, Kind::Gauge, help);
        for (_, replica) in info.numbered("slave") {
            let labels = [("slave_ip", "ip"), ("slave_port", "port"), ("slave_state", "state")];
            out.sample(&labels.map(|(label, part)| (label, replica.get(part))), replica.get(part));
        }
    }
    if info.get("role") != "slave" {
        return;
    }
    let primary = ["master_host", "master_port"].map(|name| (name, info.get(name)));
    let is_up = u8::from(info.get("master_link_status") == "up");
    out.head("redis_master_link_up", Kind::Gauge, "Whether the link to the primary is up.");
    out.sample(&primary, is_up);
    for (metric, field) in [
        ("redis_master_last_io_seconds_ago", "master_last_io_seconds_ago"),
        ("redis_master_sync_in_progress", "master_sync_in_progress"),
        ("redis_slave_repl_offset", "slave_repl_offset"),
    ] {
        out.head(metric, Kind::Gauge, format_args!("The field {field} of INFO."));
        out.sample(&primary, info.get(field));
    }
    out.head("redis_slave_info", Kind::Gauge, "Information about this replica.");
    let [host, port] = primary;
    out.sample(&[host, port, ("read_only", info.get("slave_read_only"))], 1);
}

fn replication_links(server: &Server, out: &mut Exposition) {
    let repl = &server.repl;
    out.head("aeolis_replication_history", Kind::Gauge, "The histories that this server can tell.");
    out.sample(&[("replid", repl.id()), ("position", "current")], repl.offset());
    out.sample(&[("replid", repl.second_id()), ("position", "former")], repl.second_offset());
    let links: Vec<_> = repl
        .traces()
        .links()
        .filter(|link| link.ended.is_none())
        .map(|link| {
            let role = match link.role {
                LinkRole::Primary => "replica",
                LinkRole::Replica => "primary",
            };
            let (peer, condition) = status::condition(server, link);
            (link, link.id.to_string(), role, peer, condition)
        })
        .collect();
    out.head("aeolis_link_info", Kind::Gauge, "A replication link, with what its other side is.");
    for (_, id, role, peer, condition) in &links {
        let labels =
            [("link", &**id), ("role", role), ("peer", peer), ("state", condition.state())];
        out.sample(&labels, 1);
    }
    let help = "What the replica's side of a link lacks, in bytes.";
    out.head("aeolis_link_lag_bytes", Kind::Gauge, help);
    for (_, id, _, peer, condition) in &links {
        if let Some((bytes, _)) = condition.lag() {
            out.sample(&[("link", id), ("peer", peer)], bytes);
        }
    }
    let help = "How long the other side of a link has not been heard, in seconds.";
    out.head("aeolis_link_silence_seconds", Kind::Gauge, help);
    for (_, id, _, peer, condition) in &links {
        if let Some((_, seconds)) = condition.lag() {
            out.sample(&[("link", id), ("peer", peer)], seconds);
        }
    }
    let help = "Resynchronisations of a link; refused: it was to be partial, and could not be.";
    out.head("aeolis_link_resynchronisations_total", Kind::Counter, help);
    for (link, id, _, peer, _) in &links {
        for (outcome, n) in
            [("full", link.full), ("partial", link.partial), ("refused", link.refused)]
        {
            out.sample(&[("link", id), ("peer", peer), ("outcome", outcome)], n);
        }
    }
}

/// Loading, saving and the like, while they go on.
fn long_work(server: &Server, out: &mut Exposition) {
    type Figure = fn(&Pace) -> Option<u64>;
    let figures: [(&'static str, &str, Figure); 4] = [
        ("aeolis_progress_done", "How much of long work is done, in its unit.", |pace| {
            Some(pace.done())
        }),
        ("aeolis_progress_total", "How much that is in all, if it is known.", Pace::total),
        ("aeolis_progress_per_second", "How much is done in a second.", Pace::per_second),
        ("aeolis_progress_seconds_left", "How long it will take at that rate.", Pace::seconds_left),
    ];
    for (metric, help, figure) in figures {
        out.head(metric, Kind::Gauge, help);
        for (work, pace) in server.observer.progress.running() {
            if let Some(value) = figure(pace) {
                out.sample(&[("work", work.name()), ("unit", work.unit())], value);
            }
        }
    }
}

/// Who looks at the page.
fn viewers(server: &Server, out: &mut Exposition) {
    let help = "Connections that the live page has open for its events.";
    out.single("aeolis_page_viewers", Kind::Gauge, help, server.net.web().viewers());
}

/// What redis_exporter says of itself: there is none between this server and who reads this, but dashboards ask for it.
fn exporter(scrapes: Scrapes, out: &mut Exposition) {
    out.single("redis_up", Kind::Gauge, "This server is up.", 1);
    out.head(
        "redis_exporter_build_info",
        Kind::Gauge,
        "There is no exporter: the server's version.",
    );
    out.sample(&[("version", VERSION)], 1);
    out.head("redis_exporter_last_scrape_error", Kind::Gauge, "Always 0.");
    out.sample(&[("err", "")], 0);
    out.head("redis_exporter_scrapes_total", Kind::Counter, "Scrapes of this server's metrics.");
    out.sample(&[], scrapes.count);
    let last = seconds(scrapes.last_nanos);
    for (name, help, value) in [
        ("redis_exporter_last_scrape_duration_seconds", "How long the last one took.", last),
        ("redis_exporter_last_scrape_connect_time_seconds", "Always 0.", 0.0),
        ("redis_last_key_groups_scrape_duration_milliseconds", "Always 0.", 0.0),
    ] {
        out.single(name, Kind::Gauge, help, value);
    }
    let help = "How long scrapes took, in seconds.";
    out.head("redis_exporter_scrape_duration_seconds", Kind::Summary, help);
    out.sample_of("_sum", &[], &seconds(scrapes.total_nanos));
    out.sample_of("_count", &[], &scrapes.count);
    let name = "redis_target_scrape_request_errors_total";
    out.single(name, Kind::Counter, "Always 0.", 0);
}
