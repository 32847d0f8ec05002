//! Elections: a replica asks the primaries for their votes and takes its failed primary's place.

use super::trace::SlotReason;
use super::{Cluster, Facts, NodeKey, Now, Todo};
use crate::bus::{Body, Header, MessageFlags, NodeFlags};
use rand::Rng;

/// Votes are waited for no shorter than this.
const LEAST_TIMEOUT_MS: u64 = 2000;
/// Before an election a replica waits for the news of the failure to spread: for this part of the node time-out, and no
/// longer than so, as in Valkey 9.
const TIMEOUTS_PER_DELAY: u64 = 30;
const MOST_DELAY_MS: u64 = 500;
/// And for each replica that has more of the data for this part of the time-out, no longer than so: on a busy machine,
/// too, that replica has to know of the failure before this one asks.
const TIMEOUTS_PER_RANK: u64 = 2;
const MOST_RANK_DELAY_MS: u64 = 1000;
/// The same reason why there is no failover is logged again after this time.
const RELOG_PERIOD_MS: u64 = 1000;

/// A replica's election.
#[derive(Clone, Debug, Default)]
pub struct Election {
    /// When votes are asked for, or were.
    at_ms: Option<u64>,
    is_sent: bool,
    votes: usize,
    rank: u64,
    epoch: u64,
    obstacle: Option<Obstacle>,
    obstacle_logged_ms: Option<u64>,
}

/// Why a replica does not take its primary's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    DataTooOld,
    WaitsForDelay,
    Expired,
    WaitsForVotes,
}

impl Obstacle {
    fn text(self) -> &'static str {
        match self {
            Obstacle::DataTooOld => {
                "Disconnected from master for longer than allowed. Please check the \
                 'cluster-replica-validity-factor' configuration option."
            }
            Obstacle::WaitsForDelay => "Waiting the delay before I can start a new failover.",
            Obstacle::Expired => "Failover attempt expired.",
            Obstacle::WaitsForVotes => "Waiting for votes, but majority still not reached.",
        }
    }
}

/// The delay that all delays of an election are made of, in milliseconds.
fn delay_ms(facts: &Facts) -> u64 {
    (facts.config.cluster_node_timeout / TIMEOUTS_PER_DELAY).clamp(1, MOST_DELAY_MS)
}

/// How long each replica that has more of the data is waited for, in milliseconds.
fn rank_delay_ms(facts: &Facts) -> u64 {
    (facts.config.cluster_node_timeout / TIMEOUTS_PER_RANK).min(MOST_RANK_DELAY_MS)
}

impl Election {
    /// A new primary is followed: what was tried before is over.
    pub(super) fn forget_attempt(&mut self) {
        self.at_ms = None;
    }
}

impl Cluster {
    /// Takes the next step of a replica whose primary has failed, or that was told to take its place.
    pub(super) fn advance_election(&mut self, now: Now, facts: &Facts) {
        self.todo.remove(Todo::FAILOVER);
        let is_manual = self.manual.may_start();
        let Some(primary) = self.myself().primary.filter(|_| self.is_replica()) else { return };
        let is_wanted =
            self.nodes[primary].has_failed() && !facts.config.cluster_replica_no_failover;
        if !is_wanted && !is_manual {
            self.election.obstacle = None;
            return;
        }
        if !is_manual && self.data_is_too_old(facts) {
            return self.log_obstacle(Obstacle::DataTooOld, now);
        }
        let timeout_ms = facts.config.cluster_node_timeout.saturating_mul(2).max(LEAST_TIMEOUT_MS);
        if now.since(self.election.at_ms) > timeout_ms.saturating_mul(2) {
            return self.schedule_election(now, facts);
        }
        if !self.election.is_sent && !self.manual.is_going_on() {
            self.adjust_to_rank(facts);
        }
        if self.election.at_ms.is_some_and(|at| now.mono_ms < at) {
            self.log_obstacle(Obstacle::WaitsForDelay, now);
        } else if now.since(self.election.at_ms) > timeout_ms {
            self.log_obstacle(Obstacle::Expired, now);
        } else if !self.election.is_sent {
            self.ask_for_votes(facts);
        } else if self.election.votes >= self.health.quorum() {
            self.win(now, facts);
        } else {
            self.log_obstacle(Obstacle::WaitsForVotes, now);
        }
    }

    fn data_is_too_old(&self, facts: &Facts) -> bool {
        let config = facts.config;
        let timeout_ms = config.cluster_node_timeout;
        let factor = u64::from(config.cluster_replica_validity_factor);
        // That long it took at least to find the primary failing.
        let age_ms = match facts.data_age_ms {
            age_ms if age_ms > timeout_ms => age_ms - timeout_ms,
            age_ms => age_ms,
        };
        let ping_period_ms = u64::from(config.repl_ping_replica_period).saturating_mul(1000);
        let most_ms = ping_period_ms.saturating_add(timeout_ms.saturating_mul(factor));
        factor > 0 && age_ms > most_ms
    }

    fn schedule_election(&mut self, now: Now, facts: &Facts) {
        let is_manual = self.manual.is_going_on();
        let rank = if is_manual { 0 } else { self.rank(facts) };
        let delay_ms = match is_manual {
            true => 0,
            false => {
                let delay_ms = delay_ms(facts);
                // By chance, so that two do not ask at once.
                let chance_ms = self.rng.random_range(0..delay_ms);
                let others_ms =
                    rank * rank_delay_ms(facts) + self.shards_that_go_first() * delay_ms;
                delay_ms + chance_ms + others_ms
            }
        };
        let election = &mut self.election;
        (election.votes, election.is_sent, election.rank) = (0, false, rank);
        election.at_ms = Some(now.mono_ms + delay_ms);
        if is_manual {
            self.todo |= Todo::FAILOVER;
        }
        let offset = facts.offset;
        self.notice(format!(
            "Start of election delayed for {delay_ms} milliseconds (rank #{rank}, offset {offset})."
        ));
        // The other replicas learn how far this one's data goes.
        self.broadcast_pong(true, now, facts);
    }

    /// How many replicas of the same primary should go first: those with more of the data, of equal ones those with a
    /// smaller id.
    fn rank(&self, facts: &Facts) -> u64 {
        let myself = self.myself();
        let Some(primary) = self.primary_of(myself) else { return 0 };
        let goes_first = |node: &&super::Node| {
            !node.is_myself()
                && !node.flags.contains(NodeFlags::NO_FAILOVER)
                && (node.offset > facts.offset
                    || node.offset == facts.offset && node.id < myself.id)
        };
        self.replicas_of(primary).filter(goes_first).count() as u64
    }

    /// How many other primaries have failed whose replicas should ask first: votes are given one after the other.
    fn shards_that_go_first(&self) -> u64 {
        let mine = self.my_primary().id;
        let failed = self.nodes.iter().filter(|(_, node)| node.is_voter() && node.has_failed());
        failed.filter(|(_, node)| node.id < mine).count() as u64
    }

    fn adjust_to_rank(&mut self, facts: &Facts) {
        let rank = self.rank(facts);
        let before = std::mem::replace(&mut self.election.rank, rank);
        if rank == before {
            return;
        }
        let change = |ranks: u64| ranks * rank_delay_ms(facts);
        let at_ms = self.election.at_ms.unwrap_or(0);
        let moved = at_ms.saturating_add(change(rank)).saturating_sub(change(before));
        self.election.at_ms = Some(moved);
        let added = moved as i64 - at_ms as i64;
        self.notice(format!(
            "Replica rank updated to #{rank}, added {added} milliseconds of delay."
        ));
    }

    fn ask_for_votes(&mut self, facts: &Facts) {
        self.current_epoch = self.current_epoch.saturating_add(1);
        let epoch = self.current_epoch;
        self.election.epoch = epoch;
        self.election.is_sent = true;
        self.notice(format!("Starting a failover election for epoch {epoch}."));
        let mut header = self.header(facts);
        if self.manual.is_going_on() {
            header.message_flags |= MessageFlags::FORCE_ACK;
        }
        self.changed();
        self.todo |= Todo::SYNC;
        self.broadcast(header, Body::AuthRequest);
    }

    /// A primary has voted for this node.
    pub(super) fn receive_vote(&mut self, sender: NodeKey, header: &Header) {
        if self.nodes[sender].is_voter() && header.current_epoch >= self.election.epoch {
            self.election.votes += 1;
            self.todo |= Todo::FAILOVER;
        }
    }

    fn win(&mut self, now: Now, facts: &Facts) {
        self.notice("Failover election won: I'm the new master.".into());
        let epoch = self.election.epoch;
        if self.myself().config_epoch < epoch {
            self.nodes.myself_mut().config_epoch = epoch;
            self.notice(format!("configEpoch set to {epoch} after successful failover"));
        }
        self.replace_primary(now, facts);
    }

    /// Takes the primary's place: the epoch must be a new one already.
    pub(super) fn replace_primary(&mut self, now: Now, facts: &Facts) {
        let Some(old) = self.myself().primary.filter(|_| self.is_replica()) else { return };
        let me = self.nodes.my_key();
        self.set_as_primary(me);
        self.actions.push(super::Action::Promote);
        let slots: Vec<u16> = self.nodes[old].slots.iter().collect();
        let reason = SlotReason::TookOver { epoch: self.myself().config_epoch };
        slots.into_iter().for_each(|slot| self.set_owner(slot, Some(me), reason));
        self.update_health(now, facts);
        self.save(true);
        self.broadcast_pong(false, now, facts);
        self.reset_manual_failover();
    }

    /// Votes for a replica that asks for it, if it may be elected: once an epoch, and only for one whose primary has
    /// failed and that knows of no older slots than this node.
    pub(super) fn vote_if_due(
        &mut self,
        sender: NodeKey,
        request: &Header,
        now: Now,
        facts: &Facts,
    ) {
        if !self.myself().is_voter() {
            return;
        }
        let named = self.named(sender);
        if let Err(reason) = self.refuse_vote(sender, request, now, facts) {
            return self.warn(format!("Failover auth denied to {named}{reason}"));
        }
        let epoch = self.current_epoch;
        self.last_vote_epoch = epoch;
        if let Some(primary) = self.nodes[sender].primary {
            self.nodes[primary].voted_ms = Some(now.mono_ms);
        }
        // What was voted for must be known after a crash, so it is on the disk first.
        self.save(true);
        self.send_to(sender, Body::AuthAck, facts);
        self.notice(format!("Failover auth granted to {named} for epoch {epoch}"));
    }

    /// Why a replica is not voted for.
    fn refuse_vote(
        &self,
        sender: NodeKey,
        request: &Header,
        now: Now,
        facts: &Facts,
    ) -> Result<(), String> {
        let node = &self.nodes[sender];
        let (asked, current) = (request.current_epoch, self.current_epoch);
        if asked < current {
            return Err(format!(": reqEpoch ({asked}) < curEpoch({current})"));
        }
        if self.last_vote_epoch == current {
            return Err(format!(": already voted for epoch {current}"));
        }
        if node.is_primary() {
            return Err(": it is a master node".into());
        }
        let Some(primary) = self.primary_of(node) else {
            return Err(": I don't know its master".into());
        };
        let is_forced = request.message_flags.contains(MessageFlags::FORCE_ACK);
        if !primary.has_failed() && !is_forced {
            return Err(": its master is up".into());
        }
        let pause_ms = facts.config.cluster_node_timeout.saturating_mul(2);
        let since_ms = now.since(primary.voted_ms);
        if since_ms < pause_ms {
            let left = pause_ms - since_ms;
            return Err(format!(": can't vote about this master before {left} milliseconds"));
        }
        for slot in request.slots.iter().filter(|&slot| !self.slots.is_unclaimed(slot)) {
            let epoch = self.slot_owner(slot).map_or(0, |owner| owner.config_epoch);
            if epoch > request.config_epoch {
                let asked = request.config_epoch;
                return Err(format!(": slot {slot} epoch ({epoch}) > reqEpoch ({asked})"));
            }
        }
        Ok(())
    }

    fn log_obstacle(&mut self, obstacle: Obstacle, now: Now) {
        let is_known = self.election.obstacle == Some(obstacle);
        if is_known && now.since(self.election.obstacle_logged_ms) < RELOG_PERIOD_MS {
            return;
        }
        self.election.obstacle = Some(obstacle);
        self.election.obstacle_logged_ms = Some(now.mono_ms);
        self.notice(format!("Currently unable to failover: {}", obstacle.text()));
        if matches!(obstacle, Obstacle::WaitsForVotes | Obstacle::Expired) {
            let (quorum, votes) = (self.health.quorum(), self.election.votes);
            self.notice(format!(
                "Needed quorum: {quorum}. Number of votes received so far: {votes}"
            ));
        }
    }
}
