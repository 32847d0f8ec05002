//! Which clients `CLIENT LIST` and `CLIENT KILL` mean.
//!
//! The options are Redis 7.2's, and those that Valkey 8.1 and 9.0 added: `CLIENT LIST` knows all that `CLIENT KILL`
//! knows, and every option but `SKIPME`, `MAXAGE` and `IDLE` can be negated (`NOT-ADDR`).

use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::client::{Client, ClientFlags, Token};
use crate::server::client_info::{has_flags, is_flag};
use crate::server::token::UserId;
use crate::util::c_string;
use crate::util::number::parse_i64;

/// Types that `TYPE` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    Replica,
    PubSub,
    Primary,
}

impl ClientType {
    fn of(client: &Client) -> ClientType {
        if client.is(ClientFlags::MASTER) {
            return ClientType::Primary;
        }
        match client.class() {
            1 => ClientType::Replica,
            2 => ClientType::PubSub,
            _ => ClientType::Normal,
        }
    }

    fn parse(name: &[u8]) -> CommandResult<ClientType> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"slave" | b"replica" => Ok(ClientType::Replica),
            b"pubsub" => Ok(ClientType::PubSub),
            b"master" | b"primary" => Ok(ClientType::Primary),
            _ => Err(CommandError::quoting("Unknown client type '", name, "'")),
        }
    }
}

/// What may be said of a client.
#[derive(Debug)]
enum Property<'a> {
    Ids(Vec<u64>),
    Type(ClientType),
    User(UserId),
    Addr(&'a [u8]),
    Laddr(&'a [u8]),
    Ip(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVer(&'a [u8]),
    Db(usize),
    /// Letters of the `flags` field, all of which it has.
    Flags(&'a [u8]),
    /// Letters of capabilities, all of which it has.
    Capabilities(&'a [u8]),
    /// So many seconds, or more, since it connected.
    Age(i64),
    /// So many seconds, or more, since it said something.
    Idle(i64),
}

impl Property<'_> {
    fn holds(&self, s: &Server, token: Token) -> bool {
        let client = &s.clients[token];
        match *self {
            Property::Ids(ref ids) => ids.contains(&client.id),
            Property::Type(kind) => kind == ClientType::of(client),
            Property::User(user) => user == client.user && !client.is(ClientFlags::MASTER),
            Property::Addr(address) => client.conn.peer(&s.unix_path()).as_bytes() == address,
            Property::Laddr(address) => client.conn.local(&s.unix_path()).as_bytes() == address,
            Property::Ip(ip) => {
                client.conn.peer_ip().is_some_and(|have| have.to_string().as_bytes() == ip)
            }
            Property::Name(name) => client.name.as_deref().is_some_and(|have| have == name),
            Property::LibName(name) => {
                !name.is_empty() && client.lib_name.as_bytes() == c_string(name)
            }
            Property::LibVer(version) => {
                !version.is_empty() && client.lib_ver.as_bytes() == c_string(version)
            }
            Property::Db(db) => client.db == db,
            Property::Flags(letters) => has_flags(client, letters),
            // There is one.
            Property::Capabilities(letters) => {
                letters.is_empty() || client.is(ClientFlags::REDIRECT)
            }
            Property::Age(seconds) => s.now_seconds() - client.created_seconds >= seconds,
            Property::Idle(seconds) => s.now_seconds() - client.last_interaction_seconds >= seconds,
        }
    }
}

/// Clients that fit everything that is said of them.
#[derive(Debug)]
pub struct Filter<'a> {
    conditions: Vec<Condition<'a>>,
    skip_me: bool,
}

#[derive(Debug)]
struct Condition<'a> {
    property: Property<'a>,
    is_wanted: bool,
}

impl<'a> Filter<'a> {
    /// Reads options; `skip_me`: whether the client that asks is left out where nothing is said of that.
    ///
    /// # Errors
    /// If they can't be understood.
    pub fn parse(s: &Server, mut options: &[&'a [u8]], skip_me: bool) -> CommandResult<Filter<'a>> {
        let mut filter = Filter { conditions: Vec::new(), skip_me };
        while let [option, value, rest @ ..] = options {
            options = rest;
            if option.eq_ignore_ascii_case(b"skipme") {
                filter.skip_me = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(CommandError::SYNTAX),
                };
                continue;
            }
            let (name, is_wanted) = match option.get(..4) {
                Some(not) if not.eq_ignore_ascii_case(b"not-") => (&option[4..], false),
                _ => (*option, true),
            };
            let property = if name.eq_ignore_ascii_case(b"id") {
                let mut ids = vec![client_id(value)?];
                while let [value, rest @ ..] = options
                    && parse_i64(value).is_some()
                {
                    ids.push(client_id(value)?);
                    options = rest;
                }
                Property::Ids(ids)
            } else {
                property(s, name, value, is_wanted)?
            };
            filter.conditions.push(Condition { property, is_wanted });
        }
        if options.is_empty() { Ok(filter) } else { Err(CommandError::SYNTAX) }
    }

    /// Clients that have come from there, the one that asks among them.
    pub fn address(address: &'a [u8]) -> Filter<'a> {
        let condition = Condition { property: Property::Addr(address), is_wanted: true };
        Filter { conditions: vec![condition], skip_me: false }
    }

    /// Whether a client is meant, if `asking` asks.
    pub fn fits(&self, s: &Server, asking: Token, token: Token) -> bool {
        !(self.skip_me && asking == token)
            && self.conditions.iter().all(|it| it.property.holds(s, token) == it.is_wanted)
    }
}

fn client_id(text: &[u8]) -> CommandResult<u64> {
    let id = parse_i64(text).filter(|&id| id > 0);
    Ok(id.ok_or(CommandError::err("client-id should be greater than 0"))?.cast_unsigned())
}

/// A property by the name of its option.
fn property<'a>(
    s: &Server,
    name: &[u8],
    value: &'a [u8],
    is_wanted: bool,
) -> CommandResult<Property<'a>> {
    Ok(match name.to_ascii_lowercase().as_slice() {
        b"type" => Property::Type(ClientType::parse(value)?),
        b"user" => {
            let user = s.acl.find(value);
            Property::User(user.ok_or_else(|| CommandError::quoting("No such user '", value, "'"))?)
        }
        b"addr" => Property::Addr(value),
        b"laddr" => Property::Laddr(value),
        b"ip" => Property::Ip(value),
        b"name" => Property::Name(value),
        b"lib-name" => Property::LibName(value),
        b"lib-ver" => Property::LibVer(value),
        b"db" => Property::Db(database(s, value)?),
        b"flags" => Property::Flags(letters("flags", value, is_wanted, is_flag)?),
        b"capa" => Property::Capabilities(letters("capa", value, is_wanted, |it| it == b'r')?),
        b"maxage" if is_wanted => Property::Age(positive("maxage", value)?),
        b"idle" if is_wanted => Property::Idle(positive("idle", value)?),
        _ => return Err(CommandError::SYNTAX),
    })
}

fn positive(name: &str, text: &[u8]) -> CommandResult<i64> {
    let number = number(name, text)?;
    if number > 0 {
        Ok(number)
    } else {
        Err(CommandError::err_with(format!("{name} should be greater than 0")))
    }
}

fn number(name: &str, text: &[u8]) -> CommandResult<i64> {
    let wrong = || CommandError::err_with(format!("{name} is not an integer or out of range"));
    parse_i64(text).ok_or_else(wrong)
}

fn database(s: &Server, text: &[u8]) -> CommandResult<usize> {
    let last = s.ks.dbs.len() - 1;
    match usize::try_from(number("DB", text)?) {
        Ok(db) if db <= last => Ok(db),
        _ => Err(CommandError::err_with(format!("DB number should be between 0 and {last}"))),
    }
}

/// Letters of which each means something.
fn letters<'a>(
    name: &str,
    value: &'a [u8],
    is_wanted: bool,
    is_known: fn(u8) -> bool,
) -> CommandResult<&'a [u8]> {
    if value.iter().all(|&letter| is_known(letter)) {
        return Ok(value);
    }
    let filter =
        if is_wanted { "provided".into() } else { format!("NOT-{}", name.to_ascii_uppercase()) };
    Err(CommandError::quoting(&format!("Unknown {name} found in the {filter} filter: "), value, ""))
}
