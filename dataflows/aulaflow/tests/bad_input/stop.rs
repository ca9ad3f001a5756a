//! The end of a process under load, in order and not: what was acknowledged is there after the restart, once.

use crate::load::Load;
use crate::support::Folder;
use std::time::{Duration, Instant};

/// Requests acknowledged before the end: enough that all writers are at work.
const REQUESTS: u64 = 60;

/// Requests in flight may take 10 s, the last checkpoint a moment.
const STOP_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn sigterm_under_load_ends_in_order_and_loses_nothing() {
    let folder = Folder::new();
    let instance = folder.start();
    let load = Load::on(&instance);
    let sent = load.until(REQUESTS, || instance.signal("-TERM"));
    let asked = Instant::now();
    assert_eq!(instance.ended(), Some(0));
    assert!(asked.elapsed() < STOP_WITHIN, "{:?}", asked.elapsed());
    let again = folder.start();
    Load::on(&again).compare(&sent);
    again.finish();
}

#[test]
fn kill_9_under_load_loses_nothing() {
    let folder = Folder::new();
    let instance = folder.start();
    let sent = Load::on(&instance).until(REQUESTS, || instance.signal("-KILL"));
    assert_eq!(instance.ended(), None);
    // And once more while the restarted one has just begun.
    let again = folder.start();
    Load::on(&again).compare(&sent);
    again.signal("-KILL");
    assert_eq!(again.ended(), None);
    let sent: Vec<_> =
        sent.iter().map(|sent| crate::load::Sent { batches: sent.batches + 1, exams: sent.exams + 1 }).collect();
    let last = folder.start();
    Load::on(&last).compare(&sent);
    last.finish();
}
