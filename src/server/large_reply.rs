//! Large strings go from the keyspace to the socket as they lie there, without the copy through the reply buffer that
//! costs more than everything else for them. What the socket does not take at once is copied then: a reply that waits
//! must not change with the value.
#![forbid(unsafe_code)]

use super::Server;
use super::client::{ClientFlags, Token};
use crate::value::ValueRef;
use bytes::Bytes;
use std::io::IoSlice;

/// Strings from this size on, in bytes: below it, a copy costs less than a further system call in a pipeline.
const LARGE_STRING: usize = 32 * 1024;

impl Server {
    /// Answers the large string under `key` of the current database.
    #[cold]
    pub fn reply_large_string(&mut self, key: &[u8]) {
        let writable = self.current.filter(|&token| self.takes_large_replies(token));
        if let Some(token) = writable {
            self.settle(token);
        }
        let Some(ValueRef::Str(string)) = self.ks.inspect(self.db, key).map(|e| e.value()) else {
            return self.reply.null();
        };
        let client = writable.and_then(|token| self.clients.get_mut(token));
        let Some(client) = client.filter(|client| client.out.is_empty()) else {
            return self.reply.bulk(string);
        };
        self.reply.bulk_header(string.len());
        let parts = [self.reply.as_bytes(), string, b"\r\n"];
        // An error shows again when the rest is written, or when the client is read.
        let written = client.conn.write_vectored(&parts.map(IoSlice::new)).unwrap_or(0);
        client.net_out += written as u64;
        self.stats.net_out += written as u64;
        self.stats.writes += 1;
        let rest = behind(parts, written);
        self.reply.clear();
        if let (Some(token), false) = (writable, rest.is_empty()) {
            let memory = rest.capacity();
            self.keep_part(token, Bytes::from(rest), memory);
        }
    }

    /// Whether the client's socket may be written in the middle of a command, and whether it will be heard at all.
    fn takes_large_replies(&self, token: Token) -> bool {
        let unheard = ClientFlags::REPLY_OFF
            | ClientFlags::REPLY_SKIP
            | ClientFlags::MASTER
            | ClientFlags::SLAVE
            | ClientFlags::CLOSE_ASAP;
        self.clients.get(token).is_some_and(|client| {
            self.reply.goes_out
                && !client.is(unheard)
                && self.config.client_output_buffer_limit[client.class()].hard == 0
                && !self.aof.holds_replies()
        })
    }
}

/// Whether a value is worth [`Server::reply_large_string`].
#[inline]
pub fn is_large(value: &ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Str(string) if string.len() >= LARGE_STRING)
}

/// What lies behind the first `skip` bytes of `parts`.
fn behind<const N: usize>(parts: [&[u8]; N], mut skip: usize) -> Vec<u8> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let mut rest = Vec::with_capacity(total - skip);
    for part in parts {
        let from = skip.min(part.len());
        skip -= from;
        rest.extend_from_slice(&part[from..]);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn the_rest_begins_where_writing_stopped() {
        let parts: [&[u8]; 3] = [b"$5\r\n", b"hello", b"\r\n"];
        let whole = parts.concat();
        for written in 0..=whole.len() {
            assert_eq!(behind(parts, written), whole[written..]);
        }
    }
}
