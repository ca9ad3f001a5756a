//! What a restart over a state would do with each view: the decisions of `start`, made without starting.

use crate::StartError;
use crate::backfill;
use crate::layout::{Layout, SlotInfo, ViewLayout};
use crate::start;
use crate::state::{Covered, StateError, StateStore};
use aulaflow_log::{Log, Offset, TopicPartition};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_model::window::WindowSpec;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_state::StoreError;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a state covers, and what the log has for what it lacks. The default is neither state nor log: a first start.
#[derive(Debug, Default)]
pub struct StateSummary {
    /// `None`: there is no state, or no checkpoint in it yet.
    covered: Option<Covered>,
    /// The behaviour events that a start would read before it goes on, if it lacks anything.
    reads: Vec<Read>,
}

/// Why a state cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// An instance runs on it.
    #[error("the state in {dir} is in use by another process")]
    InUse {
        /// The state's folder.
        dir: PathBuf,
    },
    /// A start would be refused for the same reason.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Behaviour events to read from a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// From this offset, where the log starts.
    pub from: Offset,
    /// To before this one.
    pub to: Offset,
    /// When the log took the first record that it still has; `None` where it has none.
    pub first_accepted_at: Option<Millis>,
}

/// What a restart would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changes {
    /// The instant that the state is of; `None`: there is no state, and everything is made from the log.
    pub as_of: Option<Millis>,
    /// By view.
    pub views: Vec<ViewChange>,
    /// Views that the state has and the plan has not.
    pub removed: Vec<String>,
    /// Parts of aggregates in the state that nobody needs any more.
    pub parts_left_out: usize,
    /// What is read from the log before the state's offsets, for all views together; empty where none needs it.
    pub reads: Vec<Read>,
    /// How many records that is.
    pub records: u64,
}

/// What would happen to a view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ViewChange {
    /// Its name.
    pub name: String,
    /// What would happen.
    pub fate: Fate,
}

/// Where a view's rows would come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is as it was.
    Kept,
    /// It is new or different, and the state has all that it needs.
    FromState,
    /// The state lacks parts of it, which are made from the log.
    FromLog {
        /// What the parts compute.
        parts: Vec<String>,
        /// What the log has lost of the window.
        incomplete: Option<Incomplete>,
    },
    /// It needs no state: it is computed from the grades when a profile is read.
    WhenRead,
}

/// Retention has removed events that the window covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Incomplete {
    /// Where the window starts.
    pub needed_from: Millis,
    /// Events that the log took before this instant are gone from some partition.
    pub lost_before: Millis,
    /// From which instant of the clock on the window holds no lost event; only on the live clock, where events come about
    /// when they happen.
    pub complete_at: Option<Millis>,
}

impl StateSummary {
    /// Whether a folder holds a state.
    pub fn is_there(state_dir: &Path) -> bool {
        StateStore::exists(state_dir)
    }

    /// Why a start with a plan over this state would be refused, if it would.
    pub fn refusal(&self, plan: &Plan) -> Option<&'static str> {
        let covered = self.covered.as_ref()?;
        (!crate::layout::Layout::has_room(plan, &covered.slots)).then_some(start::NO_ROOM)
    }

    /// Looks at the state in a folder and at the log, as a start does. No folder, or one without a checkpoint, is a
    /// first start. Nothing is changed, but no instance may run on either meanwhile.
    pub fn read(state_dir: &Path, log: &dyn Log) -> Result<Self, SummaryError> {
        let covered = covered(state_dir)?;
        let sources = start::sources(log, Share::All, &covered.clone().unwrap_or_default())?;
        let ranges = match covered {
            Some(_) => backfill::ranges(log, &sources).map_err(StartError::from)?,
            None => {
                let behavior = sources.iter().filter(|s| s.input == aulaflow_model::topic::Input::Behavior);
                behavior.map(|s| (s.place.clone(), s.next, s.end_at_start)).collect()
            }
        };
        let read = |(place, from, to): (TopicPartition, Offset, Offset)| -> Result<Read, StartError> {
            // Any length reads one batch at least.
            let first = log.read(&place, from, 1)?.records.iter().next().map(|record| record.timestamp);
            Ok(Read { topic: place.topic, partition: place.partition, from, to, first_accepted_at: first })
        };
        Ok(Self { covered, reads: ranges.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// What it covers, if anything.
    pub(super) fn covered(&self) -> Option<&Covered> {
        self.covered.as_ref()
    }
}

fn covered(dir: &Path) -> Result<Option<Covered>, SummaryError> {
    if !StateStore::exists(dir) {
        return Ok(None);
    }
    let failed = |error: StateError| match error {
        StateError::Store(StoreError::InUse { dir }) => SummaryError::InUse { dir },
        error @ (StateError::Store(_) | StateError::Row(_) | StateError::Format { .. }) => {
            StartError::State(error.to_string()).into()
        }
    };
    StateStore::inspect(dir).map_err(failed)
}

/// What a start with this layout does with each view.
pub fn changes(plan: &Plan, layout: &Layout, state: &StateSummary) -> Changes {
    let known = state.covered.as_ref().map(|covered| covered.views.as_slice()).unwrap_or_default();
    let identities = start::identities(plan);
    let live = plan.runtime.engine.clock == ClockMode::Live;
    let clock = clock_of(state.covered.as_ref(), live.then(crate::checkpoint::now));
    let lost = lost_before(&state.reads, clock);
    let missing = layout.missing_views();
    let mut views = Vec::new();
    for (index, view) in plan.views.iter().enumerate() {
        let number = index as u16;
        let fate = if matches!(layout.views[index], ViewLayout::Present) {
            Fate::WhenRead
        } else if missing.contains(&number) {
            let of_view = |info: &&SlotInfo| info.missing && info.views.contains(&number);
            let parts = layout.slots.iter().flatten().filter(of_view).map(|info| info.label.clone());
            let window = needed(layout, index);
            let incomplete = lost.zip(window).and_then(|(lost, window)| incomplete(window, clock, lost, live));
            // The same aggregate under another filter has the same label.
            Fate::FromLog { parts: parts.collect::<BTreeSet<_>>().into_iter().collect(), incomplete }
        } else if known.iter().any(|known| known.identity == identities[index]) {
            Fate::Kept
        } else {
            Fate::FromState
        };
        views.push(ViewChange { name: view.schema.name.clone(), fate });
    }
    let (_, rebuild) = start::layout(plan, state.covered.as_ref());
    let reads = if rebuild || state.covered.is_none() { state.reads.clone() } else { Vec::new() };
    let gone = |name: &&String| !plan.views.iter().any(|view| view.schema.name == **name);
    let slots = state.covered.iter().flat_map(|covered| &covered.slots.slots);
    Changes {
        as_of: state.covered.as_ref().map(|covered| ClockTime(covered.time).clock()),
        views,
        removed: known.iter().map(|known| &known.name).filter(gone).cloned().collect(),
        parts_left_out: slots.filter(|known| layout.slot(known.number).is_none()).count(),
        records: reads.iter().map(|read| read.to.saturating_sub(read.from)).sum(),
        reads,
    }
}

/// The clock at which a start has caught up: it begins at the checkpoint's, and time passes then. `now` on the live clock.
fn clock_of(covered: Option<&Covered>, now: Option<Millis>) -> Millis {
    let covered = covered.map(|covered| ClockTime(covered.time).clock());
    covered.max(now).unwrap_or(ClockTime::ZERO.clock())
}

/// Events that were accepted before it are gone from some partition; `None`: nothing was removed yet.
fn lost_before(reads: &[Read], clock: Millis) -> Option<Millis> {
    let removed = reads.iter().filter(|read| read.from > 0);
    removed.map(|read| read.first_accepted_at.unwrap_or(clock)).max()
}

/// How a view's events are cut, and how many panes of them it needs.
fn needed(layout: &Layout, view: usize) -> Option<(&WindowSpec, i64)> {
    match &layout.views[view] {
        ViewLayout::Panes(placed) => {
            let grid = &layout.grids[placed.grid];
            Some((&grid.spec, grid.windows[placed.window]))
        }
        ViewLayout::Windows { panes, .. } => Some((&layout.grids[layout.grid_of(view)?].spec, *panes)),
        ViewLayout::Present => None,
    }
}

fn incomplete((spec, panes): (&WindowSpec, i64), clock: Millis, lost: Millis, live: bool) -> Option<Incomplete> {
    let needed_from = spec.start_of(spec.pane(clock) - panes + 1);
    if live && lost <= needed_from {
        return None;
    }
    // The first pane without lost events is the oldest of the window then.
    let first = spec.pane(Millis(lost.0 - 1)) + 1;
    let complete_at = live.then(|| spec.start_of(first + panes - 1));
    Some(Incomplete { needed_from, lost_before: lost, complete_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aulaflow_model::window::DAY_MS;

    #[test]
    fn a_start_has_caught_up_at_the_later_of_the_checkpoint_s_clock_and_now() {
        let covered = Covered { time: ClockTime::at(Millis(5_000)).0, ..Covered::default() };
        assert_eq!(clock_of(Some(&covered), Some(Millis(9_000))), Millis(9_000));
        assert_eq!(clock_of(Some(&covered), Some(Millis(4_000))), Millis(5_000));
        assert_eq!(clock_of(Some(&covered), None), Millis(5_000));
        assert_eq!(clock_of(None, Some(Millis(9_000))), Millis(9_000));
    }

    #[test]
    fn a_window_is_complete_when_its_oldest_pane_is() {
        let spec = WindowSpec::hop(DAY_MS, 7 * DAY_MS);
        let clock = Millis(100 * DAY_MS + 5);
        let lost = |at: i64, live| incomplete((&spec, 7), clock, Millis(at), live);
        let expected = |lost_before, complete_at: Option<i64>| {
            let complete_at = complete_at.map(|day| Millis(day * DAY_MS));
            Some(Incomplete { needed_from: Millis(94 * DAY_MS), lost_before: Millis(lost_before), complete_at })
        };
        // Day 97 is not whole: the window of days 98 to 104 is the first without a gap.
        assert_eq!(lost(97 * DAY_MS + 1, true), expected(97 * DAY_MS + 1, Some(104)));
        assert_eq!(lost(97 * DAY_MS, true), expected(97 * DAY_MS, Some(103)));
        assert_eq!(lost(94 * DAY_MS, true), None);
        assert_eq!(lost(94 * DAY_MS, false), expected(94 * DAY_MS, None));
    }

    #[test]
    fn the_partition_that_lost_most_decides() {
        let read = |from, first: Option<i64>| Read {
            topic: "t".to_owned(),
            partition: 0,
            from,
            to: 9,
            first_accepted_at: first.map(Millis),
        };
        let clock = Millis(1_000);
        assert_eq!(lost_before(&[read(0, Some(500)), read(0, None)], clock), None);
        assert_eq!(
            lost_before(&[read(3, Some(500)), read(5, Some(700)), read(0, Some(900))], clock),
            Some(Millis(700))
        );
        assert_eq!(lost_before(&[read(3, Some(500)), read(9, None)], clock), Some(clock));
    }
}
