//! Messages from bytes, of which nothing is believed that they do not hold.
//!
//! [`frame_length`] is what the bytes of a link are cut by: if it fails, nothing behind can be understood, and the link
//! is of no use. A message that [`Message::decode`] refuses can be skipped.

use super::{
    Body, EXTENSION_HEADER_BYTES, Extensions, Forgotten, GOSSIP_BYTES, Gossip, HEADER_BYTES,
    Header, Heartbeat, IP_BYTES, Kind, LIGHT, LIGHT_HEADER_BYTES, Message, MessageFlags,
    NODE_ID_BYTES, NodeFlags, NodeId, NotANodeId, Publication, SIGNATURE, UPDATE_BYTES, VERSION,
    extension,
};
use crate::util::c_string;
use crate::util::slot_set::SlotSet;
use std::fmt;

/// Bytes from which a message's length is known.
pub const FRAME_PREFIX_BYTES: usize = LIGHT_HEADER_BYTES;
/// The longest message of a kind that carries what a client sent: a channel and a message of 512 MB.
const MOST_BYTES: usize = (1 << 30) + HEADER_BYTES + 8;
/// The longest of another kind. 65535 entries of gossip fit.
const MOST_BYTES_OF_NODES: usize = 16 << 20;

/// The bytes of a link can't be understood any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError;

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bad message length or signature received")
    }
}

impl std::error::Error for FrameError {}

/// A message that can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Of another version of the bus.
    Version(u16),
    /// Its length is not what its content would have.
    Length { kind: Kind, length: usize, expected: usize },
    /// An extension whose length is no multiple of 8.
    Padding { kind: Kind, length: usize },
    /// An extension that ends behind the message.
    Extension { kind: Kind, length: usize },
    /// A light header where there can't be one.
    Light(u16),
    /// A name or an address that is none.
    Text(Kind),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version(version) => {
                write!(f, "Received a packet of version {version}, which is not supported")
            }
            Self::Length { kind, length, expected } => {
                let kind = kind.name();
                write!(
                    f,
                    "Received invalid {kind} packet of length {length} but expected length {expected}"
                )
            }
            Self::Padding { kind, length } => {
                let kind = kind.name();
                write!(f, "Received a {kind} packet without proper padding ({length} bytes)")
            }
            Self::Extension { kind, length } => {
                let kind = kind.name();
                write!(
                    f,
                    "Received invalid {kind} packet with extension data that exceeds \
                     total packet length ({length})"
                )
            }
            Self::Light(kind) => {
                let name = Kind::from_number(kind).map_or("unknown", Kind::name);
                write!(
                    f,
                    "Packet of type '{name}' ({kind}) does not support light cluster header. \
                     Marking packet as invalid."
                )
            }
            Self::Text(kind) => {
                write!(
                    f,
                    "Received invalid {} packet with a malformed name or address",
                    kind.name()
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// How long the message is that begins with these bytes; `None`: more of it have to come first.
///
/// # Errors
/// If no message begins so, or it would be longer than one of its kind can be.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(FrameError);
    }
    let mut reader = Reader { rest: bytes };
    let mut prefix = || {
        reader.take::<4>()?;
        let length = reader.u32()?;
        reader.take::<4>()?;
        Some((length, reader.u16()?, reader.u16()?))
    };
    let Some((length, kind, _)) = prefix() else { return Ok(None) };
    let least = if kind & LIGHT == 0 { HEADER_BYTES } else { LIGHT_HEADER_BYTES };
    let most = match Kind::from_number(kind & !LIGHT) {
        Some(Kind::Publish | Kind::PublishShard | Kind::Module) => MOST_BYTES,
        _ => MOST_BYTES_OF_NODES,
    };
    let length = length as usize;
    if (least..=most).contains(&length) { Ok(Some(length)) } else { Err(FrameError) }
}

impl Message {
    /// Reads the message that these bytes are, no more and no fewer, cut as [`frame_length`] says.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
        let mut reader = Reader { rest: bytes };
        let too_short =
            DecodeError::Length { kind: Kind::Ping, length: bytes.len(), expected: HEADER_BYTES };
        let prefix = Prefix::read(&mut reader).ok_or(too_short)?;
        if prefix.version != VERSION {
            return Err(DecodeError::Version(prefix.version));
        }
        let number = prefix.kind & !LIGHT;
        let kind = Kind::from_number(number);
        let decoder = Decoder { kind: kind.unwrap_or(Kind::Module), length: bytes.len() };
        if prefix.kind & LIGHT == 0 {
            let (header, extensions) =
                decoder.header(prefix.port, &mut reader)?.ok_or(too_short)?;
            let body = match kind {
                Some(_) => {
                    let has_extensions = header.message_flags.contains(MessageFlags::EXTENSIONS);
                    let extensions = if has_extensions { extensions } else { 0 };
                    decoder.body(prefix.gossip_entries, extensions, &mut reader)?
                }
                None => Body::Unknown(number),
            };
            return Ok(Message::full(header, body));
        }
        match kind {
            Some(Kind::Publish | Kind::PublishShard) => {
                decoder.publication(&mut reader).map(Message::Light)
            }
            _ => Err(DecodeError::Light(number)),
        }
    }
}

/// The first 16 bytes.
struct Prefix {
    version: u16,
    port: u16,
    kind: u16,
    gossip_entries: u16,
}

impl Prefix {
    fn read(reader: &mut Reader) -> Option<Prefix> {
        reader.take::<8>()?;
        Some(Prefix {
            version: reader.u16()?,
            port: reader.u16()?,
            kind: reader.u16()?,
            gossip_entries: reader.u16()?,
        })
    }
}

/// What errors tell of the message that is read.
#[derive(Clone, Copy)]
struct Decoder {
    kind: Kind,
    length: usize,
}

impl Decoder {
    fn id(self, bytes: [u8; NODE_ID_BYTES]) -> Result<Option<NodeId>, DecodeError> {
        NodeId::from_wire(bytes).map_err(|NotANodeId| DecodeError::Text(self.kind))
    }

    fn node(self, bytes: [u8; NODE_ID_BYTES]) -> Result<NodeId, DecodeError> {
        self.id(bytes)?.ok_or(DecodeError::Text(self.kind))
    }

    /// An address or a name, up to its zero. What is kept of it is shown to clients and written to files by the line.
    fn text(self, bytes: &[u8]) -> Result<String, DecodeError> {
        let text = c_string(bytes);
        let is_plain = |&byte: &u8| byte.is_ascii_graphic() && !b"\",=@".contains(&byte);
        match text.iter().all(is_plain) {
            true => Ok(String::from_utf8_lossy(text).into_owned()),
            false => Err(DecodeError::Text(self.kind)),
        }
    }

    /// The header behind its prefix, and how many extensions it tells of; `None`: it is cut off.
    fn header(self, port: u16, reader: &mut Reader) -> Result<Option<(Header, u16)>, DecodeError> {
        let Some(fields) = HeaderFields::read(reader) else { return Ok(None) };
        let header = Header {
            current_epoch: fields.current_epoch,
            config_epoch: fields.config_epoch,
            offset: fields.offset,
            sender: self.id(fields.sender)?,
            slots: fields.slots,
            primary: self.id(fields.primary)?,
            ip: self.text(&fields.ip)?,
            port,
            other_port: fields.other_port,
            bus_port: fields.bus_port,
            flags: NodeFlags::from_bits_retain(fields.flags),
            is_cluster_down: fields.state != 0,
            message_flags: MessageFlags::from_bits_retain(fields.message_flags),
        };
        Ok(Some((header, fields.extensions)))
    }

    fn body(
        self,
        gossip_entries: u16,
        extensions: u16,
        reader: &mut Reader,
    ) -> Result<Body, DecodeError> {
        let expect = |content: usize| match self.length == HEADER_BYTES + content {
            true => Ok(()),
            false => Err(self.wrong_length(HEADER_BYTES + content)),
        };
        Ok(match self.kind {
            Kind::Ping => Body::Ping(self.heartbeat(gossip_entries, extensions, reader)?),
            Kind::Pong => Body::Pong(self.heartbeat(gossip_entries, extensions, reader)?),
            Kind::Meet => Body::Meet(self.heartbeat(gossip_entries, extensions, reader)?),
            Kind::Fail => {
                expect(NODE_ID_BYTES)?;
                Body::Fail(self.node(self.read(reader)?)?)
            }
            Kind::Publish | Kind::PublishShard => Body::Publish(self.publication(reader)?),
            Kind::AuthRequest => expect(0).map(|()| Body::AuthRequest)?,
            Kind::AuthAck => expect(0).map(|()| Body::AuthAck)?,
            Kind::ManualFailoverStart => expect(0).map(|()| Body::ManualFailoverStart)?,
            Kind::Update => {
                expect(UPDATE_BYTES)?;
                let config_epoch = u64::from_be_bytes(self.read(reader)?);
                let node = self.node(self.read(reader)?)?;
                Body::Update { node, config_epoch, slots: SlotSet::from_bytes(&self.read(reader)?) }
            }
            Kind::Module => Body::Module,
        })
    }

    fn heartbeat(
        self,
        gossip_entries: u16,
        extensions: u16,
        reader: &mut Reader,
    ) -> Result<Heartbeat, DecodeError> {
        let expected = HEADER_BYTES + usize::from(gossip_entries) * GOSSIP_BYTES;
        if self.length < expected || extensions == 0 && self.length > expected {
            return Err(self.wrong_length(expected));
        }
        let gossip = (0..gossip_entries).map(|_| self.gossip(reader)).collect::<Result<_, _>>()?;
        let extensions = self.extensions(extensions, reader)?;
        match reader.rest.len() {
            0 => Ok(Heartbeat { gossip, extensions }),
            behind => Err(self.wrong_length(self.length - behind)),
        }
    }

    fn gossip(self, reader: &mut Reader) -> Result<Gossip, DecodeError> {
        let node = self.node(self.read(reader)?)?;
        let ping_sent_s = u32::from_be_bytes(self.read(reader)?);
        let pong_received_s = u32::from_be_bytes(self.read(reader)?);
        let ip = self.text(&self.read::<IP_BYTES>(reader)?)?;
        let mut number = || self.read(reader).map(u16::from_be_bytes);
        let (port, bus_port, flags, other_port) = (number()?, number()?, number()?, number()?);
        let _unused = number()?;
        let flags = NodeFlags::from_bits_retain(flags);
        Ok(Gossip { node, ping_sent_s, pong_received_s, ip, port, other_port, bus_port, flags })
    }

    fn extensions(self, count: u16, reader: &mut Reader) -> Result<Extensions, DecodeError> {
        let mut extensions = Extensions::default();
        for _ in 0..count {
            let beyond = DecodeError::Extension { kind: self.kind, length: self.length };
            let length = reader.u32().ok_or(beyond)? as usize;
            let number = reader.u16().ok_or(beyond)?;
            reader.u16().ok_or(beyond)?;
            if !length.is_multiple_of(8) {
                return Err(DecodeError::Padding { kind: self.kind, length });
            }
            let content = length.checked_sub(EXTENSION_HEADER_BYTES).ok_or(beyond)?;
            self.extension(number, reader.slice(content).ok_or(beyond)?, &mut extensions)?;
        }
        Ok(extensions)
    }

    fn extension(
        self,
        number: u16,
        content: &[u8],
        extensions: &mut Extensions,
    ) -> Result<(), DecodeError> {
        let Extensions { hostname, human_nodename, availability_zone, client_ipv6, .. } =
            extensions;
        let text = match number {
            extension::HOSTNAME => hostname,
            extension::HUMAN_NODENAME => human_nodename,
            extension::CLIENT_IPV6 => client_ipv6,
            extension::AVAILABILITY_ZONE => availability_zone,
            extension::CLIENT_IPV4 => {
                // What is no such address is the secret of Redis 8.
                let ip = self.text(content)?;
                extensions.client_ipv4 = Some(ip).filter(|ip| is_ipv4(ip));
                return Ok(());
            }
            extension::CLIENT_TCP_PORT => {
                extensions.client_tcp_port = self.port(content)?;
                return Ok(());
            }
            extension::CLIENT_TLS_PORT => {
                extensions.client_tls_port = self.port(content)?;
                return Ok(());
            }
            extension::FORGOTTEN_NODE => {
                let mut reader = Reader { rest: content };
                let node = self.node(self.read(&mut reader)?)?;
                let ttl_s = u64::from_be_bytes(self.read(&mut reader)?);
                extensions.forgotten.push(Forgotten { node, ttl_s });
                return Ok(());
            }
            extension::SHARD_ID => {
                extensions.shard_id = Some(self.node(self.read(&mut Reader { rest: content })?)?);
                return Ok(());
            }
            _ => return Ok(()),
        };
        *text = Some(self.text(content)?).filter(|text| !text.is_empty());
        Ok(())
    }

    /// A port at the beginning of an extension; `None`: none is announced.
    fn port(self, content: &[u8]) -> Result<Option<u16>, DecodeError> {
        let port = u16::from_be_bytes(self.read(&mut Reader { rest: content })?);
        Ok(Some(port).filter(|&port| port != 0))
    }

    fn publication(self, reader: &mut Reader) -> Result<Publication, DecodeError> {
        let before = self.length - reader.rest.len() + 8;
        let lengths = reader.u32().zip(reader.u32());
        let (channel, message) = lengths.ok_or(self.wrong_length(before))?;
        let (channel, message) = (channel as usize, message as usize);
        if reader.rest.len() != channel + message {
            return Err(self.wrong_length(before + channel + message));
        }
        let (channel, message) = reader.rest.split_at(channel);
        Ok(Publication {
            is_sharded: self.kind == Kind::PublishShard,
            channel: channel.to_vec(),
            message: message.to_vec(),
        })
    }

    fn wrong_length(self, expected: usize) -> DecodeError {
        DecodeError::Length { kind: self.kind, length: self.length, expected }
    }

    fn read<const N: usize>(self, reader: &mut Reader) -> Result<[u8; N], DecodeError> {
        let missing = N.saturating_sub(reader.rest.len());
        reader.take().ok_or(self.wrong_length(self.length + missing))
    }
}

fn is_ipv4(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok()
}

/// The fields of a header behind its prefix, as they lie.
struct HeaderFields {
    current_epoch: u64,
    config_epoch: u64,
    offset: u64,
    sender: [u8; NODE_ID_BYTES],
    slots: SlotSet,
    primary: [u8; NODE_ID_BYTES],
    ip: [u8; IP_BYTES],
    extensions: u16,
    other_port: u16,
    bus_port: u16,
    flags: u16,
    state: u8,
    message_flags: u8,
}

impl HeaderFields {
    fn read(reader: &mut Reader) -> Option<HeaderFields> {
        let current_epoch = reader.u64()?;
        let config_epoch = reader.u64()?;
        let offset = reader.u64()?;
        let sender = reader.take()?;
        let slots = SlotSet::from_bytes(&reader.take()?);
        let primary = reader.take()?;
        let ip = reader.take()?;
        let extensions = reader.u16()?;
        reader.take::<30>()?;
        let (other_port, bus_port, flags) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let [state, message_flags, _, _] = reader.take()?;
        Some(HeaderFields {
            current_epoch,
            config_epoch,
            offset,
            sender,
            slots,
            primary,
            ip,
            extensions,
            other_port,
            bus_port,
            flags,
            state,
            message_flags,
        })
    }
}

/// Takes from the front of bytes what they hold.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}
