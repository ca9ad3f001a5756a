//! Reads on many keep-alive connections by one thread, which waits for all of them at once: as fast as they are
//! answered (closed loop), or at a constant rate (open loop).

use crate::http::{Layout, layout};
use crate::latencies::Latencies;
use crate::pace::{Schedule, wake_on_time};
use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// An instance that answers nothing for so long is broken.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each connection sends its next request once it has an answer.
    Closed,
    /// So many a second, whatever the answers do.
    PerSecond(u32),
}

/// What to send where.
pub struct Reads<'a> {
    /// The server.
    pub address: SocketAddr,
    /// Requests, sent in turn.
    pub requests: &'a [Vec<u8>],
    /// Connections.
    pub connections: usize,
    /// When.
    pub pace: Pace,
    /// Not measured, at the beginning.
    pub warm_up: Duration,
    /// Measured.
    pub time: Duration,
}

/// What was found.
pub struct Found {
    /// Answers in each second.
    pub rate: f64,
    /// All answers, those of the warm-up too.
    pub answers: usize,
    /// From when a request was due until its answer was read.
    pub times: Latencies,
}

/// A connection's state.
struct Line {
    /// When the request under way was due.
    due: Option<Instant>,
    received: Vec<u8>,
    /// The answer's layout, once its head is here.
    layout: Option<Layout>,
}

struct Run<'a> {
    reads: &'a Reads<'a>,
    streams: &'a [TcpStream],
    lines: Vec<Line>,
    idle: Vec<usize>,
    waiting: VecDeque<Instant>,
    sent: usize,
    measured_from: Instant,
    until: Instant,
    times: Latencies,
}

impl Reads<'_> {
    /// Runs the load.
    pub fn run(&self) -> Result<Found> {
        std::thread::scope(|scope| {
            // On a thread of its own, for the sake of its timer.
            let reader = scope.spawn(|| {
                wake_on_time();
                self.run_here()
            });
            reader.join().unwrap_or_else(|_| bail!("the reading thread panicked"))
        })
    }

    fn run_here(&self) -> Result<Found> {
        let open = |_| -> Result<TcpStream> {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let streams = (0..self.connections).map(open).collect::<Result<Vec<_>>>()?;
        let mut polled: Vec<_> = streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        let started = Instant::now();
        let measured_from = started + self.warm_up;
        let line = |_| Line { due: None, received: Vec::with_capacity(16 << 10), layout: None };
        let mut run = Run {
            reads: self,
            streams: &streams,
            lines: (0..self.connections).map(line).collect(),
            idle: (0..self.connections).rev().collect(),
            waiting: VecDeque::new(),
            sent: 0,
            measured_from,
            until: measured_from + self.time,
            times: Latencies::default(),
        };
        let schedule = match self.pace {
            Pace::Closed => None,
            Pace::PerSecond(rate) => {
                Some(Schedule::new(started, Duration::from_nanos(1_000_000_000 / u64::from(rate.max(1)))))
            }
        };
        run.go(schedule, &mut polled)?;
        let rate = run.times.len() as f64 / self.time.as_secs_f64();
        Ok(Found { rate, answers: run.sent, times: run.times })
    }
}

impl Run<'_> {
    fn go(&mut self, schedule: Option<Schedule>, polled: &mut [PollFd<'_>]) -> Result<()> {
        let mut released = 0;
        loop {
            let now = Instant::now();
            let mut wait = SILENT_MAX;
            if let Some(schedule) = &schedule {
                while schedule.at(released) <= now && schedule.at(released) < self.until {
                    self.waiting.push_back(schedule.at(released));
                    released += 1;
                }
                wait = wait.min(schedule.at(released).saturating_duration_since(now));
            }
            while let Some(line) = self.idle.pop() {
                if !self.next(line, schedule.is_none())? {
                    self.idle.push(line);
                    break;
                }
            }
            let under_way = self.lines.len() - self.idle.len();
            if now >= self.until {
                if under_way == 0 && self.waiting.is_empty() {
                    return Ok(());
                }
                wait = SILENT_MAX;
            }
            let wait = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos().into() };
            let ready = poll(polled, Some(&wait))?;
            if ready == 0 && wait.tv_sec >= SILENT_MAX.as_secs() as _ {
                bail!("no answer within {} s", SILENT_MAX.as_secs());
            }
            for (index, fd) in polled.iter().enumerate() {
                if !fd.revents().is_empty() {
                    self.receive(index, schedule.is_none())?;
                }
            }
        }
    }

    /// Sends the next request on an idle connection, if one is due.
    fn next(&mut self, line: usize, closed: bool) -> Result<bool> {
        let due = if closed {
            let now = Instant::now();
            (now < self.until).then_some(now)
        } else {
            self.waiting.pop_front()
        };
        let Some(due) = due else { return Ok(false) };
        let request = &self.reads.requests[self.sent % self.reads.requests.len()];
        self.sent += 1;
        // A request is far smaller than a socket's buffer, which is empty now.
        (&self.streams[line]).write_all(request)?;
        self.lines[line].due = Some(due);
        Ok(true)
    }

    fn receive(&mut self, index: usize, closed: bool) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        let n = match (&self.streams[index]).read(&mut chunk) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(n) => n,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let line = &mut self.lines[index];
        line.received.extend_from_slice(&chunk[..n]);
        if line.layout.is_none() {
            line.layout = layout(&line.received)?;
        }
        let Some(layout) = &line.layout else { return Ok(()) };
        if line.received.len() < layout.total {
            return Ok(());
        }
        if layout.status != 200 {
            bail!("a read was answered {}", String::from_utf8_lossy(&line.received));
        }
        let answered = Instant::now();
        line.received.clear();
        line.layout = None;
        if let Some(due) = line.due.take()
            && due >= self.measured_from
        {
            self.times.add(answered - due);
        }
        if !self.next(index, closed)? {
            self.idle.push(index);
        }
        Ok(())
    }
}
