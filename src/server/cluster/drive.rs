//! Tells the machine what it has to know, and does what it wants done.

use super::cluster_save;
use super::machine::{Action, Cluster, Facts, Now};
use crate::server::Server;
use crate::server::observe::log::Level;

/// The time, as the machine wants it.
pub(crate) fn now(server: &Server) -> Now {
    let clock = &server.ks.clock;
    Now { wall_ms: clock.unix_ms(), mono_ms: clock.nanos() / 1_000_000 }
}

/// Has the machine do something, and does what follows. `None`: this server is no node of a cluster.
pub(crate) fn operate<T>(
    server: &mut Server,
    operation: impl FnOnce(&mut Cluster, Now, &Facts) -> T,
) -> Option<T> {
    let mut cluster = server.cluster.take()?;
    let now = now(server);
    let facts = Facts {
        config: &server.config,
        offset: server.repl.offset(),
        follows: server.repl.is_replica(),
        data_age_ms: 0,
        keys_in_slot: &|slot| server.ks.slot_len(slot),
    };
    let result = operation(&mut cluster, now, &facts);
    cluster.before_sleep(now, &facts);
    let actions = cluster.take_actions();
    server.cluster = Some(cluster);
    actions.into_iter().for_each(|action| carry_out(server, action));
    Some(result)
}

fn carry_out(server: &mut Server, action: Action) {
    match action {
        Action::Log(level, text) => server.log(level, &text),
        Action::Save { .. } => {
            if let Err(error) = cluster_save(server) {
                let text = format!("Error saving the cluster node config: {error}");
                server.log(Level::Warning, &text);
            }
        }
        _ => {}
    }
}
