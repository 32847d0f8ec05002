//! Whether the system knows a locale.

use std::ffi::CString;

/// Whether there is a locale of this name to sort texts by; the empty name is what the environment says.
pub fn can_collate(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a C string, and no locale is handed over to be changed.
    let locale =
        unsafe { libc::newlocale(libc::LC_COLLATE_MASK, name.as_ptr(), std::ptr::null_mut()) };
    if locale.is_null() {
        return false;
    }
    // SAFETY: it was made above, and nobody else has it.
    unsafe { libc::freelocale(locale) };
    true
}

#[cfg(test)]
mod tests {
    use super::can_collate;

    #[test]
    fn the_plain_locale_is_known_and_an_invented_one_is_not() {
        assert!(can_collate("C") && can_collate("POSIX"));
        assert!(!can_collate("xx_nowhere") && !can_collate("C\0"));
    }
}
