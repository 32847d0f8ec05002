//! The bytes of one link: cut into messages as they come, and queued as they go.

use crate::bus::{self, DecodeError, FrameError, Message};
use bytes::Bytes;
use std::collections::VecDeque;

/// What has come and is no whole message yet. It is never larger than what has come, and holds nothing between
/// messages: a large cluster has many links.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// So many of them are messages that have been read.
    read: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.read));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; `None`: more bytes have to come first.
    ///
    /// # Errors
    /// If what has come is none, or is one of more than `most` bytes.
    pub(super) fn next(
        &mut self,
        most: usize,
    ) -> Result<Option<Result<Message, DecodeError>>, FrameError> {
        let rest = &self.bytes[self.read..];
        if rest.is_empty() {
            *self = Inbox::default();
            return Ok(None);
        }
        let Some(length) = bus::frame_length(rest)? else { return Ok(None) };
        if length > most {
            return Err(FrameError);
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.read += length;
        Ok(Some(Message::decode(frame)))
    }

    /// Memory that it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What is to be sent: whole messages, of which the first may have gone in part.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: VecDeque<Bytes>,
    /// Bytes of the first that have gone.
    sent: usize,
    /// Bytes of all of them.
    queued: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, message: Bytes) {
        self.queued += message.len();
        self.messages.push_back(message);
    }

    /// The bytes to send next; empty: there are none.
    pub(super) fn next(&self) -> &[u8] {
        self.messages.front().map_or(&[], |message| &message[self.sent..])
    }

    /// So many of the bytes to send next have gone.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.messages.front().is_some_and(|first| first.len() <= self.sent) {
            self.queued -= self.sent;
            self.messages.pop_front();
            self.sent = 0;
        }
    }

    /// Memory that its messages hold, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.queued + self.messages.len() * size_of::<Bytes>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Body, Header};

    fn message(body: Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        Message::full(Header::default(), body).encode(&mut bytes);
        bytes
    }

    #[test]
    fn messages_are_cut_wherever_their_bytes_are_split() {
        let bytes = [message(Body::AuthRequest), message(Body::AuthAck)].concat();
        for split in [1, 7, 15, 16, 2255, 2256, 2257, 4000, bytes.len()] {
            let mut inbox = Inbox::default();
            let mut kinds = Vec::new();
            for piece in [&bytes[..split], &bytes[split..]] {
                inbox.push(piece);
                while let Some(message) = inbox.next(usize::MAX).unwrap() {
                    kinds.push(message.unwrap().kind().unwrap().name());
                }
            }
            assert_eq!((kinds, inbox.memory()), (vec!["auth-req", "auth-ack"], 0), "{split}");
        }
    }

    #[test]
    fn what_is_announced_takes_no_memory() {
        let mut announced = message(Body::AuthAck);
        announced[13] = 4;
        announced[4..8].copy_from_slice(&(1_u32 << 29).to_be_bytes());
        let mut inbox = Inbox::default();
        inbox.push(&announced);
        assert_eq!(inbox.next(usize::MAX), Ok(None));
        assert!(inbox.memory() < 3 * announced.len());
        assert_eq!(inbox.next(1 << 20), Err(FrameError));
    }

    #[test]
    fn a_queue_goes_in_pieces() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abc"));
        outbox.push(Bytes::from_static(b"de"));
        assert_eq!(outbox.next(), b"abc");
        outbox.advance(2);
        assert_eq!(outbox.next(), b"c");
        outbox.advance(1);
        assert_eq!(outbox.next(), b"de");
        outbox.advance(2);
        assert_eq!((outbox.next(), outbox.memory()), (&b""[..], 0));
    }
}
