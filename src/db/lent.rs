//! The buffers that hold the request at hand, lent to the keyspace while they are long: a string that nearly fills
//! one is kept as it lies there instead of being copied, so that a large value is never held twice.

use crate::util::alloc::size_class;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Bytes; strings of at least this size are worth it.
pub const LARGE_ARGUMENT: usize = 32 * 1024;
/// A buffer may take that share more memory than the string would in a block of its own: where sizes are rounded
/// coarsely, a few bytes around the string may cost a quarter of it.
const WASTE_SHARE: usize = 16;

/// A buffer, or none, and those of arguments that lie apart.
#[derive(Debug, Default)]
pub struct Lent {
    buffer: Option<Bytes>,
    /// By their address.
    apart: BTreeMap<usize, Bytes>,
}

impl Lent {
    /// Lends another buffer, or none any more.
    pub fn lend(&mut self, buffer: Option<Bytes>) {
        self.buffer = buffer;
    }

    /// Lends the buffers of arguments that lie apart, or none any more.
    pub fn lend_apart<'a>(&mut self, buffers: impl Iterator<Item = &'a Bytes>) {
        self.apart = buffers.map(|buffer| (buffer.as_ptr().addr(), buffer.clone())).collect();
    }

    /// `string` as a part of a buffer, to be kept; `None` if it lies elsewhere, or is too small a part.
    #[inline]
    pub fn part(&self, string: &[u8]) -> Option<Bytes> {
        if string.len() < LARGE_ARGUMENT { None } else { self.large_part(string) }
    }

    #[cold]
    fn large_part(&self, string: &[u8]) -> Option<Bytes> {
        let inner = string.as_ptr_range();
        let before = self.apart.range(..=inner.start.addr()).next_back().map(|(_, buffer)| buffer);
        let buffer = before.into_iter().chain(&self.buffer).find(|buffer| {
            let outer = buffer.as_ptr_range();
            outer.start <= inner.start && inner.end <= outer.end
        })?;
        fills(string.len(), buffer.len()).then(|| buffer.slice_ref(string))
    }
}

/// Whether a string of so many bytes would be kept with a buffer of so many.
#[inline]
pub fn fills(string: usize, buffer: usize) -> bool {
    let own = size_class(string);
    string >= LARGE_ARGUMENT && size_class(buffer) <= own + own / WASTE_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nearly_fills_the_buffer_is_kept_where_it_lies() {
        let buffer = Bytes::from(vec![b'x'; 2 * LARGE_ARGUMENT + 200]);
        let mut lent = Lent::default();
        assert!(lent.part(&buffer).is_none());
        lent.lend(Some(buffer.clone()));
        let part = lent.part(&buffer[100..]).expect("it nearly fills the buffer");
        assert_eq!((part.as_ptr(), part.len()), (buffer[100..].as_ptr(), buffer.len() - 100));
        assert!(lent.part(&buffer[LARGE_ARGUMENT..]).is_none(), "half of it would be wasted");
        assert!(lent.part(&buffer[200..]).is_none(), "it fits into a smaller block");
        assert!(lent.part(&Bytes::copy_from_slice(&buffer)).is_none(), "it lies elsewhere");
        lent.lend(None);
        assert!(lent.part(&buffer).is_none());
    }

    #[test]
    fn each_argument_that_lies_apart_is_found() {
        let argument = |byte| Bytes::from(vec![byte; LARGE_ARGUMENT + 100]);
        let (request, apart) = (argument(b'r'), [argument(b'a'), argument(b'b'), argument(b'c')]);
        let mut lent = Lent::default();
        lent.lend(Some(request.clone()));
        lent.lend_apart(apart.iter());
        for buffer in apart.iter().chain([&request]) {
            let part = lent.part(&buffer[3..]).expect("it is lent");
            assert_eq!(part.as_ptr(), buffer[3..].as_ptr());
        }
        assert!(lent.part(&argument(b'a')).is_none(), "it lies elsewhere");
        lent.lend_apart([].iter());
        assert!(lent.part(&apart[1]).is_none());
        assert!(lent.part(&request).is_some());
    }
}
