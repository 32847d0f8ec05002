//! The Lua debugger, as `redis-cli --ldb` speaks to it.

use crate::harness::{Raw, Server, wait_for};

/// A client in a session.
struct Debugged(Raw);

impl Debugged {
    /// Asks for a session of this kind, and starts a script in it.
    fn start(server: &Server, mode: &str, script: &[&str]) -> (Debugged, Vec<String>) {
        let mut client = server.raw();
        assert_eq!(client.ask(&format!("SCRIPT DEBUG {mode}")), "+OK");
        client.command(&[&["EVAL"], script].concat());
        let mut debugged = Debugged(client);
        let first = debugged.answer();
        (debugged, first)
    }

    fn answer(&mut self) -> Vec<String> {
        let count = self.0.line();
        let count: usize = count.strip_prefix('*').expect("an array").parse().expect("a number");
        (0..count).map(|_| self.0.line().strip_prefix('+').expect("a line").to_string()).collect()
    }

    fn ask(&mut self, words: &str) -> Vec<String> {
        self.0.command(&words.split(' ').collect::<Vec<_>>());
        self.answer()
    }

    /// The script ends: its reply, behind the last answer.
    fn ends(mut self, reply: &str) {
        assert_eq!(self.0.line(), reply);
        assert!(self.0.read_to_end().is_empty());
    }
}

const SCRIPT: &str =
    "local n = 1\nlocal t = {1, 'two'}\nn = n + redis.call('incr', KEYS[1])\nreturn n\n";

#[test]
fn a_script_is_run_line_by_line() {
    let mut server = Server::start(&[]);
    let (mut client, first) = Debugged::start(&server, "SYNC", &[SCRIPT, "1", "counter"]);
    assert_eq!(first, ["* Stopped at 1, stop reason = step over", "-> 1   local n = 1"]);
    assert_eq!(client.ask("print"), ["No local variables in the current context."]);
    assert_eq!(client.ask("step")[1], "-> 2   local t = {1, 'two'}");
    assert_eq!(client.ask("print"), ["<value> n = 1"]);
    assert_eq!(client.ask("n")[1], "-> 3   n = n + redis.call('incr', KEYS[1])");
    assert_eq!(client.ask("p t"), [r#"<value> {1; "two"}"#]);
    assert_eq!(client.ask("p KEYS"), [r#"<value> {"counter"}"#]);
    assert_eq!(client.ask("p nobody"), ["No such variable."]);
    assert_eq!(client.ask("eval 1 + 1"), ["<retval> 2"]);
    assert_eq!(client.ask("e {a = 1}"), [r#"<retval> {["a"]=1}"#]);
    assert!(client.ask("e (")[0].starts_with("<error> "));
    assert_eq!(client.ask("redis set k v"), ["<redis> set k v", r#"<reply> "+OK""#]);
    assert!(client.ask("redis nonsense")[1].starts_with("<error> ERR Unknown"));
    let here = "-> 3   n = n + redis.call('incr', KEYS[1])";
    assert_eq!(client.ask("trace"), ["In top level:", here]);
    assert_eq!(
        client.ask("s"),
        [
            "<redis> incr counter",
            "<reply> 1",
            "* Stopped at 4, stop reason = step over",
            "-> 4   return n"
        ]
    );
    assert_eq!(client.ask("list 1 1"), ["   1   local n = 1", "   2   local t = {1, 'two'}"]);
    assert!(client.ask("what")[0].starts_with("<error> Unknown Redis Lua debugger command"));
    assert_eq!(client.ask("c"), ["<endsession>"]);
    client.ends(":2");
    assert_eq!(server.text(&["GET", "counter"]), "1");
    assert_eq!(server.text(&["GET", "k"]), "v");
}

#[test]
fn called_valkey_it_names_no_redis() {
    let server = Server::start_as("valkey-server", &[]);
    let script = "server.breakpoint()\nlocal n = 1\nreturn n";
    let (mut client, _) = Debugged::start(&server, "SYNC", &[script, "0"]);
    assert_eq!(client.ask("c")[0], "* Stopped at 2, stop reason = server.breakpoint() called");
    let unknown = "<error> Unknown Lua debugger command or wrong number of arguments.";
    assert_eq!(client.ask("what"), [unknown]);
    assert_eq!(client.ask("v set k v")[1], r#"<reply> "+OK""#);
    let help = client.ask("help");
    assert_eq!(help[0], "Lua debugger help:");
    assert!(
        help.contains(&"server.debug()       Produce logs in the debugger console.".to_string())
    );
    assert!(!help.iter().any(|line| line.to_lowercase().contains("redis")), "{help:?}");
    assert_eq!(client.ask("c"), ["<endsession>"]);
    client.ends(":1");
}

#[test]
fn it_stops_at_breakpoints_and_where_it_says_so_itself() {
    let server = Server::start(&[]);
    let script = "local sum = 0\nfor i = 1, 3 do\n  sum = sum + i\nend\nredis.breakpoint()\nredis.debug('sum', sum)\nreturn sum";
    let (mut client, _) = Debugged::start(&server, "YES", &[script, "0"]);
    assert_eq!(client.ask("break"), ["No breakpoints set. Use 'b <line>' to add one."]);
    assert_eq!(
        client.ask("break 3"),
        ["   2   for i = 1, 3 do", "  #3     sum = sum + i", "   4   end"]
    );
    assert_eq!(client.ask("break 99"), ["Wrong line number."]);
    assert_eq!(
        client.ask("c"),
        ["* Stopped at 3, stop reason = break point", "->#3     sum = sum + i"]
    );
    assert_eq!(client.ask("p i"), ["<value> 1"]);
    assert_eq!(client.ask("break -3"), ["Breakpoint removed."]);
    assert_eq!(
        client.ask("c"),
        [
            "* Stopped at 6, stop reason = redis.breakpoint() called",
            "-> 6   redis.debug('sum', sum)"
        ]
    );
    assert_eq!(client.ask("c"), [r#"<debug> line 6: "sum", 6"#, "<endsession>"]);
    client.ends(":6");
}

#[test]
fn variables_are_those_of_the_function() {
    let server = Server::start(&[]);
    let script = "local function double(a)\n  return a * 2\nend\nlocal b = double(21)\nreturn b";
    let (mut client, _) = Debugged::start(&server, "YES", &[script, "0"]);
    client.ask("b 2");
    client.ask("c");
    assert_eq!(client.ask("p a"), ["<value> 21"]);
    assert!(client.ask("p double")[0].starts_with("<value> \"function@0x"));
    let trace = client.ask("t");
    assert_eq!(trace[0], "In double:");
    assert_eq!(trace[2..], ["From top level:", "   4   local b = double(21)"]);
    client.ask("c");
    client.ends(":42");
}

#[test]
fn what_a_forked_session_changes_nobody_sees() {
    let mut server = Server::start(&[]);
    let (mut client, _) = Debugged::start(&server, "YES", &[SCRIPT, "1", "counter"]);
    // Others are served meanwhile.
    assert_eq!(server.text(&["SET", "other", "1"]), "OK");
    assert_eq!(client.ask("c"), ["<endsession>"]);
    client.ends(":2");
    assert_eq!(server.text(&["EXISTS", "counter"]), ":0");
    assert_eq!(server.text(&["EXISTS", "other"]), ":1");
    wait_for("the session's process", || server.children().is_empty().then_some(()));
}

#[test]
fn sessions_end_early() {
    let mut server = Server::start(&["--busy-reply-threshold", "50"]);
    let (mut client, _) = Debugged::start(&server, "SYNC", &[SCRIPT, "1", "counter"]);
    client.0.command(&["abort"]);
    assert_eq!(client.answer(), ["<endsession>"]);
    assert!(client.0.line().starts_with("-ERR script aborted for user request"));

    // Without its client a script goes on, but not for ever.
    let (client, _) = Debugged::start(&server, "SYNC", &[SCRIPT, "1", "counter"]);
    drop(client);
    wait_for("the script's end", || (server.text(&["GET", "counter"]) == "1").then_some(()));
    let (mut client, _) = Debugged::start(&server, "SYNC", &["while true do end", "0"]);
    assert_eq!(client.ask("c")[0], "* Stopped at 1, stop reason = timeout reached, infinite loop?");
    drop(client);
    assert_eq!(server.text(&["PING"]), "PONG");
}

#[test]
fn it_is_asked_for_by_itself() {
    let server = Server::start(&[]);
    let mut client = server.raw();
    client.send("PING\r\nSCRIPT DEBUG YES\r\n");
    client.expect("+PONG\r\n-ERR SCRIPT DEBUG must be called outside a pipeline\r\n");
    assert_eq!(client.ask("SCRIPT DEBUG perhaps"), "-ERR Use SCRIPT DEBUG YES/SYNC/NO");
    assert_eq!(client.ask("SCRIPT DEBUG SYNC"), "+OK");
    assert_eq!(client.ask("SCRIPT DEBUG NO"), "+OK");
    client.command(&["EVAL", "return 1", "0"]);
    client.expect(":1\r\n");
    // What can't be compiled ends a session too.
    assert_eq!(client.ask("SCRIPT DEBUG SYNC"), "+OK");
    client.command(&["EVAL", "return (", "0"]);
    client.expect("*1\r\n+<endsession>\r\n-ERR Error compiling script");
}
