//! Up to where the replication stream is durable in the append-only file.

/// Offsets of the replication stream.
#[derive(Debug, Default)]
pub(crate) struct DurableOffset {
    /// What is told; `None`: there is no complete file.
    told: Option<u64>,
    /// What is known, maybe of a file that is not complete before its first rewrite has ended.
    known: u64,
}

impl DurableOffset {
    /// There is a complete file, which holds everything up to `offset`.
    pub fn start(&mut self, offset: u64) {
        *self = DurableOffset { told: Some(offset), known: offset };
    }

    /// A file begins at `offset` that will be complete when its first rewrite has ended.
    pub fn begin_incomplete(&mut self, offset: u64) {
        *self = DurableOffset { told: Some(0), known: offset };
    }

    /// Everything up to `offset` is durable.
    pub fn reach(&mut self, offset: u64) {
        self.known = offset;
    }

    /// The same, as heard from a sync that may have ended after a later one.
    pub fn reach_at_least(&mut self, offset: u64) {
        self.known = self.known.max(offset);
    }

    /// The file is complete: what is known is told, if there is anything to tell.
    pub fn tell(&mut self) {
        if self.told.is_some() {
            self.told = Some(self.known);
        }
    }

    /// There is no file any more.
    pub fn forget(&mut self) {
        *self = DurableOffset::default();
    }

    /// The offset up to which everything is durable; `None`: there is no complete file.
    pub fn get(&self) -> Option<u64> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_before_the_file_is_complete() {
        let mut durable = DurableOffset::default();
        durable.reach_at_least(5);
        durable.tell();
        assert_eq!(durable.get(), None);
        durable.begin_incomplete(100);
        durable.reach_at_least(90);
        durable.reach_at_least(120);
        assert_eq!(durable.get(), Some(0));
        durable.tell();
        assert_eq!(durable.get(), Some(120));
        durable.forget();
        assert_eq!(durable.get(), None);
    }
}
