//! What the requests of each slot cost, for `CLUSTER SLOT-STATS`. Counted only with `cluster-slot-stats-enabled`: until
//! then there is not even the memory for it.

use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::ops::AddAssign;

/// What requests took and were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_ns: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.cpu_ns += other.cpu_ns;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// The usage of all slots.
#[derive(Debug, Default)]
pub struct SlotStats {
    /// One for each slot, once anything was counted.
    slots: Box<[Usage]>,
    /// The slot that the request's script has kept to, whether it had said so or not.
    script: Option<u16>,
}

impl SlotStats {
    pub fn count(&mut self, slot: u16, usage: Usage) {
        if self.slots.is_empty() {
            self.slots = vec![Usage::default(); usize::from(SLOTS)].into();
        }
        self.slots[usize::from(slot)] += usage;
    }

    /// A script has ended that has kept to a slot.
    pub fn note_script(&mut self, slot: Option<u16>) {
        self.script = slot;
    }

    /// The slot of the request that has been executed, whose own keys are in `slot`.
    pub fn slot_of_request(&mut self, slot: Option<u16>) -> Option<u16> {
        let of_script = self.script.take();
        slot.or(of_script)
    }

    pub fn of(&self, slot: u16) -> Usage {
        self.slots.get(usize::from(slot)).copied().unwrap_or_default()
    }

    pub fn reset(&mut self) {
        self.slots = Box::default();
    }

    /// These slots begin anew, with another owner.
    pub fn reset_slots(&mut self, slots: &SlotSet) {
        for slot in slots.iter() {
            if let Some(usage) = self.slots.get_mut(usize::from(slot)) {
                *usage = Usage::default();
            }
        }
    }
}

/// Bytes of a request as clients send it: an array of bulk strings.
pub fn request_bytes(args: &[&[u8]]) -> u64 {
    let header = |n: usize| 3 + n.checked_ilog10().unwrap_or(0) as u64 + 1;
    let bulk = |arg: &&[u8]| header(arg.len()) + arg.len() as u64 + 2;
    header(args.len()) + args.iter().map(bulk).sum::<u64>()
}

/// The same of a request that came as a line, whose arguments are apart by one space.
pub fn inline_request_bytes(args: &[&[u8]]) -> u64 {
    // As many spaces as arguments, less one, and two for the end of the line.
    args.iter().map(|arg| arg.len() as u64).sum::<u64>() + args.len() as u64 + 1
}

/// More than a request with these arguments has, said at once.
pub fn most_request_bytes(args: &[&[u8]]) -> usize {
    const HEADER: usize = 32;
    args.iter().fold(HEADER, |bytes, arg| bytes + HEADER + arg.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_is_sent() {
        let table: [(&[&[u8]], &str); 3] = [
            (&[b"GET", b"foo"], "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n"),
            (&[b""], "*1\r\n$0\r\n\r\n"),
            (&[&b"0123456789"[..]; 10], &format!("*10\r\n{}", "$10\r\n0123456789\r\n".repeat(10))),
        ];
        for (args, sent) in table {
            assert_eq!(request_bytes(args), sent.len() as u64, "{sent:?}");
            assert!(most_request_bytes(args) >= sent.len());
        }
        assert_eq!(inline_request_bytes(&[b"GET", b"foo"]), "GET foo\r\n".len() as u64);
    }

    #[test]
    fn what_was_counted_is_there_until_the_slot_goes() {
        let mut stats = SlotStats::default();
        assert_eq!(stats.of(5), Usage::default());
        let usage = Usage { cpu_ns: 1, bytes_in: 2, bytes_out: 3 };
        stats.count(5, usage);
        stats.count(5, usage);
        stats.count(6, usage);
        assert_eq!(stats.of(5), Usage { cpu_ns: 2, bytes_in: 4, bytes_out: 6 });
        let mut slots = SlotSet::default();
        slots.insert(5);
        stats.reset_slots(&slots);
        assert_eq!((stats.of(5), stats.of(6)), (Usage::default(), usage));
        stats.reset();
        assert_eq!(stats.of(6), Usage::default());
    }
}
