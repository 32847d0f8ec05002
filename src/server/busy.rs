//! A script that runs for long. It can't be interrupted, but from time to time it lets the loop take a turn: other
//! clients are served meanwhile, though little of what they ask, and may end it.

use super::Server;
use super::call::Call;
use super::client::{ClientFlags, Token};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::script::run;
use crate::server::expiry;
use crate::server::propagate;
use std::mem;
use std::rc::Rc;
use std::time::Instant;

/// Has the loop take a turn while the server is busy.
pub type TakeTurn = Rc<dyn Fn(&mut Server)>;

/// A script that has run for longer than `busy-reply-threshold`.
#[derive(Debug)]
pub struct BusyScript {
    pub name: Rc<str>,
    /// What was sent to run it.
    pub command: Vec<Vec<u8>>,
    pub is_function: bool,
    pub started: Instant,
    /// Who sent it.
    pub caller: Token,
    /// It has called a command that writes: to end it would leave half of its work.
    pub wrote: bool,
    /// It is to end.
    pub killed: bool,
}

impl BusyScript {
    /// The command that ends it.
    pub fn kill_command(&self) -> &'static str {
        if self.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" }
    }

    /// What other clients hear.
    pub fn error(&self) -> CommandError {
        let kill = self.kill_command();
        let text =
            format!("Redis is busy running a script. You can only call {kill} or SHUTDOWN NOSAVE.");
        CommandError::with(ErrorCode::Busy, text)
    }
}

/// `SCRIPT KILL` or `FUNCTION KILL`: has the script end that runs.
///
/// # Errors
/// If none runs, or it can't be ended so.
pub(crate) fn kill_script(
    server: &mut Server,
    call: &mut Call,
    is_function: bool,
) -> CommandResult {
    let caller = server.busy.as_ref().map(|busy| busy.caller);
    let obeyed = caller.is_some_and(|caller| run::must_obey(server, caller));
    let busy = server
        .busy
        .as_mut()
        .ok_or(CommandError::new(ErrorCode::NotBusy, "No scripts in execution right now."))?;
    if obeyed {
        return Err(CommandError::new(
            ErrorCode::Unkillable,
            "The busy script was sent by a master instance in the context of replication and cannot be \
             killed.",
        ));
    }
    if busy.wrote {
        return Err(CommandError::new(
            ErrorCode::Unkillable,
            "Sorry the script already executed write commands against the dataset. You can either wait \
             the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        ));
    }
    if busy.is_function != is_function {
        return Err(busy.error());
    }
    busy.killed = true;
    call.reply.ok();
    Ok(())
}

/// Whether what a client sends has to wait until the script has ended: it runs the script itself, or its stream
/// belongs behind it.
pub(crate) fn waits_for_script(server: &Server, token: Token) -> bool {
    let Some(busy) = &server.busy else { return false };
    let stream = ClientFlags::MASTER | ClientFlags::HANDSHAKE | ClientFlags::REPLAYING;
    busy.caller == token || server.clients.get(token).is_some_and(|client| client.is(stream))
}

/// Lets the loop take a turn in the midst of a script. What belongs to the script's client is put aside. For the
/// script the time goes on then, though not for what expires: what it saw does not vanish.
pub(crate) fn serve_others(server: &mut Server) {
    let Some(take_turn) = server.take_turn.clone() else { return };
    let turn = server.clients.suspend_turn();
    let unit = propagate::take_unit(server);
    let propagates_to = mem::take(&mut server.propagates_to);
    let (role, no_touch, now_ms) = (server.ks.role, server.ks.no_touch, server.ks.now_ms);
    expiry::restore_role(server);
    server.update_time();

    take_turn(server);

    server.clients.resume_turn(turn);
    server.propagates_to = propagates_to;
    (server.ks.role, server.ks.no_touch, server.ks.now_ms) = (role, no_touch, now_ms);
    propagate::restore_unit(server, unit);
}
