//! Debugging a script: `SCRIPT DEBUG`, then an `EVAL` that stops at each line. The session runs in a child, whose
//! changes nobody sees, or (`SYNC`) in the server, where all others wait.

use super::run;
use crate::lua::debugger::session::Session;
use crate::lua::debugger::{session, stop};
use crate::lua::engine::{Engine, Purpose, no_state};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::output;
use crate::server::persistence::child;
use crate::sys::children;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;
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
    server.scripting.scripts.debugger.note_child(pid);
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
    let engine = Engine::new(Purpose::Debugging, run::HOST).map_err(no_state)?;
    stop::watch_lines(&engine, &session, server.config.busy_reply_threshold).map_err(no_state)?;
    server.scripting.scripts.debugger.begin(&session);
    let outcome = run(server, call, &engine);
    server.scripting.scripts.debugger.end();
    if let Err(error) = outcome {
        call.reply.error(&error);
    }
    let mut session = session.borrow_mut();
    session.log(b"<endsession>".to_vec());
    session.send();
    Ok(())
}
