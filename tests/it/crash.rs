//! Reports of what went wrong: crashes, panics, a loop that hangs.

use crate::harness::{Server, wait_for};

#[test]
fn a_crash_is_reported_in_the_log() {
    for (signal, number) in [("SEGV", 11), ("ABRT", 6), ("BUS", 7)] {
        for enabled in ["yes", "no"] {
            let mut server = Server::start(&["--crash-log-enabled", enabled]);
            server.signal(signal);
            assert_eq!(server.wait_exit(), None, "it ends by the signal, reported or not");
            let log = server.log();
            let wanted = enabled == "yes";
            let crash = format!("crashed by signal: {number}, ");
            for text in ["=== REDIS BUG REPORT START", "Killed by PID", "STACK TRACE DONE", &crash]
            {
                assert_eq!(log.matches(text).count(), usize::from(wanted), "{text} in:\n{log}");
            }
        }
    }
}

#[test]
fn a_panic_says_why_and_where() {
    let mut server = Server::start(&["--logfile", "file.log"]);
    server.raw().command(&["DEBUG", "PANIC"]);
    assert_eq!(server.wait_exit(), None);
    let log = std::fs::read_to_string(server.dir().join("file.log")).expect("a log");
    assert!(log.contains("Guru Meditation: DEBUG PANIC called"), "{log}");
    assert!(log.contains("#src/command/debug.rs:"), "{log}");
    assert!(log.contains("crashed by signal: 6"), "{log}");
}

#[test]
fn a_loop_that_hangs_is_reported() {
    let mut server = Server::start(&[]);
    server.signal("ALRM");
    wait_for("the report", || server.log().contains("Received SIGALRM").then_some(()));
    assert_eq!(server.text(&["CONFIG", "SET", "watchdog-period", "1"]), "OK");
    let set = server.text(&["CONFIG", "GET", "watchdog-period"]);
    assert_eq!(set, "[watchdog-period 200]", "the cron has to be able to say that the loop runs");
    server.text(&["DEBUG", "SLEEP", "0.5"]);
    assert!(server.log().contains("--- WATCHDOG TIMER EXPIRED ---"));
    assert_eq!(server.text(&["PING"]), "PONG");
}
