//! What `/metrics` serves beside what redis_exporter makes of Redis 7.0: no metric, type or label may be missing, be it
//! from ours or from what the exporter makes of Aeolis.

use crate::harness::{PATIENCE, Server, free_port, wait_for};
use crate::peers::{Kind, on_path};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is the exporter's own, or its process's.
const NOT_OF_REDIS: [&str; 4] = ["go_", "process_", "promhttp_", "redis_exporter_build_info"];
/// A counter for later versions of the exporter.
const COUNTER_NOW: &str = "redis_expired_time_cap_reached_total";

/// Each metric's type, and the names of labels that its samples have.
#[derive(Default)]
struct Metrics {
    types: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<BTreeSet<String>>>,
}

impl Metrics {
    fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics::default();
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("# TYPE ") {
                let (name, kind) = line.split_once(' ').expect("a type");
                metrics.types.insert(name.to_string(), kind.to_string());
            } else if !line.starts_with('#') {
                let end = line.find(['{', ' ']).expect("a value");
                let labels = line.split("=\"").map(|text| text.rsplit(['{', ',']).next());
                let labels: Vec<String> = labels.flatten().map(str::to_string).collect();
                let names = labels[..labels.len() - 1].iter().cloned().collect();
                metrics.labels.entry(line[..end].to_string()).or_default().insert(names);
            }
        }
        metrics
    }

    /// What others have and these lack.
    fn lack(&self, others: &Metrics) -> Vec<String> {
        let of_redis = |name: &&String| !NOT_OF_REDIS.iter().any(|own| name.starts_with(own));
        let mut missing = Vec::new();
        for (name, sets) in others.labels.iter().filter(|(name, _)| of_redis(name)) {
            let ours = self.labels.get(name);
            let has = |set: &BTreeSet<String>| {
                ours.is_some_and(|o| o.iter().any(|our| our.is_superset(set)))
            };
            if !sets.iter().all(has) {
                missing.push(format!("{name} {sets:?}"));
            }
        }
        for (name, kind) in others.types.iter().filter(|(name, _)| of_redis(name)) {
            if self.types.get(name) != Some(kind) && name != COUNTER_NOW {
                missing.push(format!("{name}, a {kind}"));
            }
        }
        missing
    }
}

/// The exporter at work.
struct Exporter(Child);

impl Exporter {
    /// What it makes of a server, and what it complains about.
    fn read(program: &Path, server: &Server) -> (Metrics, String) {
        let port = free_port();
        let log = tempfile::NamedTempFile::new().expect("a file");
        let child = Command::new(program)
            .args(["-redis.addr", &format!("redis://127.0.0.1:{}", server.port)])
            .args(["-web.listen-address", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("the file"))
            .spawn();
        let exporter = Exporter(child.expect("the exporter starts"));
        wait_for("the exporter", || TcpStream::connect(("127.0.0.1", port)).ok());
        let metrics = Metrics::parse(&get_metrics(port));
        drop(exporter);
        let log = std::fs::read_to_string(log.path()).expect("its log");
        (metrics, log.lines().filter(|line| !line.contains("level=info")).collect())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get_metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{head}");
    body.to_string()
}

/// The exporter that the environment names or that is on the path.
fn program() -> Option<PathBuf> {
    const NAME: &str = "prometheus-redis-exporter";
    let found = env::var_os("REDIS_EXPORTER").map(PathBuf::from).or_else(|| on_path(NAME));
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "no {NAME}: set REDIS_EXPORTER or install it");
        println!("skipped: no {NAME} here (set REDIS_EXPORTER, or install it)");
    }
    found
}

/// A primary with a replica, both of which have something to tell.
fn group(program: &Path, options: [&[&str]; 2]) -> [Server; 2] {
    let mut servers = options.map(|options| {
        let dir = tempfile::tempdir().expect("a directory");
        Server::start_program(program, dir, &[&["--appendonly", "yes"], options].concat())
    });
    let [primary, replica] = &mut servers;
    replica.follow(primary);
    for server in &mut servers {
        for line in ["SET k v", "SETEX e 1000 v", "GET k", "LPUSH k x", "EVAL return(1) 0"] {
            server.line(line);
        }
    }
    servers
}

#[test]
fn nothing_is_missing_that_an_exporter_has() {
    let (Some(exporter), Some(redis)) = (program(), Kind::Redis7.program()) else { return };
    let redis = group(&redis, [&["--repl-diskless-sync-delay", "0"], &[]]);
    let ports = [free_port(), free_port()];
    let texts = ports.map(|port| port.to_string());
    let aeolis = group(
        &crate::harness::program(),
        [
            &["--repl-diskless-sync-delay", "0", "--metrics-port", &texts[0]],
            &["--metrics-port", &texts[1]],
        ],
    );
    for ((redis, aeolis), port) in redis.iter().zip(&aeolis).zip(ports) {
        let (of_redis, _) = Exporter::read(&exporter, redis);
        let (of_aeolis, complaints) = Exporter::read(&exporter, aeolis);
        assert_eq!(complaints, "");
        assert_eq!(of_aeolis.lack(&of_redis), Vec::<String>::new(), "by way of the exporter");
        let ours = Metrics::parse(&get_metrics(port));
        assert_eq!(ours.lack(&of_redis), Vec::<String>::new(), "by the server itself");
        assert_eq!(ours.lack(&of_aeolis), Vec::<String>::new(), "that an exporter sees");
    }
}
