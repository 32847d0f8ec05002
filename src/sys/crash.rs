//! Reports of what went wrong, in the log: a crash with the place where it happened (`crash-log-enabled`), a loop that
//! hangs (`watchdog-period`), and on `SIGALRM` where the server is just now. The words are Redis's; tools look for
//! them.
//!
//! All this is written by signal handlers, which may interrupt anything: they allocate nothing and take no lock.

use std::ffi::{CString, c_int, c_void};
use std::fmt;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// What ends a process that does wrong.
const CRASHES: [c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];
/// The longest line; what is beyond is cut off.
const LINE_LEN: usize = 1024;
/// At most so many calls are shown.
const MAX_FRAMES: usize = 100;

/// The path of the log as a C string that is never freed; null: standard output.
static LOG: AtomicPtr<libc::c_char> = AtomicPtr::new(ptr::null_mut());
/// A report is being written: what goes wrong now ends the process at once.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// From now on panics and `SIGALRM` are reported, to this file or to standard output; a panic ends the process.
pub fn install(log: Option<&Path>) {
    if let Some(path) = log.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok()) {
        LOG.store(path.into_raw(), Ordering::Relaxed);
    }
    if !cfg!(target_feature = "crt-static") {
        // The first call loads a library, which a handler must not.
        backtrace(|_| ());
    }
    handle(libc::SIGALRM, on_alarm as *const () as usize, libc::SA_RESTART);
    let inner = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report_panic(panic);
        inner(panic);
        // However the program was built: a server does not go on without one of its threads.
        std::process::abort();
    }));
}

/// Whether crashes are reported.
pub fn report_crashes(wanted: bool) {
    for signal in CRASHES {
        match wanted {
            true => handle(signal, on_crash as *const () as usize, libc::SA_RESETHAND),
            false => handle(signal, libc::SIG_DFL, 0),
        }
    }
}

/// Unless this is called again within so many milliseconds it is reported that the loop hangs; 0: it may.
pub fn schedule_watchdog(period_ms: u32) {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval {
            tv_sec: (period_ms / 1000).into(),
            tv_usec: (period_ms % 1000 * 1000).into(),
        },
    };
    // SAFETY: setitimer reads the struct, and is not asked to write the old value anywhere.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}

fn handle(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: an action of zeros is valid, and so is each of the handlers that this is called with: a default, or one
    // that does only what is allowed in a handler, on the stack kept for handlers if there is one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags | libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

extern "C" fn on_crash(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !REPORTING.swap(true, Ordering::Relaxed) {
        let report = Report::open();
        report.raw(format_args!(
            "\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n"
        ));
        // SAFETY: the kernel hands a handler of this kind a valid siginfo_t.
        let (code, address, pid, uid) =
            unsafe { ((*info).si_code, (*info).si_addr(), (*info).si_pid(), (*info).si_uid()) };
        let version = env!("CARGO_PKG_VERSION");
        report.line(format_args!("Aeolis {version} crashed by signal: {signal}, si_code: {code}"));
        if code <= 0 {
            report.line(format_args!("Killed by PID: {pid}, UID: {uid}"));
        } else if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
            report.line(format_args!("Accessing address: {address:p}"));
        }
        report.stack();
        report.raw(format_args!(
            "\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n"
        ));
    }
    // SAFETY: neither has preconditions. The default action ends the process as if nobody had listened.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

extern "C" fn on_alarm(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let report = Report::open();
    // SAFETY: the kernel hands a handler of this kind a valid siginfo_t. A timer's has nobody for its sender.
    let why = match unsafe { (*info).si_pid() } {
        0 => "--- WATCHDOG TIMER EXPIRED ---",
        _ => "Received SIGALRM",
    };
    report.line(format_args!("\n{why}"));
    report.stack();
    report.line(format_args!("--------\n"));
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let words = panic.payload();
    let text = match (words.downcast_ref::<&str>(), words.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "a panic without words",
    };
    let report = Report::open();
    report.line(format_args!("------------------------------------------------"));
    report.line(format_args!("!!! Software Failure. Press left mouse button to continue"));
    match panic.location() {
        Some(at) => {
            report.line(format_args!("Guru Meditation: {text} #{}:{}", at.file(), at.line()));
        }
        None => report.line(format_args!("Guru Meditation: {text}")),
    }
    report.line(format_args!("------------------------------------------------"));
}

/// The log, as a handler writes to it.
struct Report(c_int);

impl Report {
    fn open() -> Report {
        let path = LOG.load(Ordering::Relaxed);
        if path.is_null() {
            return Report(libc::STDOUT_FILENO);
        }
        let flags = libc::O_APPEND | libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
        // SAFETY: the path is a C string that is never freed.
        Report(unsafe { libc::open(path, flags, 0o644) })
    }

    /// Writes as it is.
    fn raw(&self, text: fmt::Arguments<'_>) {
        let mut buffer = [0; LINE_LEN];
        let mut rest = &mut buffer[..];
        // What does not fit is cut off.
        let _ = rest.write_fmt(text);
        let len = LINE_LEN - rest.len();
        // SAFETY: the buffer has at least so many bytes.
        unsafe { libc::write(self.0, buffer.as_ptr().cast(), len) };
    }

    /// Writes a line of the log, the way that a handler can: it does not know the calendar.
    fn line(&self, text: fmt::Arguments<'_>) {
        // SAFETY: time is not asked to write its answer anywhere else.
        let now = unsafe { libc::time(ptr::null_mut()) };
        self.raw(format_args!("{}:signal-handler ({now}) {text}\n", std::process::id()));
    }

    /// Writes which function called which.
    fn stack(&self) {
        self.raw(format_args!("\n------ STACK TRACE ------\n\nBacktrace:\n"));
        backtrace(|frames| self.frames(frames));
        self.raw(format_args!("\n------ STACK TRACE DONE ------\n"));
    }

    /// Says where in the program, wherever that was loaded, the frames are: the C library does not know a static one.
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    fn frames(&self, frames: &[*mut c_void]) {
        // SAFETY: every linker of ELF defines it, and nothing is read from it but its address.
        unsafe extern "C" {
            /// Where the program begins.
            safe static __executable_start: u8;
        }
        let start = (&raw const __executable_start).addr();
        for &frame in frames {
            let place = frame.addr().wrapping_sub(start);
            self.raw(format_args!("aeolis(+{place:#x})[{frame:p}]\n"));
        }
    }

    #[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
    fn frames(&self, frames: &[*mut c_void]) {
        // SAFETY: the frames are backtrace's, as many as it found.
        unsafe { libc::backtrace_symbols_fd(frames.as_ptr(), frames.len() as c_int, self.0) };
    }

    #[cfg(not(target_env = "gnu"))]
    fn frames(&self, _: &[*mut c_void]) {
        self.line(format_args!("Sorry: no support for backtrace()."));
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.0 > libc::STDERR_FILENO {
            // SAFETY: the descriptor is this report's own.
            unsafe { libc::close(self.0) };
        }
    }
}

/// Calls `with` with the places in the program where this thread is.
fn backtrace(with: impl FnOnce(&[*mut c_void])) {
    let mut frames = [ptr::null_mut(); MAX_FRAMES];
    #[cfg(target_env = "gnu")]
    // SAFETY: there is room for so many frames.
    let found = unsafe { libc::backtrace(frames.as_mut_ptr(), MAX_FRAMES as c_int) };
    #[cfg(not(target_env = "gnu"))]
    let found = 0;
    with(&frames[..usize::try_from(found).unwrap_or(0)]);
}
