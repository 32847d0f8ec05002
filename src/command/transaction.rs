//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH. Queueing itself is dispatch's.

use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::acl;
use crate::server::acl::check::{AclDenied, Denial};
use crate::server::acl::log::Origin;
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::dispatch;
use crate::server::propagate;
use crate::server::table::{CommandId, Row};
use crate::server::transaction;

const NESTED: CommandError = CommandError::err("MULTI calls can not be nested");
const WATCH_INSIDE: CommandError = CommandError::err("WATCH inside MULTI is not allowed");
const EXEC_ALONE: CommandError = CommandError::err("EXEC without MULTI");
const DISCARD_ALONE: CommandError = CommandError::err("DISCARD without MULTI");
const EXEC_ABORT: CommandError =
    CommandError::new(ErrorCode::ExecAbort, "Transaction discarded because of previous errors.");

fn multi(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let client = s.client(call);
    if client.is(ClientFlags::MULTI) {
        return Err(NESTED);
    }
    client.flags |= ClientFlags::MULTI;
    call.reply.ok();
    Ok(())
}

fn discard(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let token = in_transaction(s, call, DISCARD_ALONE)?;
    transaction::discard_transaction(s, token);
    call.reply.ok();
    Ok(())
}

fn exec(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let token = in_transaction(s, call, EXEC_ALONE)?;
    let client = &s.clients[token];
    if client.is(ClientFlags::DIRTY_EXEC) {
        transaction::discard_transaction(s, token);
        return Err(EXEC_ABORT);
    }
    if client.is(ClientFlags::DIRTY_CAS) || transaction::is_watched_key_expired(s, token) {
        transaction::discard_transaction(s, token);
        call.reply.null_array();
        return Ok(());
    }
    // What the transaction itself changes is nothing to be warned of.
    transaction::unwatch_all_keys(s, token);
    let mut transaction = s.client(call).transaction.take().unwrap_or_default();
    call.reply.array(transaction.len());
    s.update_time();
    propagate::begin_unit(s);
    let mut inner = call.begin_transaction();
    while let Some(queued) = transaction.take_first() {
        s.ks.lent.lend(queued.kept());
        queued.for_each(|id, args| match acl::acl_check(s, token, id, args) {
            Ok(()) => dispatch::call(s, &mut inner, id, args),
            Err(denied) => refuse_queued(s, &mut inner, id, args, denied),
        });
    }
    s.ks.lent.lend(None);
    call.end_transaction(inner);
    propagate::end_unit(s);
    transaction::discard_transaction(s, token);
    Ok(())
}

/// A command was allowed when it was queued, and is not any more.
#[cold]
fn refuse_queued(
    s: &mut Server,
    call: &mut Call,
    id: CommandId,
    args: &[&[u8]],
    denied: AclDenied,
) {
    let reason = match denied.denial {
        Denial::Command => "no permission to execute the command or subcommand",
        Denial::Key => "no permission to touch the specified keys",
        Denial::Channel => "no permission to access one of the channels used as arguments",
    };
    acl::log_denied(s, call.client, id, args, denied, Origin::Multi);
    let text = format!(
        "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no \
         longer allowed for the following reason: {reason}"
    );
    call.reply_error(&mut s.observer, &CommandError::with(ErrorCode::NoPerm, text));
}

/// The current client, which must be in a transaction.
fn in_transaction(s: &Server, call: &Call, otherwise: CommandError) -> CommandResult<Token> {
    Some(call.client).filter(|&token| s.clients[token].is(ClientFlags::MULTI)).ok_or(otherwise)
}

fn watch(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let client = s.client(call);
    if client.is(ClientFlags::MULTI) {
        return Err(WATCH_INSIDE);
    }
    // Once one key has changed, the others do not matter.
    let dirty = client.is(ClientFlags::DIRTY_CAS);
    if !dirty {
        for key in &args[1..] {
            transaction::watch_for_key(s, call.client, call.db, key);
        }
    }
    call.reply.ok();
    Ok(())
}

fn unwatch(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    transaction::unwatch_all_keys(s, call.client);
    s.client(call).flags.remove(ClientFlags::DIRTY_CAS);
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("multi", multi),
    ("exec", exec),
    ("discard", discard),
    ("watch", watch),
    ("unwatch", unwatch),
];
