//! This process: its limits, its usage, its pipes and its terminal.

use rustix::param::page_size;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::system::{sysinfo, uname};
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;

/// Sends this process a signal.
pub fn raise(signal: i32) {
    send_signal(std::process::id().cast_signed(), signal);
}

/// Sends a process a signal. Best effort: it may have ended.
pub(super) fn send_signal(pid: i32, signal: i32) {
    if let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(signal)) {
        let _ = kill_process(pid, signal);
    }
}

/// Lets a pipe hold a megabyte, so that its writer seldom waits. Best effort: an unprivileged user's share is limited.
pub fn widen_pipe(pipe: &impl AsFd) {
    let _ = fcntl_setpipe_size(pipe, 1 << 20);
}

/// CPU time in seconds: user and system.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    pub user: f64,
    pub system: f64,
}

/// What `who` (a constant of getrusage(2)) has used.
fn usage(who: libc::c_int) -> libc::rusage {
    // SAFETY: a rusage of zeros is valid, and getrusage writes only into it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    }
}

/// The CPU time of this process, of its ended children, and of this thread.
pub fn cpu_times() -> [CpuTime; 3] {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN, libc::RUSAGE_THREAD].map(|who| {
        let usage = usage(who);
        let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        CpuTime { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) }
    })
}

/// Raises the limit of open files to at least `wanted`, as far as allowed; answers the limit in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (now, most) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if now >= wanted {
        return now;
    }
    let set = |current: u64, maximum: u64| {
        let maximum = Some(maximum).filter(|maximum| *maximum < u64::MAX);
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).map(|()| current)
    };
    set(wanted, most.max(wanted)).or_else(|_| set(wanted.min(most), most)).unwrap_or(now)
}

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    pub total: u64,
    /// The part that is a copy of files: the program and its libraries.
    pub files: u64,
}

/// What this process holds now; zeros if the system does not tell.
pub fn resident_memory() -> Resident {
    // Seven numbers, in one read.
    let mut text = [0; 192];
    let len = File::open("/proc/self/statm").and_then(|mut statm| statm.read(&mut text));
    let statm = str::from_utf8(&text[..len.unwrap_or(0)]).unwrap_or_default();
    let mut bytes =
        statm.split(' ').skip(1).map(|n| n.parse::<u64>().unwrap_or(0) * page_size() as u64);
    let mut next = || bytes.next().unwrap_or(0);
    Resident { total: next(), files: next() }
}

/// The system's name and release, and the machine's: `Linux 6.1.0 x86_64`.
pub fn system_name() -> String {
    let system = uname();
    [system.sysname(), system.release(), system.machine()].map(CStr::to_string_lossy).join(" ")
}

/// All memory of the machine, in bytes.
pub fn total_memory() -> u64 {
    let info = sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Private memory that this process has written to since it was forked (or in all), in bytes.
pub fn private_dirty() -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    smaps
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kb| kb.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Detaches from the terminal: the parent exits, the child goes on in a session of its own.
///
/// # Errors
/// What fork(2) reports.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: called before any thread is started; the parent only exits.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            _ => libc::_exit(0),
        }
    }
    // Neither is a reason not to go on.
    let _ = setsid();
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null).and(dup2_stdout(&null)).and(dup2_stderr(&null));
    }
    Ok(())
}

/// Keeps the kernel from backing memory with huge pages, or lets it: one written byte would copy two megabytes while a
/// child shares them, and zeroing one takes milliseconds.
pub fn allow_huge_pages(allowed: bool) {
    // SAFETY: PR_SET_THP_DISABLE takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, libc::c_ulong::from(!allowed), 0, 0, 0) };
}
