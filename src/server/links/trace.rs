//! `REPLTRACE`'s memory: what happened on each replication link, in either role.
//!
//! Every connection of a replica, and every primary that is followed, has one [`LinkTrace`]: the steps of its handshake
//! and of its resynchronisations with what was said, when, and how long it took. The traces of links that are no more
//! are kept for a while, because that is when they are wanted. All of it is bounded: links, steps of a link, and the
//! text of a step.

use std::collections::VecDeque;

/// Links remembered, working ones included.
const MAX_LINKS: usize = 64;
/// Steps remembered of one link: the first few say how it began, the last ones how it is.
const MAX_STEPS: usize = 96;
const FIRST_STEPS: usize = 24;
/// Bytes of a step's text.
const MAX_TEXT: usize = 240;

/// Who spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    Sent,
    Received,
    /// Nobody: something happened here.
    Here,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Microseconds since 1970; if it happened several times in a row, the last time.
    pub at_us: i64,
    /// Since the step before, in microseconds.
    pub after_us: i64,
    pub kind: StepKind,
    pub text: String,
    /// How often in a row it happened, if only this one is remembered.
    pub times: u32,
}

/// What this server is on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRole {
    /// The other side is a replica.
    Primary,
    /// The other side is the primary.
    Replica,
}

/// How a resynchronisation goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resync {
    Full,
    Partial,
    /// It was asked to be partial, and could not be.
    Refused(String),
}

impl Resync {
    /// The step that it is, if it is one.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Resync::Refused(why) => Some(format!("partial resynchronisation refused: {why}")),
            Resync::Full | Resync::Partial => None,
        }
    }
}

/// A link and what happened on it.
#[derive(Debug)]
pub struct LinkTrace {
    pub id: u64,
    pub role: LinkRole,
    /// The other side's address, as far as it is known.
    pub peer: String,
    /// Seconds since 1970; `None`: it is not over.
    pub ended: Option<i64>,
    pub full: u32,
    pub partial: u32,
    pub refused: u32,
    /// Why a partial resynchronisation was refused, the last time.
    pub refusal: Option<String>,
    /// Steps that are not remembered any more, between the first and the last.
    pub forgotten: u64,
    steps: VecDeque<Step>,
    last_us: i64,
}

impl LinkTrace {
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// Where in the steps the forgotten ones were.
    pub fn gap(&self) -> usize {
        FIRST_STEPS
    }

    fn add(&mut self, at_us: i64, kind: StepKind, text: &str) {
        let after_us = at_us - std::mem::replace(&mut self.last_us, at_us);
        let text = shorten(text);
        if let Some(last) = self.steps.back_mut()
            && last.kind == kind
            && last.text == text
        {
            last.times = last.times.saturating_add(1);
            last.at_us = at_us;
            return;
        }
        if self.steps.len() == MAX_STEPS {
            self.steps.remove(FIRST_STEPS);
            self.forgotten += 1;
        }
        self.steps.push_back(Step { at_us, after_us, kind, text, times: 1 });
    }
}

/// A text of one line, not too long.
fn shorten(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// All links.
#[derive(Debug, Default)]
pub struct Traces {
    links: VecDeque<LinkTrace>,
    next_id: u64,
}

impl Traces {
    /// Begins to trace a link; its id.
    pub fn begin(&mut self, role: LinkRole, peer: String, at_us: i64) -> u64 {
        if self.links.len() == MAX_LINKS {
            let oldest = self.links.iter().position(|link| link.ended.is_some()).unwrap_or(0);
            self.links.remove(oldest);
        }
        self.next_id += 1;
        self.links.push_back(LinkTrace {
            id: self.next_id,
            role,
            peer,
            ended: None,
            full: 0,
            partial: 0,
            refused: 0,
            refusal: None,
            forgotten: 0,
            steps: VecDeque::new(),
            last_us: at_us,
        });
        self.next_id
    }

    /// Notes a step of a link; one that has been forgotten is not revived.
    pub fn step(&mut self, id: u64, at_us: i64, kind: StepKind, text: &str) {
        if let Some(link) = self.get_mut(id) {
            link.add(at_us, kind, text);
        }
    }

    /// Counts how a resynchronisation goes.
    pub fn resync(&mut self, id: u64, outcome: Resync) {
        let Some(link) = self.get_mut(id) else { return };
        match outcome {
            Resync::Full => link.full += 1,
            Resync::Partial => link.partial += 1,
            Resync::Refused(why) => {
                link.refused += 1;
                link.refusal = Some(shorten(&why));
            }
        }
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut LinkTrace> {
        self.links.iter_mut().rev().find(|link| link.id == id)
    }

    pub fn get(&self, id: u64) -> Option<&LinkTrace> {
        self.links.iter().rev().find(|link| link.id == id)
    }

    /// The oldest first.
    pub fn links(&self) -> impl Iterator<Item = &LinkTrace> {
        self.links.iter()
    }

    /// Forgets the links that are over, and the past of the others.
    pub fn reset(&mut self) {
        self.links.retain(|link| link.ended.is_none());
        for link in &mut self.links {
            link.steps.clear();
            (link.full, link.partial, link.refused, link.forgotten) = (0, 0, 0, 0);
            link.refusal = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_beginning_kept() {
        let mut traces = Traces::default();
        let id = traces.begin(LinkRole::Primary, "peer".to_string(), 0);
        for n in 0..1000 {
            traces.step(id, n, StepKind::Here, &format!("step {n}"));
        }
        let link = traces.get(id).expect("it is working");
        let texts: Vec<&str> = link.steps().map(|s| s.text.as_str()).collect();
        assert_eq!((texts.len(), link.forgotten), (MAX_STEPS, 1000 - MAX_STEPS as u64));
        assert_eq!((texts[0], texts[MAX_STEPS - 1]), ("step 0", "step 999"));
        for _ in 0..1000 {
            let id = traces.begin(LinkRole::Replica, String::new(), 0);
            traces.get_mut(id).expect("just begun").ended = Some(1);
        }
        assert_eq!(traces.links().count(), MAX_LINKS);
        assert!(traces.get(id).is_some(), "a working link outlives those that are over");
    }

    #[test]
    fn repetition_is_counted_and_texts_are_short_lines() {
        let mut traces = Traces::default();
        let id = traces.begin(LinkRole::Primary, String::new(), 0);
        for _ in 0..5 {
            traces.step(id, 0, StepKind::Here, "connection refused");
        }
        traces.step(id, 0, StepKind::Received, &"a\r\nü".repeat(1000));
        let link = traces.get(id).expect("it is working");
        let steps: Vec<&Step> = link.steps().collect();
        assert_eq!((steps.len(), steps[0].times), (2, 5));
        assert!(steps[1].text.len() <= MAX_TEXT + 3 && !steps[1].text.contains('\n'));
    }
}
