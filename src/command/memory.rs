//! `MEMORY`: where the memory is.

use super::args::{int, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::spec::help::reply_help;
use crate::sys::process::{Resident, resident_memory};
use crate::util::alloc;

const MIB: u64 = 1 << 20;
/// What a key takes of the table beside its entry, in bytes, on average.
const TABLE_SHARE: usize = 13;

/// MEMORY USAGE key [SAMPLES count]
pub fn usage(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    for option in args[3..].chunks(2) {
        match *option {
            // Nothing needs to be sampled: every value knows its size.
            [name, samples] if is(name, "SAMPLES") && int(samples)? >= 0 => {}
            _ => return Err(CommandError::SYNTAX),
        }
    }
    match s.ks.peek(call.db, args[2]) {
        Some(entry) => call.reply.int((entry.memory() + TABLE_SHARE) as i64),
        None => call.reply.null(),
    }
    Ok(())
}

/// What is used for something else than keys and values, in bytes.
#[derive(Clone, Debug, Default)]
pub struct MemoryOverhead {
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    pub rss: u64,
    /// What of that is the allocator's.
    pub allocator_resident: u64,
    pub backlog: u64,
    pub normal_clients: u64,
    /// What replicas have to be sent yet.
    pub replicas: u64,
    /// The tables of the databases that are not empty: database and bytes.
    pub tables: Vec<(usize, u64)>,
    /// All of it.
    pub total: u64,
    pub keys: u64,
    /// What is left for keys and values.
    pub dataset: u64,
}

impl MemoryOverhead {
    /// What there is beside the data when so many bytes are `used` in all.
    pub fn of(s: &Server, used: u64) -> MemoryOverhead {
        let Resident { total: rss, files } = resident_memory();
        let mut m = MemoryOverhead {
            used,
            peak: used.max(s.observer.stats().peak_memory as u64),
            startup: s.process.startup_memory() as u64,
            rss,
            allocator_resident: rss.saturating_sub(files),
            keys: s.ks.len() as u64,
            ..MemoryOverhead::default()
        };
        // The stream is shared: what it has beyond the backlog is kept for the replicas.
        m.backlog = s.repl.stream().map_or(0, |stream| stream.memory() as u64);
        if !s.repl.replicas().is_empty() {
            m.replicas = m.backlog.saturating_sub(s.config.repl_backlog_size);
            m.backlog -= m.replicas;
        }
        let clients = s.clients.iter().filter(|(_, client)| !client.is(ClientFlags::SLAVE));
        m.normal_clients = clients.map(|(_, client)| client.memory() as u64).sum();
        m.tables = (s.ks.dbs.iter().enumerate())
            // A database that was emptied keeps a small table.
            .filter(|(_, db)| db.table.memory() > 0)
            .map(|(index, db)| (index, db.table.memory() as u64))
            .collect();
        let tables: u64 = m.tables.iter().map(|(_, bytes)| bytes).sum();
        m.total = m.startup + m.backlog + m.normal_clients + m.replicas + tables;
        m.dataset = used.saturating_sub(m.total);
        m
    }

    /// The dataset's part of what is used since the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset, self.used.saturating_sub(self.startup)).min(100.0)
    }

    /// What the process holds beside what is used.
    pub fn fragmentation(&self) -> Excess {
        Excess { whole: self.rss, part: self.used }
    }

    /// What the allocator holds beside what it was asked for. mimalloc does not tell which pages are in use, so all
    /// that are resident count as active.
    pub fn allocator_fragmentation(&self) -> Excess {
        Excess { whole: self.allocator_resident, part: self.used }
    }

    /// What the process holds beside the allocator.
    pub fn rss_overhead(&self) -> Excess {
        Excess { whole: self.rss, part: self.allocator_resident }
    }
}

/// By how much one figure is larger than another, which is a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Excess {
    whole: u64,
    part: u64,
}

impl Excess {
    pub const NONE: Excess = Excess { whole: 1, part: 1 };

    pub fn ratio(self) -> f64 {
        ratio(self.whole, self.part)
    }

    /// Negative where the part has been allocated and not been written to yet.
    pub fn bytes(self) -> i64 {
        self.whole as i64 - self.part as i64
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

fn percent(part: u64, whole: u64) -> f64 {
    ratio(part, whole) * 100.0
}

/// MEMORY STATS
pub fn stats(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    enum Figure {
        Bytes(u64),
        Ratio(f64),
    }
    use Figure::{Bytes, Ratio};

    let m = MemoryOverhead::of(s, alloc::used_memory() as u64);
    let net = m.used.saturating_sub(m.startup);
    let allocator = m.allocator_fragmentation();
    let before = [
        ("peak.allocated", m.peak),
        ("total.allocated", m.used),
        ("startup.allocated", m.startup),
        ("replication.backlog", m.backlog),
        ("clients.slaves", m.replicas),
        ("clients.normal", m.normal_clients),
        ("cluster.links", 0),
        ("aof.buffer", s.persistence.aof.appender().buffer_memory() as u64),
        ("lua.caches", s.scripting.scripts.memory() as u64),
        ("functions.caches", s.scripting.libraries.memory() as u64),
    ];
    let after = [
        ("overhead.total", Bytes(m.total)),
        ("keys.count", Bytes(m.keys)),
        ("keys.bytes-per-key", Bytes(net.checked_div(m.keys).unwrap_or(0))),
        ("dataset.bytes", Bytes(m.dataset)),
        ("dataset.percentage", Ratio(m.dataset_percent())),
        ("peak.percentage", Ratio(percent(m.used, m.peak))),
        ("allocator.allocated", Bytes(m.used)),
        ("allocator.active", Bytes(m.allocator_resident)),
        ("allocator.resident", Bytes(m.allocator_resident)),
        ("allocator-fragmentation.ratio", Ratio(allocator.ratio())),
        ("allocator-fragmentation.bytes", Bytes(allocator.bytes().max(0) as u64)),
        ("allocator-rss.ratio", Ratio(1.0)),
        ("allocator-rss.bytes", Bytes(0)),
        ("rss-overhead.ratio", Ratio(m.rss_overhead().ratio())),
        ("rss-overhead.bytes", Bytes(m.rss_overhead().bytes().max(0) as u64)),
        ("fragmentation", Ratio(m.fragmentation().ratio())),
    ];
    let reply = &mut call.reply;
    reply.map(before.len() + m.tables.len() + after.len() + 1);
    for (name, bytes) in before {
        reply.bulk_str(name);
        reply.int(bytes as i64);
    }
    for (db, bytes) in &m.tables {
        reply.bulk_str(&format!("db.{db}"));
        reply.map(3);
        reply.bulk_str("overhead.hashtable.main");
        reply.int(*bytes as i64);
        // One table has it all.
        for name in ["overhead.hashtable.expires", "overhead.hashtable.slot-to-keys"] {
            reply.bulk_str(name);
            reply.int(0);
        }
    }
    for (name, figure) in after {
        reply.bulk_str(name);
        match figure {
            Bytes(bytes) => reply.int(bytes as i64),
            Ratio(ratio) => reply.double(ratio),
        }
    }
    reply.bulk_str("fragmentation.bytes");
    reply.int(m.fragmentation().bytes());
    Ok(())
}

/// MEMORY DOCTOR
pub fn doctor(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let m = MemoryOverhead::of(s, alloc::used_memory() as u64);
    let mut report = String::new();
    if m.used < 5 * MIB {
        report.push_str(
            "Hi Sam, this instance is empty or nearly so. There is nothing to diagnose before it holds some data.\n",
        );
    } else {
        diagnose(s, &m, &mut report);
    }
    call.reply.verbatim(b"txt", report.as_bytes());
    Ok(())
}

fn diagnose(s: &Server, m: &MemoryOverhead, report: &mut String) {
    let replicas = s.repl.replicas().len() as u64;
    let clients = (s.clients.count() as u64).saturating_sub(replicas).max(1);
    let findings = [
        (
            m.peak > m.used + m.used / 2,
            "Peak memory: this instance once used more than 150% of what it uses now. What lay between the data that is \
             still there can't be given back; it will be used again when the data grows.",
        ),
        (
            m.fragmentation().ratio() > 1.4 && m.fragmentation().bytes() > 10 * MIB as i64,
            "High total RSS: the process holds more than 1.4 bytes of memory for each byte that is used. After a large \
             peak that is normal; without one, the workload fragments the allocator's memory.",
        ),
        (
            replicas > 0 && m.replicas / replicas > 10 * MIB,
            "Big replica buffers: replicas have more than 10MB waiting for them on average. Some replica or its network \
             may be too slow: see the delays in INFO, and the output buffers in CLIENT LIST.",
        ),
        (
            m.normal_clients / clients > 200 * 1024,
            "Big client buffers: clients have more than 200K waiting for them on average. Look in CLIENT LIST for those \
             who read too slowly, or ask for too much at once.",
        ),
    ];
    let found: Vec<&str> = findings.into_iter().filter(|f| f.0).map(|f| f.1).collect();
    if found.is_empty() {
        report.push_str("Hi Sam, I can't find any memory issue in your instance.\n");
        return;
    }
    report.push_str("Sam, I found issues with the memory of this instance:\n\n");
    for finding in found {
        report.push_str(&format!(" * {finding}\n\n"));
    }
}

/// MEMORY MALLOC-STATS
pub fn malloc_stats(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    match alloc::stats() {
        Some(stats) => call.reply.verbatim(b"txt", stats.as_bytes()),
        None => call.reply.bulk_str("Stats not supported for the current allocator"),
    }
    Ok(())
}

/// MEMORY PURGE
pub fn purge(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    alloc::purge();
    call.reply.ok();
    Ok(())
}

/// MEMORY HELP
pub fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(
        &mut call.reply,
        "MEMORY",
        &[
            "DOCTOR",
            "    Report what is wrong with the memory, if anything.",
            "MALLOC-STATS",
            "    Print the allocator's own statistics.",
            "PURGE",
            "    Ask the allocator to give free memory back.",
            "STATS",
            "    Tell what memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Tell how many bytes <key> and its value take.",
        ],
    );
    Ok(())
}
