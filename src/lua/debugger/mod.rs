//! The Lua debugger, as `redis-cli --ldb` uses it: a script that stops at each line, where the client is asked what to
//! do. A session has the client's connection to itself, and waits for it.
//!
//! * [`session`]: the conversation with the client, and what has been agreed there (breakpoints, steps).
//! * [`stop`]: what happens where a script stops.
//! * [`show`]: values and replies for people to read.
//! * [`words`]: what is Redis's way of saying it, and what Valkey's.

pub mod session;
mod show;
pub mod stop;
pub mod words;

use crate::resp::error::CommandError;
use crate::resp::reply::Reply;
use crate::sys::children;
use mlua::Value;
use session::Session;
use std::cell::RefCell;
use std::rc::Rc;

/// What is being debugged, and by whom.
#[derive(Default)]
pub struct Debugger {
    session: Option<Rc<RefCell<Session>>>,
    /// Processes in which sessions run.
    children: Vec<i32>,
}

impl Debugger {
    /// A session begins.
    pub fn begin(&mut self, session: &Rc<RefCell<Session>>) {
        self.session = Some(Rc::clone(session));
    }

    /// The session is over.
    pub fn end(&mut self) {
        self.session = None;
    }

    /// A session runs in this process.
    pub fn note_child(&mut self, pid: i32) {
        self.children.push(pid);
    }

    /// The session, if the script that is running goes step by step.
    fn stepping(&self) -> Option<&Rc<RefCell<Session>>> {
        self.session.as_ref().filter(|session| session.borrow().is_stepping())
    }

    /// A script calls a command.
    pub fn note_call(&self, args: &[&[u8]]) {
        if let Some(session) = self.stepping() {
            session.borrow_mut().log(show::command(args));
        }
    }

    /// It has been answered.
    pub fn note_reply(&self, reply: &Reply) {
        if let Some(session) = self.stepping() {
            session.borrow_mut().log_trimmed(show::reply(reply.as_bytes()));
        }
    }

    /// It was not executed.
    pub fn note_refusal(&self, error: &CommandError) {
        if let Some(session) = self.stepping() {
            session.borrow_mut().log([b"<error> ", &error.to_bytes()[..]].concat());
        }
    }

    /// `redis.breakpoint()`: answers whether anybody will notice.
    pub fn break_at_next_line(&self) -> bool {
        self.session.as_ref().map(|session| session.borrow_mut().break_at_next_line()).is_some()
    }

    /// `redis.debug()`
    pub fn note_values(&self, values: &[Value]) {
        if let Some(session) = &self.session {
            let mut session = session.borrow_mut();
            let line = show::values(session.line(), values);
            session.log(line);
        }
    }

    /// Sees to the processes of sessions that are over.
    pub fn reap(&mut self) {
        self.children.retain(|&pid| children::try_wait(pid).is_none());
    }
}
