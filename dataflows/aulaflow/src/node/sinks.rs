//! The sinks of an instance. The list of them is here and nowhere else: an engine's share is given all of them, and they are
//! asked, stopped and abandoned in the order of the list.

use super::changelog::ChangelogSink;
use super::clickhouse::Analytics;
use crate::log_store;
use anyhow::{Context, Result};
use aulaflow_engine::{Engine, Failure};
use aulaflow_log::Log;
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_query_api::SinkLag;
use aulaflow_serving::{ReadHalf, WriteHalf};
use aulaflow_sink::{Fanout, IdempotentSink, Participant};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often it is looked whether an engine that ends is held back.
const LOOK: Duration = Duration::from_millis(100);
/// How long a sink is waited for that never holds an engine back: an engine ends on its own.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);

/// A sink beside the serving store, as an instance has it: it is started once for each share.
pub trait Sink: Send + Sync {
    /// In messages, and the name under which checkpoints keep its token.
    fn name(&self) -> &'static str;

    /// Starts it for a share whose rows are in `store`, and adds its parts to the share's.
    fn start(&self, share: Share, store: &ReadHalf, parts: &mut Parts) -> Result<Box<dyn RunningSink>>;
}

/// The sinks of the configuration, in the order in which they are called. The serving store stands before all of them.
pub fn sinks(
    plan: &Arc<Plan>,
    log: &Arc<dyn Log>,
    analytics: Option<&Arc<Analytics>>,
    registry: &mut Registry,
) -> Vec<Arc<dyn Sink>> {
    let changelog = ChangelogSink::open(plan, log, log_store::is_shared(&plan.runtime), registry);
    let changelog = changelog.map(|sink| Arc::new(sink) as Arc<dyn Sink>);
    let clickhouse = analytics.map(|sink| Arc::clone(sink) as Arc<dyn Sink>);
    changelog.into_iter().chain(clickhouse).collect()
}

/// A share's sink that runs.
pub trait RunningSink: Send + Sync {
    /// How far its parts are, where it writes outside the process.
    fn lags(&self) -> Vec<SinkLag> {
        Vec::new()
    }

    /// Why it can never write again: the share cannot go on, and no checkpoint can be made.
    fn failure(&self) -> Option<Failure> {
        None
    }

    /// How long ago a row must have changed to be in this sink's history; `None`: it keeps none, or that is not known.
    fn history_behind(&self) -> Option<Duration> {
        None
    }

    /// How long an engine that ends may be held back by it.
    fn patience(&self) -> Duration {
        PATIENCE_MAX
    }

    /// Whether it holds the dataflow back.
    fn is_full(&self) -> bool {
        false
    }

    /// Holds the dataflow back no longer: what comes from now on may be dropped, and is made good for after the next start.
    fn release(&self) {}

    /// Ends it in order, after its engine.
    fn stop(self: Box<Self>);

    /// Ends it as a crash would, after its engine.
    fn abandon(self: Box<Self>);
}

/// What an engine is started with.
pub struct Parts {
    /// The sinks of each worker.
    pub fanouts: Vec<Fanout>,
    /// What takes part in its checkpoints.
    pub participants: Vec<(String, Arc<dyn Participant>)>,
}

impl Parts {
    /// The workers' ends of an idempotent sink, behind those that are there.
    pub fn add(&mut self, ends: impl IntoIterator<Item = impl IdempotentSink + 'static>) {
        let fanouts = std::mem::take(&mut self.fanouts).into_iter();
        self.fanouts = fanouts.zip(ends).map(|(fanout, end)| fanout.with(end)).collect();
    }
}

/// The sinks of a share that run.
#[derive(Default)]
pub struct RunningSinks(Vec<Box<dyn RunningSink>>);

impl RunningSinks {
    /// Starts all of them for a share; its serving store is the first.
    pub fn start(
        sinks: &[Arc<dyn Sink>],
        share: Share,
        writers: Vec<WriteHalf>,
        store: &ReadHalf,
    ) -> Result<(Self, Parts)> {
        let fanouts = serving(writers);
        let mut parts = Parts { fanouts, participants: Vec::new() };
        let mut running = Self::default();
        for sink in sinks {
            let started = sink.start(share, store, &mut parts);
            running.0.push(started.with_context(|| format!("the sink {} cannot be started", sink.name()))?);
        }
        Ok((running, parts))
    }

    /// How far those are that write outside the process.
    pub fn lags(&self) -> Vec<SinkLag> {
        self.0.iter().flat_map(|sink| sink.lags()).collect()
    }

    /// Why one of them can never write again.
    pub fn failure(&self) -> Option<Failure> {
        self.0.iter().find_map(|sink| sink.failure())
    }

    /// How long ago a row must have changed to be in the history.
    pub fn history_behind(&self) -> Option<Duration> {
        self.0.iter().find_map(|sink| sink.history_behind())
    }

    /// Ends an engine with a last checkpoint, and then its sinks. Where a sink can never be written again (another process has
    /// taken the share over), no checkpoint can be made either: there is none.
    pub fn stop(self, engine: Engine) -> Result<(), String> {
        let failure = self.failure();
        let stopped = self.while_ending(|| match failure {
            None => engine.stop(),
            Some(failure) => engine.abandon().and(Err(failure.to_string())),
        });
        self.0.into_iter().for_each(|sink| sink.stop());
        stopped
    }

    /// Ends an engine and its sinks as a crash would.
    pub fn abandon(self, engine: Engine) -> Result<(), String> {
        self.0.iter().for_each(|sink| sink.release());
        let ended = engine.abandon();
        self.0.into_iter().for_each(|sink| sink.abandon());
        ended
    }

    /// Lets an engine end. A sink that holds it back is made to let it go after a while.
    fn while_ending<T>(&self, end: impl FnOnce() -> T) -> T {
        let (ended, ends) = channel::<()>();
        let mut wait = self.0.iter().map(|sink| sink.patience()).min().unwrap_or(PATIENCE_MAX);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while ends.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    wait = LOOK;
                    if self.0.iter().any(|sink| sink.is_full()) {
                        return self.0.iter().for_each(|sink| sink.release());
                    }
                }
            });
            let done = end();
            drop(ended);
            done
        })
    }
}

/// Each worker with its end of the serving store.
pub fn serving(writers: Vec<WriteHalf>) -> Vec<Fanout> {
    writers.into_iter().map(|writer| Fanout::new().with(writer)).collect()
}
