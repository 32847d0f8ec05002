//! Listening sockets: TCP on every `bind` address, in clear and with TLS, a Unix socket, and HTTP on every
//! `metrics-bind` address.

use crate::server::Server;
use crate::server::cluster::machine::bus_port;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// There is no port for the bus.
const PORT_TOO_HIGH: &str = "Redis port number too high. Cluster communication port is 10,000 port numbers higher than \
     your Redis port. Your Redis port number must be 55535 or less.";

/// Tokens of listeners start here.
pub const FIRST_LISTENER: usize = 16;

pub enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix(UnixListener),
    /// For HTTP: see [`web`](crate::server::web).
    Web(TcpListener),
    /// The same, encrypted.
    WebTls(TcpListener),
    /// Of the cluster bus.
    Bus(TcpListener),
}

/// All listening sockets of a server.
#[derive(Default)]
pub struct Listeners {
    sockets: Vec<Option<Listener>>,
    unix_path: Option<PathBuf>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if let Some(path) = &self.unix_path {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listeners {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// If an address that is not optional can't be bound, or there is nothing to listen on.
    pub fn open(registry: &Registry, server: &mut Server) -> io::Result<Listeners> {
        let mut listeners = Listeners::default();
        listeners.open_tcp(registry, server)?;
        listeners.open_unix(registry, server)?;
        listeners.open_bus(registry, server)?;
        if listeners.sockets.is_empty() {
            return Err(io::Error::other("Configured to not listen anywhere, exiting."));
        }
        listeners.open_web(registry, server)?;
        Ok(listeners)
    }

    /// The listener with this number, while it is open.
    pub fn get(&self, index: usize) -> Option<&Listener> {
        self.sockets.get(index)?.as_ref()
    }

    fn add(&mut self, registry: &Registry, mut listener: Listener) -> io::Result<()> {
        let token = Token(FIRST_LISTENER + self.sockets.len());
        match &mut listener {
            Listener::Tcp(l)
            | Listener::Tls(l)
            | Listener::Web(l)
            | Listener::WebTls(l)
            | Listener::Bus(l) => {
                registry.register(l, token, Interest::READABLE)?;
            }
            Listener::Unix(l) => registry.register(l, token, Interest::READABLE)?,
        }
        self.sockets.push(Some(listener));
        Ok(())
    }

    /// Opens sockets for each `bind` address.
    ///
    /// # Errors
    /// As for [`Listeners::open`].
    pub fn open_tcp(&mut self, registry: &Registry, server: &mut Server) -> io::Result<()> {
        let (port, tls_port) = (server.config.port, server.config.tls_port);
        let addresses = server.config.bind.clone();
        server.process.clear_listeners();
        self.bind(registry, server, (&addresses, port), "tcp", Listener::Tcp)?;
        self.bind(registry, server, (&addresses, tls_port), "tls", Listener::Tls)
    }

    /// Opens sockets for each `metrics-bind` address.
    ///
    /// # Errors
    /// As for [`Listeners::open`].
    pub fn open_web(&mut self, registry: &Registry, server: &mut Server) -> io::Result<()> {
        let (addresses, port) = (server.config.metrics_bind.clone(), server.config.metrics_port);
        let kind = if server.config.metrics_tls { Listener::WebTls } else { Listener::Web };
        self.bind(registry, server, (&addresses, port), "metrics", kind)
    }

    /// Opens a socket for each address at `port`, if that is not 0. Sockets of the kind are called `name`.
    fn bind(
        &mut self,
        registry: &Registry,
        server: &mut Server,
        (addresses, port): (&[String], u16),
        name: &str,
        kind: fn(TcpListener) -> Listener,
    ) -> io::Result<()> {
        if port == 0 {
            return Ok(());
        }
        let mut bound = Vec::new();
        let mut last_error = None;
        for address in addresses {
            let (optional, host) = match address.strip_prefix('-') {
                Some(host) => (true, host),
                None => (false, address.as_str()),
            };
            match listen(host, port, server.config.tcp_backlog) {
                Ok(listener) => {
                    self.add(registry, kind(listener))?;
                    bound.push(address);
                }
                Err(error) => {
                    let unavailable = matches!(
                        error.kind(),
                        ErrorKind::AddrNotAvailable | ErrorKind::Unsupported
                    ) || matches!(
                        error.raw_os_error(),
                        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
                    );
                    if optional && unavailable {
                        continue;
                    }
                    server.warning(&format!("Warning: Could not create server TCP listening socket {host}:{port}: bind: {error}"));
                    last_error = Some(error);
                    if !optional {
                        break;
                    }
                }
            }
        }
        if let Some(error) = last_error {
            server.warning(&format!("Failed listening on port {port} ({name}), aborting."));
            return Err(error);
        }
        if !bound.is_empty() && name != "cluster" {
            let binds: Vec<String> = bound.iter().map(|b| format!("bind={b}")).collect();
            server.process.add_listener(format!("name={name},{},port={port}", binds.join(",")));
        }
        Ok(())
    }

    /// Opens sockets for the cluster bus, if this is a node of a cluster.
    fn open_bus(&mut self, registry: &Registry, server: &mut Server) -> io::Result<()> {
        if server.config.cluster_enabled {
            let (addresses, port) = (server.config.bind.clone(), bus_port(&server.config));
            let port = port.ok_or_else(|| io::Error::other(PORT_TOO_HIGH))?;
            self.bind(registry, server, (&addresses, port), "cluster", Listener::Bus)?;
        }
        Ok(())
    }

    fn open_unix(&mut self, registry: &Registry, server: &mut Server) -> io::Result<()> {
        let Some(path) = server.config.unixsocket.clone() else { return Ok(()) };
        // A socket that a server left behind would keep us from listening; a live one is replaced, as Redis does.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        if server.config.unixsocketperm != 0 {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(server.config.unixsocketperm);
            std::fs::set_permissions(&path, mode)?;
        }
        server.process.add_listener(format!("name=unix,bind={path}"));
        self.unix_path = Some(PathBuf::from(&path));
        self.add(registry, Listener::Unix(listener))
    }

    /// Closes all TCP sockets.
    pub fn close_tcp(&mut self, registry: &Registry) {
        for slot in &mut self.sockets {
            if let Some(
                Listener::Tcp(listener)
                | Listener::Tls(listener)
                | Listener::Web(listener)
                | Listener::WebTls(listener),
            ) = slot
            {
                let _ = registry.deregister(listener);
                *slot = None;
            }
        }
    }
}

fn listen(host: &str, port: u16, backlog: u32) -> io::Result<TcpListener> {
    let address = match host {
        "*" => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        "::*" => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        _ => (host, port).to_socket_addrs()?.next().ok_or_else(|| {
            io::Error::new(ErrorKind::AddrNotAvailable, "the host has no address")
        })?,
    };
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(TcpListener::from_std(socket.into()))
}
