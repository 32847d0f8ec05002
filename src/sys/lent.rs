//! A place where something is lent for as long as a function runs, to those it calls without being able to hand it
//! to them: a script's functions find their server so.

use std::cell::Cell;
use std::ptr::NonNull;

/// What is lent here. It is empty where nothing is, or while somebody has it.
pub struct Lent<T: ?Sized>(Cell<Option<NonNull<T>>>);

impl<T: ?Sized> Default for Lent<T> {
    fn default() -> Lent<T> {
        Lent(Cell::new(None))
    }
}

/// Puts back what was in a place, however it is left.
struct PutBack<'a, T: ?Sized> {
    place: &'a Cell<Option<NonNull<T>>>,
    value: Option<NonNull<T>>,
}

impl<T: ?Sized> Drop for PutBack<'_, T> {
    fn drop(&mut self) {
        self.place.set(self.value);
    }
}

impl<T: ?Sized> Lent<T> {
    /// Lends a value to whoever asks for it while `act` runs.
    pub fn lend<R>(&self, value: &mut T, act: impl FnOnce() -> R) -> R {
        let outer = self.0.replace(Some(NonNull::from(value)));
        let _back = PutBack { place: &self.0, value: outer };
        act()
    }

    /// Borrows what is lent here; `None` if nothing is, or somebody has it.
    pub fn borrow<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = self.0.take()?;
        let _back = PutBack { place: &self.0, value: Some(value) };
        // SAFETY: the pointer was here, so it is a `lend` further down the stack that has the value exclusively, and
        // does not touch it before we have returned. It is not here any more, so nobody else gets it meanwhile: who
        // lends another value within `act` leaves the place empty again.
        Some(act(unsafe { value.as_mut() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_only_while_it_is_lent() {
        let place = Lent::<u32>::default();
        assert_eq!(place.borrow(|_| ()), None);
        let (mut one, mut two) = (1, 10);
        place.lend(&mut one, || {
            place.borrow(|n| {
                *n += 1;
                assert_eq!(place.borrow(|_| ()), None);
                place.lend(&mut two, || place.borrow(|n| *n += 1));
                assert_eq!(place.borrow(|_| ()), None);
            });
            place.lend(&mut two, || place.borrow(|n| *n += 1));
            place.borrow(|n| *n += 1);
        });
        assert_eq!(place.borrow(|_| ()), None);
        assert_eq!((one, two), (3, 12));
    }
}
