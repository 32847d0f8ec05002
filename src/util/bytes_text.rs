//! Bytes in texts: an error names keys, users and commands as the client spelled them, and they may be any bytes,
//! which a Rust string can't hold. A byte that is not UTF-8 is therefore carried as a character that stands for it
//! ([`shown`]), and becomes the byte again where the text is written for a client ([`written`]).

use std::borrow::Cow;

/// The byte 0x80 as it is carried; the other 127 follow. The end of Unicode's last plane for private use.
const CARRIED: u32 = 0x10_FF80;
/// The first byte of each carried character in UTF-8.
const LEAD: u8 = 0xF4;

/// These bytes as a part of a text for a client. Nothing is lost: see [`written`].
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_carried) => return Cow::Borrowed(text),
        _ => {}
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match is_carried(c) {
                true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push(carry(byte))),
                false => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|&byte| carry(byte)));
    }
    Cow::Owned(text)
}

/// As [`shown`], up to a zero byte, where a C string ends.
pub fn shown_c(bytes: &[u8]) -> Cow<'_, str> {
    shown(&bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())])
}

/// The bytes of a text in which there may be some that [`shown`] carried.
pub fn written(text: &str) -> Cow<'_, [u8]> {
    if memchr::memchr(LEAD, text.as_bytes()).is_none() {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match is_carried(c) {
            true => bytes.push((u32::from(c) - CARRIED) as u8 + 0x80),
            false => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

fn is_carried(c: char) -> bool {
    u32::from(c) >= CARRIED
}

/// `byte`: not ASCII.
fn carry(byte: u8) -> char {
    char::from_u32(CARRIED + u32::from(byte & 0x7F)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_text_stays_as_it_is() {
        assert!(matches!(shown("clé 😀".as_bytes()), Cow::Borrowed("clé 😀")));
        assert_eq!(shown_c(b"get\0key"), "get");
    }

    #[test]
    fn the_characters_that_carry_bytes_are_carried_themselves() {
        let text = "\u{10FF80}\u{10FFFF}";
        assert_eq!(*written(&shown(text.as_bytes())), *text.as_bytes());
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(bytes: Vec<u8>) {
            let text = shown(&bytes);
            prop_assert_eq!(&*written(&text), &*bytes);
        }
    }
}
