//! What the server has of the network and of the loop that serves it: where connections are registered, where those to
//! a primary come from, what encrypts them, and what has happened to them.

use super::cluster::links::BusLinks;
use super::connection::Dialer;
use super::targets::CachedTargets;
use super::tls::Tls;
use super::turn::Events;
use super::web::Web;

/// See the module.
#[derive(Default)]
pub(crate) struct Net {
    /// Where connections are registered; `None` where no event loop runs (tests).
    pub(crate) registry: Option<mio::Registry>,
    /// What has happened, and where the next events come from.
    pub(super) events: Events,
    /// Where connections to other servers come from; `None`: the system.
    pub(super) dialer: Option<Box<dyn Dialer>>,
    /// What encrypted connections are made with, if there are to be any.
    pub(crate) tls: Option<Box<Tls>>,
    /// The addresses to listen on have changed; the loop will see to it.
    pub(crate) rebind: bool,
    /// Connections with other nodes of the cluster.
    pub(crate) bus: BusLinks,
    /// Where `MIGRATE` sent keys lately.
    pub(crate) targets: CachedTargets,
    /// Who speaks HTTP, for metrics.
    pub(crate) web: Web,
}
