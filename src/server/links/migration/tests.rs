//! Both sides of a move, without sockets: what each of them hears, and what it wants done.

use super::job::{Act, Facts, Job, Message, Operation, Owner, State};
use crate::bus::NodeId;
use crate::util::slot_set::SlotSet;

const ALL_MESSAGES: [Message; 6] = [
    Message::Ack,
    Message::SnapshotEof,
    Message::RequestPause,
    Message::Paused,
    Message::RequestFailover,
    Message::FailoverGranted,
];
const EXPORTING: [State; 8] = [
    State::Connecting,
    State::ReadAuth,
    State::ReadEstablish,
    State::Snapshotting,
    State::Streaming,
    State::WaitToPause,
    State::Paused,
    State::Granted,
];
const IMPORTING: [State; 4] =
    [State::WaitAck, State::ReceiveSnapshot, State::WaitForPaused, State::FailoverRequested];
const START_MS: i64 = 1_000_000;
const TIMEOUT_MS: i64 = 60_000;
const PAUSE_MS: i64 = 10_000;

fn source() -> NodeId {
    NodeId::from_random([1; 20])
}

fn target() -> NodeId {
    NodeId::from_random([2; 20])
}

fn facts() -> Facts {
    Facts {
        now_ms: START_MS,
        is_primary: true,
        pending_bytes: 0,
        timeout_ms: TIMEOUT_MS,
        pause_ms: PAUSE_MS,
        is_paused: true,
    }
}

fn job(operation: Operation) -> Job {
    let slots = (SlotSet::from_iter([7, 8]), "7-8".to_string());
    Job::new(operation, "name".into(), slots, (Some(source()), Some(target())), START_MS)
}

/// A job that has got that far.
fn job_in(operation: Operation, state: State) -> Job {
    let mut job = job(operation);
    job.state = state;
    if matches!(state, State::Paused | State::Granted) {
        job.pause_until_ms = Some(START_MS + PAUSE_MS);
    }
    job
}

/// What is to be done beside what is logged.
fn without_logs(acts: Vec<Act>) -> Vec<Act> {
    acts.into_iter().filter(|act| !matches!(act, Act::Log(..))).collect()
}

fn hear(job: &mut Job, message: Message) -> Vec<Act> {
    without_logs(job.heard(message, &facts()))
}

#[test]
fn a_source_hands_its_slots_over_step_by_step() {
    let mut job = job(Operation::Export);
    assert_eq!(without_logs(job.tick(&facts())), [Act::Connect]);
    assert!(!job.wants_writes());
    assert_eq!(without_logs(job.authenticated(&facts())), []);
    assert_eq!(without_logs(job.established(&facts())), [Act::Send(Message::Ack)]);
    assert!(job.wants_writes());
    assert_eq!(without_logs(job.snapshot_sent(&facts())), [Act::Send(Message::SnapshotEof)]);
    let until_ms = START_MS + PAUSE_MS;
    let paused = [Act::Pause { until_ms }, Act::Send(Message::Paused)];
    assert_eq!(hear(&mut job, Message::RequestPause), paused);
    let granted = [Act::Pause { until_ms }, Act::Send(Message::FailoverGranted)];
    assert_eq!(hear(&mut job, Message::RequestFailover), granted);
    assert!(job.pauses() && job.wants_writes());
    let done = without_logs(job.owner_changed(Owner::Node(target()), &facts()));
    assert_eq!(done, [Act::Close, Act::Unpause]);
    assert_eq!(job.state, State::Success);
    assert!(!job.pauses() && !job.wants_writes());
}

#[test]
fn a_target_takes_slots_over_when_it_was_granted() {
    let mut job = job(Operation::Import);
    assert_eq!(hear(&mut job, Message::Ack), []);
    assert_eq!(hear(&mut job, Message::SnapshotEof), [Act::Send(Message::RequestPause)]);
    assert_eq!(hear(&mut job, Message::Paused), [Act::Send(Message::RequestFailover)]);
    let done = [Act::TakeOver, Act::Close, Act::EndImport];
    assert_eq!(hear(&mut job, Message::FailoverGranted), done);
    assert_eq!(job.state, State::Success);
}

#[test]
fn writes_are_held_back_when_little_is_on_its_way() {
    let mut job = job_in(Operation::Export, State::Streaming);
    let busy = Facts { pending_bytes: 1 << 20, ..facts() };
    assert_eq!(without_logs(job.heard(Message::RequestPause, &busy)), []);
    assert_eq!(without_logs(job.tick(&busy)), []);
    assert!(!job.pauses() && job.state == State::WaitToPause);
    let until_ms = START_MS + PAUSE_MS;
    let paused = [Act::Pause { until_ms }, Act::Send(Message::Paused)];
    assert_eq!(without_logs(job.tick(&facts())), paused);
}

/// Each message in each state: whatever is not expected ends the move, and nothing is taken over or granted for it.
#[test]
fn what_is_not_expected_ends_a_move() {
    let expected = [
        (State::Streaming, Message::RequestPause),
        (State::Paused, Message::RequestFailover),
        (State::ReceiveSnapshot, Message::SnapshotEof),
        (State::WaitForPaused, Message::Paused),
        (State::FailoverRequested, Message::FailoverGranted),
    ];
    let exporting = EXPORTING.map(|state| (Operation::Export, state));
    let importing = IMPORTING.map(|state| (Operation::Import, state));
    for (operation, state) in exporting.into_iter().chain(importing) {
        for message in ALL_MESSAGES {
            let mut job = job_in(operation, state);
            let acts = hear(&mut job, message);
            let is_expected = message == Message::Ack || expected.contains(&(state, message));
            assert_eq!(job.state == State::Failed, !is_expected, "{message:?} in {state:?}");
            if !is_expected {
                let given = [Act::TakeOver, Act::Send(Message::FailoverGranted)];
                assert!(acts.contains(&Act::Close), "{message:?} in {state:?}: {acts:?}");
                assert!(!acts.iter().any(|act| given.contains(act)), "{message:?} in {state:?}");
                assert_eq!(acts.contains(&Act::CleanUp), operation == Operation::Import);
            }
        }
    }
}

#[test]
fn nothing_is_granted_once_clients_write_again() {
    let unpaused = Facts { is_paused: false, ..facts() };
    let late = Facts { now_ms: START_MS + PAUSE_MS + 1, ..facts() };
    for facts in [unpaused, late] {
        let mut job = job_in(Operation::Export, State::Paused);
        let acts = without_logs(job.heard(Message::RequestFailover, &facts));
        assert_eq!(acts, [Act::Close, Act::Unpause]);
        assert_eq!(job.message.as_deref(), Some("Unpaused before failover completed"));
        let mut job = job_in(Operation::Export, State::Paused);
        assert_eq!(without_logs(job.tick(&facts)), [Act::Close, Act::Unpause]);
        assert_eq!(job.message.as_deref(), Some("Timed out before streaming completed"));
        // What was granted may have happened: that is said.
        let mut job = job_in(Operation::Export, State::Granted);
        let acts = job.tick(&facts);
        let warns =
            |act: &Act| matches!(act, Act::Log(_, text) if text.starts_with("Write loss risk!"));
        assert!(acts.iter().any(warns), "{acts:?}");
        assert_eq!(job.state, State::Failed);
    }
}

#[test]
fn silence_ends_a_move_but_for_one_that_was_granted() {
    let silent = Facts { now_ms: START_MS + TIMEOUT_MS + 1, ..facts() };
    let exporting = EXPORTING.map(|state| (Operation::Export, state));
    let importing = IMPORTING.map(|state| (Operation::Import, state));
    for (operation, state) in exporting.into_iter().chain(importing) {
        let mut job = job_in(operation, state);
        // Writes are held back for as long as it takes.
        job.pause_until_ms = job.pause_until_ms.map(|_| i64::MAX);
        job.tick(&silent);
        assert_eq!(job.state == State::Failed, state != State::Granted, "{state:?}");
    }
}

#[test]
fn a_lost_connection_ends_a_move_but_for_one_that_was_granted() {
    let exporting = EXPORTING.map(|state| (Operation::Export, state));
    let importing = IMPORTING.map(|state| (Operation::Import, state));
    for (operation, state) in exporting.into_iter().chain(importing) {
        let mut job = job_in(operation, state);
        job.client = Some((1, 2));
        job.lost(&facts());
        assert_eq!(job.client, None);
        assert_eq!(job.state == State::Failed, state != State::Granted, "{state:?}");
    }
}

#[test]
fn what_a_target_got_is_deleted_before_it_is_shown() {
    let mut job = job_in(Operation::Import, State::ReceiveSnapshot);
    let acts = without_logs(job.fail("why", &facts()));
    assert_eq!(acts, [Act::Close, Act::CleanUp, Act::Close, Act::EndImport]);
    assert_eq!((job.state, job.message.as_deref()), (State::Failed, Some("why")));
    // On a replica that is the primary's to do.
    let mut job = job_in(Operation::Import, State::OnPrimary);
    let replica = Facts { is_primary: false, ..facts() };
    let acts = without_logs(job.finish(State::Failed, None, &replica));
    assert_eq!(acts, [Act::Close, Act::EndImport]);
}

#[test]
fn a_target_that_becomes_a_replica_leaves_the_move_to_its_primary() {
    let replica = Facts { is_primary: false, ..facts() };
    for state in IMPORTING.into_iter().filter(|state| *state != State::WaitAck) {
        let mut job = job_in(Operation::Import, state);
        assert_eq!(without_logs(job.tick(&replica)), [Act::Close]);
        assert_eq!(job.state, State::OnPrimary);
        assert_eq!(without_logs(job.tick(&replica)), []);
        // A replica that takes its primary's place can't go on with it.
        let acts = without_logs(job.tick(&facts()));
        assert_eq!(acts, [Act::Close, Act::CleanUp, Act::Close, Act::EndImport]);
        assert_eq!(job.message.as_deref(), Some("A failover occurred during slot import"));
    }
}

#[test]
fn a_move_ends_when_its_slots_have_another_owner() {
    let other = Owner::Node(NodeId::from_random([3; 20]));
    let (source, target) = (Owner::Node(source()), Owner::Node(target()));
    let rows = [
        (Operation::Export, State::Streaming, Owner::Myself, State::Streaming),
        (Operation::Export, State::Granted, target, State::Success),
        (Operation::Export, State::Streaming, other, State::Failed),
        (Operation::Export, State::Granted, Owner::NoSingle, State::Failed),
        (Operation::Import, State::ReceiveSnapshot, source, State::ReceiveSnapshot),
        (Operation::Import, State::FailoverRequested, Owner::Myself, State::Failed),
        (Operation::Import, State::ReceiveSnapshot, other, State::Failed),
        (Operation::Import, State::ReceiveSnapshot, Owner::NoSingle, State::Failed),
    ];
    for (operation, state, owner, outcome) in rows {
        let mut job = job_in(operation, state);
        job.owner_changed(owner, &facts());
        assert_eq!(job.state, outcome, "{operation:?} in {state:?}: {owner:?}");
    }
}

#[test]
fn a_move_that_is_over_hears_nothing() {
    for state in [State::Success, State::Failed, State::Cancelled] {
        for operation in [Operation::Export, Operation::Import] {
            let mut job = job_in(operation, state);
            for message in ALL_MESSAGES {
                assert_eq!(job.heard(message, &facts()), []);
            }
            assert_eq!(job.owner_changed(Owner::NoSingle, &facts()), []);
            assert_eq!(job.tick(&facts()), []);
            assert_eq!(job.state, state);
        }
    }
}
