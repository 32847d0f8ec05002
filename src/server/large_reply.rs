//! Large strings go from the keyspace to the socket as they lie there, without the copy through the reply buffer that
//! costs more than everything else for them. What the socket does not take at once waits as a reference to the value's
//! bytes, which stay what they were whatever becomes of the value.

use super::Server;
use super::call::Call;
use super::client::{ClientFlags, Token};
use super::output::{NANOS_PER_BYTE, REPLY_FLUSH};
use crate::server::output;
use crate::value::ValueRef;
use bytes::Bytes;
use std::io::IoSlice;

/// Strings from this size on, in bytes: below it, a copy costs less than a further system call in a pipeline.
const LARGE_STRING: usize = 32 * 1024;

/// Answers the large string under `key` of the current database. `false`: its client gets no more replies.
#[cold]
pub(crate) fn reply_large_string(server: &mut Server, call: &mut Call, key: &[u8]) -> bool {
    let token = Some(call.client).filter(|&token| takes_references(server, call, token));
    if let Some(token) = token {
        output::settle(server, token);
        if call.reply.len() >= REPLY_FLUSH {
            output::flush_reply(server, call);
        }
    }
    let Some(ValueRef::Str(string)) = server.ks.inspect(call.db, key).map(|e| e.value()) else {
        call.reply.null();
        return true;
    };
    let Some(token) = token else {
        call.reply.bulk(string);
        return !call.reply.is_given_up();
    };
    let len = string.len();
    call.reply.bulk_header(len);
    let parts = [call.reply.as_bytes(), string, b"\r\n"];
    let client = &mut server.clients[token];
    let limit = server.config.client_output_buffer_limit[client.class()].hard;
    let mut written = 0;
    if client.out.is_empty() && limit == 0 && !server.persistence.aof.holds_replies() {
        // An error shows again when the rest is written, or when the client is read.
        written = client.conn.write_vectored(&parts.map(IoSlice::new)).unwrap_or(0);
        client.net_out += written as u64;
        server.observer.count_write(written);
    }
    server.buffers.add_turn_cost(written as u64 * NANOS_PER_BYTE);
    let all = parts.iter().map(|part| part.len()).sum::<usize>();
    call.handed_over += all;
    if written == all {
        call.reply.clear();
        return true;
    }
    let [header, value, end] = left_of(parts.map(<[u8]>::len), written);
    let header = Bytes::copy_from_slice(&call.reply.as_bytes()[header..]);
    call.reply.clear();
    // What goes on in the reply is counted there.
    call.handed_over -= 2 - end;
    call.reply.raw(&b"\r\n"[end..]);
    output::keep(server, token, header);
    if value < len
        && let Some(bytes) = server.ks.share_string(call.db, key)
    {
        output::keep_part(server, token, bytes.slice(value..), len);
    }
    !server.clients[token].is(ClientFlags::CLOSE_ASAP)
}

/// Answers an argument. A large one goes out of the buffer that it came in, if that holds little else.
pub(crate) fn reply_argument(server: &mut Server, call: &mut Call, argument: &[u8]) {
    let kept = server.ks.lent.part(argument);
    let kept = kept.filter(|_| takes_references(server, call, call.client));
    let Some(bytes) = kept else {
        call.reply.bulk(argument);
        return;
    };
    call.reply.bulk_header(bytes.len());
    output::flush_reply(server, call);
    call.handed_over += bytes.len();
    output::keep(server, call.client, bytes);
    call.reply.raw(b"\r\n");
}

/// Whether the client may be written in the middle of a command, and whether it will be heard at all.
fn takes_references(server: &Server, call: &Call, token: Token) -> bool {
    let unheard = ClientFlags::REPLY_OFF
        | ClientFlags::REPLY_SKIP
        | ClientFlags::MASTER
        | ClientFlags::SLAVE
        | ClientFlags::CLOSE_ASAP;
    call.reply.goes_out()
        && !call.reply.is_given_up()
        && server.clients.get(token).is_some_and(|client| !client.is_any(unheard))
}

/// Whether a value is worth [`reply_large_string`].
#[inline]
pub fn is_large(value: &ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Str(string) if string.len() >= LARGE_STRING)
}

/// How much of each of some parts of these lengths is done with when `written` bytes of all are.
fn left_of<const N: usize>(lens: [usize; N], mut written: usize) -> [usize; N] {
    lens.map(|len| {
        let done = written.min(len);
        written -= done;
        done
    })
}

#[cfg(test)]
mod tests {
    use super::left_of;

    #[test]
    fn the_rest_begins_where_writing_stopped() {
        for (written, done) in
            [(0, [0, 0, 0]), (3, [3, 0, 0]), (4, [4, 0, 0]), (6, [4, 2, 0]), (10, [4, 5, 1])]
        {
            assert_eq!(left_of([4, 5, 2], written), done);
        }
    }
}
