//! `GET /ready`: whether clients should be sent here.

use crate::server::Server;
use crate::server::persistence::DiskError;

/// Why clients should not be sent to this server now, if so.
pub(super) fn obstacle(server: &Server) -> Option<String> {
    if server.lifecycle.shutdown.is_pending() {
        return Some("shutting down".to_string());
    }
    if let Some(loading) = server.persistence.loading.as_ref().filter(|l| !l.is_async()) {
        let (total, loaded) = loading.bytes();
        return Some(format!("loading: {loaded} of {total} bytes"));
    }
    if let Some(link) = server.repl.primary()
        && !link.is_connected()
    {
        let primary = format!("the primary {}:{}", link.host(), link.port());
        return Some(if link.is_syncing() {
            format!("syncing with {primary}")
        } else {
            format!("stale: no link to {primary}")
        });
    }
    if server.scripting.busy().is_some() {
        return Some("busy: a script runs for long".to_string());
    }
    match server.persistence.disk_error(&server.config)? {
        DiskError::Snapshot { .. } => {
            Some("failing disk: the last snapshot could not be saved".to_string())
        }
        DiskError::Aof(reason) => {
            Some(format!("failing disk: the append-only file can't be written: {reason}"))
        }
    }
}
