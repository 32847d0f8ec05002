//! What values have in common that are walked through while they change: a walk hands over, part by part, what there
//! was when it began.
//!
//! A value that is dropped before its walk has come to the end is left, as it is, to an heir, who goes through the rest
//! where nobody waits for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The rest of a walk, to be called until it returns `false`: then there is no more.
pub type Rest = Box<dyn FnMut() -> bool + Send>;

/// Who gets a value that is dropped while it is walked through. What is dropped by the heir is dropped for good.
pub type Heir = Box<dyn FnOnce(Rest) + Send>;

/// Bytes that an heir goes on by at a time.
pub const BYTES_OF_HEIR: usize = 64 * 1024;

/// A value's walk, if one is under way. It is no part of what the value says: a copy has none.
pub struct Walked<W>(Option<Box<UnderWay<W>>>);

struct UnderWay<W> {
    walk: W,
    heir: Option<Heir>,
}

impl<W> Walked<W> {
    pub fn begin(&mut self, walk: W, heir: Heir) {
        self.0 = Some(Box::new(UnderWay { walk, heir: Some(heir) }));
    }

    #[inline]
    pub fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut W> {
        self.0.as_mut().map(|under_way| &mut under_way.walk)
    }

    /// Goes on with the walk, which is over when `step` returns `false`. Returns whether it is not.
    pub fn go_on(&mut self, step: impl FnOnce(&mut W) -> bool) -> bool {
        let goes_on = self.get_mut().is_some_and(step);
        if !goes_on {
            self.end();
        }
        goes_on
    }

    /// Who is to have the value, which is about to be dropped; only once.
    pub fn take_heir(&mut self) -> Option<Heir> {
        self.0.as_mut()?.heir.take()
    }

    pub fn end(&mut self) {
        self.0 = None;
    }
}

impl<W> Default for Walked<W> {
    fn default() -> Self {
        Walked(None)
    }
}

impl<W> Clone for Walked<W> {
    fn clone(&self) -> Self {
        Walked(None)
    }
}

impl<W> PartialEq for Walked<W> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<W> fmt::Debug for Walked<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Walked({})", self.is_under_way())
    }
}

/// Bytes that all walks of a snapshot take for what they keep.
#[derive(Clone, Debug, Default)]
pub struct KeptBytes(Arc<AtomicUsize>);

impl KeptBytes {
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Parts of a value as they were before they changed, until their turn comes. `None`: there was none.
pub struct Kept<K, P> {
    parts: BTreeMap<K, (Option<P>, usize)>,
    bytes: KeptBytes,
}

impl<K: Ord + Copy, P> Kept<K, P> {
    pub fn new(bytes: KeptBytes) -> Self {
        Kept { parts: BTreeMap::new(), bytes }
    }

    pub fn contains(&self, key: K) -> bool {
        self.parts.contains_key(&key)
    }

    /// Keeps a part, for which so many bytes have been taken.
    pub fn keep(&mut self, key: K, part: Option<P>, bytes: usize) {
        self.bytes.add(bytes);
        self.parts.insert(key, (part, bytes));
    }

    /// The key of the first one.
    pub fn first(&self) -> Option<K> {
        self.parts.first_key_value().map(|(&key, _)| key)
    }

    pub fn take(&mut self, key: K) -> Option<P> {
        let (part, bytes) = self.parts.remove(&key)?;
        self.bytes.remove(bytes);
        part
    }
}

impl<K, P> Drop for Kept<K, P> {
    fn drop(&mut self) {
        self.bytes.remove(self.parts.values().map(|(_, bytes)| bytes).sum());
    }
}
