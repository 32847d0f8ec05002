//! Memory over the wire: what is freed goes back to the system, what is used is counted, and `INFO` and `MEMORY` tell
//! both as Redis does.

use crate::harness::{Server, wait_for};

const MB: usize = 1 << 20;
/// What may stay resident of what was freed: an empty page of each size class, and what lies between other things.
const REST: i64 = 12 * MB as i64;

fn rss(server: &mut Server) -> i64 {
    server.info("used_memory_rss")
}

/// Adds so many elements to what the key `k` holds, a hundred at a time; of `command` without a key, `k1` and so on.
fn fill(server: &mut Server, filling: &Filling, elements: usize) {
    let script = format!(
        "for i = 1, ARGV[1], 100 do
           local args = {{}}
           for j = i, i + 99 do {} end
           redis.call('{}', unpack(args))
         end",
        filling.element, filling.command
    );
    assert_eq!(server.text(&["EVAL", &script, "1", "k", &elements.to_string()]), "nil");
}

/// Waits until what the process holds has fallen to what it held before.
fn wait_until_given_back(server: &mut Server, before: i64, what: &str) {
    wait_for(&format!("memory to be given back after {what}"), || {
        (rss(server) < before + REST).then_some(())
    });
}

/// A command, and Lua that adds its element `j` to `args`; each is some 400 bytes long.
struct Filling {
    command: &'static str,
    element: &'static str,
}

const STRINGS: Filling = Filling {
    command: "mset",
    element: "args[#args + 1] = 'k' .. j; args[#args + 1] = string.rep('x', 400)",
};
const LIST: Filling =
    Filling { command: "rpush", element: "args[1] = 'k'; args[#args + 1] = string.rep('x', 400)" };
const SET: Filling = Filling {
    command: "sadd",
    element: "args[1] = 'k'; args[#args + 1] = string.rep('x', 400) .. j",
};
const HASH: Filling = Filling {
    command: "hset",
    element: "args[1] = 'k'; args[#args + 1] = 'f' .. j; args[#args + 1] = string.rep('x', 400)",
};
const ZSET: Filling = Filling {
    command: "zadd",
    element: "args[1] = 'k'; args[#args + 1] = j; args[#args + 1] = string.rep('x', 400) .. j",
};
const STREAM: Filling =
    Filling { command: "xadd", element: "args = {'k', '*', 'field', string.rep('x', 40000)}" };

#[test]
fn flushed_keys_are_given_back() {
    let mut server = Server::start(&[]);
    let before = rss(&mut server);
    for flush in ["FLUSHALL", "FLUSHALL SYNC", "FLUSHDB ASYNC"] {
        fill(&mut server, &STRINGS, 60_000);
        assert!(rss(&mut server) > before + REST);
        assert_eq!(server.line(flush), "OK");
        wait_until_given_back(&mut server, before, flush);
    }
}

#[test]
fn deleted_collections_are_given_back() {
    let mut server = Server::start(&[]);
    let before = rss(&mut server);
    let mut check = |filling: &Filling, elements: usize, delete: &str| {
        fill(&mut server, filling, elements);
        assert!(rss(&mut server) > before + REST);
        server.line(delete);
        server.line("DEL k");
        wait_until_given_back(&mut server, before, &format!("{delete}, {}", filling.command));
    };
    // The larger ones are freed by the background thread, whoever deletes them.
    for filling in [&LIST, &SET, &HASH, &ZSET, &STREAM] {
        check(filling, 40_000, "DEL k");
    }
    for delete in ["UNLINK k", "SET k v", "PEXPIRE k 1", "SUNIONSTORE k none"] {
        check(&SET, 60_000, delete);
    }
}

/// What is left between deleted keys moves together, and is the same as before.
#[test]
fn active_defragmentation_gives_memory_back() {
    let mut server = Server::start(&["--active-defrag-ignore-bytes", "1mb"]);
    if server.info_text("mem_allocator").as_deref() == Some("libc") {
        let refusal = server.line("CONFIG SET activedefrag yes");
        assert!(refusal.contains("cannot be enabled"), "{refusal}");
        return;
    }
    let script = "for i = ARGV[1], ARGV[2] do
           local text = string.rep('x', 20 + i * 7 % 380) .. i
           redis.call('set', 'k' .. i, text)
           if i % 5 == 0 then
             redis.call('sadd', 'set', text); redis.call('hset', 'hash', i, text)
             redis.call('zadd', 'zset', i % 10, text); redis.call('rpush', 'list', text)
             redis.call('xadd', 'stream', i .. '-1', 'field', text)
           end
         end";
    let delete =
        "for i = ARGV[1], ARGV[2] do if i % 5 ~= 0 then redis.call('del', 'k' .. i) end end";
    for script in [script, delete] {
        for i in (1..60_000).step_by(2000) {
            let (from, to) = (i.to_string(), (i + 1999).to_string());
            assert_eq!(server.text(&["EVAL", script, "0", &from, &to]), "nil");
        }
    }
    let (digest, used) = (server.line("DEBUG DIGEST"), server.info("used_memory"));
    let (holes, before) = (server.info("allocator_frag_bytes"), rss(&mut server));
    assert!(holes > 8 * MB as i64, "{holes}");
    server.check(&[("CONFIG SET activedefrag yes", "OK")]);
    wait_for("holes to be filled and given back", || {
        let is_done = server.info("allocator_frag_bytes") < holes / 4
            && rss(&mut server) < before - holes / 2;
        is_done.then_some(())
    });
    server.wait_info("active_defrag_running", "0");
    assert_eq!(server.line("DEBUG DIGEST"), digest);
    assert!(server.info("used_memory").abs_diff(used) < MB as u64 / 4);
    assert!(server.info("active_defrag_hits") > server.info("active_defrag_key_hits"));
    assert!(server.info("active_defrag_key_hits") > 3000);
    assert_eq!(server.info("current_active_defrag_time"), 0);
    server.check(&[("CONFIG RESETSTAT", "OK")]);
    assert_eq!(server.info("active_defrag_hits"), 0);
    // The order of the sorted set is whole.
    server.check(&[
        ("ZCARD zset", ":12000"),
        ("ZCOUNT zset 5 5", ":6000"),
        ("XLEN stream", ":12000"),
    ]);
}

/// A huge page is resident as a whole, however little of it is used. Two may be had before the program begins.
#[test]
fn an_empty_server_has_no_huge_pages() {
    let mut server = Server::start(&[]);
    let pid = server.info("process_id");
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("its memory");
    let line = smaps.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kilobytes: i64 =
        line.expect("the field").trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes <= 4096, "{kilobytes} kB");
}

/// Growing by pieces must not take the old and the new place of a large string at once, nor keep what it outgrew.
#[test]
fn a_string_that_grows_does_not_take_its_size_twice() {
    let mut server = Server::start(&[]);
    let before = rss(&mut server);
    let piece = "x".repeat(4 * MB);
    let mut peak = 0;
    for n in 1..=48 {
        assert_eq!(server.text(&["APPEND", "k", &piece]), format!(":{}", n * piece.len()));
        peak = peak.max(rss(&mut server));
    }
    let held = 48 * piece.len() as i64;
    assert!(peak < before + held + held / 3, "{peak} at most, {held} of them the string");
    assert_eq!(server.line("SETRANGE k 250000000 x"), ":250000001");
    assert_eq!(server.line("SETBIT k 2080000000 1"), ":0");
    assert_eq!(server.line("STRLEN k"), ":260000001");
    assert!(rss(&mut server) < before + 350_000_000);
    assert_eq!(server.line("GETRANGE k 201326590 201326592"), "xx\0");
    assert_eq!(server.line("DEL k"), ":1");
    wait_until_given_back(&mut server, before, "DEL of a long string");
}

/// The most memory that the server has ever held, in bytes.
fn peak(server: &mut Server) -> i64 {
    let pid = server.info("process_id");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kilobytes: i64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// What is read of a large argument becomes the value.
#[test]
fn a_large_value_is_not_held_twice() {
    let value = "x".repeat(48 * MB);
    let commands: [&[&str]; 7] = [
        &["SET", "k", &value],
        &["SET", "k", &value, "EX", "100"],
        &["SETEX", "k", "100", &value],
        &["GETSET", "k", &value],
        &["MSET", "other", "v", "k", &value],
        &["APPEND", "k", &value],
        &["SETNX", "k", &value],
    ];
    for command in commands {
        let mut server = Server::start(&[]);
        let before = rss(&mut server);
        server.text(command);
        let taken = peak(&mut server) - before;
        assert!(taken < 48 * MB as i64 + REST, "{} took {taken}", command[0]);
        let changed = [&value[..], "y"].concat();
        assert_eq!(server.text(&["GETRANGE", "k", "-2", "-1"]), "xx");
        assert_eq!(server.text(&["APPEND", "k", "y"]), format!(":{}", changed.len()));
        assert!(server.text(&["GET", "k"]) == changed, "{} spoils the value", command[0]);
        server.line("DEL k");
        wait_until_given_back(&mut server, before, command[0]);
    }
}

/// Each large value of a command comes into a buffer of its own, and stays there.
#[test]
fn many_large_values_are_not_held_twice() {
    for (size, count) in [(2 * MB, 24), (100_000, 480), (40_000, 1200)] {
        for (command, options) in [("MSET", &[][..]), ("MSETNX", &[]), ("MSETEX", &["KEEPTTL"])] {
            let mut server = Server::start(&[]);
            let before = rss(&mut server);
            let mut args = vec![command.to_string()];
            if command == "MSETEX" {
                args.push(count.to_string());
            }
            for i in 0..count {
                args.extend([format!("k{i}"), format!("{}{i:04}", "x".repeat(size - 4))]);
            }
            args.extend(options.iter().map(|option| option.to_string()));
            let reply = server.text(&args.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(["OK", ":1"].contains(&&*reply), "{command}: {reply}");
            let taken = peak(&mut server) - before;
            let data = (size * count) as i64;
            assert!(taken < data + data / 8 + REST, "{command}: {count} of {size} took {taken}");
            for i in [0, 1, count - 2, count - 1] {
                assert_eq!(server.line(&format!("STRLEN k{i}")), format!(":{size}"));
                assert_eq!(server.line(&format!("GETRANGE k{i} -5 -1")), format!("x{i:04}"));
            }
        }
    }
}

/// A request that has to wait, or is queued, is the same when its time comes.
#[test]
fn large_arguments_that_lie_apart_may_wait() {
    let mut server = Server::start(&[]);
    let value = |byte: &str| byte.repeat(100_000);
    let (a, b, c) = (value("a"), value("b"), value("c"));
    let mset = ["MSET", "a", &a, "b", &b, "c", &c, "d", "small"];
    server.check(&[("CLIENT PAUSE 100000 WRITE", "OK")]);
    let mut paused = server.raw();
    paused.command(&mset);
    paused.send("GETRANGE b -2 -1\r\n");
    server.wait_info("blocked_clients", "1");
    server.check(&[("EXISTS a b c d", ":0"), ("CLIENT UNPAUSE", "OK")]);
    assert_eq!(paused.line(), "+OK");
    assert_eq!((paused.line(), paused.line()), ("$2".to_string(), "bb".to_string()));
    server.check(&[("STRLEN c", ":100000"), ("GET d", "small"), ("DEL a b c d", ":4")]);
    server.check(&[("MULTI", "OK")]);
    assert_eq!(server.text(&mset), "QUEUED");
    assert_eq!(server.text(&["RPUSH", "l", &a, &b, &c]), "QUEUED");
    assert_eq!(server.text(&["SADD", "s", &a, &b, &c]), "QUEUED");
    assert_eq!(server.line("EXEC"), "[OK :3 :3]");
    assert!(server.line("LINDEX l 1") == b && server.line("GET c") == c);
    assert_eq!(server.text(&["SMISMEMBER", "s", &a, &b, "c"]), "[:1 :1 :0]");
    assert_eq!(
        server.text(&["MSET", "a", &a, "b", &b, "c"]),
        "ERR wrong number of arguments for 'mset' command"
    );
    assert_eq!(
        server.text(&["nosuch", &a, &b, "c"]).split(',').next(),
        Some("ERR unknown command 'nosuch'")
    );
    assert_eq!(server.text(&["EXISTS", &a, &b, "c"]), ":1");
}

/// The backlog takes its own size, however much one command brings.
#[test]
fn a_large_value_is_not_held_for_the_backlog() {
    let mut server = Server::start(&[]);
    drop(server.replication_stream());
    server.wait_info("connected_slaves", "0");
    let value = "x".repeat(48 * MB);
    let before = rss(&mut server);
    assert_eq!(server.text(&["SET", "k", &value]), "OK");
    let taken = peak(&mut server) - before;
    assert!(taken < 48 * MB as i64 + REST, "{taken}");
    assert!((MB as i64..2 * MB as i64).contains(&server.info("repl_backlog_histlen")));
    assert_eq!(server.line("GETRANGE k -2 -1"), "xx");
}

#[test]
fn a_large_message_is_not_held_twice() {
    let message = "x".repeat(48 * MB);
    for command in ["ECHO", "PING"] {
        let mut server = Server::start(&[]);
        let before = rss(&mut server);
        assert!(server.text(&[command, &message]) == message, "{command} spoils it");
        let taken = peak(&mut server) - before;
        assert!(taken < 48 * MB as i64 + REST, "{command} took {taken}");
        server.check(&[("MULTI", "OK")]);
        assert_eq!(server.text(&[command, &message]), "QUEUED");
        assert!(server.text(&["EXEC"]).contains(&message), "{command} spoils it in a transaction");
    }
}

/// What is executed of a transaction makes room for what it stores.
#[test]
fn a_transaction_is_not_held_beside_what_it_stores() {
    for (size, count) in [(2 * MB, 24), (24 * MB, 2), (10_000, 4800)] {
        let mut server = Server::start(&[]);
        let before = rss(&mut server);
        assert_eq!(server.line("MULTI"), "OK");
        for i in 0..count {
            let value = format!("{}{i:04}", "x".repeat(size - 4));
            assert_eq!(server.text(&["SET", &format!("k{i}"), &value]), "QUEUED");
        }
        server.line("EXEC");
        let taken = peak(&mut server) - before;
        assert!(taken < 48 * MB as i64 + REST, "{count} of {size} bytes took {taken}");
        assert_eq!(server.line("STRLEN k1"), format!(":{size}"));
        assert_eq!(server.line("GETRANGE k1 -5 -1"), "x0001");
    }
}

#[test]
fn what_a_command_needs_for_a_moment_is_given_back() {
    let mut server = Server::start(&[]);
    let before = rss(&mut server);
    server.line("SETRANGE a 4000 x");
    server.line("SETRANGE b 4000 x");
    assert_eq!(server.line("LCS a b LEN"), ":4001");
    wait_until_given_back(&mut server, before, "LCS");
}

#[test]
fn memory_purge_gives_back_at_once() {
    let mut server = Server::start(&[]);
    let before = rss(&mut server);
    fill(&mut server, &STRINGS, 40_000);
    // Too few keys to be freed in the background.
    assert_eq!(server.line("FLUSHALL"), "OK");
    assert_eq!(server.line("MEMORY PURGE"), "OK");
    let left = rss(&mut server) - before;
    assert!(left < REST, "{left} bytes stay");
    assert!(server.line("MEMORY MALLOC-STATS").contains("purge"));
}

/// After every way to make and to delete a value, what is used is what was used before.
#[test]
fn used_memory_does_not_drift() {
    // What is logged is used, too, and so is what is counted of each command's times.
    let mut server =
        Server::start(&["--slowlog-log-slower-than", "-1", "--latency-tracking", "no"]);
    let round = |server: &mut Server| {
        for filling in [&LIST, &SET, &HASH, &ZSET, &STREAM] {
            for delete in [
                "DEL k",
                "UNLINK k",
                "SET k v",
                "PEXPIRE k 1",
                "RENAME k1 k",
                "COPY k1 k REPLACE",
                "MOVE k 1",
                "SWAPDB 0 1",
                "SORT k1 STORE k",
                "RESTORE k 0 invalid REPLACE",
                "SUNIONSTORE k none",
                "ZUNIONSTORE k 1 none",
                "GETDEL k",
                "APPEND k x",
                "SETRANGE k 40000 x",
                "SETBIT k 40000 1",
                "SPOP k 3000",
                "LPOP k 3000",
                "LTRIM k 1 0",
                "XTRIM k MAXLEN 0",
                "ZPOPMIN k 3000",
                "HEXPIRE k 1000 FIELDS 1 1",
                "FLUSHDB",
                "DEBUG RELOAD",
            ] {
                fill(server, filling, 200);
                server.line("RPUSH k1 3 1 2");
                server.line(delete);
                server.line("FLUSHALL");
            }
        }
        wait_for("what is freed in the background", || {
            (server.info("lazyfree_pending_objects") == 0).then_some(())
        });
        server.info("used_memory")
    };
    // Rounds make what stays: buffers, threads, books, most of it in the first one. A leak shows in each of them.
    let used: Vec<i64> = (0..4).map(|_| round(&mut server)).collect();
    assert!(used.windows(2).any(|pair| pair[1] < pair[0] + 32_768), "{used:?}");
}

/// The books of those who listen, watch and wait are as small afterwards as before.
#[test]
fn what_clients_leave_behind_is_freed() {
    let mut server = Server::start(&["--slowlog-log-slower-than", "-1"]);
    let names: Vec<String> = (0..20_000).map(|n| format!("name {n}")).collect();
    let before = server.info("used_memory");
    for command in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "WATCH", "BLPOP"] {
        let mut raw = server.raw();
        let mut args: Vec<&str> = vec![command];
        args.extend(names.iter().map(String::as_str));
        if command == "BLPOP" {
            args.push("0");
        }
        raw.command(&args);
        wait_for(&format!("{command} to take memory"), || {
            (server.info("used_memory") > before + MB as i64).then_some(())
        });
        drop(raw);
        wait_for(&format!("memory after {command}"), || {
            (server.info("used_memory") < before + MB as i64 / 2).then_some(())
        });
    }
}

/// The fields hang together as Redis defines them.
#[test]
fn fragmentation_is_told_as_redis_tells_it() {
    let mut server = Server::start(&[]);
    fill(&mut server, &STRINGS, 40_000);
    let (used, rss) = (server.info("used_memory"), rss(&mut server));
    let resident = server.info("allocator_resident");
    assert!(
        used > 16 * MB as i64 && resident > used / 2 && rss > resident,
        "{used} {resident} {rss}"
    );
    let near = |a: i64, b: i64| (a - b).abs() < MB as i64;
    assert!(near(server.info("mem_fragmentation_bytes"), rss - used));
    assert!(near(server.info("allocator_frag_bytes"), server.info("allocator_active") - used));
    assert!(near(server.info("rss_overhead_bytes"), rss - resident));
    for (field, wanted) in [
        ("mem_fragmentation_ratio", rss as f64 / used as f64),
        ("rss_overhead_ratio", rss as f64 / resident as f64),
    ] {
        let ratio: f64 = server.info_text(field).unwrap().parse().unwrap();
        assert!((ratio - wanted).abs() < 0.1, "{field}: {ratio} and not {wanted}");
    }
}

/// Data that were deleted make room at once, though their memory is freed in the background.
#[test]
fn who_deletes_much_has_room_for_more() {
    let mut server = Server::start(&[]);
    for delete in ["FLUSHALL", "FLUSHALL ASYNC", "DEL k", "UNLINK k"] {
        server.line("CONFIG SET maxmemory 0");
        fill(&mut server, &SET, 60_000);
        server.line("CONFIG SET maxmemory 16mb");
        assert!(server.line("SET new value").starts_with("OOM"));
        let mut raw = server.raw();
        raw.send(format!("{delete}\r\nSET new value\r\n"));
        let deleted = raw.line();
        assert!(["+OK", ":1"].contains(&&*deleted), "{deleted}");
        assert_eq!(raw.line(), "+OK", "after {delete}");
    }
}
