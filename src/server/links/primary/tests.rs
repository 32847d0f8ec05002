//! The link without sockets and server: every step, every answer that a primary may give, every place where it may
//! break.

use super::CachedPrimary;
use super::{Action, Closed, Context, Online, Place, PrimaryLink};
use crate::server::client::Token;
use crate::server::config::{Config, ReplDisklessLoad};
use crate::server::links::trace::{Resync, StepKind};
use crate::server::observe::log::Level;

const MAIN: Token = 1;
const RDB: Token = 2;
const OURS: &str = "1111111111111111111111111111111111111111";
const THEIRS: &str = "2222222222222222222222222222222222222222";
/// What begins and ends as a snapshot does.
const SNAPSHOT: &str = "REDIS0011 and so on, to the end";
const MARK: &str = "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm";

/// A link, and what it decides by.
struct Fixture {
    link: PrimaryLink,
    config: Config,
    cached: Option<CachedPrimary>,
    is_failing_over: bool,
    is_empty: bool,
    now_ms: i64,
    /// What was loaded from memory, or is in the file to be loaded.
    loaded: Vec<u8>,
    traces: Vec<String>,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { dir: dir.path().to_path_buf(), port: 7000, ..Config::default() };
        let mut link = PrimaryLink::new("host".to_string(), 6379, 0);
        link.attempt(1);
        link.connecting(MAIN);
        Fixture {
            link,
            config,
            cached: None,
            is_failing_over: false,
            is_empty: true,
            now_ms: 1_000,
            loaded: Vec::new(),
            traces: Vec::new(),
            dir,
        }
    }

    fn with(change: impl FnOnce(&mut Fixture)) -> Fixture {
        let mut fixture = Fixture::new();
        change(&mut fixture);
        fixture
    }

    /// One with this much in common with the primary.
    fn resuming() -> Fixture {
        let cached = CachedPrimary { id: OURS.to_string(), offset: 99, stream_db: 3 };
        Fixture::with(|fixture| fixture.cached = Some(cached))
    }

    /// One whose primary has said all this.
    fn after(mut self, lines: &[&str]) -> Fixture {
        self.greet(MAIN);
        for line in lines {
            self.hears(MAIN, line);
        }
        self
    }

    /// One that is about to receive a snapshot.
    fn transferring(self) -> Fixture {
        self.after(&["+PONG\n", "+OK\n", "+OK\n", FULL_RESYNC])
    }

    /// One whose second connection is being made.
    fn with_two_channels(self) -> Fixture {
        let mut fixture = self.after(&["+PONG\n", "+OK\n", "+OK\n", "+DUALCHANNELSYNC\r\n"]);
        fixture.ask(|link, context| link.rdb_channel_connecting(RDB, context));
        fixture
    }

    fn split(self) -> Fixture {
        let mut fixture = self.with_two_channels();
        fixture.greet(RDB);
        fixture.hears(RDB, "+OK\n");
        fixture.hears(RDB, format!("$ENDOFF:500 {THEIRS} 7 42\r\n"));
        fixture
    }

    fn buffering(self) -> Fixture {
        let mut fixture = self.split();
        fixture.hears(MAIN, "+OK\n");
        fixture.hears(MAIN, "+CONTINUE\n");
        fixture
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut PrimaryLink, &Context<'_>) -> T) -> T {
        let context = Context {
            config: &self.config,
            cached: self.cached.as_ref(),
            is_failing_over: self.is_failing_over,
            is_empty: self.is_empty,
            now_ms: self.now_ms,
        };
        ask(&mut self.link, &context)
    }

    /// The connection is made: what is said first.
    fn greet(&mut self, token: Token) -> Vec<String> {
        let said = self.ask(|link, context| link.greeting(token, context));
        let said = said.expect("it is being made").into_iter().map(Action::Send).collect();
        let then = self.ask(|link, context| link.greeted(token, context));
        let greeting = self.ask(|link, context| link.greeting(token, context));
        assert!(greeting.is_none(), "it is said once");
        [self.shown(said), self.shown(then)].concat()
    }

    /// Bytes come: what follows from them.
    fn hears(&mut self, token: Token, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.ask(|link, context| link.receive(token, bytes.as_ref(), context));
        let mut all = Vec::new();
        while let Some(actions) = self.ask(|link, context| link.step(token, context)) {
            let fails = actions.iter().any(|action| matches!(action, Action::Fail(_)));
            all.extend(self.shown(actions));
            if fails {
                break;
            }
        }
        all
    }

    fn snapshot_loaded(&mut self) -> Vec<String> {
        let actions = self.ask(|link, context| link.snapshot_loaded(context));
        self.shown(actions)
    }

    fn shown(&mut self, actions: Vec<Action>) -> Vec<String> {
        actions.into_iter().filter_map(|action| self.line(action)).collect()
    }

    /// An action as a line; steps of the trace and bytes that are loaded are put aside.
    fn line(&mut self, action: Action) -> Option<String> {
        Some(match action {
            Action::Log(Level::Debug, text) => format!(". {text}"),
            Action::Log(Level::Verbose, text) => format!("- {text}"),
            Action::Log(Level::Notice, text) => format!("* {text}"),
            Action::Log(Level::Warning, text) => format!("# {text}"),
            Action::Trace(kind, text) => {
                self.traces.push(format!("{kind:?} {text}"));
                return None;
            }
            Action::TraceResync(Resync::Refused(why)) => format!("refused: {why}"),
            Action::TraceResync(outcome) => format!("{outcome:?}").to_lowercase(),
            Action::Send(request) => {
                self.traces.push(format!("{:?} {}", StepKind::Sent, request.shown));
                format!("> {}", String::from_utf8_lossy(&request.bytes).escape_debug())
            }
            Action::Load(bytes) => {
                self.loaded.extend(bytes);
                return None;
            }
            Action::LoadFile(file) => {
                let path = self.dir.path().join("dump.rdb");
                file.rename(&path).expect("a place");
                self.loaded = std::fs::read(path).expect("the file");
                "load file".to_string()
            }
            Action::BeginLoading { place, total_bytes } => {
                format!("load {total_bytes} bytes behind {}", place.offset())
            }
            Action::Online(online) => {
                let Online { token, place, input, wants_ack, replays } = online;
                let input = String::from_utf8_lossy(&input).into_owned();
                format!(
                    "online {token} at {} with {input:?}{}{}",
                    place.offset(),
                    if wants_ack { ", ack" } else { "" },
                    if replays { ", replays" } else { "" }
                )
            }
            Action::Resume { token, id, input } => {
                let input = String::from_utf8_lossy(&input).into_owned();
                format!("resume {token} as {id:?} with {input:?}")
            }
            Action::Fail(reason) => format!("fail: {reason}"),
            other => format!("{other:?}"),
        })
    }

    /// What has been left in its folder.
    fn files(&self) -> usize {
        std::fs::read_dir(self.dir.path()).expect("the folder").count()
    }
}

const FULL_RESYNC: &str = "+FULLRESYNC 2222222222222222222222222222222222222222 500\r\n";

/// A command as it is shown when it is sent.
fn sent(args: &[&str]) -> String {
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let mut bytes = Vec::new();
    crate::resp::encode::encode_command(&args, &mut bytes);
    format!("> {}", String::from_utf8_lossy(&bytes).escape_debug())
}

fn capabilities(more: &[&str]) -> String {
    let version = Config::default().redis_version_announced;
    let last = ["version", &version, "version", "9.0.0"];
    sent(&[&["REPLCONF", "capa", "eof", "capa", "psync2"], more, &last].concat())
}

#[test]
fn the_handshake_step_by_step() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.link.role_name(), "connecting");
    assert_eq!(
        fixture.greet(MAIN),
        [sent(&["PING"]), "* Non blocking connect for SYNC fired the event.".to_string()]
    );
    assert_eq!(fixture.link.role_name(), "handshake");
    assert_eq!(
        fixture.hears(MAIN, "+PONG\r\n"),
        [
            "* Master replied to PING, replication can continue...".to_string(),
            sent(&["REPLCONF", "listening-port", "7000"]),
            capabilities(&[]),
        ]
    );
    assert!(fixture.hears(MAIN, "+OK\r\n").is_empty());
    assert_eq!(
        fixture.hears(MAIN, "+OK\r\n"),
        [
            "* Partial resynchronization not possible (no cached master)".to_string(),
            sent(&["PSYNC", "?", "-1"]),
        ]
    );
    assert_eq!(
        fixture.hears(MAIN, FULL_RESYNC),
        [format!("* Full resync from master: {THEIRS}:500"), "full".to_string()]
    );
    assert_eq!((fixture.link.role_name(), fixture.link.is_syncing()), ("sync", true));
}

#[test]
fn the_handshake_with_all_that_it_may_have() {
    let mut fixture = Fixture::resuming();
    fixture.config.masteruser = Some(b"user".to_vec());
    fixture.config.masterauth = Some(b"secret".to_vec());
    fixture.config.replica_announce_ip = Some("10.0.0.1".to_string());
    fixture.config.replica_announce_port = 8000;
    fixture.config.dual_channel_replication_enabled = true;
    fixture.greet(MAIN);
    assert_eq!(
        fixture.hears(MAIN, "-NOAUTH Authentication required.\r\n"),
        [
            "* Master replied to PING, replication can continue...".to_string(),
            sent(&["AUTH", "user", "secret"]),
            sent(&["REPLCONF", "listening-port", "8000"]),
            sent(&["REPLCONF", "ip-address", "10.0.0.1"]),
            capabilities(&["capa", "dual-channel"]),
        ]
    );
    // Newlines before an answer say that the primary is alive; answers may come together.
    assert_eq!(
        fixture
            .hears(MAIN, "\n\n+OK\r\n\n+OK\r\n+OK\r\n+OK\r\n\n+CONTINUE\r\n*1\r\n$4\r\nPING\r\n"),
        [
            format!("* Trying a partial resynchronization (request {OURS}:100)."),
            sent(&["PSYNC", OURS, "100"]),
            "resume 1 as None with \"*1\\r\\n$4\\r\\nPING\\r\\n\"".to_string(),
        ]
    );
    assert!(fixture.link.is_connected());
    assert!(fixture.traces.contains(&"Sent AUTH (redacted)".to_string()));
    assert!(!fixture.traces.iter().any(|step| step.contains("secret")));
    assert!(fixture.traces.contains(&"Received +CONTINUE".to_string()));
}

#[test]
fn the_port_for_tls_is_announced_where_tls_is_spoken() {
    let mut fixture = Fixture::new();
    fixture.config.tls_replication = true;
    fixture.config.tls_port = 7443;
    fixture.greet(MAIN);
    let said = fixture.hears(MAIN, "+PONG\r\n");
    assert_eq!(said[1], sent(&["REPLCONF", "listening-port", "7443"]));
}

/// Errors that do not end the handshake: of old primaries, and of those that want a password first.
#[test]
fn what_an_old_primary_does_not_know_is_passed_over() {
    for answer in [
        "-NOAUTH Authentication required.",
        "-NOPERM this user has no permissions",
        "-ERR operation not permitted",
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down",
    ] {
        let mut fixture = Fixture::new().after(&[]);
        assert_eq!(fixture.hears(MAIN, format!("{answer}\r\n")).len(), 3, "after {answer}");
    }
    let mut fixture = Fixture::with(|f| f.config.replica_announce_ip = Some("ip".to_string()));
    fixture.greet(MAIN);
    fixture.hears(MAIN, "+PONG\r\n");
    let said = [0; 3].map(|_| fixture.hears(MAIN, "-ERR unknown\r\n").remove(0));
    assert_eq!(
        said,
        [
            "* (Non critical) Master does not understand REPLCONF listening-port: -ERR unknown",
            "* (Non critical) Master does not understand REPLCONF ip-address: -ERR unknown",
            "- (Non critical) Master does not understand REPLCONF capa or version: -ERR unknown",
        ]
    );
}

#[test]
fn answers_that_end_the_handshake() {
    for (steps, answer, reason) in [
        (&[][..], "-ERR no", "Error reply to PING from master: '-ERR no'"),
        (&[], "-DENIED protected", "Error reply to PING from master: '-DENIED protected'"),
        (&[], "PONG", "Error reply to PING from master: 'PONG'"),
        (&["+PONG\n"], "-WRONGPASS no", "Unable to AUTH to MASTER: -WRONGPASS no"),
    ] {
        let mut fixture = Fixture::with(|f| f.config.masterauth = Some(b"x".to_vec()));
        fixture = fixture.after(steps);
        let said = fixture.hears(MAIN, format!("{answer}\r\n"));
        assert_eq!(said, [format!("fail: {reason}")]);
    }
    for text in ["x".repeat(1025), "+PONG\r\n".to_string() + &"x".repeat(1025)] {
        let said = Fixture::new().after(&[]).hears(MAIN, text);
        assert_eq!(
            said.last().map(String::as_str),
            Some("fail: Bad protocol from MASTER: a line without an end")
        );
    }
}

#[test]
fn answers_to_psync() {
    const LATER: &str = "fail: Master is currently unable to PSYNC but should be in the future: ";
    const WRONG: &str = "fail: Master replied with wrong +FULLRESYNC syntax.";
    let unexpected =
        |line: &str| vec![format!("fail: Unexpected reply to PSYNC from master: {line}")];
    let full = |refusal: &str, offset: u64, id: &str| {
        let log = format!("* Full resync from master: {id}:{offset}");
        vec![log, format!("refused: {refusal}"), "full".to_string()]
    };
    let other = format!("the primary has another history ({THEIRS}, not {OURS})");
    let behind = "the primary is at offset 50, and what is here goes to 99";
    let too_far = "the primary is at offset 500, and does not hold 100 any more";
    for (answer, expected) in [
        (format!("+FULLRESYNC {THEIRS} 500"), full(&other, 500, THEIRS)),
        (format!("+FULLRESYNC {OURS} 50"), full(behind, 50, OURS)),
        (format!("+FULLRESYNC {OURS} 500"), full(too_far, 500, OURS)),
        (format!("+FULLRESYNC {OURS}"), vec![WRONG.to_string()]),
        (format!("+FULLRESYNC {OURS} -1"), vec![WRONG.to_string()]),
        ("+FULLRESYNC 1234 0".to_string(), vec![WRONG.to_string()]),
        ("+FULLRESYNC".to_string(), unexpected("+FULLRESYNC")),
        ("+CONTINUE".to_string(), vec!["resume 1 as None with \"\"".to_string()]),
        (format!("+CONTINUE {OURS}"), vec!["resume 1 as None with \"\"".to_string()]),
        ("+CONTINUE short".to_string(), vec!["resume 1 as None with \"\"".to_string()]),
        (format!("+CONTINUE {THEIRS}"), vec![format!("resume 1 as Some({THEIRS:?}) with \"\"")]),
        (
            "+DUALCHANNELSYNC".to_string(),
            vec![
                format!("refused: the primary has not what follows {OURS}:99"),
                "full".to_string(),
                "OpenRdbChannel".to_string(),
            ],
        ),
        ("-NOMASTERLINK no".to_string(), vec![format!("{LATER}-NOMASTERLINK no")]),
        ("-LOADING yet".to_string(), vec![format!("{LATER}-LOADING yet")]),
        ("+WHAT".to_string(), unexpected("+WHAT")),
        ("$5".to_string(), unexpected("$5")),
        (
            "-ERR unknown command".to_string(),
            vec![
                "* Master does not support PSYNC or is in error state (reply: -ERR unknown command)"
                    .to_string(),
                "* Retrying with SYNC...".to_string(),
                sent(&["SYNC"]),
            ],
        ),
        (
            "-NOPERM no".to_string(),
            vec![
                "# Unexpected reply to PSYNC from master: -NOPERM no".to_string(),
                "* Retrying with SYNC...".to_string(),
                sent(&["SYNC"]),
            ],
        ),
    ] {
        let mut fixture = Fixture::resuming().after(&["+PONG\n", "+OK\n", "+OK\n"]);
        assert_eq!(fixture.hears(MAIN, format!("{answer}\r\n")), expected, "to {answer}");
    }
    let mut fixture = Fixture::new().after(&["+PONG\n", "+OK\n", "+OK\n"]);
    assert_eq!(
        fixture.hears(MAIN, "+CONTINUE\r\n"),
        ["fail: Master continues a history that was not asked for"]
    );
}

#[test]
fn the_role_is_handed_over_with_psync() {
    for (answer, expected) in [
        ("+CONTINUE", vec!["FailoverDone", "resume 1 as None with \"\""]),
        (
            "+FULLRESYNC 1234 0",
            vec!["FailoverDone", "fail: Master replied with wrong +FULLRESYNC syntax."],
        ),
        ("-ERR no", vec!["FailoverRefused"]),
        ("-LOADING yet", vec!["FailoverRefused"]),
        ("+DUALCHANNELSYNC", vec!["FailoverRefused"]),
    ] {
        let mut fixture = Fixture::resuming();
        fixture.is_failing_over = true;
        fixture = fixture.after(&["+PONG\n", "+OK\n"]);
        let said = fixture.hears(MAIN, "+OK\r\n");
        assert_eq!(said[1], sent(&["PSYNC", OURS, "100", "FAILOVER"]));
        assert_eq!(fixture.hears(MAIN, format!("{answer}\r\n")), expected);
    }
}

/// However it comes, the snapshot and what is behind it are told apart.
#[test]
fn a_snapshot_in_pieces_of_many_sizes() {
    let length = SNAPSHOT.len();
    let sized = format!("\n\n${length}\r\n{SNAPSHOT}+stream");
    let marked = format!("\n$EOF:{MARK}\r\n{SNAPSHOT}{MARK}");
    for load in [ReplDisklessLoad::Disabled, ReplDisklessLoad::OnEmptyDb, ReplDisklessLoad::Swapdb]
    {
        for piece in [1, 2, 9, 10, 39, 40, 41, sized.len()] {
            let in_memory = load != ReplDisklessLoad::Disabled;
            let mut fixture = Fixture::with(|f| f.config.repl_diskless_load = load).transferring();
            assert_eq!(fixture.link.transfer_progress(), Some((-1, 0)));
            let mut said = Vec::new();
            for bytes in sized.as_bytes().chunks(piece) {
                if fixture.link.is_loading() {
                    // It would stay in the socket.
                    assert!(!fixture.link.wants_input(MAIN));
                    continue;
                }
                said.extend(fixture.hears(MAIN, bytes));
            }
            let (place, last) = match in_memory {
                true => ("to parser", "FinishLoading"),
                false => ("to disk", "load file"),
            };
            assert_eq!(
                said[0],
                format!("* MASTER <-> REPLICA sync: receiving {length} bytes from master {place}")
            );
            assert_eq!(said.last().map(String::as_str), Some(last));
            assert_eq!(in_memory, said.contains(&format!("load {length} bytes behind 500")));
            assert_eq!(String::from_utf8_lossy(&fixture.loaded), SNAPSHOT);
            assert!(fixture.link.is_loading() && fixture.link.transfer_progress().is_none());
            let said = fixture.snapshot_loaded();
            assert!(said[0].starts_with("online 1 at 500 with ") && !said[0].contains("ack"));
            assert!(fixture.link.is_connected());

            let mut fixture = Fixture::with(|f| f.config.repl_diskless_load = load).transferring();
            let pieces = marked.as_bytes().chunks(piece);
            let said: Vec<String> = pieces.flat_map(|bytes| fixture.hears(MAIN, bytes)).collect();
            assert_eq!(
                said[0],
                format!(
                    "* MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {place}"
                )
            );
            // The parser knows where it ends.
            let mark = if in_memory { MARK } else { "" };
            assert_eq!(String::from_utf8_lossy(&fixture.loaded), format!("{SNAPSHOT}{mark}"));
            assert_eq!(fixture.snapshot_loaded(), ["online 1 at 500 with \"\", ack"]);
        }
    }
}

#[test]
fn bytes_behind_the_snapshot_are_the_streams() {
    let mut fixture = Fixture::new().transferring();
    let text = format!("${}\r\n{SNAPSHOT}*1\r\n$4\r\nPI", SNAPSHOT.len());
    fixture.hears(MAIN, text);
    assert_eq!(fixture.snapshot_loaded(), ["online 1 at 500 with \"*1\\r\\n$4\\r\\nPI\""]);
}

#[test]
fn without_psync_there_is_no_offset() {
    let mut fixture = Fixture::new().after(&["+PONG\n", "+OK\n", "+OK\n", "-ERR unknown\n"]);
    fixture.hears(MAIN, format!("\n${}\r\n{SNAPSHOT}", SNAPSHOT.len()));
    let online = fixture.ask(|link, context| link.snapshot_loaded(context));
    assert!(matches!(&online[..], [Action::Online(Online { place: Place::Uncounted, .. })]));
}

#[test]
fn a_snapshot_into_memory_needs_an_empty_data_set_or_a_second_one() {
    for (load, is_empty, in_memory) in [
        (ReplDisklessLoad::Disabled, true, false),
        (ReplDisklessLoad::OnEmptyDb, false, false),
        (ReplDisklessLoad::OnEmptyDb, true, true),
        (ReplDisklessLoad::Swapdb, false, true),
    ] {
        let mut fixture = Fixture::new();
        fixture.config.repl_diskless_load = load;
        fixture.is_empty = is_empty;
        let said = fixture.transferring().hears(MAIN, "$100\r\n");
        assert_eq!(said[0].ends_with("to parser"), in_memory);
    }
}

#[test]
fn what_is_no_snapshot() {
    const UNREADABLE: &str = "The snapshot from MASTER can't be loaded, what is here stays: ";
    for (text, reason) in [
        (
            "-ERR I have changed my mind\r\n",
            "MASTER aborted replication with an error: ERR I have changed my mind",
        ),
        (
            "+OK\r\n",
            "Bad protocol from MASTER, the first byte is not '$' (we received '+OK'), are you sure the host and port are right?",
        ),
        ("$-1\r\n", "Bad snapshot length from MASTER: -1"),
        ("$0\r\n", "Bad snapshot length from MASTER: 0"),
        ("$18446744073709551616\r\n", "Bad snapshot length from MASTER: 18446744073709551616"),
        ("$EOF:short\r\n", "Bad end mark from MASTER"),
        ("$100\r\nredis0011", UNREADABLE),
        ("$100\r\nREDIS9999", UNREADABLE),
        ("$3\r\nRED", UNREADABLE),
    ] {
        for load in [ReplDisklessLoad::Disabled, ReplDisklessLoad::Swapdb] {
            let mut fixture = Fixture::with(|f| f.config.repl_diskless_load = load).transferring();
            let said = fixture.hears(MAIN, text);
            let last = said.last().and_then(|line| line.strip_prefix("fail: "));
            assert!(last.is_some_and(|line| line.starts_with(reason)), "{text:?}: {said:?}");
            // What is here has not been touched.
            assert!(said.iter().all(|line| !line.starts_with("load")));
            assert_eq!(fixture.files(), 0);
        }
    }
}

#[test]
fn a_place_for_the_snapshot_may_be_missing() {
    let mut fixture = Fixture::new();
    fixture.config.dir = "/nonexistent".into();
    let said = fixture.transferring().hears(MAIN, "$100\r\nREDIS0011");
    let expected = "fail: Opening the temp file needed for MASTER <-> REPLICA synchronization: ";
    assert!(said[1].starts_with(expected), "{said:?}");
}

#[test]
fn half_a_snapshot_is_not_left_behind() {
    for end in [
        |fixture: &mut Fixture| assert_eq!(fixture.link.cancel(), [MAIN]),
        |fixture: &mut Fixture| {
            let closed = fixture.link.closed(MAIN, 0);
            assert_eq!(closed, Closed::Unfinished { others: Vec::new() });
        },
    ] {
        let mut fixture = Fixture::new().transferring();
        fixture.hears(MAIN, "$100\r\nREDIS0011...");
        assert_eq!((fixture.files(), fixture.link.transfer_progress()), (1, Some((100, 12))));
        end(&mut fixture);
        assert!(fixture.link.is_down() && fixture.files() == 0);
    }
}

/// The RDB channel step by step.
#[test]
fn the_second_connection() {
    let mut fixture = Fixture::with(|f| f.config.masterauth = Some(b"secret".to_vec()));
    fixture = fixture.after(&["+PONG\n", "+OK\n", "+OK\n", "+OK\n", "+DUALCHANNELSYNC\r\n"]);
    fixture.ask(|link, context| link.rdb_channel_connecting(RDB, context));
    assert_eq!((fixture.link.role_name(), fixture.link.is_syncing()), ("handshake", false));
    let port = ["listening-port", "7000", "version", "9.0.0"];
    let who = ["REPLCONF", "capa", "eof", "rdb-only", "1", "rdb-channel", "1"];
    assert_eq!(fixture.greet(RDB), [sent(&["AUTH", "secret"]), sent(&[&who[..], &port].concat())]);
    assert!(fixture.hears(RDB, "\n+OK\r\n").is_empty());
    assert_eq!(fixture.hears(RDB, "+OK\r\n"), [sent(&["SYNC"])]);
    assert_eq!(
        fixture.hears(RDB, format!("\n$ENDOFF:500 {THEIRS} 7 42\r\n")),
        [sent(&["REPLCONF", "set-rdb-client-id", "42"])]
    );
    assert_eq!((fixture.link.stream_db(), fixture.link.transfer_progress()), (7, Some((-1, 0))));
    assert_eq!(
        fixture.hears(MAIN, "+OK\r\n"),
        [
            "PauseAfterFork".to_string(),
            format!(
                "* Trying a partial resynchronization using main channel (request {THEIRS}:501)."
            ),
            sent(&["PSYNC", THEIRS, "501"]),
        ]
    );
    assert_eq!(
        fixture.hears(MAIN, "+CONTINUE\r\nstr"),
        [
            "* Primary <-> REPLICA sync: Primary accepted a Partial Resynchronization, RDB load in background."
        ]
    );
    assert_eq!(fixture.link.role_name(), "sync");
    assert!(fixture.hears(MAIN, "eam").is_empty());
    let said = fixture.hears(RDB, format!("\n$EOF:{MARK}\r\n{SNAPSHOT}{MARK}"));
    assert_eq!(said.last().map(String::as_str), Some("load file"));
    assert!(fixture.link.is_loading() && !fixture.link.wants_input(RDB));
    assert!(fixture.hears(MAIN, "!").is_empty());
    assert_eq!(fixture.link.kept_bytes(), (7, 7, 7));
    assert_eq!(fixture.snapshot_loaded(), ["Close(2)", "online 1 at 500 with \"\", ack, replays"]);
    assert!(fixture.link.is_connected());
    let mut kept = Vec::new();
    while let Some(piece) = fixture.link.next_kept().expect("it is in memory") {
        kept.extend(piece);
    }
    assert_eq!(kept, b"stream!");
    assert_eq!(fixture.link.kept_bytes(), (0, 7, 0));
    assert!(fixture.traces.contains(&"Sent (RDB channel) SYNC".to_string()));
    assert!(fixture.traces.contains(&"Received (RDB channel) +OK".to_string()));
}

/// The snapshot may be loaded before the main channel is ready.
#[test]
fn the_stream_may_come_last() {
    let mut fixture = Fixture::new().split();
    fixture.hears(RDB, format!("${}\r\n{SNAPSHOT}", SNAPSHOT.len()));
    assert!(fixture.link.is_syncing());
    assert_eq!(fixture.snapshot_loaded(), ["Close(2)"]);
    assert!(!fixture.link.is_syncing());
    assert_eq!(fixture.link.tokens(), [MAIN]);
    assert_eq!(fixture.hears(MAIN, "+OK\r\n").len(), 3);
    assert_eq!(
        fixture.hears(MAIN, "+CONTINUE\r\nrest")[1..],
        [
            ". Dual channel sync - psync established after rdb load",
            "online 1 at 500 with \"\", replays"
        ]
    );
    assert_eq!(fixture.link.next_kept().expect("it is in memory"), Some(b"rest".to_vec()));
}

#[test]
fn answers_that_end_a_synchronisation_over_two_channels() {
    let unexpected = |line: &str| format!("Received unexpected $ENDOFF response: {line}");
    let mut fixture = Fixture::with(|f| f.config.masterauth = Some(b"x".to_vec()));
    fixture = fixture.after(&["+PONG\n", "+OK\n", "+OK\n", "+OK\n", "+DUALCHANNELSYNC\n"]);
    fixture.ask(|link, context| link.rdb_channel_connecting(RDB, context));
    fixture.greet(RDB);
    assert_eq!(
        fixture.hears(RDB, "-WRONGPASS no\n"),
        ["fail: Unable to AUTH to MASTER: -WRONGPASS no"]
    );

    let mut fixture = Fixture::with(|f| f.config.dual_channel_replication_enabled = true);
    fixture = fixture.with_two_channels();
    fixture.greet(RDB);
    assert_eq!(
        fixture.hears(RDB, "-ERR what\n"),
        [
            "fail: Server does not support sync with offset, dual channel sync approach cannot be used: -ERR what"
        ]
    );
    // The next attempt does without.
    fixture.link.cancel();
    fixture.link.connecting(MAIN);
    fixture.greet(MAIN);
    assert_eq!(fixture.hears(MAIN, "+PONG\n").last(), Some(&capabilities(&[])));

    for line in [
        "-ERR no".to_string(),
        format!("$ENDOFF:x {THEIRS} 7 42"),
        "$ENDOFF:500 1234 7 42".to_string(),
        format!("$ENDOFF:500 {THEIRS} x 42"),
        format!("$ENDOFF:500 {THEIRS} 7 x"),
        format!("$ENDOFF:500 {THEIRS} 7"),
        format!("$ENDOFF:500 {THEIRS} 7 42 more"),
    ] {
        let mut fixture = Fixture::new().with_two_channels();
        fixture.greet(RDB);
        fixture.hears(RDB, "+OK\n");
        let said = fixture.hears(RDB, format!("{line}\r\n"));
        assert_eq!(said, [format!("fail: {}", unexpected(&line))]);
    }
    let mut fixture = Fixture::new().with_two_channels();
    assert_eq!(fixture.hears(MAIN, "+OK\n"), ["fail: A line from MASTER in state AwaitRdbChannel"]);
    let mut fixture = Fixture::new().split();
    assert_eq!(
        fixture.hears(MAIN, "-ERR no\n"),
        ["fail: Primary does not understand REPLCONF identify: -ERR no"]
    );
    let mut fixture = Fixture::new().split();
    fixture.hears(MAIN, "+OK\n");
    assert_eq!(
        fixture.hears(MAIN, FULL_RESYNC),
        [format!(
            "fail: Aborting dual channel sync. Main channel psync result: {}",
            FULL_RESYNC.trim()
        )]
    );
}

#[test]
fn no_database_is_selected_where_the_primary_has_none() {
    let mut fixture = Fixture::new().with_two_channels();
    fixture.greet(RDB);
    fixture.hears(RDB, "+OK\n");
    fixture.hears(RDB, format!("$ENDOFF:0 {THEIRS} -1 1\n"));
    assert_eq!(fixture.link.stream_db(), 0);
}

#[test]
fn a_kept_stream_that_is_too_long_goes_on_in_a_file_if_it_can() {
    let mut fixture = Fixture::new();
    fixture.config.client_output_buffer_limit[1].hard = 10;
    fixture = fixture.buffering();
    assert!(fixture.hears(MAIN, "12345678").is_empty());
    assert_eq!(
        fixture.hears(MAIN, "9abcd"),
        ["* Replication buffer limit reached, the stream goes on in a file."]
    );
    assert!(fixture.hears(MAIN, "e").is_empty() && fixture.link.wants_input(MAIN));
    assert_eq!(fixture.link.kept_bytes(), (8, 8, 14));

    let mut fixture = Fixture::new();
    fixture.config.client_output_buffer_limit[1].hard = 10;
    fixture.config.dir = "/nonexistent".into();
    fixture = fixture.buffering();
    fixture.hears(MAIN, "12345678");
    let said = fixture.hears(MAIN, "9abcd");
    assert!(said[0].starts_with("# The stream can't go on in a file: "));
    assert_eq!(said[1], "* Replication buffer limit reached, stopping buffering.");
    // What comes now stays in the socket, and is no silence.
    assert!(!fixture.link.wants_input(MAIN));
    fixture.config.repl_diskless_load = ReplDisklessLoad::Swapdb;
    fixture.hears(RDB, format!("${}\r\n{SNAPSHOT}", SNAPSHOT.len()));
    fixture.now_ms += 1_000_000;
    assert_eq!(fixture.ask(|link, context| link.timeout(0, context)), None);
}

/// The states of the link, by name, each with the connections that it has.
fn states() -> Vec<(&'static str, Fixture, &'static [Token])> {
    let shaking = |steps: &[&str]| Fixture::new().after(steps);
    let mut loading = Fixture::new().transferring();
    loading.hears(MAIN, format!("${}\r\n{SNAPSHOT}", SNAPSHOT.len()));
    let mut opening = Fixture::new().with_two_channels();
    opening.greet(RDB);
    let mut both_loading = Fixture::new().buffering();
    both_loading.hears(RDB, format!("${}\r\n{SNAPSHOT}", SNAPSHOT.len()));
    let mut loaded = Fixture::new().split();
    loaded.hears(RDB, format!("${}\r\n{SNAPSHOT}", SNAPSHOT.len()));
    loaded.snapshot_loaded();
    vec![
        ("connecting", Fixture::new(), &[MAIN]),
        ("ping", shaking(&[]), &[MAIN]),
        ("port", shaking(&["+PONG\n"]), &[MAIN]),
        ("capa", shaking(&["+PONG\n", "+OK\n"]), &[MAIN]),
        ("psync", shaking(&["+PONG\n", "+OK\n", "+OK\n"]), &[MAIN]),
        ("transfer", Fixture::new().transferring(), &[MAIN]),
        ("loading", loading, &[MAIN]),
        ("opening", Fixture::new().with_two_channels(), &[MAIN, RDB]),
        ("opening, greeted", opening, &[MAIN, RDB]),
        ("split", Fixture::new().split(), &[MAIN, RDB]),
        ("buffering", Fixture::new().buffering(), &[MAIN, RDB]),
        ("buffering, loading", both_loading, &[MAIN, RDB]),
        ("loaded", loaded, &[MAIN]),
    ]
}

/// Whichever connection ends, wherever the link is: all of it is given up, and nothing is left behind.
#[test]
fn it_may_break_at_each_step() {
    for at in 0..states().len() {
        for &ended in states()[at].2 {
            let (name, mut fixture, tokens) = states().remove(at);
            assert_eq!(fixture.link.tokens(), tokens, "{name}");
            assert_eq!(fixture.link.closed(77, 0), Closed::Stranger, "{name}");
            let others = tokens.iter().copied().filter(|token| *token != ended).collect();
            assert_eq!(fixture.link.closed(ended, 5), Closed::Unfinished { others }, "{name}");
            assert!(fixture.link.is_down() && fixture.link.tokens().is_empty(), "{name}");
            assert!(!tokens.iter().any(|token| fixture.link.wants_input(*token)), "{name}");
            assert_eq!(fixture.link.role_name(), "connect");
        }
        let (name, mut fixture, tokens) = states().remove(at);
        let lost = "I/O error trying to sync with MASTER: connection lost";
        assert_eq!(fixture.link.end_of_input() == lost, fixture.link.is_syncing(), "{name}");
        assert_eq!(fixture.link.cancel(), tokens, "{name}");
        assert!(fixture.link.is_down(), "{name}");
    }
}

#[test]
fn silence_ends_it_at_each_step() {
    const CONNECTING: &str = "Timeout connecting to the MASTER...";
    const RDB_CONNECTING: &str = "Timeout connecting to the MASTER on the RDB channel...";
    for (name, mut fixture, _) in states() {
        let expected = match name {
            "transfer" => Some("Timeout receiving bulk data from MASTER..."),
            "loading" => None,
            "opening" | "opening, greeted" => Some(RDB_CONNECTING),
            "split" | "buffering" => {
                Some("Timeout receiving bulk data from MASTER on the RDB channel...")
            }
            "buffering, loading" => Some("MASTER timeout: no data nor PING received..."),
            _ => Some(CONNECTING),
        };
        let timeout_ms = i64::from(fixture.config.repl_timeout) * 1000;
        fixture.now_ms += timeout_ms;
        assert_eq!(fixture.ask(|link, context| link.timeout(0, context)), None, "{name}");
        fixture.now_ms += 1000;
        let text = fixture.ask(|link, context| link.timeout(0, context));
        match (expected, &text) {
            (None, None) => {}
            (Some(start), Some(text)) => assert!(text.starts_with(start), "{name}: {text}"),
            _ => panic!("{name}: {text:?}"),
        }
    }
}

#[test]
fn a_newline_keeps_a_transfer_alive() {
    let mut fixture = Fixture::new().transferring();
    for _ in 0..3 {
        fixture.now_ms += i64::from(fixture.config.repl_timeout) * 1000;
        assert!(fixture.hears(MAIN, "\n").is_empty());
    }
    assert_eq!(fixture.ask(|link, context| link.timeout(0, context)), None);
    assert_eq!(fixture.link.heard_seconds() * 1000, fixture.now_ms);
}

/// Who is busy loading says so, on the connection that the primary listens to.
#[test]
fn the_primary_is_told_that_we_are_alive() {
    for (name, fixture, _) in states() {
        let expected = matches!(name, "loading" | "buffering" | "buffering, loading");
        assert_eq!(fixture.link.waits_for_us(), expected.then_some(MAIN), "{name}");
    }
}

#[test]
fn a_working_link_breaks_and_says_where() {
    let mut fixture = Fixture::resuming().after(&["+PONG\n", "+OK\n", "+OK\n", "+CONTINUE\n"]);
    let link = &mut fixture.link;
    assert_eq!(
        (link.role_name(), link.token(), link.is_syncing()),
        ("connected", Some(MAIN), false)
    );
    assert!(link.cancel().is_empty() && link.is_connected(), "only what is being made is given up");
    // A transaction is applied with its end, or not at all.
    assert_eq!(link.applied(b"MULTI", true, 5), None);
    assert_eq!(link.applied(b"SET", true, 6), None);
    assert_eq!(link.applied(b"EXEC", false, 7), Some(b"MULTISET".to_vec()));
    assert_eq!(link.applied(b"SET", false, 8), Some(Vec::new()));
    assert_eq!(link.heard_seconds(), 8);
    assert_eq!(link.closed(RDB, 0), Closed::Stranger);
    assert_eq!(link.closed(MAIN, 4), Closed::Lost { corrupt: false });
    assert_eq!((link.role_name(), link.token(), link.stream_db()), ("connect", None, 4));
    assert_eq!(link.closed(MAIN, 0), Closed::Stranger);

    let mut fixture = Fixture::resuming().after(&["+PONG\n", "+OK\n", "+OK\n", "+CONTINUE\n"]);
    fixture.now_ms += i64::from(fixture.config.repl_timeout) * 1000 + 1000;
    let timeout = fixture.ask(|link, context| link.timeout(0, context));
    assert_eq!(timeout.as_deref(), Some("MASTER timeout: no data nor PING received..."));
    // A large request is heard of before it is complete.
    assert_eq!(fixture.ask(|link, context| link.timeout(context.now_seconds(), context)), None);
    if let Some(following) = fixture.link.following() {
        following.is_corrupt = true;
    }
    assert_eq!(fixture.link.closed(MAIN, 0), Closed::Lost { corrupt: true });
}
