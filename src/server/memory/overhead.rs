//! Where the memory is: what is used for something else than keys and values.

use crate::server::Server;
use crate::server::clients::Census;
use crate::sys::process::{Resident, resident_memory};
use crate::util::alloc::TELLS_AREAS;
use crate::util::alloc::survey::Survey;

/// What is used for something else than keys and values, in bytes.
#[derive(Clone, Debug, Default)]
pub struct MemoryOverhead {
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    pub rss: u64,
    /// What of that is the allocator's.
    pub allocator_resident: u64,
    /// What of that lies where blocks are used, with the holes between them.
    pub allocator_active: u64,
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

/// What all clients and all areas of the allocator have to be looked at for.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    pub census: Census,
    /// Bytes in holes between used blocks, where the allocator tells.
    pub hole_bytes: Option<u64>,
}

impl Tally {
    pub fn of(s: &Server) -> Tally {
        Tally::with(s.clients.census())
    }

    pub fn with(census: Census) -> Tally {
        Tally { census, hole_bytes: TELLS_AREAS.then(|| Survey::take().hole_bytes()) }
    }
}

impl MemoryOverhead {
    /// What there is beside the data when so many bytes are `used` in all.
    pub fn of(s: &Server, used: u64, tally: &Tally) -> MemoryOverhead {
        let Resident { total: rss, files } = resident_memory();
        let mut m = MemoryOverhead {
            used,
            peak: used.max(s.observer.stats().peak_memory as u64),
            startup: s.process.startup_memory() as u64,
            rss,
            allocator_resident: rss.saturating_sub(files),
            allocator_active: match tally.hole_bytes {
                Some(hole_bytes) => used + hole_bytes,
                None => rss.saturating_sub(files),
            },
            keys: s.ks.len() as u64,
            ..MemoryOverhead::default()
        };
        // The stream is shared: what it has beyond the backlog is kept for the replicas.
        m.backlog = s.repl.stream().map_or(0, |stream| stream.memory() as u64);
        if !s.repl.replicas().is_empty() {
            m.replicas = m.backlog.saturating_sub(s.config.repl_backlog_size);
            m.backlog -= m.replicas;
        }
        m.normal_clients = tally.census.memory;
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

    /// What the allocator holds in holes between used blocks.
    pub fn allocator_fragmentation(&self) -> Excess {
        Excess { whole: self.allocator_active, part: self.used }
    }

    /// What the allocator holds where no block is used.
    pub fn allocator_rss(&self) -> Excess {
        Excess { whole: self.allocator_resident, part: self.allocator_active }
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

/// How many hundredths of `whole` are `part`.
pub fn percent(part: u64, whole: u64) -> f64 {
    ratio(part, whole) * 100.0
}
