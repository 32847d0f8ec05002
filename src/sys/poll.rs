//! Waiting for one file descriptor, where no event loop runs.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Waits until `fd` takes bytes; `false`: it did not in that time.
///
/// # Errors
/// What poll(2) reports.
pub fn wait_writable(fd: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait(fd, PollFlags::OUT, timeout)
}

/// Waits until `fd` has bytes, or an end; `false`: it had none in that time.
///
/// # Errors
/// What poll(2) reports.
pub fn wait_readable(fd: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait(fd, PollFlags::IN, timeout)
}

fn wait(fd: &impl AsFd, events: PollFlags, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout).ok();
    loop {
        match poll(&mut [PollFd::new(fd, events)], timeout.as_ref()) {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome? > 0),
        }
    }
}
