//! The changelog beside an engine: who notes what changed, and who is asked before a checkpoint is made.

use crate::outlet::ServingOutlet;
use anyhow::{Context as _, Result};
use aulaflow_changelog::{Changelog, ChangelogStart, Notes, Writer, WriterMetrics};
use aulaflow_engine::{Engine, Gate, Outlet};
use aulaflow_log::Log;
use aulaflow_model::change::{ChangeBatch, CohortBatch};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::WriteChangelog;
use aulaflow_serving::{ReadHalf, WriteHalf};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The name that a checkpoint keeps its mark under.
const GATE: &str = "changelog";

/// An engine's way out: its outlets, and what its checkpoints wait for.
pub struct Outward {
    /// One per worker.
    pub outlets: Vec<Box<dyn Outlet>>,
    /// The changelog's, if there is one.
    pub gates: Vec<(String, Arc<dyn Gate>)>,
    /// To be stopped after the engine.
    pub changelog: Option<Changelog>,
}

/// Whether the changelog is written. `shared`: other processes can read the log.
pub fn is_written(plan: &Plan, shared: bool) -> bool {
    match plan.runtime.changelog.write {
        WriteChangelog::Auto => shared,
        WriteChangelog::Always => true,
        WriteChangelog::Never => false,
    }
}

/// The outlets of a share's engine into its store, and into the changelog where `metrics` are given.
pub fn outward(
    plan: &Plan,
    log: &Arc<dyn Log>,
    share: Share,
    (writers, store): (Vec<WriteHalf>, &ReadHalf),
    metrics: Option<&WriterMetrics>,
) -> Result<Outward> {
    let outlets = ServingOutlet::all(writers);
    let Some(metrics) = metrics else { return Ok(Outward { outlets, gates: Vec::new(), changelog: None }) };
    let start = ChangelogStart {
        log: Arc::clone(log),
        share,
        store: store.clone(),
        workers: outlets.len(),
        views: views(plan),
        interval: plan.runtime.changelog.interval,
        metrics: metrics.clone(),
        at: aulaflow_state::crash_point,
    };
    let (changelog, notes) = Changelog::start(start).context("the changelog cannot be started")?;
    let gate: Arc<dyn Gate> = Arc::new(ChangelogGate(changelog.writer()));
    let noted = |(outlet, notes)| Box::new(NotedOutlet { outlet, notes }) as Box<dyn Outlet>;
    let outlets = outlets.into_iter().zip(notes).map(noted).collect();
    Ok(Outward { outlets, gates: vec![(GATE.to_owned(), gate)], changelog: Some(changelog) })
}

/// Ends a share's engine with a last checkpoint, and then its changelog. Where the changelog can never be written again
/// (another process has taken the share over), no checkpoint can be made either: there is none.
pub fn stop(engine: Engine, changelog: Option<Changelog>) -> Result<(), String> {
    let lost = changelog.as_ref().and_then(|changelog| changelog.writer().failure());
    let stopped = match lost {
        None => engine.stop(),
        Some(reason) => engine.abandon().and(Err(reason)),
    };
    if let Some(changelog) = changelog {
        changelog.stop();
    }
    stopped
}

/// Ends both as a crash would.
pub fn abandon(engine: Engine, changelog: Option<Changelog>) -> Result<(), String> {
    let ended = engine.abandon();
    if let Some(changelog) = changelog {
        changelog.stop();
    }
    ended
}

/// A hash of what rows are made by: after another one, all of them are written again. It need not be the same in another
/// build; then they are written once too often.
fn views(plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    for view in &plan.views {
        (&view.schema.name, &view.text, &view.schema.outputs).hash(&mut hasher);
    }
    hasher.finish()
}

struct ChangelogGate(Writer);

impl Gate for ChangelogGate {
    fn resume(&self, mark: Option<&[u8]>) {
        self.0.resume(mark);
    }

    fn loaded(&self) {
        self.0.loaded();
    }

    fn caught_up(&self) {
        self.0.caught_up();
    }

    fn reach(&self, time: ClockTime, timeout: Duration) -> Result<Vec<u8>, String> {
        self.0.reach(time, timeout)
    }
}

/// The store's outlet, with notes of what went through it.
struct NotedOutlet {
    outlet: Box<dyn Outlet>,
    notes: Notes,
}

impl Outlet for NotedOutlet {
    fn apply(&mut self, batch: ChangeBatch) {
        self.notes.changes(batch, |batch| self.outlet.apply(batch));
    }

    fn shown_again(&mut self, batch: ChangeBatch) {
        self.notes.shown_again(batch, |batch| self.outlet.shown_again(batch));
    }

    fn cohorts(&mut self, batch: CohortBatch) {
        self.notes.cohorts(batch, |batch| self.outlet.cohorts(batch));
    }

    fn cohorts_loaded(&mut self, batch: CohortBatch) {
        self.notes.cohorts_loaded(batch, |batch| self.outlet.cohorts_loaded(batch));
    }

    fn expiring(&mut self, boundary: Option<Millis>) {
        self.outlet.expiring(boundary);
    }

    fn advance(&mut self, complete: ClockTime) {
        self.outlet.advance(complete);
    }
}
