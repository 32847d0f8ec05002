//! Access control lists: users, what they may do, and who is logged in as whom.
//!
//! * [`user`]: a user and its selectors.
//! * [`rules`]: how the rules of `ACL SETUSER` change a user.
//! * [`check`]: whether a user may run a command.
//! * [`log`]: what was refused.
//! * [`file`]: users in `redis.conf` and in ACL files.
//!
//! A client refers to its user by a [`UserId`]. Nearly all clients may do everything: those that may not carry
//! [`ClientFlags::RESTRICTED`], so that the others are let through by looking at a flag.

pub mod check;
pub mod file;
pub mod log;
pub mod rules;
pub mod user;

use super::Server;
use super::client::{Client, ClientFlags, Token};
use super::clients::Clients;
use super::config::{AclPubsubDefault, Config};
use super::pubsub::{TOPICS, Topic};
use super::token::{DEFAULT_USER, UserId};
use crate::resp::error::{CommandError, ErrorCode};
use crate::server::client_info;
use crate::server::table::{CommandId, CommandTable};
use check::{AclDenied, Denial, allows_channel};
use log::{AclLog, AclLogEntry, Origin, Subject};
use rules::{RuleBook, SetUserError, merge_selectors};
use slab::Slab;
use std::collections::BTreeMap;
use user::{PasswordHash, User};

const DEFAULT_NAME: &[u8] = b"default";

/// All users.
#[derive(Debug)]
pub struct Acl {
    users: Slab<User>,
    by_name: BTreeMap<Box<[u8]>, UserId>,
    pub(crate) log: AclLog,
}

impl Default for Acl {
    /// Only the default user, which may do everything without a password.
    fn default() -> Acl {
        let mut acl = Acl { users: Slab::new(), by_name: BTreeMap::new(), log: AclLog::default() };
        acl.insert(User::superuser(DEFAULT_NAME));
        acl
    }
}

impl Acl {
    fn insert(&mut self, user: User) -> UserId {
        let name = user.name.clone();
        let id = self.users.insert(user);
        self.by_name.insert(name, id);
        id
    }

    pub fn get(&self, id: UserId) -> &User {
        &self.users[id]
    }

    pub fn find(&self, name: &[u8]) -> Option<UserId> {
        self.by_name.get(name).copied()
    }

    /// The user of this name, if anybody may log in as it.
    pub fn find_enabled(&self, name: &[u8]) -> Option<UserId> {
        self.find(name).filter(|&id| self.users[id].enabled)
    }

    /// All users, by name.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &User> {
        self.by_name.values().map(|&id| &self.users[id])
    }

    /// The user of this name, if the password is right.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<UserId> {
        self.find(name).filter(|&id| self.users[id].accepts(password))
    }

    /// Whether the default user needs no password.
    pub fn default_has_no_password(&self) -> bool {
        self.users[DEFAULT_USER].nopass
    }

    /// Whether a client is served before it logs in.
    pub fn serves_strangers(&self) -> bool {
        let default = &self.users[DEFAULT_USER];
        default.nopass && default.enabled
    }

    /// Whether a client must log in first.
    pub fn needs_auth(&self, client: &Client) -> bool {
        !client.is(ClientFlags::AUTHENTICATED) && !self.serves_strangers()
    }

    /// Makes a client a user's.
    fn assign(&self, client: &mut Client, id: UserId) {
        client.user = id;
        client.flags.set(ClientFlags::RESTRICTED, !self.users[id].is_unrestricted());
    }

    /// Makes a client what it is before it logs in.
    pub fn assign_default(&self, client: &mut Client) {
        self.assign(client, DEFAULT_USER);
        client.flags.set(ClientFlags::AUTHENTICATED, self.serves_strangers());
    }

    /// Logs a client in.
    pub fn log_in(&self, client: &mut Client, user: UserId) {
        self.assign(client, user);
        client.flags |= ClientFlags::AUTHENTICATED;
    }

    /// `ACL SETUSER`: applies all rules to a user, which is made if need be, or none of them. Returns the clients whose
    /// connections are to be closed.
    ///
    /// # Errors
    /// What is wrong with the first rule that is wrong.
    pub(crate) fn set_user(
        &mut self,
        clients: &mut Clients,
        book: RuleBook<'_>,
        name: &[u8],
        rules: &[&[u8]],
    ) -> Result<Vec<Token>, SetUserError> {
        let rules = merge_selectors(rules).map_err(|open| SetUserError::Unclosed(open.to_vec()))?;
        let mut user = match self.find(name) {
            Some(id) => self.get(id).clone(),
            None => User::new(name, book.all_channels),
        };
        for rule in &rules {
            book.apply(&mut user, rule)
                .map_err(|error| SetUserError::Refused { rule: rule.to_vec(), error })?;
        }
        Ok(self.put_user(clients, user))
    }

    /// Puts a user in the place of the one that has its name, or adds it. Returns the clients that listen to what they
    /// may not hear any more: their connections are to be closed.
    fn put_user(&mut self, clients: &mut Clients, user: User) -> Vec<Token> {
        let Some(id) = self.find(&user.name) else {
            self.insert(user);
            return Vec::new();
        };
        let old = std::mem::replace(&mut self.users[id], user);
        let user = &self.users[id];
        let revoked = loses_channels(&old, user);
        let (closed, kept): (Vec<_>, Vec<_>) = clients_of(clients, id)
            .into_iter()
            .partition(|&token| revoked && hears_what_it_may_not(&clients[token], user));
        for token in kept {
            self.assign(&mut clients[token], id);
        }
        closed
    }

    /// `ACL DELUSER`: deletes a user, if there is such a one. Returns its clients, whose connections are to be closed.
    pub(crate) fn delete_user(&mut self, clients: &mut Clients, name: &[u8]) -> Option<Vec<Token>> {
        let id = self.by_name.remove(name)?;
        let closed = clients_of(clients, id);
        for &token in &closed {
            let client = &mut clients[token];
            self.assign(client, DEFAULT_USER);
            client.flags.remove(ClientFlags::AUTHENTICATED);
        }
        self.users.remove(id);
        Some(closed)
    }
}

/// What must be known to understand a rule.
pub(crate) fn rule_book<'a>(commands: &'a CommandTable, config: &Config) -> RuleBook<'a> {
    RuleBook {
        catalogue: &commands.catalogue,
        all_channels: config.acl_pubsub_default == AclPubsubDefault::AllChannels,
    }
}

/// Carries `requirepass` over to the default user.
pub(crate) fn apply_requirepass(server: &mut Server) {
    let default = &mut server.acl.users[DEFAULT_USER];
    default.passwords.clear();
    default.passwords.extend(server.config.requirepass.as_deref().map(PasswordHash::of));
    default.nopass = server.config.requirepass.is_none();
}

/// The clients that are logged in as a user. The primary is nobody's.
fn clients_of(clients: &Clients, id: UserId) -> Vec<Token> {
    let of = |client: &Client| client.user == id && !client.is(ClientFlags::MASTER);
    clients.iter().filter(|(_, client)| of(client)).map(|(token, _)| token).collect()
}

/// Whether a user may not hear something any more that it might have heard as `old`.
fn loses_channels(old: &User, new: &User) -> bool {
    if new.all_selectors().any(|s| s.all_channels) {
        return false;
    }
    let kept = |channel| new.all_selectors().any(|s| s.channels.contains(channel));
    old.all_selectors().any(|s| s.all_channels || !s.channels.iter().all(kept))
}

/// Whether a client is subscribed to something that a user may not hear.
fn hears_what_it_may_not(client: &Client, user: &User) -> bool {
    let Some(subscriptions) = &client.subscriptions else { return false };
    TOPICS.into_iter().any(|topic| {
        subscriptions.names(topic).any(|name| {
            let patterns = user.all_selectors().flat_map(|s| &s.channels).map(|p| &p[..]);
            !allows_channel(patterns, name, topic == Topic::Pattern)
        })
    })
}

/// Whether a client may run a command.
///
/// # Errors
/// What its user has no permission for. Nothing is logged: see [`no_permission`].
pub(crate) fn acl_check(
    server: &Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
) -> Result<(), AclDenied> {
    let client = &server.clients[token];
    if !client.is(ClientFlags::RESTRICTED) {
        return Ok(());
    }
    server.acl.get(client.user).check(server.commands.get(id), args)
}

/// Whether a client's user may read every key that this command might lead to.
pub(crate) fn may_read_all_keys(server: &Server, token: Token, args: &[&[u8]]) -> bool {
    let client = &server.clients[token];
    !client.is(ClientFlags::RESTRICTED)
        || server.commands.find(args[0]).is_some_and(|id| {
            server.acl.get(client.user).may_read_all_keys(server.commands.get(id), args)
        })
}

/// Logs that a client was denied a command.
pub(crate) fn log_denied(
    server: &mut Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
    denied: AclDenied,
    context: Origin,
) {
    let object = match denied.denial {
        Denial::Command => server.commands.get(id).spec.name.as_bytes(),
        Denial::Key | Denial::Channel => args[denied.arg],
    };
    let object: Box<[u8]> = object.into();
    let user = server.acl.get(server.clients[token].user).name.clone();
    let who = client_info::client_info(server, token);
    log_refusal(server, who, Subject::Denied(denied.denial), context, object, user);
}

/// Logs that a client was denied a command, and answers the error that it gets.
pub(crate) fn no_permission(
    server: &mut Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
    denied: AclDenied,
) -> CommandError {
    log_denied(server, token, id, args, denied, acl_context(server, token));
    let text = refusal_text(server, token, id, args, denied);
    CommandError::with(ErrorCode::NoPerm, text)
}

/// What a client hears that is denied a command. It does not name the key or channel.
pub(crate) fn refusal_text(
    server: &Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
    denied: AclDenied,
) -> Vec<u8> {
    match denied.denial {
        Denial::Command => denied_text(server, server.clients[token].user, id, args, denied),
        Denial::Key => b"No permissions to access a key".to_vec(),
        Denial::Channel => b"No permissions to access a channel".to_vec(),
    }
}

/// Why a user may not run a command, in full.
pub(crate) fn denied_text(
    server: &Server,
    user: UserId,
    id: CommandId,
    args: &[&[u8]],
    denied: AclDenied,
) -> Vec<u8> {
    let (verb, object, kind): (&[u8], _, &[u8]) = match denied.denial {
        Denial::Command => (b"run", server.commands.get(id).spec.name.as_bytes(), b"command"),
        Denial::Key => (b"access", args[denied.arg], b"key"),
        Denial::Channel => (b"access", args[denied.arg], b"channel"),
    };
    let user = &server.acl.get(user).name[..];
    [b"User ", user, b" has no permissions to ", verb, b" the '", object, b"' ", kind].concat()
}

/// Logs that a client did not know the password of a user that it wanted to be. `command` is what it said.
pub(crate) fn log_failed_login(server: &mut Server, token: Token, command: &[u8], user: &[u8]) {
    let (context, who) = (acl_context(server, token), client_info::client_info(server, token));
    log_refusal(server, who, Subject::Auth, context, command.into(), user.into());
}

/// Logs that a client's certificate names nobody who could be logged in; `name` is the first name in it.
pub(crate) fn log_unknown_certificate(server: &mut Server, token: Token, name: &[u8]) {
    let who = client_info::client_info(server, token);
    log_refusal(server, who, Subject::Certificate, Origin::TopLevel, b""[..].into(), name.into());
}

/// Logs a failed login of somebody who speaks HTTP, and is described so.
pub(crate) fn log_failed_http_login(server: &mut Server, who: String, user: &[u8]) {
    let object = b"HTTP"[..].into();
    log_refusal(server, who, Subject::Auth, Origin::TopLevel, object, user.into());
}

fn acl_context(server: &Server, token: Token) -> Origin {
    if server.clients[token].is(ClientFlags::MULTI) { Origin::Multi } else { Origin::TopLevel }
}

fn log_refusal(
    server: &mut Server,
    client_info: String,
    reason: Subject,
    context: Origin,
    object: Box<[u8]>,
    user: Box<[u8]>,
) {
    let now = server.ks.now_ms;
    let entry = AclLogEntry {
        count: 1,
        reason,
        context,
        object,
        user,
        client_info,
        id: 0,
        created_ms: now,
        updated_ms: now,
    };
    let max = usize::try_from(server.config.acllog_max_len).unwrap_or(usize::MAX);
    server.acl.log.add(entry, max);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::{Connection, Nobody};
    use crate::server::pubsub::PubSub;
    use crate::spec::COMMANDS;
    use crate::spec::catalogue::Catalogue;

    fn new_client() -> Client {
        Clients::default().new_client(Connection::Virtual(Box::new(Nobody)), 0)
    }

    #[test]
    fn a_client_is_as_restricted_as_its_user() {
        let mut acl = Acl::default();
        let mut client = new_client();
        acl.assign_default(&mut client);
        assert!(!client.is(ClientFlags::RESTRICTED) && !acl.needs_auth(&client));
        let id = acl.insert(User::new(b"u", false));
        acl.assign(&mut client, id);
        assert!(client.is(ClientFlags::RESTRICTED));
        assert_eq!(
            acl.users().map(|user| &user.name[..]).collect::<Vec<_>>(),
            [DEFAULT_NAME, b"u"]
        );
    }

    #[test]
    fn strangers_must_log_in_where_there_is_a_password() {
        let mut acl = Acl::default();
        let default = &mut acl.users[DEFAULT_USER];
        default.nopass = false;
        default.passwords.extend([PasswordHash::of(b"secret")]);
        let mut client = new_client();
        acl.assign_default(&mut client);
        assert!(acl.needs_auth(&client));
        assert_eq!(acl.authenticate(DEFAULT_NAME, b"wrong"), None);
        assert_eq!(acl.authenticate(DEFAULT_NAME, b"secret"), Some(DEFAULT_USER));
        assert_eq!(acl.authenticate(b"nobody", b"secret"), None);
    }

    #[test]
    fn clients_are_to_be_closed_that_may_not_hear_or_be_any_more() {
        let catalogue = Catalogue::new(COMMANDS);
        let book = RuleBook { catalogue: &catalogue, all_channels: false };
        let (mut acl, mut clients, mut pubsub) =
            (Acl::default(), Clients::default(), PubSub::default());
        let set = |acl: &mut Acl, clients: &mut Clients, rules: &[&[u8]]| {
            acl.set_user(clients, book, b"u", rules).expect("rules that can be")
        };
        assert!(set(&mut acl, &mut clients, &[b"on", b"nopass", b"&a*", b"+@all"]).is_empty());
        let user = acl.find(b"u").expect("it was made");
        let [listener, other] = [b"ax", b"ay"].map(|channel| {
            let mut client = new_client();
            acl.log_in(&mut client, user);
            let token = clients.insert(client);
            let subscriptions = clients[token].subscriptions.get_or_insert_default();
            pubsub.subscribe(token, subscriptions, Topic::Channel, channel);
            token
        });
        assert!(set(&mut acl, &mut clients, &[b"-get"]).is_empty());
        assert_eq!(set(&mut acl, &mut clients, &[b"resetchannels", b"&ax"]), [other]);
        let client = &clients[listener];
        assert!(client.is(ClientFlags::AUTHENTICATED) && client.is(ClientFlags::RESTRICTED));
        assert_eq!(acl.delete_user(&mut clients, b"u"), Some(vec![listener, other]));
        assert!(!clients[listener].is(ClientFlags::AUTHENTICATED));
        assert_eq!(acl.delete_user(&mut clients, b"u"), None);
    }
}
