//! The rules of ACLs: what each word of `ACL SETUSER` does to a user.

use super::user::{CommandBits, KeyAccess, KeyPattern, PasswordHash, Selector, User};
use crate::resp::error::CommandError;
use crate::spec::AclCategories;
use crate::spec::catalogue::{AclId, Catalogue};
use crate::util::args::split_args;
use std::borrow::Cow;
use std::fmt;

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// It names a command or category that there is not.
    Unknown,
    Syntax,
    /// A pattern of keys where all are allowed already.
    KeyAfterAll,
    /// A pattern of channels where all are allowed already.
    ChannelAfterAll,
    NoSuchPassword,
    BadHash,
    FirstArgOfSubcommand,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeyAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
        })
    }
}

/// Why `ACL SETUSER` changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetUserError {
    /// This word opens a selector that nothing closes.
    Unclosed(Vec<u8>),
    Refused {
        rule: Vec<u8>,
        error: RuleError,
    },
}

impl From<SetUserError> for CommandError {
    fn from(error: SetUserError) -> CommandError {
        match error {
            SetUserError::Unclosed(word) => {
                let before = "Unmatched parenthesis in acl selector starting at '";
                CommandError::quoting(before, &word, "'.")
            }
            SetUserError::Refused { rule, error } => {
                let before = "Error in ACL SETUSER modifier '";
                CommandError::quoting(before, &rule, &format!("': {error}"))
            }
        }
    }
}

/// Whether a text has spaces or zeros, which names and patterns may not, so that users can be written as lines.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|&byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0))
}

/// Puts selectors together that came as several words, for `(+get ~k)` may be given with or without quotes.
///
/// # Errors
/// The word that opens a selector which is not closed.
pub fn merge_selectors<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, &'a [u8]> {
    let mut merged: Vec<Cow<'a, [u8]>> = Vec::new();
    let mut open: Option<(&'a [u8], Vec<u8>)> = None;
    for &word in words {
        let closes = word.ends_with(b")");
        match &mut open {
            None if word.starts_with(b"(") && !closes => open = Some((word, word.to_vec())),
            None => merged.push(word.into()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if closes {
                    merged.push(std::mem::take(selector).into());
                    open = None;
                }
            }
        }
    }
    match open {
        None => Ok(merged),
        Some((word, _)) => Err(word),
    }
}

/// What must be known to understand a rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleBook<'a> {
    pub catalogue: &'a Catalogue,
    /// Whether new users and selectors have all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

impl RuleBook<'_> {
    /// Applies one rule to a user. After an error the user is as it was.
    pub fn apply(&self, user: &mut User, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => user.enabled = true,
            b"off" => user.enabled = false,
            b"skip-sanitize-payload" => user.skip_sanitize = true,
            b"sanitize-payload" => user.skip_sanitize = false,
            b"nopass" => {
                user.nopass = true;
                user.passwords.clear();
            }
            b"resetpass" => {
                user.nopass = false;
                user.passwords.clear();
            }
            b"clearselectors" => user.selectors.clear(),
            b"reset" => *user = User::new(&user.name, self.all_channels),
            _ => match rule {
                [b'>', password @ ..] => add_password(user, PasswordHash::of(password)),
                [b'#', hex @ ..] => add_password(user, parse_hash(hex)?),
                [b'<', password @ ..] => remove_password(user, PasswordHash::of(password))?,
                [b'!', hex @ ..] => remove_password(user, parse_hash(hex)?)?,
                [b'(', rules @ .., b')'] => user.selectors.push(self.selector(rules)?),
                _ => self.apply_to_selector(&mut user.root, rule)?,
            },
        }
        Ok(())
    }

    /// A new selector, from the rules between its parentheses.
    fn selector(&self, rules: &[u8]) -> Result<Selector, RuleError> {
        let mut selector = Selector::new(self.all_channels);
        for rule in split_args(rules).unwrap_or_default() {
            self.apply_to_selector(&mut selector, &rule)?;
        }
        Ok(selector)
    }

    fn apply_to_selector(&self, selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => {
                selector.all_keys = true;
                selector.keys.clear();
            }
            b"resetkeys" => {
                selector.all_keys = false;
                selector.keys.clear();
            }
            b"allchannels" | b"&*" => {
                selector.all_channels = true;
                selector.channels.clear();
            }
            b"resetchannels" => {
                selector.all_channels = false;
                selector.channels.clear();
            }
            b"allcommands" | b"+@all" => set_all_commands(selector, true),
            b"nocommands" | b"-@all" => set_all_commands(selector, false),
            _ => match rule {
                [b'~' | b'%', ..] => add_keys(selector, rule)?,
                [b'&', pattern @ ..] => add_channels(selector, pattern)?,
                [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                    self.set_category(selector, name, *sign == b'+')?;
                }
                [b'+', name @ ..] => self.allow_command(selector, name)?,
                [b'-', name @ ..] => {
                    let id = self.catalogue.find(name).ok_or(RuleError::Unknown)?;
                    self.set_command(selector, id, false);
                    note_rule(selector, self.catalogue.get(id).name, false);
                }
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn set_category(
        &self,
        selector: &mut Selector,
        name: &[u8],
        allow: bool,
    ) -> Result<(), RuleError> {
        let category = AclCategories::named(name).ok_or(RuleError::Unknown)?;
        for (id, entry) in self.catalogue.iter() {
            if entry.categories.contains(category) {
                self.set_command(selector, id, allow);
            }
        }
        note_rule(selector, &format!("@{}", String::from_utf8_lossy(name)), allow);
        Ok(())
    }

    /// `+command`, `+container|subcommand` or `+command|first-argument`.
    fn allow_command(&self, selector: &mut Selector, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = memchr::memrchr(b'|', name) else {
            let id = self.catalogue.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(selector, id, true);
            note_rule(selector, self.catalogue.get(id).name, true);
            return Ok(());
        };
        let (command, sub) = (&name[..bar], &name[bar + 1..]);
        let id = self.catalogue.find(command).ok_or(RuleError::Unknown)?;
        let entry = self.catalogue.get(id);
        if entry.is_subcommand {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if !entry.subcommands.is_empty() {
            let id = self.catalogue.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(selector, id, true);
        } else if !selector
            .first_args
            .iter()
            .any(|(i, arg)| *i == id && arg.eq_ignore_ascii_case(sub))
        {
            selector.first_args.push((id, sub.into()));
        }
        note_rule(selector, &String::from_utf8_lossy(name), true);
        Ok(())
    }

    /// Allows or forbids a command, whatever its first argument, and all its subcommands.
    fn set_command(&self, selector: &mut Selector, id: AclId, allow: bool) {
        selector.commands.set(id, allow);
        for sub in self.catalogue.get(id).subcommands.clone() {
            selector.commands.set(sub, allow);
        }
        selector.first_args.retain(|(command, _)| *command != id);
        selector.all_commands &= allow;
    }
}

fn add_password(user: &mut User, hash: PasswordHash) {
    if !user.passwords.contains(&hash) {
        user.passwords.push(hash);
    }
    user.nopass = false;
}

fn remove_password(user: &mut User, hash: PasswordHash) -> Result<(), RuleError> {
    let at = user.passwords.iter().position(|known| *known == hash);
    user.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
    Ok(())
}

fn parse_hash(hex: &[u8]) -> Result<PasswordHash, RuleError> {
    PasswordHash::parse(hex).ok_or(RuleError::BadHash)
}

fn set_all_commands(selector: &mut Selector, allow: bool) {
    selector.commands = if allow { CommandBits::ALL } else { CommandBits::NONE };
    selector.all_commands = allow;
    selector.from_all = allow;
    selector.rules.clear();
    selector.first_args.clear();
}

/// Remembers a rule on commands, in place of those that it makes void.
fn note_rule(selector: &mut Selector, rule: &str, allow: bool) {
    let rule = rule.to_ascii_lowercase();
    selector.rules.retain(|(_, old)| {
        old.strip_prefix(&rule).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('|'))
    });
    selector.rules.push((allow, rule));
}

/// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`. Redis also takes `%R` for `%R~`.
fn add_keys(selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
    if selector.all_keys {
        return Err(RuleError::KeyAfterAll);
    }
    let (access, pattern) = match rule {
        [b'%', rest @ ..] => {
            let letters = rest.iter().position(|&byte| byte == b'~').unwrap_or(rest.len());
            let pattern = rest.get(letters + 1..).unwrap_or_default();
            (parse_access(&rest[..letters], letters < rest.len())?, pattern)
        }
        _ => (KeyAccess::all(), &rule[1..]),
    };
    if has_spaces(pattern) {
        return Err(RuleError::Syntax);
    }
    match selector.keys.iter_mut().find(|known| *known.pattern == *pattern) {
        Some(known) => known.access |= access,
        None => selector.keys.push(KeyPattern { pattern: pattern.into(), access }),
    }
    Ok(())
}

/// The letters between `%` and `~`, each at most once.
fn parse_access(letters: &[u8], closed: bool) -> Result<KeyAccess, RuleError> {
    let mut access = KeyAccess::empty();
    for letter in letters {
        let more = match letter {
            b'r' | b'R' => KeyAccess::READ,
            b'w' | b'W' => KeyAccess::WRITE,
            _ => return Err(RuleError::Syntax),
        };
        if access.contains(more) {
            return Err(RuleError::Syntax);
        }
        access |= more;
    }
    if access.is_empty() && (closed || letters.is_empty()) {
        return Err(RuleError::Syntax);
    }
    Ok(access)
}

fn add_channels(selector: &mut Selector, pattern: &[u8]) -> Result<(), RuleError> {
    if selector.all_channels {
        return Err(RuleError::ChannelAfterAll);
    }
    if has_spaces(pattern) {
        return Err(RuleError::Syntax);
    }
    if !selector.channels.iter().any(|known| **known == *pattern) {
        selector.channels.push(pattern.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::COMMANDS;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::new(COMMANDS));

    fn book() -> RuleBook<'static> {
        RuleBook { catalogue: &CATALOGUE, all_channels: false }
    }

    fn apply(user: &mut User, rules: &str) -> Result<(), RuleError> {
        let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        let merged = merge_selectors(&words).map_err(|_| RuleError::Syntax)?;
        merged.iter().try_for_each(|rule| book().apply(user, rule))
    }

    fn described(user: &User) -> String {
        String::from_utf8(user.describe()).unwrap()
    }

    #[test]
    fn rules_and_what_they_make() {
        let off = "u off sanitize-payload";
        for (rules, expected) in [
            ("", "resetchannels -@all"),
            ("~a ~b ~a", "~a ~b resetchannels -@all"),
            ("~a allkeys", "~* resetchannels -@all"),
            ("~a resetkeys %R~b %w~c %RW~d", "%R~b %W~c ~d resetchannels -@all"),
            ("%R~a %W~a", "~a resetchannels -@all"),
            ("%RW~", "~ resetchannels -@all"),
            ("%RW", "~ resetchannels -@all"),
            ("&a &b &a", "resetchannels &a &b -@all"),
            ("&a &*", "&* -@all"),
            ("allchannels resetchannels &b", "resetchannels &b -@all"),
            ("+GET +@Set -sadd", "resetchannels -@all +get +@set -sadd"),
            ("+get -get +get", "resetchannels -@all +get"),
            ("+@all -config +config|get", "resetchannels +@all -config +config|get"),
            ("+config|get +config|set -config", "resetchannels -@all -config"),
            ("+config|get +config", "resetchannels -@all +config"),
            ("+get +getex -get", "resetchannels -@all +getex -get"),
            ("-@all +select|0 +SELECT|1", "resetchannels -@all +select|0 +select|1"),
            ("+get +@all", "resetchannels +@all"),
            ("+@all -@all", "resetchannels -@all"),
            ("nocommands +get allcommands", "resetchannels +@all"),
            ("+get (+set ~k)", "resetchannels -@all +get (~k resetchannels -@all +set)"),
            (
                "(+set ~k &c) (+get)",
                "resetchannels -@all (~k resetchannels &c -@all +set) (resetchannels -@all +get)",
            ),
            ("(+set ~k) clearselectors", "resetchannels -@all"),
            ("~* &* +@all >p (~x) on reset", "resetchannels -@all"),
        ] {
            let mut user = User::new(b"u", false);
            assert_eq!(apply(&mut user, rules), Ok(()), "{rules}");
            assert_eq!(described(&user), format!("{off} {expected}"), "{rules}");
        }
    }

    #[test]
    fn flags_and_passwords() {
        let hash = "148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940";
        for (rules, expected) in [
            ("on nopass", "on nopass sanitize-payload".to_string()),
            ("on nopass resetpass", "on sanitize-payload".to_string()),
            ("nopass >p >p", format!("off sanitize-payload #{hash}")),
            (&format!("#{hash} on off"), format!("off sanitize-payload #{hash}")),
            (&format!(">p !{hash}"), "off sanitize-payload".to_string()),
            (">p <p ON", "on sanitize-payload".to_string()),
            (">p nopass", "off nopass sanitize-payload".to_string()),
            ("skip-sanitize-payload", "off skip-sanitize-payload".to_string()),
        ] {
            let mut user = User::new(b"u", false);
            assert_eq!(apply(&mut user, rules), Ok(()), "{rules}");
            assert_eq!(described(&user), format!("u {expected} resetchannels -@all"), "{rules}");
        }
    }

    #[test]
    fn wrong_rules() {
        use RuleError::*;
        for (rules, error) in [
            ("x", Syntax),
            ("%", Syntax),
            ("%~k", Syntax),
            ("%RR~k", Syntax),
            ("%X~k", Syntax),
            ("~a\tb", Syntax),
            ("&a\tb", Syntax),
            ("+nosuch", Unknown),
            ("-nosuch", Unknown),
            ("+@nosuch", Unknown),
            ("+", Unknown),
            ("+config|nosuch", Unknown),
            ("-select|0", Unknown),
            ("+config|", Syntax),
            ("+config|get|x", FirstArgOfSubcommand),
            ("~* ~a", KeyAfterAll),
            ("&* &a", ChannelAfterAll),
            ("<p", NoSuchPassword),
            ("#abc", BadHash),
            ("!abc", BadHash),
            ("(+nosuch)", Unknown),
            ("(on)", Syntax),
            ("(+get", Syntax),
        ] {
            assert_eq!(apply(&mut User::new(b"u", false), rules), Err(error), "{rules}");
        }
    }

    #[test]
    fn commands_follow_their_rules_in_order() {
        for (rules, allowed, forbidden) in [
            ("+@all -@dangerous", "get set client|id", "keys flushall client|kill config|set"),
            ("+config", "config config|get config|set", "get"),
            ("+config -config|set", "config|get", "config|set"),
            ("+@string -set", "get append", "set sadd"),
            ("+@all -client +client|id", "client|id get", "client client|kill"),
        ] {
            let mut user = User::new(b"u", false);
            apply(&mut user, rules).unwrap();
            let may =
                |name: &str| user.root.commands.contains(CATALOGUE.find(name.as_bytes()).unwrap());
            assert!(allowed.split(' ').all(may), "{rules}");
            assert!(!forbidden.split(' ').any(may), "{rules}");
        }
    }

    proptest! {
        #[test]
        fn any_rule_is_survived(words in prop::collection::vec("[-+@~%&#!<>()|a-zRW* \0]{0,8}", 0..6)) {
            let mut user = User::new(b"u", false);
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            for rule in merge_selectors(&words).unwrap_or_default() {
                // Most make no sense.
                let _ = book().apply(&mut user, &rule);
            }
            user.describe();
        }

        /// What describes a user makes the same user again.
        #[test]
        fn a_description_is_a_rule(rules in prop::collection::vec(prop::sample::select(vec![
            "on", "off", "nopass", ">p", ">q", "<p", "~a", "%R~b", "%W~b", "allkeys", "resetkeys", "&c", "allchannels",
            "resetchannels", "+get", "-get", "+@read", "-@read", "+@all", "-@all", "+config", "-config", "+config|get",
            "-config|get", "+select|1", "-select", "+select", "(+get ~a)", "(%R~x &y -get +config|set)", "reset",
        ]), 0..12)) {
            let mut user = User::new(b"u", false);
            for rule in rules {
                // Some contradict what was before.
                let _ = apply(&mut user, rule);
            }
            let mut again = User::new(b"u", false);
            let text = described(&user);
            apply(&mut again, text.strip_prefix("u ").unwrap()).unwrap();
            // `+@all`, then `-get`, then `+get` does not restore the flag, but says the same.
            again.root.all_commands = user.root.all_commands;
            prop_assert_eq!(user, again);
        }
    }
}
