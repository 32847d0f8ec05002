//! Which processors a thread runs on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::thread;

/// A set of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors(CpuSet);

impl Processors {
    /// Reads a list as taskset(1) takes it: numbers and ranges, of which only each so-manieth may be meant, such as
    /// `0,2-5,8-14:2`. `None` if it is none, or names a processor that there cannot be.
    pub fn parse(list: &str) -> Option<Processors> {
        let mut set = CpuSet::new();
        for range in list.split(',') {
            let (range, step) = range.split_once(':').unwrap_or((range, "1"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let [first, last, step] =
                [first, last, step].map(|number| number.trim().parse::<usize>().ok());
            let (first, last, step) = (first?, last?, step?);
            if first > last || last >= CpuSet::MAX_CPU || step == 0 {
                return None;
            }
            (first..=last).step_by(step).for_each(|processor| set.set(processor));
        }
        Some(Processors(set))
    }

    /// Those of this thread.
    ///
    /// # Errors
    /// What sched_getaffinity(2) reports.
    pub fn of_this_thread() -> io::Result<Processors> {
        Ok(Processors(sched_getaffinity(None)?))
    }

    /// Starts a thread that runs on `processors`, if they are named and it may; else where it may.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn spawn(
        processors: Option<Processors>,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let run = move || {
            let _ = processors.map(Processors::confine_this_thread);
            run();
        };
        thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(())
    }

    /// Lets this thread run on them alone.
    ///
    /// # Errors
    /// What sched_setaffinity(2) reports: none of them may be used, for one.
    pub fn confine_this_thread(self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(list: &str) -> Option<Vec<usize>> {
        let Processors(set) = Processors::parse(list)?;
        Some((0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect())
    }

    #[test]
    fn lists_are_read_as_taskset_reads_them() {
        assert_eq!(numbers("3"), Some(vec![3]));
        assert_eq!(numbers("0,2-5,8-14:2"), Some(vec![0, 2, 3, 4, 5, 8, 10, 12, 14]));
        assert_eq!(numbers("1, 2"), Some(vec![1, 2]));
        for wrong in [
            "",
            ",",
            "1,",
            "x",
            "-1",
            "2-1",
            "1-",
            "0-3:0",
            "0-3:",
            "1024",
            "0-99999999999",
            "99999999999999999999",
        ] {
            assert_eq!(numbers(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_thread_can_be_confined() {
        std::thread::spawn(|| {
            let all = Processors::of_this_thread().unwrap();
            let first = (0..CpuSet::MAX_CPU).find(|&processor| all.0.is_set(processor)).unwrap();
            let one = Processors::parse(&first.to_string()).unwrap();
            one.confine_this_thread().unwrap();
            assert_eq!(Processors::of_this_thread().unwrap(), one);
        })
        .join()
        .unwrap();
    }
}
