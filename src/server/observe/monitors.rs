//! `MONITOR`: who sees every command, and the lines of this turn that they have not been sent yet.

use crate::server::token::Noted;
use std::mem;

/// Lines are sent when so many bytes of them have gathered, though the turn goes on.
const BLOCK: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Monitors {
    clients: Vec<Noted>,
    lines: Vec<u8>,
}

impl Monitors {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether lines wait to be sent.
    #[inline]
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    pub fn add(&mut self, client: Noted) {
        self.clients.push(client);
    }

    /// Adds a line. `true`: so many have gathered that they are to be sent.
    pub fn add_line(&mut self, line: &[u8]) -> bool {
        self.lines.extend_from_slice(line);
        self.lines.len() >= BLOCK
    }

    /// The lines that wait to be sent, and wait no more.
    pub fn take_lines(&mut self) -> Vec<u8> {
        mem::take(&mut self.lines)
    }

    /// Who is to see lines: the clients that `is_one` of. Those that are gone, or were reset, drop out here.
    pub fn receivers(&mut self, mut is_one: impl FnMut(Noted) -> bool) -> &[Noted] {
        self.clients.retain(|&noted| is_one(noted));
        &self.clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_gather_until_they_are_a_block() {
        let mut monitors = Monitors::default();
        let line = [b'x'; 1024];
        let before = (0..).take_while(|_| !monitors.add_line(&line)).count();
        assert_eq!((before + 1) * line.len(), BLOCK);
        assert_eq!(monitors.take_lines().len(), BLOCK);
        assert!(!monitors.has_lines());
    }

    #[test]
    fn who_is_none_any_more_drops_out() {
        let mut monitors = Monitors::default();
        for noted in [(0, 7), (1, 8), (0, 9)] {
            monitors.add(noted);
        }
        assert_eq!(monitors.receivers(|(_, id)| id != 7), [(1, 8), (0, 9)]);
        assert_eq!(monitors.receivers(|_| true), [(1, 8), (0, 9)]);
        assert!(monitors.receivers(|_| false).is_empty() && monitors.is_empty());
    }
}
