//! What workers hand to the recorder: bounded, and in the order of each worker's times. What becomes of it is not known here.
//!
//! Changes are only taken where they are *wanted*: while a restarted process reads again what an earlier one has told, they are
//! not, since the comparison that follows makes good for all of them at once. The order that this depends on:
//!
//! - A worker says of which time its batch is ([`Queue::begin`]), then looks whether it is wanted, then shows the batch in the
//!   serving store, then hands it over ([`Queue::done`]).
//! - The recorder wants changes first, and then asks for the newest time that was said. Whatever was not handed over is in the
//!   store once that time is complete.
//! - Where it takes up its work anew, what was begun before that is not handed over any more: the comparison makes good for it, too.

use aulaflow_model::change::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, StudentChange, ViewIndex};
use aulaflow_model::instant::ClockTime;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a worker that waits for room looks whether it still has to.
const LOOK: Duration = Duration::from_millis(500);

/// One worker's end.
pub struct Queue {
    inbox: Arc<Inbox>,
    worker: usize,
}

/// What a batch tells the recorder.
#[must_use = "what is not handed over is never recorded"]
pub struct Telling(Option<(Turn, Told)>);

/// How often changes have become wanted; 0: they are not.
type Turn = u64;

pub(crate) enum Told {
    Students(ClockTime, Vec<StudentChange>),
    Cohorts(ClockTime, Vec<CohortChange>),
    /// Everything up to this time was told.
    Complete(ClockTime),
}

/// Where all workers hand over.
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Wakes the recorder.
    pub work: Condvar,
    /// Wakes workers that wait for room.
    room: Condvar,
    wanted: AtomicU64,
    /// The latest time of which anything may be in the serving store.
    newest: AtomicU64,
    /// Whether a view's rows are kept.
    views: Vec<bool>,
    rows_max: usize,
}

#[derive(Default)]
struct State {
    told: VecDeque<(usize, Told)>,
    rows: usize,
    turns: Turn,
    /// Nobody takes anything any more.
    closed: bool,
}

impl Queue {
    pub(crate) fn new(inbox: &Arc<Inbox>, worker: usize) -> Self {
        Self { inbox: Arc::clone(inbox), worker }
    }

    /// A batch is about to be shown. Of rows that did not change (`shown_again`) nothing needs to be said.
    pub fn begin(&self, batch: &ChangeBatch) -> Telling {
        let Some(turn) = self.inbox.says(batch.time) else { return Telling(None) };
        let kept = |feature: &&FeatureChange| self.inbox.keeps(feature.view);
        let of_student = |change: &StudentChange| StudentChange {
            tenant: change.tenant.clone(),
            student: change.student.clone(),
            grades: change.grades.clone(),
            features: change.features.iter().filter(kept).cloned().collect(),
        };
        let mut changes: Vec<_> = batch.changes.iter().map(of_student).collect();
        changes.retain(|change| !change.grades.is_empty() || !change.features.is_empty());
        Telling((!changes.is_empty()).then_some((turn, Told::Students(batch.time, changes))))
    }

    /// A batch of cohorts is about to be shown. Those that only add up while the state is loaded (`cohorts_loaded`) are not told.
    pub fn begin_cohorts(&self, batch: &CohortBatch) -> Telling {
        let turn = self.inbox.says(batch.time).filter(|_| !batch.changes.is_empty());
        Telling(turn.map(|turn| (turn, Told::Cohorts(batch.time, batch.changes.clone()))))
    }

    /// The batch is shown. Waits while the recorder is too far behind: that holds the dataflow back.
    pub fn done(&self, Telling(told): Telling) {
        if let Some((turn, told)) = told {
            self.inbox.push(self.worker, told, Some(turn));
        }
    }

    /// Everything of this worker up to and including `complete` was handed over.
    pub fn advance(&self, complete: ClockTime) {
        self.inbox.push(self.worker, Told::Complete(complete), None);
    }
}

impl Inbox {
    pub fn new(views: Vec<bool>, rows_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            wanted: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            views,
            rows_max,
        }
    }

    fn keeps(&self, view: ViewIndex) -> bool {
        self.views.get(usize::from(view)).copied().unwrap_or(false)
    }

    /// Notes a batch's time; whether its changes are wanted.
    fn says(&self, time: ClockTime) -> Option<Turn> {
        self.newest.fetch_max(time.0, Ordering::SeqCst);
        Some(self.wanted.load(Ordering::SeqCst)).filter(|turn| *turn > 0)
    }

    /// Takes changes from now on.
    pub fn want(&self) {
        let mut state = self.state.lock();
        if !self.is_wanted() {
            state.turns += 1;
            self.wanted.store(state.turns, Ordering::SeqCst);
        }
    }

    /// Takes none, and forgets those that nobody has taken yet.
    pub fn want_not(&self) {
        let mut state = self.state.lock();
        self.wanted.store(0, Ordering::SeqCst);
        state.told.retain(|(_, told)| matches!(told, Told::Complete(_)));
        state.rows = state.told.len();
        drop(state);
        self.room.notify_all();
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > 0
    }

    /// Nothing of a later time is in the serving store.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// Hands over. `turn`: since when it was wanted.
    fn push(&self, worker: usize, told: Told, turn: Option<Turn>) {
        let rows = told.rows();
        let mut state = self.state.lock();
        while state.rows >= self.rows_max && !state.closed {
            self.room.wait_for(&mut state, LOOK);
        }
        if state.closed || turn.is_some_and(|turn| turn != self.wanted.load(Ordering::SeqCst)) {
            return;
        }
        // Frontiers follow one another: the last says it all.
        match (state.told.back_mut(), &told) {
            (Some((last, Told::Complete(before))), Told::Complete(complete)) if *last == worker => {
                *before = *complete;
                return;
            }
            (Some((_, Told::Students(..) | Told::Cohorts(..) | Told::Complete(_))) | None, _) => {}
        }
        state.rows += rows;
        let first = state.told.is_empty();
        state.told.push_back((worker, told));
        drop(state);
        if first {
            self.work.notify_all();
        }
    }

    /// All that was handed over. Waits for it where there is nothing, for `timeout` at most.
    pub fn take(&self, timeout: Duration) -> VecDeque<(usize, Told)> {
        let mut state = self.state.lock();
        if state.told.is_empty() && !timeout.is_zero() {
            self.work.wait_for(&mut state, timeout);
        }
        state.rows = 0;
        let told = std::mem::take(&mut state.told);
        drop(state);
        self.room.notify_all();
        told
    }

    /// Wakes the recorder.
    pub fn wake(&self) {
        // Under the lock: the recorder is either waiting, or will look again.
        drop(self.state.lock());
        self.work.notify_all();
    }

    /// Nobody waits for room any more, and nothing is taken.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.told.clear();
        state.rows = 0;
        drop(state);
        self.room.notify_all();
    }

    pub fn rows(&self) -> usize {
        self.state.lock().rows
    }
}

impl Told {
    /// How much room it takes: never nothing.
    fn rows(&self) -> usize {
        match self {
            Self::Students(_, changes) => {
                changes.iter().map(|change| 1 + change.grades.len() + change.features.len()).sum()
            }
            Self::Cohorts(_, changes) => changes.len(),
            Self::Complete(_) => 1,
        }
    }

    /// When.
    pub fn time(&self) -> ClockTime {
        match self {
            Self::Students(time, _) | Self::Cohorts(time, _) | Self::Complete(time) => *time,
        }
    }
}
