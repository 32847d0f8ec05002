//! What becomes of the drafts of a snapshot: a thread encodes, compresses and writes them, so that the loop does not.
//!
//! Drafts go by value through a channel; how many bytes of them wait is counted, since the walk that makes them has to
//! wait when the disk or a replica is slow. In a simulation there is no thread: there they are written when
//! [`DraftWriter::pump`] is called.
//!
//! A value whose elements come one by one is a record that must not be interrupted. While it is written, other drafts
//! are held back; and of several such values at a time, each has to wait for those that began before it. If such a
//! value is dropped before all of it has come, it is left to the thread, which goes through the rest in its turn.

use super::output::{Output, Plan};
use crate::ds::walked::{Heir, KeptBytes, Rest};
use crate::rdb::RdbWriter;
use crate::rdb::draft::Draft;
use crate::rdb::writer::{Records, WriterOptions};
use crate::sys::children::simulated;
use crate::sys::processors::Processors;
use crate::util::io_reason;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes drafted before they are handed to the thread.
pub(super) const CHUNK: usize = 64 * 1024;

/// What the walk and the writer have in common.
#[derive(Default)]
struct Queue {
    /// Bytes of drafts that have not been written, without those that are held back.
    bytes: AtomicUsize,
    /// Bytes of drafts that are held back.
    held: AtomicUsize,
    /// Bytes that values keep, as they were, of what has changed in them before its turn came.
    kept: KeptBytes,
    /// Values whose elements come one by one, so far.
    values: AtomicU64,
    /// When fewer bytes than this wait, the loop is to be woken; 0: it is not.
    wake_below: AtomicUsize,
    is_cancelled: Mutex<bool>,
    has_ended: AtomicBool,
}

enum Job {
    Write(Draft),
    /// A value is to come in parts; by its number.
    Begin(u64),
    Part(u64, Draft),
    /// What is left of it: it hands parts over when it is called.
    Rest(u64, Rest),
    End(u64),
    Finish,
}

/// Takes drafts, from whoever makes some.
#[derive(Clone)]
pub(super) struct Inlet {
    jobs: Sender<Job>,
    queue: Arc<Queue>,
}

impl Inlet {
    /// Hands a draft of whole records over, which do not rely on what came before. One that the writer does not take
    /// any more, because it has failed, is dropped.
    pub fn send(&self, draft: Draft) {
        self.send_job(draft.memory(), Job::Write(draft));
    }

    fn send_job(&self, bytes: usize, job: Job) {
        self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.jobs.send(job).is_err() {
            self.queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What counts the bytes that values keep.
    pub fn kept(&self) -> KeptBytes {
        self.queue.kept.clone()
    }

    /// For a value that comes in parts.
    pub fn begin(&self, options: WriterOptions) -> Parts {
        let number = self.queue.values.fetch_add(1, Ordering::Relaxed) + 1;
        self.send_job(0, Job::Begin(number));
        Parts { number, draft: Draft::new(options), inlet: self.clone() }
    }
}

/// A record that comes in parts, and has come to its end when this is dropped.
pub(super) struct Parts {
    number: u64,
    draft: Draft,
    inlet: Inlet,
}

impl Parts {
    /// Its number; values that began earlier have smaller ones.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Has the thread go through what is left of the value.
    pub fn heir(&self) -> Heir {
        let (inlet, number) = (self.inlet.clone(), self.number);
        Box::new(move |rest| inlet.send_job(0, Job::Rest(number, rest)))
    }

    fn send(&mut self) {
        let draft = self.draft.take();
        self.inlet.send_job(draft.memory(), Job::Part(self.number, draft));
    }

    fn send_if_full(&mut self) {
        if self.draft.memory() >= CHUNK {
            self.send();
        }
    }
}

impl Records for Parts {
    fn options(&self) -> &WriterOptions {
        self.draft.options()
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.draft.raw(bytes)?;
        self.send_if_full();
        Ok(())
    }

    fn long_string(&mut self, text: &[u8]) -> io::Result<()> {
        self.draft.long_string(text)?;
        self.send_if_full();
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.send();
        self.inlet.send_job(0, Job::End(self.number));
    }
}

/// The thread, as the loop knows it.
pub(super) struct DraftWriter {
    inlet: Inlet,
    outcome: Receiver<Result<(), String>>,
    /// In a simulation: what the thread would do.
    inline: Option<(Writing, Receiver<Job>)>,
}

impl DraftWriter {
    /// Starts it; `waker` wakes the loop. `id` tells temporary files apart.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        plan: Plan,
        id: &str,
        options: WriterOptions,
        waker: Option<Arc<mio::Waker>>,
        processors: Option<Processors>,
    ) -> io::Result<DraftWriter> {
        let ((jobs, inbox), (outbox, outcome)) = (channel(), channel());
        let queue = Arc::new(Queue::default());
        let mut writing = Writing {
            stage: Stage::Planned(plan, id.to_string(), options),
            queue: Arc::clone(&queue),
            waker,
            outbox,
            order: VecDeque::new(),
            held: BTreeMap::new(),
            rests: BTreeMap::new(),
            held_whole: Vec::new(),
            is_finishing: false,
        };
        let mut inline = None;
        if simulated::is_simulated() {
            inline = Some((writing, inbox));
        } else {
            let run = move || {
                writing.write(|may_wait| match may_wait {
                    true => inbox.recv().ok(),
                    false => inbox.try_recv().ok(),
                })
            };
            Processors::spawn(processors, "snapshot", run)?;
        }
        Ok(DraftWriter { inlet: Inlet { jobs, queue }, outcome, inline })
    }

    pub fn inlet(&self) -> Inlet {
        self.inlet.clone()
    }

    /// There are no more drafts.
    pub fn finish(&self) {
        // If nobody takes it, it has failed, and said so.
        let _ = self.inlet.jobs.send(Job::Finish);
    }

    /// Bytes of drafts that have not been written, without those that are held back.
    pub fn waiting(&self) -> usize {
        self.inlet.queue.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are held back until others have been written.
    pub fn held(&self) -> usize {
        let queue = &self.inlet.queue;
        queue.held.load(Ordering::Relaxed) + queue.kept.get()
    }

    /// Has the loop woken when fewer bytes wait.
    pub fn wake_below(&self, bytes: usize) {
        self.inlet.queue.wake_below.store(bytes, Ordering::SeqCst);
    }

    /// Writes what waits, if no thread does.
    pub fn pump(&mut self) {
        if let Some((writing, inbox)) = &mut self.inline {
            writing.write(|_| inbox.try_recv().ok());
        }
    }

    /// Whether it has come to an end.
    pub fn has_ended(&self) -> bool {
        self.inlet.queue.has_ended.load(Ordering::Relaxed)
    }

    /// How it ended, if it has; the error is for the log.
    pub fn outcome(&self) -> Option<Result<(), String>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("The snapshot's thread has ended".into())),
        }
    }

    /// Nobody wants it any more: from now on no file takes its place. It ends when it sees that.
    pub fn cancel(&self) {
        let is_cancelled = &self.inlet.queue.is_cancelled;
        *is_cancelled.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// The writer's own part.
struct Writing {
    stage: Stage,
    queue: Arc<Queue>,
    waker: Option<Arc<mio::Waker>>,
    outbox: Sender<Result<(), String>>,
    /// Values that come in parts, in the order in which they are to be written.
    order: VecDeque<u64>,
    /// What is held back of those that have to wait, and whether they have come to their end.
    held: BTreeMap<u64, (Vec<Draft>, bool)>,
    /// What is left of values that have been dropped.
    rests: BTreeMap<u64, Rest>,
    /// What is held back of whole records.
    held_whole: Vec<Draft>,
    /// All has come.
    is_finishing: bool,
}

enum Stage {
    Planned(Plan, String, WriterOptions),
    /// With what is to be said of an error.
    Open(RdbWriter<Output>, &'static str),
    Ended,
}

impl Writing {
    /// Does the jobs that come, until none does (`next` is told whether it may wait for one), or until the file has
    /// come to its end, with the last job or with an error.
    fn write(&mut self, mut next: impl FnMut(bool) -> Option<Job>) {
        while !matches!(self.stage, Stage::Ended) {
            let has_rest = self.order.front().is_some_and(|first| self.rests.contains_key(first));
            let done = match next(!has_rest) {
                None if !has_rest => return,
                _ if self.is_cancelled() => Err("Saving was called off".into()),
                Some(job) => self.take(job),
                None => {
                    self.go_through_rest();
                    Ok(())
                }
            };
            let outcome = match done {
                Ok(()) if self.is_finishing && self.order.is_empty() => self.finish(),
                Ok(()) => continue,
                Err(error) => Err(error),
            };
            self.stage = Stage::Ended;
            // Whoever does not ask any more does not want to know.
            let _ = self.outbox.send(outcome);
            self.queue.has_ended.store(true, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Goes on with the rest of the value that is being written: it hands over parts, which come as jobs.
    fn go_through_rest(&mut self) {
        if let Some(first) = self.order.front()
            && !self.rests.get_mut(first).is_some_and(|rest| rest())
        {
            self.rests.remove(first);
        }
    }

    fn is_cancelled(&self) -> bool {
        *self.queue.is_cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, which is opened when it is first asked for.
    fn open(&mut self) -> Result<(&mut RdbWriter<Output>, &'static str), String> {
        if let Stage::Planned(..) = self.stage
            && let Stage::Planned(plan, id, options) = mem::replace(&mut self.stage, Stage::Ended)
        {
            let output = plan.open(&id)?;
            let words = output.words();
            self.stage = Stage::Open(RdbWriter::new(output, options), words);
        }
        match &mut self.stage {
            Stage::Open(rdb, words) => Ok((rdb, words)),
            Stage::Planned(..) | Stage::Ended => Err("The snapshot has ended".into()),
        }
    }

    fn take(&mut self, job: Job) -> Result<(), String> {
        match job {
            Job::Begin(value) => self.order.push_back(value),
            Job::Write(draft) if self.order.is_empty() => self.write_sent(&draft)?,
            Job::Part(value, draft) if self.order.front() == Some(&value) => {
                self.write_sent(&draft)?;
            }
            Job::Write(draft) => {
                self.hold(&draft);
                self.held_whole.push(draft);
            }
            Job::Part(value, draft) => {
                self.hold(&draft);
                self.held.entry(value).or_default().0.push(draft);
            }
            Job::Rest(value, rest) => _ = self.rests.insert(value, rest),
            Job::End(value) => {
                self.held.entry(value).or_default().1 = true;
                self.write_on()?;
            }
            Job::Finish => self.is_finishing = true,
        }
        Ok(())
    }

    /// Writes what has been held back, as far as it need not be any more.
    fn write_on(&mut self) -> Result<(), String> {
        while let Some(first) = self.order.front()
            && let Some((parts, has_ended)) = self.held.get_mut(first)
        {
            let (parts, has_ended) = (mem::take(parts), *has_ended);
            parts.iter().try_for_each(|draft| self.write_held(draft))?;
            if !has_ended {
                break;
            }
            self.order.pop_front().map(|value| self.held.remove(&value));
            let whole = mem::take(&mut self.held_whole);
            whole.iter().try_for_each(|draft| self.write_held(draft))?;
        }
        Ok(())
    }

    fn write_sent(&mut self, draft: &Draft) -> Result<(), String> {
        self.write_draft(draft)?;
        self.waits_no_more(draft.memory());
        Ok(())
    }

    fn write_held(&mut self, draft: &Draft) -> Result<(), String> {
        self.write_draft(draft)?;
        self.queue.held.fetch_sub(draft.memory(), Ordering::Relaxed);
        Ok(())
    }

    fn hold(&mut self, draft: &Draft) {
        self.queue.held.fetch_add(draft.memory(), Ordering::Relaxed);
        self.waits_no_more(draft.memory());
    }

    fn write_draft(&mut self, draft: &Draft) -> Result<(), String> {
        let (rdb, words) = self.open()?;
        draft.write_to(rdb).map_err(|error| format!("{words}: {}", io_reason(&error)))
    }

    fn waits_no_more(&self, bytes: usize) {
        let left = self.queue.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if left < self.queue.wake_below.load(Ordering::SeqCst) {
            self.queue.wake_below.store(0, Ordering::SeqCst);
            self.wake();
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.open()?;
        let Stage::Open(rdb, words) = mem::replace(&mut self.stage, Stage::Ended) else {
            return Err("The snapshot has ended".into());
        };
        let finished = rdb.finish();
        let (output, _) = finished.map_err(|error| format!("{words}: {}", io_reason(&error)))?;
        output.finish(&self.queue.is_cancelled)
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            // The loop looks by itself, if later.
            let _ = waker.wake();
        }
    }
}
