//! Publish and subscribe: PUBLISH, (P|S)SUBSCRIBE, (P|S)UNSUBSCRIBE, PUBSUB and their kin for shard channels.

use crate::bus::Publication;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::{Client, ClientFlags};
use crate::server::cluster::drive;
use crate::server::output;
use crate::server::pubsub::Topic;
use crate::server::subscribe;
use crate::server::table::Row;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::util::glob::glob_match;
use bytes::Bytes;

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

fn publish(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let receivers = output::publish(s, args[1], args[2]);
    pass_on(s, call, args, false);
    call.reply.int(receivers as i64);
    Ok(())
}

/// Tells others of a message: replicas by the stream; in a cluster all nodes, or those of the shard, by the bus.
fn pass_on(s: &mut Server, call: &mut Call, args: &[&[u8]], is_sharded: bool) {
    if s.cluster.is_none() {
        return call.propagate_to_replicas();
    }
    let (channel, message) = (args[1].to_vec(), args[2].to_vec());
    let publication = Publication { is_sharded, channel, message };
    drive::operate(s, |cluster, _, facts| cluster.publish(publication, facts));
}

fn spublish(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let receivers = output::publish_on_shard(s, args[1], args[2]);
    pass_on(s, call, args, true);
    call.reply.int(receivers as i64);
    Ok(())
}

fn subscribe(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    subscribe_to(s, call, Topic::Channel, "subscribe", &args[1..])
}

fn psubscribe(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    subscribe_to(s, call, Topic::Pattern, "psubscribe", &args[1..])
}

fn ssubscribe(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    subscribe_to(s, call, Topic::Shard, "ssubscribe", &args[1..])
}

fn unsubscribe(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    unsubscribe_from(s, call, Topic::Channel, "unsubscribe", &args[1..])
}

fn punsubscribe(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    unsubscribe_from(s, call, Topic::Pattern, "punsubscribe", &args[1..])
}

fn sunsubscribe(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    unsubscribe_from(s, call, Topic::Shard, "sunsubscribe", &args[1..])
}

fn subscribe_to(
    s: &mut Server,
    call: &mut Call,
    topic: Topic,
    verb: &str,
    names: &[&[u8]],
) -> CommandResult {
    let token = call.client;
    // Who expects one reply to each command can't subscribe. In a transaction it always could, but for shards.
    let excused = topic != Topic::Shard && s.clients[token].is(ClientFlags::MULTI);
    if call.deny_blocking && !excused {
        return Err(CommandError::err_with(format!(
            "{} isn't allowed for a DENY BLOCKING client",
            verb.to_uppercase()
        )));
    }
    for name in names {
        subscribe::subscribe(s, token, topic, name);
        confirm(s, call, topic, verb, Some(name));
    }
    Ok(())
}

fn unsubscribe_from(
    s: &mut Server,
    call: &mut Call,
    topic: Topic,
    verb: &str,
    names: &[&[u8]],
) -> CommandResult {
    let token = call.client;
    if s.config.flavour.unsubscribes_subscribers_only && !s.clients[token].is(ClientFlags::PUBSUB) {
        let text = format!("'{verb}' command executed not in subscribed mode");
        return Err(CommandError::with(ErrorCode::NoSub, text));
    }
    for name in names {
        subscribe::unsubscribe(s, token, topic, name);
        confirm(s, call, topic, verb, Some(name));
    }
    if names.is_empty() {
        let all = subscribe::subscribed_to(s, token, topic);
        for name in &all {
            subscribe::unsubscribe(s, token, topic, name);
            confirm(s, call, topic, verb, Some(name));
        }
        if all.is_empty() {
            confirm(s, call, topic, verb, None);
        }
    }
    Ok(())
}

/// Tells the current client what it did, and how many subscriptions it has now. This is out of band: a client that
/// wants no replies (`CLIENT REPLY`) gets it all the same.
fn confirm(s: &mut Server, call: &mut Call, topic: Topic, verb: &str, name: Option<&[u8]>) {
    let token = call.client;
    let client = &s.clients[token];
    let count = subscriptions_counted_with(client, topic) as i64;
    let write = |reply: &mut Reply| {
        reply.push(3);
        reply.bulk_str(verb);
        reply.bulk_or_null(name);
        reply.int(count);
    };
    if client.is_any(ClientFlags::REPLY_OFF | ClientFlags::REPLY_SKIP) {
        let mut reply = Reply::new(client.protocol);
        write(&mut reply);
        output::push_to(s, token, Bytes::from(reply.take()));
    } else {
        write(&mut call.reply);
    }
}

/// Channels and patterns are counted together, shard channels for themselves.
fn subscriptions_counted_with(client: &Client, topic: Topic) -> usize {
    client.subscriptions.as_ref().map_or(0, |all| match topic {
        Topic::Channel | Topic::Pattern => all.len(Topic::Channel) + all.len(Topic::Pattern),
        Topic::Shard => all.len(Topic::Shard),
    })
}

fn channels(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    list_channels(s, call, Topic::Channel, args)
}

fn shardchannels(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    list_channels(s, call, Topic::Shard, args)
}

fn list_channels(s: &mut Server, call: &mut Call, topic: Topic, args: &[&[u8]]) -> CommandResult {
    let pattern = match args[2..] {
        [] => None,
        [pattern] => Some(pattern),
        _ => return Err(subcommand_syntax_error("PUBSUB", args)),
    };
    let at = call.reply.deferred();
    let mut n = 0;
    for channel in s.pubsub.of(topic).keys() {
        if pattern.is_none_or(|pattern| glob_match(pattern, channel, false)) {
            call.reply.bulk(channel);
            n += 1;
        }
    }
    call.reply.set_array(at, n);
    Ok(())
}

fn numsub(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    count_subscribers(s, call, Topic::Channel, &args[2..])
}

fn shardnumsub(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    count_subscribers(s, call, Topic::Shard, &args[2..])
}

fn count_subscribers(
    s: &mut Server,
    call: &mut Call,
    topic: Topic,
    names: &[&[u8]],
) -> CommandResult {
    call.reply.array(2 * names.len());
    for &name in names {
        let subscribers = s.pubsub.of(topic).get(name).map_or(0, Vec::len);
        call.reply.bulk(name);
        call.reply.int(subscribers as i64);
    }
    Ok(())
}

fn numpat(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let patterns = s.pubsub.of(Topic::Pattern).len();
    call.reply.int(patterns as i64);
    Ok(())
}

fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "PUBSUB", HELP);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("publish", publish),
    ("spublish", spublish),
    ("subscribe", subscribe),
    ("psubscribe", psubscribe),
    ("ssubscribe", ssubscribe),
    ("unsubscribe", unsubscribe),
    ("punsubscribe", punsubscribe),
    ("sunsubscribe", sunsubscribe),
    ("pubsub|channels", channels),
    ("pubsub|numsub", numsub),
    ("pubsub|numpat", numpat),
    ("pubsub|shardchannels", shardchannels),
    ("pubsub|shardnumsub", shardnumsub),
    ("pubsub|help", help),
];
