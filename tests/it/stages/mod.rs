//! The dialogues of the public "build your own Redis" stages, byte by byte: base, RDB files and replication here, data
//! types, transactions and pub/sub in files of their own.

mod entry;
mod geospatial;
mod lists;
mod pubsub;
mod sorted_sets;
mod streams;
mod transactions;

use crate::harness::replication::{
    EMPTY_RDB, FakePrimary, HISTORY, acknowledged, read_command, snapshot,
};
use crate::harness::{Raw, Server, encoded};

/// Sends a command and expects this reply, and nothing behind it for the moment.
fn ask(raw: &mut Raw, args: &[&str], reply: &str) {
    raw.command(args);
    raw.expect(reply);
}

/// Sends commands given as lines, whose words are their arguments, one after the other; each must get its reply.
fn talk(raw: &mut Raw, table: &[(&str, &str)]) {
    for (line, reply) in table {
        ask(raw, &line.split(' ').collect::<Vec<_>>(), reply);
    }
}

/// An array of bulk strings, as it is sent.
fn bulks(words: &[&str]) -> String {
    String::from_utf8(encoded(words)).expect("words")
}

mod base {
    use super::*;

    #[test]
    fn bind_to_a_port_and_respond_to_ping() {
        let server = Server::start(&[]);
        ask(&mut server.raw(), &["ping"], "+PONG\r\n");
    }

    #[test]
    fn respond_to_multiple_pings() {
        let server = Server::start(&[]);
        let mut raw = server.raw();
        for _ in 0..3 {
            ask(&mut raw, &["ping"], "+PONG\r\n");
        }
        // All at once is no different.
        raw.send(encoded(&["PING"]).repeat(3));
        raw.expect("+PONG\r\n+PONG\r\n+PONG\r\n");
    }

    #[test]
    fn handle_concurrent_clients() {
        let server = Server::start(&[]);
        let mut first = server.raw();
        ask(&mut first, &["ping"], "+PONG\r\n");
        let mut second = server.raw();
        for raw in [&mut second, &mut first] {
            ask(raw, &["ping"], "+PONG\r\n");
        }
        ask(&mut first, &["ping"], "+PONG\r\n");
        drop(first);
        let mut third = server.raw();
        for raw in [&mut second, &mut third] {
            ask(raw, &["ping"], "+PONG\r\n");
        }
    }

    #[test]
    fn implement_echo() {
        let server = Server::start(&[]);
        ask(&mut server.raw(), &["echo", "pineapple"], "$9\r\npineapple\r\n");
    }

    #[test]
    fn implement_set_and_get() {
        let server = Server::start(&[]);
        let mut raw = server.raw();
        ask(&mut raw, &["set", "apple", "pear"], "+OK\r\n");
        ask(&mut raw, &["get", "apple"], "$4\r\npear\r\n");
    }

    #[test]
    fn expiry() {
        let mut server = Server::start(&[]);
        let mut raw = server.raw();
        ask(&mut raw, &["set", "apple", "pear", "PX", "100000"], "+OK\r\n");
        ask(&mut raw, &["get", "apple"], "$4\r\npear\r\n");
        ask(&mut raw, &["set", "apple", "pear", "PX", "100"], "+OK\r\n");
        server.pass(101);
        ask(&mut raw, &["get", "apple"], "$-1\r\n");
    }
}

mod rdb {
    use super::*;

    /// A server in a directory with this file.
    fn serve(name: &str, entries: &[(&str, &str, Option<u64>)]) -> Server {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(name), snapshot(entries)).expect("the file");
        Server::start_in(dir, &["--dbfilename", name])
    }

    #[test]
    fn rdb_file_config() {
        let server = Server::start(&["--dbfilename", "pear.rdb"]);
        let dir = server.dir().display().to_string();
        let mut raw = server.raw();
        ask(
            &mut raw,
            &["CONFIG", "GET", "dir"],
            &format!("*2\r\n$3\r\ndir\r\n${}\r\n{dir}\r\n", dir.len()),
        );
        ask(
            &mut raw,
            &["CONFIG", "GET", "dbfilename"],
            "*2\r\n$10\r\ndbfilename\r\n$8\r\npear.rdb\r\n",
        );
    }

    #[test]
    fn read_a_key() {
        let server = serve("apple.rdb", &[("mango", "grape", None)]);
        ask(&mut server.raw(), &["KEYS", "*"], "*1\r\n$5\r\nmango\r\n");
    }

    #[test]
    fn read_a_string_value() {
        let server = serve("apple.rdb", &[("mango", "grape", None)]);
        ask(&mut server.raw(), &["GET", "mango"], "$5\r\ngrape\r\n");
    }

    #[test]
    fn read_multiple_keys() {
        let server =
            serve("apple.rdb", &[("mango", "1", None), ("grape", "2", None), ("pear", "3", None)]);
        let mut raw = server.raw();
        raw.command(&["KEYS", "*"]);
        let mut keys = read_command(&mut raw);
        keys.sort();
        assert_eq!(keys, ["grape", "mango", "pear"]);
    }

    #[test]
    fn read_multiple_string_values() {
        let server = serve("apple.rdb", &[("mango", "grape", None), ("pear", "banana", None)]);
        let mut raw = server.raw();
        ask(&mut raw, &["GET", "pear"], "$6\r\nbanana\r\n");
        ask(&mut raw, &["GET", "mango"], "$5\r\ngrape\r\n");
    }

    #[test]
    fn read_value_with_expiry() {
        let (y2022, y2032) = (1_640_995_200_000, 1_956_528_000_000);
        let server =
            serve("apple.rdb", &[("old", "grape", Some(y2022)), ("young", "banana", Some(y2032))]);
        let mut raw = server.raw();
        ask(&mut raw, &["GET", "old"], "$-1\r\n");
        ask(&mut raw, &["GET", "young"], "$6\r\nbanana\r\n");
        ask(&mut raw, &["KEYS", "*"], "*1\r\n$5\r\nyoung\r\n");
    }
}

mod primary {
    use super::*;

    fn info(server: &Server) -> String {
        let mut raw = server.raw();
        raw.command(&["INFO", "replication"]);
        let len = raw.line().trim_start_matches('$').parse().expect("a bulk string");
        String::from_utf8(raw.read(len)).expect("text")
    }

    /// Shakes hands as a replica that knows `psync2` only, and reads the snapshot.
    fn follow(server: &Server) -> Raw {
        let mut raw = server.raw();
        ask(&mut raw, &["PING"], "+PONG\r\n");
        ask(&mut raw, &["REPLCONF", "listening-port", "6380"], "+OK\r\n");
        ask(&mut raw, &["REPLCONF", "capa", "psync2"], "+OK\r\n");
        raw.command(&["PSYNC", "?", "-1"]);
        let answer = raw.line();
        let id = answer
            .strip_prefix("+FULLRESYNC ")
            .and_then(|rest| rest.strip_suffix(" 0"))
            .expect("offset 0");
        assert!(id.len() == 40 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        let len = raw.line().strip_prefix('$').and_then(|n| n.parse().ok()).expect("a length");
        let rdb = raw.read(len);
        assert!(rdb.starts_with(b"REDIS00"), "a snapshot");
        raw
    }

    #[test]
    fn info_on_a_primary() {
        let info = info(&Server::start(&[]));
        let id = info.lines().find_map(|l| l.strip_prefix("master_replid:")).expect("an id");
        assert!(id.len() == 40 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        for line in ["role:master", "master_repl_offset:0"] {
            assert!(info.lines().any(|l| l == line), "{info}");
        }
    }

    #[test]
    fn empty_rdb_transfer() {
        let server = Server::start(&[]);
        let mut replica = follow(&server);
        assert!(server.is_silent_to(&mut replica), "nothing to propagate yet");
    }

    #[test]
    fn propagation_to_several_replicas() {
        let server = Server::start(&[]);
        let mut replicas: Vec<Raw> = (0..3).map(|_| follow(&server)).collect();
        let mut client = server.raw();
        for (key, value) in [("foo", "123"), ("bar", "456"), ("baz", "789")] {
            ask(&mut client, &["SET", key, value], "+OK\r\n");
        }
        for replica in &mut replicas {
            replica.expect(encoded(&["SELECT", "0"]));
            for (key, value) in [("foo", "123"), ("bar", "456"), ("baz", "789")] {
                replica.expect(encoded(&["SET", key, value]));
            }
            assert!(server.is_silent_to(replica), "nothing else is propagated");
        }
    }

    #[test]
    fn wait_with_no_replicas() {
        let server = Server::start(&[]);
        ask(&mut server.raw(), &["WAIT", "0", "60000"], ":0\r\n");
    }

    #[test]
    fn wait_with_no_commands() {
        let server = Server::start(&[]);
        let _replicas: Vec<Raw> = (0..7).map(|_| follow(&server)).collect();
        let mut client = server.raw();
        for wanted in ["3", "7"] {
            ask(&mut client, &["WAIT", wanted, "500"], ":7\r\n");
        }
        ask(&mut client, &["WAIT", "9", "500"], ":7\r\n");
    }

    #[test]
    fn wait_with_multiple_commands() {
        let server = Server::start(&[]);
        let mut replicas: Vec<Raw> = (0..4).map(|_| follow(&server)).collect();
        let mut client = server.raw();
        let mut offset = 0;
        for (round, (acks, wanted, timeout)) in
            [(1, "1", "30000"), (2, "3", "2000")].into_iter().enumerate()
        {
            let set = encoded(&["SET", "foo", &round.to_string()]);
            client.send(&set);
            client.expect("+OK\r\n");
            client.command(&["WAIT", wanted, timeout]);
            let select = if round == 0 { encoded(&["SELECT", "0"]) } else { Vec::new() };
            let question = encoded(&["REPLCONF", "GETACK", "*"]);
            for (n, replica) in replicas.iter_mut().enumerate() {
                replica.expect(&select);
                replica.expect(&set);
                replica.expect(&question);
                if n < acks {
                    let applied = offset + select.len() + set.len();
                    replica.command(&["REPLCONF", "ACK", &applied.to_string()]);
                }
            }
            client.expect(format!(":{acks}\r\n"));
            offset += select.len() + set.len() + question.len();
        }
    }
}

mod replica {
    use super::*;

    /// A replica that has just sent `PSYNC`, checked message by message.
    fn shake_hands(primary: &FakePrimary, server: &Server) -> Raw {
        let mut raw = primary.accept();
        let port = server.port.to_string();
        raw.expect(encoded(&["PING"]));
        assert!(server.is_silent_to(&mut raw), "PING is to be answered first");
        raw.send("+PONG\r\n");
        raw.expect(encoded(&["REPLCONF", "listening-port", &port]));
        raw.send("+OK\r\n");
        let capabilities = read_command(&mut raw);
        assert_eq!(capabilities[..2], ["REPLCONF", "capa"]);
        assert!(server.is_silent_to(&mut raw), "REPLCONF is to be answered first");
        raw.send("+OK\r\n");
        raw.expect(encoded(&["PSYNC", "?", "-1"]));
        assert!(server.is_silent_to(&mut raw), "PSYNC is to be answered first");
        raw
    }

    /// As above, and it has been sent an empty snapshot.
    fn follow() -> (FakePrimary, Server, Raw) {
        let primary = FakePrimary::new();
        let server = primary.start_replica(&[]);
        let mut raw = shake_hands(&primary, &server);
        raw.send(format!("+FULLRESYNC {HISTORY} 0\r\n"));
        raw.send(format!("${}\r\n", EMPTY_RDB.len()));
        raw.send(EMPTY_RDB);
        (primary, server, raw)
    }

    #[test]
    fn info_on_a_replica() {
        let primary = FakePrimary::new();
        let mut server = primary.start_replica(&[]);
        assert_eq!(server.info_text("role").as_deref(), Some("slave"));
    }

    #[test]
    fn send_handshake() {
        follow();
    }

    #[test]
    fn command_processing() {
        let (_primary, mut server, mut raw) = follow();
        let sets = [("foo", "123"), ("bar", "456"), ("baz", "789")];
        let mut sent = 0;
        for (key, value) in sets {
            let set = encoded(&["SET", key, value]);
            raw.send(&set);
            sent += set.len() as u64;
        }
        // The primary's commands get no other replies.
        acknowledged(&mut raw, sent);
        for (key, value) in sets {
            assert_eq!(server.line(&format!("GET {key}")), value);
        }
    }

    #[test]
    fn acks_with_no_commands() {
        let (_primary, _server, mut raw) = follow();
        ask(
            &mut raw,
            &["REPLCONF", "GETACK", "*"],
            "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n",
        );
    }

    #[test]
    fn acks_with_commands() {
        let (_primary, _server, mut raw) = follow();
        let mut offset = 0;
        let mut acknowledged = |raw: &mut Raw, before: &[&[&str]]| {
            for command in before {
                let bytes = encoded(command);
                raw.send(&bytes);
                offset += bytes.len();
            }
            raw.command(&["REPLCONF", "GETACK", "*"]);
            raw.expect(encoded(&["REPLCONF", "ACK", &offset.to_string()]));
            offset += encoded(&["REPLCONF", "GETACK", "*"]).len();
        };
        acknowledged(&mut raw, &[]);
        acknowledged(&mut raw, &[&["PING"]]);
        acknowledged(&mut raw, &[&["SET", "apple", "1"], &["SET", "pear", "2"]]);
    }
}
