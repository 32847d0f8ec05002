//! Connections: who a client is, what it may decide about its own connection, and who else is connected.

use crate::harness::{Raw, Server, wait_for};

/// The value of a field of a `CLIENT LIST` line.
fn field(line: &str, name: &str) -> String {
    let start = format!("{name}=");
    let found = line.split(' ').find_map(|part| part.trim_end().strip_prefix(&start));
    found.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_string()
}

#[test]
fn ping_echo_and_select() {
    let mut server = Server::start(&[]);
    for (args, reply) in [
        (&["PING"][..], "PONG"),
        (&["PING", "hi"], "hi"),
        (&["PING", "a", "b"], "ERR wrong number of arguments for 'ping' command"),
        (&["ECHO", "x y"], "x y"),
        (&["SELECT", "15"], "OK"),
        (&["SELECT", "16"], "ERR DB index is out of range"),
        (&["SELECT", "-1"], "ERR DB index is out of range"),
        (&["SELECT", "a"], "ERR value is not an integer or out of range"),
        (
            &["SELECT", "9999999999"],
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        (&["SET", "key", "here"], "OK"),
        (&["SELECT", "0"], "OK"),
        (&["GET", "key"], "nil"),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
}

#[test]
fn quit_answers_and_executes_nothing_behind_it() {
    let mut server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send("QUIT\r\nSET key value\r\n");
    assert_eq!(raw.read_to_end(), b"+OK\r\n");
    assert_eq!(server.text(&["EXISTS", "key"]), ":0");
}

#[test]
fn hello_chooses_the_protocol() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send("HELLO 3 SETNAME me\r\n");
    assert_eq!(raw.line(), "%7");
    raw.expect("$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:");
    raw.line();
    raw.expect(
        "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
    );
    raw.send("CLIENT GETNAME\r\nGET nosuch\r\n");
    raw.expect("$2\r\nme\r\n_\r\n");
    for (request, reply) in [
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
        ("HELLO 2 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n"),
        ("HELLO 2 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'\r\n"),
        (
            "HELLO 2 SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        ("GET nosuch", "_\r\n"),
        ("RESET", "+RESET\r\n"),
        ("GET nosuch", "$-1\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
    ] {
        raw.send(format!("{request}\r\n"));
        raw.expect(reply);
    }
}

#[test]
fn a_password_is_asked_for() {
    let mut server = Server::start(&[]);
    assert_eq!(server.text(&["CONFIG", "SET", "requirepass", "secret"]), "OK");
    assert_eq!(server.text(&["PING"]), "PONG");
    assert_eq!(server.text(&["RESET"]), "RESET");
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    for (args, reply) in [
        (&["GET", "a"][..], "NOAUTH Authentication required."),
        (&["PING"], "NOAUTH Authentication required."),
        (&["AUTH", "Secret"], wrong),
        (&["AUTH", "secre"], wrong),
        (&["AUTH", ""], wrong),
        (&["AUTH", "other", "secret"], wrong),
        (&["AUTH", "a", "b", "c"], "ERR syntax error"),
        (&["GET", "a"], "NOAUTH Authentication required."),
        (&["AUTH", "default", "secret"], "OK"),
        (&["GET", "a"], "nil"),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
    assert_eq!(server.info("acl_access_denied_auth"), 4);

    let mut raw = server.raw();
    raw.send("HELLO 3\r\n");
    assert!(
        raw.line()
            .starts_with("-NOAUTH HELLO must be called with the client already authenticated")
    );
    raw.send("HELLO 3 AUTH default wrong\r\n");
    raw.expect(format!("-{wrong}\r\n"));
    raw.send("HELLO 3 AUTH default secret\r\n");
    assert_eq!(raw.line(), "%7");

    // Who is in stays in; who comes needs the new password, or none.
    assert_eq!(server.text(&["CONFIG", "SET", "requirepass", "new"]), "OK");
    assert_eq!(server.text(&["PING"]), "PONG");
    assert_eq!(server.text(&["RESET"]), "RESET");
    assert_eq!(server.text(&["PING"]), "NOAUTH Authentication required.");
    assert_eq!(server.text(&["AUTH", "new"]), "OK");
    assert_eq!(server.text(&["CONFIG", "SET", "requirepass", ""]), "OK");
    let not_set = "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                   your configuration is correct?";
    let mut other = server.raw();
    assert_eq!(other.ask("AUTH new"), format!("-{not_set}"));
    assert_eq!(other.ask("AUTH default anything"), "+OK");
}

/// As in a C string: what follows is kept, and neither judged nor listed.
#[test]
fn a_clients_name_is_judged_and_listed_up_to_a_nul() {
    let mut server = Server::start(&[]);
    assert_eq!(server.text(&["CLIENT", "SETNAME", "me\0 name=you"]), "OK");
    assert_eq!(server.text(&["CLIENT", "SETINFO", "LIB-NAME", "lib\0\n"]), "OK");
    assert_eq!(server.text(&["CLIENT", "GETNAME"]), "me\0 name=you");
    let line = server.text(&["CLIENT", "INFO"]);
    assert!(line.contains(" name=me age=") && line.contains(" lib-name=lib lib-ver="), "{line}");
}

/// As in a C string, in which Redis repeats it.
#[test]
fn errors_repeat_what_was_said_up_to_a_nul() {
    let mut server = Server::start(&["--enable-debug-command", "yes"]);
    for (request, error) in [
        (["CLIENT", "SETINFO", "a\0b", "x"].as_slice(), "ERR Unrecognized option 'a'"),
        (&["CLIENT", "LIST", "TYPE", "a\0b"], "ERR Unknown client type 'a'"),
        (&["CLIENT", "KILL", "USER", "a\0b"], "ERR No such user 'a'"),
        (
            &["CONFIG", "SET", "a\0b", "1"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'a'",
        ),
        (&["LATENCY", "GRAPH", "a\0b"], "ERR No samples available for event 'a'"),
        (&["HELLO", "3", "a\0b"], "ERR Syntax error in HELLO option 'a'"),
        (&["ACL", "CAT", "a\0b"], "ERR Unknown category 'a'"),
        (&["ACL", "DRYRUN", "a\0b", "GET", "k"], "ERR User 'a' not found"),
        (&["ACL", "DRYRUN", "default", "g\0et", "k"], "ERR Command 'g' not found"),
        (&["ACL", "SETUSER", "u", "a\0b"], "ERR Error in ACL SETUSER modifier 'a': Syntax error"),
        (
            &["ACL", "SETUSER", "u", "+@a\0b"],
            "ERR Error in ACL SETUSER modifier '+@a': Unknown command or category name in ACL",
        ),
        (
            &["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a\0b", "PREFIX", "a\0bc"],
            "ERR Prefix 'a' overlaps with another provided prefix 'a'. Prefixes for a single client must not overlap.",
        ),
        (
            &["DEBUG", "a\0b"],
            "ERR unknown subcommand or wrong number of arguments for 'a'. Try DEBUG HELP.",
        ),
        (&["FUNCTION", "LOAD", "a\0b", "code"], "ERR Unknown option given: a"),
    ] {
        assert_eq!(server.text(request), error);
    }
}

#[test]
fn a_client_is_listed_with_what_is_known_of_it() {
    let mut server = Server::start(&[]);
    let mut other = server.raw();
    let id = other.ask("CLIENT ID")[1..].to_string();
    other.ask("SELECT 3");
    assert_eq!(other.ask("CLIENT SETNAME other"), "+OK");
    assert_eq!(other.ask("CLIENT SETINFO LIB-NAME lib"), "+OK");
    assert_eq!(other.ask("CLIENT SETINFO lib-ver 1.2"), "+OK");

    let line = server.text(&["CLIENT", "LIST", "ID", &id]);
    for (name, value) in [
        ("id", id.as_str()),
        ("name", "other"),
        ("flags", "N"),
        ("db", "3"),
        ("sub", "0"),
        ("multi", "-1"),
        ("cmd", "client|setinfo"),
        ("user", "default"),
        ("redir", "-1"),
        ("resp", "2"),
        ("lib-name", "lib"),
        ("lib-ver", "1.2"),
    ] {
        assert_eq!(field(&line, name), value, "{name}");
    }
    assert!(field(&line, "laddr").ends_with(&format!(":{}", server.port)));

    let all = server.text(&["CLIENT", "LIST", "TYPE", "normal"]);
    let ids: Vec<u64> = all.lines().map(|line| field(line, "id").parse().unwrap()).collect();
    assert!(ids.len() == 2 && ids.is_sorted(), "{all}");
    let info = server.text(&["CLIENT", "INFO"]);
    assert_eq!(field(&info, "cmd"), "client|info");
    for (args, reply) in [
        (&["CLIENT", "LIST", "TYPE", "replica"][..], ""),
        (&["CLIENT", "LIST", "TYPE", "x"], "ERR Unknown client type 'x'"),
        (&["CLIENT", "LIST", "ID"], "ERR syntax error"),
        (&["CLIENT", "LIST", "ID", "x"], "ERR Invalid client ID"),
        (&["CLIENT", "LIST", "ID", "999"], ""),
        (
            &["CLIENT", "SETNAME", "a b"],
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ),
        (&["CLIENT", "SETINFO", "x", "y"], "ERR Unrecognized option 'x'"),
        (
            &["CLIENT", "SETINFO", "lib-ver", "a\n"],
            "ERR lib-ver cannot contain spaces, newlines or special characters.",
        ),
        (&["CLIENT", "SETNAME", ""], "OK"),
        (&["CLIENT", "GETNAME"], "nil"),
        (&["CLIENT", "GETREDIR"], ":-1"),
        (&["CLIENT", "NO-EVICT", "on"], "OK"),
        (&["CLIENT", "NO-TOUCH", "on"], "OK"),
        (&["CLIENT", "NO-TOUCH", "maybe"], "ERR syntax error"),
        (&["CLIENT", "NOSUCH"], "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
    assert_eq!(field(&server.text(&["CLIENT", "INFO"]), "flags"), "eT");
}

#[test]
fn clients_are_killed_by_what_fits_them() {
    let mut server = Server::start(&[]);
    let dead = |raw: &mut Raw| assert!(raw.read_to_end().is_empty());

    // The old form: an address, and the killer may be the killed.
    let mut raw = server.raw();
    let addr = field(&raw.ask("CLIENT INFO"), "addr");
    assert_eq!(server.text(&["CLIENT", "KILL", &addr]), "OK");
    dead(&mut raw);
    assert_eq!(server.text(&["CLIENT", "KILL", &addr]), "ERR No such client");
    let mut raw = server.raw();
    let addr = field(&raw.ask("CLIENT INFO"), "addr");
    raw.send(format!("CLIENT KILL {addr}\r\nPING\r\n"));
    assert_eq!(raw.read_to_end(), b"+OK\r\n");

    // The new form: everything has to fit, and who asks is spared.
    let (mut one, mut two) = (server.raw(), server.raw());
    let id = one.ask("CLIENT ID")[1..].to_string();
    two.send("PING\r\n");
    two.expect("+PONG\r\n");
    assert_eq!(server.text(&["CLIENT", "KILL", "ID", &id, "TYPE", "pubsub"]), ":0");
    assert_eq!(
        server.text(&["CLIENT", "KILL", "ID", &id, "USER", "default", "LADDR", "127.0.0.1:1"]),
        ":0"
    );
    assert_eq!(server.text(&["CLIENT", "KILL", "MAXAGE", "1000"]), ":0");
    assert_eq!(server.text(&["CLIENT", "KILL", "ID", &id, "SKIPME", "no"]), ":1");
    dead(&mut one);
    assert_eq!(server.text(&["CLIENT", "KILL", "TYPE", "normal", "USER", "default"]), ":1");
    dead(&mut two);
    for (args, reply) in [
        (&["CLIENT", "KILL", "ID", "0"][..], "ERR client-id should be greater than 0"),
        (&["CLIENT", "KILL", "ID", "1", "TYPE"], "ERR syntax error"),
        (&["CLIENT", "KILL", "USER", "nobody"], "ERR No such user 'nobody'"),
        (&["CLIENT", "KILL", "SKIPME", "maybe"], "ERR syntax error"),
        (&["CLIENT", "KILL", "MAXAGE", "x"], "ERR maxage is not an integer or out of range"),
        (&["CLIENT", "KILL", "MAXAGE", "0"], "ERR maxage should be greater than 0"),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
}

#[test]
fn clients_are_chosen_by_every_property() {
    let mut server = Server::start(&[]);
    let (mut one, mut two) = (server.raw(), server.raw());
    let id = |raw: &mut Raw| raw.ask("CLIENT ID")[1..].to_string();
    let ids = [id(&mut one), id(&mut two)];
    let asking = server.text(&["CLIENT", "ID"])[1..].to_string();
    for request in
        ["CLIENT SETNAME two", "CLIENT SETINFO LIB-NAME lib", "SELECT 3", "CLIENT CAPA REDIRECT"]
    {
        assert_eq!(two.ask(request), "+OK");
    }
    two.send("SUBSCRIBE channel\r\n");
    two.expect("*3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n");
    // 0 is the one that asks.
    let all = [&asking, &ids[0], &ids[1]];
    for (options, found) in [
        ("NAME two", "2"),
        ("NOT-NAME two", "01"),
        ("NAME two NAME three", ""),
        ("LIB-NAME lib", "2"),
        ("NOT-LIB-NAME lib", "01"),
        ("LIB-VER none", ""),
        ("DB 3", "2"),
        ("NOT-DB 3 SKIPME yes", "1"),
        ("SKIPME no", "012"),
        ("FLAGS P", "2"),
        ("FLAGS PN", ""),
        ("NOT-FLAGS P", "01"),
        ("CAPA r", "2"),
        ("NOT-CAPA r", "01"),
        ("IP 127.0.0.1", "012"),
        ("NOT-IP 127.0.0.1", ""),
        ("ADDR 1:2", ""),
        ("NOT-LADDR 1:2", "012"),
        ("TYPE pubsub", "2"),
        ("NOT-TYPE pubsub", "01"),
        ("USER default", "012"),
        ("NOT-USER default", ""),
        ("MAXAGE 1000", ""),
        ("IDLE 1000", ""),
        ("ID 1 2 NAME two", "2"),
        ("NOT-ID 1 2", "0"),
        ("ID 1 ID 2", ""),
    ] {
        let words = options.split(' ').map(|word| match word {
            "1" | "2" if options.contains("ID ") => all[word.parse::<usize>().unwrap()].clone(),
            word => word.to_string(),
        });
        let request: Vec<String> =
            ["CLIENT".into(), "LIST".into()].into_iter().chain(words).collect();
        let list = server.text(&request);
        let is_found = |id: &str| list.lines().any(|line| line.starts_with(&format!("id={id} ")));
        let which: String = (0..3).filter(|&i| is_found(all[i])).map(|i| i.to_string()).collect();
        assert_eq!(which, found, "{options}");
    }
    server.check(&[
        ("CLIENT KILL NAME x", ":0"),
        ("CLIENT KILL FLAGS P NOT-FLAGS P", ":0"),
        ("CLIENT KILL DB 3 NOT-NAME one", ":1"),
    ]);
    assert!(two.read_to_end().is_empty());
    server.text(&["CLIENT", "KILL", "ID", &ids[0], &ids[1]]);
    assert!(one.read_to_end().is_empty());
}

#[test]
fn what_is_said_of_clients_is_checked() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("CLIENT LIST IDLE 0", "ERR idle should be greater than 0"),
        ("CLIENT LIST IDLE x", "ERR idle is not an integer or out of range"),
        ("CLIENT LIST DB 16", "ERR DB number should be between 0 and 15"),
        ("CLIENT LIST DB x", "ERR DB is not an integer or out of range"),
        ("CLIENT LIST FLAGS Pz", "ERR Unknown flags found in the provided filter: Pz"),
        ("CLIENT LIST NOT-FLAGS z", "ERR Unknown flags found in the NOT-FLAGS filter: z"),
        ("CLIENT LIST CAPA redirect", "ERR Unknown capa found in the provided filter: redirect"),
        ("CLIENT LIST NAME", "ERR syntax error"),
        ("CLIENT LIST NAME two DB", "ERR syntax error"),
        ("CLIENT LIST NOT-SKIPME yes", "ERR syntax error"),
        ("CLIENT LIST NOT-IDLE 5", "ERR syntax error"),
        ("CLIENT LIST NOT-TYPE none", "ERR Unknown client type 'none'"),
        ("CLIENT LIST ID x", "ERR Invalid client ID"),
    ]);
}

#[test]
fn replies_can_be_turned_off() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send(
        "CLIENT REPLY OFF\r\nPING\r\nnosuch\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nPING\r\n",
    );
    raw.expect("+OK\r\n+PONG\r\n");
    raw.send("CLIENT REPLY SKIP\r\nPING 1\r\nPING 2\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nCLIENT REPLY x\r\n");
    raw.expect("$1\r\n2\r\n+OK\r\n-ERR syntax error\r\n");
}

/// A command that blocks is skipped when its answer comes, however that ends it.
#[test]
fn a_reply_that_is_skipped_may_come_late() {
    let mut server = Server::start(&[]);
    let mut raw = server.named("blocked");
    for command in ["BLPOP none 0.01", "BLMPOP 0.01 1 none LEFT", "WAIT 1 10", "WAITAOF 0 1 10"] {
        raw.send(format!("CLIENT REPLY SKIP\r\n{command}\r\nPING\r\nPING\r\n"));
        raw.expect("+PONG\r\n+PONG\r\n");
    }
    let blocks = "CLIENT REPLY SKIP\r\nBLPOP key 0\r\n";
    raw.send(blocks);
    server.wait_info("blocked_clients", "1");
    server.check(&[("RPUSH key v w", ":2")]);
    raw.send("LPOP key\r\n");
    raw.expect("$1\r\nw\r\n");
    for reason in ["TIMEOUT", "ERROR"] {
        raw.send(blocks);
        server.wait_info("blocked_clients", "1");
        let id = server.client_field("blocked", "id").expect("the client");
        server.check(&[(&format!("CLIENT UNBLOCK {id} {reason}"), ":1")]);
        raw.send("PING\r\n");
        raw.expect("+PONG\r\n");
    }
    // A pause does not end what was wished for.
    server.check(&[("CLIENT PAUSE 100000 WRITE", "OK")]);
    raw.send("CLIENT REPLY SKIP\r\nSET key v\r\nGET key\r\n");
    server.wait_info("blocked_clients", "1");
    server.check(&[("CLIENT UNPAUSE", "OK")]);
    raw.expect("$1\r\nv\r\n");
}

#[test]
fn a_pause_holds_writes_until_it_ends() {
    let mut server = Server::start(&[]);
    let mut other = server.raw();
    assert_eq!(server.text(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
    other.send("GET key\r\nSET key value\r\nGET key\r\n");
    other.expect("$-1\r\n");
    server.wait_info("blocked_clients", "1");
    assert!(server.is_silent_to(&mut other));
    // A shorter pause does not shorten it.
    assert_eq!(server.text(&["CLIENT", "PAUSE", "1", "WRITE"]), "OK");
    server.pass(2);
    assert!(server.is_silent_to(&mut other));
    assert_eq!(server.text(&["CLIENT", "UNPAUSE"]), "OK");
    other.expect("+OK\r\n$5\r\nvalue\r\n");
    assert_eq!(server.info("blocked_clients"), 0);

    assert_eq!(server.text(&["CLIENT", "PAUSE", "50"]), "OK");
    other.send("PING\r\n");
    other.expect("+PONG\r\n");
    for (args, reply) in [
        (&["CLIENT", "PAUSE", "x"][..], "ERR timeout is not an integer or out of range"),
        (&["CLIENT", "PAUSE", "-1"], "ERR timeout is negative"),
        (&["CLIENT", "PAUSE", "9223372036854775807"], "ERR timeout is out of range"),
        (&["CLIENT", "PAUSE", "1", "READ"], "ERR CLIENT PAUSE mode must be WRITE or ALL"),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
}

#[test]
fn a_waiting_client_can_be_unblocked() {
    let mut server = Server::start(&[]);
    let mut waiting = server.raw();
    let id = waiting.ask("CLIENT ID")[1..].to_string();
    for (reason, reply) in
        [("TIMEOUT", ":0\r\n"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")]
    {
        waiting.send("WAIT 1 0\r\n");
        server.wait_info("blocked_clients", "1");
        assert_eq!(server.text(&["CLIENT", "UNBLOCK", &id, reason]), ":1");
        waiting.expect(reply);
    }
    assert_eq!(server.text(&["CLIENT", "UNBLOCK", &id]), ":0");
    assert_eq!(
        server.text(&["CLIENT", "UNBLOCK", "x"]),
        "ERR value is not an integer or out of range"
    );
    let reason = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
    assert_eq!(server.text(&["CLIENT", "UNBLOCK", &id, "x"]), reason);
}

#[test]
fn a_monitor_has_time() {
    let mut server = Server::start(&["--timeout", "1"]);
    let (mut monitor, mut idle) = (server.named("monitor"), server.raw());
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    // Who says nothing is sent away; a monitor has nothing to say.
    assert_eq!(idle.read_to_end(), b"");
    let mut idle_for = || server.client_field("monitor", "idle").expect("it").parse::<u32>();
    wait_for("more time than clients have", || idle_for().is_ok_and(|s| s > 2).then_some(()));
}

#[test]
fn a_monitor_sees_commands_without_their_secrets() {
    let mut server = Server::start(&[]);
    let mut monitor = server.raw();
    monitor.send("MONITOR\r\n");
    monitor.expect("+OK\r\n");
    server.text(&["SELECT", "2"]);
    server.text(&["SET", "key", "a \"b\"\n"]);
    server.text(&["CONFIG", "GET", "maxmemory"]);
    server.text(&["AUTH", "default", "secret"]);
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.contains("AUTH")) {
        lines.push(monitor.line());
    }
    let shown: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once("] ")).map(|(_, command)| command).collect();
    let expected = [r#""SET" "key" "a \"b\"\n""#, r#""AUTH" "(redacted)" "(redacted)""#];
    assert!(shown.ends_with(&expected), "{lines:?}");
    assert!(lines.last().unwrap().contains(" [2 127.0.0.1:"), "{lines:?}");
    // It is for watching alone, however often it says so.
    monitor.send("GET key\r\nMONITOR\r\n");
    monitor.expect("-ERR Replica can't interact with the keyspace\r\n");
    monitor.send("RESET\r\nPING\r\n");
    monitor.expect("+RESET\r\n+PONG\r\n");
    server.text(&["GET", "key"]);
    assert!(server.is_silent_to(&mut monitor));
}
