//! The process's title: what `ps` and `/proc/PID/cmdline` show.
//!
//! The kernel shows the memory in which it once put the arguments, and, as long as the last byte of it is not 0, the
//! environment behind them too. So a title is written there, once the environment has moved to the heap.

use std::ffi::OsString;
use std::sync::OnceLock;

/// The memory of arguments and environment, and the first argument, which the title begins with.
struct Area {
    start: usize,
    len: usize,
    name: String,
}

static AREA: OnceLock<Area> = OnceLock::new();

/// Makes room for titles. Without effect once there is a second thread, which might look at the environment while it is
/// moved.
pub fn init() {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    let Some((start, end)) = arguments_and_environment().filter(|_| alone) else { return };
    let name = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (name, value) in variables {
        // SAFETY: there is one thread. The C library keeps the new text on the heap.
        unsafe { std::env::set_var(name, value) };
    }
    // Titles must not be set twice at once, and are not: one thread owns everything.
    _ = AREA.set(Area { start, len: end - start, name });
}

/// The name that the process was started under.
pub fn name() -> &'static str {
    AREA.get().map_or("aeolis", |area| &area.name)
}

/// Sets the title; what does not fit is cut off.
pub fn set(title: &str) {
    let Some(area) = AREA.get() else { return };
    let shown = &title.as_bytes()[..title.len().min(area.len.saturating_sub(1))];
    let memory = area.start as *mut u8;
    // SAFETY: the kernel mapped this memory for the process, writable and for its whole life; since `init` nobody uses
    // what was there. `shown` is shorter than the area, so that a 0 ends it.
    unsafe {
        memory.write_bytes(0, area.len);
        memory.copy_from_nonoverlapping(shown.as_ptr(), shown.len());
    }
}

/// Where the kernel put the arguments, and where the environment behind them ends (proc(5): fields 48 to 51 of `stat`).
fn arguments_and_environment() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may contain anything but ends with the last parenthesis, as field 2.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut addresses = fields.split_whitespace().skip(48 - 3).map(str::parse::<usize>);
    let mut next = || addresses.next()?.ok().filter(|&address| address != 0);
    let (arg_start, arg_end, env_start, env_end) = (next()?, next()?, next()?, next()?);
    (arg_start < arg_end && arg_end == env_start && env_start <= env_end)
        .then_some((arg_start, env_end))
}
