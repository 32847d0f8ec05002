//! Encrypted connections, as a client with certificates of its own sees them.

use crate::harness::certificates::Certificates;
use crate::harness::{PATIENCE, Raw, Server, free_port, wait_for};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

struct Keys(Certificates);

impl Keys {
    fn new() -> Keys {
        Keys(Certificates::new())
    }

    /// A server that listens with TLS too, and where.
    fn start(&self, options: &[&str]) -> (Server, u16) {
        let port = free_port();
        let own = [vec!["--tls-port".to_string(), port.to_string()], self.0.options()].concat();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        (Server::start(&[&own, options].concat()), port)
    }

    fn client(&self, port: u16, as_whom: Option<&str>) -> io::Result<Client> {
        self.client_with(port, as_whom, &[&TLS12, &TLS13])
    }

    /// Connects and pings: with TLS 1.3 a server refuses a certificate after the handshake only.
    fn client_with(
        &self,
        port: u16,
        as_whom: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.0.path("ca.crt")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match as_whom {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let file = |ending: &str| self.0.path(&format!("{name}.{ending}"));
                let cert = CertificateDer::from_pem_file(file("crt")).unwrap();
                let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut client = Client(StreamOwned::new(session, socket));
        client.0.write_all(b"PING\r\n")?;
        match &client.read(7)?[..] {
            b"+PONG\r\n" => Ok(client),
            other => panic!("{}", other.escape_ascii()),
        }
    }
}

struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn read(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn ask(&mut self, request: &[u8], reply: &[u8]) {
        self.0.write_all(request).unwrap();
        let got = self.read(reply.len()).unwrap();
        assert!(got == reply, "{} bytes other than expected", got.len());
    }
}

#[test]
fn requests_and_replies_of_any_size_pass() {
    let keys = Keys::new();
    let (mut server, port) = keys.start(&[]);
    for versions in [&[&TLS12][..], &[&TLS13][..]] {
        let mut client = keys.client_with(port, Some("client"), versions).unwrap();
        let value = vec![b'v'; 5_000_000];
        let mut set = b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$5000000\r\n".to_vec();
        set.extend([&value[..], b"\r\n"].concat());
        client.ask(&set, b"+OK\r\n");
        // Much is asked for before anything is read: what the socket does not take waits.
        client.0.write_all(&b"GET big\r\n".repeat(8)).unwrap();
        client.0.write_all(b"QUIT\r\n").unwrap();
        let reply = [b"$5000000\r\n", &value[..], b"\r\n"].concat();
        for _ in 0..8 {
            assert!(client.read(reply.len()).unwrap() == reply);
        }
        assert_eq!(client.read(5).unwrap(), b"+OK\r\n");
        assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0, "closed with a farewell");

        let mut client = keys.client_with(port, Some("client"), versions).unwrap();
        client.ask(&b"INCR n\r\n".repeat(1000), &{
            let first = if versions == [&TLS12] { 1 } else { 1001 };
            (first..first + 1000).map(|n| format!(":{n}\r\n")).collect::<String>().into_bytes()
        });
    }
    assert_eq!(server.text(&["GET", "n"]), "2000");
    assert!(server.info_text("listener1").unwrap().starts_with("name=tls,"));
}

#[test]
fn clients_show_certificates_if_they_have_to() {
    let keys = Keys::new();
    let (mut server, port) = keys.start(&[]);
    assert!(keys.client(port, Some("client")).is_ok());
    assert!(keys.client(port, None).is_err());
    assert!(keys.client(port, Some("stranger")).is_err());
    wait_for("the reasons", || {
        let log = server.log();
        let reasons = log.lines().filter(|l| l.contains("Error accepting a client connection: "));
        (reasons.count() == 2).then_some(())
    });

    server.cmd(&["CONFIG", "SET", "tls-auth-clients", "optional"]);
    assert!(keys.client(port, None).is_ok());
    assert!(keys.client(port, Some("stranger")).is_err());
    server.cmd(&["CONFIG", "SET", "tls-auth-clients", "no"]);
    assert!(keys.client(port, None).is_ok());
    assert!(keys.client(port, Some("stranger")).is_ok());
    wait_for("the ends of those who were refused", || {
        (server.info_text("connected_clients").as_deref() == Some("1")).then_some(())
    });
}

#[test]
fn a_certificate_names_the_user_that_a_client_is() {
    let keys = Keys::new();
    let (mut server, port) =
        keys.start(&["--tls-auth-clients", "optional", "--tls-auth-clients-user", "CN"]);
    let whoami = |as_whom: Option<&str>, name: &str| {
        let reply = format!("${}\r\n{name}\r\n", name.len());
        keys.client(port, as_whom).unwrap().ask(b"ACL WHOAMI\r\n", reply.as_bytes());
    };
    server.cmd(&["ACL", "SETUSER", "client", "on", "+acl|whoami", "+ping"]);
    server.cmd(&["ACL", "SETUSER", "server", "off", "+@all"]);
    for versions in [&[&TLS12][..], &[&TLS13][..]] {
        let mut client = keys.client_with(port, Some("client"), versions).unwrap();
        client.ask(b"ACL WHOAMI\r\n", b"$6\r\nclient\r\n");
        client.ask(
            b"GET k\r\n",
            b"-NOPERM User client has no permissions to run the 'get' command\r\n",
        );
    }
    assert_eq!(server.info_text("acl_access_denied_tls_cert"), None);
    // Whoever may not log in stays what clients are at first, as do those without a certificate.
    whoami(Some("server"), "default");
    whoami(None, "default");
    let log = server.line("ACL LOG");
    for field in ["reason tls-cert", "context toplevel", "username server"] {
        assert!(log.contains(field), "{log}");
    }
    assert_eq!(server.info("acl_access_denied_tls_cert"), 1);

    server.cmd(&["CONFIG", "SET", "tls-auth-clients-user", "uri"]);
    whoami(Some("client"), "default");
    server.cmd(&["ACL", "SETUSER", "urn:client:2", "on", "+@all"]);
    whoami(Some("client"), "urn:client:2");
    // Nobody gets in without a name where the default user has a password.
    server.cmd(&["CONFIG", "SET", "requirepass", "secret"]);
    whoami(Some("client"), "urn:client:2");
    assert_eq!(server.text(&["CONFIG", "SET", "tls-auth-clients-user", "off"]), "OK");
}

/// Nothing tells of a farewell any more that has come with the last request.
#[test]
fn who_says_farewell_with_a_request_is_answered_and_let_go() {
    let keys = Keys::new();
    let (mut server, port) = keys.start(&[]);
    for versions in [&[&TLS12][..], &[&TLS13][..]] {
        let mut client = keys.client_with(port, Some("client"), versions).unwrap();
        client.0.conn.writer().write_all(b"PING\r\n").unwrap();
        client.0.conn.send_close_notify();
        let mut both = Vec::new();
        while client.0.conn.wants_write() {
            client.0.conn.write_tls(&mut both).unwrap();
        }
        client.0.sock.write_all(&both).unwrap();
        assert_eq!(client.read(7).unwrap(), b"+PONG\r\n");
        assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0, "closed with a farewell");
        server.wait_info("connected_clients", "1");
    }
}

#[test]
fn those_who_do_not_speak_tls_are_sent_away() {
    let keys = Keys::new();
    let (mut server, port) = keys.start(&[]);
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"PING\r\nPING\r\n").unwrap();
    let mut rest = Vec::new();
    // An alert, perhaps, and the end.
    let _ = socket.read_to_end(&mut rest);
    assert!(rest.len() < 16);
    assert_eq!(server.text(&["PING"]), "PONG");
}

#[test]
fn certificates_and_port_are_changed_while_it_runs() {
    let keys = Keys::new();
    let (mut server, port) = keys.start(&["--tls-auth-clients", "no"]);
    let refusal = server.text(&["CONFIG", "SET", "tls-cert-file", "missing.crt"]);
    assert!(
        refusal.contains("Unable to update TLS configuration. Check server logs."),
        "{refusal}"
    );
    assert!(server.log().contains("Failed to load certificate: missing.crt"));
    let mut early = keys.client(port, None).unwrap();

    // From another authority: whoever trusts only the first one turns away.
    let use_those_of = |server: &mut Server, name: &str| {
        let (cert, key) =
            (keys.0.text(&format!("{name}.crt")), keys.0.text(&format!("{name}.key")));
        server.text(&["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key])
    };
    assert_eq!(use_those_of(&mut server, "stranger"), "OK");
    assert!(keys.client(port, None).is_err());
    early.ask(b"PING\r\n", b"+PONG\r\n");

    assert_eq!(use_those_of(&mut server, "server"), "OK");
    let elsewhere = free_port();
    server.cmd(&["CONFIG", "SET", "tls-port", &elsewhere.to_string()]);
    wait_for("the other port", || keys.client(elsewhere, None).ok());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.cmd(&["CONFIG", "SET", "tls-port", "0"]);
    wait_for("the end of the port", || TcpStream::connect(("127.0.0.1", elsewhere)).err());
}

#[test]
fn files_that_were_renewed_in_place_are_read_anew() {
    let keys = Keys::new();
    let (mut server, port) = keys.start(&["--tls-auth-clients", "no"]);
    let (cert, key) = (keys.0.text("server.crt"), keys.0.text("server.key"));
    let ca = keys.0.text("ca.crt");
    let renew = |server: &mut Server| {
        server.text(&["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key])
    };
    let copy = |from: &str, to: &str| {
        std::fs::copy(keys.0.path(from), keys.0.path(to)).expect("a copy");
    };
    for name in ["server", "ca"] {
        copy(&format!("{name}.crt"), &format!("{name}.old"));
    }
    // From another authority: whoever trusts only the first one turns away.
    copy("server.key", "server-key.old");
    copy("stranger.crt", "server.crt");
    copy("stranger.key", "server.key");
    assert!(keys.client(port, None).is_ok(), "nobody has said that they are new");
    assert_eq!(renew(&mut server), "OK");
    assert!(keys.client(port, None).is_err());

    copy("server.old", "server.crt");
    copy("server-key.old", "server.key");
    assert_eq!(server.text(&["CONFIG", "SET", "tls-key-file", &key]), "OK");
    assert!(keys.client(port, None).is_ok());

    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for garbage in ["garbage", "", no_der] {
        for (directive, file) in [("tls-cert-file", &cert), ("tls-ca-cert-file", &ca)] {
            std::fs::write(file, garbage).expect("a file");
            let refusal = server.text(&["CONFIG", "SET", directive, file]);
            assert!(refusal.contains("Unable to update TLS configuration"), "{refusal}");
            copy("server.old", "server.crt");
            copy("ca.old", "ca.crt");
        }
        assert!(keys.client(port, None).is_ok(), "the old one stays");
    }
}

#[test]
fn files_that_were_renewed_are_read_anew_after_a_while() {
    let keys = Keys::new();
    let (mut server, port) =
        keys.start(&["--tls-auth-clients", "no", "--tls-auto-reload-interval", "1"]);
    let copy = |from: &str, to: &str| {
        std::fs::copy(keys.0.path(from), keys.0.path(to)).expect("a copy");
    };
    copy("server.crt", "server.old");
    copy("server.key", "server-key.old");
    copy("stranger.crt", "server.crt");
    copy("stranger.key", "server.key");
    wait_for("the certificate of another authority", || keys.client(port, None).err());
    std::fs::write(keys.0.path("server.crt"), "garbage").expect("a file");
    wait_for("a complaint", || {
        server.log().contains("were renewed, but can't be used").then_some(())
    });
    copy("server.old", "server.crt");
    copy("server-key.old", "server.key");
    wait_for("the first certificate", || keys.client(port, None).ok());
    assert_eq!(server.text(&["PING"]), "PONG");
}

#[test]
fn versions_and_suites_are_those_of_the_configuration() {
    let keys = Keys::new();
    let (mut server, port) =
        keys.start(&["--tls-auth-clients", "no", "--tls-protocols", "TLSv1.3"]);
    assert!(keys.client_with(port, None, &[&TLS13]).is_ok());
    assert!(keys.client_with(port, None, &[&TLS12]).is_err());
    server.cmd(&["CONFIG", "SET", "tls-protocols", "TLSv1.2"]);
    server.cmd(&["CONFIG", "SET", "tls-ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"]);
    let client = keys.client_with(port, None, &[&TLS12, &TLS13]).unwrap();
    let suite = client.0.conn.negotiated_cipher_suite().unwrap();
    assert!(format!("{suite:?}").contains("CHACHA20_POLY1305"), "{suite:?}");
    assert!(server.text(&["CONFIG", "SET", "tls-ciphers", "RC4"]).contains("ERR"));
}

#[test]
fn replicas_follow_over_tls() {
    let keys = Keys::new();
    let (mut primary, port) = keys.start(&["--repl-diskless-sync-delay", "0"]);
    primary.cmd(&["DEBUG", "POPULATE", "50000", "key", "100"]);
    let replicate = ["--tls-replication", "yes", "--dual-channel-replication-enabled", "yes"];
    let (mut replica, own_port) = keys.start(&replicate);
    replica.replica_of(port);
    replica.wait_info("master_link_status", "up");
    let slave = primary.info_text("slave0").unwrap();
    assert!(slave.contains(&format!("port={own_port},state=online")), "{slave}");

    let digest = |server: &mut Server| server.text(&["DEBUG", "DIGEST"]);
    primary.cmd(&["SET", "after", &"x".repeat(3_000_000)]);
    primary.cmd(&["WAIT", "1", "0"]);
    assert_eq!(digest(&mut primary), digest(&mut replica));

    // A cut link is taken up where it was.
    primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
    primary.cmd(&["SET", "later", "1"]);
    primary.wait_info("sync_partial_ok", "1");
    wait_for("equal data", || (digest(&mut primary) == digest(&mut replica)).then_some(()));

    // Without TLS a replica is not understood there.
    replica.cmd(&["CONFIG", "SET", "tls-replication", "no"]);
    primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
    replica.wait_info("master_link_status", "down");
}

#[test]
fn what_is_missing_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(crate::harness::program())
        .args(["--port", "0", "--tls-port", &free_port().to_string()])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let log = String::from_utf8_lossy(&out.stdout);
    assert!(log.contains("No tls-cert-file configured!"), "{log}");
    assert!(log.contains("Failed to configure TLS. Check logs for more info."), "{log}");
}

/// A node of a cluster that speaks TLS with other nodes and its primary, and where.
fn cluster_node(keys: &Keys) -> (Server, u16, String) {
    let bus = free_port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--tls-cluster", "yes"];
    let others = ["--tls-replication", "yes", "--cluster-node-timeout", "2000"];
    let (server, port) = keys.start(&[&options[..], &others].concat());
    (server, port, bus)
}

#[test]
fn a_cluster_over_tls() {
    let keys = Keys::new();
    let mut nodes = [(); 4].map(|()| cluster_node(&keys));
    let (_, first_port, first_bus) = &nodes[0];
    let meet = format!("CLUSTER MEET 127.0.0.1 {first_port} {first_bus}");
    let ranges = ["0 5000", "5001 10000", "10001 16383"];
    for (at, (server, ..)) in nodes.iter_mut().enumerate() {
        if let Some(range) = ranges.get(at) {
            server.check(&[(&format!("CLUSTER ADDSLOTSRANGE {range}"), "OK")]);
        }
        server.check(&[(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1), "OK"), (&meet, "OK")]);
    }
    for (server, ..) in &mut nodes {
        server.wait_for("CLUSTER NODES", |nodes| {
            nodes.lines().count() == 4 && !nodes.contains("handshake")
        });
        server.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    }
    let [(primary, port, bus), _, (asked, asked_port, _), (replica, ..)] = &mut nodes;
    replica.check(&[(&format!("CLUSTER REPLICATE {}", primary.line("CLUSTER MYID")), "OK")]);
    replica.wait_info("master_link_status", "up");
    assert_eq!(replica.info("master_port"), i64::from(*port));
    primary.check(&[("SET b 1", "OK"), ("WAIT 1 0", ":1")]);

    // Clients are sent to a port where what they speak is spoken.
    asked.check(&[("GET b", &format!("MOVED 3300 127.0.0.1:{}", primary.port))]);
    let mut client = keys.client(*asked_port, Some("client")).unwrap();
    client.ask(b"GET b\r\n", format!("-MOVED 3300 127.0.0.1:{port}\r\n").as_bytes());
    // And nodes that do not speak it are not heard.
    let mut stranger = Raw::to_port(bus.parse().unwrap()).unwrap();
    stranger.try_send("RCmb");
    stranger.read_to_end();

    let is_primary = |nodes: &str| nodes.contains("myself,master");
    replica.check(&[("CLUSTER FAILOVER", "OK")]);
    replica.wait_for("CLUSTER NODES", is_primary);
    primary.wait_info("master_link_status", "up");
    replica.check(&[("SET b 2", "OK"), ("WAIT 1 0", ":1")]);
    replica.kill();
    primary.wait_for("CLUSTER NODES", is_primary);
    primary.wait_for("GET b", |value| value == "2");
}
