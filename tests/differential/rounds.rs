//! What is sent in a round.

use super::differences::{Scene, agreement, name_of};
use super::grammar::{Grammar, Words};
use super::peers::Kind;
use super::reply::Agreement;
use super::source::Source;

/// A command, and how closely its replies have to agree.
pub struct Request {
    pub words: Words,
    pub agreement: Agreement,
    /// It is queued in a transaction: so far only that it was is answered.
    pub is_queued: bool,
}

/// Requests behind which all that expires soon has expired.
pub type Segment = Vec<Request>;

/// Relative times are at least so far away, unless something is to expire behind a segment.
const FAR_MS: i64 = 100_000;

/// Commands that wait if there is nothing; in a transaction they don't.
const BLOCKING: &[&str] = &[
    "blpop",
    "brpop",
    "blmove",
    "blmpop",
    "brpoplpush",
    "bzpopmin",
    "bzpopmax",
    "bzmpop",
    "xread",
    "xreadgroup",
];

pub struct Maker<'a> {
    pub grammar: &'a Grammar,
    pub kind: Kind,
    source: Source,
    /// Whether the client is told of changes of what it has read.
    tracks: bool,
    ids: u64,
}

impl<'a> Maker<'a> {
    pub fn new(grammar: &'a Grammar, kind: Kind, seed: u64, tracks: bool) -> Maker<'a> {
        Maker { grammar, kind, source: Source::new(seed), tracks, ids: 10 }
    }

    pub fn round(&mut self) -> Vec<Segment> {
        (0..1 + self.source.below(4)).map(|_| self.segment()).collect()
    }

    fn segment(&mut self) -> Segment {
        let mut segment = Vec::new();
        for _ in 0..10 + self.source.below(60) {
            match self.source.below(30) {
                0 => self.transaction(&mut segment),
                1 => segment.extend(self.script()),
                2 => {
                    let key = self.key();
                    segment.push(exact(&["WATCH", &key]));
                }
                _ => self.one(&mut segment),
            }
        }
        self.expiries(&mut segment);
        segment
    }

    /// What expires behind the segment: in a transaction, so that nothing of it has expired for the next of it already
    /// where the server is held up between them. Nothing is watched, or it might not be executed.
    fn expiries(&mut self, segment: &mut Segment) {
        segment.extend([exact(&["UNWATCH"]), exact(&["MULTI"])]);
        for _ in 0..self.source.below(4) {
            let key = self.key();
            let field = format!("m{}", self.source.below(6));
            let request = match self.source.below(4) {
                0 => exact(&["SET", &key, "soon gone", "PX", "1"]),
                1 if self.grammar.names().any(|name| name == "hpexpire") => {
                    exact(&["HPEXPIRE", &key, "1", "FIELDS", "1", &field])
                }
                _ => exact(&["PEXPIRE", &key, "1"]),
            };
            segment.push(Request { is_queued: true, ..request });
        }
        segment.push(exact(&["EXEC"]));
    }

    fn key(&mut self) -> String {
        let letter = self.source.pick(&["s", "h", "l", "t", "z", "x", "k"]);
        format!("{letter}{}", self.source.below(4))
    }

    fn one(&mut self, segment: &mut Segment) {
        let Some(request) = self.command(false) else { return };
        if is_blocking(&request.words) {
            segment.push(exact(&["MULTI"]));
            segment.push(Request { is_queued: true, ..request });
            segment.push(exact(&["EXEC"]));
        } else {
            segment.push(request);
        }
    }

    fn transaction(&mut self, segment: &mut Segment) {
        segment.push(exact(&["MULTI"]));
        for _ in 0..self.source.below(6) {
            let request = self.command(false);
            segment.extend(request.map(|request| Request { is_queued: true, ..request }));
        }
        segment.push(exact(&[["EXEC", "EXEC", "EXEC", "DISCARD"][self.source.below(4)]]));
    }

    /// A command that a script calls, which hands its reply through.
    fn script(&mut self) -> Option<Request> {
        let Request { words, agreement, .. } = self.command(true)?;
        if is_blocking(&words) {
            // Redis 7.0 does not let scripts call them.
            return None;
        }
        let call = self
            .source
            .pick(&["return redis.call(unpack(ARGV))", "return redis.pcall(unpack(ARGV))"]);
        let mut eval = vec![b"EVAL".to_vec(), call.as_bytes().to_vec(), b"0".to_vec()];
        eval.extend(words);
        Some(Request { words: eval, agreement, is_queued: false })
    }

    /// A command that may be sent, or called by a script.
    fn command(&mut self, script: bool) -> Option<Request> {
        let mut words = self.grammar.command(&mut self.source);
        let name = name_of(&words);
        for (at, word) in words.iter_mut().enumerate().skip(1) {
            // An ID from the clock becomes one of ours.
            if word == b"*" && name.starts_with("xadd|") && at > 1 {
                self.ids += 1;
                *word = format!("{}-1", self.ids).into_bytes();
            }
        }
        if expires_soon(&words) || is_large(&words) {
            return None;
        }
        let scene = Scene { script, tracks: self.tracks };
        let agreement = agreement(self.kind, &words, scene)?;
        Some(Request { words, agreement, is_queued: false })
    }
}

fn is_blocking(words: &Words) -> bool {
    BLOCKING.iter().any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether a command has something expire while the segment runs, or not, as it happens.
fn expires_soon(words: &Words) -> bool {
    let times = words.iter().enumerate().filter(|(at, word)| {
        let before = words[at.saturating_sub(1)].to_ascii_lowercase();
        let command = words[0].to_ascii_lowercase();
        let is_ms = |name: &[u8]| matches!(name, b"pexpire" | b"psetex" | b"hpexpire");
        let is_seconds = |name: &[u8]| matches!(name, b"expire" | b"setex" | b"hexpire");
        let ms = std::str::from_utf8(word).ok().and_then(|text| text.parse::<i64>().ok());
        let in_ms = before == b"px" || (*at == 2 && is_ms(&command));
        let in_seconds = before == b"ex" || (*at == 2 && is_seconds(&command));
        ms.is_some_and(|n| {
            (in_ms && (1..FAR_MS).contains(&n)) || (in_seconds && (1..FAR_MS / 1000).contains(&n))
        })
    });
    times.count() > 0
}

/// Whether so many random elements are asked for that some peer needs minutes for them.
fn is_large(words: &Words) -> bool {
    const LARGEST: i64 = 10_000;
    let is_random = ["srandmember", "hrandfield", "zrandmember"]
        .iter()
        .any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()));
    let number = |word: &Vec<u8>| std::str::from_utf8(word).ok()?.parse::<i64>().ok();
    is_random && words.iter().filter_map(number).any(|n| !(-LARGEST..=LARGEST).contains(&n))
}

fn exact(words: &[&str]) -> Request {
    let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    Request { words, agreement: Agreement::EXACT, is_queued: false }
}
