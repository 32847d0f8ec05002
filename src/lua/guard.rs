//! What holds a script while it runs: its time, and its memory.
//!
//! Lua asks the [`Guard`] every so many instructions. What runs between two instructions, a native function or the
//! conversion of a reply, can be as long as a script, so it counts itself. A native function gets the guard with its
//! arguments ([`Args::guard`](super::args::Args::guard)), and
//!
//! * calls [`Guard::tick`] with about as many steps as it has taken (a byte looked at, a value visited). That costs
//!   next to nothing; every [`STEPS`] of them the clock is looked at, others are served if it is late, and the memory
//!   that is used is compared with `lua-memory-limit`;
//! * calls [`Guard::charge`] before it asks for much memory at once;
//! * makes what can grow large in a [`Buffer`], which does both;
//! * calls Lua functions through [`Guard::call`] or within [`Guard::enter`], since Lua's own allocations are limited
//!   while Lua runs, and not while native functions do: these say what they need beforehand, so that nothing of the
//!   binding's ever fails.
//!
//! Each of them fails if the script is to end or the memory is out; the error is to be handed on as it is.

use super::error::{LibError, LibResult, PRELUDE};
use crate::sys::lua_stack::Stack;
use mlua::{Function, HookTriggers, Lua, MultiValue, Value, VmState};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So many steps of native functions are taken between two looks at the clock.
pub const STEPS: usize = 20_000;
/// At most so many instructions are executed between two looks at the clock, and with a large heap, in which one
/// instruction can take as long as a million others, at least so many. Where they turn out to be slow it is fewer.
const INSTRUCTIONS: std::ops::RangeInclusive<usize> = 16..=1_000;
/// Bytes of the heap times instructions between two looks at the clock.
const BYTES_TIMES_INSTRUCTIONS: usize = 4 << 30;
/// What is as large as this makes single instructions slow.
const LARGE_BYTES: usize = 1 << 20;
/// The clock is to be looked at about this often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// How often others are served once a script is late.
const BETWEEN_TURNS: Duration = Duration::from_millis(1);
/// What Lua says of it.
const OUT_OF_MEMORY: &str = "not enough memory";

/// Lets others take a turn in the midst of a script. An error ends the script.
pub type Interrupt = Rc<dyn Fn() -> LibResult>;

/// Time and memory of the scripts in one Lua state. Its clones are the same guard.
#[derive(Clone)]
pub struct Guard(Rc<State>);

struct State {
    /// Steps until the next look at the clock.
    steps_left: Cell<usize>,
    /// When others are to be served next; `None`: never.
    turn_at: Cell<Option<Instant>>,
    interrupt: RefCell<Option<Interrupt>>,
    interrupting: Cell<bool>,
    /// The error by which the script ends. It can be caught, but then it is raised again.
    end: RefCell<Option<LibError>>,
    /// Instructions between two looks at the clock, and when the last was.
    instructions: Cell<usize>,
    looked_at: Cell<Instant>,
    /// `lua-memory-limit` in bytes; 0: none.
    limit: Cell<usize>,
    /// Bytes that were in use when garbage was collected at the end of a script: what is kept for good.
    kept: Cell<usize>,
    /// Bytes that native functions hold for the script.
    held: Cell<usize>,
    /// Garbage is collected when more is used than this.
    collect_at: Cell<usize>,
    /// What a function raised that a native one has called.
    raised: RefCell<Option<Value>>,
}

impl Guard {
    /// The guard of a new state, which is known by [`Guard::of`] from then on.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(lua: &Lua) -> mlua::Result<Guard> {
        let guard = Guard(Rc::new(State {
            steps_left: Cell::new(STEPS),
            turn_at: Cell::default(),
            interrupt: RefCell::default(),
            interrupting: Cell::default(),
            end: RefCell::default(),
            instructions: Cell::new(*INSTRUCTIONS.end()),
            looked_at: Cell::new(Instant::now()),
            limit: Cell::default(),
            kept: Cell::default(),
            held: Cell::default(),
            collect_at: Cell::default(),
            raised: RefCell::default(),
        }));
        lua.set_app_data(guard.clone());
        guard.watch(lua)?;
        Ok(guard)
    }

    /// The guard of this state.
    pub fn of(lua: &Lua) -> mlua::Result<Guard> {
        let guard = lua.app_data_ref::<Guard>().map(|guard| guard.clone());
        guard.ok_or_else(|| mlua::Error::runtime("a state without a guard"))
    }

    /// A script begins now. From `turn_at` on `interrupt` is called again and again; the script is ended by its error.
    /// It and what others have left behind may use so many bytes (0: any number).
    pub fn begin(
        &self,
        lua: &Lua,
        now: Instant,
        turn_at: Option<Instant>,
        interrupt: Interrupt,
        limit_bytes: u64,
    ) {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        self.0.turn_at.set(turn_at);
        self.0.interrupt.replace(Some(interrupt));
        self.0.looked_at.set(now);
        self.0.limit.set(limit);
        self.0.collect_at.set(half_way(self.0.kept.get(), limit));
        // What is left over by others must not stand in its way; if it can't be collected that will be seen.
        let _ = self.collect(lua, 0);
    }

    /// The script has ended. Memory that only it needed is given back if it came near its limit.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn end(&self, lua: &Lua) -> mlua::Result<()> {
        self.0.turn_at.set(None);
        self.0.interrupt.replace(None);
        self.0.raised.replace(None);
        let limit = self.0.limit.replace(0);
        if limit > 0 && lua.used_memory() > half_way(self.0.kept.get(), limit) {
            lua.gc_collect()?;
            self.0.kept.set(lua.used_memory());
        }
        if self.0.end.take().is_some() {
            self.0.instructions.set(*INSTRUCTIONS.end());
            self.watch(lua)?;
        }
        Ok(())
    }

    /// Whether the script that runs has been told to end.
    pub fn has_ended(&self) -> bool {
        self.0.end.borrow().is_some()
    }

    /// A native function has taken so many steps.
    ///
    /// # Errors
    /// If the script is to end, or has used up its memory.
    #[inline]
    pub fn tick(&self, lua: &Lua, steps: usize) -> LibResult {
        match self.0.steps_left.get().checked_sub(steps) {
            Some(left) => {
                self.0.steps_left.set(left);
                Ok(())
            }
            None => self.look(lua),
        }
    }

    #[cold]
    fn look(&self, lua: &Lua) -> LibResult {
        self.0.steps_left.set(STEPS);
        self.charge(lua, 0)?;
        self.take_turn(lua, Instant::now())
    }

    /// Serves others if it is time.
    fn take_turn(&self, lua: &Lua, now: Instant) -> LibResult {
        if let Some(end) = &*self.0.end.borrow() {
            return Err(end.clone());
        }
        if self.0.turn_at.get().is_none_or(|at| now < at) || self.0.interrupting.get() {
            return Ok(());
        }
        let Some(interrupt) = self.0.interrupt.borrow().clone() else { return Ok(()) };
        self.0.interrupting.set(true);
        let outcome = interrupt();
        self.0.interrupting.set(false);
        self.0.turn_at.set(Instant::now().checked_add(BETWEEN_TURNS));
        if let Err(end) = &outcome {
            self.0.end.replace(Some(end.clone()));
            // No instruction of it is executed any more.
            self.0.instructions.set(1);
            self.watch(lua)?;
        }
        outcome
    }

    /// So many bytes are to be allocated.
    ///
    /// # Errors
    /// If that is beyond the limit.
    pub fn charge(&self, lua: &Lua, bytes: usize) -> LibResult {
        if bytes >= LARGE_BYTES && self.0.instructions.get() > *INSTRUCTIONS.start() {
            self.0.instructions.set(*INSTRUCTIONS.start());
            self.watch(lua)?;
        }
        let limit = self.0.limit.get();
        if limit == 0 || self.used(lua).saturating_add(bytes) <= self.0.collect_at.get() {
            return Ok(());
        }
        self.collect(lua, bytes)?;
        if self.used(lua).saturating_add(bytes) > limit {
            Err(OUT_OF_MEMORY.into())
        } else {
            Ok(())
        }
    }

    /// Pushes a string of Lua's.
    ///
    /// # Errors
    /// If the memory is out.
    pub fn push_text(&self, lua: &Lua, text: &[u8], stack: &mut Stack) -> LibResult {
        self.charge(lua, text.len())?;
        Ok(stack.push_text(text)?)
    }

    fn used(&self, lua: &Lua) -> usize {
        lua.used_memory().saturating_add(self.0.held.get())
    }

    /// Collects garbage if enough is used, or would be with so many bytes more: at a limit Lua itself does not.
    #[cold]
    fn collect(&self, lua: &Lua, bytes: usize) -> mlua::Result<()> {
        let limit = self.0.limit.get();
        if limit == 0 || self.used(lua).saturating_add(bytes) <= self.0.collect_at.get() {
            return Ok(());
        }
        lua.gc_collect()?;
        // The fuller it is the more often, but not always.
        let used = self.used(lua);
        self.0.collect_at.set(half_way(used, limit).max(used + limit / 64));
        Ok(())
    }

    /// Does what lets Lua run, whose memory is limited meanwhile.
    pub fn enter<T>(&self, lua: &Lua, act: impl FnOnce() -> T) -> T {
        self.limit_lua(lua);
        let result = act();
        self.free_lua(lua);
        result
    }

    /// Does what a native function does. Lua's memory is not limited meanwhile.
    pub fn leave<T>(&self, lua: &Lua, act: impl FnOnce() -> T) -> T {
        self.free_lua(lua);
        let result = act();
        self.limit_lua(lua);
        result
    }

    /// To how many bytes Lua is limited while it runs; 0: to none.
    pub fn lua_limit_bytes(&self) -> usize {
        match self.0.limit.get() {
            0 => 0,
            limit => limit.saturating_sub(self.0.held.get()).max(1),
        }
    }

    // States made here have an allocator that can be limited.
    fn limit_lua(&self, lua: &Lua) {
        let limit = self.lua_limit_bytes();
        if limit > 0 {
            let _ = lua.set_memory_limit(limit);
        }
    }

    fn free_lua(&self, lua: &Lua) {
        if self.0.limit.get() > 0 {
            let _ = lua.set_memory_limit(0);
        }
    }

    /// Calls a function of the script's from a native one, through Lua's own `pcall`, so that what it raises can be
    /// handed on as it is.
    ///
    /// # Errors
    /// The function's.
    pub fn call(
        &self,
        lua: &Lua,
        pcall: &Function,
        function: &Function,
        args: MultiValue,
    ) -> LibResult<Value> {
        let mut results: MultiValue = self.enter(lua, || pcall.call((function, args)))?;
        let ok = results.pop_front() == Some(Value::Boolean(true));
        let value = results.pop_front().unwrap_or(Value::Nil);
        match value {
            value if ok => Ok(value),
            Value::Error(error) => Err((*error).into()),
            value => {
                self.0.raised.replace(Some(value));
                Err(LibError::Raised)
            }
        }
    }

    /// What [`LibError::Raised`] stands for.
    pub fn take_raised(&self) -> Value {
        self.0.raised.take().unwrap_or(Value::Nil)
    }

    /// Has the thread that is running be asked after so many instructions.
    fn watch(&self, lua: &Lua) -> mlua::Result<()> {
        let guard = self.clone();
        let count = self.0.instructions.get();
        let triggers = HookTriggers::new().every_nth_instruction(count as u32);
        lua.set_global_hook(triggers, move |lua, debug| {
            if guard.has_ended() && debug.source().short_src.is_some_and(|name| name == PRELUDE) {
                // Once the error is on its way the prelude hands it on. Whom it goes on to is asked at once, in
                // whatever thread that runs: each has a count of its own.
                guard.watch(lua)?;
                return Ok(VmState::Continue);
            }
            guard.leave(lua, || guard.after_instructions(lua, count)).map(|()| VmState::Continue)
        })
    }

    /// So many instructions have been executed. Memory that is out is no error here: Lua calls the error handler of a
    /// script's `xpcall` with hooks off when a hook fails, so the only error there is is one that ends the script.
    fn after_instructions(&self, lua: &Lua, count: usize) -> mlua::Result<()> {
        let now = Instant::now();
        self.collect(lua, 0)?;
        self.take_turn(lua, now).map_err(mlua::Error::external)?;
        let took = now.duration_since(self.0.looked_at.replace(Instant::now()));
        let wanted = next_count(count, took, lua.used_memory());
        self.0.instructions.set(wanted);
        if wanted == count { Ok(()) } else { self.watch(lua) }
    }
}

fn half_way(used: usize, limit: usize) -> usize {
    used + limit.saturating_sub(used) / 2
}

/// After how many instructions the clock is to be looked at when so many took so long.
fn next_count(count: usize, took: Duration, heap_bytes: usize) -> usize {
    let most = (BYTES_TIMES_INSTRUCTIONS / heap_bytes.max(1))
        .clamp(*INSTRUCTIONS.start(), *INSTRUCTIONS.end());
    let rate = BETWEEN_LOOKS.as_nanos() as f64 / took.as_nanos().max(1) as f64;
    let wanted = count as f64 * rate.min(2.0);
    (wanted as usize).clamp(1, most)
}

/// Bytes that a native function holds for a script, in a vector that grows no further than the script's memory reaches.
/// Growing counts as steps, too.
pub struct Buffer<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    bytes: Vec<u8>,
}

/// A buffer has room for so many bytes at least, once it has any.
const LEAST_BYTES: usize = 64;
/// Bytes that are copied in the time of a step.
pub const BYTES_A_STEP: usize = 16;
/// Texts are worked on in pieces of at most so many bytes, and the steps counted between two of them.
pub const PIECE_BYTES: usize = 1 << 16;

impl<'a> Buffer<'a> {
    pub fn new(lua: &'a Lua, guard: &'a Guard) -> Buffer<'a> {
        Buffer { lua, guard, bytes: Vec::new() }
    }

    /// Makes room for so many bytes more, and counts the time to write them.
    #[inline]
    fn reserve(&mut self, more: usize) -> LibResult {
        self.guard.tick(self.lua, 1 + more / BYTES_A_STEP)?;
        self.room_for(more)
    }

    /// Makes room for so many bytes more.
    ///
    /// # Errors
    /// If the memory is out.
    #[inline]
    pub fn room_for(&mut self, more: usize) -> LibResult {
        if self.bytes.capacity() - self.bytes.len() >= more { Ok(()) } else { self.grow(more) }
    }

    #[cold]
    fn grow(&mut self, more: usize) -> LibResult {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        let wanted = len.checked_add(more).ok_or(OUT_OF_MEMORY)?;
        let wanted = wanted.max(capacity.saturating_mul(2)).max(LEAST_BYTES);
        // While it moves both places are needed.
        self.guard.charge(self.lua, wanted)?;
        self.bytes.reserve_exact(wanted - len);
        self.guard.0.held.set(self.guard.0.held.get() + self.bytes.capacity() - capacity);
        Ok(())
    }

    /// # Errors
    /// If the script is to end, or its memory is out.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) -> LibResult {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// # Errors
    /// As for [`Buffer::extend`].
    pub fn extend_from(&mut self, bytes: impl ExactSizeIterator<Item = u8>) -> LibResult {
        self.reserve(bytes.len())?;
        self.bytes.extend(bytes);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Pushes the bytes as a string of Lua's.
    ///
    /// # Errors
    /// If the memory is out.
    pub fn push_to(self, stack: &mut Stack) -> LibResult {
        self.guard.push_text(self.lua, &self.bytes, stack)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.guard.0.held.set(self.guard.0.held.get() - self.bytes.capacity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_instructions_are_looked_at_more_often() {
        const KB: usize = 1 << 10;
        let ms = Duration::from_millis;
        let us = Duration::from_micros;
        for (count, took, heap, next) in [
            (1000, us(10), 100 * KB, 1000),
            (400, us(10), 100 * KB, 800),
            (1000, ms(10), 100 * KB, 100),
            (200, ms(1000), 100 * KB, 1),
            (1, ms(1000), 100 * KB, 1),
            (1, Duration::ZERO, 100 * KB, 2),
            (1000, us(10), 40 << 20, 102),
            (1000, us(10), 8 << 30, 16),
        ] {
            assert_eq!(next_count(count, took, heap), next, "{count} {took:?} {heap}");
        }
    }
}
