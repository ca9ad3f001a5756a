//! Verifying a data directory that no instance runs on: the dataflows are started on its state and log as they would be
//! served, without HTTP, write nothing, and are compared once they have read everything.

use super::{InProcess, Offsets, Report, Scope, Whose, compare, recompute};
use crate::derived::derived_views;
use crate::node::sinks::serving;
use crate::node::state_dir;
use crate::progress::Progress;
use crate::tenant_records::now;
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_engine::batch::Batch;
use aulaflow_engine::{Engine, HandClock, Metrics, Start, StateSummary, Status, Wall, examine};
use aulaflow_log::Log;
use aulaflow_model::change::ViewSchema;
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_serving::ReadHalf;
use prometheus_client::registry::Registry;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time between two looks at how far the dataflows are.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Panes that leave at a boundary are released in steps of an epoch each: longer than from one to the next.
const RELEASED_WITHIN: Duration = Duration::from_millis(1_500);
/// How long the dataflows may stand still before they are given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Verifies state and log of the plan's data directory: with an engine for each partition, of every partition whose state
/// is there.
pub fn offline(plan: &Arc<Plan>, log: &Arc<dyn Log>, scope: Scope, dump: Option<Box<dyn Write>>) -> Result<Report> {
    match Whose::all(plan) {
        Whose::One => examined(plan, log, Whose::One, scope, dump.map(|dump| dump as Box<dyn Write + '_>)),
        Whose::Each(_) => parts(plan, log, scope, dump),
    }
}

/// Verifies one partition's engine after the other: only one of them is in memory.
pub(super) fn parts(
    plan: &Arc<Plan>,
    log: &Arc<dyn Log>,
    scope: Scope,
    mut dump: Option<Box<dyn Write>>,
) -> Result<Report> {
    let (here, elsewhere) = partitions_here(plan, log.as_ref())?;
    let mut report = Report::default();
    for partition in here {
        let dump = dump.as_mut().map(|dump| Box::new(dump) as Box<dyn Write + '_>);
        let whose = Whose::Each(Share::Partition(partition));
        report.add(examined(plan, log, whose, scope, dump).with_context(|| format!("partition {partition}"))?);
    }
    if !elsewhere.is_empty() {
        let numbers: Vec<_> = elsewhere.iter().map(ToString::to_string).collect();
        report.notes.push(format!("Not compared: partitions whose state is not here: {}.", numbers.join(", ")));
    }
    Ok(report)
}

/// The partitions with a state in the data directory, and those without.
fn partitions_here(plan: &Plan, log: &dyn Log) -> Result<(Vec<u32>, Vec<u32>)> {
    let dir = |partition| state_dir(&plan.runtime, Share::Partition(partition));
    let all = 0..log.partitions(topic::BEHAVIOR)?;
    let (here, elsewhere): (Vec<u32>, Vec<u32>) = all.partition(|partition| dir(*partition).is_dir());
    if here.is_empty() {
        bail!(
            "no partition has a state in {}: run `aulaflow verify` where an instance has run, or name that with --data-dir",
            state_dir(&plan.runtime, Share::All).display()
        );
    }
    Ok((here, elsewhere))
}

fn examined(
    plan: &Arc<Plan>,
    log: &Arc<dyn Log>,
    whose: Whose,
    scope: Scope,
    dump: Option<Box<dyn Write + '_>>,
) -> Result<Report> {
    let live = plan.runtime.engine.clock == ClockMode::Live;
    let clock = now();
    // Where events move the clock, it is not known yet where it will stand.
    let batch = recompute(plan, log, whose, if live { clock } else { Millis(i64::MIN / 4) })?;
    let (engine, store, _without_state) = start(plan, log, whose.share(), clock)?;
    let compared = look(plan, log, (&engine, store), batch, scope, dump);
    let ended = engine.abandon().map_err(|reason| anyhow!("the dataflows failed: {reason}"));
    let report = compared?;
    ended.map(|()| report)
}

fn look(
    plan: &Arc<Plan>,
    log: &Arc<dyn Log>,
    (engine, store): (&Engine, ReadHalf),
    batch: Batch,
    scope: Scope,
    dump: Option<Box<dyn Write + '_>>,
) -> Result<Report> {
    settle(engine, plan, log.as_ref(), &store)?;
    let due: Offsets = engine
        .began()
        .iter()
        .filter_map(|p| {
            Some(((topic::inputs().find(|(_, name)| *name == p.place.topic)?.1, p.place.partition), p.visible))
        })
        .collect();
    let shown = InProcess { monitor: engine.monitor(), store, moves: false };
    compare(plan, log.as_ref(), batch, &shown, (Some(&due), scope), dump)
}

fn start(plan: &Arc<Plan>, log: &Arc<dyn Log>, share: Share, clock: Millis) -> Result<(Engine, ReadHalf, TempDir)> {
    let mut registry = Registry::default();
    let settings = &plan.runtime;
    let schemas: Arc<[ViewSchema]> = plan.views.iter().map(|view| view.schema.clone()).collect();
    let workers = settings.engine.workers.max(1);
    let derived = derived_views(plan, &mut registry);
    let (writers, store) = aulaflow_serving::store(schemas, derived, settings.serving.students_expected, workers);
    let state_dir = state_dir(settings, share);
    // Opening a state makes one, and here nothing may be made.
    let none = tempfile::tempdir().context("no temporary folder can be made")?;
    let state_dir = if StateSummary::is_there(&state_dir) { state_dir } else { none.path().join("state") };
    let engine = examine(Start {
        plan: Arc::clone(plan),
        log: Arc::clone(log),
        share,
        state_dir: state_dir.clone(),
        sinks: serving(writers),
        participants: Vec::new(),
        metrics: Metrics::new(&mut registry),
        wall: Wall::Hand(Arc::new(HandClock::new(clock))),
    })
    .with_context(|| format!("the dataflows cannot start from {}", state_dir.display()))?;
    Ok((engine, store, none))
}

/// Waits until everything on the log is visible and the clock stands.
fn settle(engine: &Engine, plan: &Plan, log: &dyn Log, store: &ReadHalf) -> Result<()> {
    let status = engine.monitor().status();
    let behind = |status: &Status| status.positions.iter().map(|p| p.end.saturating_sub(p.visible)).sum::<u64>();
    let total = behind(&status);
    let progress = Progress::start("reading what no checkpoint covers", Some(total));
    let (mut left, mut last, mut moved) = (total, None, Instant::now());
    loop {
        let status = engine.monitor().status();
        if let Some(failure) = status.failure {
            bail!("the dataflows failed: {failure}");
        }
        let now_left = behind(&status);
        progress.advance(left.saturating_sub(now_left));
        // A clock that stands makes epochs too: its reading counts.
        let sign = (now_left, status.loading, status.clock, store.frontier().clock());
        if last != Some(sign) {
            (last, moved) = (Some(sign), Instant::now());
        }
        left = now_left.min(left);
        let mut visible = status.caught_up;
        for position in &status.positions {
            visible &= position.visible >= log.end_offset(&position.place)?;
        }
        // The event clock goes on until all partitions are idle; what panes a boundary releases comes in several steps.
        let event_clock = plan.runtime.engine.clock == ClockMode::Event;
        let quiet = if event_clock { plan.runtime.engine.idle_timeout + RELEASED_WITHIN } else { RELEASED_WITHIN };
        if visible && moved.elapsed() > quiet {
            progress.finish();
            return Ok(());
        }
        if moved.elapsed() > PATIENCE {
            bail!("the dataflows stand still: {left} records are not visible");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
