//! The load generator of the whole-server comparison: so cheap per request that the server is the
//! bottleneck. `rustc -O` builds it without dependencies. Five duties:
//!
//! * `loader load PORT CLIENTS PIPELINE REQUESTS RANGE LINES ARG…` sends one command over and
//!   over and prints the seconds until all replies were there.
//! * `loader open PORT CLIENTS RATE RANGE ARG…` sends one command so many times a second,
//!   whether it is answered or not, until its input closes, then prints the latencies.
//! * `loader ping PORT` sends PING each millisecond until its input closes, then prints the
//!   latencies.
//! * `loader sink PORT` attaches as a replica, prints `online` after the snapshot, and throws the
//!   stream away.
//! * `loader subscribe PORT COUNT CHANNEL` keeps so many subscribers, prints `online` once all are,
//!   and throws away what they get.
//!
//! Latencies are printed as `count p50 p99 p99.9 worst`, in microseconds.
//!
//! In `load` and `open`, an argument may hold numbers that change with each request, written as
//! `{rand:WIDTH}`, `{seq:WIDTH}` or `{same:WIDTH}`: a random number below RANGE, the request's
//! count modulo RANGE, and once more the number before it. All are padded with zeros to WIDTH
//! digits, so that a pipeline is encoded once and then only its digits are rewritten. Braces without
//! a colon between them are sent as they are. LINES is how
//! many lines each reply has: counting line ends is all the parsing that replies get. An argument `;`
//! begins another command of the same request.

use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: loader load PORT CLIENTS PIPELINE REQUESTS RANGE LINES ARG…
       loader open PORT CLIENTS RATE RANGE ARG…
       loader ping PORT
       loader sink PORT
       loader subscribe PORT COUNT CHANNEL";

/// How long a reply to `load` may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["load", port, ref shape @ ..] => load(port.parse()?, shape),
        ["open", port, ref shape @ ..] => open(port.parse()?, shape),
        ["ping", port] => ping(port.parse()?),
        ["sink", port] => sink(port.parse()?),
        ["subscribe", port, count, channel] => subscribe(port.parse()?, count.parse()?, channel),
        _ => Err(USAGE.into()),
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Keeps one pipeline in flight on each connection until all requests are answered.
///
/// Blocking reads in the order of the writes suffice: the server answers connections in about that
/// order, and as long as any other pipeline is in flight it has work.
fn load(port: u16, shape: &[&str]) -> Result<()> {
    let [clients, pipeline, requests, range, lines, command @ ..] = shape else {
        return Err(USAGE.into());
    };
    let mut batch = Batch::new(command, pipeline.parse()?, range.parse()?)?;
    let requests: usize = requests.parse()?;
    let lines: usize = lines.parse()?;
    let connections: Vec<TcpStream> = (0..clients.parse()?)
        .map(|_| connect(port))
        .collect::<Result<_>>()?;
    for connection in &connections {
        // Fewer lines than expected would otherwise be waited for without end.
        connection.set_read_timeout(Some(PATIENCE))?;
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut in_flight = VecDeque::with_capacity(connections.len());
    let start = Instant::now();
    let mut unsent = requests;
    let mut send = |mut connection: &TcpStream| -> Result<usize> {
        let count = batch.requests.min(unsent);
        connection.write_all(batch.next(count))?;
        unsent -= count;
        Ok(count)
    };
    for connection in &connections {
        in_flight.push_back((connection, send(connection)?));
    }
    while let Some((connection, count)) = in_flight.pop_front() {
        read_replies(connection, count * lines, &mut buffer)?;
        let count = send(connection)?;
        if count > 0 {
            in_flight.push_back((connection, count));
        }
    }
    println!("{:.6}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Reads exactly `lines` lines. One pipeline is in flight, so nothing can follow them.
fn read_replies(mut connection: &TcpStream, lines: usize, buffer: &mut [u8]) -> Result<()> {
    let mut seen = 0;
    while seen < lines {
        let n = connection.read(buffer)?;
        if n == 0 {
            return Err("the server closed the connection".into());
        }
        if seen == 0 && buffer[0] == b'-' {
            return Err(String::from_utf8_lossy(&buffer[..n.min(200)]).into());
        }
        seen += buffer[..n].iter().filter(|&&byte| byte == b'\n').count();
    }
    if seen > lines {
        return Err(format!("{seen} reply lines where {lines} were expected").into());
    }
    Ok(())
}

/// What a number in a request is.
#[derive(Clone, Copy)]
enum Kind {
    Rand,
    Seq,
    Same,
}

/// A number's place in the encoded pipeline.
#[derive(Clone, Copy)]
struct Number {
    kind: Kind,
    at: usize,
    width: usize,
}

/// A pipeline of equal requests, encoded once.
struct Batch {
    requests: usize,
    range: u64,
    bytes: Vec<u8>,
    /// The numbers of each request in order; all requests have equally many.
    numbers: Vec<Number>,
    sequence: u64,
    random: u64,
}

impl Batch {
    fn new(command: &[&str], requests: usize, range: u64) -> Result<Self> {
        if command.is_empty() || requests == 0 || range == 0 {
            return Err(USAGE.into());
        }
        let mut request = Vec::new();
        let mut numbers = Vec::new();
        for command in command.split(|&arg| arg == ";") {
            request.extend(format!("*{}\r\n", command.len()).bytes());
            for arg in command {
                let (text, mut found) = parse_argument(arg)?;
                request.extend(format!("${}\r\n", text.len()).bytes());
                found
                    .iter_mut()
                    .for_each(|number| number.at += request.len());
                numbers.extend(found);
                request.extend(text);
                request.extend(b"\r\n");
            }
        }
        let all = (0..requests).flat_map(|i| {
            let shift = i * request.len();
            numbers.iter().map(move |number| Number {
                at: number.at + shift,
                ..*number
            })
        });
        Ok(Self {
            requests,
            range,
            numbers: all.collect(),
            bytes: request.repeat(requests),
            sequence: 0,
            random: 0x9E37_79B9_7F4A_7C15,
        })
    }

    /// The bytes of the next `count` requests, with fresh numbers; at most a whole pipeline.
    fn next(&mut self, count: usize) -> &[u8] {
        let each = self.numbers.len() / self.requests;
        let mut value = 0;
        for (i, number) in self.numbers[..count * each].iter().enumerate() {
            match number.kind {
                Kind::Rand => {
                    // xorshift64, scaled to the range by its upper bits.
                    self.random ^= self.random << 13;
                    self.random ^= self.random >> 7;
                    self.random ^= self.random << 17;
                    value = ((self.random as u128 * self.range as u128) >> 64) as u64;
                }
                Kind::Seq => value = (self.sequence + (i / each) as u64) % self.range,
                Kind::Same => {}
            }
            let mut rest = value;
            for digit in self.bytes[number.at..number.at + number.width]
                .iter_mut()
                .rev()
            {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        self.sequence += count as u64;
        &self.bytes[..count * self.bytes.len() / self.requests]
    }
}

/// Splits an argument into its bytes (zeros where numbers go) and the numbers, placed relative to
/// its start.
fn parse_argument(arg: &str) -> Result<(Vec<u8>, Vec<Number>)> {
    let mut text = Vec::new();
    let mut numbers = Vec::new();
    let mut rest = arg;
    while let Some((before, after)) = rest.split_once('{') {
        let (token, after) = after.split_once('}').ok_or("a { without its }")?;
        let Some((kind, width)) = token.split_once(':') else {
            // The tag of a key, as clusters know them.
            text.extend(format!("{before}{{{token}}}").bytes());
            rest = after;
            continue;
        };
        let kind = match kind {
            "rand" => Kind::Rand,
            "seq" => Kind::Seq,
            "same" => Kind::Same,
            _ => return Err(format!("no such number: {kind}").into()),
        };
        let width = width.parse()?;
        text.extend(before.bytes());
        numbers.push(Number {
            kind,
            at: text.len(),
            width,
        });
        text.resize(text.len() + width, b'0');
        rest = after;
    }
    text.extend(rest.bytes());
    Ok((text, numbers))
}

/// How long `open` sleeps between two looks at what is due and what was answered.
const TICK: Duration = Duration::from_micros(50);

/// Sends a request whenever one is due, on one connection after the other, whatever is still to be
/// answered: so a stall is seen by each request that was due meanwhile. The n-th request is due n
/// times the period after the start, so of each reply it is known when its request was.
///
/// One thread does it all, and sleeps in between: woken for each reply, the client would be most of
/// what is measured; and one that never sleeps is stopped for 50 ms of each second by the system,
/// where it runs before all else.
fn open(port: u16, shape: &[&str]) -> Result<()> {
    let [clients, rate, range, command @ ..] = shape else {
        return Err(USAGE.into());
    };
    let mut batch = Batch::new(command, 1, range.parse()?)?;
    let clients: usize = clients.parse()?;
    let period = Duration::from_secs_f64(1.0 / rate.parse::<f64>()?);
    let stop = until_input_closes();
    let mut connections: Vec<Paced> = (0..clients).map(|_| Paced::new(port)).collect::<Result<_>>()?;
    let start = Instant::now();
    let due = |n: usize| start + period.mul_f64(n as f64);
    let (mut sent, mut latencies, mut last) = (0, Vec::new(), start);
    loop {
        let now = Instant::now();
        let is_stopped = stop.load(Ordering::Relaxed);
        while !is_stopped && due(sent) <= now {
            connections[sent % clients].push(batch.next(1));
            sent += 1;
        }
        for (first, connection) in connections.iter_mut().enumerate() {
            connection.flush()?;
            let answered = connection.answered;
            connection.read()?;
            let now = Instant::now();
            for nth in answered..connection.answered {
                latencies.push(now.saturating_duration_since(due(first + nth * clients)));
                last = now;
            }
        }
        if is_stopped && latencies.len() == sent {
            break;
        }
        if latencies.len() == sent {
            last = now;
        } else if last.elapsed() > PATIENCE {
            return Err("no reply in time".into());
        }
        thread::sleep(TICK);
    }
    print_latencies(latencies);
    Ok(())
}

/// A connection of `open`, which never waits.
struct Paced {
    stream: TcpStream,
    unsent: Vec<u8>,
    pushed: usize,
    answered: usize,
}

impl Paced {
    fn new(port: u16) -> Result<Self> {
        let stream = connect(port)?;
        stream.set_nonblocking(true)?;
        Ok(Paced { stream, unsent: Vec::new(), pushed: 0, answered: 0 })
    }

    fn push(&mut self, request: &[u8]) {
        self.unsent.extend_from_slice(request);
        self.pushed += 1;
    }

    /// Sends what the connection takes now.
    fn flush(&mut self) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.unsent) {
            Ok(n) => drop(self.unsent.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Counts the replies, of one line each, that are there.
    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.answered < self.pushed {
            let n = match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            if buffer[0] == b'-' {
                return Err(String::from_utf8_lossy(&buffer[..n.min(200)]).into());
            }
            self.answered += buffer[..n].iter().filter(|&&byte| byte == b'\n').count();
        }
        Ok(())
    }
}

/// What tells that this program's input has been closed.
fn until_input_closes() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = Arc::clone(&stop);
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        stopper.store(true, Ordering::Relaxed);
    });
    stop
}

fn print_latencies(mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let last = latencies.len().saturating_sub(1);
    let at = |share: f64| {
        let at = latencies.get((last as f64 * share) as usize);
        at.map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    let (p50, p99, p999, worst) = (at(0.5), at(0.99), at(0.999), at(1.0));
    println!("{} {p50:.1} {p99:.1} {p999:.1} {worst:.1}", latencies.len());
}

/// Measures PING each millisecond. A late reply delays the pings behind it, so these count from
/// when they were due; otherwise a stall would be seen once instead of in each ping that it hit.
fn ping(port: u16) -> Result<()> {
    let stop = until_input_closes();
    let mut connection = connect(port)?;
    let mut latencies = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = latencies
            .last()
            .is_some_and(|&last| last > Duration::from_millis(1));
        let start = if late { due } else { Instant::now() };
        connection.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        connection.read_exact(&mut [0; 7])?;
        latencies.push(start.elapsed());
        due += Duration::from_millis(1);
    }
    print_latencies(latencies);
    Ok(())
}

/// Attaches as a replica that only reads, so that a throughput is the primary's, not its replica's.
fn sink(port: u16) -> Result<()> {
    let mut connection = connect(port)?;
    let mut reader = BufReader::with_capacity(1024 * 1024, connection.try_clone()?);
    let mut line = String::new();
    // Without `capa eof` the snapshot comes as `$LENGTH` and that many bytes.
    for command in [
        "PING\r\n",
        "REPLCONF listening-port 1\r\n",
        "REPLCONF capa psync2\r\n",
        "PSYNC ? -1\r\n",
    ] {
        connection.write_all(command.as_bytes())?;
        line.clear();
        reader.read_line(&mut line)?;
        if !line.starts_with('+') {
            return Err(format!("{command:?} was answered {line:?}").into());
        }
    }
    // Empty lines keep the link alive while the snapshot is written.
    while !line.starts_with('$') {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("the primary closed the connection".into());
        }
    }
    let length: u64 = line[1..].trim_end().parse()?;
    io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    connection.write_all(b"REPLCONF ACK 0\r\n")?;
    println!("online");
    io::copy(&mut reader, &mut io::sink())?;
    Ok(())
}

/// Subscribes on `count` connections, and reads what comes on a thread of each.
fn subscribe(port: u16, count: usize, channel: &str) -> Result<()> {
    let mut readers = Vec::new();
    for _ in 0..count {
        let mut connection = connect(port)?;
        connection.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes())?;
        if connection.read(&mut [0; 256])? == 0 {
            return Err("the server closed the connection".into());
        }
        readers.push(thread::spawn(move || {
            io::copy(&mut connection, &mut io::sink())
        }));
    }
    println!("online");
    for reader in readers {
        reader.join().map_err(|_| "a reader panicked")??;
    }
    Ok(())
}
