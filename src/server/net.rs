//! What the server has of the network and of the loop that serves it: where connections are registered, where those to
//! other servers come from, what encrypts them, and what has happened to them.

use super::cluster::links::BusLinks;
use super::cluster::machine::LinkId;
use super::connection::{Connection, Dialer};
use super::links::migration::jobs::Jobs;
use super::targets::CachedTargets;
use super::tls::Tls;
use super::tls::renewal::Renewal;
use super::turn::Events;
use super::web::Web;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io;

/// See the module.
#[derive(Default)]
pub(crate) struct Net {
    /// Where connections are registered; `None` where no event loop runs (tests).
    registry: Option<Registry>,
    /// What has happened, and where the next events come from.
    events: Events,
    /// Where connections to other servers come from; `None`: the system.
    dialer: Option<Box<dyn Dialer>>,
    /// What encrypted connections are made with, if there are to be any.
    tls: Option<Box<(Tls, Renewal)>>,
    /// The addresses to listen on have changed; the loop will see to it.
    rebind: bool,
    /// Connections with other nodes of the cluster.
    bus: BusLinks,
    /// Slots that move to or from other nodes.
    pub(crate) migrations: Jobs,
    /// Where `MIGRATE` sent keys lately.
    targets: CachedTargets,
    /// Who speaks HTTP, for metrics.
    web: Web,
}

impl Net {
    /// Connections are registered here from now on.
    pub(crate) fn set_registry(&mut self, registry: Registry) {
        self.registry = Some(registry);
    }

    /// Has a connection's events announced as those of `token`.
    ///
    /// # Errors
    /// What the system reports.
    pub(crate) fn register(&self, conn: &mut Connection, token: Token) -> io::Result<()> {
        self.registry.as_ref().map_or(Ok(()), |registry| conn.register(registry, token))
    }

    /// Has them announced no more. Closing the socket would do so too: an error has no consequence.
    pub(crate) fn deregister(&self, conn: &mut Connection) {
        if let Some(registry) = &self.registry {
            let _ = conn.deregister(registry);
        }
    }

    /// Has it announced, as an event of `token`, that something can be read.
    ///
    /// # Errors
    /// What the system reports.
    pub(crate) fn register_readable(
        &self,
        source: &mut impl Source,
        token: Token,
    ) -> io::Result<()> {
        let Some(registry) = &self.registry else { return Ok(()) };
        registry.register(source, token, Interest::READABLE)
    }

    /// Has it announced no more.
    pub(crate) fn deregister_readable(&self, source: &mut impl Source) {
        if let Some(registry) = &self.registry {
            let _ = registry.deregister(source);
        }
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    pub(super) fn events_mut(&mut self) -> &mut Events {
        &mut self.events
    }

    /// Connections to other servers come from `dialer` from now on, not from the system.
    pub(super) fn dial_with(&mut self, dialer: Box<dyn Dialer>) {
        self.dialer = Some(dialer);
    }

    /// Where connections to other servers come from; `None`: the system.
    pub(super) fn dialer(&mut self) -> Option<&mut (dyn Dialer + 'static)> {
        self.dialer.as_deref_mut()
    }

    /// What encrypted connections are made with, if there are to be any.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref().map(|(tls, _)| tls)
    }

    /// Encrypted connections are made with this from now on.
    pub(super) fn set_tls(&mut self, tls: Tls, renewal: Renewal) {
        self.tls = Some(Box::new((tls, renewal)));
    }

    /// How the files looked that these were made from.
    pub(super) fn tls_renewal_mut(&mut self) -> Option<&mut Renewal> {
        self.tls.as_deref_mut().map(|(_, renewal)| renewal)
    }

    /// The addresses to listen on have changed.
    pub(crate) fn listen_anew(&mut self) {
        self.rebind = true;
    }

    /// Whether they have since the last call.
    pub(super) fn take_rebind(&mut self) -> bool {
        std::mem::take(&mut self.rebind)
    }

    /// Connections with other nodes of the cluster.
    pub(crate) fn bus(&self) -> &BusLinks {
        &self.bus
    }

    /// What waits on a link of the bus, in bytes: read, and to be written.
    pub(crate) fn link_memory(&self, link: LinkId) -> (usize, usize) {
        self.bus.memory(link)
    }

    pub(super) fn bus_mut(&mut self) -> &mut BusLinks {
        &mut self.bus
    }

    /// The same, and where their connections are registered.
    pub(super) fn bus_and_registry(&mut self) -> (&mut BusLinks, Option<&Registry>) {
        (&mut self.bus, self.registry.as_ref())
    }

    /// Where `MIGRATE` sent keys lately.
    pub(crate) fn targets(&self) -> &CachedTargets {
        &self.targets
    }

    pub(crate) fn targets_mut(&mut self) -> &mut CachedTargets {
        &mut self.targets
    }

    /// Who speaks HTTP, for metrics.
    pub(super) fn web(&self) -> &Web {
        &self.web
    }

    pub(super) fn web_mut(&mut self) -> &mut Web {
        &mut self.web
    }
}
