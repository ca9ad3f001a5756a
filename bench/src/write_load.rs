//! A constant stream of behaviour events over HTTP, as many phones would send them: small batches at scheduled times
//! on a few connections.

use crate::http::{Connection, request};
use crate::latencies::Latencies;
use crate::pace::{Schedule, sleep_until, wake_on_time};
use crate::school::{self, Tokens, event, now};
use anyhow::{Result, anyhow};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two batches.
const TICK: Duration = Duration::from_millis(10);

/// Connections, which take turns.
const CONNECTIONS: u64 = 4;

/// A stream of events that goes on until it is stopped.
pub struct WriteLoad {
    stop: Arc<AtomicBool>,
    started: Instant,
    senders: Vec<JoinHandle<Result<Written>>>,
}

/// What became of it.
#[derive(Default)]
pub struct Written {
    /// Events that were accepted.
    pub accepted: u64,
    /// Events that were refused: the instance was full.
    pub refused: u64,
    /// From when a batch was due until it was answered, which is when it is durable.
    pub answered: Latencies,
    /// How long the load went on, in seconds.
    pub seconds: f64,
}

impl WriteLoad {
    /// Starts sending `rate` events a second, spread over `students` students.
    pub fn start(address: SocketAddr, tokens: &Tokens, rate: usize, students: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let schedule = Schedule::new(started + TICK, TICK);
        let batch = rate / 100;
        let senders = (0..CONNECTIONS).map(|lane| {
            let (stop, token) = (Arc::clone(&stop), tokens.service.clone());
            let connection = Connection::open(address)?;
            Ok(std::thread::spawn(move || send(connection, &token, &stop, schedule, (lane, batch, students))))
        });
        let senders = senders.collect::<Result<Vec<_>>>()?;
        Ok(Self { stop, started, senders })
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Written::default();
        for sender in std::mem::take(&mut self.senders) {
            let written = sender.join().map_err(|_| anyhow!("a sending thread panicked"))??;
            sum.accepted += written.accepted;
            sum.refused += written.refused;
            sum.answered.merge(written.answered);
        }
        sum.seconds = self.started.elapsed().as_secs_f64();
        Ok(sum)
    }
}

impl Drop for WriteLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send(
    mut connection: Connection,
    token: &str,
    stop: &AtomicBool,
    schedule: Schedule,
    (lane, batch, students): (u64, usize, usize),
) -> Result<Written> {
    wake_on_time();
    let mut written = Written::default();
    let mut lines = Vec::new();
    // Ids differ from those of any other load on the same instance.
    let run = now();
    let mut tick = lane;
    while !stop.load(Ordering::Relaxed) {
        let due = schedule.at(tick);
        sleep_until(due);
        lines.clear();
        let at = now();
        for i in 0..batch {
            let n = tick as usize * batch + i;
            let student = school::student(n.wrapping_mul(7_919) % students);
            event(&mut lines, format_args!("{run}-{n}"), &student, &at);
        }
        let call = request("POST", "/v1/behavior", token, Some(("application/x-ndjson", &lines)));
        let answer = connection.call(&call)?;
        written.answered.add(due.elapsed());
        if answer.status == 503 {
            written.refused += batch as u64;
        } else {
            answer.success("POST /v1/behavior")?;
            written.accepted += batch as u64;
        }
        tick += CONNECTIONS;
    }
    Ok(written)
}
