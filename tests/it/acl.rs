//! Access control lists over the wire: users and their rules, what they may do, what becomes of their connections,
//! and where users are kept.

use crate::harness::{Raw, Server, wait_for};
use std::fs;
use std::process::Command;

const NO_KEY: &str = "-NOPERM No permissions to access a key";
const NO_CHANNEL: &str = "-NOPERM No permissions to access a channel";

/// A connection that is logged in as a user without a password.
fn logged_in(server: &Server, user: &str) -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask(&format!("AUTH {user} x")), "+OK");
    raw
}

fn not_allowed(user: &str, command: &str) -> String {
    format!("-NOPERM User {user} has no permissions to run the '{command}' command")
}

/// Asks each question, and compares the answers.
fn check(raw: &mut Raw, table: &[(&str, &str)]) {
    for (request, reply) in table {
        assert_eq!(raw.ask(request), *reply, "{request}");
    }
}

#[test]
fn users_are_made_shown_and_deleted() {
    let mut server = Server::start(&[]);
    let hash = "148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940";
    let u = format!(
        "user u on sanitize-payload #{hash} %R~a %W~b ~c resetchannels &x -@all +get +@set -sadd +select|1 (~z \
         resetchannels -@all +set)"
    );
    let default = "user default on nopass sanitize-payload ~* &* +@all";
    server.check(&[
        ("ACL WHOAMI", "default"),
        ("ACL LIST", &format!("[{default}]")),
        ("ACL SETUSER u on >p %R~a %W~b ~c &x +get +@set -sadd +select|1 (+set ~z)", "OK"),
        ("ACL LIST", &format!("[{default} {u}]")),
        ("ACL USERS", "[default u]"),
        (
            "ACL GETUSER u",
            &format!(
                "[flags [on sanitize-payload] passwords [{hash}] commands -@all +get +@set -sadd +select|1 keys %R~a \
                 %W~b ~c channels &x selectors [[commands -@all +set keys ~z channels ]]]"
            ),
        ),
        (
            "ACL GETUSER default",
            "[flags [on nopass sanitize-payload] passwords [] commands +@all keys ~* channels &* selectors []]",
        ),
        ("ACL GETUSER nobody", "nil"),
        ("ACL SETUSER a (+get", "ERR Unmatched parenthesis in acl selector starting at '(+get'."),
        ("ACL SETUSER a +get %x", "ERR Error in ACL SETUSER modifier '%x': Syntax error"),
        (
            "ACL SETUSER a +nosuch",
            "ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL",
        ),
        ("ACL SETUSER u reset +nosuch", "ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"),
        ("ACL LIST", &format!("[{default} {u}]")),
        ("ACL DELUSER u default", "ERR The 'default' user cannot be removed"),
        ("ACL DELUSER u nobody", ":1"),
        ("ACL USERS", "[default]"),
        ("ACL CAT x", "ERR Unknown category 'x'"),
        ("ACL CAT hyperloglog", "[pfadd pfcount pfdebug pfmerge pfselftest]"),
        ("ACL CAT a b", "ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP."),
        (
            "ACL CAT",
            "[keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow \
             blocking dangerous connection transaction scripting]",
        ),
    ]);
    assert_eq!(
        server.text(&["ACL", "SETUSER", "a b"]),
        "ERR Usernames can't contain spaces or null characters"
    );
}

#[test]
fn passwords_are_made() {
    let mut server = Server::start(&[]);
    for (args, len) in [("", 64), (" 5", 2), (" 4096", 1024), (" 1", 1)] {
        let password = server.line(&format!("ACL GENPASS{args}"));
        assert!(password.len() == len && password.chars().all(|c| c.is_ascii_hexdigit()));
    }
    assert_ne!(server.line("ACL GENPASS"), server.line("ACL GENPASS"));
    let range = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096";
    server.check(&[
        ("ACL GENPASS 0", range),
        ("ACL GENPASS 4097", range),
        ("ACL GENPASS x", "ERR value is not an integer or out of range"),
    ]);
}

#[test]
fn logging_in() {
    let mut server = Server::start(&[]);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    server.check(&[("ACL SETUSER u >p +ping +acl|whoami", "OK")]);
    let mut raw = server.raw();
    check(&mut raw, &[("AUTH u p", wrong)]);
    server.check(&[("ACL SETUSER u on", "OK")]);
    check(
        &mut raw,
        &[
            ("AUTH u q", wrong),
            ("ACL WHOAMI", "default"),
            ("AUTH u p", "+OK"),
            ("ACL WHOAMI", "u"),
            ("GET k", &not_allowed("u", "get")),
            ("ACL LIST", &not_allowed("u", "acl|list")),
            // Whoever one is, one may become somebody else.
            ("AUTH default any", "+OK"),
            ("AUTH u p", "+OK"),
            ("RESET", "+RESET"),
            ("ACL WHOAMI", "default"),
        ],
    );
    // Without the default user nobody gets in unnamed.
    server.check(&[("ACL SETUSER default off", "OK")]);
    let mut raw = server.raw();
    check(
        &mut raw,
        &[("PING", "-NOAUTH Authentication required."), ("AUTH u p", "+OK"), ("PING", "+PONG")],
    );
    server.check(&[("ACL SETUSER default on >secret", "OK")]);
    let mut raw = server.raw();
    check(&mut raw, &[("PING", "-NOAUTH Authentication required.")]);
    server.check(&[("ACL SETUSER default nopass", "OK")]);
    check(&mut raw, &[("PING", "+PONG")]);
}

#[test]
fn commands_keys_and_channels_are_checked() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("ACL SETUSER u on nopass %R~r:* %W~w:* ~k +@all -@dangerous +sort -select +select|0 (+flushdb)", "OK"),
        ("ACL SETUSER s on nopass &news &log:* +@pubsub", "OK"),
        ("MSET r:1 1 w:1 1 k 1", "OK"),
    ]);
    let mut u = logged_in(&server, "u");
    check(
        &mut u,
        &[
            ("GET r:1", "1"),
            ("GET w:1", NO_KEY),
            ("SET w:1 2", "+OK"),
            ("SET w:1 2 GET", NO_KEY),
            ("SET r:1 2", NO_KEY),
            ("COPY r:1 w:2", ":1"),
            ("COPY w:1 r:2", NO_KEY),
            ("EXISTS anything", NO_KEY),
            ("EXISTS k", ":1"),
            ("BITFIELD r:1 GET u8 0", "*1"),
        ],
    );
    u.expect(":49\r\n");
    check(
        &mut u,
        &[
            ("BITFIELD r:1 SET u8 0 1", NO_KEY),
            ("KEYS *", &not_allowed("u", "keys")),
            ("CONFIG GET port", &not_allowed("u", "config|get")),
            ("SELECT 1", &not_allowed("u", "select")),
            ("SELECT 0", "+OK"),
            ("FLUSHDB", "+OK"),
            ("SORT k BY w_*", "-ERR BY option of SORT denied due to insufficient ACL permissions."),
            ("SORT k GET #", "-ERR GET option of SORT denied due to insufficient ACL permissions."),
            ("SORT k BY nosort", "*0"),
        ],
    );
    server.check(&[("ACL SETUSER u %R~*", "OK")]);
    check(&mut u, &[("SORT k BY w_* GET #", "*0")]);
    let mut s = logged_in(&server, "s");
    check(
        &mut s,
        &[
            ("PUBLISH news x", ":0"),
            ("PUBLISH log:1 x", ":0"),
            ("SPUBLISH other x", NO_CHANNEL),
            ("SUBSCRIBE news other", NO_CHANNEL),
            ("PSUBSCRIBE log:1", NO_CHANNEL),
            ("SSUBSCRIBE other", NO_CHANNEL),
            ("PSUBSCRIBE log:*", "*3"),
        ],
    );
    assert_eq!(server.info("acl_access_denied_cmd"), 3);
    assert_eq!(server.info("acl_access_denied_key"), 6);
    server.check(&[("CONFIG RESETSTAT", "OK")]);
    assert_eq!(server.info("acl_access_denied_channel"), 4);
}

#[test]
fn a_selector_allows_all_of_a_command_or_nothing_of_it() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("ACL SETUSER u on nopass +get ~a (+set ~b) (+@all %R~c &x)", "OK"),
        ("ACL DRYRUN u get a", "OK"),
        ("ACL DRYRUN u get b", "User u has no permissions to access the 'b' key"),
        ("ACL DRYRUN u set b 1", "OK"),
        ("ACL DRYRUN u set a 1", "User u has no permissions to access the 'a' key"),
        ("ACL DRYRUN u mget c a", "User u has no permissions to access the 'a' key"),
        ("ACL DRYRUN u publish y 1", "User u has no permissions to access the 'y' channel"),
        ("ACL DRYRUN u publish x 1", "OK"),
        ("ACL DRYRUN u get", "ERR wrong number of arguments for 'get' command"),
        ("ACL DRYRUN u nosuch", "ERR Command 'nosuch' not found"),
        ("ACL DRYRUN nobody get a", "ERR User 'nobody' not found"),
        ("ACL SETUSER u clearselectors", "OK"),
        ("ACL DRYRUN u config get x", "User u has no permissions to run the 'config|get' command"),
    ]);
}

#[test]
fn transactions_and_blocked_clients_are_checked_again() {
    let mut server = Server::start(&[]);
    server.check(&[("ACL SETUSER u on nopass ~* +@all", "OK")]);
    let mut raw = logged_in(&server, "u");
    check(&mut raw, &[("MULTI", "+OK"), ("INCR a", "+QUEUED"), ("GET a", "+QUEUED")]);
    server.check(&[("ACL SETUSER u -incr", "OK")]);
    check(&mut raw, &[("EXEC", "*2")]);
    raw.expect(
        "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
         is no longer allowed for the following reason: no permission to execute the command or subcommand\r\n$-1\r\n",
    );
    check(
        &mut raw,
        &[
            ("MULTI", "+OK"),
            ("INCR a", &not_allowed("u", "incr")),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ],
    );
    raw.send("BLPOP list 0\r\n");
    server.wait_info("blocked_clients", "1");
    server.check(&[("ACL SETUSER u resetkeys", "OK"), ("RPUSH list x", ":1")]);
    assert_eq!(raw.line(), NO_KEY);
    server.check(&[("LLEN list", ":1")]);
}

#[test]
fn what_was_refused_is_logged() {
    let mut server = Server::start(&[]);
    server.check(&[("ACL SETUSER u on nopass ~k +get +multi +discard", "OK")]);
    let mut raw = logged_in(&server, "u");
    raw.ask("SET k 1");
    raw.ask("SET k 1");
    raw.ask("GET other");
    raw.ask("MULTI");
    raw.ask("GET other");
    raw.ask("DISCARD");
    raw.ask("AUTH nobody x");
    let log = server.line("ACL LOG");
    let entries: Vec<_> = log.split("count ").skip(1).collect();
    for (entry, start) in entries.iter().zip([
        ":1 reason auth context toplevel object AUTH username nobody age-seconds 0",
        ":1 reason key context multi object other username u age-seconds 0",
        ":1 reason key context toplevel object other username u age-seconds 0",
        ":2 reason command context toplevel object set username u age-seconds 0",
    ]) {
        assert!(entry.starts_with(start), "{entry}");
        assert!(entry.contains(" client-info id=") && entry.contains(" user=u "), "{entry}");
    }
    assert_eq!(entries.len(), 4);
    assert!(entries[3].contains("entry-id :0 timestamp-created :1"), "{}", entries[3]);
    assert_eq!(server.line("ACL LOG 1").matches("reason").count(), 1);
    server.check(&[
        ("ACL LOG x", "ERR value is not an integer or out of range"),
        ("ACL LOG -1", "[]"),
        ("CONFIG SET acllog-max-len 1", "OK"),
        ("ACL LOG RESET", "OK"),
        ("ACL LOG", "[]"),
    ]);
}

#[test]
fn connections_of_who_may_no_more_are_closed() {
    let mut server = Server::start(&[]);
    server.check(&[("ACL SETUSER u on nopass &a &b* +@all", "OK")]);
    let mut pardoned = logged_in(&server, "u");
    pardoned.ask("SUBSCRIBE a");
    let mut doomed = logged_in(&server, "u");
    doomed.ask("PSUBSCRIBE b*");
    server.check(&[("ACL SETUSER u &c", "OK"), ("ACL SETUSER u resetchannels &a", "OK")]);
    assert!(doomed.read_to_end().ends_with(b":1\r\n"));
    server
        .check(&[("PUBLISH a x", ":1"), ("CLIENT KILL USER nobody", "ERR No such user 'nobody'")]);

    let mut other = logged_in(&server, "u");
    server.check(&[("CLIENT KILL USER u", ":2")]);
    assert_eq!(other.read_to_end(), b"");
    let mut other = logged_in(&server, "u");
    let mut own = logged_in(&server, "u");
    assert_eq!(own.ask("ACL DELUSER u"), ":1");
    assert_eq!(own.read_to_end(), b"");
    assert_eq!(other.read_to_end(), b"");
}

#[test]
fn users_of_a_configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.conf");
    let text = "requirepass secret\nuser u on nopass ~a* +get (+set ~b)\nuser default on nopass ~* &* +@all\n";
    fs::write(&path, text).unwrap();
    let mut server = Server::start(&[path.to_str().unwrap()]);
    let u =
        "u on nopass sanitize-payload ~a* resetchannels -@all +get (~b resetchannels -@all +set)";
    let default = "default on nopass sanitize-payload ~* &* +@all";
    server.check(&[
        ("ACL LIST", &format!("[user {default} user {u}]")),
        ("ACL SETUSER v >x", "OK"),
        ("CONFIG REWRITE", "OK"),
    ]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&format!("\nuser {default}\nuser {u}\n")), "{text}");
    assert!(text.contains("\nuser v off sanitize-payload #"), "{text}");
}

/// What the server says when it does not start with this configuration.
fn refusal(config: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("redis.conf"), config).unwrap();
    fs::write(dir.path().join("wrong.acl"), "user u +nosuch\n").unwrap();
    let output = Command::new(crate::harness::program())
        .args(["redis.conf", "--port", "0"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{config}");
    // Told on the terminal or in the log.
    String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned()
}

#[test]
fn a_server_does_not_start_with_other_users_than_it_was_told() {
    for (config, reason) in [
        ("user u +get\nuser v %x", ">>> 'user v %x'\nError in user declaration '%x': Syntax error"),
        (
            "user u on\nuser u off",
            "Error in user declaration 'u': Duplicate user found. A user can only be defined once in config files",
        ),
        (
            "user u +nosuch",
            "Error loading ACL rule '+nosuch' for the user named 'u': Unknown command or category name in ACL",
        ),
        ("user \"a b\" on", "Spaces not allowed in ACL usernames"),
        (
            "aclfile users.acl\nuser u on",
            "Configuring Redis with users defined in redis.conf and at the same",
        ),
        (
            "aclfile missing.acl",
            "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file 'missing.acl': No such file",
        ),
        (
            "aclfile wrong.acl",
            "startup because of ACL errors: wrong.acl:1: Error in applying operation '+nosuch'",
        ),
    ] {
        let text = refusal(config);
        assert!(text.contains(reason), "{config}: {text}");
    }
}

#[test]
fn rules_may_name_commands_that_are_not_here_or_have_another_name() {
    let sentinel = "allchannels +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info \
                    +client|setname +client|kill +script|kill";
    let mut server = Server::start(&["--rename-command", "GET", "GOT"]);
    server.check(&[
        (&format!("ACL SETUSER sentinel on >p {sentinel}"), "OK"),
        ("ACL SETUSER u on nopass ~* +get", "OK"),
        ("ACL SETUSER v on nopass ~* +@all -get", "OK"),
        (
            "ACL SETUSER v +got",
            "ERR Error in ACL SETUSER modifier '+got': Unknown command or category name in ACL",
        ),
    ]);
    check(&mut logged_in(&server, "u"), &[("GOT k", "$-1")]);
    check(&mut logged_in(&server, "v"), &[("GOT k", &not_allowed("v", "get"))]);
}

#[test]
fn users_of_a_file_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.acl");
    let file = path.to_str().unwrap();
    fs::write(&path, "user u on nopass ~* &* +@all\nuser v on nopass +@all\n\n").unwrap();
    let mut server = Server::start_as("valkey-server", &["--aclfile", file]);
    let (mut u, mut v) = (logged_in(&server, "u"), logged_in(&server, "v"));
    server.check(&[("ACL USERS", "[default u v]"), ("ACL SETUSER w", "OK"), ("ACL SAVE", "OK")]);
    let saved = fs::read_to_string(&path).unwrap();
    assert_eq!(
        saved,
        "user default on nopass sanitize-payload ~* &* +@all\nuser u on nopass sanitize-payload ~* &* +@all\n\
         user v on nopass sanitize-payload resetchannels +@all\nuser w off sanitize-payload resetchannels -@all\n"
    );
    // Nothing of a file with mistakes is taken.
    fs::write(&path, "user u on -@all\nuser x +nosuch\nnonsense\nuser u\nuser y %x ~a\n").unwrap();
    server.check(&[
        (
            "ACL LOAD",
            &format!(
                "ERR {file}:2: Error in applying operation '+nosuch': Unknown command or category name in ACL. {file}:3 \
                 should start with user keyword followed by the username. WARNING: Duplicate user 'u' found on line 4. \
                 {file}:5: Syntax error. WARNING: ACL errors detected, no change to the previously active ACL rules was \
                 performed"
            ),
        ),
        ("ACL USERS", "[default u v w]"),
    ]);
    fs::write(&path, "user u on nopass ~* +get +acl|whoami\n").unwrap();
    server.check(&[("ACL LOAD", "OK"), ("ACL USERS", "[default u]")]);
    check(&mut u, &[("ACL WHOAMI", "u"), ("SET a 1", &not_allowed("u", "set"))]);
    assert_eq!(v.read_to_end(), b"");
    fs::remove_file(&path).unwrap();
    server.check(&[(
        "ACL LOAD",
        &format!("ERR Error loading ACLs, opening file '{file}': No such file or directory"),
    )]);
    let no_file = "ERR This Redis instance is not configured to use an ACL file.";
    let mut without = Server::start(&[]);
    for command in ["ACL LOAD", "ACL SAVE"] {
        assert!(without.line(command).starts_with(no_file));
    }
}

#[test]
fn a_replica_logs_in_as_a_user() {
    let mut primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    primary.check(&[
        ("ACL SETUSER r on >p +psync +replconf +ping", "OK"),
        ("ACL SETUSER default off", "OK"),
        ("SET a 1", "OK"),
    ]);
    let mut replica = Server::start(&["--masteruser", "r", "--masterauth", "p"]);
    replica.replica_of(primary.port);
    wait_for("the key", || (replica.line("GET a") == "1").then_some(()));
    let clients = replica.line("CLIENT LIST");
    assert!(clients.contains(" user=(superuser) "), "{clients}");
    assert!(primary.line("CLIENT LIST").contains(" user=r "));
}
