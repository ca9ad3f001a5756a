//! Ctrl-C and SIGTERM: what values would clean up when they are dropped is cleaned up as well when the run is cut off.
//! A signal unwinds nothing, so the children and folders under way are listed here, once for the process.

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::signal::unix::{SignalKind, signal};

/// What is to be ended and removed.
static UNDER_WAY: Mutex<UnderWay> = Mutex::new(UnderWay { children: Vec::new(), folders: Vec::new() });

struct UnderWay {
    children: Vec<Pid>,
    folders: Vec<PathBuf>,
}

fn under_way(change: impl FnOnce(&mut UnderWay)) {
    change(&mut UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A child has been started.
pub fn started(child: Pid) {
    under_way(|list| list.children.push(child));
}

/// A child has ended and was waited for: its number may be another process's from now on.
pub fn ended(child: Pid) {
    under_way(|list| list.children.retain(|known| *known != child));
}

/// A folder has been made. A folder that is gone need not be taken off.
pub fn made(folder: &Path) {
    under_way(|list| list.folders.push(folder.to_owned()));
}

/// Cleans up and ends the process when it is told to end.
pub fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        under_way(|list| {
            for child in &list.children {
                // It may have ended by the same signal.
                let _ = kill_process(*child, Signal::KILL);
            }
            for folder in &list.folders {
                // Nobody is left who could be told that a temporary folder stays.
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(130);
        });
    });
    Ok(())
}
