//! Lua's patterns, matched as Lua 5.1 does, with the steps counted and without recursion: what may still be tried is on
//! a stack of its own.

use super::error::LibResult;
use super::guard::Guard;
use crate::util::c_string;
use memchr::memchr;
use mlua::Lua;

const MAX_CAPTURES: usize = 32;
/// So many quantifiers and captures of a pattern can be open to another try.
const MAX_CHOICES: usize = 10_000;
/// Bytes that a search passes in the time of a step.
pub const SEARCHED_A_STEP: usize = 8;
/// Steps that are gathered before the guard hears of them.
const STEPS_AT_ONCE: usize = 1_000;

/// A part of the subject that is in parentheses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Capture {
    /// The parenthesis has not been closed.
    #[default]
    Open,
    /// `()`, which stands for a place.
    Place,
    /// So many bytes.
    Text(usize),
}

/// What else can be tried, or has to be undone, when the rest does not match. `s` is a place in the subject, `rest` the
/// one in the pattern where it goes on.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// The optional item is not there.
    Without { s: usize, rest: usize },
    /// The item is there once less, `times` at the most.
    Fewer { s: usize, times: usize, rest: usize },
    /// The item, at `item` in the pattern, is there once more.
    More { s: usize, item: usize, end: usize },
    /// The last capture was begun.
    Begun,
    /// The capture was closed.
    Closed { index: usize },
}

/// What was captured: a part of the subject, or a place in it, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured<'a> {
    Text(&'a [u8]),
    Place(usize),
}

/// A pattern and its subject.
pub struct Matcher<'a> {
    lua: &'a Lua,
    guard: &'a Guard,
    subject: &'a [u8],
    pattern: &'a [u8],
    /// It matches at the beginning only.
    pub is_anchored: bool,
    first: First,
    /// The pattern is nothing but what a match begins with.
    is_single: bool,
    /// Where captures begin, and what they are.
    captures: [(usize, Capture); MAX_CAPTURES],
    level: usize,
    /// Where the last match begins and ends.
    matched: (usize, usize),
    choices: Vec<Choice>,
    steps: usize,
}

/// A pattern with none of these is searched for as it is.
pub const SPECIALS: &[u8] = b"^$*+?.([%-";

/// What every match of a pattern begins with.
#[derive(Clone, Copy, Debug)]
enum First {
    Unknown,
    Byte(u8),
    /// The item of the pattern at `at`.
    Item {
        at: usize,
        end: usize,
    },
}

/// How far a part of the pattern led.
enum Outcome {
    /// The pattern has been matched up to there.
    End(usize),
    Failed,
}

impl<'a> Matcher<'a> {
    /// The pattern is read as Lua 5.1 does: to its first zero byte. `^` is an anchor where `anchors` says so.
    pub fn new(
        lua: &'a Lua,
        guard: &'a Guard,
        subject: &'a [u8],
        pattern: &'a [u8],
        anchors: bool,
    ) -> Matcher<'a> {
        let pattern = c_string(pattern);
        let without_anchor = pattern.strip_prefix(b"^").filter(|_| anchors);
        let mut matcher = Matcher {
            lua,
            guard,
            subject,
            pattern: without_anchor.unwrap_or(pattern),
            first: First::Unknown,
            is_single: false,
            is_anchored: without_anchor.is_some(),
            captures: [(0, Capture::Open); MAX_CAPTURES],
            level: 0,
            matched: (0, 0),
            choices: Vec::new(),
            // For reading the pattern.
            steps: pattern.len() / SEARCHED_A_STEP,
        };
        if !matcher.is_anchored {
            matcher.first = matcher.first();
            matcher.is_single = match matcher.first {
                First::Unknown => false,
                First::Byte(_) => pattern.len() == 1,
                First::Item { at, end } => at == 0 && end == pattern.len(),
            };
        }
        matcher
    }

    /// What every match begins with, perhaps in parentheses, if the pattern says so plainly.
    fn first(&self) -> First {
        let at = usize::from(self.at(0) == b'(');
        let is_item = match (self.at(at), self.at(at + 1)) {
            (0 | b'(' | b')', _) | (b'$', 0) => false,
            (b'%', next) => !matches!(next, b'b' | b'f' | b'0'..=b'9'),
            _ => true,
        };
        let Some(end) = self.item_end(at).ok().filter(|_| is_item) else { return First::Unknown };
        match (self.at(at), self.at(end)) {
            (_, b'*' | b'?' | b'-') => First::Unknown,
            (b'.' | b'%' | b'[', _) => First::Item { at, end },
            (plain, _) => First::Byte(plain),
        }
    }

    /// Where the match ends that begins at `start`, if there is one.
    ///
    /// # Errors
    /// If the pattern is none, or the guard ends it.
    fn match_at(&mut self, start: usize) -> LibResult<Option<usize>> {
        self.level = 0;
        self.choices.clear();
        let (mut s, mut p) = (start, 0);
        loop {
            if let Outcome::End(end) = self.go(s, p)? {
                self.matched = (start, end);
                return Ok(Some(end));
            }
            match self.next_choice()? {
                Some(choice) => (s, p) = choice,
                None => return Ok(None),
            }
        }
    }

    /// The first match from `start` on: where it begins, and where it ends.
    ///
    /// # Errors
    /// As for [`Matcher::match_at`].
    pub fn find(&mut self, start: usize) -> LibResult<Option<(usize, usize)>> {
        self.count(1)?;
        let mut from = start;
        while let Some(s) = self.next_start(from)? {
            if self.is_single {
                self.level = 0;
                self.matched = (s, s + 1);
                return Ok(Some(self.matched));
            }
            if let Some(end) = self.match_at(s)? {
                return Ok(Some((s, end)));
            }
            if self.is_anchored {
                break;
            }
            from = s + 1;
        }
        Ok(None)
    }

    /// The first place from `from` on where a match can begin.
    ///
    /// # Errors
    /// If the guard ends it.
    #[inline]
    fn next_start(&mut self, from: usize) -> LibResult<Option<usize>> {
        let Some(rest) = self.subject.get(from..) else { return Ok(None) };
        match self.first {
            First::Unknown => Ok(Some(from)),
            First::Byte(first) if rest.first() == Some(&first) => Ok(Some(from)),
            First::Byte(first) => {
                let passed = memchr(first, rest);
                self.count(passed.unwrap_or(rest.len()) / SEARCHED_A_STEP)?;
                Ok(passed.map(|passed| from + passed))
            }
            First::Item { at, end } => {
                for s in from..self.subject.len() {
                    if self.is_item(s, at, end)? {
                        return Ok(Some(s));
                    }
                    self.count(1)?;
                }
                Ok(None)
            }
        }
    }

    /// The last match.
    pub fn whole(&self) -> &'a [u8] {
        &self.subject[self.matched.0..self.matched.1]
    }

    /// What the last match captured; the whole of it if the pattern has no captures.
    ///
    /// # Errors
    /// In the place of a capture that has no end.
    pub fn captured(&self) -> impl Iterator<Item = LibResult<Captured<'a>>> {
        (0..self.level.max(1)).map(|index| self.capture(index))
    }

    /// How many captures the last match has.
    pub fn captures(&self) -> usize {
        self.level
    }

    /// One capture of the last match.
    ///
    /// # Errors
    /// If there is none of that number.
    pub fn capture(&self, index: usize) -> LibResult<Captured<'a>> {
        if index >= self.level {
            return match index {
                0 => Ok(Captured::Text(self.whole())),
                _ => Err("invalid capture index".into()),
            };
        }
        let (begin, capture) = self.captures[index];
        match capture {
            Capture::Open => Err("unfinished capture".into()),
            Capture::Place => Ok(Captured::Place(begin + 1)),
            Capture::Text(len) => Ok(Captured::Text(&self.subject[begin..begin + len])),
        }
    }

    #[inline]
    fn count(&mut self, steps: usize) -> LibResult {
        self.steps += steps;
        if self.steps >= STEPS_AT_ONCE {
            self.guard.tick(self.lua, std::mem::take(&mut self.steps))?;
        }
        Ok(())
    }

    /// A byte of the pattern; zero behind its end.
    #[inline]
    fn at(&self, p: usize) -> u8 {
        self.pattern.get(p).copied().unwrap_or(0)
    }

    /// Leaves something to be tried later.
    fn leave(&mut self, choice: Choice) -> LibResult {
        if self.choices.len() >= MAX_CHOICES {
            return Err("pattern too complex".into());
        }
        self.choices.push(choice);
        Ok(())
    }

    /// Undoes what has to be, and answers where to go on, if anywhere.
    fn next_choice(&mut self) -> LibResult<Option<(usize, usize)>> {
        while let Some(choice) = self.choices.pop() {
            match choice {
                Choice::Begun => self.level -= 1,
                Choice::Closed { index } => self.captures[index].1 = Capture::Open,
                Choice::Without { s, rest } => return Ok(Some((s, rest))),
                Choice::Fewer { s, times, rest } => {
                    if times > 0 {
                        self.choices.push(Choice::Fewer { s, times: times - 1, rest });
                    }
                    return Ok(Some((s + times, rest)));
                }
                Choice::More { s, item, end } => {
                    if self.is_item(s, item, end)? {
                        self.choices.push(Choice::More { s: s + 1, item, end });
                        return Ok(Some((s + 1, end + 1)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Goes on in subject and pattern until one of them does not go with the other.
    fn go(&mut self, mut s: usize, mut p: usize) -> LibResult<Outcome> {
        loop {
            self.count(1)?;
            match (self.at(p), self.at(p + 1)) {
                (0, _) => return Ok(Outcome::End(s)),
                (b'(', b')') => {
                    self.begin_capture(s, Capture::Place)?;
                    p += 2;
                }
                (b'(', _) => {
                    self.begin_capture(s, Capture::Open)?;
                    p += 1;
                }
                (b')', _) => {
                    self.close_capture(s)?;
                    p += 1;
                }
                (b'%', b'b') => match self.balanced(s, p + 2)? {
                    Some(end) => (s, p) = (end, p + 4),
                    None => return Ok(Outcome::Failed),
                },
                (b'%', b'f') => match self.frontier(s, p + 2)? {
                    Some(end) => p = end,
                    None => return Ok(Outcome::Failed),
                },
                (b'%', digit @ b'0'..=b'9') => match self.captured_again(s, digit)? {
                    Some(end) => (s, p) = (end, p + 2),
                    None => return Ok(Outcome::Failed),
                },
                (b'$', 0) => {
                    let at_end = s == self.subject.len();
                    return Ok(if at_end { Outcome::End(s) } else { Outcome::Failed });
                }
                _ => match self.item(s, p)? {
                    Some(next) => (s, p) = next,
                    None => return Ok(Outcome::Failed),
                },
            }
        }
    }

    /// An item with what says how often it is there.
    fn item(&mut self, s: usize, p: usize) -> LibResult<Option<(usize, usize)>> {
        let end = self.item_end(p)?;
        self.count((end - p) / 8)?;
        let rest = end + 1;
        let there = self.is_item(s, p, end)?;
        match self.at(end) {
            b'?' if there => {
                self.leave(Choice::Without { s, rest })?;
                Ok(Some((s + 1, rest)))
            }
            b'?' => Ok(Some((s, rest))),
            b'*' if !there => Ok(Some((s, rest))),
            b'*' => self.most(s, s + 1, p, end).map(Some),
            b'+' if there => self.most(s + 1, s + 1, p, end).map(Some),
            b'-' => {
                self.leave(Choice::More { s, item: p, end })?;
                Ok(Some((s, rest)))
            }
            b'+' => Ok(None),
            _ if there => Ok(Some((s + 1, end))),
            _ => Ok(None),
        }
    }

    /// Takes an item as often as it is there from `s` on; at least until `least`, of which it is known.
    fn most(&mut self, s: usize, least: usize, p: usize, end: usize) -> LibResult<(usize, usize)> {
        let mut last = least;
        while self.is_item(last, p, end)? {
            self.count(1)?;
            last += 1;
        }
        if last > s {
            self.leave(Choice::Fewer { s, times: last - s - 1, rest: end + 1 })?;
        }
        Ok((last, end + 1))
    }

    /// Where the item at `p` ends.
    fn item_end(&self, p: usize) -> LibResult<usize> {
        match self.at(p) {
            b'%' if p + 1 >= self.pattern.len() => Err("malformed pattern (ends with '%')".into()),
            b'%' => Ok(p + 2),
            b'[' => {
                let mut end = p + 1;
                if self.at(end) == b'^' {
                    end += 1;
                }
                // What comes first belongs to the set, even if it is the bracket that ends it.
                loop {
                    if end >= self.pattern.len() {
                        return Err("malformed pattern (missing ']')".into());
                    }
                    let escapes = self.at(end) == b'%';
                    end += 1;
                    if escapes && end < self.pattern.len() {
                        end += 1;
                    }
                    if self.at(end) == b']' {
                        break;
                    }
                }
                Ok(end + 1)
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the item at `p`, which ends at `end`, is at `s` in the subject.
    #[inline]
    fn is_item(&mut self, s: usize, p: usize, end: usize) -> LibResult<bool> {
        let Some(&byte) = self.subject.get(s) else { return Ok(false) };
        match self.at(p) {
            b'.' => Ok(true),
            b'%' => Ok(is_class(byte, self.at(p + 1))),
            b'[' => {
                self.count((end - p) / 8)?;
                Ok(self.is_in_set(byte, p, end - 1))
            }
            plain => Ok(plain == byte),
        }
    }

    /// Whether the set from `p` to its bracket at `last` has this byte.
    fn is_in_set(&self, byte: u8, mut p: usize, last: usize) -> bool {
        let negated = self.at(p + 1) == b'^';
        p += usize::from(negated) + 1;
        while p < last {
            let found = match self.at(p) {
                b'%' => {
                    p += 1;
                    is_class(byte, self.at(p))
                }
                low if self.at(p + 1) == b'-' && p + 2 < last => {
                    p += 2;
                    (low..=self.at(p)).contains(&byte)
                }
                plain => plain == byte,
            };
            if found {
                return !negated;
            }
            p += 1;
        }
        negated
    }

    fn begin_capture(&mut self, s: usize, capture: Capture) -> LibResult {
        let place = self.captures.get_mut(self.level).ok_or("too many captures")?;
        *place = (s, capture);
        self.level += 1;
        self.leave(Choice::Begun)
    }

    fn close_capture(&mut self, s: usize) -> LibResult {
        let open = self.captures[..self.level].iter().rposition(|(_, what)| *what == Capture::Open);
        let index = open.ok_or("invalid pattern capture")?;
        self.captures[index].1 = Capture::Text(s - self.captures[index].0);
        self.leave(Choice::Closed { index })
    }

    /// `%b`: from one byte to the other that balances it.
    fn balanced(&mut self, s: usize, p: usize) -> LibResult<Option<usize>> {
        let (open, close) = (self.at(p), self.at(p + 1));
        if open == 0 || close == 0 {
            return Err("unbalanced pattern".into());
        }
        if self.subject.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for at in s + 1..self.subject.len() {
            self.count(1)?;
            let byte = self.subject[at];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f`: between a byte that is not in the set and one that is; answers where the pattern goes on.
    fn frontier(&mut self, s: usize, p: usize) -> LibResult<Option<usize>> {
        if self.at(p) != b'[' {
            return Err("missing '[' after '%f' in pattern".into());
        }
        let end = self.item_end(p)?;
        self.count((end - p) / 8)?;
        let byte = |at: Option<usize>| at.and_then(|at| self.subject.get(at)).copied().unwrap_or(0);
        let (before, behind) = (byte(s.checked_sub(1)), byte(Some(s)));
        let found = !self.is_in_set(before, p, end - 1) && self.is_in_set(behind, p, end - 1);
        Ok(found.then_some(end))
    }

    /// `%1` and so on: what was captured before.
    fn captured_again(&mut self, s: usize, digit: u8) -> LibResult<Option<usize>> {
        let index = usize::from(digit).checked_sub(usize::from(b'1'));
        let known = index.and_then(|index| self.captures[..self.level].get(index).copied());
        match known {
            None | Some((_, Capture::Open)) => Err("invalid capture index".into()),
            Some((_, Capture::Place)) => Ok(None),
            Some((begin, Capture::Text(len))) => {
                self.count(len / 16)?;
                let again = self.subject[s..].starts_with(&self.subject[begin..begin + len]);
                Ok(again.then_some(s + len))
            }
        }
    }
}

/// Whether a byte is of a class, such as `%a`; a capital means all others. What is no letter stands for itself.
fn is_class(byte: u8, class: u8) -> bool {
    let is_there = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | 0x09..=0x0d),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_there != class.is_ascii_uppercase()
}
