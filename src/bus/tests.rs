//! Messages that were written are read; what peers sent is understood; what lies is refused.
//!
//! `vectors/` holds messages as the servers sent them that its files are named after.

use super::*;

fn id(letter: char) -> NodeId {
    letter.to_string().repeat(40).parse().unwrap()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn header() -> Header {
    Header {
        current_epoch: 7,
        config_epoch: 5,
        offset: u64::MAX,
        sender: Some(id('a')),
        slots: SlotSet::from_iter([0, 100, 16383]),
        primary: Some(id('b')),
        ip: "2001:db8::1".into(),
        port: 6379,
        other_port: 6380,
        bus_port: 16379,
        flags: NodeFlags::REPLICA | NodeFlags::MYSELF,
        is_cluster_down: true,
        message_flags: MessageFlags::FORCE_ACK,
    }
}

fn gossip() -> Gossip {
    Gossip {
        node: id('c'),
        ping_sent_s: 1,
        pong_received_s: u32::MAX,
        ip: "10.0.0.1".into(),
        port: 1,
        other_port: 2,
        bus_port: 3,
        flags: NodeFlags::PRIMARY | NodeFlags::PFAIL,
    }
}

fn heartbeat() -> Heartbeat {
    let extensions = Extensions {
        hostname: Some("host.example".into()),
        human_nodename: Some("seven77".into()),
        client_ipv4: Some("10.1.1.1".into()),
        client_ipv6: Some("::1".into()),
        client_tcp_port: Some(7777),
        client_tls_port: Some(7778),
        availability_zone: Some("zone-a".into()),
        forgotten: vec![Forgotten { node: id('d'), ttl_s: 60 }],
        shard_id: Some(id('e')),
    };
    Heartbeat { gossip: vec![gossip(), gossip()], extensions }
}

fn every_message() -> Vec<Message> {
    let publication = |is_sharded| Publication {
        is_sharded,
        channel: b"channel".to_vec(),
        message: b"\0any bytes\r\n".to_vec(),
    };
    let slots = SlotSet::from_iter(5..500);
    let bodies = [
        Body::Ping(heartbeat()),
        Body::Pong(Heartbeat { gossip: vec![gossip()], ..Heartbeat::default() }),
        Body::Meet(Heartbeat::default()),
        Body::Fail(id('f')),
        Body::Publish(publication(false)),
        Body::Publish(publication(true)),
        Body::AuthRequest,
        Body::AuthAck,
        Body::Update { node: id('g'), config_epoch: 9, slots },
        Body::ManualFailoverStart,
        Body::Module,
        Body::Unknown(99),
    ];
    let full = bodies.into_iter().map(|body| {
        let mut header = header();
        header.message_flags.set(MessageFlags::EXTENSIONS, matches!(body, Body::Ping(_)));
        Message::full(header, body)
    });
    full.chain([true, false].map(|sharded| Message::Light(publication(sharded)))).collect()
}

#[test]
fn what_is_written_is_read() {
    for message in every_message() {
        let bytes = encoded(&message);
        assert_eq!(frame_length(&bytes), Ok(Some(bytes.len())), "{message:?}");
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
    }
}

#[test]
fn a_length_is_known_from_16_bytes_on() {
    let bytes = encoded(&every_message()[0]);
    for cut in 0..FRAME_PREFIX_BYTES {
        assert_eq!(frame_length(&bytes[..cut]), Ok(None));
    }
    assert_eq!(frame_length(&bytes[..FRAME_PREFIX_BYTES]), Ok(Some(bytes.len())));
}

#[test]
fn a_length_that_no_message_has_is_refused() {
    let with_length = |message: &Message, length: u32| {
        let mut bytes = encoded(message);
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        frame_length(&bytes)
    };
    for message in every_message() {
        let is_light = matches!(message, Message::Light(_));
        let least = if is_light { LIGHT_HEADER_BYTES } else { HEADER_BYTES };
        for wrong in [0, 15, least as u32 - 1, u32::MAX] {
            assert_eq!(with_length(&message, wrong), Err(FrameError), "{wrong}");
        }
    }
    assert_eq!(frame_length(b"R"), Ok(None));
    assert_eq!(frame_length(b"GET / HTTP/1.1\r\n"), Err(FrameError));
    assert_eq!(frame_length(b"G"), Err(FrameError));
}

#[test]
fn a_message_that_is_cut_or_longer_than_it_says_is_refused() {
    for message in every_message() {
        // Whatever their bytes are.
        if matches!(message, Message::Full { body: Body::Module | Body::Unknown(_), .. }) {
            continue;
        }
        let mut bytes = encoded(&message);
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err(), "{cut} of {message:?}");
        }
        bytes.push(0);
        assert!(Message::decode(&bytes).is_err(), "{message:?}");
    }
}

#[test]
fn counts_and_lengths_that_lie_are_refused() {
    let [ping, publish] = [0, 4].map(|at| encoded(&every_message()[at]));
    let extensions_at = HEADER_BYTES + 2 * GOSSIP_BYTES;
    let cases: [(&[u8], usize, &[u8]); 8] = [
        (&ping, 14, &[0xff, 0xff]),
        (&ping, 14, &[0, 1]),
        (&ping, 2214, &[0xff, 0xff]),
        (&ping, 2214, &[0, 0]),
        (&ping, extensions_at, &[0, 0, 0, 0]),
        (&ping, extensions_at, &[0, 0, 0, 25]),
        (&ping, extensions_at, &[0xff, 0xff, 0xff, 0xf8]),
        (&publish, HEADER_BYTES, &[0xff, 0xff, 0xff, 0xff]),
    ];
    for (message, at, lie) in cases {
        let mut bytes = message.to_vec();
        bytes[at..at + lie.len()].copy_from_slice(lie);
        assert!(Message::decode(&bytes).is_err(), "{lie:?} at {at}");
    }
}

#[test]
fn names_and_addresses_that_would_break_a_line_are_refused() {
    let ping = encoded(&every_message()[0]);
    let gossip_ip = HEADER_BYTES + NODE_ID_BYTES + 8;
    let cases = [(40, b' '), (40, b'A'), (2168, b'\n'), (2128, b'-'), (gossip_ip, b' ')];
    for (at, byte) in cases {
        let mut bytes = ping.clone();
        bytes[at] = byte;
        assert_eq!(Message::decode(&bytes), Err(DecodeError::Text(Kind::Ping)), "{at}");
    }
}

#[test]
fn errors_read_as_in_the_log_of_redis() {
    let mut bytes = encoded(&every_message()[3]);
    bytes.push(0);
    let error = Message::decode(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Received invalid fail packet of length 2297 but expected length 2296"
    );
    bytes[9] = 2;
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Version(2)));
    let mut light = encoded(&every_message()[12]);
    light[13] = 0;
    assert_eq!(Message::decode(&light), Err(DecodeError::Light(0)));
}

#[test]
fn peers_messages_are_understood_and_written_alike() {
    let vectors: [(&[u8], Kind); 6] = [
        (include_bytes!("vectors/redis-7.0-meet.bin"), Kind::Meet),
        (include_bytes!("vectors/redis-7.0-pong.bin"), Kind::Pong),
        (include_bytes!("vectors/redis-7.0-publish.bin"), Kind::Publish),
        (include_bytes!("vectors/redis-7.0-update.bin"), Kind::Update),
        (include_bytes!("vectors/valkey-9.1-pong.bin"), Kind::Pong),
        (include_bytes!("vectors/valkey-9.1-publish.bin"), Kind::Publish),
    ];
    for (bytes, kind) in vectors {
        let message = Message::decode(bytes).unwrap();
        assert_eq!(message.kind(), Some(kind));
        assert_eq!(frame_length(bytes), Ok(Some(bytes.len())));
        assert!(encoded(&message) == bytes, "{message:?}");
    }
}

#[test]
fn the_secret_of_redis_8_is_not_taken_for_an_address() {
    let message = Message::decode(include_bytes!("vectors/redis-8.2-pong.bin")).unwrap();
    let Message::Full { header, body: Body::Pong(Heartbeat { gossip, extensions }) } = message
    else {
        panic!("{message:?}");
    };
    assert_eq!((header.ip.as_str(), header.port, header.bus_port), ("10.0.0.9", 23891, 33891));
    assert_eq!(header.slots.ranges(), [0..=8191]);
    assert_eq!((header.current_epoch, header.config_epoch), (9, 1));
    assert_eq!(header.flags, NodeFlags::PRIMARY | NodeFlags::MYSELF);
    assert_eq!((gossip.len(), gossip[0].ip.as_str(), gossip[0].port), (1, "127.0.0.1", 13632));
    assert_eq!(gossip[0].flags, NodeFlags::PRIMARY | NodeFlags::EXTENSIONS);
    assert_eq!(
        extensions.shard_id.map(|id| id.to_string()).as_deref(),
        Some("5e24d95c84f7426fe75e224dbaebf27da3805ea5")
    );
    assert_eq!((extensions.client_ipv4, extensions.hostname), (None, None));
}
