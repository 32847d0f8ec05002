//! Servers to compare: ours and others, started alike, and connections to them.

use super::harness::Server;
use super::peers::Kind;
use super::reply::Reply;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

pub const PEERS: [Kind; 3] = [Kind::Redis7, Kind::Redis8, Kind::Valkey];

/// The word for `--peer`.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Aeolis => "aeolis",
        Kind::Redis7 => "redis7",
        Kind::Redis8 => "redis8",
        Kind::Valkey => "valkey9",
    }
}

/// How long a reply may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(600);

/// Starts the peer, or Aeolis under the name of the peer's program, in its place.
pub fn start(program: &Path, kind: Kind) -> Server {
    let name = if kind == Kind::Valkey { "valkey-server" } else { "redis-server" };
    let options = ["--notify-keyspace-events", "KEAnm", "--loglevel", "warning"];
    let dir = tempfile::tempdir().expect("a directory");
    Server::start_program_as(program, name.as_ref(), dir, &options)
}

pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn to(server: &Server) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Connection {
            stream: stream.try_clone().expect("a second handle"),
            reader: BufReader::new(stream),
        }
    }

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

    /// Sends several commands, each given as one line, in one go.
    pub fn send_lines(&mut self, lines: &[impl AsRef<str>]) -> io::Result<()> {
        let all: String = lines.iter().map(|line| format!("{}\r\n", line.as_ref())).collect();
        self.send(all.as_bytes())
    }

    /// Reads so many replies, and overlooks them and the pushes between.
    pub fn skip_replies(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            while let Reply::Push(_) = self.read()? {}
        }
        Ok(())
    }

    pub fn ask(&mut self, words: &[Vec<u8>]) -> io::Result<Reply> {
        self.send(&crate::grammar::encode(words))?;
        self.read()
    }
}
