//! A real server for each test: started on a free port in a directory of its own, killed when the test ends.

pub mod certificates;
pub mod replication;

pub use crate::harness::{PATIENCE, Raw, free_port, program, wait_for};

use crate::harness::identity;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running server.
pub struct Server {
    pub port: u16,
    pub dir: TempDir,
    child: Child,
    connection: Option<redis::Connection>,
}

impl Server {
    /// Starts the server under test in a fresh directory.
    pub fn start(options: &[&str]) -> Server {
        Server::start_in(tempfile::tempdir().expect("a directory"), options)
    }

    /// Starts the server under test in a directory that may hold files.
    pub fn start_in(dir: TempDir, options: &[&str]) -> Server {
        Server::start_program(&program(), dir, options)
    }

    /// Starts any Redis-compatible server.
    pub fn start_program(path: &Path, mut dir: TempDir, options: &[&str]) -> Server {
        // Another process may take the port between choosing and binding it: then try another.
        for _ in 0..20 {
            let port = free_port();
            let log = std::fs::File::create(dir.path().join("log.txt")).expect("a log file");
            let mut command = Command::new(path);
            command.args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(dir.path());
            if path == program() {
                command.args(["--enable-debug-command", "yes"]);
            }
            let child = command
                .args(options)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a second handle"))
                .stderr(log)
                .spawn()
                .unwrap_or_else(|e| panic!("{} does not start: {e}", path.display()));
            let mut server = Server { port, dir, child, connection: None };
            if server.accepts() {
                return server;
            }
            let log = server.log();
            assert!(log.contains("in use"), "the server did not start:\n{log}");
            dir = server.into_dir();
        }
        panic!("no free port");
    }

    /// Waits until the server accepts connections; `false` if it ended instead.
    fn accepts(&mut self) -> bool {
        wait_for("the server to accept", || {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return Some(false);
            }
            identity::is_there(self.port, self.child.id()).map(|()| true)
        })
    }

    /// The directory, when the server has ended.
    pub fn into_dir(mut self) -> TempDir {
        self.kill();
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a directory"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for the end; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        self.wait_exit()
    }

    /// Waits until the server has ended; the exit code.
    pub fn wait_exit(&mut self) -> Option<i32> {
        wait_for("the server to end", || self.child.try_wait().expect("a child")).code()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log.txt")).unwrap_or_default()
    }

    /// A new connection by the `redis` crate.
    pub fn connect(&self) -> redis::Connection {
        let client =
            redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).expect("a client");
        let connection = client.get_connection().expect("a connection");
        connection.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        connection
    }

    /// Runs a command on the server's own connection; an error reply is a value too.
    pub fn cmd(&mut self, args: &[&str]) -> redis::Value {
        if self.connection.is_none() {
            self.connection = Some(self.connect());
        }
        run(self.connection.as_mut().expect("connected above"), args)
    }

    /// As [`Server::cmd`], and the reply as text: lines joined by spaces, errors with their code, null as `(nil)`.
    pub fn text(&mut self, args: &[&str]) -> String {
        text(&self.cmd(args))
    }

    /// A raw connection.
    pub fn raw(&self) -> Raw {
        Raw::to_port(self.port).expect("a connection")
    }

    /// One field of INFO.
    pub fn info(&mut self, field: &str) -> Option<String> {
        let all = self.text(&["INFO", "everything"]);
        all.lines()
            .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))
            .map(|v| v.trim().to_string())
    }

    /// Waits until a field of INFO has a value.
    pub fn wait_info(&mut self, field: &str, value: &str) {
        wait_for(&format!("{field}:{value}"), || {
            (self.info(field).as_deref() == Some(value)).then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command; an error reply is a value too.
pub fn run(connection: &mut redis::Connection, args: &[&str]) -> redis::Value {
    let mut command = redis::cmd(args[0]);
    for arg in &args[1..] {
        command.arg(*arg);
    }
    match command.query(connection) {
        Ok(value) => value,
        Err(error) => {
            let code = error.code().unwrap_or("ERR");
            let detail = error.detail().unwrap_or_default();
            redis::Value::SimpleString(format!("{code} {detail}"))
        }
    }
}

/// A reply as text.
pub fn text(value: &redis::Value) -> String {
    use redis::Value;
    match value {
        Value::Nil => "(nil)".to_string(),
        Value::Int(n) => n.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_string(),
        Value::Array(items) | Value::Set(items) => {
            items.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        Value::Map(pairs) => pairs
            .iter()
            .map(|(k, v)| format!("{} {}", text(k), text(v)))
            .collect::<Vec<_>>()
            .join(" "),
        Value::Double(x) => x.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::VerbatimString { text, .. } => text.clone(),
        other => format!("{other:?}"),
    }
}
