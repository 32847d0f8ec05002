//! The request parser: inline commands and arrays of bulk strings, out of one contiguous buffer.
//!
//! Arguments come out as ranges of the caller's buffer, so a request that lies whole in the buffer costs neither a
//! copy nor an allocation. A request that is cut off leaves a [`Partial`]: what was understood so far, with offsets
//! relative to the request's first byte, so that parsing resumes where it stopped: an argument is looked at once,
//! however often the rest is split. Nothing is allocated for what is announced and has not come.

use crate::util::args::split_args;
use bytes::Bytes;

/// The longest inline command, and the longest `*<count>` or `$<length>` line, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// The largest number of arguments in one request. What a client may really send ends at its query buffer's limit.
const MAX_ARGS: i64 = i32::MAX as i64;
/// What a client may send before it has authenticated: arguments, and bytes in one of them.
const UNAUTHENTICATED_ARGS: i64 = 10;
const UNAUTHENTICATED_BULK: i64 = 16384;

/// A half-open range of bytes: one argument of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// The same bytes where the buffer has `by` more bytes in front.
    fn behind(self, by: usize) -> Span {
        Span { start: self.start + by, end: self.end + by }
    }

    /// The bytes of `buf` that this span names.
    #[inline]
    pub fn of<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.start..self.end]
    }
}

/// What one client may send.
#[derive(Clone, Copy, Debug)]
pub struct ParserLimits {
    /// `proto-max-bulk-len`, in bytes.
    pub max_bulk: i64,
    /// Whether the client has authenticated; before that, requests must be small.
    pub authenticated: bool,
}

/// How far a request has been parsed.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Arguments still to come; 0 while the `*<count>` line itself is incomplete.
    missing: usize,
    /// The announced length of the argument being read, once its `$` line is known.
    bulk: Option<usize>,
    /// Where parsing resumes.
    pos: usize,
    /// The length of the longest argument that is known, short ones aside, in bytes.
    longest: usize,
}

/// A request whose tail has not arrived. Offsets are relative to its first byte.
#[derive(Debug, Default)]
pub struct Partial {
    progress: Progress,
    /// The arguments that are complete.
    args: Vec<Span>,
    /// Those of them that the caller has taken out of its buffer, by their index; their spans are empty.
    apart: Vec<(usize, Bytes)>,
    apart_bytes: usize,
    /// So many arguments have been offered to be taken out.
    offered: usize,
}

impl Partial {
    /// Bytes still to come of a bulk argument whose length is known, when `have` bytes of the request are here.
    pub fn bulk_bytes_missing(&self, have: usize) -> usize {
        let Progress { bulk, pos, .. } = self.progress;
        bulk.map_or(0, |len| (pos + len + 2).saturating_sub(have))
    }

    /// Bytes of the longest argument that is complete or announced, short ones aside.
    pub fn longest(&self) -> usize {
        self.progress.longest
    }

    /// Bytes at the request's beginning that are done with: complete arguments and headers.
    pub fn parsed(&self) -> usize {
        if self.progress.missing > 0 { self.progress.pos } else { 0 }
    }

    /// Bytes of the complete arguments.
    pub fn argument_bytes(&self) -> usize {
        self.args.iter().map(|span| span.end - span.start).sum::<usize>() + self.apart_bytes
    }

    /// Memory held beside the buffer, in bytes.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.args.capacity() * size_of::<Span>()
            + self.apart.capacity() * size_of::<(usize, Bytes)>()
            + self.apart_bytes
    }

    /// The next complete argument of at least so many bytes, for [`Self::set_apart`]; not the command's name. Each is
    /// offered once.
    pub fn next_large(&mut self, least: usize) -> Option<Span> {
        while let Some(&span) = self.args.get(self.offered) {
            self.offered += 1;
            if self.offered > 1 && span.end - span.start >= least {
                return Some(span);
            }
        }
        None
    }

    /// The argument that was offered last lies in a buffer of its own from now on: the caller takes its bytes out of
    /// the one in which the request began.
    pub fn set_apart(&mut self, argument: Bytes) {
        let at = self.offered - 1;
        self.args[at].end = self.args[at].start;
        for span in &mut self.args[at + 1..] {
            *span = Span { start: span.start - argument.len(), end: span.end - argument.len() };
        }
        self.progress.pos -= argument.len();
        self.progress.longest = self.progress.bulk.unwrap_or(0);
        self.apart_bytes += argument.len();
        self.apart.push((at, argument));
    }

    /// Whether arguments lie in buffers of their own.
    pub fn is_scattered(&self) -> bool {
        !self.apart.is_empty()
    }

    /// The arguments that lie in buffers of their own.
    pub fn apart(&self) -> impl Iterator<Item = &Bytes> {
        self.apart.iter().map(|(_, argument)| argument)
    }

    /// The complete arguments of the request that begins `buf`.
    pub fn arguments<'a>(&'a self, buf: &'a [u8]) -> Vec<&'a [u8]> {
        let mut arguments: Vec<&[u8]> = self.args.iter().map(|span| span.of(buf)).collect();
        for (at, argument) in &self.apart {
            arguments[*at] = argument;
        }
        arguments
    }
}

/// One step of parsing.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request: its arguments were appended to the caller's list; the next one starts at `end`.
    Request { end: usize },
    /// A request of which arguments lie apart: it is what `partial` holds, and the next one starts at `end`.
    Scattered { end: usize },
    /// An inline request, whose arguments may have been unescaped and thus do not lie in the buffer.
    Inline { end: usize, args: Vec<Vec<u8>> },
    /// Nothing to execute (an empty line, `*0`); the next request starts at `end`.
    Empty { end: usize },
    /// The request is cut off; call again with its first byte and more behind it.
    Incomplete,
}

/// A violation of the protocol: the text behind `-ERR Protocol error: `.
#[derive(Debug, PartialEq, Eq)]
pub struct ProtocolError(pub String);

fn fail<T>(text: &str) -> Result<T, ProtocolError> {
    Err(ProtocolError(text.to_string()))
}

/// Parses the request that starts at `start` of `buf`; its arguments are appended to `spans` (nothing is, unless the
/// answer is [`Parsed::Request`]). A [`Parsed::Scattered`] is answered again as long as `partial` holds it.
///
/// `partial` is `Some` when an earlier call on the same request answered [`Parsed::Incomplete`], and is set so here.
#[inline]
pub fn parse_request(
    buf: &[u8],
    start: usize,
    partial: &mut Option<Box<Partial>>,
    spans: &mut Vec<Span>,
    limits: ParserLimits,
) -> Result<Parsed, ProtocolError> {
    let Some(&first) = buf.get(start) else { return Ok(Parsed::Incomplete) };
    if first != b'*' {
        return parse_inline(buf, start, partial);
    }
    if let Some(earlier) = partial.take() {
        return resume(buf, start, earlier, partial, spans, limits);
    }
    let (mut pos, mut missing) = match buf[start..].first_chunk() {
        // A single digit, as nearly always. Every client may send so many arguments.
        Some(&[_, count @ b'1'..=b'9', b'\r', _]) => (start + 4, usize::from(count - b'0')),
        _ => match parse_count(buf, start, limits)? {
            None => return Ok(Parsed::Incomplete),
            Some((end, ..=0)) => return Ok(Parsed::Empty { end }),
            Some((end, count)) => (end, count as usize),
        },
    };
    let first = spans.len();
    (pos, missing) = short_bulks(buf, pos, missing, spans);
    if missing == 0 {
        return Ok(Parsed::Request { end: pos });
    }
    let mut progress = Progress { missing, pos, ..Progress::default() };
    parse_arguments(buf, &mut progress, spans, limits)?;
    if progress.missing == 0 {
        return Ok(Parsed::Request { end: progress.pos });
    }
    progress.pos -= start;
    #[cfg(test)]
    steps::add(spans.len() - first);
    let args = spans.drain(first..).map(|s| Span { start: s.start - start, end: s.end - start });
    let args = args.collect();
    *partial = Some(Box::new(Partial { progress, args, ..Partial::default() }));
    Ok(Parsed::Incomplete)
}

/// The same for a request whose beginning is known: only what has come since is looked at.
#[cold]
fn resume(
    buf: &[u8],
    start: usize,
    mut request: Box<Partial>,
    partial: &mut Option<Box<Partial>>,
    spans: &mut Vec<Span>,
    limits: ParserLimits,
) -> Result<Parsed, ProtocolError> {
    parse_arguments(&buf[start..], &mut request.progress, &mut request.args, limits)?;
    let Progress { missing, pos, .. } = request.progress;
    if missing == 0 && request.is_scattered() {
        *partial = Some(request);
        return Ok(Parsed::Scattered { end: start + pos });
    }
    if missing == 0 {
        #[cfg(test)]
        steps::add(request.args.len());
        spans.extend(request.args.iter().map(|span| span.behind(start)));
        return Ok(Parsed::Request { end: start + pos });
    }
    *partial = Some(request);
    Ok(Parsed::Incomplete)
}

/// Parses what follows the name of a request that has so many further arguments: where it ends, if all of them are
/// short, and here. Else nothing has happened, and [`parse_request`] is to look at the request.
#[inline]
pub fn parse_rest(buf: &[u8], name: Span, further: usize, spans: &mut Vec<Span>) -> Option<usize> {
    let first = spans.len();
    spans.push(name);
    let (end, missing) = short_bulks(buf, name.end + 2, further, spans);
    if missing == 0 && end <= buf.len() {
        return Some(end);
    }
    spans.truncate(first);
    None
}

/// Parses arguments from `pos` on as long as they are short and here, as nearly all are: where the next one begins, and
/// how many are missing.
#[inline(always)]
fn short_bulks(
    buf: &[u8],
    mut pos: usize,
    mut missing: usize,
    spans: &mut Vec<Span>,
) -> (usize, usize) {
    while missing > 0
        && let Some(span) = short_bulk(buf, pos)
    {
        #[cfg(test)]
        steps::add(1);
        spans.push(span);
        (missing, pos) = (missing - 1, span.end + 2);
    }
    (pos, missing)
}

/// The argument at `pos`, if it has less than a hundred bytes and all of them are here. Every client may send that.
#[inline(always)]
fn short_bulk(buf: &[u8], pos: usize) -> Option<Span> {
    let (start, len) = match *buf.get(pos..)?.first_chunk()? {
        [b'$', n @ b'0'..=b'9', b'\r', _, _] => (pos + 4, usize::from(n - b'0')),
        [b'$', tens @ b'1'..=b'9', n @ b'0'..=b'9', b'\r', _] => {
            (pos + 5, usize::from(tens - b'0') * 10 + usize::from(n - b'0'))
        }
        _ => return None,
    };
    (buf.len() - start >= len + 2).then_some(Span { start, end: start + len })
}

/// Parses arguments until none is missing, or the next one has not come.
fn parse_arguments(
    buf: &[u8],
    progress: &mut Progress,
    spans: &mut Vec<Span>,
    limits: ParserLimits,
) -> Result<(), ProtocolError> {
    while progress.missing > 0 {
        #[cfg(test)]
        steps::add(1);
        let len = match progress.bulk {
            Some(len) => len,
            None => match parse_bulk_length(buf, progress.pos, limits)? {
                None => break,
                Some((end, len)) => {
                    progress.pos = end;
                    progress.bulk = Some(len);
                    progress.longest = progress.longest.max(len);
                    len
                }
            },
        };
        let start = progress.pos;
        // The two bytes behind the argument are skipped unread, as Redis does.
        if buf.len() - start < len + 2 {
            break;
        }
        spans.push(Span { start, end: start + len });
        progress.missing -= 1;
        progress.bulk = None;
        progress.pos = start + len + 2;
    }
    Ok(())
}

/// The `*<count>\r\n` line at `start`: where it ends, and the count. `None`: not all there.
fn parse_count(
    buf: &[u8],
    start: usize,
    limits: ParserLimits,
) -> Result<Option<(usize, i64)>, ProtocolError> {
    let Some((end, digits)) = header_line(buf, start) else {
        return if buf.len() - start > MAX_LINE {
            fail("too big mbulk count string")
        } else {
            Ok(None)
        };
    };
    match decimal(digits) {
        Some(n) if n > MAX_ARGS => fail("invalid multibulk length"),
        Some(n) if n > UNAUTHENTICATED_ARGS && !limits.authenticated => {
            fail("unauthenticated multibulk length")
        }
        Some(n) => Ok(Some((end, n))),
        None => fail("invalid multibulk length"),
    }
}

/// The `$<length>\r\n` line at `pos`: where it ends, and the length in bytes. `None`: not all there.
#[inline]
fn parse_bulk_length(
    buf: &[u8],
    pos: usize,
    limits: ParserLimits,
) -> Result<Option<(usize, usize)>, ProtocolError> {
    let Some(&first) = buf.get(pos) else { return Ok(None) };
    let line = header_line(buf, pos);
    if line.is_none() && buf.len() - pos > MAX_LINE {
        return fail("too big bulk count string");
    }
    let Some((end, digits)) = line else { return Ok(None) };
    if first != b'$' {
        return Err(ProtocolError(format!("expected '$', got '{}'", char::from(first))));
    }
    match decimal(digits) {
        Some(n) if n < 0 || n > limits.max_bulk => fail("invalid bulk length"),
        Some(n) if n > UNAUTHENTICATED_BULK && !limits.authenticated => {
            fail("unauthenticated bulk length")
        }
        Some(n) => Ok(Some((end, n as usize))),
        None => fail("invalid bulk length"),
    }
}

/// The line at `start`, without its first byte and its CR LF, and where the next one starts.
#[inline]
fn header_line(buf: &[u8], start: usize) -> Option<(usize, &[u8])> {
    let rest = &buf[start..];
    // Nearly every header is one type byte and one or two digits.
    let cr = match rest {
        [_, _, b'\r', ..] => 2,
        [_, _, _, b'\r', ..] => 3,
        _ => memchr::memchr(b'\r', rest)?,
    };
    (rest.len() > cr + 1).then(|| (start + cr + 2, &rest[1.min(cr)..cr]))
}

/// A decimal number as the protocol writes it: no spaces, no plus sign, no leading zeros.
#[inline]
fn decimal(digits: &[u8]) -> Option<i64> {
    match digits {
        [d @ b'0'..=b'9'] => Some(i64::from(d - b'0')),
        [a @ b'1'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => crate::util::number::parse_i64(digits),
    }
}

fn parse_inline(
    buf: &[u8],
    start: usize,
    partial: &mut Option<Box<Partial>>,
) -> Result<Parsed, ProtocolError> {
    let resume = partial.take().map_or(start, |p| start + p.progress.pos);
    // Redis looks for the line's end as for the end of a C string, and so never behind a zero byte: who speaks TLS to
    // a port without it is not answered, rather than with errors about what its handshake seems to say.
    let stop = memchr::memchr2(b'\n', 0, &buf[resume..]).map_or(buf.len(), |at| resume + at);
    if buf.get(stop) != Some(&b'\n') {
        if buf.len() - start > MAX_LINE {
            return fail("too big inline request");
        }
        let progress = Progress { pos: stop - start, ..Progress::default() };
        *partial = Some(Box::new(Partial { progress, ..Partial::default() }));
        return Ok(Parsed::Incomplete);
    }
    let end = stop + 1;
    let line = &buf[start..end - 1];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match split_args(line) {
        None => fail("unbalanced quotes in request"),
        Some(args) if args.is_empty() => Ok(Parsed::Empty { end }),
        Some(args) => Ok(Parsed::Inline { end, args }),
    }
}

/// Counts what parsing does, for the tests: how often an argument is looked at.
#[cfg(test)]
mod steps {
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });

    pub fn add(n: usize) {
        STEPS.set(STEPS.get() + n);
    }

    pub fn take() -> usize {
        STEPS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ParserLimits = ParserLimits { max_bulk: 512 * 1024 * 1024, authenticated: true };

    /// Everything that `input` asks for when it arrives in the given pieces; the error's text ends the list.
    fn requests(input: &[u8], cuts: &[usize]) -> Vec<Vec<Vec<u8>>> {
        let (mut buf, mut out, mut partial) = (Vec::new(), Vec::new(), None);
        let mut ends: Vec<usize> = cuts.iter().map(|c| c % (input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        let mut fed = 0;
        for end in ends {
            buf.extend_from_slice(&input[fed..end]);
            fed = end;
            let mut start = 0;
            loop {
                let mut spans = Vec::new();
                match parse_request(&buf, start, &mut partial, &mut spans, LIMITS) {
                    Ok(Parsed::Request { end }) => {
                        out.push(spans.iter().map(|s| s.of(&buf).to_vec()).collect());
                        start = end;
                    }
                    Ok(Parsed::Inline { end, args }) => {
                        out.push(args);
                        start = end;
                    }
                    Ok(Parsed::Empty { end }) => start = end,
                    Ok(Parsed::Scattered { .. }) => panic!("nothing was taken out"),
                    Ok(Parsed::Incomplete) => break,
                    Err(ProtocolError(text)) => {
                        out.push(vec![b"error".to_vec(), text.into_bytes()]);
                        return out;
                    }
                }
            }
            buf.drain(..start);
        }
        out
    }

    fn error_of(input: &[u8]) -> String {
        let all = requests(input, &[]);
        let last = all.last().expect("an error was expected");
        assert_eq!(last[0], b"error", "{all:?}");
        String::from_utf8(last[1].clone()).unwrap()
    }

    #[test]
    fn violations_have_redis_wording() {
        let table: [(&[u8], &str); 12] = [
            (b"*3000000000\r\n", "invalid multibulk length"),
            (b"*2147483648\r\n", "invalid multibulk length"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*1\r\nfoo\r\n", "expected '$', got 'f'"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f'"),
            (b"*1\r\n$-10\r\n", "invalid bulk length"),
            (b"*1\r\n$2000000000\r\n", "invalid bulk length"),
            (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
            (b"*1\r\n$blabla\r\n", "invalid bulk length"),
            (b"*1\r\n$\r\n", "invalid bulk length"),
            (b"set \"\"\"key\"\"\" v\r\n", "unbalanced quotes in request"),
        ];
        for (input, text) in table {
            assert_eq!(error_of(input), text, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn endless_lines_are_refused() {
        for (head, text) in [
            ("", "too big inline request"),
            ("*", "too big mbulk count string"),
            ("*1\r\n$", "too big bulk count string"),
        ] {
            let mut input = head.as_bytes().to_vec();
            input.resize(input.len() + MAX_LINE + 1, b'1');
            assert_eq!(error_of(&input), text);
        }
    }

    #[test]
    fn an_unauthenticated_client_must_be_brief() {
        let limits = ParserLimits { authenticated: false, ..LIMITS };
        for (input, text) in [
            (&b"*11\r\n"[..], "unauthenticated multibulk length"),
            (&b"*1\r\n$16385\r\n"[..], "unauthenticated bulk length"),
        ] {
            let got = parse_request(input, 0, &mut None, &mut Vec::new(), limits);
            assert_eq!(got, Err(ProtocolError(text.to_string())));
        }
    }

    #[test]
    fn empty_requests_are_skipped() {
        let got = requests(b"\r\n*0\r\n*-10\r\n\n  \r\nPING\r\n", &[]);
        assert_eq!(got, vec![vec![b"PING".to_vec()]]);
    }

    #[test]
    fn what_is_announced_allocates_nothing() {
        let mut partial = None;
        for (input, bound) in
            [(&b"*2147483647\r\n"[..], 0), (b"*2147483647\r\n$1\r\na\r\n$2\r\n", 4)]
        {
            let got = parse_request(input, 0, &mut partial, &mut Vec::new(), LIMITS);
            assert_eq!(got, Ok(Parsed::Incomplete));
            let room = partial.as_ref().unwrap().args.capacity();
            assert!(room <= bound, "room for {room} arguments");
        }
    }

    /// Wherever it is cut, and whatever is taken out of the buffer meanwhile, the request is the same.
    #[test]
    fn large_arguments_may_lie_apart() {
        let wanted: Vec<Vec<u8>> =
            ["MSET", "a", "large value", "", "b", "another one", "c", "last of all"]
                .map(|arg| arg.as_bytes().to_vec())
                .into();
        let mut input = encode(&wanted);
        let len = input.len();
        input.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        for cut in 1..len {
            for piece in [1, 7, 20] {
                let (mut partial, mut spans) = (None, Vec::new());
                let mut buf = input[..cut].to_vec();
                let mut rest = input[cut..].chunks(piece);
                let end = loop {
                    match parse_request(&buf, 0, &mut partial, &mut spans, LIMITS) {
                        Ok(Parsed::Incomplete) => {}
                        Ok(Parsed::Request { end } | Parsed::Scattered { end }) => break end,
                        other => panic!("{other:?}"),
                    }
                    // Of less than the first line nothing is known.
                    if let Some(request) = partial.as_mut() {
                        while let Some(span) = request.next_large(8) {
                            request.set_apart(Bytes::copy_from_slice(span.of(&buf)));
                            buf.drain(span.start..span.end);
                        }
                    }
                    buf.extend_from_slice(rest.next().expect("more is to come"));
                };
                let got = match &partial {
                    Some(request) => request.arguments(&buf),
                    None => spans.iter().map(|span| span.of(&buf)).collect(),
                };
                assert_eq!(got, wanted, "cut at {cut}, then every {piece}");
                assert!(b"*1\r\n$4\r\nPING\r\n".starts_with(&buf[end..]));
                if let Some(request) = &partial {
                    let apart: usize = request.apart().map(Bytes::len).sum();
                    assert_eq!(end + apart, len);
                    // It is there as long as it is not taken.
                    let again = parse_request(&buf, 0, &mut partial, &mut spans, LIMITS);
                    assert_eq!(again, Ok(Parsed::Scattered { end }));
                }
            }
        }
    }

    #[test]
    fn a_cut_bulk_says_how_much_is_missing() {
        let mut partial = None;
        let input = b"*2\r\n$3\r\nGET\r\n$10\r\nabc";
        let got = parse_request(input, 0, &mut partial, &mut Vec::new(), LIMITS);
        assert_eq!(got, Ok(Parsed::Incomplete));
        assert_eq!(partial.unwrap().bulk_bytes_missing(input.len()), 9);
    }

    fn encode(request: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", request.len()).into_bytes();
        for arg in request {
            out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_requests(
            wanted in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 0..8),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let input: Vec<u8> = wanted.iter().flat_map(|r| encode(r)).collect();
            prop_assert_eq!(requests(&input, &cuts), wanted);
        }

        #[test]
        fn any_split_takes_as_many_steps(
            request in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 1..300),
            piece in 1usize..20,
        ) {
            let input = encode(&request);
            let ends: Vec<usize> = (0..input.len()).step_by(piece).collect();
            steps::take();
            prop_assert_eq!(requests(&input, &ends), vec![request.clone()]);
            // An argument is parsed once, and where it was cut off its place is computed once more. Each piece may end
            // in an argument that is begun again.
            let steps = steps::take();
            prop_assert!(steps <= 3 * request.len() + ends.len() + 1, "{steps} steps");
        }

        #[test]
        fn any_split_of_any_bytes_gives_the_same_answer(
            pieces in prop::collection::vec(prop_oneof![
                Just(b"*2\r\n".to_vec()), Just(b"$3\r\nfoo\r\n".to_vec()), Just(b"PING a\r\n".to_vec()),
                Just(b"*-1\r\n".to_vec()), Just(b"$-1\r\n".to_vec()), Just(b"\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..6)], 0..12),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let input: Vec<u8> = pieces.concat();
            prop_assert_eq!(requests(&input, &cuts), requests(&input, &[]));
        }
    }
}
