//! Waiting for one file descriptor, where no event loop runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Waits until `fd` takes bytes; `false`: it did not in that time.
///
/// # Errors
/// What poll(2) reports.
pub fn wait_writable(fd: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait(fd, libc::POLLOUT, timeout)
}

/// Waits until `fd` has bytes, or an end; `false`: it had none in that time.
///
/// # Errors
/// What poll(2) reports.
pub fn wait_readable(fd: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait(fd, libc::POLLIN, timeout)
}

fn wait(fd: &impl AsFd, events: i16, timeout: Duration) -> io::Result<bool> {
    let mut wanted = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    loop {
        // SAFETY: `wanted` is one valid pollfd that lives through the call, and its descriptor is borrowed.
        match unsafe { libc::poll(&mut wanted, 1, millis) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            n => return Ok(n > 0),
        }
    }
}
