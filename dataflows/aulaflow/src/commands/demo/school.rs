//! Sends generated traffic to the instance, tick by tick in real time, over HTTP as a school's systems would.

use super::freshness::Freshness;
use crate::client::{Client, Positions};
use crate::ingest::{self, Kind};
use crate::traffic::{TICK_MS, Traffic};
use anyhow::{Result, anyhow};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Ticks that wait while others are being sent: beyond it the school waits.
const WAITING_MAX: usize = 20;

/// Requests in flight. Events of one student may overtake each other, as they do in a real school.
const SENDERS: usize = 2;

/// What was sent so far.
#[derive(Default)]
pub struct Counters {
    /// Accepted behaviour events.
    pub behavior: AtomicU64,
    /// Accepted evaluations.
    pub evaluations: AtomicU64,
    /// Refused ones of either kind.
    pub refused: AtomicU64,
    /// The minute of the generated day.
    pub minute: AtomicU32,
    /// Where the last accepted ones are.
    pub positions: Mutex<Positions>,
}

/// Who sends.
pub struct School {
    /// Sends behaviour events.
    pub service: Client,
    /// Sends evaluations.
    pub teacher: Client,
    /// Told of accepted writes.
    pub freshness: Freshness,
}

impl School {
    /// Sends traffic until `stop` is set. An error is a request that was refused or not answered.
    pub fn run(&self, mut traffic: Traffic, counters: &Counters, stop: &AtomicBool) -> Result<()> {
        let (ticks, waiting) = sync_channel(WAITING_MAX);
        let waiting = Mutex::new(waiting);
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| self.send(&waiting, counters, stop))).collect();
            let started = Instant::now();
            for number in 0_u64.. {
                let due = Duration::from_millis(number * TICK_MS);
                if let Some(early) = due.checked_sub(started.elapsed()) {
                    std::thread::sleep(early);
                }
                counters.minute.store(traffic.minute(), Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) || ticks.send(traffic.tick()).is_err() {
                    break;
                }
            }
            drop(ticks);
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked"))))
        })
    }

    fn send(
        &self,
        waiting: &Mutex<Receiver<crate::traffic::Burst>>,
        counters: &Counters,
        stop: &AtomicBool,
    ) -> Result<()> {
        loop {
            let next = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
            let Ok(burst) = next else { return Ok(()) };
            let sent = self.burst(&burst, counters);
            if sent.is_err() {
                // The school ends with its first failure; the other sender drains what waits.
                stop.store(true, Ordering::Relaxed);
                return sent;
            }
        }
    }

    fn burst(&self, burst: &crate::traffic::Burst, counters: &Counters) -> Result<()> {
        let parts = [
            (Kind::Evaluations, &self.teacher, &burst.evaluations, &counters.evaluations),
            (Kind::Behavior, &self.service, &burst.behavior, &counters.behavior),
        ];
        for (kind, client, lines, counter) in parts.into_iter().filter(|(_, _, lines, _)| !lines.is_empty()) {
            let taken = ingest::post(client, kind, lines, false)?;
            counter.fetch_add(taken.accepted, Ordering::Relaxed);
            counters.refused.fetch_add(taken.refused.len() as u64, Ordering::Relaxed);
            let mut last = counters.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            last.merge(taken.positions.clone());
            drop(last);
            self.freshness.offer(taken.positions);
        }
        Ok(())
    }
}
