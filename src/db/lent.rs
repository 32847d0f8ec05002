//! The buffer that holds the request at hand, lent to the keyspace while it is long: a string that nearly fills it is
//! kept as it lies there instead of being copied, so that a large value is never held twice.

use crate::util::alloc::size_class;
use bytes::Bytes;

/// Bytes; strings of at least this size are worth it.
pub const LARGE_ARGUMENT: usize = 32 * 1024;
/// A buffer may take that share more memory than the string would in a block of its own: where sizes are rounded
/// coarsely, a few bytes around the string may cost a quarter of it.
const WASTE_SHARE: usize = 16;

/// A buffer, or none.
#[derive(Debug, Default)]
pub struct Lent(Option<Bytes>);

impl Lent {
    /// Lends another buffer, or none any more.
    pub fn lend(&mut self, buffer: Option<Bytes>) {
        self.0 = buffer;
    }

    /// `string` as a part of the buffer, to be kept; `None` if it lies elsewhere, or is too small a part.
    #[inline]
    pub fn part(&self, string: &[u8]) -> Option<Bytes> {
        if string.len() < LARGE_ARGUMENT { None } else { self.large_part(string) }
    }

    #[cold]
    fn large_part(&self, string: &[u8]) -> Option<Bytes> {
        let buffer = self.0.as_ref()?;
        let (outer, inner) = (buffer.as_ptr_range(), string.as_ptr_range());
        let lies_inside = outer.start <= inner.start && inner.end <= outer.end;
        (lies_inside && fills(string.len(), buffer.len())).then(|| buffer.slice_ref(string))
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
}
