//! From a server that has been made to one that serves: what is on disk is read, and the supervisor told.

use super::Server;
use super::acl::file;
use super::cluster;
use super::persistence::aof::{load, rewrite};
use super::persistence::{self, load::LoadError};
use super::placement;
use super::replication::replica;
use crate::sys::process;
use crate::util::io_reason;
use std::error::Error;

/// Reads what a server has on disk beside its data: users, and the cluster that it is a node of.
///
/// # Errors
/// If that can't be read or understood.
pub fn load_setup(server: &mut Server) -> Result<(), Box<dyn Error>> {
    file::load_users_at_startup(server)?;
    cluster::cluster_start(server)?;
    Ok(())
}

/// Takes its processors, becomes the replica that the configuration or the cluster's file asks for, and begins to load
/// what is on disk, which then is the primary's data.
///
/// # Errors
/// If it can't be loaded.
pub fn begin(server: &mut Server) -> Result<(), LoadError> {
    placement::place_threads(server);
    let configured = server.config.replicaof.clone().map(|address| (address.host, address.port));
    if let Some((host, port)) = configured.or_else(|| cluster::primary_address(server)) {
        replica::become_replica(server, host, port);
    }
    if begin_loading(server)? {
        server.process.notify("STATUS=Loading what is on disk");
    } else {
        finished(server);
    }
    Ok(())
}

/// Begins to load what is on disk; `false` if there is nothing.
///
/// # Errors
/// If it can't be read.
pub fn begin_loading(server: &mut Server) -> Result<bool, LoadError> {
    load::load_aof_manifest(server)?;
    if server.config.appendonly {
        // A snapshot beside it may be older.
        return load::begin_loading_aof(server);
    }
    let path = persistence::rdb_path(server);
    persistence::load::begin_loading_file(server, &path).map_err(|error| {
        let (path, reason) = (path.display(), io_reason(&error));
        LoadError::Content(format!("Fatal error loading the DB {path}: {reason}. Exiting."))
    })
}

/// The data is there: clients may be served.
pub(crate) fn finished(server: &mut Server) {
    server.lifecycle.set_started();
    if rewrite::open_aof_on_server_start(server).is_err() {
        // Why has been logged.
        server.lifecycle.shutdown.exit_with(1);
        return;
    }
    cluster::verify_data(server);
    if server.config.port != 0 {
        server.notice("Ready to accept connections tcp");
    }
    if server.config.tls_port != 0 {
        server.notice("Ready to accept connections tls");
    }
    if server.config.unixsocket.is_some() {
        server.notice("Ready to accept connections unix");
    }
    if server.config.metrics_port != 0 {
        server.notice("Ready to serve metrics over HTTP");
    }
    match server.process.supervised() {
        Some("upstart") => process::raise(libc::SIGSTOP),
        _ => server.process.notify("STATUS=Ready to accept connections\nREADY=1"),
    }
}
