//! Slow calls to the file system, made by a thread so that the loop does not wait for the disk.
//!
//! Jobs go by value through a channel, in order; what comes back is the outcome of each. The loop is woken then, since
//! somebody may wait to hear that something is durable.

use crate::sys::processors::Processors;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What is to be done.
enum Job {
    /// Makes a file durable; `offset` is what the caller knows it by.
    Fsync { file: File, offset: u64 },
    /// Makes a file that nobody writes to any more durable, and closes it.
    FsyncAndClose { file: File, offset: u64 },
    /// Closes a file that has no name any more, which frees its blocks.
    Close(File),
}

/// A file was made durable, or could not be.
#[derive(Debug)]
pub struct Fsynced {
    /// As it was asked for.
    pub offset: u64,
    pub outcome: io::Result<()>,
    /// It is still written to: the caller counts it as pending.
    is_current: bool,
}

struct Worker {
    jobs: Sender<Job>,
    done: Receiver<Fsynced>,
}

/// The thread, which is started with the first job.
#[derive(Default)]
pub struct Bio {
    worker: Option<Worker>,
    waker: Option<Arc<mio::Waker>>,
    processors: Option<Processors>,
    /// Jobs under way, and those of them that sync the file that is written to.
    pending: usize,
    pending_fsyncs: usize,
}

impl Bio {
    /// Has the loop woken when a file has become durable.
    pub fn set_waker(&mut self, waker: mio::Waker) {
        self.waker = Some(Arc::new(waker));
    }

    /// Has the thread run on these processors.
    pub fn set_processors(&mut self, processors: Option<Processors>) {
        self.processors = processors;
    }

    /// What wakes the loop.
    pub fn waker(&self) -> Option<Arc<mio::Waker>> {
        self.waker.clone()
    }

    /// Whether a sync of the file that is written to is under way.
    pub fn is_syncing(&self) -> bool {
        self.pending_fsyncs > 0
    }

    pub fn pending_fsyncs(&self) -> usize {
        self.pending_fsyncs
    }

    /// Whether everything that was handed over is durable.
    pub fn is_idle(&self) -> bool {
        self.pending == 0
    }

    /// Makes a file durable.
    ///
    /// # Errors
    /// If there is no handle or no thread left for it.
    pub fn fsync(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let file = file.try_clone()?;
        self.send(Job::Fsync { file, offset })?;
        self.pending += 1;
        self.pending_fsyncs += 1;
        Ok(())
    }

    /// Makes a file durable and closes it.
    pub fn fsync_and_close(&mut self, file: File, offset: u64) {
        if self.send(Job::FsyncAndClose { file, offset }).is_ok() {
            self.pending += 1;
        }
    }

    /// Deletes a file, if it is there. Its name is gone at once, and may be used again; freeing the blocks of a large
    /// one takes its time.
    pub fn unlink(&mut self, path: &Path) {
        let file = File::open(path);
        let removed = fs::remove_file(path);
        if let (Ok(file), Ok(())) = (file, removed) {
            // Without the thread it is closed here and now.
            let _ = self.send(Job::Close(file));
        }
    }

    /// What has become durable since the last call.
    pub fn finished(&mut self) -> Vec<Fsynced> {
        let Some(worker) = &self.worker else { return Vec::new() };
        let done: Vec<Fsynced> = worker.done.try_iter().collect();
        self.settle(&done);
        done
    }

    /// Waits until everything under way is durable.
    pub fn drain(&mut self) -> Vec<Fsynced> {
        let Some(worker) = &self.worker else { return Vec::new() };
        let done: Vec<Fsynced> = worker.done.iter().take(self.pending).collect();
        self.settle(&done);
        done
    }

    fn settle(&mut self, done: &[Fsynced]) {
        self.pending -= done.len();
        self.pending_fsyncs -= done.iter().filter(|job| job.is_current).count();
    }

    fn send(&mut self, job: Job) -> io::Result<()> {
        if self.worker.is_none() {
            self.worker = Some(start(self.waker.clone(), self.processors)?);
        }
        let gone = || io::Error::other("the background thread has ended");
        self.worker.as_ref().ok_or_else(gone)?.jobs.send(job).map_err(|_| gone())
    }
}

fn start(waker: Option<Arc<mio::Waker>>, processors: Option<Processors>) -> io::Result<Worker> {
    let (jobs, inbox) = channel();
    let (outbox, done) = channel();
    let run = move || {
        for job in inbox {
            let (file, offset, is_current) = match job {
                Job::Fsync { file, offset } => (file, offset, true),
                Job::FsyncAndClose { file, offset } => (file, offset, false),
                Job::Close(file) => {
                    drop(file);
                    continue;
                }
            };
            let outcome = file.sync_data();
            drop(file);
            if outbox.send(Fsynced { offset, outcome, is_current }).is_err() {
                return;
            }
            if let Some(waker) = &waker {
                // The loop looks by itself, if later.
                let _ = waker.wake();
            }
        }
    };
    Processors::spawn(processors, "bio_aof", run)?;
    Ok(Worker { jobs, done })
}
