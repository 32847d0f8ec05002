//! The ranges of a sorted set that commands name by their ends: scores, or members.

use crate::util::number::{behind_space, leading_f64};
use std::cmp::Ordering;

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// Not NaN.
    pub score: f64,
    /// Whether the score itself is outside.
    pub exclusive: bool,
}

impl ScoreBound {
    /// An end as commands have it: a number, with `(` in front if it is exclusive. As for `strtod`, space in front is
    /// allowed, nothing at all is 0, and what is too large is infinite. `None`: no number.
    fn parse(text: &[u8]) -> Option<ScoreBound> {
        let (exclusive, text) = match text {
            [b'(', text @ ..] => (true, text),
            text => (false, text),
        };
        let score = if text.is_empty() {
            0.0
        } else {
            let number = behind_space(text);
            let (score, len) = leading_f64(number)?;
            (len == number.len() && !score.is_nan()).then_some(score)?
        };
        Some(ScoreBound { score, exclusive })
    }
}

/// The scores between two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: ScoreBound,
    pub max: ScoreBound,
}

impl ScoreRange {
    /// The range that two arguments name; `None` if one of them is no number.
    pub fn parse(min: &[u8], max: &[u8]) -> Option<ScoreRange> {
        Some(ScoreRange { min: ScoreBound::parse(min)?, max: ScoreBound::parse(max)? })
    }

    /// Whether a score comes before all that are in the range.
    #[inline]
    pub fn is_after(&self, score: f64) -> bool {
        score < self.min.score || (self.min.exclusive && score == self.min.score)
    }

    /// Whether a score comes before the range's end.
    #[inline]
    pub fn ends_after(&self, score: f64) -> bool {
        score < self.max.score || (!self.max.exclusive && score == self.max.score)
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before every member.
    Lowest,
    /// `[member`
    Inclusive(&'a [u8]),
    /// `(member`
    Exclusive(&'a [u8]),
    /// `+`: behind every member.
    Highest,
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
            [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
            _ => None,
        }
    }

    /// Where a member lies as seen from here; `None` if it is this very end, and inside.
    fn compare(self, member: &[u8]) -> Option<Ordering> {
        match self {
            LexBound::Lowest => Some(Ordering::Greater),
            LexBound::Highest => Some(Ordering::Less),
            LexBound::Exclusive(end) => Some(member.cmp(end)),
            LexBound::Inclusive(end) => Some(member.cmp(end)).filter(|order| order.is_ne()),
        }
    }
}

/// The members between two ends, in the order of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// The range that two arguments name; `None` if one of them is no end.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<LexRange<'a>> {
        Some(LexRange { min: LexBound::parse(min)?, max: LexBound::parse(max)? })
    }

    /// Whether a member comes before all that are in the range.
    #[inline]
    pub fn is_after(&self, member: &[u8]) -> bool {
        self.min.compare(member).is_some_and(Ordering::is_le)
    }

    /// Whether a member comes before the range's end.
    #[inline]
    pub fn ends_after(&self, member: &[u8]) -> bool {
        self.max.compare(member).is_none_or(Ordering::is_lt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_in_ranges() {
        for (min, max, inside, outside) in [
            ("1", "2", &[1.0, 1.5, 2.0][..], &[0.9, 2.1][..]),
            ("(1", "(2", &[1.5], &[1.0, 2.0]),
            ("-inf", "+inf", &[f64::NEG_INFINITY, 0.0, f64::INFINITY], &[]),
            ("(-inf", "(inf", &[0.0], &[f64::NEG_INFINITY, f64::INFINITY]),
            ("", " 1", &[0.0, -0.0, 1.0], &[-1.0, 1.1]),
            ("1e400", "inf", &[f64::INFINITY], &[f64::MAX]),
            ("5", "1", &[], &[0.0, 1.0, 3.0, 5.0, 6.0]),
            ("(1", "1", &[], &[1.0]),
        ] {
            let range = ScoreRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            let is_in = |&score: &f64| !range.is_after(score) && range.ends_after(score);
            assert!(inside.iter().all(is_in), "{min} {max}");
            assert!(!outside.iter().any(is_in), "{min} {max}");
        }
        for bad in ["nan", "(nan", "x", "1x", "1 ", "((1", "[1", " ", "(\x0c", "1e400x"] {
            assert_eq!(ScoreRange::parse(bad.as_bytes(), b"1"), None, "{bad}");
            assert_eq!(ScoreRange::parse(b"1", bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn members_in_ranges() {
        for (min, max, inside, outside) in [
            ("-", "+", &["", "a", "\u{ff}"][..], &[][..]),
            ("[b", "(d", &["b", "ba", "c"], &["a", "azz", "d", "da"]),
            ("(b", "[d", &["ba", "c", "d"], &["b", "da"]),
            ("+", "-", &[], &["", "a"]),
            ("+", "+", &[], &["", "a"]),
            ("[b", "[a", &[], &["a", "b"]),
            ("[", "(a", &[""], &["a"]),
        ] {
            let range = LexRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            let is_in = |m: &&str| !range.is_after(m.as_bytes()) && range.ends_after(m.as_bytes());
            assert!(inside.iter().all(is_in), "{min} {max}");
            assert!(!outside.iter().any(is_in), "{min} {max}");
        }
        for bad in ["", "a", "++", "-x", "1"] {
            assert_eq!(LexRange::parse(bad.as_bytes(), b"+"), None, "{bad}");
        }
    }
}
