//! A server process.

use super::identity::{free_port, is_there, program};
use super::raw::{PATIENCE, Raw, wait_for};
use super::replication::FakeReplica;
use redis::ToRedisArgs;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, absolute};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir, tempfile};

/// Somebody else may take the port that was free a moment ago.
const START_TRIES: usize = 20;

/// A running server: Aeolis, or another that speaks as Redis does.
pub struct Server {
    process: Process,
    dir: TempDir,
    pub port: u16,
    /// Its first command opens it.
    connection: Option<redis::Connection>,
}

impl Server {
    /// Starts the server under test in a fresh directory, with these options of the command line (a first one without
    /// dashes is a configuration file), without snapshots and with `DEBUG`; returns when it has loaded what it has.
    pub fn start(options: &[&str]) -> Server {
        Server::start_in(tempdir().expect("a directory"), options)
    }

    /// As [`Server::start`], in a directory that may hold files.
    pub fn start_in(dir: TempDir, options: &[&str]) -> Server {
        Server::start_program(&program(), dir, options)
    }

    /// As [`Server::start`], called by this name.
    pub fn start_as(name: &str, options: &[&str]) -> Server {
        let dir = tempdir().expect("a directory");
        Server::start_program_as(&program(), name.as_ref(), dir, options)
    }

    /// As [`Server::start_in`], for any program that takes the options of `redis-server`.
    pub fn start_program(path: &Path, dir: TempDir, options: &[&str]) -> Server {
        Server::start_program_as(path, path.as_os_str(), dir, options)
    }

    /// As [`Server::start_program`], called by this name.
    pub fn start_program_as(path: &Path, name: &OsStr, dir: TempDir, options: &[&str]) -> Server {
        let path = absolute(path).expect("a path");
        let server = Server::launch(dir, |port| {
            let mut command = Command::new(&path);
            command.arg0(name);
            with_options(command, port, options)
        });
        wait_for("the server to load", || {
            (!server.raw().ask("INFO persistence").contains("\nloading:1")).then_some(())
        });
        server
    }

    /// As [`Server::start_in`], for who wants to see it load.
    pub fn start_loading(dir: TempDir, options: &[&str]) -> Server {
        Server::launch(dir, |port| with_options(Command::new(program()), port, options))
    }

    /// As [`Server::start`], with a stack of so many kilobytes.
    pub fn start_with_stack(stack_kb: u32, options: &[&str]) -> Server {
        let script = format!("ulimit -s {stack_kb} && exec \"$0\" \"$@\"");
        Server::launch(tempdir().expect("a directory"), |port| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).arg(program());
            with_options(shell, port, options)
        })
    }

    /// Starts what is to be a server on the port that the command is made for, with `dir` as its working directory.
    pub fn launch(dir: TempDir, command: impl Fn(u16) -> Command) -> Server {
        for _ in 0..START_TRIES {
            let port = free_port();
            let mut process = Process::spawn(command(port).current_dir(dir.path()));
            if process.answers_on(port) {
                return Server { process, dir, port, connection: None };
            }
            let log = process.log();
            assert!(log.contains("in use"), "the server ended at once:\n{log}");
        }
        panic!("no free port");
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
        if self.connection.is_none() {
            self.connection = Some(self.connect());
        }
        command.query(self.connection.as_mut().expect("opened above"))
    }

    /// Executes a command given as one line, whose words are its arguments (`''` is an empty one), and returns the
    /// reply in short: `OK`, `:1`, `text`, `nil`, `[a :2]`, `ERR …`.
    pub fn line(&mut self, line: &str) -> String {
        let args: Vec<&str> =
            line.split_whitespace().map(|arg| if arg == "''" { "" } else { arg }).collect();
        self.text(&args)
    }

    /// Executes a command, and returns the reply as [`Server::line`] does.
    pub fn text<A: ToRedisArgs + Debug>(&mut self, args: &[A]) -> String {
        match self.query(args) {
            Ok(value) => text(&value),
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

    /// Runs the scripts on the left, one after the other and without keys, and compares with the replies on the right.
    pub fn check_scripts(&mut self, table: &[(&str, &str)]) {
        for (script, reply) in table {
            assert_eq!(self.text(&["EVAL", script, "0"]), *reply, "{script}");
        }
    }

    /// Waits until a command's reply is as wanted.
    pub fn wait_for(&mut self, line: &str, wanted: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let reply = self.line(line);
            if wanted(&reply) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{line} still returns {reply}");
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

    /// A new connection by the `redis` crate.
    pub fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("a client");
        let connection = client.get_connection_with_timeout(PATIENCE).expect("a connection");
        connection.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        connection
    }

    /// A new connection, for bytes.
    pub fn raw(&self) -> Raw {
        Raw::to_port(self.port).expect("a connection")
    }

    /// A new connection of this name.
    pub fn named(&self, name: &str) -> Raw {
        let mut raw = self.raw();
        assert_eq!(raw.ask(&format!("CLIENT SETNAME {name}")), "+OK");
        raw
    }

    /// What `CLIENT LIST` says in this field of the client of this name. `None`: there is no such client.
    pub fn client_field(&mut self, name: &str, field: &str) -> Option<String> {
        let list = self.line("CLIENT LIST");
        let line = list.lines().find(|line| line.contains(&format!(" name={name} ")))?;
        line.split(' ').find_map(|part| part.strip_prefix(&format!("{field}="))).map(String::from)
    }

    /// A connection whose script runs, and keeps the server busy.
    pub fn busy(&mut self, script: &str) -> Raw {
        let mut raw = self.raw();
        raw.command(&["EVAL", script, "0"]);
        self.wait_for("PING", |reply| reply.starts_with("BUSY "));
        raw
    }

    /// A connection that is blocked by this command.
    pub fn blocked(&mut self, command: &str) -> Raw {
        let before = self.info("blocked_clients");
        let mut raw = self.raw();
        raw.send(format!("{command}\r\n"));
        self.wait_info("blocked_clients", &(before + 1).to_string());
        raw
    }

    /// Whether the server has nothing to say on a connection, whatever was sent before. All that it had to say is
    /// written at the end of the turn of its loop in which it had read that: before a second question, asked when a
    /// first one has been answered.
    pub fn is_silent_to(&self, raw: &mut Raw) -> bool {
        let mut other = self.raw();
        for _ in 0..2 {
            other.ask("PING");
        }
        raw.is_empty()
    }

    /// Waits until so many milliseconds have passed on the server's clock, without a look at any key.
    pub fn pass(&mut self, ms: u64) {
        let start = self.now_ms();
        wait_for("time to pass", || (self.now_ms() >= start + ms).then_some(()));
    }

    fn now_ms(&mut self) -> u64 {
        let time = self.line("TIME");
        let parts: Option<(u64, u64)> = time[1..time.len() - 1]
            .split_once(' ')
            .and_then(|(seconds, us)| Some((seconds.parse().ok()?, us.parse().ok()?)));
        let (seconds, us) = parts.unwrap_or_else(|| panic!("no time: {time}"));
        seconds * 1000 + us / 1000
    }

    /// Becomes a replica, to see what is propagated from now on.
    pub fn replication_stream(&self) -> FakeReplica {
        FakeReplica::sync(self, &[])
    }

    /// Becomes a replica of who listens on a port.
    pub fn replica_of(&mut self, port: u16) {
        assert_eq!(self.line(&format!("REPLICAOF 127.0.0.1 {port}")), "OK");
    }

    /// Becomes a replica of another server, and waits for its data.
    pub fn follow(&mut self, primary: &Server) {
        self.replica_of(primary.port);
        self.wait_info("master_link_status", "up");
    }

    /// Waits until this replica has all that its primary was told.
    pub fn catch_up_with(&mut self, primary: &mut Server) {
        wait_for("equal offsets", || {
            let offset = primary.info_text("master_repl_offset")?;
            (self.info_text("slave_repl_offset")? == offset).then_some(())
        });
    }

    /// What the process has printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The server's working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory, when the server has been killed.
    pub fn into_dir(self) -> TempDir {
        self.dir
    }

    /// The names of files that the server has not finished, or has left behind.
    pub fn temporary_files(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir()).expect("the directory").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("temp")).collect()
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Ends the server at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends a signal, given by its name: `TERM`.
    pub fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// The processes that the server has forked and not waited for yet.
    pub fn children(&self) -> Vec<u32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid()));
        let children = children.expect("a kernel that tells who is whose child");
        children.split_whitespace().map(|pid| pid.parse().expect("a process's id")).collect()
    }

    /// Waits until there is one, and returns it.
    pub fn child(&self) -> u32 {
        wait_for("a child", || self.children().first().copied())
    }

    /// Sends SIGTERM and waits for the end; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait_exit()
    }

    /// Sends `SHUTDOWN` with these arguments and waits for the end; the exit code.
    pub fn shut_down(&mut self, args: &[&str]) -> Option<i32> {
        let mut raw = self.raw();
        raw.command(&[&["SHUTDOWN"], args].concat());
        self.wait_exit()
    }

    /// Waits until the server has ended; the exit code.
    pub fn wait_exit(&mut self) -> Option<i32> {
        wait_for("the server to end", || self.process.child.try_wait().expect("a child")).code()
    }
}

/// Sends a signal, given by its name, to a process.
pub fn send_signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
}

/// Adds what every server under test is told, and then these options, which may say otherwise.
fn with_options(mut command: Command, port: u16, options: &[&str]) -> Command {
    let files = usize::from(options.first().is_some_and(|first| !first.starts_with("--")));
    let (file, options) = options.split_at(files);
    command.args(file).args([
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--enable-debug-command",
        "yes",
    ]);
    if options.contains(&"--cluster-enabled") {
        // The system's free ports lie too high for the bus to be 10000 above them.
        command.args(["--cluster-port", &free_port().to_string()]);
    }
    command.args(options);
    command
}

/// The process, which does not outlive the test, and what it prints.
struct Process {
    child: Child,
    log: File,
}

impl Process {
    fn spawn(command: &mut Command) -> Process {
        let log = tempfile().expect("a log file");
        let handle = || log.try_clone().expect("another handle of the log");
        let child = command
            .stdin(Stdio::null())
            .stdout(handle())
            .stderr(handle())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Process { child, log }
    }

    /// Waits until the process answers on this port; `false` if it has ended instead.
    fn answers_on(&mut self, port: u16) -> bool {
        wait_for("the server to answer", || match self.child.try_wait().expect("a child") {
            Some(_) => Some(false),
            None => is_there(port, self.child.id()).map(|()| true),
        })
    }

    /// The log is read where it stands, so that the child's place in it does not move.
    fn log(&self) -> String {
        let len = self.log.metadata().expect("the log's size").len();
        let mut bytes = vec![0; usize::try_from(len).expect("a log that fits into memory")];
        self.log.read_exact_at(&mut bytes, 0).expect("the log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn kill(&mut self) {
        // It may have ended by itself, which is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// A reply in short, as [`Server::line`] returns it.
pub fn text(value: &redis::Value) -> String {
    use redis::Value;
    let all = |values: &[Value]| values.iter().map(text).collect::<Vec<_>>().join(" ");
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
