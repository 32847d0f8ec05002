//! `SORT` and `SORT_RO`: the elements of a list, set or sorted set in order, by themselves or by what is found under
//! keys made from them; what is answered or stored may be found that way too.
//!
//! The elements' texts are copied into one piece of memory, so that keys may be looked up while they are sorted, and
//! sorting moves small rows only.

use super::args::{int, is};
use super::keys::store_result;
use super::string::string_bytes;
use crate::db::Keyspace;
use crate::db::notify::Class;
use crate::ds::listpack::{INT_TEXT_MAX, ListpackEntry};
use crate::ds::quicklist::Direction;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::acl;
use crate::server::call::Call;
use crate::server::table::Row as TableRow;
use crate::util::number::{behind_space, parse_f64};
use crate::util::slot::{key_slot, pattern_slot};
use crate::value::list::{End, List};
use crate::value::{Collection, ValueRef};
use std::cmp::Ordering;
use std::ops::Range;

const BY_OTHER_SLOTS: CommandError = CommandError::err(
    "BY option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
);
const GET_OTHER_SLOTS: CommandError = CommandError::err(
    "GET option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
);
const BY_DENIED: CommandError =
    CommandError::err("BY option of SORT denied due to insufficient ACL permissions.");
const GET_DENIED: CommandError =
    CommandError::err("GET option of SORT denied due to insufficient ACL permissions.");

const TOO_LARGE: CommandError = CommandError::err("the result of SORT is too large");

/// Where a value is found for an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A pattern without `*` finds nothing, whatever is there.
    Nothing,
    /// The key that has the element between two texts; of a hash, the field behind `->`.
    Key { prefix: &'a [u8], suffix: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn parse(pattern: &'a [u8]) -> Pattern<'a> {
        if pattern == b"#" {
            return Pattern::Element;
        }
        let Some(star) = memchr::memchr(b'*', pattern) else { return Pattern::Nothing };
        let (prefix, rest) = (&pattern[..star], &pattern[star + 1..]);
        match memchr::memmem::find(rest, b"->").filter(|arrow| arrow + 2 < rest.len()) {
            Some(arrow) => {
                Pattern::Key { prefix, suffix: &rest[..arrow], field: Some(&rest[arrow + 2..]) }
            }
            None => Pattern::Key { prefix, suffix: rest, field: None },
        }
    }

    /// Gives what is found for `element` to `visit`. `key` is a buffer.
    fn look_up<R>(
        self,
        ks: &mut Keyspace,
        db: usize,
        element: &[u8],
        key: &mut Vec<u8>,
        visit: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        let (prefix, suffix, field) = match self {
            Pattern::Element => return visit(Some(element)),
            Pattern::Nothing => return visit(None),
            Pattern::Key { prefix, suffix, field } => (prefix, suffix, field),
        };
        key.clear();
        [prefix, element, suffix].iter().for_each(|part| key.extend_from_slice(part));
        // A key that holds something else is as good as none.
        if let Some(field) = field {
            let now = ks.field_clock();
            let hash = ks.read_fields(db, key, [field]).unwrap_or_default();
            return match hash.and_then(|hash| hash.get(field, now)) {
                Some(value) => visit(Some(value.to_bytes(&mut [0; INT_TEXT_MAX]))),
                None => visit(None),
            };
        }
        match ks.read_string(db, key).unwrap_or_default() {
            Some(value) => visit(Some(string_bytes(value, &mut itoa::Buffer::new()))),
            None => visit(None),
        }
    }
}

/// The arguments of `SORT`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    by: Option<&'a [u8]>,
    /// Offset and count; a negative count is none.
    limit: Option<(i64, i64)>,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

/// Whether a pattern may lead to keys that, in a cluster, lie elsewhere than those of `slot`.
fn leaves_slot(slot: Option<u16>, pattern: &[u8]) -> bool {
    // `#`, and a weight that is no key, stay where they are.
    slot.is_some() && pattern.contains(&b'*') && pattern_slot(pattern) != slot
}

impl<'a> Options<'a> {
    /// `any_key`: whether the user may read any key. `slot`: in a cluster, that of the key.
    fn parse(
        args: &[&'a [u8]],
        read_only: bool,
        any_key: bool,
        slot: Option<u16>,
    ) -> CommandResult<Options<'a>> {
        let mut options = Options::default();
        let mut rest = args;
        while let Some((name, after)) = rest.split_first() {
            rest = match *after {
                _ if is(name, "ASC") => {
                    options.descending = false;
                    after
                }
                _ if is(name, "DESC") => {
                    options.descending = true;
                    after
                }
                _ if is(name, "ALPHA") => {
                    options.alpha = true;
                    after
                }
                [offset, count, ..] if is(name, "LIMIT") => {
                    options.limit = Some((int(offset)?, int(count)?));
                    &after[2..]
                }
                [key, ..] if is(name, "STORE") && !read_only => {
                    options.store = Some(key);
                    &after[1..]
                }
                [pattern, ..] if is(name, "BY") && leaves_slot(slot, pattern) => {
                    return Err(BY_OTHER_SLOTS);
                }
                [pattern, ..] if is(name, "GET") && leaves_slot(slot, pattern) => {
                    return Err(GET_OTHER_SLOTS);
                }
                // What keys these lead to can't be told beforehand.
                [pattern, ..] if is(name, "BY") && !any_key && pattern.contains(&b'*') => {
                    return Err(BY_DENIED);
                }
                [_, ..] if is(name, "GET") && !any_key => return Err(GET_DENIED),
                [pattern, ..] if is(name, "BY") => {
                    options.by = Some(pattern);
                    &after[1..]
                }
                [pattern, ..] if is(name, "GET") => {
                    options.get.push(Pattern::parse(pattern));
                    &after[1..]
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        Ok(options)
    }

    /// Which of `len` sorted elements are wanted.
    fn range(&self, len: usize) -> Range<usize> {
        let Some((offset, count)) = self.limit else { return 0..len };
        let clamp = |n: i64| usize::try_from(n.max(0)).map_or(len, |n| n.min(len));
        let start = clamp(offset);
        let end = if count < 0 { len } else { (start + clamp(count)).min(len) };
        start..end
    }
}

/// What a row is sorted by, besides its element.
#[derive(Clone, Debug, PartialEq)]
enum Weight {
    Number(f64),
    /// A text in the rows' memory, or none.
    Text(Option<Range<usize>>),
}

#[derive(Clone, Debug)]
struct Row {
    element: Range<usize>,
    weight: Weight,
}

/// Rows and the memory that their texts are in.
#[derive(Debug, Default)]
struct Rows {
    texts: Vec<u8>,
    rows: Vec<Row>,
}

impl Rows {
    fn text(&self, at: &Range<usize>) -> &[u8] {
        &self.texts[at.clone()]
    }

    fn push(&mut self, element: ListpackEntry<'_>) {
        let start = self.texts.len();
        self.texts.extend_from_slice(element.to_bytes(&mut [0; INT_TEXT_MAX]));
        let weight = match element {
            ListpackEntry::Int(n) => Weight::Number(n as f64),
            ListpackEntry::Str(_) => Weight::Text(None),
        };
        self.rows.push(Row { element: start..self.texts.len(), weight });
    }

    /// The elements of `range` in the order that the collection has them, or from its end. A set has no order: all
    /// of its elements come.
    fn fill(&mut self, value: ValueRef<'_>, range: Range<usize>, backward: bool) {
        self.rows.reserve(range.len());
        match value {
            ValueRef::Set(set) => set.for_each(|member| self.push(member)),
            ValueRef::List(list) if backward => {
                let Some(first) = list.len().checked_sub(range.start + 1) else { return };
                list.range(first, range.len(), Direction::Backward, |element| self.push(element));
            }
            ValueRef::List(list) => {
                list.range(range.start, range.len(), Direction::Forward, |element| {
                    self.push(element)
                });
            }
            ValueRef::Zset(zset) if backward => {
                let ranks = zset.len() - range.end..zset.len() - range.start;
                zset.range(ranks).rev().for_each(|(member, _)| self.push(member));
            }
            ValueRef::Zset(zset) => {
                zset.range(range).for_each(|(member, _)| self.push(member));
            }
            _ => {}
        }
    }

    /// Finds what the rows are sorted by.
    fn weigh(&mut self, ks: &mut Keyspace, db: usize, options: &Options<'_>) -> CommandResult {
        const NOT_A_NUMBER: CommandError =
            CommandError::err("One or more scores can't be converted into double");
        let by = options.by.map(Pattern::parse);
        let mut key = Vec::new();
        let mut weight_text = Vec::new();
        for i in 0..self.rows.len() {
            let Row { element, weight } = &self.rows[i];
            let weight = match by {
                None if options.alpha || matches!(weight, Weight::Number(_)) => continue,
                None => Weight::Number(number(self.text(element)).ok_or(NOT_A_NUMBER)?),
                Some(pattern) => {
                    let found = pattern.look_up(ks, db, self.text(element), &mut key, |value| {
                        weight_text.clear();
                        weight_text.extend_from_slice(value.unwrap_or_default());
                        value.is_some()
                    });
                    if options.alpha {
                        let start = self.texts.len();
                        self.texts.extend_from_slice(&weight_text);
                        Weight::Text(found.then_some(start..self.texts.len()))
                    } else {
                        // A key that is missing weighs nothing, as an empty one does.
                        Weight::Number(number(&weight_text).ok_or(NOT_A_NUMBER)?)
                    }
                }
            };
            self.rows[i].weight = weight;
        }
        Ok(())
    }

    /// Sorts so that the rows of `range` are those that belong there.
    fn sort(&mut self, range: &Range<usize>, options: &Options<'_>) {
        let mut rows = std::mem::take(&mut self.rows);
        let by_weight = !options.alpha || options.by.is_some();
        let compare = |a: &Row, b: &Row| {
            // Equal weights are told apart by the elements, so that the result is always the same.
            let order = if by_weight { self.compare_weights(a, b) } else { Ordering::Equal };
            let order = order.then_with(|| self.text(&a.element).cmp(self.text(&b.element)));
            if options.descending { order.reverse() } else { order }
        };
        let mut wanted = rows.as_mut_slice();
        if range.end < wanted.len() {
            wanted.select_nth_unstable_by(range.end, compare);
            wanted = &mut wanted[..range.end];
        }
        if range.start > 0 && range.start < wanted.len() {
            wanted.select_nth_unstable_by(range.start, compare);
            wanted = &mut wanted[range.start..];
        }
        wanted.sort_unstable_by(compare);
        self.rows = rows;
    }

    fn compare_weights(&self, a: &Row, b: &Row) -> Ordering {
        match (&a.weight, &b.weight) {
            // There is no NaN among them.
            (Weight::Number(a), Weight::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Weight::Text(a), Weight::Text(b)) => {
                let text =
                    |at: &Option<Range<usize>>| at.as_ref().map(|at| &self.texts[at.clone()]);
                text(a).cmp(&text(b))
            }
            (Weight::Number(_), Weight::Text(_)) => Ordering::Greater,
            (Weight::Text(_), Weight::Number(_)) => Ordering::Less,
        }
    }
}

/// A weight as `strtod` reads it: white space may stand in front, and nothing is zero.
fn number(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    parse_f64(behind_space(text))
}

fn sort_generic(s: &mut Server, call: &mut Call, args: &[&[u8]], read_only: bool) -> CommandResult {
    let db = call.db;
    let any_key = acl::may_read_all_keys(s, call.client, args);
    let slot = s.cluster.as_ref().map(|_| key_slot(args[1]));
    let options = Options::parse(&args[2..], read_only, any_key, slot)?;
    // A constant weight leaves the order that there is. A set has none, so that what is stored is sorted after all:
    // it has to be the same on replicas.
    let mut sorted = options.by.is_none_or(|by| by.contains(&b'*'));
    let mut alphabetical = None;
    let mut rows = Rows::default();
    let mut range = 0..0;
    if let Some(entry) = s.ks.lookup_read(db, args[1]) {
        let value = entry.value();
        let len = match value {
            ValueRef::List(list) => list.len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::Zset(zset) => zset.len(),
            _ => return Err(CommandError::WRONG_TYPE),
        };
        range = options.range(len);
        let is_set = matches!(value, ValueRef::Set(_));
        if !sorted && is_set && (options.store.is_some() || call.in_script) {
            sorted = true;
            alphabetical = Some(Options { alpha: true, by: None, ..options.clone() });
        }
        if sorted || is_set {
            rows.fill(value, 0..len, false);
        } else {
            rows.fill(value, range.clone(), options.descending);
            range = 0..rows.rows.len();
        }
    }
    if sorted {
        let order = alphabetical.as_ref().unwrap_or(&options);
        rows.weigh(&mut s.ks, db, order)?;
        rows.sort(&range, order);
    }
    match options.store {
        None => {
            answer(s, call, &rows, range, &options.get);
            Ok(())
        }
        Some(key) => store(s, call, &rows, range, &options.get, key),
    }
}

fn answer(s: &mut Server, call: &mut Call, rows: &Rows, range: Range<usize>, get: &[Pattern<'_>]) {
    let (db, reply) = (call.db, &mut call.reply);
    let mut key = Vec::new();
    reply.array(range.len() * get.len().max(1));
    for row in &rows.rows[range] {
        let element = rows.text(&row.element);
        if get.is_empty() {
            reply.bulk(element);
        }
        for pattern in get {
            if reply.is_given_up() {
                return;
            }
            pattern.look_up(&mut s.ks, db, element, &mut key, |value| reply.bulk_or_null(value));
        }
    }
}

/// Makes a list of the result, in place of whatever is under `to`.
///
/// # Errors
/// If it would be too large: each pattern may find a long value for each element.
fn store(
    s: &mut Server,
    call: &mut Call,
    rows: &Rows,
    range: Range<usize>,
    get: &[Pattern<'_>],
    to: &[u8],
) -> CommandResult {
    let mut bytes = 0;
    let (db, limits) = (call.db, s.config.list_limits());
    let mut list = List::new();
    let mut key = Vec::new();
    for row in &rows.rows[range] {
        let element = rows.text(&row.element);
        if get.is_empty() {
            list.push(End::Tail, &[element], limits);
        }
        for pattern in get {
            pattern.look_up(&mut s.ks, db, element, &mut key, |value| {
                let value = value.unwrap_or_default();
                bytes += size_of::<u64>() + value.len();
                list.push(End::Tail, &[value], limits);
            });
            if bytes > s.buffers.largest_reply() {
                return Err(TOO_LARGE);
            }
        }
    }
    let len = list.len();
    let result = (len > 0).then(|| list.into_value());
    store_result(s, call, to, result, Class::LIST, "sortstore");
    s.ks.changes.dirty += (len as u64).saturating_sub(1);
    call.reply.int(len as i64);
    Ok(())
}

fn sort(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    sort_generic(s, call, args, false)
}

fn sort_ro(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    sort_generic(s, call, args, true)
}

pub const COMMANDS: &[TableRow] = &[("sort", sort), ("sort_ro", sort_ro)];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        let key = |prefix: &'static [u8], suffix: &'static [u8], field| Pattern::Key {
            prefix,
            suffix,
            field,
        };
        for (text, pattern) in [
            (&b"#"[..], Pattern::Element),
            (b"", Pattern::Nothing),
            (b"#x", Pattern::Nothing),
            (b"a->b", Pattern::Nothing),
            (b"*", key(b"", b"", None)),
            (b"a*b*c", key(b"a", b"b*c", None)),
            (b"a_*_b->f", key(b"a_", b"_b", Some(b"f"))),
            (b"*->", key(b"", b"->", None)),
            (b"x->*->y->z", key(b"x->", b"", Some(b"y->z"))),
        ] {
            assert_eq!(Pattern::parse(text), pattern, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn limits() {
        for (limit, len, expected) in [
            ((0, 10), 3, 0..3),
            ((1, 1), 3, 1..2),
            ((-5, 2), 3, 0..2),
            ((1, -1), 3, 1..3),
            ((3, 5), 3, 3..3),
            ((i64::MAX, i64::MAX), 3, 3..3),
            ((0, 0), 3, 0..0),
            ((i64::MIN, i64::MIN), 3, 0..3),
        ] {
            let options = Options { limit: Some(limit), ..Options::default() };
            assert_eq!(options.range(len), expected, "{limit:?}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b""), Some(0.0));
        assert_eq!(number(b" \t-1.5e2"), Some(-150.0));
        assert_eq!(number(b"inf"), Some(f64::INFINITY));
        for bad in [&b" "[..], b"1 ", b"nan", b"x", b"1e999"] {
            assert_eq!(number(bad), None, "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn a_part_is_as_in_the_whole(
            elements in prop::collection::vec(-30..30i64, 0..60),
            offset in 0..70i64,
            count in -1..70i64,
            descending: bool,
            alpha: bool,
        ) {
            let options = Options { limit: Some((offset, count)), descending, alpha, ..Options::default() };
            let mut rows = Rows::default();
            elements.iter().for_each(|n| rows.push(ListpackEntry::Int(*n)));
            let range = options.range(elements.len());
            rows.sort(&range, &options);
            let mut model: Vec<String> = elements.iter().map(i64::to_string).collect();
            model.sort_by(|a, b| {
                let numbers = a.parse::<i64>().unwrap().cmp(&b.parse::<i64>().unwrap());
                let order = if alpha { a.cmp(b) } else { numbers };
                if descending { order.reverse() } else { order }
            });
            for i in range {
                prop_assert_eq!(rows.text(&rows.rows[i].element), model[i].as_bytes());
            }
        }
    }
}
