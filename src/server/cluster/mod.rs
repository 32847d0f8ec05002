//! The cluster that this server is a node of.
//!
//! * [`machine`]: what is known of it, and what has to be done, as a machine without sockets.
//! * [`drive`]: tells the machine what it has to know, and does what it wants done.
//! * [`obey`]: what it wants of the rest of the server. [`links`]: the bus's sockets.
//! * [`file`]: `nodes.conf`, where what is known outlives the process. [`describe`]: nodes as lines of text.

pub mod describe;
pub(crate) mod drive;
pub mod file;
pub(crate) mod links;
pub mod machine;
mod obey;

pub use machine::{Cluster, Facts, Node, Now};

use super::Server;
use crate::resp::error::{CommandError, ErrorCode};
use crate::server::client::Token;
use crate::server::table::CommandId;
use crate::spec::CommandFlags;
use crate::spec::keys::for_each_slot_key;
use crate::util::slot::key_slot;
use file::{ClusterFile, ClusterFileError};

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

/// Enters the cluster that the configuration file of the cluster tells of, or a new one.
///
/// # Errors
/// If the file can't be used.
pub(crate) fn cluster_start(server: &mut Server) -> Result<(), ClusterFileError> {
    if !server.config.cluster_enabled {
        return Ok(());
    }
    let now = drive::now(server);
    let file = ClusterFile::lock(server.config.dir.join(&server.config.cluster_config_file))?;
    let saved = file.load(server.config.tls_cluster)?;
    let is_new = saved.is_none();
    let mut cluster = match saved {
        Some(saved) => {
            Cluster::restore(saved, &mut server.rng, now).ok_or_else(|| file.corrupt())?
        }
        None => Cluster::new(&mut server.rng, now),
    };
    server.process.cluster_file = Some(file);
    cluster.announce(&server.config);
    let text = if is_new { "No cluster configuration found" } else { "Node configuration loaded" };
    server.notice(&format!("{text}, I'm {}", cluster.myself().id()));
    server.cluster = Some(Box::new(cluster));
    if is_new {
        cluster_save(server, true).map_err(ClusterFileError::Unwritable)?;
    }
    drive::operate(server, |_, _, _| ());
    Ok(())
}

/// What the server is to clients, as `HELLO` and `INFO` name it.
pub(crate) fn mode(server: &Server) -> &'static str {
    if server.cluster.is_some() { "cluster" } else { "standalone" }
}

/// Writes what is known of the cluster to its file. `durably`: it is on the disk when this returns.
///
/// # Errors
/// What the system reports.
pub(crate) fn cluster_save(server: &mut Server, durably: bool) -> std::io::Result<()> {
    let now = drive::now(server);
    match (&server.cluster, &mut server.process.cluster_file) {
        (Some(cluster), Some(file)) => file.save(cluster, now, durably),
        _ => Ok(()),
    }
}

/// What this node announces follows the configuration, which has changed.
pub(crate) fn config_changed(server: &mut Server) {
    drive::operate(server, |cluster, _, facts| cluster.announce(facts.config));
}

/// Whether the slots that are needed are served.
pub(crate) fn cluster_is_up(server: &Server) -> bool {
    server.cluster.as_ref().is_some_and(|cluster| cluster.is_up())
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
                _ if !cluster.owns(own) => Err(SlotError::NotServed),
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
