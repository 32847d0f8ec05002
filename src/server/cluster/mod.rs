//! The cluster that this server is a node of.
//!
//! * [`machine`]: what is known of it, and what has to be done, as a machine without sockets.
//! * [`redirect`]: which requests this node executes, and where others are sent.
//! * [`set_slot`]: changes of slots that replicas have to know of first.
//! * [`migration`]: slots that move as one.
//! * [`drive`]: tells the machine what it has to know, and does what it wants done.
//! * [`obey`]: what it wants of the rest of the server. [`links`]: the bus's sockets.
//! * [`file`]: `nodes.conf`, where what is known outlives the process. [`describe`]: nodes as lines of text.

pub mod describe;
pub(crate) mod drive;
pub mod file;
pub(crate) mod links;
pub mod machine;
pub(crate) mod migration;
pub(crate) mod obey;
pub(crate) mod redirect;
pub(crate) mod set_slot;

pub use machine::{Cluster, Facts, Node, Now};

use super::Server;
use crate::util::slot::SLOTS;
use file::{ClusterFile, ClusterFileError};

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

/// Where the node is that this one is to replicate; `None`: it is a primary, or that is not known.
pub(crate) fn primary_address(server: &Server) -> Option<(String, u16)> {
    let cluster = server.cluster.as_ref()?;
    let primary = cluster.primary_of(cluster.myself())?;
    let ip = Some(primary.address().ip.clone()).filter(|ip| !ip.is_empty())?;
    Some((ip, primary.port(server.config.tls_replication)))
}

/// The data has been loaded. Keys of slots that nobody owns make them this node's; those of others' slots go.
pub(crate) fn verify_data(server: &mut Server) {
    let Some(cluster) = server.cluster.as_ref().filter(|cluster| cluster.myself().is_primary())
    else {
        return;
    };
    let is_explained = |slot| {
        cluster.owns(slot)
            || cluster.importing_from(slot).is_some()
            || server.net.migrations.imports(slot)
    };
    let slots = (0..SLOTS).filter(|&slot| server.ks.slot_len(slot) > 0 && !is_explained(slot));
    let (unowned, foreign): (Vec<u16>, Vec<u16>) =
        slots.partition(|&slot| cluster.slot_owner(slot).is_none());
    for slot in &unowned {
        server.notice(&format!(
            "I have keys for unassigned slot {slot}. Taking responsibility for it."
        ));
    }
    drive::operate(server, |cluster, _, _| cluster.assign_slots(unowned.into_iter(), true));
    for slot in foreign {
        server.notice(&format!(
            "I have keys for slot {slot}, but the slot is assigned to another node. Deleting keys in the slot."
        ));
        obey::drop_slot_keys(server, slot);
    }
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

/// Whether keys are all in one database, which has no number: as it was before clusters could have several.
pub(crate) fn has_one_database(server: &Server) -> bool {
    server.cluster.is_some() && server.config.cluster_databases == 1
}
