//! The Lua debugger, as `redis-cli --ldb` uses it: `SCRIPT DEBUG`, then an `EVAL` that stops at each line and asks the
//! client what to do.
//!
//! A session has the client's connection to itself, and waits for it. It runs in a child, whose changes nobody sees, or
//! (`SYNC`) in the server, where all others wait.
//!
//! * [`session`]: the conversation with the client, and what has been agreed there (breakpoints, steps).
//! * [`stop`]: what happens where a script stops.
//! * [`show`]: values and replies for people to read.

pub mod session;
mod show;
mod stop;

use super::engine::{Engine, Purpose, no_state};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::output;
use crate::server::persistence::child;
use crate::sys::children;
use mlua::Value;
use session::Session;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// What is being debugged, and by whom.
#[derive(Default)]
pub struct Debugger {
    session: Option<Rc<RefCell<Session>>>,
    /// Processes in which sessions run.
    children: Vec<i32>,
}

impl Debugger {
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

/// Debugs a script for the current client: `run` is to compile it in the Lua state that it is given, and to run it.
pub(crate) fn debug_script(
    server: &mut Server,
    call: &mut Call,
    body: &[u8],
    run: impl FnOnce(&mut Server, &mut Call, &Engine) -> CommandResult,
) -> CommandResult {
    let token = call.client;
    let flags = ClientFlags::LUA_DEBUG | ClientFlags::LUA_DEBUG_SYNC;
    let in_sync = server.clients[token].is(ClientFlags::LUA_DEBUG_SYNC);
    server.clients[token].flags.remove(flags);
    output::flush_reply(server, call);
    let wire = server.clients[token].conn.duplicate().map_err(|error| {
        CommandError::err_with(format!("Can't debug over this connection: {error}"))
    })?;
    if in_sync {
        server.notice("Redis synchronous debugging eval session started");
        run_session(server, call, wire, body, run)?;
        server.notice("Redis synchronous debugging eval session ended");
        // That is how the client sees the end.
        server.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
        return Ok(());
    }
    fork_session(server, call, wire, body, run)
}

fn fork_session(
    server: &mut Server,
    call: &mut Call,
    wire: File,
    body: &[u8],
    run: impl FnOnce(&mut Server, &mut Call, &Engine) -> CommandResult,
) -> CommandResult {
    let forked = children::fork_child(&[wire.as_raw_fd()], |_| {
        child::become_fork_child(server);
        server.notice("Redis forked for debugging eval");
        let ended =
            wire.try_clone().is_ok_and(|wire| run_session(server, call, wire, body, run).is_ok());
        session::write_all(&wire, call.reply.as_bytes());
        server.notice("Lua debugging session child exiting");
        i32::from(!ended)
    });
    let pid = forked.map_err(|error| {
        CommandError::err_with(format!("Fork() failed: can't run EVAL in debugging mode: {error}"))
    })?;
    server.scripting.scripts.debugger.children.push(pid);
    let token = call.client;
    // The child has the connection now.
    server.clients[token].flags |= ClientFlags::CLOSE_ASAP;
    server.clients.close_later(token);
    Ok(())
}

/// Runs a script with a session; its reply is among the current client's, an error too.
fn run_session(
    server: &mut Server,
    call: &mut Call,
    wire: File,
    body: &[u8],
    run: impl FnOnce(&mut Server, &mut Call, &Engine) -> CommandResult,
) -> CommandResult {
    let session = Rc::new(RefCell::new(Session::new(wire, body)));
    let engine = Engine::new(Purpose::Debugging).map_err(no_state)?;
    stop::watch_lines(&engine, &session, server.config.busy_reply_threshold).map_err(no_state)?;
    server.scripting.scripts.debugger.session = Some(Rc::clone(&session));
    let outcome = run(server, call, &engine);
    server.scripting.scripts.debugger.session = None;
    if let Err(error) = outcome {
        call.reply.error(&error);
    }
    let mut session = session.borrow_mut();
    session.log(b"<endsession>".to_vec());
    session.send();
    Ok(())
}
