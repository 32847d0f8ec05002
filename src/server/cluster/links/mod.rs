//! The sockets of the bus: each is one of the machine's links, with what has come over it and what waits to go.
//!
//! They are no clients: the loop tells their events under tokens of their own, which are never used again.

mod frames;

use super::machine::LinkId;
use crate::bus::{DecodeError, Message};
use crate::server::connection::Connection;
use bytes::Bytes;
use frames::{Inbox, Outbox};
use mio::{Registry, Token};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// The loop's tokens of the bus start here.
pub const FIRST_BUS_LINK: usize = 1 << (usize::BITS - 2);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The event loop's token for a link.
fn token(link: LinkId) -> usize {
    FIRST_BUS_LINK + link.0 as usize
}

/// See the module.
#[derive(Default)]
pub(crate) struct BusLinks {
    links: BTreeMap<LinkId, BusLink>,
    /// Those with something to write.
    unwritten: Vec<LinkId>,
    /// Those with something to read that no event will announce.
    unread: Vec<LinkId>,
    chunk: Vec<u8>,
}

#[derive(Debug)]
struct BusLink {
    connection: Connection,
    /// Whether the two ends are connected: one that the peer made always is.
    is_up: bool,
    inbox: Inbox,
    outbox: Outbox,
}

/// What has become of a link.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing more has come.
    Waits,
    /// There is more, but others have waited long enough.
    HasMore,
    /// It is connected now.
    Up,
    Message(Box<Message>),
    /// A message that can't be understood; the link goes on.
    Unreadable(DecodeError),
    /// The link is of no use any more.
    Broken(Broken),
}

/// Why a link has ended.
#[derive(Debug)]
pub(super) enum Broken {
    /// It could not be made.
    Unconnected(io::Error),
    Closed,
    Failed(io::Error),
    /// What the peer says is no message. Holds its address.
    Nonsense(String),
}

impl BusLinks {
    /// Takes in a connection. `is_up`: the peer has made it.
    ///
    /// # Errors
    /// If the loop can't watch it.
    pub(super) fn add(
        &mut self,
        link: LinkId,
        mut connection: Connection,
        is_up: bool,
        registry: Option<&Registry>,
    ) -> io::Result<()> {
        // A connection that can't be configured is about to fail anyway, and tells so when it is read.
        let _ = connection.set_options(true, 0);
        if let Connection::Virtual(stream) = &mut connection {
            stream.attach(token(link));
        }
        if let Some(registry) = registry {
            connection.register(registry, Token(token(link)))?;
        }
        let (inbox, outbox) = (Inbox::default(), Outbox::default());
        self.links.insert(link, BusLink { connection, is_up, inbox, outbox });
        // What it has to say may have come before it was watched.
        self.unread.push(link);
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Closes a connection, if it is there. What waits is dropped.
    pub(super) fn close(&mut self, link: LinkId, registry: Option<&Registry>) {
        if let Some(mut link) = self.links.remove(&link)
            && let Some(registry) = registry
        {
            // It is closed in any case.
            let _ = link.connection.deregister(registry);
        }
    }

    /// Queues a message.
    pub(super) fn send(&mut self, link: LinkId, message: Bytes) {
        if let Some(known) = self.links.get_mut(&link) {
            known.outbox.push(message);
            self.unwritten.push(link);
        }
    }

    /// The loop says that there is room in a socket.
    pub(super) fn note_writable(&mut self, link: LinkId) {
        self.unwritten.push(link);
    }

    /// To be read on in the next turn.
    pub(super) fn note_unread(&mut self, link: LinkId) {
        self.unread.push(link);
    }

    pub(super) fn take_unread(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.unread)
    }

    /// Whether there is something to do that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        !self.unread.is_empty()
    }

    /// What waits on a link, in bytes: read, and to be written.
    pub(crate) fn memory(&self, link: LinkId) -> (usize, usize) {
        self.links.get(&link).map_or((0, 0), |link| (link.inbox.memory(), link.outbox.memory()))
    }

    /// Memory that all links hold, in bytes.
    pub(crate) fn total_memory(&self) -> usize {
        self.links.values().map(|link| link.inbox.memory() + link.outbox.memory()).sum()
    }

    /// Links on which more waits than so many bytes, with how many.
    pub(super) fn over(&self, limit: usize) -> Vec<(LinkId, usize)> {
        let queues = self.links.iter().map(|(&id, link)| (id, link.outbox.memory()));
        queues.filter(|&(_, bytes)| bytes > limit).collect()
    }

    /// Gets on with a link: the next that has come over it. Reads at most `budget` bytes, of messages of at most `most`
    /// bytes.
    pub(super) fn step(&mut self, id: LinkId, most: usize, budget: &mut usize) -> Step {
        let Some(link) = self.links.get_mut(&id) else { return Step::Waits };
        if !link.is_up {
            match link.connects(&mut self.chunk) {
                Ok(true) => {
                    link.is_up = true;
                    return Step::Up;
                }
                Ok(false) => return Step::Waits,
                Err(error) => return Step::Broken(Broken::Unconnected(error)),
            }
        }
        loop {
            match link.inbox.next(most) {
                Ok(None) => {}
                Ok(Some(Ok(message))) => return Step::Message(Box::new(message)),
                Ok(Some(Err(error))) => return Step::Unreadable(error),
                Err(_) => return Step::Broken(Broken::Nonsense(link.connection.peer(""))),
            }
            if *budget == 0 {
                return Step::HasMore;
            }
            match link.read(&mut self.chunk) {
                Ok(0) => return Step::Broken(Broken::Closed),
                Ok(bytes) => *budget = budget.saturating_sub(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Waits,
                Err(error) => return Step::Broken(Broken::Failed(error)),
            }
        }
    }

    /// Writes what the sockets take; answers which of them have failed.
    pub(super) fn flush(&mut self) -> Vec<(LinkId, Broken)> {
        let mut noted = std::mem::take(&mut self.unwritten);
        noted.sort_unstable();
        noted.dedup();
        let mut broken = Vec::new();
        for id in noted {
            let Some(link) = self.links.get_mut(&id).filter(|link| link.is_up) else { continue };
            if let Err(error) = link.write() {
                broken.push((id, Broken::Failed(error)));
            }
        }
        broken
    }
}

impl BusLink {
    /// Whether the connection that was begun is there.
    fn connects(&mut self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        match self.connection.write(&[]) {
            Ok(_) if !self.connection.is_handshaking() => return Ok(true),
            Ok(_) => {}
            Err(error) if waits(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        match self.read(chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if !waits(&error) => Err(error),
            _ => Ok(!self.connection.is_handshaking()),
        }
    }

    fn read(&mut self, chunk: &mut Vec<u8>) -> io::Result<usize> {
        chunk.resize(CHUNK_BYTES, 0);
        loop {
            match self.connection.read(chunk) {
                Ok(bytes) => {
                    self.inbox.push(&chunk[..bytes]);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let outcome = loop {
            if self.outbox.next().is_empty() {
                break self.connection.flush();
            }
            match self.connection.write(self.outbox.next()) {
                Ok(bytes) => self.outbox.advance(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        match outcome {
            Err(error) if !waits(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether it is only too early.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
