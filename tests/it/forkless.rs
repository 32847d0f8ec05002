//! Snapshots without a fork: whatever happens while one is made, it is the data as it was when it began.

use crate::harness::replication::line_after_newlines;
use crate::harness::{Raw, Server, send_signal, wait_for};

/// So long a wait after a key that a snapshot stands still after the first few.
const STANDS_STILL: &str = "100000000";

/// A server whose snapshots are made without a fork, and stand still until they are told to go on.
fn slow_server(options: &[&str]) -> Server {
    let slow = ["--snapshot-method", "incremental", "--rdb-key-save-delay", STANDS_STILL];
    Server::start(&[&slow[..], options].concat())
}

/// Values of every type, small and large, in a few databases.
fn fill(server: &mut Server) {
    let script = "
        for db = 0, 3 do
            redis.call('SELECT', db)
            for i = 1, 150 do
                redis.call('SET', 'string:' .. i, 'value ' .. i .. ' of database ' .. db)
                redis.call('SET', 'volatile:' .. i, i, 'EX', 10000 + i)
                redis.call('RPUSH', 'list:' .. i, i, 'a', 'b', db)
                redis.call('SADD', 'set:' .. i, i, 'a', 'b', db)
                redis.call('SADD', 'intset:' .. i, i, 1000000 + i)
                redis.call('ZADD', 'zset:' .. i, i, 'a', 2, 'b', db, 'c')
                redis.call('HSET', 'hash:' .. i, 'a', i, 'b', db)
                redis.call('XADD', 'stream:' .. i, '1-' .. i, 'a', i)
            end
            for i = 1, 700 do
                redis.call('RPUSH', 'large:list', ('x'):rep(100) .. i)
                redis.call('SADD', 'large:set', 'member' .. i)
                redis.call('ZADD', 'large:zset', i, 'member' .. i)
                redis.call('HSET', 'large:hash', 'field' .. i, i)
                redis.call('XADD', 'large:stream', i .. '-1', 'a', i)
            end
            redis.call('SET', 'large:string', ('abc'):rep(50000))
            redis.call('XGROUP', 'CREATE', 'large:stream', 'group', 0)
            redis.call('XREADGROUP', 'GROUP', 'group', 'me', 'COUNT', 5, 'STREAMS', 'large:stream', '>')
        end";
    server.text(&["EVAL", script, "0"]);
}

/// Changes of every kind to much of what [`fill`] has made, and to what it has not.
fn disturb(server: &mut Server) {
    let script = "
        for db = 0, 3 do
            redis.call('SELECT', db)
            for i = 1, 150, 2 do
                redis.call('APPEND', 'string:' .. i, 'more')
                redis.call('SET', 'new:' .. i, i)
                redis.call('PERSIST', 'volatile:' .. i)
                redis.call('PEXPIRE', 'string:' .. i, 1000000)
                redis.call('LPUSH', 'list:' .. i, 'new')
                redis.call('SREM', 'set:' .. i, 'a')
                redis.call('SADD', 'intset:' .. i, 'text')
                redis.call('ZINCRBY', 'zset:' .. i, 5, 'a')
                redis.call('HDEL', 'hash:' .. i, 'a', 'b')
                redis.call('XADD', 'stream:' .. i, '*', 'a', i)
            end
            for i = 2, 150, 6 do
                redis.call('DEL', 'string:' .. i, 'list:' .. i)
                redis.call('RENAME', 'set:' .. i, 'renamed:' .. i)
                redis.call('COPY', 'zset:' .. i, 'copied:' .. i)
                redis.call('MOVE', 'hash:' .. i, 5)
                redis.call('UNLINK', 'volatile:' .. i)
            end
            redis.call('LTRIM', 'large:list', 100, 200)
            redis.call('SREM', 'large:set', 'member1', 'member2')
            redis.call('ZREMRANGEBYRANK', 'large:zset', 0, 100)
            redis.call('HSET', 'large:hash', 'field1', 'other', 'field701', 1)
            redis.call('XACK', 'large:stream', 'group', '1-1', '2-1')
            redis.call('XTRIM', 'large:stream', 'MAXLEN', 50)
            redis.call('SETRANGE', 'large:string', 10, 'xyz')
        end";
    server.text(&["EVAL", script, "0"]);
}

/// The digest of the data, and a snapshot that begins before anything else can happen.
fn begin_snapshot(server: &mut Server, command: &str) -> String {
    let mut raw = server.raw();
    raw.send(format!("DEBUG DIGEST\r\n{command}\r\n"));
    let digest = raw.line();
    assert_eq!(raw.line(), "+Background saving started");
    digest.trim_start_matches('+').to_string()
}

/// Lets a snapshot that stands still go on, and waits for its end.
fn let_it_end(server: &mut Server) {
    assert_eq!(server.info("rdb_bgsave_in_progress"), 1, "it has not waited");
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    server.wait_info("rdb_bgsave_in_progress", "0");
}

fn digest(server: &mut Server) -> String {
    server.text(&["DEBUG", "DIGEST"])
}

/// A server on the same directory.
fn restarted(server: Server) -> Server {
    let mut server = server;
    server.kill();
    Server::start_in(server.into_dir(), &[])
}

#[test]
fn a_snapshot_is_the_data_as_it_was() {
    let mut server = slow_server(&[]);
    fill(&mut server);
    let before = begin_snapshot(&mut server, "BGSAVE");
    assert!(server.children().is_empty(), "nobody has been forked");
    assert_eq!(server.info_text("rdb_current_bgsave_type").as_deref(), Some("forkless"));
    disturb(&mut server);
    assert_ne!(digest(&mut server), before);
    let_it_end(&mut server);
    assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
    assert_eq!(server.info_text("rdb_current_bgsave_type").as_deref(), Some("none"));
    assert_eq!(server.info_text("rdb_last_bgsave_type").as_deref(), Some("forkless"));
    assert_ne!(server.info("rdb_changes_since_last_save"), 0, "what came later is not saved");
    assert!(server.log().contains("Background saving started without fork"), "{}", server.log());
    assert!(server.temporary_files().is_empty(), "{:?}", server.temporary_files());
    assert_eq!(digest(&mut restarted(server)), before);
}

#[test]
fn databases_may_be_swapped_and_emptied_meanwhile() {
    let mut server = slow_server(&[]);
    fill(&mut server);
    let before = begin_snapshot(&mut server, "BGSAVE");
    for line in ["SWAPDB 0 3", "SWAPDB 1 9", "SELECT 2", "FLUSHDB", "SET string:1 new", "SELECT 0"]
    {
        server.line(line);
    }
    disturb(&mut server);
    server.line("SWAPDB 3 2");
    server.line("FLUSHDB ASYNC");
    let_it_end(&mut server);
    assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
    assert_eq!(digest(&mut restarted(server)), before);
}

#[test]
fn what_expires_or_is_evicted_meanwhile_was_there() {
    let mut server = slow_server(&["--hz", "100"]);
    let script =
        "for i = 1, 500 do redis.call('SET', KEYS[1] .. i, ('x'):rep(500), ARGV[1], ARGV[2]) end";
    let at = "9000000000000";
    server.text(&["EVAL", script, "1", "volatile:", "PXAT", at]);
    server.text(&["EVAL", script, "1", "other:", "PXAT", at]);
    server.text(&["HSET", "hash", "a", "1", "b", "2"]);
    server.text(&["HPEXPIREAT", "hash", at, "FIELDS", "1", "a"]);
    let before = begin_snapshot(&mut server, "BGSAVE");
    // All of the first five hundred expire, by themselves.
    let shorten = "for i = 1, 500 do redis.call('PEXPIRE', KEYS[1] .. i, 1) end";
    server.text(&["EVAL", shorten, "1", "volatile:"]);
    server.text(&["HPEXPIRE", "hash", "1", "FIELDS", "1", "a"]);
    server.wait_info("expired_keys", "500");
    server.wait_for("HLEN hash", |len| len == ":1");
    // Some of the others are evicted.
    server.text(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    server.text(&["CONFIG", "SET", "maxmemory", "1"]);
    server.wait_for("DBSIZE", |len| len == ":0");
    server.text(&["CONFIG", "SET", "maxmemory", "0"]);
    let_it_end(&mut server);
    let mut server = restarted(server);
    assert_eq!(server.text(&["DBSIZE"]), ":1001");
    assert_eq!(digest(&mut server), before);
}

/// Fills large values of every type, some of the hashes with fields that expire.
fn fill_large(server: &mut Server) {
    let script = "
        for _, n in ipairs({1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13}) do
            for i = 1, 1500 do
                redis.call('SADD', 'set:' .. n, 'member' .. i)
                redis.call('ZADD', 'zset:' .. n, i, 'member' .. i)
                redis.call('HSET', 'hash:' .. n, 'field' .. i, ('a value'):rep(10) .. i)
                redis.call('RPUSH', 'list:' .. n, ('element'):rep(10) .. i)
                redis.call('XADD', 'stream:' .. n, '5-' .. i, 'field', ('a value'):rep(5) .. i)
                if n % 2 == 0 and i < 100 then
                    redis.call('HPEXPIREAT', 'hash:' .. n, 9000000000000 + i, 'FIELDS', 1, 'field' .. i)
                end
            end
            redis.call('SET', 'string:' .. n, ('a long string'):rep(10000) .. n)
            redis.call('XGROUP', 'CREATE', 'stream:' .. n, 'group', 0)
            redis.call('XREADGROUP', 'GROUP', 'group', 'me', 'COUNT', 50, 'STREAMS', 'stream:' .. n, '>')
        end";
    server.text(&["EVAL", script, "0"]);
}

/// Changes every large value in a way of its own.
fn disturb_large(server: &mut Server) {
    let script = "
        local function change(n)
            for i = 1, 1500, 7 do
                redis.call('SREM', 'set:' .. n, 'member' .. i)
                redis.call('SADD', 'set:' .. n, 'new' .. i)
                redis.call('ZINCRBY', 'zset:' .. n, 10, 'member' .. i)
                redis.call('ZADD', 'zset:' .. n, i, 'new' .. i)
                redis.call('HSET', 'hash:' .. n, 'field' .. i, 'short', 'new' .. i, i)
                redis.call('HDEL', 'hash:' .. n, 'field' .. i + 1)
                redis.call('HPEXPIRE', 'hash:' .. n, 1000000, 'FIELDS', 1, 'field' .. i + 2)
            end
            redis.call('SPOP', 'set:' .. n, 100)
            redis.call('ZREMRANGEBYRANK', 'zset:' .. n, 100, 900)
            local list, stream, string = 'list:' .. n, 'stream:' .. n, 'string:' .. n
            for i = 1, 200 do
                redis.call('RPUSH', list, 'last' .. i)
                redis.call('LPUSH', list, 'first' .. i)
                redis.call('XADD', stream, '6-' .. i, 'other', i)
            end
            for i = 1, 1400, 200 do
                redis.pcall('LSET', list, i, ('set'):rep(i))
                redis.call('LINSERT', list, 'AFTER', ('element'):rep(10) .. i, 'inserted')
                redis.call('LREM', list, 0, ('element'):rep(10) .. i + 1)
                redis.call('XDEL', stream, '5-' .. i, '5-' .. i + 1)
                redis.call('XACK', stream, 'group', '5-' .. i)
                redis.call('SETRANGE', string, i, 'other')
            end
            redis.call('LTRIM', list, 10, -10)
            redis.call('LPOP', list, 300)
            redis.call('RPOP', list, 300)
            redis.call('XTRIM', stream, 'MAXLEN', 1000)
            redis.call('XGROUP', 'CREATE', stream, 'another', 0)
            redis.call('SETBIT', string, 77, 1)
            redis.call('APPEND', string, 'more')
        end
        change(1)
        redis.call('LPOP', 'list:11', 100000)
        redis.call('LTRIM', 'list:12', 1, 0)
        redis.call('XTRIM', 'stream:11', 'MAXLEN', 0)
        redis.call('XSETID', 'stream:11', '5-0')
        redis.call('XADD', 'stream:11', '5-7', 'field', 'in the place of another')
        redis.call('PEXPIRE', 'list:13', -1)
        for _, kind in ipairs({'set:', 'zset:', 'hash:', 'list:', 'stream:', 'string:'}) do
            redis.call('RENAME', kind .. 2, kind .. 9)
            redis.call('DEL', kind .. 3)
            redis.call('MOVE', kind .. 4, 5)
            redis.call('SET', kind .. 5, 'a string')
            redis.call('COPY', kind .. 6, kind .. 10)
            redis.call('RENAME', kind .. 7, kind .. 8)
        end
        change(9)
        change(10)
        change(8)
        change(3)
        redis.call('SELECT', 5)
        change(4)";
    server.text(&["EVAL", script, "0"]);
}

#[test]
fn large_values_are_handed_over_piece_by_piece() {
    for method in ["at once", "while it goes on"] {
        let mut server = slow_server(&[]);
        fill_large(&mut server);
        fill(&mut server);
        let before = begin_snapshot(&mut server, "BGSAVE");
        if method == "while it goes on" {
            server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        }
        disturb_large(&mut server);
        disturb(&mut server);
        server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        server.wait_info("rdb_bgsave_in_progress", "0");
        assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"), "{method}");
        assert_eq!(digest(&mut restarted(server)), before, "{method}");
    }
}

/// Large values alone are no reason to end a snapshot: it is what changes meanwhile that has a limit.
#[test]
fn a_value_may_be_larger_than_what_may_wait() {
    let limited = ["--snapshot-buffer-limit", "1mb", "--snapshot-method", "incremental"];
    let mut server = Server::start(&limited);
    let script = "
        redis.call('SET', 'string', ('x'):rep(20000000))
        redis.call('RPUSH', 'list', 'a', ('y'):rep(5000000), 'b')
        for i = 1, 30000 do redis.call('SADD', 'set', ('z'):rep(100) .. i) end";
    server.text(&["EVAL", script, "0"]);
    let before = begin_snapshot(&mut server, "BGSAVE");
    // What is dropped waits as it is.
    server.text(&["DEL", "set"]);
    server.wait_info("rdb_bgsave_in_progress", "0");
    assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
    assert_eq!(digest(&mut restarted(server)), before);
}

#[test]
fn the_time_that_is_left_is_told() {
    let left = "forkless_estimated_seconds_remaining";
    let mut server = slow_server(&[]);
    assert_eq!(server.info(left), -1);
    fill(&mut server);
    begin_snapshot(&mut server, "BGSAVE");
    assert_eq!(server.info(left), -1);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "1000"]);
    wait_for("an estimate", || (server.info(left) >= 0).then_some(()));
    let_it_end(&mut server);
    assert_eq!(server.info(left), -1);
}

#[test]
fn a_snapshot_that_is_called_off_leaves_large_values_alone() {
    let mut server = slow_server(&["--repl-diskless-sync-delay", "0"]);
    fill_large(&mut server);
    for _ in 0..2 {
        let replica = begin_full_sync(&server);
        server.wait_info("rdb_bgsave_in_progress", "1");
        disturb_large(&mut server);
        drop(replica);
        server.wait_info("rdb_bgsave_in_progress", "0");
        server.text(&["FLUSHALL"]);
        fill_large(&mut server);
    }
    let before = begin_snapshot(&mut server, "BGSAVE");
    disturb_large(&mut server);
    let_it_end(&mut server);
    assert_eq!(digest(&mut restarted(server)), before);
}

#[test]
fn flushing_all_ends_a_snapshot() {
    let mut server = slow_server(&[]);
    fill(&mut server);
    begin_snapshot(&mut server, "BGSAVE");
    assert_eq!(server.text(&["FLUSHALL"]), "OK");
    assert_eq!(server.info("rdb_bgsave_in_progress"), 0);
    wait_for("no file to be left", || server.temporary_files().is_empty().then_some(()));
    // The next one has what there is then.
    server.text(&["SET", "key", "value"]);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    assert_eq!(server.text(&["BGSAVE"]), "Background saving started");
    server.wait_info("rdb_bgsave_in_progress", "0");
    assert_eq!(restarted(server).text(&["DBSIZE"]), ":1");
}

#[test]
fn the_method_can_be_chosen() {
    let mut server = Server::start(&["--rdb-key-save-delay", STANDS_STILL]);
    fill(&mut server);
    server.check(&[
        ("BGSAVE FORKED", "ERR syntax error"),
        ("BGSAVE FORK SCHEDULE", "ERR syntax error"),
        ("CONFIG GET snapshot-method", "[snapshot-method fork]"),
        ("CONFIG SET bgsave-default-method forkless", "OK"),
        ("CONFIG GET snapshot-method", "[snapshot-method incremental]"),
        ("BGSAVE FORK", "Background saving started"),
    ]);
    assert_eq!(server.info_text("rdb_current_bgsave_type").as_deref(), Some("fork"));
    send_signal(server.child(), "KILL");
    server.wait_info("rdb_bgsave_in_progress", "0");
    server.check(&[
        ("CONFIG SET snapshot-method fork", "OK"),
        ("BGSAVE FORKLESS", "Background saving started"),
        ("BGSAVE SCHEDULE FORKLESS", "ERR Background save already in progress"),
    ]);
    assert_eq!(server.info_text("rdb_current_bgsave_type").as_deref(), Some("forkless"));
    assert!(server.children().is_empty());
    assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("err"));
    let_it_end(&mut server);
    assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
}

#[test]
fn a_snapshot_that_can_not_be_written_has_failed() {
    let mut server = Server::start(&["--snapshot-method", "incremental"]);
    fill(&mut server);
    // Nothing can be renamed to a directory.
    std::fs::create_dir(server.dir().join("dump.rdb")).expect("a directory");
    assert_eq!(server.text(&["BGSAVE"]), "Background saving started");
    server.wait_info("rdb_last_bgsave_status", "err");
    assert_eq!(server.info("rdb_bgsave_in_progress"), 0);
    assert!(server.log().contains("Error moving temp DB file"), "{}", server.log());
    assert!(server.log().contains("Background saving error"), "{}", server.log());
    wait_for("no file to be left", || server.temporary_files().is_empty().then_some(()));
}

#[test]
fn old_states_that_wait_have_a_limit() {
    let mut server = slow_server(&["--snapshot-buffer-limit", "1mb", "--rdbcompression", "no"]);
    let script = "for i = 1, 2000 do redis.call('SET', 'key' .. i, ('x'):rep(10000)) end";
    server.text(&["EVAL", script, "0"]);
    // Nobody reads the snapshot.
    server.text(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let _replica = begin_full_sync(&server);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    wait_for("the end", || {
        server.text(&["EVAL", script, "0"]);
        server.log().contains("snapshot-buffer-limit allows").then_some(())
    });
    server.wait_info("rdb_bgsave_in_progress", "0");
    server.wait_info("connected_slaves", "0");
}

/// Asks for everything, as a replica that takes it without a file.
fn begin_full_sync(server: &Server) -> Raw {
    let mut replica = server.raw();
    replica.command(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
    replica.expect("+OK\r\n");
    replica.command(&["PSYNC", "?", "-1"]);
    assert!(line_after_newlines(&mut replica).starts_with("+FULLRESYNC "));
    replica
}

#[test]
fn the_last_snapshot_is_the_one_of_the_shutdown() {
    let mut server = slow_server(&["--save", "3600 1"]);
    fill(&mut server);
    begin_snapshot(&mut server, "BGSAVE");
    server.text(&["SET", "last", "word"]);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    assert_eq!(server.shut_down(&[]), Some(0));
    assert!(server.temporary_files().is_empty(), "{:?}", server.temporary_files());
    let mut server = Server::start_in(server.into_dir(), &[]);
    assert_eq!(server.text(&["GET", "last"]), "word");
}

/// The ways in which a replica gets everything, with the options of its primary and its own.
const FULL_SYNCS: [(&[&str], &[&str]); 3] = [
    (&["--repl-diskless-sync", "no"], &[]),
    (&["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"], &[]),
    (
        &["--repl-diskless-sync-delay", "0", "--dual-channel-replication-enabled", "yes"],
        &["--dual-channel-replication-enabled", "yes"],
    ),
];

#[test]
fn replicas_get_everything_without_a_fork() {
    for (options, of_replica) in FULL_SYNCS {
        let mut primary = slow_server(options);
        fill(&mut primary);
        let mut replica = Server::start(of_replica);
        replica.replica_of(primary.port);
        primary.wait_info("rdb_bgsave_in_progress", "1");
        assert!(primary.children().is_empty(), "{options:?}");
        disturb(&mut primary);
        primary.text(&["SELECT", "2"]);
        primary.text(&["FLUSHDB"]);
        primary.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        replica.catch_up_with(&mut primary);
        assert_eq!(digest(&mut replica), digest(&mut primary), "{options:?}");
        assert_eq!(primary.info("sync_full"), 1, "{options:?}");
        assert_eq!(primary.info_text("rdb_last_bgsave_type").as_deref(), Some("forkless"));
        // A further one needs another snapshot.
        let mut replica = Server::start(of_replica);
        replica.replica_of(primary.port);
        replica.catch_up_with(&mut primary);
        assert_eq!(digest(&mut replica), digest(&mut primary), "{options:?}");
    }
}

#[test]
fn a_replica_that_leaves_ends_a_snapshot_for_nobody() {
    for options in ["no", "yes"] {
        let delay = ["--repl-diskless-sync-delay", "0", "--repl-diskless-sync", options];
        let mut primary = slow_server(&delay);
        fill(&mut primary);
        let replica = begin_full_sync(&primary);
        assert_eq!(primary.info("rdb_bgsave_in_progress"), 1);
        drop(replica);
        primary.wait_info("rdb_bgsave_in_progress", "0");
        wait_for("no file to be left", || primary.temporary_files().is_empty().then_some(()));
    }
}

#[test]
fn a_replica_that_is_loaded_anew_ends_or_keeps_its_own_snapshot() {
    let mut primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    primary.text(&["SET", "key", "of the primary"]);
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let mut replica = slow_server(&["--repl-diskless-load", load]);
        fill(&mut replica);
        begin_snapshot(&mut replica, "BGSAVE");
        replica.follow(&primary);
        replica.catch_up_with(&mut primary);
        assert_eq!(digest(&mut replica), digest(&mut primary), "{load}");
        replica.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        replica.wait_info("rdb_bgsave_in_progress", "0");
        // The link is up and follows whatever has become of the snapshot.
        primary.text(&["INCR", "n"]);
        replica.catch_up_with(&mut primary);
        assert_eq!(digest(&mut replica), digest(&mut primary), "{load}");
    }
}

#[test]
fn the_append_only_file_is_rewritten_without_a_fork() {
    let mut server = slow_server(&["--appendonly", "yes"]);
    fill(&mut server);
    assert_eq!(server.text(&["BGREWRITEAOF"]), "Background append only file rewriting started");
    assert_eq!(server.info("aof_rewrite_in_progress"), 1);
    assert!(server.children().is_empty());
    assert_eq!(
        server.text(&["BGSAVE"]),
        "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible."
    );
    disturb(&mut server);
    server.text(&["FLUSHALL"]);
    assert_eq!(server.info("aof_rewrite_in_progress"), 1, "it is no snapshot that is flushed");
    fill(&mut server);
    disturb(&mut server);
    server.text(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    server.wait_info("aof_rewrite_in_progress", "0");
    assert_eq!(server.info_text("aof_last_bgrewrite_status").as_deref(), Some("ok"));
    assert!(server.temporary_files().is_empty(), "{:?}", server.temporary_files());
    let before = digest(&mut server);
    server.kill();
    let mut server = Server::start_in(server.into_dir(), &["--appendonly", "yes"]);
    assert_eq!(digest(&mut server), before);
}

#[test]
fn turning_the_append_only_file_off_ends_its_rewriting() {
    let mut server = slow_server(&["--appendonly", "yes"]);
    fill(&mut server);
    server.text(&["BGREWRITEAOF"]);
    server.text(&["CONFIG", "SET", "appendonly", "no"]);
    assert_eq!(server.info("aof_rewrite_in_progress"), 0);
    wait_for("no file to be left", || server.temporary_files().is_empty().then_some(()));
    // Without a preamble a child writes the commands.
    server.text(&["CONFIG", "SET", "aof-use-rdb-preamble", "no"]);
    server.text(&["BGREWRITEAOF"]);
    send_signal(server.child(), "KILL");
    server.wait_info("aof_rewrite_in_progress", "0");
}

#[test]
fn a_node_of_a_cluster_saves_slot_by_slot() {
    let mut server = slow_server(&["--cluster-enabled", "yes"]);
    server.text(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    server.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    for n in 0..300 {
        server.text(&["SET", &format!("key{n}"), &format!("value {n}")]);
        server.text(&["RPUSH", &format!("{{tag}}list{n}"), "a", "b"]);
    }
    let before = begin_snapshot(&mut server, "BGSAVE");
    for n in 0..300 {
        server.text(&["APPEND", &format!("key{n}"), "more"]);
        server.text(&["SET", &format!("new{n}"), "value"]);
        server.text(&["DEL", &format!("{{tag}}list{n}")]);
        server.text(&["SET", &format!("{{tag}}new{n}"), "value"]);
    }
    let_it_end(&mut server);
    server.kill();
    let mut server = Server::start_in(server.into_dir(), &["--cluster-enabled", "yes"]);
    assert_eq!(digest(&mut server), before);
}
