//! Snapshots for replicas: who shares one, when it is made, and how it gets to them.

use crate::rdb::writer::{Excluded, RdbVersion};
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::links::replica::{Capabilities, ReplicaLink};
use crate::server::links::trace::StepKind;
use crate::server::links::transfer::{Transfer, read_pipe};
use crate::server::output;
use crate::server::persistence;
use crate::server::persistence::saver::Saver;
use crate::server::persistence::{Contents, SaveEnd, SaveTarget};
use crate::server::replication;
use crate::server::replication::primary;
use crate::server::replication::primary::dual_channel;
use crate::server::replication::primary::feed;
use crate::server::replication::trace;
use crate::sys::process;
use bytes::Bytes;
use std::fs::File;
use std::rc::Rc;

/// A diskless snapshot is read from its pipe no faster than the slowest replica takes it: it may lag by so much.
const PIPE_AHEAD: usize = 4 * 1024 * 1024;

/// Finds a snapshot for a replica: one that is being made, or a new one, now or soon.
pub(super) fn start_or_join_snapshot(server: &mut Server, token: Token) {
    match server.persistence.save_target() {
        Some(SaveTarget::Disk) => match companion(server, token) {
            Some(offset) => {
                replication_setup_slave_for_full_resync(server, token, offset);
                server.notice("Waiting for end of BGSAVE for SYNC");
            }
            None => server.notice(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC",
            ),
        },
        Some(SaveTarget::Replicas | SaveTarget::RdbChannels) => {
            server.notice("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
        }
        Some(SaveTarget::Aof { .. }) => {
            server.notice("No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed");
        }
        None => {
            let eof = replication::replica_link(server, token)
                .announced
                .capabilities
                .contains(Capabilities::EOF);
            if server.config.repl_diskless_sync && eof && server.config.repl_diskless_sync_delay > 0
            {
                server.notice("Delay next BGSAVE for diskless SYNC");
            } else {
                start_bgsave_for_replication(server);
            }
        }
    }
}

/// Where in the stream a snapshot stands that is being made for another replica, and serves this one too: if the stream
/// is kept from there on.
fn companion(server: &Server, token: Token) -> Option<u64> {
    let link = primary::link_of(server, token)?;
    let contents = contents_for(server, token);
    let made = server.persistence.saver().and_then(Saver::version);
    let is_readable = made == Some(RdbVersion::V10) || made == Some(contents.version);
    if link.announced.rdb_channel || !contents.excluded.is_empty() || !is_readable {
        return None;
    }
    let capable = link.announced.capabilities;
    let waiting = server.repl.replicas.iter().filter_map(|&other| primary::link_of(server, other));
    // One that wants no stream has none kept for it.
    let rdb_only = link.announced.rdb_only;
    let serves = |other: &&ReplicaLink| {
        capable.contains(other.announced.capabilities) && (rdb_only || !other.announced.rdb_only)
    };
    let mut places = waiting.filter(serves).filter_map(ReplicaLink::snapshot_offset);
    places.find(|&offset| feed::can_follow_from(server, token, offset))
}

pub(super) fn waiting_for_start(server: &Server) -> Vec<Token> {
    primary::replicas_that(server, ReplicaLink::waits_for_start)
}

pub(super) fn diskless_delay_applies(server: &Server, waiting: &[Token]) -> bool {
    let delay = i64::from(server.config.repl_diskless_sync_delay);
    let full = server.config.repl_diskless_sync_max_replicas as usize;
    if !server.config.repl_diskless_sync || (full > 0 && waiting.len() >= full) {
        return false;
    }
    let links = || waiting.iter().filter_map(|&t| server.clients[t].replstate.as_ref());
    if !links().all(|l| l.announced.capabilities.contains(Capabilities::EOF)) {
        return false;
    }
    let longest = links().map(|l| server.now_seconds() - l.heard_seconds()).max().unwrap_or(0);
    longest < delay
}

/// Those that the next snapshot will be for: the first that waits, and all that want the same in the same way.
fn next_receivers(server: &Server) -> Vec<Token> {
    let mut waiting = waiting_for_start(server);
    if let Some(&first) = waiting.first() {
        let wish =
            |token| (dual_channel::is_rdb_channel(server, token), contents_for(server, token));
        waiting.retain(|&token| wish(token) == wish(first));
    }
    waiting
}

/// What a replica's snapshot is to have.
fn contents_for(server: &Server, token: Token) -> Contents {
    let own = persistence::all_contents(server);
    let Some(link) = &server.clients[token].replstate else { return own };
    let version = match link.announced.expiring_fields_version(own.version) {
        Some(version) if !link.announced.excluded.contains(Excluded::DATA) => {
            persistence::rdb_version(server, version)
        }
        _ => RdbVersion::V10,
    };
    Contents { excluded: link.announced.excluded, version }
}

/// Starts a snapshot for the replicas that wait for one, in a form that all of them understand.
pub(crate) fn start_bgsave_for_replication(server: &mut Server) {
    let mut waiting = next_receivers(server);
    let (target, contents) = plan(server, &waiting);
    let channels = target == SaveTarget::RdbChannels;
    server.notice(&format!(
        "Starting BGSAVE for SYNC with target: {}{}",
        if target == SaveTarget::Disk { "disk" } else { "replicas sockets" },
        if channels { " using: dual-channel" } else { "" }
    ));
    if !server.repl.is_replica() {
        // The stream behind the snapshot must not rely on a database selected before it.
        server.repl.selected_db = None;
    }
    let offset = server.repl.offset();
    if channels {
        waiting = dual_channel::open_rdb_channels(server, &waiting, offset);
        for &token in &waiting {
            replication_setup_slave_for_full_resync(server, token, offset);
        }
    }
    let receivers = primary::snapshot_receivers(server);
    let connections = if channels { &receivers[..] } else { &[] };
    let method = server.config.snapshot_method;
    let saves = persistence::rdb_save_background(server, target, contents, connections, method);
    if let Err(error) = saves {
        server.warning(&format!("BGSAVE for replication failed: {error}"));
        waiting.into_iter().for_each(|token| refuse_snapshot(server, token));
        return;
    }
    server.repl.file_for_replicas |= target == SaveTarget::Disk && server.config.rdb_del_sync_files;
    pause_after_fork(server);
    let by = server.persistence.saver().map(Saver::name).unwrap_or_default();
    let how = match target {
        SaveTarget::Disk | SaveTarget::Aof { .. } => "a file",
        SaveTarget::Replicas => "a pipe",
        SaveTarget::RdbChannels => "this connection",
    };
    let text = format!("snapshot at offset {offset} is being made by {by}, into {how}");
    for &token in &waiting {
        trace::trace_replica(server, token, StepKind::Here, &text);
    }
    if channels {
        return;
    }
    for token in waiting {
        replication_setup_slave_for_full_resync(server, token, offset);
        if target == SaveTarget::Replicas {
            let mark = server.persistence.saver().map_or("", Saver::mark);
            let head = format!("$EOF:{mark}\r\n");
            primary::send_to_replica(server, token, head);
        }
    }
}

/// Where a snapshot for these goes, and what it has: in a form that all of them understand.
fn plan(server: &Server, waiting: &[Token]) -> (SaveTarget, Contents) {
    let links = || waiting.iter().filter_map(|&token| primary::link_of(server, token));
    let contents = match waiting.first() {
        Some(&token) => contents_for(server, token),
        None => persistence::all_contents(server),
    };
    // A part of the data is never written in place of the snapshot file.
    let diskless = server.config.repl_diskless_sync || !contents.excluded.is_empty();
    let all_eof = links().all(|l| l.announced.capabilities.contains(Capabilities::EOF));
    let target = if links().next().is_some_and(|link| link.announced.rdb_channel) {
        SaveTarget::RdbChannels
    } else if diskless && all_eof {
        SaveTarget::Replicas
    } else {
        SaveTarget::Disk
    };
    (target, contents)
}

/// There will be no snapshot for a replica: it is none any more.
fn refuse_snapshot(server: &mut Server, token: Token) {
    let id = server.clients[token].id;
    server.repl.reservations.retain(|reservation| reservation.client != id);
    server.repl.replicas.retain(|&other| other != token);
    replication::replica_link(server, token).snapshot_refused();
    let client = &mut server.clients[token];
    client.flags.remove(ClientFlags::SLAVE);
    client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
    output::add_reply_to(server, token, b"-ERR BGSAVE failed, replication can't continue\r\n");
}

/// Where a test wants to look at the process, it stops until it is told to go on.
pub(crate) fn pause_after_fork(server: &Server) {
    if server.repl.pause_after_fork {
        server.notice("Process is about to stop.");
        process::raise(libc::SIGSTOP);
        server.notice("Process has been continued.");
    }
}

/// Answers a replica that will get a snapshot: the stream behind it starts at `offset`.
pub(super) fn replication_setup_slave_for_full_resync(
    server: &mut Server,
    token: Token,
    offset: u64,
) {
    let id = server.repl.id().to_string();
    primary::with_link(server, token, |link, _, _| link.snapshot_begun(offset, &id));
}

/// The pipe of a diskless snapshot has bytes: they go to every replica that waits for them.
pub(crate) fn read_snapshot_pipe(server: &mut Server) {
    let receivers: Vec<Token> = primary::snapshot_receivers(server);
    let slowest = receivers.iter().map(|&t| server.clients[t].out.len()).max().unwrap_or(0);
    if slowest > PIPE_AHEAD {
        return;
    }
    let Some(pipe) = server.persistence.saver_mut().and_then(Saver::pipe) else {
        return;
    };
    let (bytes, ended) = match read_pipe(pipe, PIPE_AHEAD / 4) {
        Ok(read) => read,
        Err(error) => {
            server.warning(&format!(
                "Diskless rdb transfer, read error sending DB to replicas: {error}"
            ));
            kill_saver(server);
            return;
        }
    };
    let bytes = Bytes::from(bytes);
    server.observer.count_replica_write(bytes.len() * receivers.len());
    for &token in &receivers {
        let now = server.now_seconds();
        server.clients[token].out.push(bytes.clone());
        server.clients[token].last_interaction_seconds = now;
        server.clients.queue_write(token);
    }
    if ended {
        let up = receivers.len();
        server.notice(&format!(
            "Diskless rdb transfer, done reading from pipe, {up} replicas still up."
        ));
        let pipe = server.persistence.saver_mut().and_then(Saver::pipe_drained);
        if let Some(mut pipe) = pipe {
            server.net.deregister_readable(&mut pipe);
        }
        check_saver_done(server);
    }
}

/// Sees whether the one that saves has ended, and draws the consequences.
pub(crate) fn check_saver_done(server: &mut Server) {
    if let Some(end) = persistence::check_saver(server) {
        snapshot_done(server, &end);
    }
}

/// Ends the one that makes a snapshot, if there is one.
pub(crate) fn kill_saver(server: &mut Server) {
    if let Some(end) = persistence::kill_saver(server) {
        snapshot_done(server, &end);
    }
}

/// Ends a snapshot that is made for replicas when the last of them has gone.
pub(crate) fn abandon_unwanted_snapshot(server: &mut Server) {
    let Some(target) = server.persistence.save_target() else { return };
    if matches!(target, SaveTarget::Disk | SaveTarget::Aof { .. })
        || !primary::snapshot_receivers(server).is_empty()
    {
        return;
    }
    let channels = target == SaveTarget::RdbChannels;
    check_saver_done(server);
    if server.persistence.saver().is_some() {
        server.notice("Diskless rdb transfer, last replica dropped, killing fork child.");
        kill_saver(server);
        if channels {
            server.warning("Background RDB transfer error");
        }
    }
}

/// A snapshot has ended: those who waited for its snapshot get it, or are let go.
fn snapshot_done(server: &mut Server, SaveEnd { saver, ok }: &SaveEnd) {
    let ok = *ok;
    let target = saver.target();
    let receivers = primary::snapshot_receivers(server);
    if target == SaveTarget::RdbChannels {
        dual_channel::rdb_channels_done(server, receivers, ok);
        start_next_snapshot(server, ok);
        return;
    }
    let file = (ok && target == SaveTarget::Disk && !receivers.is_empty()).then(|| {
        File::open(persistence::rdb_path(server))
            .and_then(|f| Ok((f.metadata()?.len(), Rc::new(f))))
    });
    for token in receivers {
        match (target, &file) {
            _ if !ok => {
                trace::trace_replica(server, token, StepKind::Here, "making the snapshot failed");
                server.warning("SYNC failed. BGSAVE child returned an error");
                server.free_client(token);
            }
            (SaveTarget::Replicas | SaveTarget::RdbChannels, _) => {
                let mark = saver.mark().to_string();
                primary::with_link(server, token, |link, name, now| {
                    link.snapshot_is_streamed(&mark, name, now)
                });
            }
            (SaveTarget::Disk, Some(Ok((size, file)))) => {
                let transfer = Transfer::new(Rc::clone(file), *size);
                primary::with_link(server, token, |link, _, _| link.snapshot_is_file(transfer));
            }
            (SaveTarget::Disk, Some(Err(error))) => {
                let text = format!("SYNC failed. Can't open/stat DB after BGSAVE: {error}");
                server.warning(&text);
                trace::trace_end(server, token, &text);
                server.free_client(token);
            }
            (SaveTarget::Disk, None) | (SaveTarget::Aof { .. }, _) => {}
        }
    }
    start_next_snapshot(server, ok);
}

/// Others may wait for a snapshot of their own.
fn start_next_snapshot(server: &mut Server, ok: bool) {
    let due = waiting_for_start(server);
    // After a failure the cron tries again, not at once.
    if ok && !due.is_empty() && !diskless_delay_applies(server, &due) {
        start_bgsave_for_replication(server);
    }
}
