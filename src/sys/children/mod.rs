//! Child processes: fork, wait, kill. [`simulated`] has those that are none.

pub mod simulated;

use super::process;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::io;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    Exited(i32),
    Signaled(i32),
}

/// Forks; the child runs `body`, and exits with what it answers, without running anything else of this process. `body`
/// is told its process id. It has the standard streams and the descriptors `inherited`, and no others: it holds no port
/// and no connection if it outlives the server. What ends the server does not end it.
///
/// # Errors
/// What fork(2) reports.
pub fn fork_child(inherited: &[i32], body: impl FnOnce(i32) -> i32) -> io::Result<i32> {
    if simulated::is_simulated() {
        return Ok(simulated::run(body));
    }
    // SAFETY: the process has no lock that another thread could hold in the child: background threads only free
    // memory, and the allocator's locks survive a fork. The child ends in _exit.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_all_but(inherited);
            ignore_signals();
            let code = body(std::process::id() as i32);
            // SAFETY: _exit has no preconditions; destructors and exit handlers belong to the parent.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}

/// Closes all descriptors above the standard streams but these. Only for a child that ends in _exit: their owners are
/// never dropped there.
fn close_all_but(kept: &[i32]) {
    let mut kept: Vec<u32> = kept.iter().map(|&fd| fd as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for &fd in kept.iter().chain(&[u32::MAX]) {
        if fd > first {
            // SAFETY: close_range(2) takes no pointers; nobody uses these descriptors in this process any more. A
            // kernel that does not know the call leaves them open, which does no harm while the server lives.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// A terminal and a supervisor send their signals to all processes of a group. It is the server that ends its child, if
/// it is to end.
fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: SIG_IGN is a valid disposition for these signals.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Whether a child has ended, without waiting for it.
pub fn try_wait(pid: i32) -> Option<ChildEnd> {
    if let Some(end) = simulated::try_wait(pid) {
        return end;
    }
    match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
        Ok(None) => None,
        Ok(Some((_, status))) => Some(match status.terminating_signal() {
            Some(signal) => ChildEnd::Signaled(signal),
            None => ChildEnd::Exited(status.exit_status().unwrap_or(255)),
        }),
        // Not ours any more: it must have ended.
        Err(_) => Some(ChildEnd::Exited(255)),
    }
}

/// Waits until a child has ended.
pub fn wait(pid: i32) {
    if simulated::try_wait(pid).is_some() {
        return;
    }
    while matches!(waitpid(Pid::from_raw(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
}

/// Sends a signal to a process.
pub fn kill(pid: i32, signal: i32) {
    if simulated::kill(pid) {
        return;
    }
    process::send_signal(pid, signal);
}
