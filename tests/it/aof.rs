//! Append-only files: what was acknowledged is there after a crash; damaged files are refused or cut, never taken for
//! whole; what the checkers say.

use crate::harness::{Server, wait_for};
use aeolis::cli;
use aeolis::server::Server as InProcess;
use aeolis::server::config::{Config, LogLevel};
use aeolis::server::observe::log::Log;
use aeolis::server::persistence;
use aeolis::server::persistence::load::{LoadError, LoadProgress};
use aeolis::server::startup;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tempfile::TempDir;

const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
const WRITERS: usize = 3;

fn aof_dir(dir: &Path) -> PathBuf {
    dir.join("appendonlydir")
}

/// The commands, as a file has them.
fn commands(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        aeolis::resp::encode::encode_command(&args, &mut bytes);
    }
    bytes
}

/// A directory with an append-only file of a base and an incremental file.
fn with_files(base: &[u8], incr: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let files = aof_dir(dir.path());
    fs::create_dir(&files).expect("the directory");
    fs::write(files.join("appendonly.aof.1.base.rdb"), base).expect("a file");
    fs::write(files.join("appendonly.aof.1.incr.aof"), incr).expect("a file");
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(files.join("appendonly.aof.manifest"), manifest).expect("a file");
    dir
}

/// Loads the files in this process; the number of keys, or why not.
fn load(dir: &Path, truncated: bool) -> Result<usize, String> {
    let text = |error: LoadError| error.to_string();
    let config = Config {
        dir: dir.into(),
        appendonly: true,
        aof_load_truncated: truncated,
        loglevel: LogLevel::Nothing,
        ..Config::default()
    };
    let log = Log::silent();
    let mut server = InProcess::new(config, cli::command_table(), SmallRng::seed_from_u64(1), log);
    if startup::begin_loading(&mut server).map_err(text)? {
        while persistence::load_some(&mut server).map_err(text)? == LoadProgress::More {}
    }
    Ok(server.keyspace().len())
}

/// A base file with a few keys.
fn base_file() -> Vec<u8> {
    let mut server = Server::start(&["--appendonly", "yes", "--save", ""]);
    server.text(&["SET", "base", "value"]);
    server.text(&["RPUSH", "list", "1", "two"]);
    server.text(&["BGREWRITEAOF"]);
    server.wait_info("aof_rewrite_in_progress", "0");
    let names = fs::read_dir(aof_dir(server.dir())).expect("the directory");
    let base = names
        .map(|f| f.expect("a file").path())
        .find(|path| path.to_string_lossy().ends_with(".2.base.rdb"));
    fs::read(base.expect("a base file")).expect("the file")
}

#[test]
fn no_acknowledged_write_is_lost_when_the_server_is_killed() {
    let mut dir = tempfile::tempdir().expect("a directory");
    let acknowledged: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    for round in 0..50 {
        let mut server = Server::start_in(dir, ALWAYS);
        for (writer, last) in acknowledged.iter().enumerate() {
            let found: u64 = server.text(&["GET", &format!("count:{writer}")]).parse().unwrap_or(0);
            let last = last.load(Ordering::Relaxed);
            assert!((last..=last + 1).contains(&found), "round {round}: {found} after {last}");
            acknowledged[writer].store(found, Ordering::Relaxed);
        }
        if round % 2 == 0 {
            if round == 0 {
                server.text(&["DEBUG", "POPULATE", "2000"]);
            }
            // Slow enough to be killed on the way, most of the time.
            server.text(&["CONFIG", "SET", "rdb-key-save-delay", "50"]);
            let reply = server.text(&["BGREWRITEAOF"]);
            assert!(reply.starts_with("Background append only file"), "{reply}");
        }
        let before: u64 = acknowledged.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        thread::scope(|scope| {
            for (writer, last) in acknowledged.iter().enumerate() {
                let mut connection = server.connect();
                scope.spawn(move || {
                    let key = format!("count:{writer}");
                    let incr = redis::cmd("INCR").arg(&key).clone();
                    while let Ok(n) = incr.query::<u64>(&mut connection) {
                        last.store(n, Ordering::Relaxed);
                    }
                });
            }
            wait_for("writes", || {
                let now: u64 = acknowledged.iter().map(|n| n.load(Ordering::Relaxed)).sum();
                (now >= before + 30 + 7 * round).then_some(())
            });
            server.kill();
        });
        dir = server.into_dir();
    }
}

#[test]
fn a_tail_is_cut_at_every_offset_and_nothing_before_it() {
    let base = base_file();
    let lines: Vec<String> = (0..6).map(|n| format!("SET {n}{n}{n}{n} value")).collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.insert(0, "SELECT 0");
    let incr = commands(&lines);
    let whole: Vec<usize> = (0..=lines.len()).map(|n| commands(&lines[..n]).len()).collect();
    for len in 0..=incr.len() {
        let complete = whole.iter().filter(|end| **end <= len).count() - 1;
        let keys = 2 + complete.saturating_sub(1);
        let dir = with_files(&base, &incr[..len]);
        let strict = load(dir.path(), false);
        assert_eq!(strict.is_ok(), whole.contains(&len), "{len}: {strict:?}");
        assert_eq!(load(dir.path(), true), Ok(keys), "{len}");
        let left = fs::read(aof_dir(dir.path()).join("appendonly.aof.1.incr.aof")).expect("it");
        assert_eq!(left, incr[..whole[complete]], "{len}");
    }
}

#[test]
fn a_transaction_is_there_in_whole_or_not_at_all() {
    let base = base_file();
    let incr = commands(&["SELECT 0", "SET a 1", "MULTI", "SET b 1", "SET c 1", "EXEC"]);
    let before = commands(&["SELECT 0", "SET a 1"]).len();
    for len in before..incr.len() {
        let dir = with_files(&base, &incr[..len]);
        assert_eq!(load(dir.path(), true), Ok(3), "{len}");
        let left = fs::read(aof_dir(dir.path()).join("appendonly.aof.1.incr.aof")).expect("it");
        assert_eq!(left.len(), before, "{len}");
    }
    assert_eq!(load(with_files(&base, &incr).path(), true), Ok(5));
}

#[test]
fn a_flipped_byte_is_found_or_does_no_harm() {
    let base = base_file();
    let lines: Vec<String> = (0..6).map(|n| format!("SET {n}{n}{n}{n} value")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let incr = commands(&lines);
    let last = commands(&lines[..lines.len() - 1]).len();
    for mask in [0x01, 0x08, 0x55, 0x80] {
        for at in 0..base.len() {
            let mut damaged = base.clone();
            damaged[at] ^= mask;
            let outcome = load(with_files(&damaged, &incr).path(), true);
            assert!(outcome.is_err(), "base byte {at}: {outcome:?}");
        }
        for at in 0..incr.len() {
            let mut damaged = incr.clone();
            damaged[at] ^= mask;
            // What is in a command can't be checked. But nothing may be missing, except the last command, which
            // looks as if its end had not been written.
            match load(with_files(&base, &damaged).path(), true) {
                Ok(keys) => assert!(keys >= if at < last { 8 } else { 7 }, "{at}: {keys}"),
                Err(text) => assert!(!text.is_empty()),
            }
        }
    }
    for len in 0..base.len() {
        let outcome = load(with_files(&base[..len], &incr).path(), true);
        // No base at all is an empty file, which is one that says nothing.
        assert_eq!(outcome.is_ok(), len == 0, "{len}: {outcome:?}");
    }
}

#[test]
fn switched_on_and_off_while_running() {
    for preamble in ["yes", "no"] {
        let mut server = Server::start(&["--aof-use-rdb-preamble", preamble]);
        server.text(&["SET", "before", "1"]);
        assert_eq!(server.text(&["CONFIG", "SET", "appendonly", "yes"]), "OK");
        server.text(&["INCR", "during"]);
        server.wait_info("aof_rewrite_in_progress", "0");
        server.wait_info("aof_last_bgrewrite_status", "ok");
        server.text(&["XADD", "stream", "1-1", "a", "b"]);
        server.text(&["MULTI"]);
        server.text(&["INCR", "after"]);
        server.text(&["LPUSH", "list", "x"]);
        server.text(&["EXEC"]);
        server.text(&["SET", "volatile", "x", "EX", "1000"]);
        server.text(&["CONFIG", "SET", "appendonly", "no"]);
        server.text(&["SET", "later", "1"]);
        server.kill();
        let mut server = Server::start_in(server.into_dir(), &["--appendonly", "yes"]);
        assert_eq!(server.text(&["DBSIZE"]), ":6");
        assert_eq!(server.text(&["MGET", "before", "during", "after", "later"]), "[1 1 1 nil]");
        let ttl = server.text(&["TTL", "volatile"]);
        assert!(ttl[1..].parse::<i64>().is_ok_and(|ttl| ttl > 900), "{ttl}");
        assert_eq!(server.text(&["DEBUG", "LOADAOF"]), "OK");
        assert_eq!(server.text(&["DBSIZE"]), ":6");
    }
}

/// A server whose incremental file is on a full disk.
fn on_full_disk(options: &[&str]) -> Server {
    let mut server = Server::start(&[&["--appendonly", "yes", "--save", ""], options].concat());
    let next = aof_dir(server.dir()).join("appendonly.aof.2.incr.aof");
    symlink("/dev/full", next).expect("a link");
    server.text(&["SET", "base", "value"]);
    server.text(&["BGREWRITEAOF"]);
    server.wait_info("aof_rewrite_in_progress", "0");
    server
}

#[test]
fn a_full_disk_stops_writes_and_a_new_file_lets_them_go_on() {
    let mut server = on_full_disk(&["--appendfsync", "no"]);
    server.text(&["SET", "key", "1"]);
    let refusal = wait_for("the refusal", || {
        Some(server.text(&["SET", "key", "2"])).filter(|reply| reply != "OK")
    });
    assert_eq!(refusal, "MISCONF Errors writing to the AOF file: No space left on device");
    assert_eq!(server.text(&["PING"]), refusal);
    assert_eq!(server.text(&["GET", "base"]), "value");
    assert_eq!(server.info_text("aof_last_write_status").as_deref(), Some("err"));
    server.text(&["BGREWRITEAOF"]);
    server.wait_info("aof_last_write_status", "ok");
    assert_eq!(server.text(&["SET", "key", "3"]), "OK");
    assert!(server.log().contains("AOF write error looks solved"), "{}", server.log());
}

/// What a server of Valkey has executed is not this one's to refuse, whatever it is called by.
#[test]
fn forms_that_a_client_is_refused_are_executed_from_a_file() {
    let incr = commands(&[
        "HSET h a 1 b 2 c 3",
        "HPEXPIREAT h 253402300799000 FIELDS 1 a",
        "HSETEX k PXAT 253402300799000 FIELDS 1 f v",
        "HSETEX h ex 10 PXAT 9000000000000 fields 1 d 4",
        "HPEXPIREAT h 9000000000000 nx nx FIELDS 1 b",
        "HPEXPIREAT h 9000000000001 xx gt FIELDS 1 b",
    ]);
    let dir = with_files(&base_file(), &incr);
    let mut server = Server::start_in(dir, &["--appendonly", "yes"]);
    server.check(&[
        ("HPEXPIRETIME h FIELDS 4 a b c d", "[:253402300799000 :9000000000001 :-1 :9000000000000]"),
        ("HPEXPIRETIME k FIELDS 1 f", "[:253402300799000]"),
        (
            "HPEXPIREAT h 253402300799000 FIELDS 1 c",
            "ERR invalid expire time in 'hpexpireat' command",
        ),
    ]);
    assert!(!server.log().contains("CRITICAL"), "{}", server.log());
}

/// What could not be written before a rewrite is in its base: it is executed once, in the database that it was meant
/// for. Until there is that base, nothing more is written.
#[test]
fn what_a_full_disk_kept_back_counts_once_after_a_rewrite() {
    let mut server = on_full_disk(&["--appendfsync", "everysec", "--snapshot-method", "fork"]);
    let mut client = server.raw();
    client.send("SELECT 5\r\nRPUSH list e\r\nINCR count\r\n");
    client.expect("+OK\r\n:1\r\n:1\r\n");
    server.wait_info("aof_last_write_status", "err");
    let refusal = "MISCONF Errors writing to the AOF file: No space left on device";
    // A rewrite that fails changes nothing.
    server.check(&[("CONFIG SET rdb-key-save-delay 10000000", "OK")]);
    server.text(&["BGREWRITEAOF"]);
    server.wait_info("aof_rewrite_in_progress", "1");
    assert_eq!(client.ask("INCR count"), format!("-{refusal}"));
    let pid = server.info_text("process_id").expect("it");
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("them");
    let killed = Command::new("kill").arg("-USR1").args(children.split_whitespace()).status();
    assert!(killed.expect("a program").success());
    server.wait_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.ask("INCR count"), format!("-{refusal}"));
    assert_eq!(client.ask("WAITAOF 1 0 1"), "*2");
    client.expect(":0\r\n:0\r\n");

    server.check(&[("CONFIG SET rdb-key-save-delay 0", "OK")]);
    server.text(&["BGREWRITEAOF"]);
    server.wait_info("aof_last_write_status", "ok");
    assert_eq!(client.ask("INCR count"), ":2");
    assert_eq!(client.ask("WAITAOF 1 0 0"), "*2");
    client.expect(":1\r\n:0\r\n");
    server.kill();
    let mut server = Server::start_in(server.into_dir(), &["--appendonly", "yes"]);
    assert_eq!(server.text(&["DBSIZE"]), ":1", "{}", server.log());
    let mut client = server.raw();
    client.send("SELECT 5\r\nLRANGE list 0 -1\r\nGET count\r\n");
    client.expect("+OK\r\n*1\r\n$1\r\ne\r\n$1\r\n2\r\n");
}

#[test]
fn what_is_not_durable_is_not_acknowledged() {
    let mut server = on_full_disk(&["--appendfsync", "always"]);
    let mut connection = server.connect();
    let outcome: redis::RedisResult<String> =
        redis::cmd("SET").arg("key").arg("1").query(&mut connection);
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(server.wait_exit(), Some(1));
}

/// Runs the binary under another name.
fn check(name: &str, args: &[&str], path: &Path) -> (String, Option<i32>) {
    let Output { stdout, status, .. } = Command::new(crate::harness::program())
        .arg0(name)
        .args(args)
        .arg(path)
        .output()
        .expect("the program runs");
    (String::from_utf8_lossy(&stdout).into_owned(), status.code())
}

#[test]
fn the_checkers_are_names_of_the_binary() {
    let base = base_file();
    let incr = commands(&["SELECT 0", "SET a 1", "SET b 2"]);
    let dir = with_files(&base, &incr);
    let files = aof_dir(dir.path());
    let manifest = files.join("appendonly.aof.manifest");
    for name in ["redis-check-aof", "/usr/bin/valkey-check-aof"] {
        let (text, code) = check(name, &[], &manifest);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("RDB preamble is OK, proceeding with AOF tail"), "{text}");
        assert!(text.ends_with("All AOF files and manifest are valid\n"), "{text}");
    }
    fs::write(files.join("appendonly.aof.1.incr.aof"), &incr[..incr.len() - 1]).expect("a file");
    let (text, code) = check("redis-check-aof", &[], &manifest);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is not valid. Use the --fix option to try fixing it."), "{text}");
    let (text, code) = check("redis-check-rdb", &[], &files.join("appendonly.aof.1.base.rdb"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\\o/ RDB looks OK! \\o/\n[info] 2 keys read"), "{text}");
    let cut = files.join("cut.rdb");
    fs::write(&cut, &base[..base.len() / 2]).expect("a file");
    let (text, code) = check("valkey-check-rdb", &[], &cut);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--- RDB ERROR DETECTED ---"), "{text}");
}

/// On a terminal, and only there, a bar shows how far a large file has been checked.
#[test]
fn a_bar_is_for_terminals() {
    let dir = TempDir::new().expect("a directory");
    let value = "x".repeat(500_000);
    let path = dir.path().join("large.aof");
    fs::write(&path, commands(&[&format!("SET key {value}")]).repeat(40)).expect("a file");
    let checker = dir.path().join("redis-check-aof");
    std::os::unix::fs::symlink(crate::harness::program(), &checker).expect("a link");
    let run = |program: &str, args: &[&str]| {
        let Output { stdout, stderr, .. } =
            Command::new(program).args(args).output().expect("the program runs");
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    };
    let (checker, path) = (checker.to_str().expect("a text"), path.to_str().expect("a text"));
    let plain = run(checker, &[path]);
    assert!(plain.contains("is valid") && !plain.contains("% of"), "{plain}");
    let shown = run("script", &["-qec", &format!("{checker} {path}"), "/dev/null"]);
    assert!(shown.contains("is valid") && shown.contains("% of 19.07M done"), "{shown}");
}

#[test]
fn faults_are_found_where_redis_finds_them() {
    let dir = TempDir::new().expect("a directory");
    let whole = commands(&["SET a 1"]);
    let tail = "is not valid. Use the --fix option to try fixing it.";
    for (fault, text) in [
        (
            "*",
            "0x              1b: Expected \\r\\n, got: 0000\nAOF analyzed: filename=F, size=28, ok_up_to=27, ok_up_to_line=8, diff=1\n",
        ),
        ("*2\r\n", "AOF analyzed: filename=F, size=31, ok_up_to=27, ok_up_to_line=9, diff=4\n"),
        (
            "*2\r\nx",
            "0x              1f: Expected prefix '$', got: 'x'\nAOF analyzed: filename=F, size=32, ok_up_to=27, ok_up_to_line=9, diff=5\n",
        ),
        (
            "*1\r\n$4\r\nPI",
            "0x              23: Expected to read 6 bytes, got 2 bytes\nAOF analyzed: filename=F, size=37, ok_up_to=27, ok_up_to_line=10, diff=10\n",
        ),
        (
            "*1\r\n$-1\r\n",
            "0x              1f: Expected to read string of -1 bytes, which is not in the suitable range\nAOF analyzed: filename=F, size=36, ok_up_to=27, ok_up_to_line=10, diff=9\n",
        ),
        (
            "*1\r\n$4\r\nEXEC\r\n",
            "0x              23: Unexpected EXEC in AOF F\nAOF analyzed: filename=F, size=41, ok_up_to=27, ok_up_to_line=11, diff=14\n",
        ),
        (
            "*1\r\n$5\r\nMULTI\r\n",
            "0x              23: Reached EOF before reading EXEC for MULTI\nAOF analyzed: filename=F, size=42, ok_up_to=27, ok_up_to_line=11, diff=15\n",
        ),
        (
            "no",
            "AOF F format error\nAOF analyzed: filename=F, size=29, ok_up_to=27, ok_up_to_line=8, diff=2\n",
        ),
    ] {
        let path = dir.path().join("file");
        fs::write(&path, [&whole, fault.as_bytes()].concat()).expect("a file");
        let (answer, code) = check("redis-check-aof", &[], &path);
        let answer = answer.replace(path.to_str().expect("a path"), "F");
        assert_eq!(answer, format!("Start checking Old-Style AOF\n{text}AOF F {tail}\n"));
        assert_eq!(code, Some(1));
    }
}

#[test]
fn a_damaged_snapshot_is_described() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("file");
    fs::write(&path, b"REDIS0009\xfa\x01a\x01b\x00\x03key\x05val").expect("a file");
    let (answer, code) = check("redis-check-rdb", &[], &path);
    let (_, answer) = answer.split_once('\n').expect("lines");
    assert_eq!(
        answer,
        "[offset 14] AUX FIELD a = 'b'\n--- RDB ERROR DETECTED ---\n[offset 23] Unexpected EOF reading RDB file\n\
         [additional info] While doing: read-object-value\n[additional info] Reading key 'key'\n\
         [additional info] Reading type 0 (string)\n[info] 1 keys read\n[info] 0 expires\n[info] 0 already expired\n"
    );
    assert_eq!(code, Some(1));
}

/// A file may hold anything. What would make its reader a replica, end the server or load the file again is refused.
#[test]
fn commands_that_have_no_place_in_a_file() {
    let incr = commands(&[
        "SELECT 0",
        "SET a 1",
        "MONITOR",
        "PSYNC ? -1",
        "SYNC",
        "SHUTDOWN",
        "DEBUG LOADAOF",
        "DEBUG RELOAD",
        "SUBSCRIBE channel",
        "BLPOP list 0",
        "WATCH a",
        "SET b 2",
    ]);
    let mut server = Server::start_in(with_files(b"", &incr), &["--appendonly", "yes"]);
    assert_eq!(server.text(&["DBSIZE"]), ":2");
    assert_eq!(server.info("connected_slaves"), 0);
}

/// A child that survives the server has nobody to take its file.
#[test]
fn a_rewrite_without_a_server_leaves_nothing() {
    let options = ["--appendonly", "yes", "--rdb-key-save-delay", "10000"];
    let mut server = Server::start(&[&options[..], &["--enable-debug-command", "yes"]].concat());
    server.text(&["DEBUG", "POPULATE", "100"]);
    server.text(&["BGREWRITEAOF"]);
    let dir = server.dir().to_path_buf();
    let is_writing = || {
        let mut files = fs::read_dir(&dir).expect("a directory").flatten();
        files.any(|file| file.file_name().to_string_lossy().starts_with("temp-rewriteaof"))
    };
    wait_for("the child to write", || is_writing().then_some(()));
    server.kill();
    wait_for("the child to give up", || (!is_writing()).then_some(()));
}

/// What nobody keeps must not fill the disk.
#[test]
fn messages_are_not_in_the_file() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    server.text(&["SET", "key", "value"]);
    let size = server.info_text("aof_current_size");
    server.text(&["PUBLISH", "channel", "message"]);
    server.text(&["SPUBLISH", "channel", "message"]);
    server.text(&["EVAL", "return redis.call('publish', 'channel', 'message')", "0"]);
    assert_eq!(server.info_text("aof_current_size"), size);
}

#[test]
fn debug_loadaof_says_that_there_is_nothing_to_load() {
    let mut server = Server::start(&["--enable-debug-command", "yes"]);
    let refusal = "ERR Error trying to load the AOF files, check server logs.";
    assert_eq!(server.text(&["DEBUG", "LOADAOF"]), refusal);
    assert_eq!(server.text(&["PING"]), "PONG");
}

#[test]
fn waitaof_waits_for_the_disk() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    server.text(&["SET", "key", "value"]);
    assert_eq!(server.text(&["WAITAOF", "1", "0", "0"]), "[:1 :0]");
    let in_script = server.text(&["EVAL", "return redis.call('waitaof', 1, 0, 0)", "0"]);
    assert!(in_script.contains("not allowed from script"), "{in_script}");
    let refused = server.text(&["WAITAOF", "2", "0", "0"]);
    assert_eq!(refused, "ERR value is out of range, value must between 0 and 1");
    server.text(&["CONFIG", "SET", "appendonly", "no"]);
    assert_eq!(
        server.text(&["WAITAOF", "1", "0", "0"]),
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    );
}

/// Files of servers that wrote the scripts themselves (Redis before 7) are loaded by a replica too.
#[test]
fn a_replica_loads_scripts_of_its_file() {
    let mut incr = commands(&["SELECT 0"]);
    for script in ["redis.call('set',KEYS[1],'100')", "redis.call('incr',KEYS[1])"] {
        aeolis::resp::encode::encode_command(
            &[b"EVAL", script.as_bytes(), b"1", b"key"],
            &mut incr,
        );
    }
    let dir = with_files(b"", &incr);
    let options = ["--appendonly", "yes", "--replicaof", "127.0.0.1 1"];
    let mut server = Server::start_in(dir, &options);
    assert_eq!(server.text(&["GET", "key"]), "101");
}

/// Operators and their tools look at the log's last line.
#[test]
fn the_last_line_of_the_log_says_what_is_wrong_with_the_file() {
    let select = commands(&["SELECT 0"]);
    for (rest, words) in [
        (&b"*1\r\n$x\r\n"[..], "Bad file format reading the append only file"),
        (b"*3\r\n$3\r\nSET", "Unexpected end of file reading the append only file"),
        (b"*1\r\n$3\r\nbla\r\n", "Unknown command 'bla' reading the append only file"),
    ] {
        let dir = with_files(&base_file(), &[&select, rest].concat());
        let output = Command::new(env!("CARGO_BIN_EXE_aeolis"))
            .args(["--port", "0", "--unixsocket", "sock", "--aof-load-truncated", "no", "--dir"])
            .arg(dir.path())
            .args(ALWAYS)
            .output()
            .expect("the program runs");
        let log = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.lines().last().is_some_and(|line| line.contains(words)), "{log}");
    }
}
