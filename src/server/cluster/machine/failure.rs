//! Who has failed: what the majority of the primaries says.

use super::{Cluster, Facts, Node, NodeKey, Now};
use crate::bus::{Body, NodeFlags, NodeId};

/// In node time-outs: how long a report counts, and after which time a primary that is back is believed to be, if
/// nobody has taken its slots.
const REPORT_VALIDITY: u64 = 2;
const UNDO_TIME: u64 = 2;

impl Cluster {
    /// Who reports a node failing, and when last, in milliseconds since 1970.
    pub fn reports_of<'a>(
        &'a self,
        node: &'a Node,
        now: Now,
    ) -> impl Iterator<Item = (NodeId, i64)> {
        let reports = node.failure_reports.iter();
        reports.map(move |(&reporter, &at)| (self.nodes[reporter].id, now.wall_of(Some(at))))
    }

    /// How many other nodes report a node failing.
    pub fn failure_reports(&mut self, key: NodeKey, now: Now, facts: &Facts) -> usize {
        let validity_ms = facts.config.cluster_node_timeout.saturating_mul(REPORT_VALIDITY);
        let reports = &mut self.nodes[key].failure_reports;
        if !reports.is_empty() {
            reports.retain(|_, at| now.since(Some(*at)) <= validity_ms);
        }
        reports.len()
    }

    /// A primary with slots says whether it can reach a node.
    pub(super) fn hear_failure_report(
        &mut self,
        reporter: NodeKey,
        about: NodeKey,
        says_failing: bool,
        now: Now,
        facts: &Facts,
    ) {
        let reports = &mut self.nodes[about].failure_reports;
        let change = if says_failing {
            reports.insert(reporter, now.mono_ms).is_none().then_some("as not reachable")
        } else {
            reports.remove(&reporter).map(|_| "is back online")
        };
        if let Some(change) = change {
            let (by, of) = (self.named(reporter), self.named(about));
            self.notice(format!("Node {by} reported node {of} {change}."));
        }
        if says_failing {
            self.fail_if_agreed(about, now, facts);
        }
    }

    /// A node that this one suspects has failed if the majority of the primaries says so. All are told then.
    pub(super) fn fail_if_agreed(&mut self, key: NodeKey, now: Now, facts: &Facts) {
        let node = &self.nodes[key];
        if !node.is_suspected() || node.has_failed() {
            return;
        }
        let votes = self.failure_reports(key, now, facts) + usize::from(self.myself().is_voter());
        if votes < self.health.quorum() {
            return;
        }
        let named = self.named(key);
        self.notice(format!("Marking node {named} as failing (quorum reached)."));
        self.set_failed(key, now);
        let id = self.nodes[key].id;
        self.broadcast(self.header(facts), Body::Fail(id));
    }

    fn set_failed(&mut self, key: NodeKey, now: Now) {
        let node = &mut self.nodes[key];
        node.flags.remove(NodeFlags::PFAIL);
        node.flags.insert(NodeFlags::FAIL);
        node.failed_ms = Some(now.mono_ms);
        self.changed();
    }

    /// A node says that the majority found another one failing.
    pub(super) fn receive_fail(&mut self, sender: NodeKey, id: NodeId, now: Now) {
        let Some(key) = self.nodes.key_of(&id) else { return };
        if self.nodes[key].has_failed() || self.nodes[key].is_myself() {
            return;
        }
        let (from, about) = (self.named(sender), self.named(key));
        self.notice(format!("FAIL message received from {from} about {about}"));
        self.set_failed(key, now);
    }

    /// A node that had failed answers. One with slots has to wait: another may be about to take them.
    pub(super) fn clear_failure(&mut self, key: NodeKey, now: Now, facts: &Facts) {
        let undo_ms = facts.config.cluster_node_timeout.saturating_mul(UNDO_TIME);
        let node = &self.nodes[key];
        let named = self.named(key);
        if !node.is_voter() {
            let role = if node.is_replica() { "replica" } else { "master without slots" };
            self.notice(format!("Clear FAIL state for node {named}:{role} is reachable again."));
        } else if now.since(node.failed_ms) > undo_ms {
            self.notice(format!(
                "Clear FAIL state for node {named}: is reachable again and nobody is serving its slots after some time."
            ));
        } else {
            return;
        }
        self.nodes[key].flags.remove(NodeFlags::FAIL);
        self.changed();
    }
}
