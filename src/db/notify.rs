//! Keyspace notifications: which events are wanted (`notify-keyspace-events`), and those that wait to be published.

use bitflags::bitflags;

bitflags! {
    /// Classes of events, and the two channels that they can be published on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Class: u32 {
        const KEYSPACE = 1 << 0;
        const KEYEVENT = 1 << 1;
        const GENERIC = 1 << 2;
        const STRING = 1 << 3;
        const LIST = 1 << 4;
        const SET = 1 << 5;
        const HASH = 1 << 6;
        const ZSET = 1 << 7;
        const EXPIRED = 1 << 8;
        const EVICTED = 1 << 9;
        const STREAM = 1 << 10;
        const KEY_MISS = 1 << 11;
        const MODULE = 1 << 12;
        const NEW = 1 << 13;
        /// `A`: every class but `KEY_MISS` and `NEW`.
        const ALL = Self::GENERIC.bits() | Self::STRING.bits() | Self::LIST.bits() | Self::SET.bits()
            | Self::HASH.bits() | Self::ZSET.bits() | Self::EXPIRED.bits() | Self::EVICTED.bits()
            | Self::STREAM.bits() | Self::MODULE.bits();
    }
}

const LETTERS: [(u8, Class); 15] = [
    (b'A', Class::ALL),
    (b'g', Class::GENERIC),
    (b'$', Class::STRING),
    (b'l', Class::LIST),
    (b's', Class::SET),
    (b'h', Class::HASH),
    (b'z', Class::ZSET),
    (b'x', Class::EXPIRED),
    (b'e', Class::EVICTED),
    (b't', Class::STREAM),
    (b'd', Class::MODULE),
    (b'K', Class::KEYSPACE),
    (b'E', Class::KEYEVENT),
    (b'm', Class::KEY_MISS),
    (b'n', Class::NEW),
];

impl Class {
    /// The classes that a string of letters names; `None` if a letter is unknown.
    pub fn parse(letters: &str) -> Option<Class> {
        letters.bytes().try_fold(Class::empty(), |all, letter| {
            let (_, class) = LETTERS.iter().find(|(l, _)| *l == letter)?;
            Some(all | *class)
        })
    }

    /// The letters of these classes, in the order in which Redis prints them.
    pub fn letters(self) -> String {
        let single = |l: &u8| *l != b'A';
        let mut out = String::new();
        let all = self.contains(Class::ALL);
        if all {
            out.push('A');
        }
        for (letter, class) in LETTERS.iter().filter(|(l, _)| single(l)) {
            if self.contains(*class) && !(all && Class::ALL.contains(*class)) {
                out.push(char::from(*letter));
            }
        }
        out
    }
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub class: Class,
    pub name: &'static str,
    pub db: usize,
    pub key: Box<[u8]>,
}

/// The events wanted, and those that wait.
#[derive(Debug, Default)]
pub struct Notifications {
    pub enabled: Class,
    pub waiting: Vec<Event>,
}

impl Notifications {
    /// Notes an event if anybody could want it.
    #[inline]
    pub fn push(&mut self, class: Class, name: &'static str, db: usize, key: &[u8]) {
        if self.enabled.intersects(class) {
            self.waiting.push(Event { class, name, db, key: key.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn letters_go_both_ways() {
        for (given, shown) in
            [("", ""), ("KEA", "AKE"), ("g$lshzxetdE", "AE"), ("Kgx", "gxK"), ("mnK", "Kmn")]
        {
            assert_eq!(Class::parse(given).unwrap().letters(), shown);
        }
        assert_eq!(Class::parse("Kq"), None);
    }
}
