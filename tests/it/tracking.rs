//! `CLIENT TRACKING`: who hears of which change, in which form, and when.

use crate::harness::{Raw, Server};

/// A connection that speaks RESP3, and its id.
fn resp3(server: &Server) -> (Raw, String) {
    let mut wire = server.raw();
    wire.hello3();
    let id = wire.ask("CLIENT ID");
    (wire, id.trim_start_matches(':').to_string())
}

fn invalid(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

const OK: &str = "+OK\r\n";
const EVERYTHING: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

#[test]
fn what_was_read_is_announced_once_when_it_changes() {
    let mut server = Server::start(&["--databases", "2"]);
    let (mut reader, _) = resp3(&server);
    server.check(&[("MSET a 1 b 2 c 3", "OK")]);
    reader.talk(&[("CLIENT TRACKING ON", OK), ("MGET a b", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n")]);
    assert_eq!((server.info("tracking_clients"), server.info("tracking_total_keys")), (1, 2));
    server.check(&[("SET c x", "OK"), ("INCR a", ":2"), ("INCR a", ":3")]);
    reader.expect(invalid("a"));
    // Its own changes too, behind the reply; what is queued counts when it is executed.
    reader.talk(&[
        ("DEL b", &(":1\r\n".to_string() + &invalid("b"))),
        ("GET a", "$1\r\n3\r\n"),
        ("MULTI", OK),
        ("INCR a", "+QUEUED\r\n"),
        ("EXEC", &("*1\r\n:4\r\n".to_string() + &invalid("a"))),
        ("GET none", "_\r\n"),
    ]);
    server.check(&[("FLUSHDB", "OK")]);
    reader.expect(EVERYTHING);
    assert_eq!(server.info("tracking_total_keys"), 0);
    // A key that expires has changed.
    reader.talk(&[
        ("MULTI", OK),
        ("SET e 1 PX 1", "+QUEUED\r\n"),
        ("GET e", "+QUEUED\r\n"),
        ("EXEC", "*2\r\n+OK\r\n$1\r\n1\r\n"),
    ]);
    server.wait_for("EXISTS e", |reply| reply == ":0");
    reader.expect(invalid("e"));
    reader.talk(&[("CLIENT TRACKING OFF", OK), ("GET a", "_\r\n")]);
    server.check(&[("SET a 1", "OK")]);
    reader.talk(&[("PING", "+PONG\r\n")]);
    assert_eq!(server.info("tracking_clients"), 0);
}

#[test]
fn options_say_which_keys_are_remembered() {
    let mut server = Server::start(&[]);
    let (mut reader, _) = resp3(&server);
    server.check(&[("MSET a 1 b 2", "OK")]);
    let (a, b) = ("$1\r\n1\r\n", "$1\r\n2\r\n");
    reader.talk(&[
        ("CLIENT TRACKING ON OPTIN", OK),
        (
            "CLIENT CACHING NO",
            "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.\r\n",
        ),
        ("GET a", a),
        ("CLIENT CACHING YES", OK),
        ("GET b", b),
        ("GET a", a),
    ]);
    server.check(&[("MSET a 1 b 2", "OK")]);
    reader.expect(invalid("b"));
    reader.talk(&[
        ("CLIENT TRACKING OFF", OK),
        ("CLIENT TRACKING ON OPTOUT NOLOOP", OK),
        ("CLIENT CACHING NO", OK),
        ("GET a", a),
        ("GET b", b),
        ("SET b 2", OK),
        ("GET b", b),
    ]);
    server.check(&[("MSET a 1 b 2", "OK")]);
    reader.expect(invalid("b"));
    reader.talk(&[("PING", "+PONG\r\n")]);
}

/// What `CLIENT CACHING` says is about the read behind it, even if that has to wait.
#[test]
fn what_a_blocked_read_is_to_be_remembered_for_holds_when_it_goes_on() {
    let mut server = Server::start(&[]);
    for (options, caching, remembered) in
        [("OPTIN", Some("YES"), true), ("OPTIN", None, false), ("OPTOUT", Some("NO"), false)]
    {
        let (mut reader, _) = resp3(&server);
        reader.talk(&[(&format!("CLIENT TRACKING ON {options}"), OK)]);
        if let Some(caching) = caching {
            reader.talk(&[(&format!("CLIENT CACHING {caching}"), OK)]);
        }
        server.check(&[("DEL s", if caching == Some("YES") { ":0" } else { ":1" })]);
        reader.send("XREAD BLOCK 0 STREAMS s $\r\n");
        server.wait_info("blocked_clients", "1");
        server.check(&[("XADD s 1-1 a b", "1-1")]);
        if remembered {
            // It has looked already.
            reader.expect(invalid("s"));
        }
        let entry = "*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        reader.expect(format!("%1\r\n$1\r\ns\r\n*1\r\n{entry}"));
        server.check(&[("XADD s 1-2 a b", "1-2")]);
        if remembered {
            reader.expect(invalid("s"));
        }
        reader.talk(&[("PING", "+PONG\r\n")]);
    }
    // A request that there is not is one, too.
    let (mut reader, _) = resp3(&server);
    server.check(&[("SET k 1", "OK")]);
    let unknown = "-ERR unknown command 'nosuch', with args beginning with: \r\n";
    let k = "$1\r\n1\r\n";
    reader.talk(&[("CLIENT TRACKING ON OPTIN", OK), ("CLIENT CACHING YES", OK)]);
    reader.talk(&[("nosuch", unknown), ("GET k", k)]);
    server.check(&[("SET k 2", "OK")]);
    reader.talk(&[("PING", "+PONG\r\n")]);
}

#[test]
fn broadcasts_go_by_prefix_once_in_a_turn() {
    let mut server = Server::start(&[]);
    let (mut all, _) = resp3(&server);
    let (mut some, _) = resp3(&server);
    all.talk(&[("CLIENT TRACKING ON BCAST", OK)]);
    some.talk(&[
            ("CLIENT TRACKING ON BCAST NOLOOP PREFIX user: PREFIX item:", OK),
            (
                "CLIENT TRACKING ON BCAST PREFIX use",
                "-ERR Prefix 'use' overlaps with an existing prefix 'user:'. Prefixes for a single client must not overlap.\r\n",
            ),
        ],
    );
    assert_eq!(server.info("tracking_total_prefixes"), 3);
    server.check(&[
        ("MULTI", "OK"),
        ("SET user:2 x", "QUEUED"),
        ("SET other x", "QUEUED"),
        ("SET user:1 x", "QUEUED"),
    ]);
    server.line("EXEC");
    all.expect(">2\r\n$10\r\ninvalidate\r\n*3\r\n$5\r\nother\r\n$6\r\nuser:1\r\n$6\r\nuser:2\r\n");
    some.expect(">2\r\n$10\r\ninvalidate\r\n*2\r\n$6\r\nuser:1\r\n$6\r\nuser:2\r\n");
    some.talk(&[("SET item:1 x", OK)]);
    all.expect(invalid("item:1"));
    some.talk(&[("PING", "+PONG\r\n")]);
}

#[test]
fn others_are_told_in_its_place() {
    let mut server = Server::start(&[]);
    let (mut reader, _) = resp3(&server);
    let mut old = server.raw();
    let id = old.ask("CLIENT ID").trim_start_matches(':').to_string();
    old.talk(&[(
        "SUBSCRIBE __redis__:invalidate",
        "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n",
    )]);
    reader.talk(&[
        (&format!("CLIENT TRACKING ON REDIRECT {id}"), OK),
        ("CLIENT GETREDIR", &format!(":{id}\r\n")),
        ("GET k", "_\r\n"),
    ]);
    server.check(&[("SET k 1", "OK")]);
    old.expect("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
    reader.talk(&[("GET k", "$1\r\n1\r\n")]);
    server.check(&[("FLUSHALL", "OK")]);
    old.expect("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n");
    drop(old);
    server.wait_for("CLIENT LIST", |list| !list.contains(&format!("id={id} ")));
    reader.talk(&[("GET k", "_\r\n")]);
    server.check(&[("SET k 1", "OK")]);
    reader.expect(format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n"));
    reader.talk(&[(
            "CLIENT TRACKINGINFO",
            &format!(
                "%3\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$15\r\nbroken_redirect\r\n$8\r\nredirect\r\n:{id}\r\n$8\r\nprefixes\r\n*0\r\n"
            ),
        )],
    );
}

#[test]
fn of_a_script_what_its_commands_read_is_remembered() {
    let mut server = Server::start(&[]);
    let (mut reader, _) = resp3(&server);
    server.check(&[("MSET a 1 b 2", "OK")]);
    reader.talk(&[("CLIENT TRACKING ON", OK)]);
    for eval in ["EVAL", "EVAL_RO"] {
        reader.talk(&[
            (&format!("{eval} \"return redis.call('ping')\" 2 a b"), "+PONG\r\n"),
            (&format!("{eval} \"return redis.call('get', KEYS[2])\" 2 a b"), "$1\r\n2\r\n"),
        ]);
        server.check(&[("MSET a 1 b 2", "OK")]);
        reader.expect(invalid("b"));
        reader.talk(&[("PING", "+PONG\r\n")]);
    }
}

#[test]
fn there_is_a_most_of_what_is_remembered() {
    let server = Server::start(&["--tracking-table-max-keys", "2"]);
    let (mut reader, _) = resp3(&server);
    reader.talk(&[
        ("CLIENT TRACKING ON", OK),
        ("GET a", "_\r\n"),
        ("GET b", "_\r\n"),
        ("GET c", "_\r\n"),
    ]);
    // The next command, or the clock, makes room.
    reader.expect(invalid("a"));
}

#[test]
fn what_can_not_be_wished_for() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("CLIENT TRACKING ON REDIRECT 9999", "ERR The client ID you want redirect to does not exist"),
        ("CLIENT TRACKING ON REDIRECT x", "ERR value is not an integer or out of range"),
        ("CLIENT TRACKING ON PREFIX a", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("CLIENT TRACKING ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("CLIENT TRACKING MAYBE", "ERR syntax error"),
        ("CLIENT TRACKING ON WHAT", "ERR syntax error"),
        (
            "CLIENT CACHING YES",
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT TRACKING ON OPTIN", "OK"),
        (
            "CLIENT TRACKING ON OPTOUT",
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ),
        (
            "CLIENT TRACKING ON BCAST",
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ),
        ("CLIENT GETREDIR", ":0"),
        ("RESET", "RESET"),
        ("CLIENT GETREDIR", ":-1"),
    ]);
}

#[test]
fn a_read_that_deletes_what_has_expired_is_remembered_behind_the_deletion() {
    let mut server = Server::start(&[]);
    server.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", OK.trim_start_matches('+').trim_end())]);
    for options in ["NOLOOP", "", "OPTIN NOLOOP", "OPTOUT NOLOOP"] {
        let (mut reader, _) = resp3(&server);
        reader.talk(&[(&format!("CLIENT TRACKING ON {options}"), OK)]);
        for read in ["GET k", "MULTI", "EVAL"] {
            server.check(&[("SET k 1 PXAT 1", "OK")]);
            if options.starts_with("OPTIN") {
                reader.talk(&[("CLIENT CACHING YES", OK)]);
            }
            match read {
                "MULTI" => {
                    let exec = ("EXEC", "*1\r\n_\r\n");
                    reader.talk(&[("MULTI", OK), ("GET k", "+QUEUED\r\n"), exec]);
                }
                "EVAL" => {
                    reader.command(&["EVAL", "return redis.call('get', KEYS[1])", "1", "k"]);
                    reader.expect("_\r\n");
                }
                _ => reader.talk(&[(read, "_\r\n")]),
            }
            server.check(&[("SET k 2", "OK")]);
            reader.expect(invalid("k"));
            reader.talk(&[("PING", "+PONG\r\n")]);
        }
    }
}

#[test]
fn what_expires_is_nobodys_own_change() {
    let mut server = Server::start(&[]);
    server.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "OK"), ("SET k 1 PXAT 1", "OK")]);
    let (mut reader, _) = resp3(&server);
    let on = "CLIENT TRACKING ON BCAST NOLOOP";
    reader.talk(&[(on, OK), ("SET own 1", OK), ("GET k", &("_\r\n".to_string() + &invalid("k")))]);
    // The last ID of a stream is none of its entries.
    server.check(&[("XADD x 1-1 f v", "1-1")]);
    reader.expect(invalid("x"));
    server.check(&[("XSETID x 5-1", "OK"), ("SET last 1", "OK")]);
    reader.expect(invalid("last"));
}
