//! How far a long job is: a bar on a terminal, plain lines elsewhere. Always on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// A running job's progress. Shared between threads by reference.
pub struct Progress {
    what: &'static str,
    total: Option<u64>,
    unit: &'static str,
    done: AtomicU64,
    started: Instant,
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Starts; `total` is `None` where it is not known before the end.
    pub fn start(what: &'static str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(what, total));
        let now = Instant::now();
        Self { what, total, unit: "events", done: AtomicU64::new(0), started: now, bar, last_line: Mutex::new(now) }
    }

    /// What is counted, where it is not events.
    pub fn of(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// `n` more are done.
    pub fn advance(&self, n: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None => self.line(done),
        }
    }

    /// Events done in each second since the start.
    pub fn rate(&self) -> u64 {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        (self.done.load(Ordering::Relaxed) as f64 / seconds) as u64
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, done: u64) {
        // A thread that finds another one printing has nothing to add.
        let Ok(mut last) = self.last_line.try_lock() else { return };
        if last.elapsed() < LINE_EVERY {
            return;
        }
        *last = Instant::now();
        let rate = self.rate();
        match self.total {
            Some(total) if total > 0 => {
                let left = total.saturating_sub(done) / rate.max(1);
                let percent = done * 100 / total;
                eprintln!("{}: {done} of {total} ({percent} %), {rate} {}/s, ETA {left} s", self.what, self.unit);
            }
            Some(_) | None => eprintln!("{}: {done}, {rate} {}/s", self.what, self.unit),
        }
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} ETA {eta}"),
        None => (ProgressBar::no_length(), "{msg} {spinner} {human_pos} {per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("per_sec", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // A bar that cannot be drawn is no reason to stop the job.
            let _ = write!(out, "{:.0} events/s", state.per_sec());
        }));
    }
    bar.set_message(what);
    bar
}
