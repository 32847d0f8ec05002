//! All clients: the slab that they live in, whose turn it is, and what is noted to be done for whom.
//!
//! A client is found by its [`Token`], which may be another's later. What is to be done later is therefore noted with
//! the client's id, too, and done only if the client is still the same.

use super::client::{Client, ClientFlags};
use super::connection::Connection;
use super::token::{Noted, Token};
use bytes::Bytes;
use slab::Slab;
use std::mem;
use std::ops::{Index, IndexMut};

#[derive(Default)]
pub struct Clients {
    slab: Slab<Client>,
    last_id: u64,
    /// Whose turn it is: somebody up the stack works on it.
    in_turn: Option<Token>,
    /// What the client whose turn it is gets behind its reply.
    pushes: Vec<Bytes>,
    /// Those with input to process that no event will announce.
    pending_input: Vec<Noted>,
    /// Those with output to write.
    pending_writes: Vec<Noted>,
    /// Those to be freed.
    closing: Vec<Noted>,
    /// Those that wait for anything but keys.
    waiting: Vec<Noted>,
}

impl Index<Token> for Clients {
    type Output = Client;

    #[inline]
    fn index(&self, token: Token) -> &Client {
        &self.slab[token]
    }
}

impl IndexMut<Token> for Clients {
    #[inline]
    fn index_mut(&mut self, token: Token) -> &mut Client {
        &mut self.slab[token]
    }
}

/// Who there is.
impl Clients {
    /// The token of the client that is made next.
    pub fn next_token(&self) -> Token {
        self.slab.vacant_key()
    }

    /// A client for a connection, with an id that no other has had.
    pub fn new_client(&mut self, conn: Connection, now_seconds: i64) -> Client {
        self.last_id += 1;
        Client::new(self.last_id, conn, now_seconds)
    }

    pub fn insert(&mut self, client: Client) -> Token {
        self.slab.insert(client)
    }

    pub fn remove(&mut self, token: Token) -> Client {
        self.slab.remove(token)
    }

    #[inline]
    pub fn get(&self, token: Token) -> Option<&Client> {
        self.slab.get(token)
    }

    #[inline]
    pub fn get_mut(&mut self, token: Token) -> Option<&mut Client> {
        self.slab.get_mut(token)
    }

    pub fn contains(&self, token: Token) -> bool {
        self.slab.contains(token)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.slab.len()
    }

    pub fn iter(&self) -> slab::Iter<'_, Client> {
        self.slab.iter()
    }

    pub fn iter_mut(&mut self) -> slab::IterMut<'_, Client> {
        self.slab.iter_mut()
    }

    /// A client to be found again with [`Clients::find`].
    pub fn noted(&self, token: Token) -> Noted {
        (token, self.slab[token].id)
    }

    /// The client that was noted, unless it has gone since.
    pub fn find(&self, (token, id): Noted) -> Option<Token> {
        self.slab.get(token).filter(|client| client.id == id).map(|_| token)
    }
}

/// What is found out about clients by looking at each of them: there may be many, so it is done once for all that is
/// asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    /// Those that are no links of replication.
    pub ordinary: usize,
    pub subscribers: usize,
    /// Connections that have said they are replicas', and have not asked for anything yet.
    pub handshakes: usize,
    /// In bytes.
    pub largest_input: usize,
    pub largest_output: usize,
    /// What all hold that are no replicas, in bytes.
    pub memory: u64,
}

impl Clients {
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, client) in &self.slab {
            let special = ClientFlags::SLAVE | ClientFlags::MASTER | ClientFlags::HANDSHAKE;
            census.ordinary += usize::from(!client.is_any(special));
            census.subscribers += usize::from(client.is(ClientFlags::PUBSUB));
            census.handshakes += usize::from(client.is_shaking_hands());
            census.largest_input = census.largest_input.max(client.query.capacity());
            census.largest_output = census.largest_output.max(client.out.len());
            if !client.is(ClientFlags::SLAVE) {
                census.memory += client.memory() as u64;
            }
        }
        census
    }
}

/// Whose turn it is.
impl Clients {
    /// A client's turn, or the resumption of one's command, begins; returns whose turn is interrupted by it.
    pub fn begin_turn(&mut self, token: Token) -> Option<Token> {
        self.in_turn.replace(token)
    }

    /// It has ended, and the one that was interrupted goes on.
    pub fn end_turn(&mut self, interrupted: Option<Token>) {
        self.in_turn = interrupted;
    }

    pub fn in_turn(&self) -> Option<Token> {
        self.in_turn
    }

    pub fn is_in_turn(&self, token: Token) -> bool {
        self.in_turn == Some(token)
    }

    /// Keeps something for the client whose turn it is until its reply is complete.
    pub fn push(&mut self, bytes: Bytes) {
        self.pushes.push(bytes);
    }

    #[inline]
    pub fn has_pushes(&self) -> bool {
        !self.pushes.is_empty()
    }

    pub fn take_pushes(&mut self) -> Vec<Bytes> {
        mem::take(&mut self.pushes)
    }

    /// Puts a turn aside, as others are served in its midst.
    pub fn suspend_turn(&mut self) -> (Option<Token>, Vec<Bytes>) {
        (self.in_turn.take(), self.take_pushes())
    }

    pub fn resume_turn(&mut self, (in_turn, pushes): (Option<Token>, Vec<Bytes>)) {
        (self.in_turn, self.pushes) = (in_turn, pushes);
    }
}

/// What is to be done later.
impl Clients {
    /// Has the next turn of the loop read or process a client's input although no event will announce it.
    pub fn queue_input(&mut self, token: Token) {
        let client = &mut self.slab[token];
        if !client.is(ClientFlags::PENDING_INPUT) {
            client.flags |= ClientFlags::PENDING_INPUT;
            self.pending_input.push((token, client.id));
        }
    }

    /// Those with such input; the caller removes their flag, or gives them back.
    pub fn take_pending_input(&mut self) -> Vec<Noted> {
        mem::take(&mut self.pending_input)
    }

    /// A client whose input can't be processed yet keeps its place.
    pub fn give_back_input(&mut self, noted: Noted) {
        self.pending_input.push(noted);
    }

    /// Has `before_sleep` write to a client.
    pub fn queue_write(&mut self, token: Token) {
        let client = &mut self.slab[token];
        if !client.is(ClientFlags::PENDING_WRITE) {
            client.flags |= ClientFlags::PENDING_WRITE;
            self.pending_writes.push((token, client.id));
        }
    }

    /// Those with something to write, who are noted no more.
    pub fn take_pending_writes(&mut self) -> Vec<Token> {
        let noted = mem::take(&mut self.pending_writes);
        let tokens: Vec<Token> = noted.into_iter().filter_map(|noted| self.find(noted)).collect();
        for &token in &tokens {
            self.slab[token].flags.remove(ClientFlags::PENDING_WRITE);
        }
        tokens
    }

    /// Has `before_sleep` free a client.
    pub fn close_later(&mut self, token: Token) {
        let client = &mut self.slab[token];
        client.flags |= ClientFlags::CLOSE_ASAP;
        self.closing.push((token, client.id));
    }

    #[inline]
    pub fn has_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    pub fn take_closing(&mut self) -> Vec<Noted> {
        mem::take(&mut self.closing)
    }

    /// Whether the loop must not sleep for their sake.
    pub fn has_work(&self) -> bool {
        !self.pending_input.is_empty() || !self.pending_writes.is_empty() || self.has_closing()
    }
}

/// Who waits for anything but keys (`WAIT`, a pause, a shutdown).
impl Clients {
    pub fn begin_wait(&mut self, token: Token) {
        self.waiting.push(self.noted(token));
    }

    pub fn end_wait(&mut self, noted: Noted) {
        self.waiting.retain(|other| *other != noted);
    }

    /// Those that wait, in the order in which they came.
    pub fn waiting(&self) -> &[Noted] {
        &self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::Nobody;

    fn with_one() -> (Clients, Token) {
        let mut clients = Clients::default();
        let client = clients.new_client(Connection::Virtual(Box::new(Nobody)), 0);
        let token = clients.insert(client);
        (clients, token)
    }

    #[test]
    fn whoever_has_a_token_later_is_not_who_was_noted() {
        let (mut clients, token) = with_one();
        let noted = clients.noted(token);
        assert_eq!(clients.find(noted), Some(token));
        clients.queue_write(token);
        clients.close_later(token);
        drop(clients.remove(token));
        let other = clients.new_client(Connection::Virtual(Box::new(Nobody)), 0);
        assert_eq!(clients.insert(other), token);
        assert_eq!(clients.find(noted), None);
        assert!(clients.take_pending_writes().is_empty());
        assert_eq!(clients.take_closing(), [noted]);
        assert!(!clients.has_work());
    }

    #[test]
    fn all_are_counted_in_one_go() {
        let (mut clients, first) = with_one();
        let replica = clients.new_client(Connection::Virtual(Box::new(Nobody)), 0);
        let replica = clients.insert(replica);
        clients[replica].flags |= ClientFlags::SLAVE;
        clients[replica].out.push(Bytes::from_static(b"12345"));
        clients[first].flags |= ClientFlags::PUBSUB;
        clients[first].query.reserve_exact(100);
        let census = clients.census();
        assert_eq!((census.ordinary, census.subscribers, census.handshakes), (1, 1, 0));
        assert_eq!((census.largest_input, census.largest_output), (100, 5));
        assert_eq!(census.memory, clients[first].memory() as u64);
    }

    #[test]
    fn a_client_is_noted_once() {
        let (mut clients, token) = with_one();
        for _ in 0..2 {
            clients.queue_input(token);
            clients.queue_write(token);
        }
        assert_eq!(clients.take_pending_input(), [clients.noted(token)]);
        assert_eq!(clients.take_pending_writes(), [token]);
        clients.queue_write(token);
        assert_eq!(clients.take_pending_writes(), [token], "it may be noted again afterwards");
    }

    #[test]
    fn an_interrupted_turn_goes_on() {
        let (mut clients, token) = with_one();
        let other = token + 1;
        assert_eq!(clients.begin_turn(token), None);
        clients.push(Bytes::from_static(b"later"));
        let interrupted = clients.begin_turn(other);
        assert!(clients.is_in_turn(other));
        clients.end_turn(interrupted);
        let suspended = clients.suspend_turn();
        assert!(clients.in_turn().is_none() && !clients.has_pushes());
        clients.resume_turn(suspended);
        assert!(clients.is_in_turn(token));
        assert_eq!(clients.take_pushes(), [Bytes::from_static(b"later")]);
    }
}
