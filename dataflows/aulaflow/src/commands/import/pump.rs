//! Moves batches from a producer to a destination on another thread, so that the next batch is made while the last
//! one is on its way. One batch is under way at a time: the log gets the events in the order in which they were made.
//! (With two requests in flight, batches overtake each other; on an event clock an overtaken batch of a quiet school
//! can be older than the windows.)

use super::batch::{Batch, Destination, Tally};
use crate::ingest::Kind;
use crate::progress::Progress;
use anyhow::{Result, anyhow};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Batches that wait while one is being sent.
const WAITING_MAX: usize = 2;

/// Collects events into batches. The kinds fill side by side and leave together, so that none runs far ahead.
pub struct Feeder<'p> {
    /// One of each kind, in the order in which they leave.
    filling: [Batch; 3],
    batches: SyncSender<Batch>,
    pacer: Option<Pacer>,
    progress: &'p Progress,
}

/// Keeps a rate.
struct Pacer {
    per_second: u32,
    started: Instant,
    sent: u64,
}

/// The destination's thread has ended, with an error that the pump reports.
#[derive(Debug, thiserror::Error)]
#[error("the destination takes no more events")]
pub struct Closed;

/// Runs `produce` and sends what it feeds. `rate` bounds the events of each second.
pub fn pump(
    destination: &mut dyn Destination,
    rate: Option<u32>,
    progress: &Progress,
    produce: impl FnOnce(&mut Feeder<'_>) -> Result<()>,
) -> Result<Tally> {
    let (batches, waiting) = sync_channel(WAITING_MAX);
    let mut feeder = Feeder {
        filling: [Kind::Evaluations, Kind::Behavior, Kind::Events].map(Batch::new),
        batches,
        pacer: rate.map(|per_second| Pacer { per_second, started: Instant::now(), sent: 0 }),
        progress,
    };
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || drain(destination, &waiting, progress));
        let produced = produce(&mut feeder);
        // Also after an error: what was read before it is not lost.
        let flushed = feeder.flush().map_err(anyhow::Error::from);
        let produced = produced.and(flushed);
        drop(feeder);
        let sent = sender.join().unwrap_or_else(|_| Err(anyhow!("the sending thread panicked")));
        match (produced, sent) {
            // A closed channel is the consequence of the sender's error.
            (_, Err(error)) => Err(error),
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(tally)) => Ok(tally),
        }
    })
}

fn drain(destination: &mut dyn Destination, batches: &Receiver<Batch>, progress: &Progress) -> Result<Tally> {
    let mut tally = Tally::default();
    for batch in batches {
        tally.add(destination.send(&batch)?);
        progress.advance(batch.len() as u64);
    }
    Ok(tally)
}

impl Feeder<'_> {
    /// Adds an event that `write` appends with its line feed; `number` is its line in the input.
    pub fn add(&mut self, kind: Kind, number: u64, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Closed> {
        let Some(batch) = self.filling.iter_mut().find(|batch| batch.kind == kind) else { return Ok(()) };
        write(&mut batch.lines);
        batch.numbers.push(number);
        // Room for one more line like the last ones.
        let typical = batch.lines.len() / batch.len().max(1);
        if !batch.has_room(typical) { self.flush() } else { Ok(()) }
    }

    /// Whether an event of that size still fits the present batch; otherwise the caller flushes first.
    pub fn has_room(&self, kind: Kind, bytes: usize) -> bool {
        self.filling.iter().all(|batch| batch.kind != kind || batch.has_room(bytes))
    }

    /// Hands on what was collected.
    pub fn flush(&mut self) -> Result<(), Closed> {
        for batch in self.filling.iter_mut().filter(|batch| !batch.numbers.is_empty()) {
            let full = std::mem::replace(batch, Batch::new(batch.kind));
            batch.lines.reserve(full.lines.len());
            batch.numbers.reserve(full.numbers.len());
            if let Some(pacer) = &mut self.pacer {
                pacer.wait(full.len() as u64, self.progress);
            }
            self.batches.send(full).map_err(|_| Closed)?;
        }
        Ok(())
    }
}

impl Pacer {
    /// Sleeps until `events` more are due.
    fn wait(&mut self, events: u64, progress: &Progress) {
        let due = Duration::from_secs_f64(self.sent as f64 / f64::from(self.per_second.max(1)));
        self.sent += events;
        while let Some(left) = due.checked_sub(self.started.elapsed()) {
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(200)));
            progress.advance(0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::batch::BATCH_EVENTS_MAX;
    use super::*;

    /// Remembers what it was sent; refuses from a batch on.
    #[derive(Default)]
    struct Memory {
        batches: Vec<(Kind, Vec<u64>)>,
        fails_at: Option<usize>,
    }

    impl Destination for Memory {
        fn send(&mut self, batch: &Batch) -> Result<Tally> {
            if self.fails_at == Some(self.batches.len()) {
                return Err(anyhow!("no more"));
            }
            assert_eq!(batch.items().count(), batch.len());
            self.batches.push((batch.kind, batch.numbers.clone()));
            Ok(Tally { accepted: batch.len() as u64, ..Tally::default() })
        }
    }

    fn feed(memory: &mut Memory, events: u64) -> Result<Tally> {
        let progress = Progress::start("test", None);
        pump(memory, None, &progress, |feeder| {
            for number in 0..events {
                let kind = if number % 10 == 9 { Kind::Evaluations } else { Kind::Behavior };
                feeder.add(kind, number, |lines| lines.extend_from_slice(b"{}\n"))?;
            }
            Ok(())
        })
    }

    #[test]
    fn keeps_the_order_of_each_kind_and_loses_nothing() {
        let mut memory = Memory::default();
        assert_eq!(feed(&mut memory, 23_456).unwrap().accepted, 23_456);
        for kind in [Kind::Behavior, Kind::Evaluations] {
            let of_kind = memory.batches.iter().filter(|(k, _)| *k == kind);
            let numbers: Vec<u64> = of_kind.flat_map(|(_, numbers)| numbers.clone()).collect();
            let expected = (0..23_456).filter(|n| (n % 10 == 9) == (kind == Kind::Evaluations));
            assert!(numbers.into_iter().eq(expected), "{kind:?}");
        }
        assert!(memory.batches.iter().all(|(_, numbers)| numbers.len() <= BATCH_EVENTS_MAX));
        // Both kinds leave together: no evaluation waits for 5,000 others.
        assert_eq!(memory.batches[0].0, Kind::Evaluations);
        assert!(memory.batches[0].1.len() < 600);
    }

    #[test]
    fn an_error_of_the_destination_ends_the_import() {
        let mut memory = Memory { fails_at: Some(2), ..Memory::default() };
        assert_eq!(feed(&mut memory, 100_000).unwrap_err().to_string(), "no more");
        assert_eq!(memory.batches.len(), 2);
    }
}
