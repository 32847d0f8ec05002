//! What expires must go everywhere: replicas and the append-only file go by what they are told, so a command that meets
//! a key or a field whose time has come has to tell of that first.

use crate::harness::{Server, wait_for};

/// Commands on the hash `%`, which has the fields `a`, live, and `ex`, expired and still there. What the primary has
/// afterwards its replica must have, and its file.
const ON_FIELDS: &[&str] = &[
    "HSET % ex 1",
    "HSET % ex 1 b 2",
    "HMSET % ex 1",
    "HSETNX % ex 1",
    "HINCRBY % ex 5",
    "HINCRBYFLOAT % ex 5.5",
    "HDEL % ex",
    "HDEL % ex a",
    "HEXPIRE % 100 FIELDS 1 ex",
    "HPEXPIRE % 100000 NX FIELDS 2 a ex",
    "HEXPIREAT % 99999999999 LT FIELDS 1 ex",
    "HPEXPIREAT % 1 FIELDS 1 ex",
    "HPERSIST % FIELDS 1 ex",
    "HSETEX % FIELDS 1 ex 4",
    "HSETEX % KEEPTTL FIELDS 1 ex 4",
    "HSETEX % FNX FIELDS 1 ex 4",
    "HSETEX % FXX FIELDS 1 ex 4",
    "HSETEX % FXX EX 100 FIELDS 2 a 3 ex 4",
    "HSETEX % PXAT 1 FIELDS 1 ex 4",
    "HGETEX % EX 100 FIELDS 2 a ex",
    "HGETEX % PERSIST FIELDS 1 ex",
    "HGETDEL % FIELDS 1 ex",
    "HGET % ex",
    "HMGET % a ex",
    "HEXISTS % ex",
    "HSTRLEN % ex",
    "HTTL % FIELDS 1 ex",
    "HLEN %",
    "HGETALL %",
    "HKEYS %",
    "HVALS %",
    "HRANDFIELD % 5 WITHVALUES",
    "HRANDFIELD % -5",
    "HSCAN % 0",
    "SORT %-names ALPHA BY *->ex GET # GET *->ex STORE %-sorted",
    "SORT %-names BY nosort GET *->ex STORE %-sorted",
    "COPY % %-copy",
    "COPY % %-copy REPLACE",
    "RENAME % %-renamed",
    "RENAMENX % %-renamed",
    "MOVE % 1",
    "DEL %",
    "UNLINK %",
    "SET % string",
    "PEXPIRE % 100000",
    "PERSIST %",
    "DUMP %",
    "OBJECT ENCODING %",
    "TOUCH %",
    "EVAL return{redis.call('hget',KEYS[1],'ex'),redis.call('hincrby',KEYS[1],'ex',5)} 1 %",
    "EVAL if(not(redis.call('hget',KEYS[1],'ex')))then(redis.call)('hsetnx',KEYS[1],'ex',5)end 1 %",
    "EVAL redis.call('hset',KEYS[1],'ex',5)return(redis.call('hpexpire',KEYS[1],100000,'FIELDS',1,'ex')) 1 %",
];

/// A primary with an append-only file and a replica, neither of which expires anything unasked.
fn pair(options: &[&str]) -> (Server, Server) {
    let options = [&["--appendonly", "yes"], options].concat();
    let mut primary = Server::start(&options);
    primary.line("DEBUG SET-ACTIVE-EXPIRE 0");
    let mut replica = Server::start(&[]);
    replica.follow(&primary);
    (primary, replica)
}

/// Waits until the replica has all, compares it with the primary, and the primary with its own file.
fn check_same(primary: &mut Server, replica: &mut Server, keys: &[String]) {
    replica.catch_up_with(primary);
    for key in keys {
        let line = format!("DEBUG DIGEST-VALUE {key}");
        assert_eq!(replica.line(&line), primary.line(&line), "the replica's {key}");
    }
    let digest = primary.line("DEBUG DIGEST");
    assert_eq!(replica.line("DEBUG DIGEST"), digest, "the replica");
    primary.line("DEBUG LOADAOF");
    assert_eq!(primary.line("DEBUG DIGEST"), digest, "the append-only file");
}

#[test]
fn fields_that_have_expired() {
    for entries in ["512", "1"] {
        let (mut primary, mut replica) = pair(&["--hash-max-listpack-entries", entries]);
        let mut keys = Vec::new();
        for alone in [false, true] {
            for n in 0..ON_FIELDS.len() {
                let key = format!("h{n}{alone}");
                if !alone {
                    primary.line(&format!("HSET {key} a 1"));
                }
                primary.line(&format!("HSET {key} ex 3"));
                primary.line(&format!("RPUSH {key}-names {key}"));
                primary.line(&format!("HPEXPIRE {key} 1 FIELDS 1 ex"));
                keys.push(key);
            }
        }
        let last = keys.last().expect("there are some");
        primary.wait_for(&format!("HTTL {last} FIELDS 1 ex"), |reply| reply == "[:-2]");
        for (key, command) in keys.iter().zip(ON_FIELDS.iter().cycle()) {
            primary.line(&command.replace('%', key));
        }
        check_same(&mut primary, &mut replica, &keys);
    }
}

#[test]
fn a_transaction_meets_expired_fields_and_keys() {
    let (mut primary, mut replica) = pair(&[]);
    primary.check(&[
        ("HSET h a 1 ex 2", ":2"),
        ("SET s 5 PX 1", "OK"),
        ("HPEXPIRE h 1 FIELDS 1 ex", "[:1]"),
    ]);
    primary.wait_for("HTTL h FIELDS 1 ex", |reply| reply == "[:-2]");
    primary.check(&[
        ("MULTI", "OK"),
        ("HINCRBY h ex 5", "QUEUED"),
        ("INCR s", "QUEUED"),
        ("HSETNX h ex 9", "QUEUED"),
        ("EXEC", "[:5 :1 :0]"),
    ]);
    check_same(&mut primary, &mut replica, &["h".into(), "s".into()]);
}

#[test]
fn sweeping_many_fields_under_writes() {
    let (mut primary, mut replica) = pair(&["--hz", "100"]);
    primary.line("DEBUG SET-ACTIVE-EXPIRE 1");
    let fields: Vec<String> = (0..300).map(|n| format!("f{n}")).collect();
    for (n, field) in fields.iter().enumerate() {
        primary.line(&format!("HSET h {field} 1"));
        primary.line(&format!("HPEXPIRE h {} FIELDS 1 {field}", 1 + n % 50));
    }
    for field in fields.iter().cycle().take(1000) {
        primary.line(&format!("HINCRBY h {field} 1"));
    }
    let ask = format!("HPTTL h FIELDS 300 {}", fields.join(" "));
    wait_for("all that expires to go", || {
        let answer = primary.line(&ask);
        let left = answer.matches(":-1").count();
        let settled = left + answer.matches(":-2").count() == 300;
        (settled && primary.line("HLEN h") == format!(":{left}")).then_some(())
    });
    check_same(&mut primary, &mut replica, &["h".into()]);
}

#[test]
fn expired_fields_are_told_of_before_the_command() {
    let mut s = Server::start(&[]);
    s.line("DEBUG SET-ACTIVE-EXPIRE 0");
    let mut stream = s.replication_stream();
    for key in ["a", "b", "c", "d", "e"] {
        s.line(&format!("HSET {key} ex 1"));
        s.line(&format!("HPEXPIRE {key} 1 FIELDS 1 ex"));
    }
    s.wait_for("HTTL e FIELDS 1 ex", |reply| reply == "[:-2]");
    s.check(&[
        ("HGET a ex", "nil"),
        ("HINCRBY b ex 5", ":5"),
        ("HSETEX c KEEPTTL FIELDS 1 ex 5", ":1"),
        ("HGETDEL d FIELDS 1 ex", "[nil]"),
        ("EXISTS a b c d e", ":2"),
    ]);
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "HDEL d ex") {
        told.push(stream.next().join(" "));
    }
    let from = told.iter().position(|c| c == "HDEL a ex").expect("the read tells");
    let told: Vec<&str> = told[from..].iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "HDEL a ex",
            "MULTI",
            "HDEL b ex",
            "HINCRBY b ex 5",
            "EXEC",
            "MULTI",
            "HDEL c ex",
            "HSETEX c KEEPTTL FIELDS 1 ex 5",
            "EXEC",
            "HDEL d ex",
        ]
    );
}

#[test]
fn events_of_what_expires() {
    let mut s = Server::start(&["--notify-keyspace-events", "EA"]);
    s.line("DEBUG SET-ACTIVE-EXPIRE 0");
    for key in ["a", "b", "c"] {
        s.line(&format!("HSET {key} ex 1"));
        s.line(&format!("HPEXPIRE {key} 1 FIELDS 1 ex"));
    }
    s.line("HSET b live 1");
    s.wait_for("HTTL c FIELDS 1 live", |reply| reply == "[:-2]");
    s.wait_for("HSTRLEN c ex", |reply| reply == ":0");
    let mut events = s.raw();
    events.send("PSUBSCRIBE __keyevent@0__:*\r\n");
    (0..6).for_each(|_| drop(events.line()));
    let mut expect = |s: &mut Server, command: &str, wanted: &[&str]| {
        s.line(command);
        for event in wanted {
            let message: Vec<String> = (0..9).map(|_| events.line()).collect();
            assert_eq!(message[6].rsplit(':').next(), Some(*event), "{command}");
        }
    };
    for (command, wanted) in [
        ("HGET a ex", &["hexpired", "del"][..]),
        ("HINCRBY b ex 1", &["hexpired", "hincrby"]),
        ("SET k v PXAT 1", &["set", "expire"]),
        ("GET k", &["expired"]),
        ("MSETEX 2 k v n w PXAT 1", &["set", "expire", "set", "expire"]),
        ("SET k v", &["expired", "set"]),
        ("GETEX k PXAT 1", &["del"]),
        ("HSETEX new PXAT 1 FIELDS 1 f v", &["hset", "hdel", "del"]),
    ] {
        expect(&mut s, command, wanted);
    }
}
