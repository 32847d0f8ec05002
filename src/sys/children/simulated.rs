//! Children that are none: a simulation runs what a forked child would do at once, on its own thread, and decides when
//! it is seen to have ended, and how.

use super::ChildEnd;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Process ids of no process.
const FIRST_PID: i32 = 1 << 30;

#[derive(Default)]
struct Simulated {
    children: BTreeMap<i32, Child>,
    made: i32,
    doomed: bool,
}

struct Child {
    end: ChildEnd,
    /// Whether it may be seen that it has ended.
    released: bool,
}

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// From now on no child of this thread is forked.
pub fn simulate() {
    SIMULATED.with_borrow_mut(|s| *s = Some(Simulated::default()));
}

/// Whether the next child is to die before it has done anything.
pub fn doom_next(doomed: bool) {
    SIMULATED.with_borrow_mut(|s| s.as_mut().map(|s| s.doomed = doomed));
}

/// The end of all children so far may be seen.
pub fn release() {
    SIMULATED.with_borrow_mut(|s| {
        s.iter_mut().flat_map(|s| s.children.values_mut()).for_each(|c| c.released = true);
    });
}

/// Whether this thread forks no children.
pub fn is_simulated() -> bool {
    SIMULATED.with_borrow(Option::is_some)
}

/// Runs a child's work, unless it is doomed.
pub(super) fn run(body: impl FnOnce(i32) -> i32) -> i32 {
    let (pid, doomed) = SIMULATED.with_borrow_mut(|s| {
        let s = s.as_mut().expect("asked before");
        s.made += 1;
        (FIRST_PID + s.made, std::mem::replace(&mut s.doomed, false))
    });
    let end = if doomed { ChildEnd::Signaled(libc::SIGKILL) } else { ChildEnd::Exited(body(pid)) };
    SIMULATED.with_borrow_mut(|s| {
        let s = s.as_mut().expect("asked before");
        s.children.insert(pid, Child { end, released: false });
    });
    pid
}

/// The end of a child that is simulated; the outer `None`: it is not.
pub(super) fn try_wait(pid: i32) -> Option<Option<ChildEnd>> {
    SIMULATED.with_borrow_mut(|s| {
        let children = &mut s.as_mut()?.children;
        if !children.get(&pid)?.released {
            return Some(None);
        }
        Some(children.remove(&pid).map(|c| c.end))
    })
}

/// Kills a child that is simulated; `false`: it is not.
pub(super) fn kill(pid: i32) -> bool {
    SIMULATED.with_borrow_mut(|s| {
        let child = s.as_mut().and_then(|s| s.children.get_mut(&pid));
        child.map(|c| (c.end, c.released) = (ChildEnd::Signaled(libc::SIGKILL), true)).is_some()
    })
}
