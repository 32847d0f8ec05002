//! Random elements with repetitions (`SRANDMEMBER`, `HRANDFIELD` and `ZRANDMEMBER` with a negative count): the client
//! chooses the length of the reply, whatever there is to choose from, so that it needs a bound of its own.

use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;

/// For so many elements or more by chance, all of a compact value are laid side by side: to come to one of them takes a
/// walk.
pub const WALK_FROM: usize = 4;
/// More elements are refused at once: nobody can want them.
const MAX_ELEMENTS: usize = 1 << 22;
/// A reply of more bytes is given up: elements may be long.
const MAX_BYTES: usize = 512 << 20;

/// Writes `count` elements, of which `write` adds one to the reply; it returns `false` if there is none.
///
/// # Errors
/// When the reply is longer than anybody can want.
pub fn reply_repeated(
    reply: &mut Reply,
    count: usize,
    mut write: impl FnMut(&mut Reply) -> bool,
) -> CommandResult {
    const OUT_OF_RANGE: CommandError = CommandError::err("value is out of range");
    if count > MAX_ELEMENTS {
        return Err(OUT_OF_RANGE);
    }
    let start = reply.len();
    for _ in 0..count {
        if !write(reply) || reply.is_given_up() {
            break;
        }
        if reply.len() - start > MAX_BYTES {
            return Err(OUT_OF_RANGE);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::Protocol;

    #[test]
    fn what_nobody_can_want_is_refused() {
        let mut reply = Reply::new(Protocol::Resp2);
        let mut written = 0;
        let mut write = |reply: &mut Reply| {
            written += 1;
            reply.int(1);
            true
        };
        assert!(reply_repeated(&mut reply, MAX_ELEMENTS + 1, &mut write).is_err());
        assert!(reply_repeated(&mut reply, 5, &mut write).is_ok());
        assert_eq!(written, 5);
        let long = vec![b'x'; MAX_BYTES / 2];
        let write = |reply: &mut Reply| {
            reply.bulk(&long);
            true
        };
        assert!(reply_repeated(&mut reply, 5, write).is_err());
        assert!(reply.len() < 2 * MAX_BYTES);
    }
}
