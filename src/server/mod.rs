//! The server's state, and what the event loop calls on it.
//!
//! [`Server`] is a plain struct of plain structs, owned by one thread. It is passive: the loop tells it
//! what happened, and has it take a [`turn`](turn::turn).

pub(crate) mod acl;
pub(crate) mod blocking;
pub(crate) mod busy;
pub(crate) mod call;
pub mod client;
pub(crate) mod client_info;
pub mod clients;
pub mod cluster;
pub mod config;
pub mod connection;
pub(crate) mod cron;
pub(crate) mod dial;
pub(crate) mod dispatch;
pub(crate) mod empty;
pub(crate) mod expiry;
pub(crate) mod flavour;
pub(crate) mod gates;
mod http;
pub(crate) mod info;
pub(crate) mod large_reply;
pub(crate) mod lifecycle;
pub mod links;
pub(crate) mod memory;
pub(crate) mod migration_feed;
pub(crate) mod monitoring;
pub(crate) mod net;
pub(crate) mod networking;
pub mod observe;
pub(crate) mod oom_score;
mod openings;
pub mod output;
pub mod persistence;
pub(crate) mod placement;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod propagate;
pub(crate) mod pubsub;
pub(crate) mod redact;
pub(crate) mod redirect;
pub mod replication;
pub mod scripting;
pub(crate) mod shutdown;
pub(crate) mod slot_change;
pub mod startup;
pub(crate) mod subscribe;
pub(crate) mod table;
pub(crate) mod targets;
pub(crate) mod timeout;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod tracking;
pub(crate) mod transaction;
pub mod turn;
pub(crate) mod web;

use crate::db::Keyspace;
use crate::ds::hash::{self, HashSeed};
use crate::server::table::CommandTable;
use crate::util::clock::Clock;
use call::Call;
use client::{Client, Token};
use config::Config;
use links::migration::jobs::Jobs;
use observe::Observer;
use observe::log::Log;
use observe::stats::Stats;
use persistence::Persistence;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use replication::Replication;
use scripting::Scripting;
use std::time::Duration;

/// The version of Redis whose behaviour this server has.
pub const REDIS_VERSION: &str = "7.2.4";
/// The version of Valkey whose behaviour it has in Valkey's place.
pub const VALKEY_VERSION: &str = "8.0.1";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Tokens below this belong to the loop; that of a connection of the HTTP listener is its place plus this.
pub const FIRST_VISITOR: usize = 1 << 15;
/// The same where a connection is no socket: clients have their places as tokens there.
pub const FIRST_VIRTUAL_VISITOR: usize = 1 << (usize::BITS - 3);
/// A client's token is its place in the slab plus this.
pub const FIRST_CLIENT: usize = 1 << 16;
/// The event loop's token for the pipe of a diskless snapshot.
pub const SNAPSHOT_PIPE: mio::Token = mio::Token(1);

/// The event loop's token for what wakes it from other threads.
pub const WAKER: mio::Token = mio::Token(2);

/// The event loop's token for a client.
pub fn client_token(token: Token) -> mio::Token {
    mio::Token(token + FIRST_CLIENT)
}

/// Everything that the server knows.
pub struct Server {
    pub(crate) config: Config,
    /// What the process is, to the system and to whoever started it.
    pub(crate) process: process::Process,
    /// Starting, serving, ending.
    pub(crate) lifecycle: lifecycle::Lifecycle,
    pub(crate) ks: Keyspace,
    pub(crate) clients: clients::Clients,
    /// Users, and what they may do.
    pub(crate) acl: acl::Acl,
    /// The cluster that this server is a node of, if it is.
    pub(crate) cluster: Option<Box<cluster::Cluster>>,
    pub(crate) commands: CommandTable,
    /// What commands have left to tell replicas and the append-only file.
    pub(crate) effects: propagate::Effects,
    /// What it notes of its own work.
    pub(crate) observer: Observer,
    pub(crate) repl: Replication,
    pub(crate) persistence: Persistence,
    /// What the data and the clients hold, and the thread that frees it.
    pub(crate) memory: memory::Memory,
    pub(crate) rng: SmallRng,
    /// The network and the loop.
    pub(crate) net: net::Net,
    /// What is used by one client's turn after the other.
    pub(crate) buffers: networking::Buffers,
    /// Who waits for what, who has to, and which keys are watched.
    pub(crate) blocking: blocking::Blocking,
    /// Scripts and functions, and the one that runs for long.
    pub(crate) scripting: Scripting,
    /// Who is subscribed to what.
    pub(crate) pubsub: pubsub::PubSub,
    /// What clients keep in caches of their own.
    pub(crate) tracking: tracking::Tracking,
}

impl Server {
    /// A server with no connections and no data.
    pub fn new(config: Config, commands: CommandTable, rng: SmallRng, log: Log) -> Server {
        Server::with_clock(config, commands, rng, log, Clock::default())
    }

    /// The same, in a time of one's own.
    pub fn with_clock(
        config: Config,
        commands: CommandTable,
        mut rng: SmallRng,
        log: Log,
        clock: Clock,
    ) -> Server {
        let seed = HashSeed::new([rng.random(), rng.random()]);
        hash::set_seed(seed);
        let mut ks = match config.cluster_enabled {
            false => Keyspace::new(config.databases as usize, seed),
            true => Keyspace::by_slot(config.cluster_databases as usize, seed),
        };
        ks.now_ms = clock.unix_ms();
        ks.clock = clock;
        ks.access.seed(rng.random());
        let mut server = Server {
            observer: Observer::new(&config, log),
            memory: memory::Memory::new(&config),
            repl: Replication::new(random_id(&mut rng)),
            persistence: Persistence::new(ks.now_ms / 1000),
            process: process::Process::new(random_id(&mut rng), ks.now_ms),
            lifecycle: lifecycle::Lifecycle::default(),
            config,
            ks,
            clients: clients::Clients::default(),
            acl: acl::Acl::default(),
            cluster: None,
            scripting: Scripting::new(commands.scripts),
            commands,
            effects: propagate::Effects::default(),
            net: net::Net::default(),
            buffers: networking::Buffers::new(),
            rng: SmallRng::from_rng(&mut rng),
            blocking: blocking::Blocking::default(),
            pubsub: pubsub::PubSub::default(),
            tracking: tracking::Tracking::default(),
        };
        server.apply_keyspace_config();
        expiry::restore_role(&mut server);
        acl::apply_requirepass(&mut server);
        server
    }

    /// The code with which the process is to end, once it is to: the loop turns no more then.
    pub fn exit_code(&self) -> Option<i32> {
        self.lifecycle.shutdown.exit_code()
    }

    /// Whether what is on disk is still being loaded for the first time.
    pub fn is_starting(&self) -> bool {
        self.lifecycle.is_starting()
    }

    /// Seconds since 1970, as of this command.
    pub fn now_seconds(&self) -> i64 {
        self.ks.now_ms / 1000
    }

    /// Reads the clock, once for a turn of the loop and again where a command took long, or is the first of a unit:
    /// for all of a transaction or script it is then the same moment.
    pub fn update_time(&mut self) {
        self.ks.now_us = self.ks.clock.unix_us();
        self.ks.now_ms = self.ks.now_us / 1000;
        self.ks.access.seconds = (self.ks.now_ms / 1000) as u32;
    }

    /// Carries the directives that the keyspace heeds over to it.
    pub fn apply_keyspace_config(&mut self) {
        let access = &mut self.ks.access;
        access.lfu = self.config.maxmemory_policy.is_lfu();
        access.log_factor = self.config.lfu_log_factor;
        access.decay_minutes = self.config.lfu_decay_time;
        access.seconds = (self.ks.now_ms / 1000) as u32;
        subscribe::apply_notification_config(self);
        let measures = self.config.latency_monitor_threshold > 0;
        self.ks.changes.slowest_expiry = measures.then_some(Duration::ZERO);
    }

    /// Has the keyspace note modified keys if anybody wants to know of them.
    pub(crate) fn apply_key_watching(&mut self) {
        self.ks.changes.track = self.blocking.watched.clients() > 0 || self.tracking.clients() > 0;
    }

    /// For whoever looks at the server from outside, as tests do.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same of its data.
    pub fn keyspace(&self) -> &Keyspace {
        &self.ks
    }

    /// The same of the cluster that it is a node of.
    pub fn cluster(&self) -> Option<&cluster::Cluster> {
        self.cluster.as_deref()
    }

    /// The same of slots that move to it, or from it.
    pub fn slot_migrations(&self) -> &Jobs {
        &self.net.migrations
    }

    /// The same of its clients.
    pub fn clients(&self) -> &clients::Clients {
        &self.clients
    }

    /// The same of replication.
    pub fn replication(&self) -> &Replication {
        &self.repl
    }

    /// The same of persistence.
    pub fn persistence(&self) -> &Persistence {
        &self.persistence
    }

    /// Ends the script that runs for long, whatever it has written.
    pub fn kill_busy_script(&mut self) {
        self.scripting.kill_in_any_case();
    }

    /// Connections to other servers come from `dialer` from now on, not from the system.
    pub fn dial_with(&mut self, dialer: Box<dyn connection::Dialer>) {
        self.net.dial_with(dialer);
    }

    /// Takes in a connection of the cluster bus.
    pub fn accept_node(&mut self, connection: connection::Connection) {
        cluster::drive::accept(self, connection);
    }

    /// Takes in a connection of the HTTP listener.
    pub fn accept_visitor(&mut self, connection: connection::Connection) {
        web::accept(self, connection);
    }

    /// The client whose command it is.
    pub fn client(&mut self, call: &Call) -> &mut Client {
        &mut self.clients[call.client]
    }

    /// The counters of `INFO`.
    pub fn stats(&self) -> &Stats {
        self.observer.stats()
    }

    pub fn unix_path(&self) -> String {
        self.config.unixsocket.clone().unwrap_or_default()
    }

    /// A random number in `0..bound`.
    pub fn random_below(&mut self, bound: u64) -> u64 {
        self.rng.random_range(0..bound.max(1))
    }
}

/// Forty hexadecimal digits: a run id or replication id.
pub fn random_id(rng: &mut SmallRng) -> String {
    (0..40).map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)])).collect()
}
