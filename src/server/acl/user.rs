//! A user: passwords, and selectors that say what it may do.
//!
//! The first selector, the root, is what rules outside of parentheses speak of. A command is allowed if any selector
//! allows all of it. How rules change a user is told in [`rules`](super::rules), how they are applied to a command in
//! [`check`](super::check).

use crate::spec::catalogue::{AclId, MAX_COMMANDS};
use bitflags::bitflags;
use sha2::{Digest, Sha256};

const WORD: usize = u64::BITS as usize;

/// A set of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandBits([u64; MAX_COMMANDS / WORD]);

impl CommandBits {
    pub const NONE: CommandBits = CommandBits([0; MAX_COMMANDS / WORD]);
    pub const ALL: CommandBits = CommandBits([u64::MAX; MAX_COMMANDS / WORD]);

    pub fn contains(&self, id: AclId) -> bool {
        self.0[id / WORD] >> (id % WORD) & 1 != 0
    }

    pub fn set(&mut self, id: AclId, allowed: bool) {
        let bit = 1 << (id % WORD);
        if allowed {
            self.0[id / WORD] |= bit;
        } else {
            self.0[id / WORD] &= !bit;
        }
    }
}

bitflags! {
    /// What may be done with keys.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KeyAccess: u8 {
        const READ = 1 << 0;
        const WRITE = 1 << 1;
    }
}

/// Keys that may be used, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    pub pattern: Box<[u8]>,
    pub access: KeyAccess,
}

impl KeyPattern {
    /// As a rule says it: `~k`, `%R~k`, `%W~k`.
    pub fn rule(&self) -> Vec<u8> {
        let sign: &[u8] =
            match (self.access.contains(KeyAccess::READ), self.access.contains(KeyAccess::WRITE)) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                _ => b"~",
            };
        [sign, &self.pattern].concat()
    }
}

/// One of the alternatives of what a user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub commands: CommandBits,
    /// Every command, none taken away since: the bits need not be looked at.
    pub all_commands: bool,
    /// `rules` follow `+@all`, not `-@all`.
    pub from_all: bool,
    /// The rules on commands that led to the bits, each without its sign, which is apart (`true`: `+`).
    pub rules: Vec<(bool, String)>,
    /// Commands that are allowed with this first argument only.
    pub first_args: Vec<(AclId, Box<[u8]>)>,
    pub all_keys: bool,
    pub keys: Vec<KeyPattern>,
    pub all_channels: bool,
    pub channels: Vec<Box<[u8]>>,
}

impl Selector {
    /// A selector that allows nothing, or only all channels (`acl-pubsub-default`).
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            commands: CommandBits::NONE,
            all_commands: false,
            from_all: false,
            rules: Vec::new(),
            first_args: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels,
            channels: Vec::new(),
        }
    }

    /// The rules on commands, as they can be given to `ACL SETUSER`.
    pub fn describe_commands(&self) -> String {
        let mut text = String::from(if self.from_all { "+@all" } else { "-@all" });
        for (allow, rule) in &self.rules {
            text.push_str(if *allow { " +" } else { " -" });
            text.push_str(rule);
        }
        text
    }

    /// The rules on keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        self.keys.iter().map(KeyPattern::rule).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules on channels; empty where there are none.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let rules = self.channels.iter().map(|channel| [b"&", &channel[..]].concat());
        rules.collect::<Vec<_>>().join(&b' ')
    }

    fn describe(&self) -> Vec<u8> {
        let reset: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        join(&[
            &self.describe_keys(),
            reset,
            &self.describe_channels(),
            self.describe_commands().as_bytes(),
        ])
    }
}

/// Joins with spaces what is not empty.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b' ')
}

/// The SHA-256 of a password.
#[derive(Clone, Copy, Debug)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    pub fn of(password: &[u8]) -> PasswordHash {
        PasswordHash(Sha256::digest(password).into())
    }

    /// From 64 hexadecimal digits in lower case.
    pub fn parse(hex: &[u8]) -> Option<PasswordHash> {
        let mut hash = [0; 32];
        if hex.len() != 2 * hash.len() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Some(PasswordHash(hash))
    }

    pub fn hex(&self) -> String {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl PartialEq for PasswordHash {
    /// Takes the same time wherever the first difference is.
    fn eq(&self, other: &PasswordHash) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub name: Box<[u8]>,
    /// Who is logged in stays so when a user is turned off.
    pub enabled: bool,
    /// Any password will do.
    pub nopass: bool,
    /// `RESTORE` needs not check its payloads. (They are checked all the same.)
    pub skip_sanitize: bool,
    pub passwords: Vec<PasswordHash>,
    pub root: Selector,
    /// Alternatives to the root.
    pub selectors: Vec<Selector>,
}

impl User {
    /// A user that can't log in and may do nothing.
    pub fn new(name: &[u8], all_channels: bool) -> User {
        User {
            name: name.into(),
            enabled: false,
            nopass: false,
            skip_sanitize: false,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
        }
    }

    /// A user that needs no password and may do everything.
    pub fn superuser(name: &[u8]) -> User {
        let root = Selector {
            commands: CommandBits::ALL,
            all_commands: true,
            from_all: true,
            all_keys: true,
            ..Selector::new(true)
        };
        User { enabled: true, nopass: true, root, ..User::new(name, true) }
    }

    /// All selectors, the root first.
    pub fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether there is nothing that the user may not do.
    pub fn is_unrestricted(&self) -> bool {
        self.all_selectors().any(|s| s.all_commands && s.all_keys && s.all_channels)
    }

    /// Whether one can become this user with a password.
    pub fn accepts(&self, password: &[u8]) -> bool {
        self.enabled && (self.nopass || self.passwords.contains(&PasswordHash::of(password)))
    }

    /// The flags that `ACL GETUSER` shows.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags.push(if self.skip_sanitize { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// The user in the form of `redis.conf` and ACL files, behind the word `user`.
    pub fn describe(&self) -> Vec<u8> {
        let passwords: Vec<_> =
            self.passwords.iter().map(|hash| format!("#{}", hash.hex())).collect();
        let selectors: Vec<_> =
            self.selectors.iter().map(|s| [b"(", &s.describe()[..], b")"].concat()).collect();
        let rules = join(&[
            self.flags().join(" ").as_bytes(),
            passwords.join(" ").as_bytes(),
            &self.root.describe(),
            &selectors.join(&b' '),
        ]);
        [&self.name[..], &rules].join(&b' ')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_kept_as_hashes() {
        let hex = "34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4e6";
        assert_eq!(PasswordHash::of(b"passwd4").hex(), hex);
        assert_eq!(PasswordHash::parse(hex.as_bytes()), Some(PasswordHash::of(b"passwd4")));
        for wrong in [&hex[1..], &hex.to_uppercase(), &hex.replace('3', "g"), ""] {
            assert_eq!(PasswordHash::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let mut user = User::superuser(b"u");
        assert!(user.accepts(b"anything"));
        user.nopass = false;
        assert!(!user.accepts(b"anything"));
        user.passwords.push(PasswordHash::of(b"passwd4"));
        assert!(user.accepts(b"passwd4") && !user.accepts(b"passwd"));
        user.enabled = false;
        assert!(!user.accepts(b"passwd4"));
    }
}
