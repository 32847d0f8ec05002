//! Debugging a script: `SCRIPT DEBUG`, then an `EVAL` that stops at each line. The session runs in a child, whose
//! changes nobody sees, or (`SYNC`) in the server, where all others wait.

use super::run;
use crate::lua::debugger::session::Session;
use crate::lua::debugger::{stop, words};
use crate::lua::engine::{Engine, Purpose, no_state};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::connection::{Connection, Nobody};
use crate::server::output;
use crate::server::persistence::child;
use crate::sys::children;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

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
    if in_sync {
        server.notice("Redis synchronous debugging eval session started");
        run_session(server, call, body, run)?;
        server.notice("Redis synchronous debugging eval session ended");
    } else {
        fork_session(server, call, body, run)?;
    }
    // The session has had the connection, and that it is closed is how the client sees the end.
    server.clients[token].flags |= ClientFlags::CLOSE_ASAP;
    server.clients.close_later(token);
    Ok(())
}

fn fork_session(
    server: &mut Server,
    call: &mut Call,
    body: &[u8],
    run: impl FnOnce(&mut Server, &mut Call, &Engine) -> CommandResult,
) -> CommandResult {
    let socket = server.clients[call.client].conn.fd();
    let forked = children::fork_child(&[socket], |_| {
        child::become_fork_child(server);
        server.notice("Redis forked for debugging eval");
        let outcome = run_session(server, call, body, run);
        server.notice("Lua debugging session child exiting");
        i32::from(outcome.is_err())
    });
    let pid = forked.map_err(|error| {
        CommandError::err_with(format!("Fork() failed: can't run EVAL in debugging mode: {error}"))
    })?;
    server.scripting.scripts.debugger.note_child(pid);
    // The child has the connection now, with the keys of TLS.
    server.clients[call.client].conn.abandon();
    Ok(())
}

/// Runs a script with a session, on the current client's connection, which is taken from it.
fn run_session(
    server: &mut Server,
    call: &mut Call,
    body: &[u8],
    run: impl FnOnce(&mut Server, &mut Call, &Engine) -> CommandResult,
) -> CommandResult {
    let engine = Engine::new(Purpose::Debugging, run::HOST).map_err(no_state)?;
    let wire = ClientWire::take_from(server, call.client).map_err(|error| {
        CommandError::err_with(format!("Can't debug over this connection: {error}"))
    })?;
    let words = match server.config.flavour.debugger_names_no_redis {
        true => &words::VALKEY,
        false => &words::REDIS,
    };
    let session = Rc::new(RefCell::new(Session::new(Box::new(wire), words, body)));
    stop::watch_lines(&engine, &session, server.config.busy_reply_threshold).map_err(no_state)?;
    server.scripting.scripts.debugger.begin(&session);
    let outcome = run(server, call, &engine);
    server.scripting.scripts.debugger.end();
    if let Err(error) = outcome {
        call.reply.error(&error);
    }
    session.borrow_mut().end(call.reply.as_bytes());
    Ok(())
}

/// A client's connection in the hands of a session.
struct ClientWire {
    conn: Connection,
    /// The same socket, to wait for it.
    socket: File,
}

impl ClientWire {
    fn take_from(server: &mut Server, token: Token) -> io::Result<ClientWire> {
        let socket = server.clients[token].conn.duplicate()?;
        let nobody = Connection::Virtual(Box::new(Nobody));
        let mut conn = mem::replace(&mut server.clients[token].conn, nobody);
        server.net.deregister(&mut conn);
        Ok(ClientWire { conn, socket })
    }
}

impl Read for ClientWire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.conn.read(buf)
    }
}

impl Write for ClientWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.conn.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.conn.flush()
    }
}

impl AsFd for ClientWire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
