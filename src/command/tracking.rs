//! `CLIENT TRACKING` and its relatives: client-side caching, whose mechanism is in
//! [`server::tracking`](crate::server::tracking).

use super::args::{int, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::tracking::{ClientTracking, TrackingOptions};
use crate::server::client::{Client, Token};
use crate::server::table::Row;
use crate::server::tracking;
use crate::util::c_string;

const ONE_REDIRECT: CommandError =
    CommandError::err("A client can only redirect to a single other client");
const NO_SUCH_REDIRECT: CommandError =
    CommandError::err("The client ID you want redirect to does not exist");
const PREFIX_NEEDS_BCAST: CommandError =
    CommandError::err("PREFIX option requires BCAST mode to be enabled");
const OTHER_MODE: CommandError = CommandError::err(
    "You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
     different mode.",
);
const BCAST_ALONE: CommandError =
    CommandError::err("OPTIN and OPTOUT are not compatible with BCAST");
const IN_AND_OUT: CommandError =
    CommandError::err("You can't specify both OPTIN mode and OPTOUT mode");
const OTHER_CHOICE: CommandError = CommandError::err(
    "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a \
     different mode.",
);
const NOT_TRACKING: CommandError = CommandError::err(
    "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
);
const YES_NEEDS_OPTIN: CommandError =
    CommandError::err("CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
const NO_NEEDS_OPTOUT: CommandError =
    CommandError::err("CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");

/// What follows `CLIENT TRACKING ON|OFF`.
#[derive(Default)]
struct TrackingRequest<'a> {
    options: TrackingOptions,
    redirect: Option<(Token, u64)>,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> TrackingRequest<'a> {
    fn parse(s: &Server, args: &[&'a [u8]]) -> CommandResult<TrackingRequest<'a>> {
        let mut request = TrackingRequest::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if is(arg, "BCAST") {
                request.options |= TrackingOptions::BCAST;
            } else if is(arg, "OPTIN") {
                request.options |= TrackingOptions::OPTIN;
            } else if is(arg, "OPTOUT") {
                request.options |= TrackingOptions::OPTOUT;
            } else if is(arg, "NOLOOP") {
                request.options |= TrackingOptions::NOLOOP;
            } else if is(arg, "PREFIX") {
                request.prefixes.push(rest.next().ok_or(CommandError::SYNTAX)?);
            } else if is(arg, "REDIRECT") {
                let id = rest.next().ok_or(CommandError::SYNTAX)?;
                if request.redirect.is_some() {
                    return Err(ONE_REDIRECT);
                }
                let id = int(id)?;
                let found = s.clients.iter().find(|(_, c)| c.id as i64 == id);
                let (token, client) = found.ok_or(NO_SUCH_REDIRECT)?;
                request.redirect = Some((token, client.id));
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(request)
    }

    /// Whether the options fit each other, and what the client has.
    fn check(&self, now: Option<&ClientTracking>) -> CommandResult {
        let has = |options| self.options.contains(options);
        let had = |options| now.is_some_and(|t| t.options.contains(options));
        if !has(TrackingOptions::BCAST) && !self.prefixes.is_empty() {
            return Err(PREFIX_NEEDS_BCAST);
        }
        if now.is_some() && has(TrackingOptions::BCAST) != had(TrackingOptions::BCAST) {
            return Err(OTHER_MODE);
        }
        let choice = TrackingOptions::OPTIN | TrackingOptions::OPTOUT;
        if has(TrackingOptions::BCAST) && self.options.intersects(choice) {
            return Err(BCAST_ALONE);
        }
        if has(choice) {
            return Err(IN_AND_OUT);
        }
        if (has(TrackingOptions::OPTIN) && had(TrackingOptions::OPTOUT))
            || (has(TrackingOptions::OPTOUT) && had(TrackingOptions::OPTIN))
        {
            return Err(OTHER_CHOICE);
        }
        self.check_prefixes(now)
    }

    /// One change must not make two messages: no prefix may be the beginning of another.
    fn check_prefixes(&self, now: Option<&ClientTracking>) -> CommandResult {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let error = |prefix: &[u8], what: &[u8], other: &[u8]| {
            let behind = b"'. Prefixes for a single client must not overlap.";
            let (prefix, other) = (c_string(prefix), c_string(other));
            CommandError::err_with(
                [b"Prefix '", prefix, b"' overlaps with ", what, b" prefix '", other, behind]
                    .concat(),
            )
        };
        for (i, prefix) in self.prefixes.iter().enumerate() {
            let mut existing = now.into_iter().flat_map(|t| &t.prefixes);
            if let Some(other) = existing.find(|other| overlap(prefix, other)) {
                return Err(error(prefix, b"an existing", other));
            }
            if let Some(other) = self.prefixes[i + 1..].iter().find(|other| overlap(prefix, other))
            {
                return Err(error(prefix, b"another provided", other));
            }
        }
        Ok(())
    }
}

/// CLIENT TRACKING ON|OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]
fn tracking(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let request = TrackingRequest::parse(s, &args[3..])?;
    let token = call.client;
    if is(args[2], "ON") {
        request.check(s.clients[token].tracking.as_deref())?;
        tracking::enable_tracking(s, token, request.options, request.redirect, &request.prefixes);
    } else if is(args[2], "OFF") {
        tracking::disable_tracking(s, token);
    } else {
        return Err(CommandError::SYNTAX);
    }
    call.reply.ok();
    Ok(())
}

/// CLIENT CACHING YES|NO
fn caching(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let tracking = s.client(call).tracking.as_mut().ok_or(NOT_TRACKING)?;
    if is(args[2], "YES") {
        if !tracking.options.contains(TrackingOptions::OPTIN) {
            return Err(YES_NEEDS_OPTIN);
        }
    } else if is(args[2], "NO") {
        if !tracking.options.contains(TrackingOptions::OPTOUT) {
            return Err(NO_NEEDS_OPTOUT);
        }
    } else {
        return Err(CommandError::SYNTAX);
    }
    tracking.caching = true;
    call.reply.ok();
    Ok(())
}

/// CLIENT GETREDIR
fn getredir(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let id = s.client(call).redirect_id();
    call.reply.int(id);
    Ok(())
}

/// What `CLIENT TRACKINGINFO` calls the state of a client.
fn words(client: &Client) -> Vec<&'static str> {
    let Some(tracking) = &client.tracking else { return vec!["off"] };
    let has = |options| tracking.options.contains(options);
    let (opt_in, opt_out) = (has(TrackingOptions::OPTIN), has(TrackingOptions::OPTOUT));
    let words = [
        (true, "on"),
        (has(TrackingOptions::BCAST), "bcast"),
        (opt_in, "optin"),
        (opt_in && tracking.caching, "caching-yes"),
        (opt_out, "optout"),
        (opt_out && tracking.caching, "caching-no"),
        (has(TrackingOptions::NOLOOP), "noloop"),
        (tracking.broken_redirect, "broken_redirect"),
    ];
    words.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect()
}

/// CLIENT TRACKINGINFO
fn trackinginfo(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let client = s.client(call);
    let (words, redirect) = (words(client), client.redirect_id());
    let prefixes: Vec<Box<[u8]>> =
        client.tracking.iter().flat_map(|t| t.prefixes.iter().cloned()).collect();
    call.reply.map(3);
    call.reply.bulk(b"flags");
    call.reply.set(words.len());
    words.iter().for_each(|word| call.reply.bulk_str(word));
    call.reply.bulk(b"redirect");
    call.reply.int(redirect);
    call.reply.bulk(b"prefixes");
    call.reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| call.reply.bulk(prefix));
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("client|caching", caching),
    ("client|getredir", getredir),
    ("client|tracking", tracking),
    ("client|trackinginfo", trackinginfo),
];
