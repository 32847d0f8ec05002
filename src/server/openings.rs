//! How the requests of late began: `*2\r\n$3\r\nGET` says how many arguments follow, and which command it is, so a
//! request that begins like an earlier one is neither parsed nor looked up so far.

use crate::server::table::CommandId;

/// The bytes that are compared: the two headers, and a name of up to eight bytes.
const HEAD_LEN: usize = size_of::<u128>();
/// `*n\r\n$n\r\n`.
pub const HEADERS_LEN: usize = 8;
/// Enough for the commands of a busy server; a power of two.
const PLACES: usize = 32;

/// How a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub command: CommandId,
    /// Of the command's name, in bytes.
    pub name_len: usize,
    /// Arguments, the name included.
    pub count: usize,
    /// The position of the command's first key; 0: none.
    pub first_key: usize,
}

/// An opening, and what a request with it begins with.
#[derive(Clone, Copy, Debug)]
struct Place {
    head: u128,
    /// The bits of the head that count.
    mask: u128,
    opening: Opening,
}

/// Nothing begins so: a bit is set that does not count.
const FREE: Place = Place {
    head: 1,
    mask: 0,
    opening: Opening { command: 0, name_len: 0, count: 0, first_key: 0 },
};

/// The openings of late, by the beginning of the command's name.
#[derive(Debug)]
pub struct Openings([Place; PLACES]);

impl Default for Openings {
    fn default() -> Openings {
        Openings([FREE; PLACES])
    }
}

impl Openings {
    /// The opening that the request at `start` shares with an earlier one.
    #[inline]
    pub fn find(&self, buf: &[u8], start: usize) -> Option<Opening> {
        let head = head_at(buf, start)?;
        let place = &self.0[place_of(head)];
        (head & place.mask == place.head).then_some(place.opening)
    }

    /// Remembers how the request at `start` begins, whose command's name lies at `name_start`, if it begins like most:
    /// one digit for the arguments, and one for a name that is not too long.
    #[inline]
    pub fn remember(&mut self, buf: &[u8], start: usize, name_start: usize, opening: Opening) {
        let Some(head) = head_at(buf, start) else { return };
        let len = HEADERS_LEN + opening.name_len;
        if name_start != start + HEADERS_LEN || len > HEAD_LEN {
            return;
        }
        let mask = u128::MAX >> (8 * (HEAD_LEN - len));
        self.0[place_of(head)] = Place { head: head & mask, mask, opening };
    }
}

#[inline]
fn head_at(buf: &[u8], start: usize) -> Option<u128> {
    buf.get(start..)?.first_chunk().map(|bytes| u128::from_le_bytes(*bytes))
}

/// By the name's first three bytes.
#[inline]
fn place_of(head: u128) -> usize {
    let name = (head >> (8 * HEADERS_LEN)) as u32 & 0x00ff_ffff;
    (name.wrapping_mul(0x9e37_79b1) >> (u32::BITS - PLACES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    const OPENING: Opening = Opening { command: 7, name_len: 3, count: 2, first_key: 1 };

    #[test]
    fn nothing_is_known_at_first() {
        let openings = Openings::default();
        assert_eq!(openings.find(GET, 0), None);
        assert_eq!(openings.find(&[0; 16], 0), None);
        assert_eq!(openings.find(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0), None);
    }

    #[test]
    fn what_differs_in_anything_that_matters_is_another_opening() {
        let mut openings = Openings::default();
        openings.remember(GET, 0, HEADERS_LEN, OPENING);
        assert_eq!(openings.find(GET, 0), Some(OPENING));
        assert_eq!(openings.find(b"+*2\r\n$3\r\nGET\r\n$2\r\nab\r\n", 1), Some(OPENING));
        for other in [
            &b"*3\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..],
            b"*2\r\n$4\r\nGETX\r\n$1\r\nk\r\n",
            b"*2\r\n$3\r\nget\r\n$1\r\nk\r\n",
            b"*2\r\n$3\r\nGET",
            b"",
        ] {
            assert_eq!(openings.find(other, 0), None, "{other:?}");
        }
    }

    #[test]
    fn unusual_ones_are_not_remembered() {
        let mut openings = Openings::default();
        let ten = b"*10\r\n$3\r\nDEL\r\n$1\r\nk\r\n";
        openings.remember(ten, 0, HEADERS_LEN + 1, Opening { count: 10, ..OPENING });
        assert_eq!(openings.find(ten, 0), None);
        let long = b"*2\r\n$9\r\nPEXPIREAT\r\n$1\r\nk\r\n";
        openings.remember(long, 0, HEADERS_LEN, Opening { name_len: 9, ..OPENING });
        assert_eq!(openings.find(long, 0), None);
        let eight = b"*2\r\n$8\r\nSMEMBERS\r\n$1\r\nk\r\n";
        openings.remember(eight, 0, HEADERS_LEN, Opening { name_len: 8, ..OPENING });
        assert!(openings.find(eight, 0).is_some());
    }
}
