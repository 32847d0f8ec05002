//! What becomes of the drafts of a snapshot: a thread encodes, compresses and writes them, so that the loop does not.
//!
//! Drafts go by value through a channel; how many bytes of them wait is counted, since the walk that makes them has to
//! wait when the disk or a replica is slow. In a simulation there is no thread: there they are written when
//! [`DraftWriter::pump`] is called.

use super::output::{Output, Plan};
use crate::rdb::RdbWriter;
use crate::rdb::draft::Draft;
use crate::rdb::writer::WriterOptions;
use crate::sys::children::simulated;
use crate::util::io_reason;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What the walk and the writer have in common.
#[derive(Default)]
struct Queue {
    /// Bytes of drafts that have not been written.
    bytes: AtomicUsize,
    /// When fewer bytes than this wait, the loop is to be woken; 0: it is not.
    wake_below: AtomicUsize,
    is_cancelled: Mutex<bool>,
    has_ended: AtomicBool,
}

enum Job {
    Write(Draft),
    Finish,
}

/// Takes drafts, from whoever makes some.
#[derive(Clone)]
pub(super) struct Inlet {
    jobs: Sender<Job>,
    queue: Arc<Queue>,
}

impl Inlet {
    /// Hands a draft over. One that the writer does not take any more, because it has failed, is dropped.
    pub fn send(&self, draft: Draft) {
        let bytes = draft.memory();
        self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.jobs.send(Job::Write(draft)).is_err() {
            self.queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
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
    ) -> io::Result<DraftWriter> {
        let ((jobs, inbox), (outbox, outcome)) = (channel(), channel());
        let queue = Arc::new(Queue::default());
        let mut writing = Writing {
            stage: Stage::Planned(plan, id.to_string(), options),
            queue: Arc::clone(&queue),
            waker,
            outbox,
        };
        let mut inline = None;
        if simulated::is_simulated() {
            inline = Some((writing, inbox));
        } else {
            let run = move || writing.write(inbox.iter());
            thread::Builder::new().name("snapshot".into()).spawn(run)?;
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

    /// Bytes of drafts that have not been written.
    pub fn waiting(&self) -> usize {
        self.inlet.queue.bytes.load(Ordering::Relaxed)
    }

    /// Has the loop woken when fewer bytes wait.
    pub fn wake_below(&self, bytes: usize) {
        self.inlet.queue.wake_below.store(bytes, Ordering::SeqCst);
    }

    /// Writes what waits, if no thread does.
    pub fn pump(&mut self) {
        if let Some((writing, inbox)) = &mut self.inline {
            writing.write(inbox.try_iter());
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
}

enum Stage {
    Planned(Plan, String, WriterOptions),
    /// With what is to be said of an error.
    Open(RdbWriter<Output>, &'static str),
    Ended,
}

impl Writing {
    /// Does these jobs; the file has come to its end with the last one, or with an error.
    fn write(&mut self, jobs: impl Iterator<Item = Job>) {
        for job in jobs {
            let outcome = match job {
                _ if self.is_cancelled() => Some(Err("Saving was called off".into())),
                Job::Write(draft) => self.write_draft(&draft).err().map(Err),
                Job::Finish => Some(self.finish()),
            };
            if let Some(outcome) = outcome {
                self.stage = Stage::Ended;
                // Whoever does not ask any more does not want to know.
                let _ = self.outbox.send(outcome);
                self.queue.has_ended.store(true, Ordering::Relaxed);
                self.wake();
                return;
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        *self.queue.is_cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, which is opened when it is first asked for.
    fn open(&mut self) -> Result<(&mut RdbWriter<Output>, &'static str), String> {
        if let Stage::Planned(..) = self.stage
            && let Stage::Planned(plan, id, options) =
                std::mem::replace(&mut self.stage, Stage::Ended)
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

    fn write_draft(&mut self, draft: &Draft) -> Result<(), String> {
        let (rdb, words) = self.open()?;
        draft.write_to(rdb).map_err(|error| format!("{words}: {}", io_reason(&error)))?;
        let bytes = draft.memory();
        let left = self.queue.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if left < self.queue.wake_below.load(Ordering::SeqCst) {
            self.queue.wake_below.store(0, Ordering::SeqCst);
            self.wake();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.open()?;
        let Stage::Open(rdb, words) = std::mem::replace(&mut self.stage, Stage::Ended) else {
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
