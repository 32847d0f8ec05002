//! A stack that is large enough, whatever `ulimit -s` says: Lua's calls of itself, and sources that are nested deep,
//! need a megabyte before they meet Lua's own limits.

use rustix::process::{Resource, getrlimit};
use std::mem::MaybeUninit;
use std::ptr;
use std::thread::{Builder, scope};

/// What the common limit is.
pub const STACK_BYTES: usize = 8 << 20;

/// Runs the program: where the process was given a smaller stack, on a thread that has one, while the first thread
/// waits. Answers its exit code.
pub fn run_with_room(program: impl FnOnce() -> i32 + Send) -> i32 {
    if getrlimit(Resource::Stack).current.is_none_or(|limit| limit >= STACK_BYTES as u64) {
        return program();
    }
    scope(|scope| match Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, program) {
        Ok(thread) => {
            leave_signals_to_others();
            thread.join().unwrap_or(1)
        }
        Err(error) => {
            eprintln!("Can't make a thread with a stack of {STACK_BYTES} bytes: {error}");
            1
        }
    })
}

/// Blocks all signals in this thread, so that the one that does the work gets them, as reports of it shall show where
/// it is.
fn leave_signals_to_others() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes the whole set, which pthread_sigmask reads; the old mask is not asked for.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut());
    }
}
