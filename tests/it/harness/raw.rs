//! A connection on which every byte is seen.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long any condition may take before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A command as it is sent: an array of bulk strings.
pub fn encoded(args: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len());
    for arg in args {
        out.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    out.into_bytes()
}

/// One connection.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    pub fn new(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Raw { stream: BufReader::new(stream) }
    }

    pub fn to_port(port: u16) -> std::io::Result<Raw> {
        TcpStream::connect(("127.0.0.1", port)).map(Raw::new)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends, unless the server closes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Sends an inline request, and reads its reply: a line, or a bulk string's text.
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\r\n"));
        let line = self.line();
        match line.strip_prefix('$').map(|len| len.parse::<usize>()) {
            Some(Ok(len)) => {
                let mut bytes = self.read(len + 2);
                bytes.truncate(len);
                String::from_utf8(bytes).expect("a text")
            }
            _ => line,
        }
    }

    /// Sends inline requests one after the other; each must get these bytes, pushes among them.
    pub fn talk(&mut self, dialogue: &[(&str, &str)]) {
        for (request, reply) in dialogue {
            self.send(format!("{request}\r\n"));
            self.expect(reply);
        }
    }

    /// Goes over to RESP3.
    pub fn hello3(&mut self) {
        self.send("HELLO 3\r\n");
        assert_eq!(self.line(), "%7");
        while self.line() != "modules" {}
        self.expect("*0\r\n");
    }

    /// Sends a command as an array of bulk strings.
    pub fn command(&mut self, args: &[&str]) {
        self.send(encoded(args));
    }

    /// Reads exactly these bytes.
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let got = self.read(expected.len());
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// Reads so many bytes.
    pub fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("more bytes");
        bytes
    }

    /// Reads a line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "the connection was closed");
        line.trim_end_matches(['\r', '\n']).to_string()
    }

    /// Reads until the server closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            // It did not want to hear all that was sent.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            outcome => drop(outcome.expect("an end")),
        }
        bytes
    }

    /// Whether nothing has come yet. Of whether something will, [`super::Server::is_silent_to`] makes sure.
    pub fn is_empty(&mut self) -> bool {
        self.stream.get_ref().set_nonblocking(true).expect("an option of a socket");
        let empty = matches!(self.stream.fill_buf(), Err(e) if e.kind() == ErrorKind::WouldBlock);
        self.stream.get_ref().set_nonblocking(false).expect("an option of a socket");
        empty
    }
}
