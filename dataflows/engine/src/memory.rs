//! The memory that the process may use, and what that means for reading: less at a time when it becomes short, nothing
//! when it is used up. State that is needed is kept whatever it takes; what is bounded here is the work beside it.

use std::time::{Duration, Instant};

/// From this part of the budget on, in percent, little is read at a time.
const SHORT_PERCENT: u64 = 85;
/// From this part on nothing is read until some was given back.
const FULL_PERCENT: u64 = 97;
/// Records in one epoch while memory is short.
pub const SHORT_RECORDS: usize = 4_096;
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Where Linux says how many pages the process has.
const PAGES: &str = "/proc/self/statm";

/// How much may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// As much as a batch takes.
    Enough,
    /// A little: [`SHORT_RECORDS`], and one epoch at a time.
    Short,
    /// Nothing.
    Full,
}

/// A budget and how much of it is used.
pub struct Memory {
    budget: Option<u64>,
    looked: Option<Instant>,
    used: u64,
    room: Room,
}

impl Memory {
    /// `budget` bytes of resident memory; `None`: no limit.
    pub fn new(budget: Option<u64>) -> Self {
        Self { budget, looked: None, used: 0, room: Room::Enough }
    }

    /// How much may be read now.
    pub fn room(&mut self) -> Room {
        let Some(budget) = self.budget else { return Room::Enough };
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            // Where nothing tells, nothing is held back.
            self.used = resident().unwrap_or(0);
            self.room = judge(self.used, budget);
        }
        self.room
    }

    /// Whether nothing was to be read at the last look.
    pub fn is_full(&self) -> bool {
        self.room == Room::Full
    }

    /// Why nothing is read, for people.
    pub fn reason(&self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "the process uses {} MiB of the {} MiB that `engine.memory_max` allows: raise it, or share the tenants among \
             several processes",
            mib(self.used),
            mib(self.budget.unwrap_or(0))
        )
    }
}

fn judge(used: u64, budget: u64) -> Room {
    let percent = used.saturating_mul(100) / budget.max(1);
    match percent {
        FULL_PERCENT.. => Room::Full,
        SHORT_PERCENT.. => Room::Short,
        _ => Room::Enough,
    }
}

/// Bytes of resident memory of this process.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string(PAGES).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn less_is_read_the_more_is_used() {
        assert_eq!([0, 84, 85, 96, 97, 200].map(|used| judge(used, 100)), {
            use Room::{Enough, Full, Short};
            [Enough, Enough, Short, Short, Full, Full]
        });
        assert_eq!(judge(1, 0), Room::Full);
    }

    #[test]
    fn what_the_process_uses_is_known() {
        let before = resident().unwrap();
        let more = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident().unwrap() >= before + (32 << 20));
        drop(more);
        let mut memory = Memory::new(Some(1));
        assert_eq!(memory.room(), Room::Full);
        assert!(memory.reason().contains("engine.memory_max"));
        assert_eq!(Memory::new(None).room(), Room::Enough);
    }
}
