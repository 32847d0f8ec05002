//! The other side of replication, played by the test: a replica for a primary under test, a primary for a replica.

use super::raw::{PATIENCE, Raw, encoded, wait_for};
use super::server::Server;
use std::io::ErrorKind;
use std::net::TcpListener;

/// A snapshot without keys, as Redis 7.2 writes it.
pub const EMPTY_RDB: &[u8] = b"REDIS0011\xfa\x09redis-ver\x057.2.0\xfa\x0aredis-bits\xc0\x40\xfa\x05ctime\xc2\
\x6d\x08\xbc\x65\xfa\x08used-mem\xc2\xb0\xc4\x10\x00\xfa\x08aof-base\xc0\x00\xff\xf0\x6e\x3b\xfe\xc0\xff\x5a\xa2";

/// A history that no server has made.
pub const HISTORY: &str = "75cd7bc10c49047e0d163660f3b90625b1af31dc";

/// A snapshot (version 9, no checksum) with these strings in database 0; a time is in milliseconds since 1970.
pub fn snapshot(entries: &[(&str, &str, Option<u64>)]) -> Vec<u8> {
    let string = |out: &mut Vec<u8>, text: &str| {
        out.push(u8::try_from(text.len()).ok().filter(|n| *n < 64).expect("a short string"));
        out.extend_from_slice(text.as_bytes());
    };
    let mut out = b"REDIS0009\xfe\x00".to_vec();
    for (key, value, expires) in entries {
        if let Some(at) = expires {
            out.push(0xfc);
            out.extend_from_slice(&at.to_le_bytes());
        }
        out.push(0);
        string(&mut out, key);
        string(&mut out, value);
    }
    out.push(0xff);
    out.extend_from_slice(&[0; 8]);
    out
}

/// Reads a command that the other side sends; empty lines before it are skipped.
pub fn read_command(raw: &mut Raw) -> Vec<String> {
    let mut line = raw.line();
    while line.is_empty() {
        line = raw.line();
    }
    let count = |line: &str, kind: char| -> usize {
        line.strip_prefix(kind)
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("no command: {line:?}"))
    };
    (0..count(&line, '*'))
        .map(|_| {
            let len = count(&raw.line(), '$');
            let mut bytes = raw.read(len + 2);
            bytes.truncate(len);
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect()
}

/// A replica that has been given a snapshot.
pub struct FakeReplica {
    pub raw: Raw,
    /// The primary's history, and the offset up to which the stream has been read.
    pub id: String,
    pub offset: u64,
    /// What the snapshot's length or mark was announced with.
    pub head: String,
    pub rdb: Vec<u8>,
}

impl FakeReplica {
    /// Connects, says what it can do, and takes a snapshot.
    pub fn sync(server: &Server, capabilities: &[&str]) -> FakeReplica {
        let mut raw = server.raw();
        for capability in capabilities {
            raw.command(&["REPLCONF", "capa", capability]);
            raw.expect("+OK\r\n");
        }
        raw.command(&["PSYNC", "?", "-1"]);
        FakeReplica::take_snapshot(raw)
    }

    /// Reads the answer to `PSYNC`, and the snapshot.
    pub fn take_snapshot(mut raw: Raw) -> FakeReplica {
        let answer = line_after_newlines(&mut raw);
        let words: Vec<&str> = answer.split(' ').collect();
        let [kind, id, offset] = words[..] else { panic!("no resynchronisation: {answer}") };
        assert_eq!((kind, id.len()), ("+FULLRESYNC", 40));
        let offset = offset.parse().expect("an offset");
        let head = line_after_newlines(&mut raw);
        let rdb = match head.strip_prefix("$EOF:") {
            Some(mark) => {
                let mut rdb = Vec::new();
                while !rdb.ends_with(mark.as_bytes()) {
                    rdb.extend(raw.read(1));
                }
                rdb.truncate(rdb.len() - mark.len());
                rdb
            }
            None => raw.read(head[1..].parse().expect("a length")),
        };
        assert!(rdb.starts_with(b"REDIS00"), "a snapshot");
        FakeReplica { raw, id: id.to_string(), offset, head, rdb }
    }

    /// The next command of the stream, but for the primary's pings.
    pub fn next(&mut self) -> Vec<String> {
        loop {
            let command = read_command(&mut self.raw);
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            self.offset += encoded(&words).len() as u64;
            if words != ["PING"] {
                return command;
            }
        }
    }

    /// The next commands of the stream must be these, each given as words joined by spaces; a word `*` stands for any.
    pub fn expect(&mut self, commands: &[&str]) {
        for wanted in commands {
            let got = self.next().join(" ");
            let (words, wanted_words): (Vec<_>, Vec<_>) =
                (got.split(' ').collect(), wanted.split(' ').collect());
            let same = words.len() == wanted_words.len()
                && words.iter().zip(&wanted_words).all(|(word, w)| *w == "*" || word == w);
            assert!(same, "{got:?} was propagated, not {wanted:?}");
        }
    }

    /// Says how far it has got.
    pub fn acknowledge(&mut self) {
        let offset = self.offset.to_string();
        self.raw.command(&["REPLCONF", "ACK", &offset]);
    }
}

/// A line; a primary at work sends empty ones before it.
pub fn line_after_newlines(raw: &mut Raw) -> String {
    loop {
        let line = raw.line();
        if !line.is_empty() {
            return line;
        }
    }
}

/// A primary that waits for a replica.
pub struct FakePrimary {
    listener: TcpListener,
    pub port: u16,
}

impl FakePrimary {
    pub fn new() -> FakePrimary {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("an option of a socket");
        let port = listener.local_addr().expect("an address").port();
        FakePrimary { listener, port }
    }

    /// Starts a server that follows this primary.
    pub fn start_replica(&self, options: &[&str]) -> Server {
        let address = format!("127.0.0.1 {}", self.port);
        Server::start(&[&["--replicaof", &address], options].concat())
    }

    /// The replica's next connection.
    pub fn accept(&self) -> Raw {
        let stream = wait_for("the replica to connect", || match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        });
        stream.set_nonblocking(false).expect("an option of a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Raw::new(stream)
    }

    /// Shakes hands with the replica up to its `PSYNC`; what it asked for.
    pub fn handshake(&self) -> (Raw, Vec<String>) {
        let mut raw = self.accept();
        loop {
            let command = read_command(&mut raw);
            match command[0].as_str() {
                "PING" => raw.send("+PONG\r\n"),
                "PSYNC" => return (raw, command),
                _ => raw.send("+OK\r\n"),
            }
        }
    }

    /// Shakes hands, and sends a snapshot of a history that is at this offset.
    pub fn full_sync(&self, offset: u64, rdb: &[u8]) -> Raw {
        let (mut raw, _) = self.handshake();
        raw.send(format!("+FULLRESYNC {HISTORY} {offset}\r\n${}\r\n", rdb.len()));
        raw.send(rdb);
        raw
    }
}

/// Asks a replica how far it is, and waits for the answer to this question.
pub fn acknowledged(raw: &mut Raw, expected: u64) {
    raw.command(&["REPLCONF", "GETACK", "*"]);
    let expected = expected.to_string();
    loop {
        // Others come by themselves, once a second.
        let command = read_command(raw);
        assert_eq!(command[..2], ["REPLCONF", "ACK"]);
        if command[2] == expected {
            return;
        }
        let (got, wanted): (u64, u64) =
            (command[2].parse().expect("an offset"), expected.parse().expect("one"));
        assert!(got < wanted, "{got} acknowledged, not {wanted}");
    }
}
