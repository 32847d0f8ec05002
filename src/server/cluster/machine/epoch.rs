//! Configuration epochs: whose claim to a slot is newer.

use super::{Action, Cluster, NodeKey, Todo};

impl Cluster {
    /// The newest epoch that is known.
    pub(super) fn max_epoch(&self) -> u64 {
        let epochs = self.nodes.iter().map(|(_, node)| node.config_epoch);
        epochs.fold(self.current_epoch, u64::max)
    }

    /// Takes an epoch that is newer than all others, without asking anybody; answers whether it had to. Two nodes that
    /// do so at the same time collide, which is resolved when they hear of each other.
    pub fn bump_epoch(&mut self) -> bool {
        let mine = self.myself().config_epoch;
        if mine != 0 && mine == self.max_epoch() {
            return false;
        }
        self.take_next_epoch();
        self.todo |= Todo::SAVE | Todo::SYNC;
        self.notice(format!("New configEpoch set to {}", self.myself().config_epoch));
        true
    }

    fn take_next_epoch(&mut self) {
        // Peers can claim any epoch; at the last one there is, nobody gets a newer one.
        self.current_epoch = self.current_epoch.saturating_add(1);
        let epoch = self.current_epoch;
        self.nodes.myself_mut().config_epoch = epoch;
    }

    /// Another primary has the same epoch: the one with the smaller id takes a new one, so that all differ in the end.
    pub(super) fn resolve_epoch_collision(&mut self, other: NodeKey) {
        let (node, myself) = (&self.nodes[other], self.myself());
        let collides = node.config_epoch == myself.config_epoch
            && node.is_primary()
            && myself.is_primary()
            && node.id > myself.id;
        if !collides {
            return;
        }
        self.take_next_epoch();
        self.save(true);
        let named = self.named(other);
        let epoch = self.myself().config_epoch;
        self.notice(format!("configEpoch collision with node {named}. configEpoch set to {epoch}"));
    }

    /// Writes the file at once.
    pub(super) fn save(&mut self, durably: bool) {
        self.todo.remove(Todo::SAVE);
        if durably {
            self.todo.remove(Todo::SYNC);
        }
        self.actions.push(Action::Save { durably });
    }
}
