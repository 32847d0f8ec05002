//! This process: its limits, its usage, its pipes and its terminal.

use std::io;
use std::os::fd::AsRawFd;

/// Sends this process a signal.
pub fn raise(signal: i32) {
    // SAFETY: kill(2) has no memory preconditions.
    unsafe { libc::kill(std::process::id().cast_signed(), signal) };
}

/// Lets a pipe hold a megabyte, so that its writer seldom waits. Best effort: an unprivileged user's share is limited.
pub fn widen_pipe(pipe: &impl AsRawFd) {
    // SAFETY: the call has no memory preconditions.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
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

/// How often this thread has lost its processor though it had more to do.
pub fn involuntary_switches() -> i64 {
    usage(libc::RUSAGE_THREAD).ru_nivcsw
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
    // SAFETY: the calls read and write the local struct only.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        if limit.rlim_cur >= wanted {
            return limit.rlim_cur;
        }
        let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            return wanted;
        }
        let capped =
            libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &capped) == 0 {
            capped.rlim_cur
        } else {
            limit.rlim_cur
        }
    }
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
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut bytes = statm.split(' ').skip(1).map(|n| n.parse().unwrap_or(0) * page_size());
    let mut next = || bytes.next().unwrap_or(0);
    Resident { total: next(), files: next() }
}

/// All memory of the machine, in bytes.
pub fn total_memory() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).unwrap_or(0) * page_size()
}

fn page_size() -> u64 {
    // SAFETY: sysconf has no preconditions.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
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
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            for fd in 0..3 {
                libc::dup2(null, fd);
            }
            if null > 2 {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Keeps the kernel from backing memory with huge pages: one written byte would copy two megabytes while a child shares
/// them, and zeroing one takes milliseconds.
pub fn disable_huge_pages() {
    // SAFETY: PR_SET_THP_DISABLE takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}
