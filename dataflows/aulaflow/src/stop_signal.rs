//! The wish to stop: Ctrl-C, SIGTERM, or a terminal that was closed (SIGHUP), heard from a server's first instant.
//!
//! A signal during the start is remembered, and the instance stops in order as soon as it has started: nothing is left
//! half made. Who asks a second time, or a start that does not come to its end, ends the process as it is.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long a start may go on after somebody asked to stop.
const START_MAX: Duration = Duration::from_secs(30);
/// Exit code of a process that was ended by Ctrl-C, as shells show it.
const INTERRUPTED: i32 = 128 + 2;

/// Whether somebody asked the process to stop. Cheap to clone.
#[derive(Clone)]
pub struct StopSignal {
    asked: watch::Receiver<bool>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The instance is up and looks at the signal itself.
    started: AtomicBool,
    /// Removed where the process ends as it is.
    temporary: Mutex<Option<PathBuf>>,
}

impl StopSignal {
    /// Listens, on a thread of its own.
    pub fn listen() -> Result<Self> {
        let (ask, asked) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("signals cannot be heard")?;
        let signals = {
            let _context = runtime.enter();
            Signals::new().context("signals cannot be heard")?
        };
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("aulaflow-signals".to_owned());
        thread.spawn(move || runtime.block_on(hear(signals, ask, &for_thread))).context("signals cannot be heard")?;
        Ok(Self { asked, shared })
    }

    /// One that nobody ever gives.
    #[cfg(test)]
    pub fn never() -> Self {
        let (ask, asked) = watch::channel(false);
        // An ended channel would mean that no signal can come.
        std::mem::forget(ask);
        Self { asked, shared: Arc::default() }
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Completes when somebody asks.
    pub async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            // The listening thread lives as long as the process.
            std::future::pending::<()>().await;
        }
    }

    /// The instance is up: it stops by itself when somebody asks.
    pub fn started(&self) {
        self.shared.started.store(true, Ordering::Relaxed);
    }

    /// Names a folder to be removed where the process has to end as it is.
    pub fn remove_at_forced_end(&self, folder: &Path) {
        *self.shared.temporary.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

async fn hear(mut signals: Signals, ask: watch::Sender<bool>, shared: &Shared) {
    signals.next().await;
    // Whoever does not wait any more is stopping already.
    let _ = ask.send(true);
    tokio::select! {
        () = signals.next() => eprintln!("error: asked to stop once more: the process ends as it is"),
        () = start_took_too_long(shared) => {
            let seconds = START_MAX.as_secs();
            eprintln!("error: the start did not end within {seconds} s after the signal: the process ends as it is");
        }
    }
    if let Some(folder) = shared.temporary.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The process ends in any case.
        let _ = std::fs::remove_dir_all(folder);
    }
    std::process::exit(INTERRUPTED);
}

async fn start_took_too_long(shared: &Shared) {
    tokio::time::sleep(START_MAX).await;
    if shared.started.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
