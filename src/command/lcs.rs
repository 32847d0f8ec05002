//! `LCS`: the longest common subsequence of two strings, by the textbook's table of prefixes.

use super::args::{self, is};
use super::string::string_bytes;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::table::Row;

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// `LEN`: only the length.
    len: bool,
    /// `IDX`: the places of the matches.
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(args: &[&[u8]]) -> CommandResult<Options> {
        let mut options = Options::default();
        let mut rest = args.iter();
        while let Some(&arg) = rest.next() {
            if is(arg, "IDX") {
                options.idx = true;
            } else if is(arg, "LEN") {
                options.len = true;
            } else if is(arg, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if is(arg, "MINMATCHLEN") {
                let n = args::int(rest.next().ok_or(CommandError::SYNTAX)?)?;
                options.min_match_len = usize::try_from(n).unwrap_or(0);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if options.len && options.idx {
            return Err(CommandError::err(
                "If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]
fn lcs(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // Both are looked up before either is judged.
    let (a, b) = (read_string(s, call, args[1]), read_string(s, call, args[2]));
    let (a, b) = (a?, b?);
    let options = Options::parse(&args[3..])?;
    let table = Prefixes::new(&a, &b, s.config.proto_max_bulk_len)?;
    if options.idx {
        reply_matches(&mut call.reply, &table, &a, &b, options);
    } else if options.len {
        call.reply.int(table.total().into());
    } else {
        let mut common: Vec<u8> = table.walk_back(&a, &b).map(|(i, _)| a[i]).collect();
        common.reverse();
        call.reply.bulk(&common);
    }
    Ok(())
}

fn read_string(s: &mut Server, call: &mut Call, key: &[u8]) -> CommandResult<Vec<u8>> {
    match s.ks.read_string(call.db, key) {
        Ok(Some(value)) => Ok(string_bytes(value, &mut itoa::Buffer::new()).to_vec()),
        Ok(None) => Ok(Vec::new()),
        Err(_) => Err(CommandError::err("The specified keys must contain string values")),
    }
}

/// The lengths of the longest common subsequences of all prefixes of two strings.
struct Prefixes {
    width: usize,
    cells: Vec<u32>,
}

impl Prefixes {
    /// An error if the strings are too long, or if the table would take more than `limit` bytes.
    fn new(a: &[u8], b: &[u8], limit: u64) -> CommandResult<Prefixes> {
        const TOO_LONG: usize = u32::MAX as usize - 1;
        if a.len() >= TOO_LONG || b.len() >= TOO_LONG {
            return Err(CommandError::err("String too long for LCS"));
        }
        let (height, width) = (a.len() + 1, b.len() + 1);
        let bytes = (height as u128) * (width as u128) * size_of::<u32>() as u128;
        if bytes > u128::from(limit) {
            return Err(CommandError::err(
                "Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            ));
        }
        let mut cells: Vec<u32> = Vec::new();
        cells.try_reserve_exact(height * width).map_err(|_| {
            CommandError::err("Insufficient memory, failed allocating transient memory for LCS")
        })?;
        cells.resize(height * width, 0);
        let mut rows = cells.chunks_exact_mut(width);
        let mut above = rows.next().map_or(&[][..], |first| &*first);
        for (byte, row) in a.iter().zip(rows) {
            let mut left = 0;
            for ((cell, pair), other) in row[1..].iter_mut().zip(above.windows(2)).zip(b) {
                let [diagonal, up] = *pair else { continue };
                left = if byte == other { diagonal + 1 } else { left.max(up) };
                *cell = left;
            }
            above = row;
        }
        Ok(Prefixes { width, cells })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    fn total(&self) -> u32 {
        self.cells.last().copied().unwrap_or(0)
    }

    /// The indices of the common bytes in both strings, from the last to the first.
    fn walk_back<'a>(
        &'a self,
        a: &'a [u8],
        b: &'a [u8],
    ) -> impl Iterator<Item = (usize, usize)> + 'a {
        let (mut i, mut j) = (a.len(), b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if a[i - 1] == b[j - 1] {
                    i -= 1;
                    j -= 1;
                    return Some((i, j));
                }
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
            None
        })
    }
}

fn reply_matches(reply: &mut Reply, table: &Prefixes, a: &[u8], b: &[u8], options: Options) {
    reply.map(2);
    reply.bulk_str("matches");
    let at = reply.deferred();
    let mut n = 0;
    let mut emit = |reply: &mut Reply, first: (usize, usize), len: usize| {
        if len < options.min_match_len {
            return;
        }
        reply.array(2 + usize::from(options.with_match_len));
        for start in [first.0, first.1] {
            reply.array(2);
            reply.int(start as i64);
            reply.int((start + len - 1) as i64);
        }
        if options.with_match_len {
            reply.int(len as i64);
        }
        n += 1;
    };
    // A run of bytes that are neighbours in both strings is one match.
    let mut run: Option<((usize, usize), usize)> = None;
    for (i, j) in table.walk_back(a, b) {
        run = match run {
            Some((first, len)) if first == (i + 1, j + 1) => Some(((i, j), len + 1)),
            other => {
                if let Some((first, len)) = other {
                    emit(reply, first, len);
                }
                Some(((i, j), 1))
            }
        };
    }
    if let Some((first, len)) = run {
        emit(reply, first, len);
    }
    reply.set_array(at, n);
    reply.bulk_str("len");
    reply.int(table.total().into());
}

pub const COMMANDS: &[Row] = &[("lcs", lcs)];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn common(a: &[u8], b: &[u8]) -> Vec<u8> {
        let table = Prefixes::new(a, b, 1 << 30).unwrap();
        let mut bytes: Vec<u8> = table.walk_back(a, b).map(|(i, _)| a[i]).collect();
        bytes.reverse();
        assert_eq!(bytes.len(), table.total() as usize);
        bytes
    }

    #[test]
    fn known_pairs() {
        assert_eq!(common(b"ohmytext", b"mynewtext"), b"mytext");
        assert_eq!(common(b"", b"abc"), b"");
        assert_eq!(common(b"abc", b"xyz"), b"");
    }

    #[test]
    fn a_table_too_large_is_refused() {
        assert!(Prefixes::new(&[0; 99], &[0; 99], 40_000).is_ok());
        let error = Prefixes::new(&[0; 99], &[0; 99], 39_999).err().unwrap();
        assert!(error.to_string().contains("exceeds proto-max-bulk-len"));
    }

    fn is_subsequence(part: &[u8], of: &[u8]) -> bool {
        let mut rest = of.iter();
        part.iter().all(|byte| rest.any(|other| other == byte))
    }

    proptest! {
        #[test]
        fn is_common_and_longest(a in "[ab]{0,9}", b in "[abc]{0,9}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let found = common(a, b);
            prop_assert!(is_subsequence(&found, a) && is_subsequence(&found, b));
            for bits in 0u32..1 << a.len() {
                let chosen: Vec<u8> =
                    a.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, b)| *b).collect();
                prop_assert!(chosen.len() <= found.len() || !is_subsequence(&chosen, b));
            }
        }
    }
}
