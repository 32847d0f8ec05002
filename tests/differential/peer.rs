//! Servers to compare: ours and others, started alike, and connections to them.

use super::reply::Reply;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis7,
    Redis8,
    Valkey9,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Redis7, Kind::Redis8, Kind::Valkey9];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Redis7 => "Redis 7.0",
            Kind::Redis8 => "Redis 8.2",
            Kind::Valkey9 => "Valkey 9.1",
        }
    }

    /// The word for `--peer`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Redis7 => "redis7",
            Kind::Redis8 => "redis8",
            Kind::Valkey9 => "valkey9",
        }
    }

    /// What the peer's program is called. Aeolis, under this name, takes its place.
    fn server_name(self) -> &'static str {
        match self {
            Kind::Redis7 | Kind::Redis8 => "redis-server",
            Kind::Valkey9 => "valkey-server",
        }
    }

    /// The server's program, if this machine has it.
    pub fn program(self) -> Option<PathBuf> {
        let variable = match self {
            Kind::Redis7 => "REDIS7_SERVER",
            Kind::Redis8 => "REDIS8_SERVER",
            Kind::Valkey9 => "VALKEY_SERVER",
        };
        std::env::var_os(variable).map(PathBuf::from)
    }
}

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Process {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts the peer, or Aeolis in its place.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &Path, kind: Kind) -> Process {
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a directory");
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = free.local_addr().expect("an address").port();
            drop(free);
            let child = Command::new(program)
                .arg0(kind.server_name())
                .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"])
                .args(["--notify-keyspace-events", "KEAnm", "--loglevel", "warning"])
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the server's program");
            let mut process = Process { child, port, _dir: dir };
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return process;
                }
                if process.child.try_wait().expect("its state").is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("{} does not start", program.display());
    }

    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Connection {
            stream: stream.try_clone().expect("a second handle"),
            reader: BufReader::new(stream),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is what the report is about then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn read(&mut self) -> io::Result<Reply> {
        Reply::read(&mut self.reader)
    }

    /// Executes a command given as one line.
    pub fn line(&mut self, line: &str) -> io::Result<Reply> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        self.ask(&words)
    }

    /// Executes several in one go, and overlooks their replies, and pushes between these.
    pub fn lines_past_pushes(&mut self, lines: &[impl AsRef<str>]) -> io::Result<()> {
        let all: String = lines.iter().map(|line| format!("{}\r\n", line.as_ref())).collect();
        self.send(all.as_bytes())?;
        for _ in lines {
            while let Reply::Push(_) = self.read()? {}
        }
        Ok(())
    }

    pub fn ask(&mut self, words: &[Vec<u8>]) -> io::Result<Reply> {
        self.send(&crate::grammar::encode(words))?;
        self.read()
    }
}
