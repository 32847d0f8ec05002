//! What a directive is: its names, its flags, and its kind, by which its value is read, checked and printed.

use bitflags::bitflags;

use super::values::{Reason, RewriteLine, format_memory};
use crate::server::flavour::Flavour;
use crate::util::memory_units::parse_memory;

bitflags! {
    /// Properties of a directive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u16 {
        /// Can be set at the start only.
        const IMMUTABLE = 1 << 0;
        /// The value must not show up in MONITOR, the slow log and the like.
        const SENSITIVE = 1 << 1;
        /// Takes a list of arguments.
        const MULTI_ARG = 1 << 2;
        /// Not matched by the patterns of `CONFIG GET`, only by its whole name.
        const HIDDEN = 1 << 3;
        /// `CONFIG SET` needs the permission of `enable-protected-configs`.
        const PROTECTED = 1 << 4;
        /// Cannot be set while the dataset is being loaded.
        const DENY_LOADING = 1 << 5;
        /// Known and kept, but nothing reads it yet.
        const NO_EFFECT = 1 << 6;
        /// Names what is read from disk, which may have changed although the name has not: setting it reads it anew.
        const READS_FILE = 1 << 7;
        /// Valkey 8 has it and Redis does not: in Redis's place the patterns of `CONFIG GET` don't find it.
        const VALKEY = 1 << 8;
        /// The same for its alias.
        const VALKEYS_ALIAS = 1 << 9;
        /// Neither Redis 7.2 nor Valkey 8 has it: the patterns of `CONFIG GET` don't find it, only its whole name does.
        const LATER = 1 << 10;
    }
}

/// How the number of a directive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Decimal digits.
    Integer,
    /// Bytes, with or without a unit (`10mb`).
    Memory,
    /// Bytes, or a percentage (`5%`), which is kept as a negative number.
    MemoryOrPercent,
    /// Octal digits.
    Octal,
}

/// The kind of a directive with the accessors of its field of the configuration, which is a `C`.
pub enum Kind<C> {
    /// `yes` or `no`.
    Bool {
        /// Reads the field.
        get: fn(&C) -> bool,
        /// Writes the field.
        set: fn(&mut C, bool),
        /// Why `CONFIG SET` cannot turn it on, if so.
        refusal: Option<&'static str>,
    },
    /// A number between `min` and `max`, which both fit the field.
    Number {
        /// Reads the field.
        get: fn(&C) -> i128,
        /// Writes the field; the value must be in range.
        set: fn(&mut C, i128),
        /// Smallest value.
        min: i128,
        /// Largest value.
        max: i128,
        /// How it is written.
        unit: Unit,
    },
    /// A word of a list.
    Enum {
        /// Reads the field.
        get: fn(&C) -> &'static str,
        /// Writes the field.
        set: fn(&mut C, &[u8]) -> Result<(), Reason>,
        /// The words.
        words: fn() -> Vec<&'static str>,
    },
    /// A text, or nothing.
    Text {
        /// Reads the field.
        get: fn(&C) -> Option<&[u8]>,
        /// Checks and writes the field.
        set: fn(&mut C, &[u8]) -> Result<(), Reason>,
    },
    /// A grammar of its own.
    Special {
        /// Prints the field.
        get: fn(&C) -> String,
        /// Reads the field from arguments.
        set: fn(&mut C, &[&[u8]]) -> Result<(), Reason>,
        /// Lines for `CONFIG REWRITE`: of the name, the configuration, and the default configuration.
        rewrite: fn(&str, &C, &C) -> Vec<RewriteLine>,
    },
}

/// A directive of the configuration, which is a `C`.
pub struct Directive<C> {
    /// The title that it stands under in a configuration file.
    pub section: &'static str,
    /// Its name, in lower case.
    pub name: &'static str,
    /// What it is for, in a sentence or two.
    pub summary: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// Its properties.
    pub flags: Flags,
    /// How its value is read and printed.
    pub kind: Kind<C>,
}

impl<C> std::fmt::Debug for Directive<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Directive({})", self.name)
    }
}

impl<C> Directive<C> {
    /// Whether the patterns of `CONFIG GET` find it by this name, which is its own or its alias.
    pub fn is_found_as(&self, name: &str, flavour: Flavour) -> bool {
        let mut unseen = Flags::HIDDEN | Flags::LATER;
        if !flavour.config_patterns_find_valkeys_directives {
            let valkeys = if name == self.name { Flags::VALKEY } else { Flags::VALKEYS_ALIAS };
            unseen |= valkeys;
        }
        !self.flags.intersects(unseen)
    }

    /// The value as `CONFIG GET` prints it.
    pub fn value(&self, config: &C) -> Vec<u8> {
        match self.kind {
            Kind::Bool { get, .. } => yes_no(get(config)).into(),
            Kind::Number { get, unit, .. } => format_number(get(config), unit).into(),
            Kind::Enum { get, .. } => get(config).into(),
            Kind::Text { get, .. } => get(config).unwrap_or_default().into(),
            Kind::Special { get, .. } => get(config).into(),
        }
    }

    /// Sets the value from the text of `CONFIG SET`.
    pub fn set(&self, config: &mut C, value: &[u8]) -> Result<(), Reason> {
        match self.kind {
            Kind::Bool { get, refusal: Some(refusal), .. }
                if !get(config) && value.eq_ignore_ascii_case(b"yes") =>
            {
                return Err(refusal.into());
            }
            _ => {}
        }
        if !self.flags.contains(Flags::MULTI_ARG) {
            return self.assign(config, &[value]);
        }
        // Nothing at all is no argument; otherwise two spaces are an empty argument between them.
        let args: Vec<&[u8]> =
            if value.is_empty() { Vec::new() } else { value.split(|&byte| byte == b' ').collect() };
        self.assign(config, &args)
    }

    /// Sets the value from the arguments of a line: exactly one, except with [`Flags::MULTI_ARG`].
    pub fn assign(&self, config: &mut C, args: &[&[u8]]) -> Result<(), Reason> {
        if let Kind::Special { set, .. } = self.kind {
            return set(config, args);
        }
        let [arg] = args else {
            return Err("wrong number of arguments".into());
        };
        match self.kind {
            Kind::Bool { set, .. } => set(config, parse_yes_no(arg)?),
            Kind::Number { set, min, max, unit, .. } => {
                set(config, parse_number(arg, min, max, unit)?)
            }
            Kind::Enum { set, .. } | Kind::Text { set, .. } => set(config, arg)?,
            Kind::Special { .. } => {}
        }
        Ok(())
    }

    /// The lines that `CONFIG REWRITE` writes; none: remove the lines of the file that set it.
    pub fn rewrite(&self, config: &C, defaults: &C) -> Vec<RewriteLine> {
        let plain = |value: String, force: bool| {
            vec![RewriteLine { text: format!("{} {value}", self.name).into_bytes(), force }]
        };
        match self.kind {
            Kind::Bool { get, .. } => {
                plain(yes_no(get(config)).into(), get(config) != get(defaults))
            }
            Kind::Number { get, unit, .. } => {
                let value = get(config);
                let text = match unit {
                    Unit::Memory | Unit::MemoryOrPercent => u64::try_from(value)
                        .map_or_else(|_| format_number(value, unit), format_memory),
                    Unit::Integer | Unit::Octal => format_number(value, unit),
                };
                plain(text, value != get(defaults))
            }
            Kind::Enum { get, .. } => plain(get(config).into(), get(config) != get(defaults)),
            Kind::Text { get, .. } => get(config)
                .map(|value| RewriteLine::quoted(self.name, value, Some(value) != get(defaults)))
                .into_iter()
                .collect(),
            Kind::Special { rewrite, .. } => rewrite(self.name, config, defaults),
        }
    }

    /// The line to log when a directive without effect is set.
    pub fn no_effect_line(&self) -> String {
        format!("Directive '{}' is accepted but has no effect yet", self.name)
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn parse_yes_no(arg: &[u8]) -> Result<bool, Reason> {
    match arg.to_ascii_lowercase().as_slice() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn format_number(value: i128, unit: Unit) -> String {
    match unit {
        Unit::MemoryOrPercent if value < 0 => format!("{}%", -value),
        Unit::Octal => format!("{value:o}"),
        _ => value.to_string(),
    }
}

fn parse_number(arg: &[u8], min: i128, max: i128, unit: Unit) -> Result<i128, Reason> {
    let text = std::str::from_utf8(arg).ok();
    let memory = || text.and_then(parse_memory).map(i128::from);
    let percent = || text?.strip_suffix('%').and_then(strict_integer).filter(|&n| n >= 0);
    let (value, refusal) = match unit {
        Unit::Integer => {
            (text.and_then(strict_integer), "argument couldn't be parsed into an integer")
        }
        Unit::Memory => (memory(), "argument must be a memory value"),
        Unit::MemoryOrPercent => (
            memory().or_else(|| percent().map(|percent| -percent)),
            "argument must be a memory or percent value",
        ),
        Unit::Octal => (
            text.and_then(|text| i64::from_str_radix(text, 8).ok()).map(i128::from),
            "argument couldn't be parsed as an octal number",
        ),
    };
    let value = value.ok_or(refusal)?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(match unit {
        Unit::MemoryOrPercent if value < 0 || value > i64::MAX.into() => {
            format!("percentage argument must be less or equal to {}", -min)
        }
        Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
        _ => format!("argument must be between {min} and {max} inclusive"),
    }
    .into())
}

/// A 64-bit integer in its one canonical form: no sign `+`, no zeros in front, no spaces.
fn strict_integer(text: &str) -> Option<i128> {
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        type Case = (&'static str, i128, i128, Unit, Result<i128, &'static str>);
        let table: [Case; 15] = [
            ("7", 0, 9, Unit::Integer, Ok(7)),
            ("-7", -9, 9, Unit::Integer, Ok(-7)),
            ("07", 0, 9, Unit::Integer, Err("argument couldn't be parsed into an integer")),
            ("+7", 0, 9, Unit::Integer, Err("argument couldn't be parsed into an integer")),
            ("10", 0, 9, Unit::Integer, Err("argument must be between 0 and 9 inclusive")),
            ("1mb", 0, 1 << 40, Unit::Memory, Ok(1 << 20)),
            ("-1", 0, 1 << 40, Unit::Memory, Err("argument must be a memory value")),
            ("2mb", 0, 1, Unit::Memory, Err("argument must be between 0 and 1 inclusive")),
            ("5%", -100, 1 << 40, Unit::MemoryOrPercent, Ok(-5)),
            ("5g", -100, 1 << 40, Unit::MemoryOrPercent, Ok(5_000_000_000)),
            (
                "200%",
                -100,
                9,
                Unit::MemoryOrPercent,
                Err("percentage argument must be less or equal to 100"),
            ),
            (
                "-5%",
                -100,
                9,
                Unit::MemoryOrPercent,
                Err("argument must be a memory or percent value"),
            ),
            ("700", 0, 0o777, Unit::Octal, Ok(0o700)),
            ("9", 0, 0o777, Unit::Octal, Err("argument couldn't be parsed as an octal number")),
            ("1000", 0, 0o777, Unit::Octal, Err("argument must be between 0 and 777 inclusive")),
        ];
        for (text, min, max, unit, expected) in table {
            let expected = expected.map_err(Reason::from);
            assert_eq!(parse_number(text.as_bytes(), min, max, unit), expected, "{text} {unit:?}");
        }
    }

    #[test]
    fn yes_and_no() {
        assert_eq!(parse_yes_no(b"YES"), Ok(true));
        assert_eq!(parse_yes_no(b"no"), Ok(false));
        assert_eq!(parse_yes_no(b"1").unwrap_err(), "argument must be 'yes' or 'no'");
    }
}
