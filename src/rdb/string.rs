//! The string type: text, or an integer.

use super::error::Fault;
use super::loaded::Loaded;
use super::reader::{Reader, StringHead};
use crate::util::number::parse_i64;
use std::borrow::Cow;

/// Longest text of an `i64`.
const MAX_INT_TEXT: usize = 20;

/// Reads the value of a string key. Text that is an integer becomes one, however it was stored: the
/// format has integers of up to 32 bits only.
pub(super) fn parse<'a>(r: &mut Reader<'a>) -> Result<Loaded<'a>, Fault> {
    let text = match r.string_head()? {
        StringHead::Int(n) => return Ok(Loaded::Int(n)),
        StringHead::Raw(len) => Cow::Borrowed(r.bytes(len)?),
        StringHead::Lzf { packed, unpacked } => Cow::Owned(r.unpack(packed, unpacked)?),
    };
    Ok(match integer(&text) {
        Some(n) => Loaded::Int(n),
        None => Loaded::Str(text),
    })
}

fn integer(text: &[u8]) -> Option<i64> {
    let worth_a_try =
        text.len() <= MAX_INT_TEXT && matches!(text.first(), Some(b'-' | b'0'..=b'9'));
    if worth_a_try { parse_i64(text) } else { None }
}
