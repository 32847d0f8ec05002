//! The conversation with a client that debugs: what it asks for comes as arrays of bulk strings, what it is told goes
//! as arrays of simple strings.

use super::words::Words;
use crate::sys::poll::{wait_readable, wait_writable};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Breakpoints there may be.
const MAX_BREAKPOINTS: usize = 64;
/// Longer than this values and replies are cut off, unless `maxlen` says otherwise.
const MAX_LEN: usize = 256;
/// `maxlen` is not made smaller.
const LEAST_MAX_LEN: usize = 60;
/// A request may be so long, and has so many words of so many bytes.
const MAX_INPUT: usize = 1 << 20;
const MAX_WORDS: i64 = 1024;
const MAX_WORD: i64 = 1024;
/// A client that takes nothing for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The connection to the client, which does not block.
pub trait Wire: Read + Write + AsFd {}

impl<T: Read + Write + AsFd> Wire for T {}

/// A script that is debugged.
pub struct Session {
    wire: Box<dyn Wire>,
    words: &'static Words,
    source: Vec<Vec<u8>>,
    line: usize,
    breakpoints: Vec<usize>,
    /// Stop at the next line.
    step: bool,
    /// Stop there, because the script itself wants it.
    breaks: bool,
    log: Vec<Vec<u8>>,
    /// 0: nothing is cut off.
    max_len: usize,
    hinted: bool,
    input: Vec<u8>,
}

/// Why there is no further request.
pub enum NoRequest {
    /// The client has gone.
    Gone,
    /// What it sent makes no sense.
    Nonsense(&'static str),
}

impl Session {
    pub fn new(wire: Box<dyn Wire>, words: &'static Words, body: &[u8]) -> Session {
        let mut body = body;
        while let Some(rest) = body.strip_suffix(b"\n").or_else(|| body.strip_suffix(b"\r")) {
            body = rest;
        }
        Session {
            wire,
            words,
            source: body.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect(),
            line: 0,
            breakpoints: Vec::new(),
            step: true,
            breaks: false,
            log: Vec::new(),
            max_len: MAX_LEN,
            hinted: false,
            input: Vec::new(),
        }
    }

    /// The line at which the script is.
    pub fn line(&self) -> usize {
        self.line
    }

    pub fn is_stepping(&self) -> bool {
        self.step
    }

    pub fn set_stepping(&mut self, step: bool) {
        self.step = step;
    }

    pub fn break_at_next_line(&mut self) {
        self.breaks = true;
    }

    /// The script gets to a line: why it is to stop there, if it is.
    pub fn reach(&mut self, line: usize) -> Option<String> {
        self.line = line;
        match () {
            () if self.breaks => Some(self.words.breakpoint_called()),
            () if self.breakpoints.contains(&line) => Some("break point".to_string()),
            () if self.step => Some("step over".to_string()),
            () => None,
        }
    }

    /// The script stops where it is.
    pub fn stop(&mut self, reason: &str) {
        (self.step, self.breaks) = (false, false);
        self.log(format!("* Stopped at {}, stop reason = {reason}", self.line).into_bytes());
        self.log_source_line(self.line);
        self.send();
    }

    /// The client has gone: the script goes on without it.
    pub fn let_run(&mut self) {
        self.step = false;
        self.breakpoints.clear();
    }

    pub fn log(&mut self, line: Vec<u8>) {
        self.log.push(line);
    }

    pub fn log_help(&mut self) {
        self.log.extend(self.words.help().lines().map(|line| line.as_bytes().to_vec()));
    }

    /// The client asks for what there is not.
    pub fn log_unknown_command(&mut self) {
        self.log(self.words.unknown_command().into_bytes());
    }

    /// Logs a line that may be long.
    pub fn log_trimmed(&mut self, mut line: Vec<u8>) {
        let trimmed = self.max_len > 0 && line.len() > self.max_len;
        if trimmed {
            line.truncate(self.max_len);
            line.extend_from_slice(b" ...");
        }
        self.log(line);
        if trimmed && !self.hinted {
            self.hinted = true;
            self.log(
                b"<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.".to_vec(),
            );
        }
    }

    /// A line of the script, with marks for where it is and for breakpoints.
    pub fn log_source_line(&mut self, line: usize) {
        let text = line.checked_sub(1).and_then(|at| self.source.get(at));
        let text = text.map_or(&b"<out of range source code line>"[..], Vec::as_slice);
        let mark = match (line == self.line, self.breakpoints.contains(&line)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        self.log([format!("{mark}{line:<3} ").as_bytes(), text].concat());
    }

    /// The lines of the script up to so far from one.
    pub fn list(&mut self, around: usize, context: usize) {
        for line in 1..=self.source.len() {
            if line.abs_diff(around) <= context {
                self.log_source_line(line);
            }
        }
    }

    /// `break`, with its arguments.
    pub fn set_breakpoints(&mut self, args: &[Vec<u8>]) {
        if args.is_empty() {
            match self.breakpoints.len() {
                0 => self.log(b"No breakpoints set. Use 'b <line>' to add one.".to_vec()),
                n => self.log(format!("{n} breakpoints set:").into_bytes()),
            }
            for line in self.breakpoints.clone() {
                self.log_source_line(line);
            }
        }
        for arg in args {
            let outcome = match std::str::from_utf8(arg).ok().and_then(|n| n.parse::<i64>().ok()) {
                None => [b"Invalid argument:'", &arg[..], b"'"].concat(),
                Some(0) => {
                    self.breakpoints.clear();
                    b"All breakpoints removed.".to_vec()
                }
                Some(n) => match (n > 0, n.unsigned_abs() as usize) {
                    (true, line) if self.add_breakpoint(line) => {
                        self.list(line, 1);
                        continue;
                    }
                    (true, _) if self.breakpoints.len() == MAX_BREAKPOINTS => {
                        b"Too many breakpoints set.".to_vec()
                    }
                    (true, _) => b"Wrong line number.".to_vec(),
                    (false, line) => match self.breakpoints.iter().position(|&b| b == line) {
                        Some(at) => {
                            self.breakpoints.remove(at);
                            b"Breakpoint removed.".to_vec()
                        }
                        None => b"No breakpoint in the specified line.".to_vec(),
                    },
                },
            };
            self.log(outcome);
        }
    }

    fn add_breakpoint(&mut self, line: usize) -> bool {
        let fits = line <= self.source.len() && self.breakpoints.len() < MAX_BREAKPOINTS;
        if fits && !self.breakpoints.contains(&line) {
            self.breakpoints.push(line);
        }
        fits
    }

    /// `maxlen`, with its argument.
    pub fn set_max_len(&mut self, args: &[Vec<u8>]) {
        if let [len] = args {
            let len = std::str::from_utf8(len).ok().and_then(|n| n.parse::<usize>().ok());
            // Who asks for it knows of it.
            self.hinted = true;
            self.max_len = match len.unwrap_or(0) {
                0 => 0,
                len => len.max(LEAST_MAX_LEN),
            };
        }
        self.log(match self.max_len {
            0 => b"<value> replies are unlimited.".to_vec(),
            len => format!("<value> replies are truncated at {len} bytes.").into_bytes(),
        });
    }

    /// Sends what was logged. What is on one line must not end it.
    pub fn send(&mut self) {
        let mut out = format!("*{}\r\n", self.log.len()).into_bytes();
        for line in self.log.drain(..) {
            out.push(b'+');
            out.extend(line.into_iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
        self.write_all(&out);
    }

    /// The script has ended: what it answers is the last that is said.
    pub fn end(&mut self, reply: &[u8]) {
        self.log(b"<endsession>".to_vec());
        self.send();
        self.write_all(reply);
    }

    /// Waits where the client does not take it. If it has gone, reading will show it.
    fn write_all(&mut self, mut bytes: &[u8]) {
        loop {
            let outcome = match bytes {
                // What is encrypted may wait still.
                [] => self.wire.flush().map(|()| 0),
                bytes => self.wire.write(bytes),
            };
            match outcome {
                Ok(_) if bytes.is_empty() => return,
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !wait_writable(&self.wire, WRITE_TIMEOUT).unwrap_or(false) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Waits for a request, and answers its words, at least one.
    pub fn next_request(&mut self) -> Result<Vec<Vec<u8>>, NoRequest> {
        loop {
            match parse(&self.input).map_err(NoRequest::Nonsense)? {
                Some(words) => {
                    // Requests come one by one: each waits for its answer.
                    self.input.clear();
                    return Ok(words);
                }
                None if self.input.len() > MAX_INPUT => {
                    return Err(NoRequest::Nonsense("max client buffer reached"));
                }
                None => self.read()?,
            }
        }
    }

    fn read(&mut self) -> Result<(), NoRequest> {
        let mut chunk = [0; 1024];
        match self.wire.read(&mut chunk) {
            Ok(0) => Err(NoRequest::Gone),
            Ok(n) => {
                self.input.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_readable(&self.wire, FOR_EVER).map_err(|_| NoRequest::Gone).map(drop)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(NoRequest::Gone),
        }
    }
}

/// The words of a request; `None`: it is not whole yet.
fn parse(input: &[u8]) -> Result<Option<Vec<Vec<u8>>>, &'static str> {
    const WRONG: &str = "protocol error";
    if input.is_empty() {
        return Ok(None);
    }
    let start = input.iter().position(|&byte| byte == b'*').ok_or(WRONG)?;
    let mut rest = &input[start..];
    let number = |kind: u8, most: i64, rest: &mut &[u8]| {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let digits = rest[..end].strip_prefix(&[kind]).ok_or(WRONG)?;
        let number = crate::util::number::parse_i64(digits);
        *rest = &rest[end + 2..];
        number.filter(|n| (1..=most).contains(n)).map(|n| Some(n as usize)).ok_or(WRONG)
    };
    let Some(count) = number(b'*', MAX_WORDS, &mut rest)? else { return Ok(None) };
    let mut words = Vec::new();
    while words.len() < count {
        if rest.first().is_some_and(|&byte| byte != b'$') {
            return Err(WRONG);
        }
        let Some(len) = number(b'$', MAX_WORD, &mut rest)? else { return Ok(None) };
        let Some((word, behind)) = rest.split_at_checked(len + 2) else { return Ok(None) };
        words.push(word.strip_suffix(b"\r\n").ok_or(WRONG)?.to_vec());
        rest = behind;
    }
    Ok(Some(words))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn requests_are_parsed_when_they_are_whole() {
        let whole = b"*2\r\n$1\r\nb\r\n$2\r\n10\r\n";
        assert_eq!(parse(whole), Ok(Some(vec![b"b".to_vec(), b"10".to_vec()])));
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), Ok(None), "{len} bytes");
        }
        for wrong in
            ["hello\r\n", "*0\r\n", "*x\r\n", "*1\r\n+x\r\n", "*1\r\n$9999\r\n", "*1\r\n$1\r\nabc"]
        {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
