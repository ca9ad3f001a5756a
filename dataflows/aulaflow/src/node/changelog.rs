//! The changelog as a sink of an instance: whether it is written, and what its rows are made by.

use super::sinks::{Parts, RunningSink, Sink};
use anyhow::Result;
use aulaflow_changelog::{Changelog, ChangelogStart, WriterMetrics};
use aulaflow_engine::Failure;
use aulaflow_log::Log;
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::WriteChangelog;
use aulaflow_serving::ReadHalf;
use prometheus_client::registry::Registry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The changelogs of all shares.
pub struct ChangelogSink {
    plan: Arc<Plan>,
    log: Arc<dyn Log>,
    metrics: WriterMetrics,
}

impl ChangelogSink {
    /// Where the changelog is written. `shared`: other processes can read the log.
    pub fn open(plan: &Arc<Plan>, log: &Arc<dyn Log>, shared: bool, registry: &mut Registry) -> Option<Self> {
        let is_written = match plan.runtime.changelog.write {
            WriteChangelog::Auto => shared,
            WriteChangelog::Always => true,
            WriteChangelog::Never => false,
        };
        is_written.then(|| Self { plan: Arc::clone(plan), log: Arc::clone(log), metrics: WriterMetrics::new(registry) })
    }
}

impl Sink for ChangelogSink {
    fn name(&self) -> &'static str {
        "changelog"
    }

    fn start(&self, share: Share, store: &ReadHalf, parts: &mut Parts) -> Result<Box<dyn RunningSink>> {
        let start = ChangelogStart {
            log: Arc::clone(&self.log),
            share,
            store: store.clone(),
            workers: parts.fanouts.len(),
            views: views(&self.plan),
            interval: self.plan.runtime.changelog.interval,
            metrics: self.metrics.clone(),
            at: aulaflow_state::crash_point,
        };
        let (changelog, notes) = Changelog::start(start)?;
        parts.add(notes);
        parts.participants.push((self.name().to_owned(), Arc::new(changelog.writer())));
        Ok(Box::new(changelog))
    }
}

impl RunningSink for Changelog {
    fn failure(&self) -> Option<Failure> {
        self.writer().failure().map(|error| match error.ends_writer() {
            true => Failure::Writer { what: "the changelog", error },
            false => Failure::Engine(format!("the changelog cannot be written any more: {error}")),
        })
    }

    fn stop(self: Box<Self>) {
        Changelog::stop(*self);
    }

    /// What is not written stays unwritten, also when it ends in order.
    fn abandon(self: Box<Self>) {
        Changelog::stop(*self);
    }
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
