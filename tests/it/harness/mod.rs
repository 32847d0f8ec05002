//! A real server process for tests, and ways to speak to it.
//!
//! * [`Server`]: the process, on a port of its own in a directory of its own, killed when it goes out of scope.
//! * [`Raw`]: a plain connection, for what must be checked byte for byte.
//! * [`ReplicationStream`]: what a replica receives, command by command.

pub mod identity;
mod raw;

pub use identity::{free_port, program};
pub use raw::{PATIENCE, Raw, wait_for};

use redis::ToRedisArgs;
use std::fmt::Debug;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Somebody else may take the port that was free a moment ago.
const START_TRIES: usize = 5;

pub struct Server {
    child: Child,
    connection: redis::Connection,
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    /// Starts a server with these options of the command line (a first one without dashes is a configuration file),
    /// without snapshots and with `DEBUG`; returns when it answers.
    pub fn start(options: &[&str]) -> Server {
        Server::start_as("aeolis", options)
    }

    /// The same, called by this name.
    pub fn start_as(name: &str, options: &[&str]) -> Server {
        Server::start_program(options, || {
            let mut program = Command::new(program());
            program.arg0(name);
            program
        })
    }

    /// As [`Server::start`], with a stack of so many kilobytes.
    pub fn start_with_stack(stack_kb: u32, options: &[&str]) -> Server {
        let script = format!("ulimit -s {stack_kb} && exec \"$0\" \"$@\"");
        Server::start_program(options, || {
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).arg(program());
            shell
        })
    }

    fn start_program(options: &[&str], program: impl Fn() -> Command) -> Server {
        for _ in 0..START_TRIES {
            if let Some(server) = Server::try_start(options, program()) {
                return server;
            }
        }
        panic!("the server does not start");
    }

    fn try_start(options: &[&str], mut program: Command) -> Option<Server> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let log = File::create(dir.path().join("log")).expect("a log file");
        let files = usize::from(options.first().is_some_and(|first| !first.starts_with("--")));
        let (file, options) = options.split_at(files);
        let child = program
            .args(file)
            .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"])
            .args(options)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the server's binary");
        let mut child = KillOnDrop(Some(child));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if child.0.as_mut()?.try_wait().expect("the child's state").is_some() {
                let text = log_text(dir.path());
                assert!(text.contains("already in use"), "the server ended at once:\n{text}");
                return None;
            }
            let pid = child.0.as_ref()?.id();
            if let Some(connection) = identity::is_there(port, pid).and_then(|()| connect(port)) {
                let child = child.0.take()?;
                return Some(Server { child, connection, dir, port });
            }
            assert!(Instant::now() < deadline, "no answer:\n{}", log_text(dir.path()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Executes a command; an error is a panic.
    pub fn cmd(&mut self, args: &[&str]) -> redis::Value {
        self.query(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    fn query(&mut self, args: &[impl ToRedisArgs]) -> redis::RedisResult<redis::Value> {
        let mut command = redis::Cmd::new();
        for arg in args {
            command.arg(arg);
        }
        command.query(&mut self.connection)
    }

    /// Executes a command given as one line, whose words are its arguments (`''` is an empty one), and tells the reply
    /// in short: `OK`, `:1`, `text`, `nil`, `[a :2]`, `ERR …`.
    pub fn line(&mut self, line: &str) -> String {
        let args: Vec<&str> =
            line.split_whitespace().map(|arg| if arg == "''" { "" } else { arg }).collect();
        self.text(&args)
    }

    /// Executes a command, and tells the reply as [`Server::line`] does.
    pub fn text<A: ToRedisArgs + Debug>(&mut self, args: &[A]) -> String {
        match self.query(args) {
            Ok(value) => in_short(&value),
            Err(error) => match error.code() {
                Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
                None => panic!("{args:?}: {error}"),
            },
        }
    }

    /// Executes the lines on the left, one after the other, and compares with the replies on the right.
    pub fn check(&mut self, table: &[(&str, &str)]) {
        for (line, reply) in table {
            assert_eq!(self.line(line), *reply, "{line}");
        }
    }

    /// Waits until a command's reply is as wanted.
    pub fn wait_for(&mut self, line: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.line(line);
            if wanted(&reply) {
                return;
            }
            assert!(Instant::now() < deadline, "{line} still answers {reply}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One field of `INFO`.
    pub fn info_text(&mut self, field: &str) -> Option<String> {
        let info = self.line("INFO everything");
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.map(|value| value.trim().to_string())
    }

    /// One field of `INFO` that is a number.
    pub fn info(&mut self, field: &str) -> i64 {
        let value = self.info_text(field).unwrap_or_else(|| panic!("no {field} in INFO"));
        value.parse().unwrap_or_else(|_| panic!("{field} is {value}"))
    }

    /// Waits until a field of `INFO` has a value.
    pub fn wait_info(&mut self, field: &str, value: &str) {
        wait_for(&format!("{field}:{value}"), || {
            (self.info_text(field).as_deref() == Some(value)).then_some(())
        });
    }

    /// Another connection, for bytes.
    pub fn raw(&self) -> Raw {
        Raw::to_port(self.port).expect("a connection")
    }

    /// A connection that is blocked by this command.
    pub fn blocked(&mut self, command: &str) -> Raw {
        let before = self.info("blocked_clients");
        let mut raw = self.raw();
        raw.send(format!("{command}\r\n"));
        let wanted = format!("blocked_clients:{}\r", before + 1);
        self.wait_for("INFO clients", |info| info.contains(&wanted));
        raw
    }

    /// Becomes a replica, to see what is propagated from now on.
    pub fn replication_stream(&self) -> ReplicationStream {
        let mut raw = self.raw();
        raw.send(b"SYNC\r\n");
        let header = loop {
            // Line feeds tell that the snapshot is being made.
            let line = raw.line();
            if !line.is_empty() {
                break line;
            }
        };
        let len = header.strip_prefix('$').and_then(|len| len.parse().ok());
        raw.read(len.unwrap_or_else(|| panic!("no snapshot: {header}")));
        ReplicationStream { raw }
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        log_text(self.dir.path())
    }

    /// The server's working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        KillOnDrop::end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// A child that does not survive a panic.
struct KillOnDrop(Option<Child>);

impl KillOnDrop {
    fn end(child: &mut Child) {
        // It may have ended by itself, which is fine too.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            KillOnDrop::end(child);
        }
    }
}

fn connect(port: u16) -> Option<redis::Connection> {
    let client = redis::Client::open(("127.0.0.1", port)).ok()?;
    let mut connection = client.get_connection_with_timeout(PATIENCE).ok()?;
    redis::cmd("PING").query::<String>(&mut connection).ok()?;
    Some(connection)
}

fn log_text(dir: &Path) -> String {
    String::from_utf8_lossy(&fs::read(dir.join("log")).unwrap_or_default()).into_owned()
}

fn in_short(value: &redis::Value) -> String {
    use redis::Value;
    let all = |values: &[Value]| values.iter().map(in_short).collect::<Vec<_>>().join(" ");
    match value {
        Value::Nil => "nil".into(),
        Value::Okay => "OK".into(),
        Value::Int(n) => format!(":{n}"),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Array(values) => format!("[{}]", all(values)),
        other => format!("{other:?}"),
    }
}

/// What is propagated to replicas.
pub struct ReplicationStream {
    raw: Raw,
}

impl ReplicationStream {
    /// The next command, its arguments joined by spaces.
    pub fn next_command(&mut self) -> String {
        loop {
            let count = self.number('*');
            let args: Vec<String> = (0..count)
                .map(|_| {
                    let len = self.number('$');
                    let mut bytes = self.raw.read(len + 2);
                    bytes.truncate(len);
                    String::from_utf8_lossy(&bytes).into_owned()
                })
                .collect();
            if !["PING", "REPLCONF"].contains(&args[0].to_uppercase().as_str()) {
                return args.join(" ");
            }
        }
    }

    fn number(&mut self, kind: char) -> usize {
        let line = self.raw.line();
        let number = line.strip_prefix(kind).and_then(|n| n.parse().ok());
        number.unwrap_or_else(|| panic!("{kind} expected, not {line}"))
    }

    /// The next commands must be these; a word `*` stands for any.
    pub fn expect(&mut self, commands: &[&str]) {
        for wanted in commands {
            let got = self.next_command();
            let (words, wanted_words): (Vec<_>, Vec<_>) =
                (got.split(' ').collect(), wanted.split(' ').collect());
            let same = words.len() == wanted_words.len()
                && words.iter().zip(&wanted_words).all(|(word, w)| *w == "*" || word == w);
            assert!(same, "{got:?} was propagated, not {wanted:?}");
        }
    }
}
