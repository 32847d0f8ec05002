//! A long string: bytes that belong to the keyspace alone, or that replies on their way share, so that they need no
//! copy. Who changes the string while it is shared gets a copy of it; the replies keep what it was.

use crate::util::alloc::relocate::Relocator;
use bytes::Bytes;
use std::mem;
use std::ops::Deref;

#[derive(Debug)]
pub enum LongString {
    Own(Vec<u8>),
    // In a box: a string has the size of a `Vec`.
    Shared(Box<Bytes>),
}

impl LongString {
    /// The bytes for somebody else to keep.
    pub fn share(&mut self) -> Bytes {
        match self {
            LongString::Shared(bytes) => Bytes::clone(bytes),
            LongString::Own(bytes) => {
                let bytes = Bytes::from(mem::take(bytes));
                *self = LongString::Shared(Box::new(bytes.clone()));
                bytes
            }
        }
    }

    /// The bytes to be changed.
    pub fn make_mut(&mut self) -> &mut Vec<u8> {
        if let LongString::Shared(bytes) = self {
            *self = LongString::Own(Vec::from(mem::take(&mut **bytes)));
        }
        match self {
            LongString::Own(bytes) => bytes,
            LongString::Shared(_) => unreachable!("it was made one's own above"),
        }
    }

    /// Shows its allocations to the relocator. Bytes that replies share stay where they are.
    pub fn relocate(&mut self, relocator: &mut Relocator) {
        match self {
            LongString::Own(bytes) => relocator.vec(bytes),
            LongString::Shared(bytes) => {
                relocator.boxed(bytes);
                if bytes.is_unique() && relocator.wants(bytes.as_ptr(), bytes.len().max(1)) {
                    **bytes = Bytes::copy_from_slice(bytes);
                }
            }
        }
    }

    pub fn into_vec(self) -> Vec<u8> {
        match self {
            LongString::Own(bytes) => bytes,
            // Without a copy if nobody shares them any more.
            LongString::Shared(bytes) => Vec::from(*bytes),
        }
    }
}

impl Deref for LongString {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            LongString::Own(bytes) => bytes,
            LongString::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_large_as_a_vec() {
        assert_eq!(size_of::<LongString>(), size_of::<Vec<u8>>());
    }

    #[test]
    fn what_is_shared_stays_as_it_was() {
        let mut string = LongString::Own(b"one".to_vec());
        let (first, second) = (string.share(), string.share());
        string.make_mut().extend(b" two");
        assert_eq!(
            (&string[..], &first[..], &second[..]),
            (&b"one two"[..], &b"one"[..], &b"one"[..])
        );
        let third = string.share();
        assert_eq!(string.into_vec(), b"one two");
        assert_eq!(third, &b"one two"[..]);
    }

    #[test]
    fn what_nobody_shares_any_more_is_not_copied() {
        let bytes = vec![b'x'; 100];
        let place = bytes.as_ptr();
        let mut string = LongString::Own(bytes);
        drop(string.share());
        assert_eq!(string.make_mut().as_ptr(), place);
    }
}
