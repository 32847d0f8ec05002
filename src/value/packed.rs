//! A small collection's listpack, kept so that it takes no more of its owner than a pointer and a length.
#![forbid(unsafe_code)]

use crate::ds::listpack::{Listpack, ListpackRef};
use crate::util::alloc::size_class;

/// A listpack without spare memory. What the allocator's size class has left is found again when it grows.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed(Box<[u8]>);

impl Packed {
    #[inline]
    pub fn view(&self) -> ListpackRef<'_> {
        ListpackRef::trusted(&self.0)
    }

    /// Lends the listpack to `change`.
    #[inline]
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> R {
        let mut listpack = Listpack::trusted(std::mem::take(&mut self.0).into_vec());
        let result = change(&mut listpack);
        self.0 = listpack.into_bytes().into_boxed_slice();
        result
    }

    /// Bytes of memory behind this value.
    pub fn heap_bytes(&self) -> usize {
        size_class(self.0.len())
    }
}

impl Default for Packed {
    fn default() -> Self {
        Listpack::new().into()
    }
}

impl From<Listpack> for Packed {
    fn from(listpack: Listpack) -> Self {
        Packed(listpack.into_bytes().into_boxed_slice())
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.view().iter()).finish()
    }
}
