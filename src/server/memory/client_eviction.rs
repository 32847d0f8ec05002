//! Client eviction: keeping what ordinary clients and subscribers hold below `maxmemory-clients`.
//!
//! A client's memory is counted anew whenever something was read from it or has to wait for it. The largest client
//! goes first. Without a limit nothing is counted, and nothing costs anything.

use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::client_info;
use crate::server::clients::Clients;
use crate::server::observe::log::Level;
use std::collections::BTreeSet;

/// The lowest limit, in bytes: below it nobody could even correct the configuration.
const MIN_LIMIT: usize = 128 * 1024;

/// What the clients hold, as far as it counts.
#[derive(Debug, Default)]
pub struct ClientMemory {
    /// There is a limit. Without one nothing is counted.
    is_limited: bool,
    /// Bytes of each client, by token.
    counted: Vec<usize>,
    sum: usize,
    /// Those who may be evicted, by bytes.
    evictable: BTreeSet<(usize, Token)>,
    /// The log tells already that there is nobody left to evict.
    told: bool,
}

impl ClientMemory {
    /// Whether there is a limit from now on.
    pub fn set_limited(&mut self, is_limited: bool) {
        if is_limited {
            self.is_limited = true;
        } else {
            *self = ClientMemory::default();
        }
    }

    /// See [`Memory::count_client`](super::Memory::count_client).
    #[inline]
    pub fn count(&mut self, clients: &Clients, token: Token, besides: usize) {
        if self.is_limited {
            self.recount(clients, token, besides);
        }
    }

    /// See [`Memory::count_clients`](super::Memory::count_clients).
    pub fn count_all(&mut self, clients: &Clients) {
        if self.is_limited {
            clients.iter().for_each(|(token, _)| self.recount(clients, token, 0));
        }
    }

    #[cold]
    fn recount(&mut self, clients: &Clients, token: Token, besides: usize) {
        // What replicas and the primary need is not theirs to decide; who is about to be closed holds nothing.
        let exempt = ClientFlags::SLAVE
            | ClientFlags::MASTER
            | ClientFlags::HANDSHAKE
            | ClientFlags::CLOSE_ASAP;
        let (bytes, evictable) = match clients.get(token) {
            Some(client) if !client.is_any(exempt) => {
                (client.memory() + besides, !client.is(ClientFlags::NO_EVICT))
            }
            _ => (0, false),
        };
        self.set(token, bytes, evictable);
    }

    fn set(&mut self, token: Token, bytes: usize, evictable: bool) {
        if self.counted.len() <= token {
            self.counted.resize(token + 1, 0);
        }
        let before = std::mem::replace(&mut self.counted[token], bytes);
        self.sum = self.sum - before + bytes;
        self.evictable.remove(&(before, token));
        if evictable {
            self.evictable.insert((bytes, token));
        }
    }
}

/// `maxmemory-clients` in bytes; `None`: no limit.
fn client_eviction_limit(server: &Server) -> Option<usize> {
    let bytes = match server.config.maxmemory_clients {
        0 => return None,
        percent @ ..0 => {
            let share = server.config.maxmemory as f64 * percent.unsigned_abs() as f64 / 100.0;
            // Of no limit, any part is none.
            if server.config.maxmemory == 0 { usize::MAX } else { share as usize }
        }
        bytes => bytes as usize,
    };
    Some(bytes.max(MIN_LIMIT))
}

/// Closes the largest clients until the others are below the limit.
#[inline]
pub(crate) fn evict_clients(server: &mut Server) {
    if server.config.maxmemory_clients != 0 {
        evict_largest_clients(server);
    }
}

#[cold]
fn evict_largest_clients(server: &mut Server) {
    let Some(limit) = client_eviction_limit(server) else { return };
    if server.memory.clients.sum < limit {
        server.memory.clients.told = false;
        return;
    }
    while server.memory.clients.sum >= limit {
        let Some(&(_, token)) = server.memory.clients.evictable.last() else {
            if !std::mem::replace(&mut server.memory.clients.told, true) {
                server.warning("Over client maxmemory after evicting all evictable clients");
            }
            return;
        };
        let info = client_info::client_info(server, token);
        server.log(Level::Notice, &format!("Evicting client: {info}"));
        server.observer.count_evicted_client();
        server.free_client(token);
        // One that is being worked on is closed later.
        server.memory.clients.set(token, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::{Connection, Nobody};

    #[test]
    fn what_a_client_holds_counts_where_there_is_a_limit() {
        let mut clients = Clients::default();
        let client = clients.new_client(Connection::Virtual(Box::new(Nobody)), 0);
        let token = clients.insert(client);
        let mut memory = ClientMemory::default();
        memory.count(&clients, token, 1000);
        assert_eq!(memory.sum, 0, "no limit");
        memory.set_limited(true);
        memory.count(&clients, token, 1000);
        let alone = clients[token].memory();
        assert_eq!((memory.sum, memory.evictable.len()), (alone + 1000, 1));
        clients[token].flags |= ClientFlags::NO_EVICT;
        memory.count_all(&clients);
        assert_eq!((memory.sum, memory.evictable.len()), (alone, 0));
        clients[token].flags |= ClientFlags::SLAVE;
        memory.count_all(&clients);
        assert_eq!(memory.sum, 0, "a replica's memory is not its own to decide");
    }

    #[test]
    fn the_sum_is_of_all_and_the_largest_of_the_evictable() {
        let mut memory = ClientMemory::default();
        memory.set(3, 100, true);
        memory.set(0, 500, false);
        memory.set(1, 50, true);
        assert_eq!((memory.sum, memory.evictable.last()), (650, Some(&(100, 3))));
        memory.set(1, 300, true);
        memory.set(3, 0, false);
        assert_eq!((memory.sum, memory.evictable.last()), (800, Some(&(300, 1))));
        memory.set(1, 300, false);
        assert_eq!((memory.sum, memory.evictable.last()), (800, None));
    }
}
