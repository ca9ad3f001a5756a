//! The recorder's thread: takes what workers told up to the time that all of them have completed, in the order of time, and
//! records what differs. The comparison after a start is in `compare`.

use crate::compare::{Comparison, key_hash};
use crate::metrics::ShareLabels;
use crate::pseudonym::KeyError;
use crate::queue::Told;
use crate::recorder::{Control, Ending, RecorderStart};
use crate::rows::{self, Unfit};
use crate::store::StoreError;
use crate::tables::{Cadence, Source};
use crate::unit::{DAY_MS, Stamp, Unit};
use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_sink::update::{CohortChange, StudentChange};
use rustc_hash::FxHashMap;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the thread looks whether there is something to do.
const LOOK: Duration = Duration::from_millis(250);
/// How often what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Rows of a day that has ended recorded in one step.
const FLUSH_ROWS: usize = 10_000;

pub(crate) struct Work {
    pub start: RecorderStart,
    pub control: Arc<Control>,
    /// There is one once the local store is what ClickHouse holds.
    unit: Option<Unit>,
    /// When the oldest change of the unit came.
    since: Option<Instant>,
    /// What each worker told of times that are not complete yet.
    told: Vec<VecDeque<Told>>,
    complete: Vec<Option<ClockTime>>,
    /// Everything up to this time was recorded.
    pub position: Option<ClockTime>,
    /// Days that rows wait for the end of.
    pub days: BTreeSet<u32>,
    /// Where the recording of the first of them has got to.
    flushed: Option<fjall::Slice>,
    /// The relations' places by their numbers.
    places: FxHashMap<u16, usize>,
    /// By view.
    by_view: FxHashMap<ViewIndex, usize>,
    pub comparison: Comparison,
    labels: ShareLabels,
}

/// Why the thread ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the recorder was stopped")]
    Stopped,
    #[error("the local store is to be made again")]
    Rebuilt,
    #[error(
        "the folder {0} is older than the checkpoint, as if a copy of it was put back: \
         remove it while the process is stopped, and it is made again from ClickHouse"
    )]
    Old(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

impl Work {
    pub fn new(start: RecorderStart, control: Arc<Control>) -> Self {
        let workers = start.workers.max(1);
        let relations = start.tables.relations.iter().enumerate();
        let by_view = relations.filter_map(|(place, relation)| match relation.source {
            Source::View(index) => Some((index, place)),
            Source::Grades | Source::Cohorts => None,
        });
        Self {
            by_view: by_view.collect(),
            labels: ShareLabels { share: start.share.to_string() },
            start,
            control,
            unit: None,
            since: None,
            told: (0..workers).map(|_| VecDeque::new()).collect(),
            complete: vec![None; workers],
            position: None,
            days: BTreeSet::new(),
            flushed: None,
            places: FxHashMap::default(),
            comparison: Comparison::Waiting,
        }
    }

    pub fn run(mut self) {
        let share = self.start.share;
        let failed = match self.turns() {
            Ok(()) | Err(End::Stopped | End::Rebuilt) => None,
            Err(end @ (End::Old(_) | End::Store(_) | End::Key(_) | End::Unfit(_))) => {
                let reason = format!("changes can no longer be recorded for ClickHouse: {end}");
                tracing::error!(%share, reason);
                Some(reason)
            }
        };
        self.control.inbox.close();
        let mut state = self.control.state.lock();
        state.failed = state.failed.take().or(failed).or_else(|| Some(End::Stopped.to_string()));
        state.whole = false;
        drop(state);
        self.control.done.notify_all();
    }

    fn turns(&mut self) -> Result<(), End> {
        let mut busy = false;
        loop {
            let told = self.control.inbox.take(if busy { Duration::ZERO } else { self.patience() });
            for (worker, told) in told {
                self.hear(worker, told);
            }
            let (ending, based, lost) = {
                let mut state = self.control.state.lock();
                // Under the lock: whoever rebuilds has seen it, or is seen.
                state.at_work |= state.based;
                (state.ending, state.based, state.lost)
            };
            if ending == Some(Ending::Abandon) {
                return Ok(());
            }
            if lost {
                return Err(End::Old(self.start.dir.clone()));
            }
            if based && self.unit.is_none() {
                self.begin()?;
            }
            busy = match based.then(|| self.turn(ending.is_some())) {
                Some(Ok(more)) => more,
                Some(Err(End::Rebuilt)) | None => self.lay_down(),
                Some(Err(end)) => return Err(end),
            };
            self.observe();
            if ending == Some(Ending::Close) {
                return self.close();
            }
        }
    }

    /// The local store is there: goes to work.
    fn begin(&mut self) -> Result<(), End> {
        let Control { store, outbox, tables, .. } = &*self.control;
        self.days = store.pending_days()?.into_iter().collect();
        self.places = (0..tables.relations.len()).map(|place| (store.number(place), place)).collect();
        self.unit = Some(Unit::new(Arc::clone(store), outbox.clone(), Arc::clone(tables), self.start.at));
        Ok(())
    }

    /// Uses the local store no more, until it is there again. What was not committed is found by the comparison.
    fn lay_down(&mut self) -> bool {
        (self.unit, self.since, self.position, self.flushed) = (None, None, None, None);
        self.told.iter_mut().for_each(VecDeque::clear);
        self.days.clear();
        self.comparison = Comparison::Waiting;
        let mut state = self.control.state.lock();
        if !state.based && std::mem::take(&mut state.at_work) {
            self.control.done.notify_all();
        }
        // There is nothing to do at once.
        false
    }

    fn hear(&mut self, worker: usize, told: Told) {
        match &told {
            Told::Complete(time) => {
                if let Some(complete) = self.complete.get_mut(worker) {
                    *complete = (*complete).max(Some(*time));
                }
            }
            Told::Students(..) | Told::Cohorts(..) => {
                if let Some(queue) = self.told.get_mut(worker) {
                    queue.push_back(told);
                }
            }
        }
    }

    /// Does what can be done; whether there is more to do at once.
    fn turn(&mut self, ending: bool) -> Result<bool, End> {
        if !self.control.inbox.is_wanted() {
            return Ok(false);
        }
        if let Some(complete) = self.complete.iter().min().copied().flatten() {
            self.record_until(complete)?;
            self.position = self.position.max(Some(complete));
        }
        if ending {
            return Ok(false);
        }
        let flushing = self.flush_step()?;
        let comparing = self.compare_step()?;
        let due = self.since.is_some_and(|since| since.elapsed() >= self.start.limits.block_age_max);
        if due {
            self.commit()?;
        }
        // A day that ended before a time belongs to what is recorded up to it.
        if !flushing {
            self.answer()?;
        }
        Ok(flushing || comparing)
    }

    /// Records what was told up to a time.
    fn record_until(&mut self, complete: ClockTime) -> Result<(), End> {
        let mut ready = Vec::new();
        for queue in &mut self.told {
            let count = queue.iter().take_while(|told| told.time() <= complete).count();
            ready.extend(queue.drain(..count));
        }
        ready.sort_by_key(Told::time);
        let mut epoch: Option<(ClockTime, Stamp)> = None;
        for told in ready {
            let time = told.time();
            let stamp = match epoch {
                Some((known, stamp)) if known == time => stamp,
                Some(_) | None => self.stamp(time),
            };
            epoch = Some((time, stamp));
            match told {
                Told::Students(_, changes) => {
                    for change in &changes {
                        self.student(change, time, stamp)?;
                    }
                }
                Told::Cohorts(_, changes) => {
                    for change in &changes {
                        self.cohort(change, time, stamp)?;
                    }
                }
                Told::Complete(_) => {}
            }
        }
        Ok(())
    }

    fn student(&mut self, change: &StudentChange, time: ClockTime, stamp: Stamp) -> Result<(), End> {
        let student = self.start.keys.pseudonym(&change.tenant, &change.student)?;
        let tenant = change.tenant.as_str();
        for grade in &change.grades {
            let number = self.control.store.number(GRADES);
            let of = (grade.subject.as_str(), grade.period.as_str());
            let key = rows::student_key(number, tenant, student, Some(of));
            self.change(GRADES, key, grade.after.as_ref().map(rows::grade), time, stamp)?;
        }
        for feature in &change.features {
            let Some(&place) = self.by_view.get(&feature.view) else { continue };
            let key = rows::student_key(self.control.store.number(place), tenant, student, None);
            let relation = &self.control.tables.relations[place];
            let row = feature.after.as_ref().map(|row| rows::feature(relation, row)).transpose()?;
            self.change(place, key, row, time, stamp)?;
        }
        Ok(())
    }

    fn cohort(&mut self, change: &CohortChange, time: ClockTime, stamp: Stamp) -> Result<(), End> {
        let CohortChange { tenant, subject, period, before: _, after: row } = change;
        let number = self.control.store.number(COHORTS);
        let key = rows::cohort_key(number, tenant.as_str(), subject.as_str(), period.as_str());
        self.change(COHORTS, key, row.as_deref().map(rows::cohort), time, stamp)
    }

    /// A row was told.
    fn change(
        &mut self,
        place: usize,
        key: Vec<u8>,
        row: Option<Vec<u8>>,
        time: ClockTime,
        stamp: Stamp,
    ) -> Result<(), End> {
        self.comparison.was_told(&key, key_hash(&key));
        self.put(place, key, row, time, stamp)
    }

    /// Records a row as it is at a time, or lets it wait for the end of the day.
    pub fn put(
        &mut self,
        place: usize,
        key: Vec<u8>,
        row: Option<Vec<u8>>,
        time: ClockTime,
        stamp: Stamp,
    ) -> Result<(), End> {
        let Some(unit) = &mut self.unit else { return Ok(()) };
        match self.control.tables.relations[place].cadence {
            Cadence::Changes => unit.record(place, &key, row.as_deref(), stamp)?,
            Cadence::Daily => {
                let day = day_of(stamp.clock);
                self.days.insert(day);
                unit.put_pending(day, key, row);
            }
        }
        if !unit.is_empty() {
            unit.changed_at(time.0);
            self.since.get_or_insert_with(Instant::now);
        }
        let limits = &self.start.limits;
        if unit.rows() >= limits.block_rows_max || unit.bytes() >= limits.block_bytes_max {
            self.commit()?;
        }
        Ok(())
    }

    /// A stamp for what is recorded at a time.
    pub fn stamp(&mut self, time: ClockTime) -> Stamp {
        match &mut self.unit {
            Some(unit) => unit.stamp(time.clock(), time.0),
            None => Stamp { clock: time.clock(), version: time.0 },
        }
    }

    /// Records some of what waits for a day that has ended, as of the midnight that ended it; whether there is more.
    fn flush_step(&mut self) -> Result<bool, End> {
        let Some(position) = self.position else { return Ok(false) };
        let Some(day) = self.days.first().copied().filter(|day| *day < day_of(position.clock())) else {
            return Ok(false);
        };
        self.commit()?;
        let Some(unit) = &mut self.unit else { return Ok(false) };
        let waiting = self.control.store.pending_after(day, self.flushed.as_ref(), FLUSH_ROWS)?;
        let midnight = Millis((i64::from(day) + 1) * DAY_MS);
        let stamp = unit.stamp_of_past(midnight);
        for row in &waiting {
            // Rows of a view that is not kept any more have nowhere to go.
            if let Some(place) = self.places.get(&row.number()) {
                unit.record(*place, row.key(), row.row.as_deref(), stamp)?;
            }
        }
        self.flushed = waiting.last().map(|row| row.stored_key.clone());
        if waiting.len() < FLUSH_ROWS {
            self.days.remove(&day);
            self.flushed = None;
        }
        if !waiting.is_empty() {
            unit.changed_at(position.0);
            unit.flushed(waiting);
        }
        self.commit()?;
        Ok(true)
    }

    /// The place of the relation with a number; `None`: it is not kept any more.
    pub fn place(&self, number: u16) -> Option<usize> {
        self.places.get(&number).copied()
    }

    /// A row as it is known here.
    pub fn known(&self, place: usize, key: &[u8]) -> Result<Option<Vec<u8>>, End> {
        let days: Vec<u32> = self.days.iter().copied().collect();
        let known = self.unit.as_ref().map(|unit| unit.known(place, &days, key));
        Ok(known.transpose()?.flatten())
    }

    /// Commits what there is. Waits while too much is to be sent, and tries until the disk takes it.
    pub fn commit(&mut self) -> Result<(), End> {
        let Some(unit) = self.unit.as_mut().filter(|unit| !unit.is_empty()) else { return Ok(()) };
        let limit = self.start.limits.outbox_bytes_max;
        while !self.control.outbox.wait_below(limit, Duration::ZERO) {
            let trouble = "more waits for ClickHouse than the outbox may hold: check that ClickHouse can be reached";
            self.control.is_stuck(trouble)?;
            self.control.outbox.wait_below(limit, LOOK);
        }
        self.start.metrics.differences.inc_by(unit.take_differences());
        while let Err(error) = unit.commit() {
            self.control.is_stuck(&error.to_string())?;
            self.control.outbox.wait_below(0, RETRY);
        }
        self.control.state.lock().trouble = None;
        self.since = None;
        Ok(())
    }

    /// Tells whoever waits how far everything is on the disk.
    fn answer(&mut self) -> Result<(), End> {
        let Some(position) = self.position else { return Ok(()) };
        let asked = {
            let state = self.control.state.lock();
            state.reached.is_none_or(|reached| reached < state.wanted) && state.wanted <= position.0
        };
        if asked {
            self.commit()?;
            self.keep(position, None)?;
            self.control.state.lock().reached = Some(position.0);
            self.control.done.notify_all();
        }
        Ok(())
    }

    /// Writes that everything up to a time is on the disk, once it is.
    fn keep(&mut self, position: ClockTime, closed: Option<String>) -> Result<(), End> {
        let Some(unit) = &mut self.unit else { return Ok(()) };
        let meta = unit.meta_mut();
        meta.reached = position.0;
        meta.closed = closed;
        // The journal holds one after the other: what is before this on the disk is there as well.
        unit.commit()?;
        self.control.store.sync()?;
        Ok(())
    }

    /// What was told completely is recorded, and the store says that it was closed in order.
    fn close(&mut self) -> Result<(), End> {
        let whole = self.control.state.lock().whole;
        self.commit()?;
        if let Some(position) = self.position {
            self.keep(position, whole.then(|| self.control.made_by()))?;
        }
        Ok(())
    }

    /// How long the thread may wait for what workers tell.
    fn patience(&self) -> Duration {
        let age = self.start.limits.block_age_max;
        self.since.map_or(LOOK, |since| age.saturating_sub(since.elapsed()).min(LOOK))
    }

    fn observe(&self) {
        let metrics = &self.start.metrics;
        let labels = &self.labels;
        metrics.outbox_blocks.get_or_create(labels).set(self.control.outbox.blocks() as i64);
        metrics.outbox_bytes.get_or_create(labels).set(self.control.outbox.bytes() as i64);
        metrics.waiting.get_or_create(labels).set(self.control.inbox.rows() as i64);
        metrics.comparing.get_or_create(labels).set(self.comparison.left() as i64);
    }
}

impl Control {
    /// Says what is in the way; an error where nobody should wait for it.
    fn is_stuck(&self, trouble: &str) -> Result<(), End> {
        let mut state = self.state.lock();
        if state.ending.is_some() {
            return Err(End::Stopped);
        }
        if !state.based {
            return Err(End::Rebuilt);
        }
        if state.trouble.as_deref() != Some(trouble) {
            tracing::warn!(share = %self.share, trouble, "changes cannot be recorded for ClickHouse; trying on");
            state.trouble = Some(trouble.to_owned());
        }
        Ok(())
    }
}

/// Places that every plan's tables have.
pub(crate) const GRADES: usize = 0;
pub(crate) const COHORTS: usize = 1;

/// The day of UTC that holds a clock. Clocks before 1970 or after 2527 are none.
pub(crate) fn day_of(clock: Millis) -> u32 {
    u32::try_from(clock.0.div_euclid(DAY_MS)).unwrap_or(0)
}
