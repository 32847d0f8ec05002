//! The tools that people have for Redis, as they are: redis-cli in all its modes, redis-benchmark, a reader of snapshot
//! files from PyPI, logrotate.

use crate::harness::certificates::Certificates;
use crate::harness::{PATIENCE, Raw, Server, free_port, wait_for};
use crate::peers::on_path;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// The tool that the environment names or that is on the path.
fn tool(variable: &str, name: &str) -> Option<PathBuf> {
    let found = env::var_os(variable).map(PathBuf::from).or_else(|| on_path(name));
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "no {name}: set {variable} or install it");
        println!("skipped: no {name} here (set {variable}, or install it)");
    }
    found
}

fn cli() -> Option<PathBuf> {
    tool("REDIS_CLI", "redis-cli")
}

/// All that a tool says, given this input; it ends by itself.
fn run(program: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_vec();
    // It may write before it has read all, or end without reading.
    let writer = thread::spawn(move || _ = stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("written");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A tool that runs until somebody has seen enough, on a terminal, so that it holds nothing back.
struct Watched {
    child: Child,
    said: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Watched {
    fn start(program: &Path, args: &[&str]) -> Watched {
        let words = [&[program.to_str().expect("a plain path")], args].concat();
        let mut child = Command::new("script")
            .args(["-qefc", &format!("exec {}", words.join(" ")), "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let mut stdout = child.stdout.take().expect("its output");
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut chunk) {
                if tell.send(chunk[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Watched { child, said, seen: String::new() }
    }

    fn until(&mut self, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.seen.contains(wanted) {
            let left = end.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{error}: no {wanted:?} in {:?}", self.seen),
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended by itself. What it runs ends with its terminal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with something of every type.
fn furnished(options: &[&str]) -> Server {
    let mut server = Server::start(&[&["--maxmemory-policy", "allkeys-lfu"], options].concat());
    server.line("DEBUG POPULATE 500 key 100");
    for line in [
        "RPUSH list one two three",
        "HSET hash f v",
        "SADD set 1 2 x",
        "ZADD zset 1.5 m",
        "XADD stream 1-1 a b",
        "SET expiring v EX 1000",
    ] {
        server.line(line);
    }
    for _ in 0..100 {
        server.line("INCR hot");
    }
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(server.text(&["FUNCTION", "LOAD", library]), "lib");
    server
}

#[test]
fn redis_cli_in_the_modes_that_end() {
    let Some(cli) = cli() else { return };
    let mut server = furnished(&[]);
    let port = server.port.to_string();
    let node = format!("127.0.0.1:{port}");
    let mut input = Vec::new();
    for n in 0..1000 {
        write!(input, "*3\r\n$3\r\nSET\r\n$8\r\npipe:{n:03}\r\n$1\r\nv\r\n").expect("room");
    }
    let table: [(&[&str], &[u8], &[&str]); 15] = [
        (
            &["--bigkeys"],
            b"",
            &["Biggest   list found '\"list\"' has 3 items", "1 streams with 1 entries"],
        ),
        (&["--memkeys"], b"", &["Biggest", "bytes", "Sampled 507 keys"]),
        (&["--hotkeys"], b"", &["hot key found with counter:", "keyname: \"hot\""]),
        (&["--latency", "-i", "0", "--raw"], b"", &[" "]),
        (&["--intrinsic-latency", "1"], b"", &["total runs (avg latency:"]),
        (&["--scan", "--pattern", "z*"], b"", &["zset\n"]),
        (&["--scan", "--quoted-pattern", "\"s\\x65t\""], b"", &["set\n"]),
        (&["--pipe"], &input, &["errors: 0, replies: 1000"]),
        (&["-3", "--json", "HGETALL", "hash"], b"", &["{\"f\":\"v\"}\n"]),
        (&["--csv", "LRANGE", "list", "0", "-1"], b"", &["\"one\",\"two\",\"three\"\n"]),
        (&["-x", "SET", "from-input"], b"a\0b", &["OK\n"]),
        (&["-X", "tag", "SET", "from-tag", "tag", "EX", "100"], b"c", &["OK\n"]),
        (&["--no-raw", "GET", "from-input"], b"", &["\"a\\x00b\"\n"]),
        (&["--cluster", "help"], b"", &["Cluster Manager Commands:"]),
        (&["--cluster", "check", &node], b"", &["is not configured as a cluster node"]),
    ];
    for (args, input, wanted) in table {
        let said = run(&cli, &[&["-p", &port], args].concat(), input);
        assert!(wanted.iter().all(|part| said.contains(part)), "{args:?}: {said}");
    }
    assert_eq!(server.line("GET pipe:999"), "v");
    assert_eq!(server.line("GET from-tag"), "c");
}

#[test]
fn redis_cli_in_the_modes_that_go_on() {
    let Some(cli) = cli() else { return };
    let mut server = furnished(&["--repl-diskless-sync-delay", "0"]);
    let port = server.port.to_string();
    let start = |args: &[&str]| Watched::start(&cli, &[&["-p", &port], args].concat());
    let mut all = [
        (start(&["--stat", "-i", "0.1"]), "508 "),
        (start(&["--latency", "-i", "1"]), "avg: "),
        (start(&["--latency-history", "-i", "1"]), "seconds range"),
        (start(&["--latency-dist", "-i", "1"]), "From 0 to 100%:"),
        (start(&["--replica"]), "\"SET\",\"streamed\",\"1\""),
        (start(&["MONITOR"]), "\"PING\""),
        (start(&["SUBSCRIBE", "news"]), "\"today\""),
    ];
    wait_for("the replica", || server.info_text("slave0")?.contains("state=online").then_some(()));
    server.wait_for("PUBSUB NUMSUB news", |reply| reply == "[news :1]");
    server.line("PUBLISH news today");
    server.line("SET streamed 1");
    for (watched, wanted) in &mut all {
        watched.until(wanted);
    }
}

#[test]
fn snapshots_are_fetched_and_read_by_others() {
    let Some(cli) = cli() else { return };
    let mut server = furnished(&[]);
    let port = server.port.to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a plain path").to_string();
    let (all, functions) = (path("all.rdb"), path("functions.rdb"));
    for (option, file) in [("--rdb", &all), ("--functions-rdb", &functions)] {
        let said = run(&cli, &["-p", &port, option, file], b"");
        assert!(said.contains("Transfer finished with success"), "{said}");
    }
    server.wait_info("connected_slaves", "0");
    let head = fs::read(&functions).expect("a file");
    assert!(head.starts_with(b"REDIS00") && head.windows(14).any(|part| part == b"#!lua name=lib"));
    assert!(!head.windows(4).any(|part| part == b"zset"), "functions only");
    fs::rename(&all, dir.path().join("dump.rdb")).expect("a file");
    let mut loaded = Server::start_in(dir, &[]);
    assert_eq!(loaded.line("DEBUG DIGEST"), server.line("DEBUG DIGEST"));
    assert_eq!(loaded.line("FCALL f 0"), ":1");

    let Some(python) = tool("RDB_READER_PYTHON", "python3-with-rdb-py") else { return };
    server.line("SAVE");
    let file = server.dir().join("dump.rdb");
    let program = "import rdb, sys\n\
                   for item in rdb.RdbDecoder(sys.argv[1]):\n    \
                   if item.get('key') in (b'list', b'hash', b'set', b'zset', b'key:1', b'hot'): print(item)";
    let said = run(&python, &["-c", program, file.to_str().expect("a plain path")], b"");
    for part in
        ["[b'one', b'two', b'three']", "{b'f': b'v'}", "1.5", "b'hot'", "b'100'", "b'key:1'"]
    {
        assert!(said.contains(part), "{said}");
    }
}

/// Tools that only want a snapshot ask for it like this, and close when they have it.
#[test]
fn a_replica_may_ask_for_a_snapshot_alone() {
    let mut server = furnished(&["--repl-diskless-sync-delay", "0"]);
    for ask in ["SYNC", "PSYNC ? -1"] {
        let mut raw = server.raw();
        assert_eq!(raw.ask("REPLCONF rdb-only 1"), "+OK");
        raw.send(format!("{ask}\r\n"));
        let mut line = crate::harness::replication::line_after_newlines(&mut raw);
        if ask != "SYNC" {
            assert!(line.starts_with("+FULLRESYNC "), "{line}");
            line = crate::harness::replication::line_after_newlines(&mut raw);
        }
        let len = line.strip_prefix('$').and_then(|len| len.parse().ok()).expect("a length");
        let snapshot = raw.read(len);
        assert!(snapshot.starts_with(b"REDIS00"));
        drop::<Raw>(raw);
        server.wait_info("connected_slaves", "0");
    }
}

#[test]
fn scripts_are_debugged_with_redis_cli_also_over_tls() {
    let Some(cli) = cli() else { return };
    let certificates = Certificates::new();
    let tls_port = free_port().to_string();
    let mut options = certificates.options();
    options.extend([
        "--tls-port".into(),
        tls_port.clone(),
        "--tls-auth-clients".into(),
        "no".into(),
    ]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut server = Server::start(&options);
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script.lua");
    fs::write(&script, "local n = redis.call('incr', KEYS[1])\nreturn n + 41\n").expect("a file");
    let script = script.to_str().expect("a plain path");
    let (port, authority) = (server.port.to_string(), certificates.text("ca.crt"));
    let plain = ["-p", &port];
    let tls = ["-p", &tls_port, "--tls", "--cacert", &authority];
    for (connection, mode, counter) in [
        (&plain[..], "--ldb", "nil"),
        (&plain[..], "--ldb-sync-mode", "1"),
        (&tls[..], "--ldb", "1"),
        (&tls[..], "--ldb-sync-mode", "2"),
    ] {
        let args = [connection, &[mode, "--eval", script, "counter"]].concat();
        let said = run(&cli, &args, b"step\nprint n\nredis get counter\ncontinue\nquit\n");
        assert!(said.contains("-> 1   local n = redis.call"), "{args:?}: {said}");
        assert!(said.contains("<value> ") && said.contains("<redis> get counter"), "{said}");
        assert!(said.contains("(integer) 4"), "{args:?}: {said}");
        assert_eq!(server.line("GET counter"), counter, "{args:?}");
    }
}

#[test]
fn clusters_are_looked_at_with_redis_cli() {
    let Some(cli) = cli() else { return };
    let mut server = Server::start(&["--cluster-enabled", "yes"]);
    server.line("CLUSTER ADDSLOTSRANGE 0 16383");
    server.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    let node = format!("127.0.0.1:{}", server.port);
    for (command, wanted) in
        [("check", "[OK] All 16384 slots covered."), ("info", "[OK] 0 keys in 1 masters.")]
    {
        let said = run(&cli, &["--cluster", command, &node], b"");
        assert!(said.contains(wanted), "{command}: {said}");
    }
    let said = run(&cli, &["-c", "-p", &server.port.to_string(), "SET", "key", "value"], b"");
    assert_eq!(said, "OK\n");
}

#[test]
fn redis_benchmark_runs_all_its_tests() {
    let Some(benchmark) = tool("REDIS_BENCHMARK", "redis-benchmark") else { return };
    let mut server = Server::start(&[]);
    let port = server.port.to_string();
    let args = ["-p", &port, "-n", "500", "-c", "10", "-P", "4", "-r", "100", "--csv"];
    let said = run(&benchmark, &args, b"");
    for test in [
        "\"PING_INLINE\",",
        "\"SET\",",
        "\"LRANGE_600 (first 600 elements)\",",
        "\"MSET (10 keys)\",",
    ] {
        assert!(said.contains(test), "{said}");
    }
    let said =
        run(&benchmark, &["-p", &port, "-n", "500", "-q", "--threads", "2", "-t", "get"], b"");
    assert!(said.contains("GET: ") && said.contains("requests per second"), "{said}");
    assert_eq!(server.info("total_error_replies"), 0);
}

#[test]
fn logrotate_copies_and_truncates_the_log() {
    let Some(logrotate) = tool("LOGROTATE", "logrotate") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a plain path").to_string();
    let log = path("aeolis.log");
    let mut server = Server::start(&["--logfile", &log, "--loglevel", "debug"]);
    let packaged =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/logrotate"));
    let packaged = packaged.expect("a file");
    // Here, and as whoever runs the test.
    let config = packaged.replace("/var/log/aeolis/*.log", &log);
    let config: Vec<&str> = config.lines().filter(|line| !line.trim().starts_with("su ")).collect();
    fs::write(path("logrotate.conf"), config.join("\n") + "\n").expect("a file");
    let rotate = || {
        let said = run(&logrotate, &["-f", "-s", &path("state"), &path("logrotate.conf")], b"");
        assert_eq!(said, "");
    };
    rotate();
    assert!(Path::new(&format!("{log}.1.gz")).exists() || Path::new(&format!("{log}.1")).exists());
    server.line("DEBUG LOG afterwards");
    wait_for("the line", || {
        let text = fs::read_to_string(&log).expect("the log");
        (text.contains("afterwards") && !text.contains("Server initialized")).then_some(())
    });
    assert!(
        fs::read(&log).expect("the log").first() != Some(&0),
        "no hole where the old lines were"
    );
}

/// What the package installs is written anew with its comments, and in its order.
#[test]
fn a_packaged_file_keeps_its_comments_when_it_is_rewritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/aeolis.conf");
    let packaged = fs::read_to_string(packaged).expect("a file");
    let is_of_a_system = |line: &&str| {
        ["bind ", "pidfile ", "logfile ", "dir "].iter().any(|name| line.starts_with(name))
    };
    let text: Vec<&str> = packaged.lines().filter(|line| !is_of_a_system(line)).collect();
    let file = dir.path().join("aeolis.conf");
    fs::write(&file, text.join("\n") + "\n").expect("a file");
    let mut server = Server::start_in(dir, &["aeolis.conf"]);
    server.line("CONFIG SET maxmemory 123mb hz 50");
    assert_eq!(server.line("CONFIG REWRITE"), "OK");
    let rewritten = fs::read_to_string(server.dir().join("aeolis.conf")).expect("a file");
    let comments = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with('#')).map(str::to_string).collect()
    };
    let kept: Vec<String> = comments(&rewritten);
    assert_eq!(kept[..comments(&packaged).len()], comments(&packaged)[..]);
    assert!(
        rewritten.contains("\nmaxmemory 123mb\n") && rewritten.contains("\nhz 50\n"),
        "{rewritten}"
    );
}
