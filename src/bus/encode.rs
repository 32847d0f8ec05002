//! Messages as bytes.

use super::{
    Body, EXTENSION_HEADER_BYTES, Extensions, Gossip, HEADER_BYTES, Header, Heartbeat, IP_BYTES,
    LIGHT, Message, MessageFlags, NODE_ID_BYTES, NodeId, Publication, SIGNATURE, VERSION,
    extension,
};

/// An extension begins and ends at a multiple of this.
const EXTENSION_ALIGNMENT: usize = 8;

impl Message {
    /// Appends the message's bytes.
    ///
    /// Of an address, the part that fits into its 46 bytes is sent, and of gossip and of extensions the first 65535.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Message::Full { header, body } => full(header, body, out),
            Message::Light(publication) => {
                prefix(publication.kind() as u16 | LIGHT, 0, 0, out);
                publish(publication, out);
            }
        }
        let length = (out.len() - start) as u32;
        out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    }
}

fn full(header: &Header, body: &Body, out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES);
    let none = Heartbeat::default();
    let (kind, heartbeat) = match body {
        Body::Ping(heartbeat) | Body::Pong(heartbeat) | Body::Meet(heartbeat) => {
            (body.kind().map_or(0, |kind| kind as u16), heartbeat)
        }
        Body::Unknown(kind) => (*kind, &none),
        _ => (body.kind().map_or(0, |kind| kind as u16), &none),
    };
    let gossip = &heartbeat.gossip[..heartbeat.gossip.len().min(u16::MAX.into())];
    prefix(kind, header.port, gossip.len() as u16, out);
    for number in [header.current_epoch, header.config_epoch, header.offset] {
        out.extend(number.to_be_bytes());
    }
    out.extend(header.sender.unwrap_or(NodeId::NONE).as_bytes());
    header.slots.write_bytes(out);
    out.extend(header.primary.unwrap_or(NodeId::NONE).as_bytes());
    padded(&header.ip, IP_BYTES, out);
    let extensions_at = out.len();
    out.extend([0; 2 + 30]);
    for number in [header.other_port, header.bus_port, header.flags.bits()] {
        out.extend(number.to_be_bytes());
    }
    let flags_at = out.len() + 1;
    out.extend([u8::from(header.is_cluster_down), header.message_flags.bits(), 0, 0]);

    gossip.iter().for_each(|entry| gossip_entry(entry, out));
    let extensions = write_extensions(&heartbeat.extensions, out);
    if extensions > 0 {
        out[extensions_at..extensions_at + 2].copy_from_slice(&extensions.to_be_bytes());
        out[flags_at] |= MessageFlags::EXTENSIONS.bits();
    }
    match body {
        Body::Fail(node) => out.extend(node.as_bytes()),
        Body::Publish(publication) => publish(publication, out),
        Body::Update { node, config_epoch, slots } => {
            out.extend(config_epoch.to_be_bytes());
            out.extend(node.as_bytes());
            slots.write_bytes(out);
        }
        _ => {}
    }
}

/// The first 16 bytes, which all headers have; the length is known later.
fn prefix(kind: u16, port: u16, gossip_entries: u16, out: &mut Vec<u8>) {
    out.extend(SIGNATURE);
    out.extend([0; 4]);
    for number in [VERSION, port, kind, gossip_entries] {
        out.extend(number.to_be_bytes());
    }
}

/// A text with zeros behind it, at least one.
fn padded(text: &str, width: usize, out: &mut Vec<u8>) {
    let text = &text.as_bytes()[..text.len().min(width - 1)];
    out.extend(text);
    out.resize(out.len() + width - text.len(), 0);
}

fn gossip_entry(entry: &Gossip, out: &mut Vec<u8>) {
    out.extend(entry.node.as_bytes());
    out.extend(entry.ping_sent_s.to_be_bytes());
    out.extend(entry.pong_received_s.to_be_bytes());
    padded(&entry.ip, IP_BYTES, out);
    for number in [entry.port, entry.bus_port, entry.flags.bits(), entry.other_port, 0] {
        out.extend(number.to_be_bytes());
    }
}

fn publish(publication: &Publication, out: &mut Vec<u8>) {
    let Publication { channel, message, .. } = publication;
    out.extend((channel.len() as u32).to_be_bytes());
    out.extend((message.len() as u32).to_be_bytes());
    out.extend(channel);
    out.extend(message);
}

/// Appends the extensions; returns how many these are.
fn write_extensions(extensions: &Extensions, out: &mut Vec<u8>) -> u16 {
    let mut count = 0;
    let texts = [
        (extension::HOSTNAME, &extensions.hostname),
        (extension::HUMAN_NODENAME, &extensions.human_nodename),
        (extension::CLIENT_IPV4, &extensions.client_ipv4),
        (extension::CLIENT_IPV6, &extensions.client_ipv6),
        (extension::AVAILABILITY_ZONE, &extensions.availability_zone),
    ];
    for (kind, text) in texts {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            let width = (text.len() + 1).next_multiple_of(EXTENSION_ALIGNMENT);
            extension_header(kind, width, out);
            padded(text, width, out);
            count += 1;
        }
    }
    let ports = [
        (extension::CLIENT_TCP_PORT, extensions.client_tcp_port),
        (extension::CLIENT_TLS_PORT, extensions.client_tls_port),
    ];
    for (kind, port) in ports {
        if let Some(port) = port.filter(|&port| port != 0) {
            extension_header(kind, EXTENSION_ALIGNMENT, out);
            out.extend(port.to_be_bytes());
            out.resize(out.len() + EXTENSION_ALIGNMENT - size_of::<u16>(), 0);
            count += 1;
        }
    }
    for forgotten in extensions.forgotten.iter().take((u16::MAX - count - 1).into()) {
        extension_header(extension::FORGOTTEN_NODE, NODE_ID_BYTES + 8, out);
        out.extend(forgotten.node.as_bytes());
        out.extend(forgotten.ttl_s.to_be_bytes());
        count += 1;
    }
    if let Some(id) = extensions.shard_id {
        extension_header(extension::SHARD_ID, NODE_ID_BYTES, out);
        out.extend(id.as_bytes());
        count += 1;
    }
    count
}

fn extension_header(kind: u16, content_bytes: usize, out: &mut Vec<u8>) {
    out.extend(((EXTENSION_HEADER_BYTES + content_bytes) as u32).to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend([0; 2]);
}
