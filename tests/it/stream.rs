//! Streams over the wire: every command with its options and errors, blocking, groups, and what is propagated.

use crate::harness::Server;
use crate::harness::errors::{NOT_AN_INTEGER, SYNTAX, WRONG_TYPE};

const INVALID_ID: &str = "ERR Invalid stream ID specified as stream command argument";

/// Of many who wait for one group, each entry goes to one, in the order in which they came; the others wait on.
#[test]
fn readers_of_a_group_take_turns() {
    let mut server = Server::start(&[]);
    server.check(&[("XGROUP CREATE s g $ MKSTREAM", "OK"), ("XGROUP CREATE s h $", "OK")]);
    let mut readers: Vec<_> = ["g a", "g b", "h c", "g d"]
        .iter()
        .map(|who| server.blocked(&format!("XREADGROUP GROUP {who} COUNT 1 BLOCK 0 STREAMS s >")))
        .collect();
    let add = |server: &mut Server, id: &str, waiting: &str| {
        server.check(&[(&format!("XADD s {id} f v"), id)]);
        server.wait_info("blocked_clients", waiting);
    };
    let got = |id: &str| {
        format!("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
    };
    add(&mut server, "1-1", "2");
    readers[0].expect(got("1-1"));
    readers[2].expect(got("1-1"));
    add(&mut server, "2-1", "1");
    readers[1].expect(got("2-1"));
    // Two at once: the second one is left for who comes.
    server.check(&[
        ("MULTI", "OK"),
        ("XADD s 3-1 f v", "QUEUED"),
        ("XADD s 3-2 f v", "QUEUED"),
        ("EXEC", "[3-1 3-2]"),
    ]);
    readers[3].expect(got("3-1"));
    readers[0].send("XREADGROUP GROUP g a BLOCK 0 STREAMS s >\r\n");
    readers[0].expect(got("3-2"));
    // Who waits for what is here hears that it is not any more.
    let mut last = server.blocked("XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    server.check(&[("XGROUP SETID s g 3-1", "OK"), ("XADD s 4-1 f v", "4-1")]);
    let both = got("3-2").replace("*1\r\n*2\r\n$3", "*2\r\n*2\r\n$3");
    last.expect(both);
    last.read(got("4-1").len() - "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n".len());
    let mut waiting = server.blocked("XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    server.check(&[("XGROUP DESTROY s g", ":1")]);
    assert!(waiting.line().starts_with("-NOGROUP "));
}

#[test]
fn adding() {
    let mut s = Server::start(&[]);
    let too_small =
        "ERR The ID specified in XADD is equal or smaller than the target stream top item";
    let arity = "ERR wrong number of arguments for 'xadd' command";
    s.check(&[
        ("XADD s 1-1 f v", "1-1"),
        ("XADD s 1-* f v", "1-2"),
        ("XADD s 2-* f v", "2-0"),
        ("XADD s 3 a 1 b 2", "3-0"),
        ("XADD s 3-0 f v", too_small),
        ("XADD s 2-* f v", too_small),
        ("XADD s 0-0 f v", "ERR The ID specified in XADD must be greater than 0-0"),
        ("XADD new 0-* f v", "0-1"),
        ("XADD s x f v", INVALID_ID),
        ("XADD s - f v", INVALID_ID),
        ("XADD s 1-2-* f v", INVALID_ID),
        ("XADD s *", arity),
        ("XADD s * f", arity),
        ("XADD s MAXLEN 10", "ERR wrong number of arguments for 'xadd' command"),
        ("XADD none NOMKSTREAM * f v", "nil"),
        ("EXISTS none", ":0"),
        ("XLEN s", ":4"),
        ("XLEN none", ":0"),
        ("TYPE s", "stream"),
        ("OBJECT ENCODING s", "stream"),
        ("XADD s NOMKSTREAM MAXLEN = 2 4-0 f v", "4-0"),
        ("XRANGE s - +", "[[3-0 [a 1 b 2]] [4-0 [f v]]]"),
        ("XADD s MINID 4 5-0 f v", "5-0"),
        ("XLEN s", ":2"),
        (
            "XADD s MAXLEN 1 MINID 1 * f v",
            "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
        ),
        ("XADD s MAXLEN -1 * f v", "ERR The MAXLEN argument must be >= 0."),
        (
            "XADD s MAXLEN 5 LIMIT 3 * f v",
            "ERR syntax error, LIMIT cannot be used without the special ~ option",
        ),
        (
            "XADD s LIMIT 3 * f v",
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ),
        (
            "XADD s 18446744073709551615-18446744073709551615 f v",
            "18446744073709551615-18446744073709551615",
        ),
        (
            "XADD s * f v",
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ),
        ("SET string v", "OK"),
        ("XADD string * f v", WRONG_TYPE),
        ("XLEN string", WRONG_TYPE),
    ]);
}

#[test]
fn reading_ranges() {
    let mut s = Server::start(&[]);
    for ms in 1..=250 {
        s.line(&format!("XADD s {ms}-0 f {ms}"));
    }
    s.check(&[
        ("XRANGE s 100 101", "[[100-0 [f 100]] [101-0 [f 101]]]"),
        ("XRANGE s (100 (102-0", "[[101-0 [f 101]]]"),
        ("XRANGE s - + COUNT 1", "[[1-0 [f 1]]]"),
        ("XREVRANGE s + - COUNT 2", "[[250-0 [f 250]] [249-0 [f 249]]]"),
        ("XREVRANGE s 3 2", "[[3-0 [f 3]] [2-0 [f 2]]]"),
        ("XRANGE s 3 2", "[]"),
        ("XRANGE s 251 +", "[]"),
        ("XRANGE s - + COUNT 0", "nil"),
        ("XRANGE s - + COUNT -5", "nil"),
        ("XRANGE s - + COUNT x", NOT_AN_INTEGER),
        ("XRANGE s - + COUNT", SYNTAX),
        ("XRANGE s x +", INVALID_ID),
        ("XRANGE s (- +", INVALID_ID),
        (
            "XRANGE s (18446744073709551615-18446744073709551615 +",
            "ERR invalid start ID for the interval",
        ),
        ("XRANGE s - (0-0", "ERR invalid end ID for the interval"),
        ("XRANGE none - +", "[]"),
        ("XDEL s 100 100 7-7 1", ":2"),
        ("XDEL s 101 x", INVALID_ID),
        ("XDEL none 1", ":0"),
        ("XRANGE s 99 101", "[[99-0 [f 99]] [101-0 [f 101]]]"),
        ("XLEN s", ":248"),
        ("XTRIM s MAXLEN ~ 100", ":98"),
        ("XTRIM s MAXLEN = 100", ":50"),
        ("XTRIM s MINID 200", ":49"),
        ("XTRIM s MAXLEN ~ 0 LIMIT 10", ":1"),
        ("XTRIM s", "ERR wrong number of arguments for 'xtrim' command"),
        (
            "XTRIM s LIMIT 3",
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ),
        ("XTRIM s MAXLEN x", NOT_AN_INTEGER),
        ("XTRIM s FOO 3", SYNTAX),
        ("XRANGE s - + COUNT 1", "[[201-0 [f 201]]]"),
        ("XTRIM s MAXLEN 0", ":50"),
        ("EXISTS s", ":1"),
        (
            "XADD s 250 f v",
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ),
    ]);
}

#[test]
fn setting_the_last_id() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("XSETID s 1", "ERR no such key"),
        ("XADD s 5-5 f v", "5-5"),
        ("XSETID s 5-4", "ERR The ID specified in XSETID is smaller than the target stream top item"),
        ("XSETID s 9 ENTRIESADDED 0", "ERR The entries_added specified in XSETID is smaller than the target stream length"),
        ("XSETID s 9 ENTRIESADDED -1", "ERR entries_added must be positive"),
        ("XSETID s 9 MAXDELETEDID 10", "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"),
        ("XSETID s 9 ENTRIESADDED 100 MAXDELETEDID 8", "OK"),
        ("XSETID s 7", "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"),
        ("XADD s 9-* f v", "9-1"),
        (
            "XINFO STREAM s",
            "[length :2 radix-tree-keys :1 radix-tree-nodes :2 last-generated-id 9-1 max-deleted-entry-id 8-0 \
             entries-added :101 recorded-first-entry-id 5-5 groups :0 first-entry [5-5 [f v]] last-entry [9-1 [f v]]]",
        ),
    ]);
}

#[test]
fn reading_several_streams() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("XADD a 1 f 1", "1-0"),
        ("XADD a 2 f 2", "2-0"),
        ("XADD b 1 g 3", "1-0"),
        ("XREAD STREAMS a 0", "[[a [[1-0 [f 1]] [2-0 [f 2]]]]]"),
        ("XREAD COUNT 1 STREAMS a none b 0 0 0", "[[a [[1-0 [f 1]]]] [b [[1-0 [g 3]]]]]"),
        ("XREAD STREAMS a b 2 1", "nil"),
        ("XREAD STREAMS a $", "nil"),
        ("XREAD STREAMS a +", "[[a [[2-0 [f 2]]]]]"),
        ("XREAD BLOCK 5 STREAMS a $", "nil"),
        ("XREAD STREAMS a b 0", "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."),
        ("XREAD STREAMS a >", "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."),
        ("XREAD COUNT x STREAMS a 0", NOT_AN_INTEGER),
        ("XREAD BLOCK -1 STREAMS a 0", "ERR timeout is negative"),
        ("XREAD FOO STREAMS a 0", SYNTAX),
        ("XREAD NOACK STREAMS a 0", "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."),
        ("XREADGROUP GROUP g c STREAMS a b 0", "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."),
        ("MULTI", "OK"),
        ("XREAD BLOCK 0 STREAMS a $", "QUEUED"),
        ("EXEC", "[nil]"),
    ]);
    let mut raw = s.raw();
    raw.hello3();
    raw.send(b"XREAD STREAMS b 0\r\n");
    raw.expect(b"%1\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\ng\r\n$1\r\n3\r\n");
}

#[test]
fn waiting_for_entries() {
    let mut s = Server::start(&[]);
    let mut first = s.blocked("XREAD BLOCK 0 STREAMS a b $ $");
    let mut second = s.blocked("XREAD BLOCK 20000 COUNT 1 STREAMS b 3");
    s.check(&[("XADD b 2-0 f v", "2-0")]);
    first.expect(b"*1\r\n*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    // Not what it waits for; nor is a list, nor the end of the key.
    s.check(&[("DEL b", ":1"), ("RPUSH b x", ":1"), ("DEL b", ":1"), ("XADD b 3-0 f v", "3-0")]);
    assert_eq!(s.info("blocked_clients"), 1);
    s.check(&[
        ("MULTI", "OK"),
        ("XADD b 4-0 f v", "QUEUED"),
        ("XADD b 5-0 f v", "QUEUED"),
        ("EXEC", "[4-0 5-0]"),
    ]);
    second.expect(b"*1\r\n*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n4-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");

    s.check(&[("XGROUP CREATE b g $", "OK")]);
    let mut reader = s.blocked("XREADGROUP GROUP g c BLOCK 0 STREAMS b >");
    s.check(&[("XADD b 6-0 f v", "6-0")]);
    reader.expect(b"*1\r\n*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n6-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    for (end, error) in
        [("XGROUP DESTROY b g", "-NOGROUP"), ("DEL b", "-NOGROUP"), ("SET b x", "-WRONGTYPE")]
    {
        s.line("DEL b");
        s.check(&[("XGROUP CREATE b g $ MKSTREAM", "OK")]);
        let mut reader = s.blocked("XREADGROUP GROUP g c BLOCK 0 STREAMS b >");
        s.line(end);
        assert!(reader.line().starts_with(error), "{end}");
    }
}

#[test]
fn groups_and_their_consumers() {
    let mut s = Server::start(&[]);
    let no_key = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                  MKSTREAM option to create an empty stream automatically.";
    s.check(&[
        ("XGROUP CREATE s g $", no_key),
        ("XGROUP CREATE s g $ MKSTREAM", "OK"),
        ("XGROUP CREATE s g $", "BUSYGROUP Consumer Group name already exists"),
        ("XGROUP CREATE s h 0 ENTRIESREAD -2", "ERR value for ENTRIESREAD must be positive or -1"),
        ("XGROUP CREATE s h x", INVALID_ID),
        ("XADD s 1 f 1", "1-0"),
        ("XADD s 2 f 2", "2-0"),
        ("XADD s 3 f 3", "3-0"),
        ("XREADGROUP GROUP g alice COUNT 2 STREAMS s >", "[[s [[1-0 [f 1]] [2-0 [f 2]]]]]"),
        ("XREADGROUP GROUP g bob STREAMS s >", "[[s [[3-0 [f 3]]]]]"),
        ("XREADGROUP GROUP g bob STREAMS s >", "nil"),
        ("XREADGROUP GROUP g bob STREAMS s 18446744073709551615-18446744073709551615", "nil"),
        ("XREADGROUP GROUP g alice STREAMS s 0", "[[s [[1-0 [f 1]] [2-0 [f 2]]]]]"),
        ("XREADGROUP GROUP g alice STREAMS s 1", "[[s [[2-0 [f 2]]]]]"),
        ("XREADGROUP GROUP g carol STREAMS s 0", "[[s []]]"),
        (
            "XREADGROUP GROUP none a STREAMS s >",
            "NOGROUP No such key 's' or consumer group 'none' in XREADGROUP with GROUP option",
        ),
        ("XPENDING s g", "[:3 1-0 3-0 [[alice 2] [bob 1]]]"),
        ("XPENDING s none", "NOGROUP No such key 's' or consumer group 'none'"),
        ("XPENDING s g - + 10 dave", "[]"),
        ("XPENDING s g - +", SYNTAX),
        ("XPENDING s g IDLE 100000 - + 10", "[]"),
        ("XACK s g 1-0 1-0 9-9", ":1"),
        ("XACK s none 1-0", ":0"),
        ("XACK s g x", INVALID_ID),
        ("XGROUP CREATECONSUMER s g dave", ":1"),
        ("XGROUP CREATECONSUMER s g dave", ":0"),
        (
            "XGROUP CREATECONSUMER s none dave",
            "NOGROUP No such consumer group 'none' for key name 's'",
        ),
        ("XGROUP DELCONSUMER s g dave", ":0"),
        ("XGROUP DELCONSUMER s g alice", ":1"),
        ("XPENDING s g", "[:1 3-0 3-0 [[bob 1]]]"),
        (
            "XINFO GROUPS s",
            "[[name g consumers :2 pending :1 last-delivered-id 3-0 entries-read :3 lag :0]]",
        ),
        ("XGROUP SETID s g 1 ENTRIESREAD 1", "OK"),
        (
            "XINFO GROUPS s",
            "[[name g consumers :2 pending :1 last-delivered-id 1-0 entries-read :1 lag :2]]",
        ),
        ("XINFO CONSUMERS s none", "NOGROUP No such consumer group 'none' for key name 's'"),
        ("XINFO STREAM none", "ERR no such key"),
        ("XGROUP SETID s none 1", "NOGROUP No such consumer group 'none' for key name 's'"),
        ("XGROUP DESTROY s g", ":1"),
        ("XGROUP DESTROY s g", ":0"),
        ("XINFO GROUPS s", "[]"),
    ]);
}

#[test]
fn claiming() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("XGROUP CREATE s g 0 MKSTREAM", "OK"),
        ("XADD s 1 f 1", "1-0"),
        ("XADD s 2 f 2", "2-0"),
        ("XADD s 3 f 3", "3-0"),
        ("XREADGROUP GROUP g alice NOACK COUNT 1 STREAMS s >", "[[s [[1-0 [f 1]]]]]"),
        ("XREADGROUP GROUP g alice STREAMS s >", "[[s [[2-0 [f 2]] [3-0 [f 3]]]]]"),
        ("XCLAIM s g bob 0 2-0", "[[2-0 [f 2]]]"),
        ("XCLAIM s g bob 100000 3-0", "[]"),
        ("XCLAIM s g bob 0 1-0", "[]"),
        ("XCLAIM s g bob 0 1-0 FORCE JUSTID", "[1-0]"),
        ("XCLAIM s g bob 0 2-0 RETRYCOUNT 7 TIME 1000", "[[2-0 [f 2]]]"),
        ("XPENDING s g", "[:3 1-0 3-0 [[alice 1] [bob 2]]]"),
        ("XCLAIM s g bob x 1-0", "ERR Invalid min-idle-time argument for XCLAIM"),
        ("XCLAIM s g bob 0 1-0 IDLE x", "ERR Invalid IDLE option argument for XCLAIM"),
        ("XCLAIM s g bob 0 1-0 FOO", "ERR Unrecognized XCLAIM option 'FOO'"),
        ("XCLAIM s none bob 0 1-0", "NOGROUP No such key 's' or consumer group 'none'"),
        ("XDEL s 3-0", ":1"),
        ("XREADGROUP GROUP g alice STREAMS s 0", "[[s [[3-0 nil]]]]"),
        ("XAUTOCLAIM s g carol 0 - COUNT 1 JUSTID", "[2-0 [1-0] []]"),
        ("XAUTOCLAIM s g carol 0 2", "[0-0 [[2-0 [f 2]]] [3-0]]"),
        ("XAUTOCLAIM s g carol 100000 -", "[0-0 [] []]"),
        ("XAUTOCLAIM s g carol 0 - COUNT 0", "ERR COUNT must be > 0"),
        ("XAUTOCLAIM s g carol 0 - FOO", SYNTAX),
        ("XAUTOCLAIM s g carol x -", "ERR Invalid min-idle-time argument for XAUTOCLAIM"),
        ("XAUTOCLAIM s none carol 0 -", "NOGROUP No such key 's' or consumer group 'none'"),
        ("XPENDING s g", "[:2 1-0 2-0 [[carol 2]]]"),
    ]);
}

#[test]
fn what_is_propagated() {
    let mut s = Server::start(&[]);
    let mut stream = s.replication_stream();
    s.line("XADD s * f v");
    stream.expect(&["SELECT 0", "XADD s * f v"]);
    s.line("DEL s");
    s.check(&[
        ("XADD s 1-1 f v", "1-1"),
        ("XADD s 1-* f v", "1-2"),
        ("XADD s MAXLEN ~ 1 LIMIT 9 2-0 f v", "2-0"),
    ]);
    stream.expect(&["DEL s", "XADD s 1-1 f v", "XADD s 1-2 f v", "XADD s MAXLEN = 3 2-0 f v"]);
    s.check(&[
        ("XADD s MINID ~ 2 3-0 f v", "3-0"),
        ("XTRIM s MAXLEN ~ 1", ":0"),
        ("XTRIM s MAXLEN 3", ":1"),
    ]);
    stream.expect(&["XADD s MINID = 1-1 3-0 f v", "XTRIM s MAXLEN 3"]);
    s.check(&[("XGROUP CREATE s g 0", "OK"), ("XREAD STREAMS s $", "nil")]);
    s.line("XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    stream.expect(&[
        "XGROUP CREATE s g 0",
        "MULTI",
        "XCLAIM s g c 0 1-2 TIME * RETRYCOUNT 1 FORCE JUSTID LASTID 1-2",
        "XGROUP SETID s g 1-2 ENTRIESREAD 2",
        "EXEC",
    ]);
    s.line("XREADGROUP GROUP g d NOACK COUNT 1 STREAMS s >");
    stream.expect(&[
        "MULTI",
        "XGROUP CREATECONSUMER s g d",
        "XGROUP SETID s g 2-0 ENTRIESREAD 3",
        "EXEC",
    ]);
    s.line("XCLAIM s g d 0 1-2 JUSTID");
    stream.expect(&["XCLAIM s g d 0 1-2 TIME * RETRYCOUNT 1 FORCE JUSTID LASTID 2-0"]);
    s.line("XDEL s 1-2");
    s.line("XAUTOCLAIM s g c 0 -");
    stream
        .expect(&["XDEL s 1-2", "XCLAIM s g d 0 1-2 TIME * RETRYCOUNT 1 FORCE JUSTID LASTID 2-0"]);
    s.line("XACK s g 9-9");
    s.line("SET end 1");
    stream.expect(&["SET end 1"]);
}

#[test]
fn survives_dump_and_snapshot() {
    let mut s = Server::start(&[]);
    for ms in 1..=300 {
        s.line(&format!("XADD s {ms}-0 field {ms}"));
    }
    s.check(&[
        ("XDEL s 5", ":1"),
        ("XGROUP CREATE s g 0", "OK"),
        ("XGROUP CREATE s h $ ENTRIESREAD 7", "OK"),
    ]);
    s.line("XREADGROUP GROUP g alice COUNT 9 STREAMS s >");
    s.line("XREADGROUP GROUP g bob COUNT 3 STREAMS s >");
    s.check(&[("XACK s g 2", ":1")]);
    let all = |s: &mut Server| {
        [
            s.line("XRANGE s - +"),
            s.line("XINFO STREAM s"),
            s.line("XINFO GROUPS s"),
            s.line("XPENDING s g"),
        ]
    };
    let before = all(&mut s);
    s.check(&[("DEBUG RELOAD", "OK")]);
    assert_eq!(all(&mut s), before);
    s.check(&[("COPY s t", ":1"), ("DEL s", ":1"), ("RENAME t s", "OK")]);
    assert_eq!(all(&mut s), before);
}

#[test]
fn entries_are_deleted_with_their_references() {
    let mut server = Server::start(&[]);
    let mut stream = server.replication_stream();
    for n in 1..=6 {
        server.cmd(&["XADD", "s", "KEEPREF", "MAXLEN", "100", &format!("{n}-1"), "f", "v"]);
        if n == 1 {
            stream.expect(&["SELECT 0"]);
        }
        stream.expect(&[&format!("XADD s MAXLEN 100 {n}-1 f v")]);
    }
    server.check(&[("XGROUP CREATE s g1 0", "OK"), ("XGROUP CREATE s g2 0", "OK")]);
    server.cmd(&["XREADGROUP", "GROUP", "g1", "c", "COUNT", "3", "STREAMS", "s", ">"]);
    server.cmd(&["XREADGROUP", "GROUP", "g2", "c", "COUNT", "2", "STREAMS", "s", ">"]);
    server.check(&[
        ("XDELEX s IDS 2 1-1 9-9", "[:1 :-1]"),
        // Pending, not delivered to all, delivered to none.
        ("XDELEX s ACKED IDS 3 2-1 3-1 5-1", "[:2 :2 :2]"),
        ("XACK s g1 2-1", ":1"),
        ("XDELEX s acked ids 1 2-1", "[:2]"),
        ("XACK s g2 2-1", ":1"),
        ("XDELEX s acked ids 1 2-1", "[:1]"),
        ("XDELEX s acked ids 2 2-1 99-1", "[:-1 :2]"),
        ("XDELEX s DELREF IDS 2 3-1 3-1", "[:1 :-1]"),
        ("XPENDING s g1", "[:1 1-1 1-1 [[c 1]]]"),
        ("XDELEX s IDS 1 1-1 DELREF", "[:-1]"),
        ("XPENDING s g1", "[:0 nil nil nil]"),
        ("XLEN s", ":3"),
        ("XDELEX nokey IDS 2 1-1 2-1", "[:-1 :-1]"),
        ("XDELEX s IDS 2 1-1", "ERR The `numids` parameter must match the number of arguments"),
        ("XDELEX s IDS x 1-1", "ERR Number of IDs must be a positive integer"),
        ("XDELEX s FOO IDS 1 1-1", "ERR syntax error"),
        ("XDELEX s KEEPREF DELREF IDS 1 1-1", "ERR syntax error"),
        ("XDELEX s IDS 1 bad", "ERR Invalid stream ID specified as stream command argument"),
    ]);
    server.cmd(&["XREADGROUP", "GROUP", "g1", "c", "STREAMS", "s", ">"]);
    server.cmd(&["XREADGROUP", "GROUP", "g2", "c", "COUNT", "1", "STREAMS", "s", ">"]);
    server.cmd(&["SET", "marker", "1"]);
    while stream.next().join(" ") != "SET marker 1" {}
    server.check(&[
        ("XACKDEL s g1 ACKED IDS 3 4-1 5-1 9-9", "[:2 :2 :-1]"),
        ("XACKDEL s g2 ACKED IDS 1 4-1", "[:1]"),
        ("XACKDEL s g1 DELREF IDS 1 6-1", "[:1]"),
        ("XACKDEL s nogroup IDS 1 5-1", "[:-1]"),
        ("XLEN s", ":1"),
    ]);
    // As what was done.
    stream.expect(&["XACK s g1 4-1 5-1", "MULTI", "XACK s g2 4-1", "XDEL s 4-1", "EXEC"]);
    stream.expect(&["MULTI", "XACK s g1 6-1", "XDEL s 6-1", "EXEC"]);
}

#[test]
fn of_the_faults_of_xpending_the_first_is_told() {
    let mut s = Server::start(&[]);
    let not_an_integer = "ERR value is not an integer or out of range";
    let bad_id = "ERR Invalid stream ID specified as stream command argument";
    s.check(&[
        ("XADD x 1-1 f v", "1-1"),
        ("XGROUP CREATE x g 0", "OK"),
        ("XPENDING x g IDLE x", "ERR syntax error"),
        ("XPENDING x g IDLE x c", not_an_integer),
        ("XPENDING x g IDLE 1 c", "ERR syntax error"),
        ("XPENDING x nobody x + x", not_an_integer),
        ("XPENDING x nobody x + 1", bad_id),
        ("XPENDING x g - + 1 c more words", "[]"),
        ("XPENDING x g IDLE x - + 1 c more", "ERR syntax error"),
    ]);
}

#[test]
fn ids_are_looked_at_where_there_is_something_to_delete() {
    let mut s = Server::start(&[]);
    let bad_id = "ERR Invalid stream ID specified as stream command argument";
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    s.check(&[
        ("SET s 1", "OK"),
        ("XADD x 1-1 f v", "1-1"),
        ("XGROUP CREATE x g 0", "OK"),
        ("XDELEX none IDS 2 a b", "[:-1 :-1]"),
        ("XDELEX s FOO", "ERR wrong number of arguments for 'xdelex' command"),
        ("XDELEX s IDS 2 a", wrong_type),
        ("XDELEX x IDS 2 1-1 a", bad_id),
        ("XLEN x", ":1"),
        (
            "XDELEX x IDS 1 1-1 IDS 2",
            "ERR The `numids` parameter must match the number of arguments",
        ),
        ("XACKDEL none g IDS 1 a", "[:-1]"),
        ("XACKDEL x none IDS 1 a", "[:-1]"),
        ("XACKDEL s g IDS 1 a", wrong_type),
        ("XACKDEL x g IDS 1 a", bad_id),
        ("XACKDEL x g IDS 1 a KEEPREF IDS 1 1-1", "[:-1]"),
    ]);
    // The text is made as C makes it: a key's name ends at a zero byte.
    let no_group = "NOGROUP No such key 'a' or consumer group 'g'";
    assert_eq!(s.text(&[&b"XPENDING"[..], b"a\0b", b"g"]), no_group);
}

/// A stream with entries 1-0 to 6-0, of which group `g` has read five and group `h` three, and `h` acknowledged two.
fn stream_with_groups(server: &mut Server) {
    server.line("DEL s");
    for n in 1..=6 {
        server.line(&format!("XADD s {n}-0 f v"));
    }
    for (group, count) in [("g", "5"), ("h", "3")] {
        server.line(&format!("XGROUP CREATE s {group} 0"));
        server.line(&format!("XREADGROUP GROUP {group} c COUNT {count} STREAMS s >"));
    }
    server.line("XACK s h 1-0 3-0");
}

/// The IDs that are there, and those that are pending in `g` and in `h`.
fn ids(server: &mut Server) -> String {
    let lists = ["XRANGE s - +", "XPENDING s g - + 9", "XPENDING s h - + 9"].map(|line| {
        let all = server.line(line);
        let ids: Vec<&str> = all
            .split(['[', ']', ' '])
            .filter_map(|word| word.strip_suffix("-0"))
            .filter(|id| id.parse::<u32>().is_ok())
            .collect();
        ids.join(" ")
    });
    lists.join(" | ")
}

/// Acknowledged by `g` before; the command; its reply; what is there then; what is propagated.
const TRIMMING: &[(&str, &str, &str, &str, &[&str])] = &[
    ("", "XTRIM s MAXLEN = 2 KEEPREF", ":4", "5 6 | 1 2 3 4 5 | 2", &["XTRIM s MAXLEN = 2"]),
    (
        "",
        "XTRIM s DELREF MAXLEN = 2",
        ":4",
        "5 6 | 5 | ",
        &["MULTI", "XACK s g 1-0 2-0 3-0 4-0", "XACK s h 2-0", "XTRIM s MINID = 4-1", "EXEC"],
    ),
    ("", "XTRIM s MAXLEN 2 ACKED", ":0", "1 2 3 4 5 6 | 1 2 3 4 5 | 2", &[]),
    (
        "1-0 2-0 3-0",
        "XTRIM s MAXLEN 2 ACKED",
        ":2",
        "2 4 5 6 | 4 5 | 2",
        &["MULTI", "XTRIM s MINID = 1-1", "XDEL s 3-0", "EXEC"],
    ),
    ("1-0 2-0 3-0", "XTRIM s MINID 3 ACKED", ":1", "2 3 4 5 6 | 4 5 | 2", &["XTRIM s MINID = 1-1"]),
    ("1-0 3-0", "XTRIM s MAXLEN ~ 0 ACKED", ":0", "1 2 3 4 5 6 | 2 4 5 | 2", &[]),
    (
        "1-0",
        "XADD s ACKED MAXLEN 5 7-0 f v",
        "7-0",
        "2 3 4 5 6 7 | 2 3 4 5 | 2",
        &["MULTI", "XADD s 7-0 f v", "XTRIM s MINID = 1-1", "EXEC"],
    ),
    (
        "",
        "XADD s MAXLEN = 0 DELREF 7-0 f v",
        "7-0",
        " |  | ",
        &[
            "MULTI",
            "XADD s 7-0 f v",
            "XACK s g 1-0 2-0 3-0 4-0 5-0",
            "XACK s h 2-0",
            "XTRIM s MINID = 7-1",
            "EXEC",
        ],
    ),
    (
        "",
        "XADD s MAXLEN ~ 2 DELREF 7-0 f v",
        "7-0",
        "1 2 3 4 5 6 7 | 1 2 3 4 5 | 2",
        &["XADD s MAXLEN = 7 7-0 f v"],
    ),
    ("", "XADD s DELREF 7-0 f v", "7-0", "1 2 3 4 5 6 7 | 1 2 3 4 5 | 2", &["XADD s 7-0 f v"]),
];

#[test]
fn trimming_with_regard_to_references() {
    let mut server = Server::start(&[]);
    let mut stream = server.replication_stream();
    for &(acknowledged, command, reply, left, propagated) in TRIMMING {
        stream_with_groups(&mut server);
        if !acknowledged.is_empty() {
            server.line(&format!("XACK s g {acknowledged}"));
        }
        server.cmd(&["SET", "marker", "1"]);
        while stream.next().join(" ") != "SET marker 1" {}
        assert_eq!(server.line(command), reply, "{command}");
        assert_eq!(ids(&mut server), left, "{command}");
        server.cmd(&["SET", "marker", "2"]);
        stream.expect(propagated);
        stream.expect(&["SET marker 2"]);
    }
    server.check(&[
        ("XTRIM s MAXLEN 2 DELREF KEEPREF", "ERR syntax error"),
        (
            "XADD s ACKED KEEPREF 9-0 f v",
            "ERR Invalid stream ID specified as stream command argument",
        ),
    ]);
}

#[test]
fn what_a_group_has_read_and_what_is_ahead() {
    let mut server = Server::start(&[]);
    let read = |n: u32| format!("XREADGROUP GROUP g c COUNT {n} STREAMS s >");
    // On a stream of 1-0 to 5-0 and a new group; then its last ID, what it has read, and its lag.
    for (commands, position) in [
        (vec![read(1)], "1-0 :1 :4"),
        // Trimmed unread.
        (vec![read(1), "XTRIM s MAXLEN 2".into()], "1-0 :1 :2"),
        (vec![read(1), "XTRIM s MAXLEN 2".into(), read(1)], "4-0 :4 :1"),
        (vec![read(1), "XTRIM s MAXLEN 2".into(), read(2)], "5-0 :5 :0"),
        (vec![read(1), "XTRIM s MAXLEN 0".into()], "1-0 :1 :0"),
        // Deleted unread.
        (vec![read(1), "XDEL s 2-0".into()], "1-0 :1 nil"),
        (vec![read(1), "XDEL s 2-0".into(), read(9)], "5-0 :5 :0"),
        (vec!["XDEL s 1-0".into()], "0-0 nil :4"),
        (vec![read(2), "XDEL s 1-0".into()], "2-0 :2 :3"),
        (vec![read(1), "XDEL s 1-0 2-0".into(), read(1)], "3-0 :3 :2"),
        // More than there ever were.
        (vec!["XGROUP SETID s g 1-0 ENTRIESREAD 100".into()], "1-0 :5 :0"),
        (vec!["XGROUP SETID s g $ ENTRIESREAD 100".into()], "5-0 :5 :0"),
        (
            vec!["XGROUP DESTROY s g".into(), "XGROUP CREATE s g $ ENTRIESREAD 100".into()],
            "5-0 :5 :0",
        ),
    ] {
        server.line("DEL s");
        for n in 1..=5 {
            server.line(&format!("XADD s {n}-0 f v"));
        }
        server.line("XGROUP CREATE s g 0");
        for command in &commands {
            server.line(command);
        }
        let all = server.line("XINFO GROUPS s");
        let found = all.split("last-delivered-id ").nth(1).expect("a position");
        let found = found.replace("entries-read ", "").replace("lag ", "").replace("]]", "");
        assert_eq!(found, position, "{commands:?}");
    }
}
