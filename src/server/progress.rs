//! Long work that goes on says how far it is: the observer is told.

use super::Server;
use crate::server::links::migration::job::{Job, State};
use crate::server::observe::progress::Work;
use crate::util::pace::Done;

/// Takes note of all of it, and writes the lines of the log for which it is time.
pub(crate) fn note_progress(server: &mut Server) {
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
        Work::Sending => {
            let replicas = server.repl.replicas().iter();
            let links = replicas.filter_map(|&token| server.clients.get(token)?.replstate.as_ref());
            sum(links.filter_map(|link| link.transfer_progress()))
        }
        Work::Saving | Work::Rewriting => {
            let rewrites = server.persistence.is_rewriting_aof();
            let child =
                server.persistence.saver().filter(|_| rewrites == (work == Work::Rewriting));
            let reports = child?.reports();
            Some(Done { done: reports.keys_done, total: Some(reports.keys_total) })
        }
        Work::Freeing => {
            let (done, total) = server.memory.lazyfree().progress()?;
            Some(Done { done: done as u64, total: Some(total as u64) })
        }
        Work::Exporting => {
            let jobs = server.net.migrations.iter();
            sum(jobs.filter(|job| job.state == State::Snapshotting).filter_map(Job::keys_sent))
        }
        Work::Importing => {
            let jobs = server.net.migrations.iter();
            let imports = jobs.filter(|job| !job.is_export() && job.state.is_in_progress());
            let keys = imports.map(|job| job.slots.iter().map(|slot| server.ks.slot_len(slot)));
            let done = keys.map(|of_slots| of_slots.sum::<usize>() as u64).reduce(|a, b| a + b)?;
            Some(Done { done, total: None })
        }
    }
}

/// Several works of a kind as one.
fn sum(works: impl Iterator<Item = (u64, u64)>) -> Option<Done> {
    let (done, total) = works.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
    Some(Done { done, total: Some(total) })
}
