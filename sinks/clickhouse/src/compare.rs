//! The comparison after a start: every row that is shown against what was recorded, and what was recorded against what is shown.
//! It takes the same way whatever happened before: a crash, an older checkpoint, another configuration, a rebuild, a first start.
//!
//! The serving store is ahead of what was recorded: it may show changes that workers have told and that were not taken yet. So
//! what is found to differ is a *candidate* at first, with the row that was seen. Any change that is told of the same key
//! overrules it. Once everything is recorded up to the newest time that the row could be of, nothing that is still to come can have
//! been in it: what is left then is recorded, at the recorder's position.
//!
//! It goes in steps, between which changes are recorded as they come.

use crate::rows;
use crate::tables::Source;
use crate::work::{COHORTS, End, GRADES, Work};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_serving::CohortQuery;
use fjall::Slice;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Students whose names are fetched at once.
const FETCH_STUDENTS: usize = 65_536;
/// Students compared in one step.
const STEP_STUDENTS: usize = 2_048;
/// Cohorts of a tenant, at most: more than it can have.
const COHORTS_MAX: usize = usize::MAX;
/// Recorded rows looked at in one step.
const STEP_ROWS: usize = 8_192;

/// Where the comparison is.
pub(crate) enum Comparison {
    /// The store has not caught up yet.
    Waiting,
    /// Under way.
    Running(Box<Running>),
    /// There is nothing left to compare.
    Done,
}

pub(crate) struct Running {
    stage: Stage,
    /// What seems to differ: the relation, and the row that was seen.
    candidates: FxHashMap<Vec<u8>, (usize, Option<Vec<u8>>)>,
    /// They count once everything up to this time is recorded.
    until: u64,
    /// Hashes of the students, and of the cohorts' keys, that are shown.
    seen: FxHashSet<u64>,
    /// Hashes of the keys that were told meanwhile.
    told: FxHashSet<u64>,
    /// Only cohorts: the rest was told.
    cohorts_only: bool,
    begun: Instant,
    left: usize,
    found: u64,
}

enum Stage {
    /// Waits until everything that was not told is in the serving store.
    Settling,
    /// Students of a part that are still to be compared.
    Students { part: u64, parts: u64, fetched: VecDeque<(TenantId, StudentId)> },
    /// Tenants whose cohorts are.
    Cohorts(Vec<TenantId>),
    /// What was recorded of the relations from this place on, after a key.
    Recorded(usize, Option<Vec<u8>>),
    /// What waits for the end of these days, the last first, after a stored key.
    Pending(Vec<u32>, Option<Slice>),
}

/// A key's hash, and a student's.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

impl Comparison {
    /// A row was told: it needs no comparison.
    pub fn was_told(&mut self, key: &[u8], hash: u64) {
        if let Self::Running(running) = self {
            running.told.insert(hash);
            running.candidates.remove(key);
        }
    }

    /// Students that are still to be looked at.
    pub fn left(&self) -> usize {
        match self {
            Self::Running(running) => running.left,
            Self::Waiting | Self::Done => 0,
        }
    }
}

impl Work {
    /// Does a step; whether another one can follow at once.
    pub fn compare_step(&mut self) -> Result<bool, End> {
        let mut running = match std::mem::replace(&mut self.comparison, Comparison::Done) {
            Comparison::Done => return Ok(false),
            Comparison::Waiting => {
                self.comparison = self.start_comparing();
                return Ok(matches!(self.comparison, Comparison::Running(_)));
            }
            Comparison::Running(running) => running,
        };
        let Some(position) = self.position.filter(|position| position.0 >= running.until) else {
            self.comparison = Comparison::Running(running);
            return Ok(false);
        };
        if !running.candidates.is_empty() {
            let stamp = self.stamp(position);
            running.found += running.candidates.len() as u64;
            for (key, (place, row)) in running.candidates.drain() {
                self.put(place, key, row, position, stamp)?;
            }
        }
        // What is not committed is not found by a look at the store.
        self.commit()?;
        if self.look(&mut running)? {
            // After the look: what it saw is of this time at most.
            running.until = self.control.inbox.newest();
            self.comparison = Comparison::Running(running);
            (self.start.at)("clickhouse.compared");
            return Ok(true);
        }
        let share = self.start.share;
        let (seconds, differences) = (running.begun.elapsed().as_secs_f64(), running.found);
        tracing::info!(%share, seconds, differences, "what is shown was compared with what was recorded for ClickHouse");
        let mut state = self.control.state.lock();
        state.whole = !state.released;
        Ok(false)
    }

    fn start_comparing(&self) -> Comparison {
        let state = self.control.state.lock();
        if !state.caught_up {
            return Comparison::Waiting;
        }
        let cohorts_only = state.in_step;
        drop(state);
        let left = if cohorts_only { 0 } else { self.start.store.students() };
        tracing::info!(share = %self.start.share, students = left, "comparing what is shown with what was recorded for ClickHouse");
        Comparison::Running(Box::new(Running {
            stage: Stage::Settling,
            candidates: FxHashMap::default(),
            until: self.control.inbox.newest(),
            seen: FxHashSet::default(),
            told: FxHashSet::default(),
            cohorts_only,
            begun: Instant::now(),
            left,
            found: 0,
        }))
    }

    /// Looks at some rows, and goes to the next stage where there are none left. False where that was the last.
    fn look(&mut self, running: &mut Running) -> Result<bool, End> {
        let next = match &mut running.stage {
            Stage::Settling if running.cohorts_only => Some(Stage::Cohorts(self.start.store.cohort_tenants())),
            Stage::Settling => {
                let parts = self.start.store.students() / FETCH_STUDENTS + 1;
                Some(Stage::Students { part: 0, parts: parts as u64, fetched: VecDeque::new() })
            }
            Stage::Students { part, parts, fetched } => {
                if fetched.is_empty() && *part < *parts {
                    *fetched = self.start.store.part_of_students(*part, *parts).into();
                    *part += 1;
                }
                let step: Vec<_> = fetched.drain(..fetched.len().min(STEP_STUDENTS)).collect();
                let last = step.is_empty() && *part >= *parts;
                running.left = running.left.saturating_sub(step.len());
                for (tenant, student) in &step {
                    self.look_at_student(running, tenant, student)?;
                }
                last.then(|| Stage::Cohorts(self.start.store.cohort_tenants()))
            }
            Stage::Cohorts(tenants) => match tenants.pop() {
                Some(tenant) => {
                    self.look_at_cohorts(running, &tenant)?;
                    None
                }
                None => Some(Stage::Recorded(if running.cohorts_only { COHORTS } else { 0 }, None)),
            },
            Stage::Recorded(place, after) => {
                let (place, after) = (*place, after.take());
                let last = self.look_at_recorded(running, place, after.as_deref())?;
                Some(match (last, running.cohorts_only || place + 1 >= self.control.tables.relations.len()) {
                    (Some(last), _) => Stage::Recorded(place, Some(last)),
                    (None, false) => Stage::Recorded(place + 1, None),
                    (None, true) => Stage::Pending(self.days.iter().copied().collect(), None),
                })
            }
            Stage::Pending(days, after) => {
                let after = after.take();
                let Some(day) = days.last().copied() else { return Ok(false) };
                let mut days = std::mem::take(days);
                let last = self.look_at_pending(running, day, after.as_ref())?;
                if last.is_none() {
                    days.pop();
                }
                Some(Stage::Pending(days, last))
            }
        };
        if let Some(next) = next {
            running.stage = next;
        }
        Ok(true)
    }

    /// A row as it is shown: a candidate if something else is known.
    fn see(&self, running: &mut Running, place: usize, key: Vec<u8>, shown: Option<Vec<u8>>) -> Result<(), End> {
        if self.known(place, &key)? != shown {
            running.candidates.insert(key, (place, shown));
        }
        Ok(())
    }

    fn look_at_student(&self, running: &mut Running, tenant: &TenantId, student: &StudentId) -> Result<(), End> {
        let Some(profile) = self.start.store.profile(tenant, student) else { return Ok(()) };
        let pseudonym = self.start.keys.pseudonym(tenant, student)?;
        let key =
            |place: usize, of| rows::student_key(self.control.store.number(place), tenant.as_str(), pseudonym, of);
        let of_student = key(GRADES, None);
        running.seen.insert(key_hash(rows::owner(&of_student)));
        let recorded = self.control.store.rows_after(&of_student, None, usize::MAX)?;
        let mut recorded: FxHashMap<Vec<u8>, Slice> = recorded.into_iter().collect();
        for grade in profile.grades() {
            let key = key(GRADES, Some((grade.subject.as_str(), grade.period.as_str())));
            let shown = rows::grade(&grade.row);
            if recorded.remove(&key).as_deref() != Some(shown.as_slice()) {
                running.candidates.insert(key, (GRADES, Some(shown)));
            }
        }
        // What was let go is not in memory, and is there all the same.
        let was_let_go = |key: &Vec<u8>| {
            rows::subject_and_period(key).is_some_and(|(subject, period)| profile.was_let_go(subject, period))
        };
        let gone = recorded.into_keys().filter(|key| !was_let_go(key));
        running.candidates.extend(gone.map(|key| (key, (GRADES, None))));
        for (place, relation) in self.control.tables.relations.iter().enumerate() {
            let Source::View(view) = relation.source else { continue };
            let row = profile.rows().find(|(own, _)| *own == view);
            let shown = row.map(|(_, row)| rows::feature(relation, row)).transpose()?;
            self.see(running, place, key(place, None), shown)?;
        }
        Ok(())
    }

    fn look_at_cohorts(&self, running: &mut Running, tenant: &TenantId) -> Result<(), End> {
        let query = CohortQuery { limit: COHORTS_MAX, ..CohortQuery::default() };
        for entry in self.start.store.cohorts(tenant, query) {
            let number = self.control.store.number(COHORTS);
            let key = rows::cohort_key(number, tenant.as_str(), entry.subject.as_str(), entry.period.as_str());
            running.seen.insert(key_hash(&key));
            self.see(running, COHORTS, key, Some(rows::cohort(&entry.cohort)))?;
        }
        Ok(())
    }

    /// Recorded rows that are not shown. Answers the last key, if there may be more.
    fn look_at_recorded(
        &self,
        running: &mut Running,
        place: usize,
        after: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, End> {
        let number = self.control.store.number(place).to_be_bytes();
        let step = self.control.store.rows_after(&number, after, STEP_ROWS)?;
        let last = step.last().filter(|_| step.len() == STEP_ROWS).map(|(key, _)| key.clone());
        for (key, _) in step {
            self.look_if_shown(running, place, key)?;
        }
        Ok(last)
    }

    /// The same of what waits for the end of a day.
    fn look_at_pending(&self, running: &mut Running, day: u32, after: Option<&Slice>) -> Result<Option<Slice>, End> {
        let step = self.control.store.pending_after(day, after, STEP_ROWS)?;
        let last = step.last().filter(|_| step.len() == STEP_ROWS).map(|waiting| waiting.stored_key.clone());
        for waiting in &step {
            if let Some(place) = self.place(waiting.number())
                && (!running.cohorts_only || place == COHORTS)
            {
                self.look_if_shown(running, place, waiting.key().to_vec())?;
            }
        }
        Ok(last)
    }

    fn look_if_shown(&self, running: &mut Running, place: usize, key: Vec<u8>) -> Result<(), End> {
        let of_students = self.control.tables.relations[place].source.is_of_students();
        let whose = if of_students { key_hash(rows::owner(&key)) } else { key_hash(&key) };
        if running.seen.contains(&whose) || running.told.contains(&key_hash(&key)) {
            return Ok(());
        }
        self.see(running, place, key, None)
    }
}
