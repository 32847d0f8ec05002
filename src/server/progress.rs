//! Long work that goes on says in the log how far it is.

use super::Server;
use crate::server::observe::progress::{Done, Work};

/// Writes the lines for which it is time.
pub(crate) fn log_progress(server: &mut Server) {
    for work in Work::ALL {
        let done = how_far(server, work);
        let line = server.observer.progress.note(work, done, server.ks.now_ms);
        if let Some(line) = line {
            server.notice(&line);
        }
    }
}

/// How far some work is, if it goes on.
fn how_far(server: &Server, work: Work) -> Option<Done> {
    match work {
        Work::Loading => {
            // What is fed comes from a primary, and is known as that.
            let loading = server.persistence.loading.as_ref().filter(|l| !l.is_fed())?;
            let (total, done) = loading.bytes();
            Some(Done { done, total: Some(total) })
        }
        Work::Receiving => {
            let (total, done) = server.repl.primary()?.transfer_progress()?;
            Some(Done { done, total: u64::try_from(total).ok() })
        }
        Work::Saving | Work::Rewriting => {
            let rewrites = server.persistence.is_rewriting_aof();
            let child =
                server.persistence.child().filter(|_| rewrites == (work == Work::Rewriting));
            let reports = child?.reports();
            Some(Done { done: reports.keys_done, total: Some(reports.keys_total) })
        }
    }
}
