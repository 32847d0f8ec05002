//! A server inside another program, on a thread of its own: for tests that want a Redis, and for programs that bring
//! theirs along.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! let server = aeolis::Aeolis::builder().spawn()?;
//! let mut client = TcpStream::connect(server.address())?;
//! client.write_all(b"PING\r\n")?;
//! let mut reply = [0; 7];
//! client.read_exact(&mut reply)?;
//! assert_eq!(&reply, b"+PONG\r\n");
//! // Dropped, it ends; what it had on disk goes with it.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Two servers in one program share nothing but the process: `CONFIG SET dir` changes the directory that the program
//! works in, and `INFO memory` counts what all of it has allocated. No signal handlers are installed but the one by
//! which the end of a child that saves is noticed.

use crate::cli::command_table;
use crate::event_loop;
use crate::event_loop::signals::{Ask, Signals};
use crate::server::Server;
use crate::server::config::{Config, ConfigError, Startup};
use crate::server::observe::log::Log;
use crate::server::startup;
use crate::server::tls;
use crate::sys::stack::STACK_BYTES;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// Somebody else may take the port that was free a moment ago.
const PORT_TRIES: usize = 20;

/// What tells the directories of this process's servers apart.
static SERVERS: AtomicU64 = AtomicU64::new(0);

/// A running server. Dropped, it ends at once, without saving; see also [`stop`](Aeolis::stop).
#[derive(Debug)]
pub struct Aeolis {
    port: u16,
    dir: PathBuf,
    /// The directory was made for this server, and goes with it.
    owns_dir: bool,
    ask: Ask,
    thread: Option<JoinHandle<i32>>,
}

/// How a server is to be. By default it listens on this machine only, on a free port, and saves nothing.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// 0: a free one.
    port: u16,
    /// `None`: one of its own, which goes with it.
    dir: Option<PathBuf>,
    /// Names and values, as on the command line.
    directives: Vec<(String, String)>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// A directive is unknown, or its value is refused.
    Config(ConfigError),
    /// Its directory or its thread can't be made.
    System(io::Error),
    /// It could not listen, or could not load what is in its directory. Its log has more.
    Server(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
            Self::Server(reason) => f.write_str(reason),
        }
    }
}

impl Error for StartError {}

impl Builder {
    /// The port to listen on; 0, the default, is a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Builder {
        self.port = port;
        self
    }

    /// Where its files are. It must exist, and stays when the server ends. By default a new one goes with the server.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.dir = Some(dir.into());
        self
    }

    /// Sets a directive, as `--name value` does on the command line.
    #[must_use]
    pub fn directive(mut self, name: &str, value: &str) -> Builder {
        self.directives.push((name.into(), value.into()));
        self
    }

    /// Starts the server; returns when it has loaded what is in its directory and accepts connections.
    ///
    /// # Errors
    /// If it can't start.
    pub fn spawn(self) -> Result<Aeolis, StartError> {
        let owns_dir = self.dir.is_none();
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir).map_err(StartError::System)?,
            None => fresh_dir().map_err(StartError::System)?,
        };
        let mut server = Aeolis { port: 0, dir, owns_dir, ask: Ask::default(), thread: None };
        for tries_left in (0..PORT_TRIES).rev() {
            server.port = match self.port {
                0 => free_port().map_err(StartError::System)?,
                port => port,
            };
            match self.start_on(&mut server) {
                Err(StartError::Server(_)) if self.port == 0 && tries_left > 0 => {}
                outcome => return outcome.map(|()| server),
            }
        }
        unreachable!("the last try returns");
    }

    /// The configuration of a server on this port.
    fn config(&self, server: &Aeolis) -> Result<Config, StartError> {
        let base = Config { dir: server.dir.clone(), save: Vec::new(), ..Config::default() };
        let own = [
            ("bind".into(), "127.0.0.1".into()),
            ("port".into(), server.port.to_string()),
            ("logfile".into(), "aeolis.log".into()),
            // What can't be saved must not keep the program from ending.
            ("shutdown-on-sigterm".into(), "force".into()),
        ];
        let all = own.iter().chain(&self.directives);
        let words: Vec<Vec<u8>> = all
            .flat_map(|(name, value): &(String, String)| [format!("--{name}"), value.clone()])
            .map(String::into_bytes)
            .collect();
        let startup = Config::from_args(base, &words, &mut io::empty());
        let Startup { config, .. } = startup.map_err(StartError::Config)?;
        Ok(config)
    }

    fn start_on(&self, aeolis: &mut Aeolis) -> Result<(), StartError> {
        let config = self.config(aeolis)?;
        let (signals, ask) = Signals::of_program().map_err(StartError::System)?;
        let (tell, started) = mpsc::channel();
        let run = move || match start(config, signals) {
            Ok(mut server) => {
                // Whoever waits for it may have gone.
                let _ = tell.send(Ok(()));
                event_loop::run(&mut server).unwrap_or(1)
            }
            Err(error) => {
                let _ = tell.send(Err(error.to_string()));
                1
            }
        };
        let thread = thread::Builder::new().name("aeolis".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn(run).map_err(StartError::System)?;
        let outcome = started.recv().unwrap_or_else(|_| Err("The server has ended".into()));
        outcome.map_err(StartError::Server)?;
        (aeolis.ask, aeolis.thread) = (ask, Some(thread));
        Ok(())
    }
}

/// Makes a server that listens and has loaded its data.
fn start(config: Config, signals: Signals) -> Result<Server, Box<dyn Error>> {
    let file = (!config.logfile.is_empty()).then(|| config.dir.join(&config.logfile));
    let log = Log::new(config.loglevel, file);
    let mut server = Server::new(config, command_table(), SmallRng::from_os_rng(), log);
    startup::load_setup(&mut server)?;
    tls::configure_tls(&mut server)?;
    event_loop::open_with(&mut server, signals)?;
    startup::begin(&mut server)?;
    while server.is_starting() {
        if let Some(code) = event_loop::take_turn(&mut server)? {
            return Err(
                format!("The server has ended with exit code {code}: its log tells why").into()
            );
        }
    }
    Ok(server)
}

impl Aeolis {
    /// How a server is to be.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients of this machine connect to.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same as a URL (`redis://127.0.0.1:6379`).
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Where its files and its log are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the server as SIGTERM would end a process: it saves if its configuration has save points. Returns the exit
    /// code that a process would have had.
    pub fn stop(mut self) -> i32 {
        self.ask.to_end();
        self.join()
    }

    fn join(&mut self) -> i32 {
        self.thread.take().map_or(0, |thread| thread.join().unwrap_or(1))
    }
}

impl Drop for Aeolis {
    fn drop(&mut self) {
        self.ask.to_end_now();
        self.join();
        if self.owns_dir {
            // Somebody may have removed it already.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn fresh_dir() -> io::Result<PathBuf> {
    loop {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("aeolis-{}-{number}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|()| dir),
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
