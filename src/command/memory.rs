//! `MEMORY`: where the memory is.

use super::args::{int, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::memory::overhead::{MemoryOverhead, Tally, percent};
use crate::spec::help::reply_help;
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

/// MEMORY STATS
pub fn stats(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    enum Figure {
        Bytes(u64),
        Ratio(f64),
    }
    use Figure::{Bytes, Ratio};

    let m = MemoryOverhead::of(s, alloc::used_memory() as u64, &Tally::of(s));
    let net = m.used.saturating_sub(m.startup);
    let allocator = m.allocator_fragmentation();
    let before = [
        ("peak.allocated", m.peak),
        ("total.allocated", m.used),
        ("startup.allocated", m.startup),
        ("replication.backlog", m.backlog),
        ("clients.slaves", m.replicas),
        ("clients.normal", m.normal_clients),
        ("cluster.links", s.net.bus().total_memory() as u64),
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
        ("allocator.active", Bytes(m.allocator_active)),
        ("allocator.resident", Bytes(m.allocator_resident)),
        ("allocator-fragmentation.ratio", Ratio(allocator.ratio())),
        ("allocator-fragmentation.bytes", Bytes(allocator.bytes().max(0) as u64)),
        ("allocator-rss.ratio", Ratio(m.allocator_rss().ratio())),
        ("allocator-rss.bytes", Bytes(m.allocator_rss().bytes().max(0) as u64)),
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
    let m = MemoryOverhead::of(s, alloc::used_memory() as u64, &Tally::of(s));
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
            m.allocator_fragmentation().ratio() > 1.1
                && m.allocator_fragmentation().bytes() > 10 * MIB as i64,
            "High allocator fragmentation: more than a tenth of what is used lies in holes between values that are left \
             of more. With 'activedefrag yes' values move into the holes of others, and what gets free is given back.",
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
