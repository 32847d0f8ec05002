//! The cluster as this node sees it: a single node that owns slots. There is no bus yet, so it knows no other node;
//! what clients, tools and `redis.conf` see of a cluster of one is as in Redis.
//!
//! * [`file`]: `nodes.conf`, where the node's name and its slots outlive it.

pub mod file;

use super::config::ClusterEndpointType;
use super::{Server, random_id};
use crate::resp::error::{CommandError, ErrorCode};
use crate::server::client::Token;
use crate::server::observe::log::Level;
use crate::server::table::CommandId;
use crate::spec::CommandFlags;
use crate::spec::keys::for_each_slot_key;
use crate::util::slot::{SLOTS, key_slot};
use crate::util::slot_set::SlotSet;
use file::ClusterFileError;
use rand::rngs::SmallRng;

/// The bus's port lies so far behind the clients', unless it is configured.
const BUS_PORT_DISTANCE: u16 = 10_000;

/// Why this node of a cluster can't execute a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// Its keys do not belong together.
    CrossSlot,
    /// They belong to no node.
    NotServed,
    Down,
    DownForWrites,
}

impl From<SlotError> for CommandError {
    fn from(error: SlotError) -> CommandError {
        use ErrorCode::{ClusterDown, CrossSlot};
        match error {
            SlotError::CrossSlot => {
                CommandError::new(CrossSlot, "Keys in request don't hash to the same slot")
            }
            SlotError::NotServed => CommandError::new(ClusterDown, "Hash slot not served"),
            SlotError::Down => CommandError::new(ClusterDown, "The cluster is down"),
            SlotError::DownForWrites => {
                CommandError::new(ClusterDown, "The cluster is down and only accepts read commands")
            }
        }
    }
}

/// What this node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The node's name, for good: 40 hexadecimal digits.
    pub id: String,
    /// The name of the primary and its replicas together.
    pub shard_id: String,
    /// When, in the cluster's own time, this node got its slots.
    pub config_epoch: u64,
    pub current_epoch: u64,
    /// The slots that it serves.
    pub slots: SlotSet,
}

impl Cluster {
    /// A node that has never been in a cluster.
    pub fn new(rng: &mut SmallRng) -> Cluster {
        Cluster {
            id: random_id(rng),
            shard_id: random_id(rng),
            config_epoch: 0,
            current_epoch: 0,
            slots: SlotSet::default(),
        }
    }

    /// Takes an epoch that is newer than all others; answers whether it had to.
    pub fn bump_epoch(&mut self) -> bool {
        let is_newest = self.config_epoch != 0 && self.config_epoch == self.current_epoch;
        if !is_newest {
            self.current_epoch += 1;
            self.config_epoch = self.current_epoch;
        }
        !is_newest
    }
}

/// Where clients and nodes find this node.
#[derive(Clone, Debug)]
pub struct Address {
    /// Empty: a client uses the address that it is connected to.
    pub ip: String,
    pub port: u16,
    pub bus_port: u16,
    pub hostname: Option<String>,
}

/// Enters the cluster that the configuration file of the cluster tells of, or a new one.
///
/// # Errors
/// If the file can't be used.
pub(crate) fn cluster_start(server: &mut Server) -> Result<(), ClusterFileError> {
    if !server.config.cluster_enabled {
        return Ok(());
    }
    let path = cluster_config_path(server);
    match file::load(&path)? {
        Some(cluster) => {
            server.notice(&format!("Node configuration loaded, I'm {}", cluster.id));
            server.cluster = Some(Box::new(cluster));
        }
        None => {
            let cluster = Cluster::new(&mut server.rng);
            server.notice(&format!("No cluster configuration found, I'm {}", cluster.id));
            server.cluster = Some(Box::new(cluster));
            cluster_save(server).map_err(|error| ClusterFileError::Unwritable { path, error })?;
        }
    }
    Ok(())
}

/// What the server is to clients, as `HELLO` and `INFO` name it.
pub(crate) fn mode(server: &Server) -> &'static str {
    if server.cluster.is_some() { "cluster" } else { "standalone" }
}

fn cluster_config_path(server: &Server) -> std::path::PathBuf {
    server.config.dir.join(&server.config.cluster_config_file)
}

/// Writes what is known of the cluster to its file.
///
/// # Errors
/// What the system reports.
pub(crate) fn cluster_save(server: &Server) -> std::io::Result<()> {
    match &server.cluster {
        Some(cluster) => {
            file::save(&cluster_config_path(server), cluster, &cluster_address(server))
        }
        None => Ok(()),
    }
}

/// The same after a change that has been made already.
pub(crate) fn cluster_changed(server: &mut Server) {
    if let Err(error) = cluster_save(server) {
        server.log(Level::Warning, &format!("Error saving the cluster node config: {error}"));
    }
}

/// Where this node is found, as configured.
pub(crate) fn cluster_address(server: &Server) -> Address {
    let or = |value: u16, other: u16| if value > 0 { value } else { other };
    let config = &server.config;
    let port = or(config.cluster_announce_port, config.port);
    let bus_port = or(config.cluster_port, config.port.wrapping_add(BUS_PORT_DISTANCE));
    Address {
        ip: config.cluster_announce_ip.clone().unwrap_or_default(),
        port,
        bus_port: or(config.cluster_announce_bus_port, bus_port),
        hostname: config.cluster_announce_hostname.clone().filter(|name| !name.is_empty()),
    }
}

/// Whether a client should be told the host name, the address, or nothing (`None`: the one it is connected to).
pub(crate) fn cluster_endpoint(server: &Server, address: &Address) -> Option<String> {
    match server.config.cluster_preferred_endpoint_type {
        ClusterEndpointType::Ip => Some(address.ip.clone()),
        ClusterEndpointType::Hostname => {
            Some(address.hostname.clone().unwrap_or_else(|| "?".into()))
        }
        ClusterEndpointType::UnknownEndpoint => None,
    }
}

/// Whether the slots that are needed are served.
pub(crate) fn cluster_is_up(server: &Server) -> bool {
    !server.config.cluster_require_full_coverage
        || server.cluster.as_ref().is_some_and(|cluster| cluster.slots.len() == SLOTS)
}

/// In a cluster: refuses what this node can't execute. `EXEC` stands for all that is queued. Returns the slot of
/// the keys, if there are any.
#[cold]
pub(crate) fn check_slots(
    server: &Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
) -> Result<Option<u16>, SlotError> {
    let Some(cluster) = &server.cluster else { return Ok(None) };
    let mut slot = None;
    let mut outcome = Ok(());
    let mut check = |key: &[u8]| {
        let own = key_slot(key);
        if outcome.is_ok() {
            outcome = match *slot.get_or_insert(own) {
                first if first != own => Err(SlotError::CrossSlot),
                _ if !cluster.slots.contains(own) => Err(SlotError::NotServed),
                _ => Ok(()),
            };
        }
    };
    let command = server.commands.get(id);
    let transaction = server.clients[token].transaction.as_deref();
    match transaction.filter(|_| command.is(CommandFlags::EXECUTES_QUEUE)) {
        Some(transaction) => transaction.for_each(|id, args| {
            for_each_slot_key(&server.commands.get(id).spec, args, &mut check);
        }),
        None => for_each_slot_key(&command.spec, args, &mut check),
    }
    outcome?;
    if slot.is_none() || cluster_is_up(server) {
        return Ok(slot);
    }
    if command.is(CommandFlags::PUBSUB) {
        return if server.config.cluster_allow_pubsubshard_when_down {
            Ok(slot)
        } else {
            Err(SlotError::Down)
        };
    }
    match (server.config.cluster_allow_reads_when_down, command.is(CommandFlags::WRITE)) {
        (false, _) => Err(SlotError::Down),
        (true, true) => Err(SlotError::DownForWrites),
        (true, false) => Ok(slot),
    }
}

/// Whether an error tells a client that its request belongs elsewhere, so that a transaction is not to blame.
pub fn is_redirection(error: &CommandError) -> bool {
    matches!(error.code, ErrorCode::CrossSlot | ErrorCode::ClusterDown | ErrorCode::Redirect)
}
