//! Every view recomputed from the log, by its definition: lists of events, filters, sorting, adding up. Nothing here knows
//! panes that are kept, differences or dataflows; what it has in common with them is the language: how records are decoded,
//! how an expression is evaluated, and the grade function. Slow, and simple enough to be believed: `aulaflow verify`
//! compares the running views with it.
//!
//! What follows from a window is recomputed at any clock that is asked for. What only history knows is not recomputed: when
//! a row changed last, and how often.

mod events;
mod grades;
mod rows;

use crate::dead_letters::Class;
use crate::layout::Layout;
use crate::shared::Home;
use crate::state::KnownSlots;
use aulaflow_log::{Log, LogError, Offset, RecordRef, RecordSet, TopicPartition};
use aulaflow_model::change::{FeatureValue, ViewIndex};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::event::{Evaluation, tenant_of_key};
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic::{self, Input};
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use events::{Events, Seen};
use grades::TenantGrades;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes read from the log at a time.
const READ_BYTES: usize = 4 << 20;
/// How long to wait for records that the log said it has.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// Grades by subject and period.
pub type Grades = BTreeMap<(Subject, PeriodId), Arc<Grade>>;

/// A row of a view: values, and of a session its first event and its end.
pub type Row = (Arc<[FeatureValue]>, Option<(Millis, Millis)>);

/// A student's views, recomputed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recomputed {
    /// Grades.
    pub grades: Grades,
    /// Rows of the served views over events and over other views, by view.
    pub features: BTreeMap<ViewIndex, Row>,
    /// Views whose rows cannot be told from the log, and why.
    pub untold: BTreeMap<ViewIndex, &'static str>,
}

/// Where a source partition was read.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Where its records begin: before it some may have been removed.
    pub start: Offset,
    /// When the log took the first one that it has, if any was removed before it.
    pub reaches_back_to: Option<Millis>,
    /// Records before this offset are in the recomputation.
    pub next: Offset,
}

/// The records that cannot be used, by source topic and partition, in the order of offsets.
pub type Letters = BTreeMap<(&'static str, u32), Vec<(Offset, Class)>>;

/// The recomputation of a log.
pub struct Batch {
    plan: Arc<Plan>,
    layout: Layout,
    /// By view and aggregate: the places of its arguments among the values kept of an event.
    arguments: rows::Arguments,
    live: bool,
    share: Share,
    /// Where a tenant's records must be, if each partition has an engine of its own.
    home: Option<Home>,
    /// Events that no window needs from this clock on are not kept.
    from: Millis,
    events: Events,
    /// By partition and table.
    seen: BTreeMap<(u32, usize), Seen>,
    /// By partition: the latest timestamp, or on the event clock the highest event time.
    high: BTreeMap<u32, Millis>,
    lateness_ms: i64,
    bytes_max: usize,
    tenants: FxHashMap<TenantId, Tenant>,
    reached: BTreeMap<(&'static str, u32), Reached>,
    letters: Letters,
    limited: FxHashSet<(TenantId, StudentId)>,
}

/// What is known of one tenant.
#[derive(Default)]
struct Tenant {
    grades: TenantGrades,
    students: FxHashMap<StudentId, Student>,
}

/// What is known of one student's events.
#[derive(Default)]
struct Student {
    /// Events in the order of the log, encoded.
    events: Vec<u8>,
    /// The partition's number: a tenant's records of every topic have the same.
    partition: u32,
    /// Where the last event stands.
    last: Option<Offset>,
    /// On the event clock: whether an event counted or not may depend on when it was read.
    doubtful: bool,
}

impl Batch {
    /// Nothing read yet. `from`: the earliest clock that will be asked for.
    pub fn new(plan: Arc<Plan>, from: Millis) -> Self {
        let layout = Layout::new(&plan, &KnownSlots::default());
        let events = Events::new(&plan, &layout);
        let live = plan.runtime.engine.clock == ClockMode::Live;
        Self {
            layout,
            live,
            share: Share::All,
            home: None,
            from,
            events,
            seen: BTreeMap::new(),
            high: BTreeMap::new(),
            lateness_ms: plan.tables.iter().map(|table| table.lateness_ms).max().unwrap_or(0),
            bytes_max: plan.runtime.engine.record_bytes_max,
            arguments: rows::arguments_of(&plan),
            tenants: FxHashMap::default(),
            reached: BTreeMap::new(),
            letters: Letters::new(),
            limited: FxHashSet::default(),
            plan,
        }
    }

    /// What engines over one partition each show: those of `share`, which alone are read. To such an engine a tenant's record
    /// that is not in the tenant's partition (`home`) is of no use.
    #[must_use]
    pub fn in_parts(self, share: Share, home: Home) -> Self {
        Self { share, home: Some(home), ..self }
    }

    /// Reads every source partition on to where it ends now, or to the given ends. `progress` hears of records read. Where it
    /// ends is asked anew: whatever anybody was shown before the call is of a record that is read.
    pub fn read(
        &mut self,
        log: &dyn Log,
        ends: Option<&BTreeMap<(&'static str, u32), Offset>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), LogError> {
        let share = self.share;
        for (_, source) in topic::inputs() {
            for partition in (0..log.partitions(source)?).filter(|partition| share.has(*partition)) {
                let place = TopicPartition { topic: source.to_owned(), partition };
                let end = match ends.and_then(|ends| ends.get(&(source, partition))) {
                    Some(end) => *end,
                    None => log.ask_bounds(&place)?.1,
                };
                self.read_partition(log, source, &place, end, progress)?;
                log.release(&place);
            }
        }
        Ok(())
    }

    fn read_partition(
        &mut self,
        log: &dyn Log,
        source: &'static str,
        place: &TopicPartition,
        end: Offset,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), LogError> {
        let key = (source, place.partition);
        let start = log.start_offset(place)?;
        let known = self.reached.entry(key).or_insert(Reached { start, reaches_back_to: None, next: start });
        let mut next = known.next;
        let (mut seen, mut heard) = (0, Instant::now());
        while next < end {
            let fetched = log.read(place, next, READ_BYTES)?;
            if fetched.next_offset == next {
                if heard.elapsed() > READ_PATIENCE {
                    let text = format!("{source}/{} gives no records from offset {next} on", place.partition);
                    return Err(LogError::Unavailable(text));
                }
                seen = log.wait(seen, Duration::from_millis(50));
                continue;
            }
            heard = Instant::now();
            let before = |record: &RecordRef<'_>| fetched.base_offset + u64::from(record.index) < end;
            let count = fetched.records.iter().take_while(before).count();
            let records = fetched.records.slice(0, u32::try_from(count).unwrap_or(u32::MAX));
            self.take(source, place.partition, fetched.base_offset, &records);
            next = fetched.next_offset.min(end);
            if let Some(reached) = self.reached.get_mut(&key) {
                reached.next = next;
            }
            progress(count as u64);
        }
        Ok(())
    }

    /// Takes records of a source partition, each once and in the order of their offsets. What is no input is not read.
    pub fn take(&mut self, source: &'static str, partition: u32, base_offset: Offset, records: &RecordSet) {
        let Some(input) = topic::find(source).and_then(|topic| topic.input) else { return };
        let place = (source, partition);
        let reached = self.reached.entry(place).or_insert(Reached {
            start: base_offset,
            reaches_back_to: None,
            next: base_offset,
        });
        if reached.start > 0 && reached.reaches_back_to.is_none() {
            reached.reaches_back_to = records.iter().next().map(|record| record.timestamp);
        }
        for record in records.iter() {
            let offset = base_offset + u64::from(record.index);
            let outcome = if record.key.len() + record.value.map_or(0, <[u8]>::len) > self.bytes_max {
                Err(Class::Size)
            } else if self.is_misplaced(input, partition, &record) {
                Err(Class::Partition)
            } else {
                match input {
                    Input::Tenants => self.tenant(&record, offset),
                    Input::Evaluations => self.evaluation(&record, partition, offset),
                    Input::Behavior => self.behavior(&record, partition, offset),
                }
            };
            if let Err(class) = outcome {
                self.letters.entry(place).or_default().push((offset, class));
            }
        }
    }

    /// Whether another engine has the tenant's other records. As the engines do, it is asked before a value is decoded.
    fn is_misplaced(&self, input: Input, partition: u32, record: &RecordRef<'_>) -> bool {
        let Some(home) = &self.home else { return false };
        // What cannot be deleted is refused for that.
        if record.value.is_none() && input != Input::Evaluations {
            return false;
        }
        // Of an event's key only the tenant's name is read.
        let end = record.key.iter().position(|byte| *byte == b'/' && input == Input::Behavior);
        let key = record.key.get(..end.unwrap_or(record.key.len()));
        key.and_then(tenant_of_key).is_some_and(|tenant| home(tenant.as_str()) != partition)
    }

    fn tenant(&mut self, record: &RecordRef<'_>, offset: Offset) -> Result<(), Class> {
        let (tenant, config) = grades::decode_tenant(record)?;
        self.tenants.entry(tenant).or_default().grades.configure(config, offset);
        Ok(())
    }

    fn evaluation(&mut self, record: &RecordRef<'_>, partition: u32, offset: Offset) -> Result<(), Class> {
        let (tenant, id, value) = grades::decode_evaluation(record)?;
        let ahead = |value: &Evaluation| value.updated_ahead(record.timestamp, self.events.max_skew_ms).is_some();
        if self.live && value.as_ref().is_some_and(ahead) {
            return Err(Class::Future);
        }
        let tenant = self.tenants.entry(tenant).or_default();
        for student in tenant.grades.apply(id, value, offset) {
            tenant.students.entry(student).or_default().partition = partition;
        }
        Ok(())
    }

    fn behavior(&mut self, record: &RecordRef<'_>, partition: u32, offset: Offset) -> Result<(), Class> {
        let (tenant, event) = events::decode(record)?;
        let high = self.high.entry(partition).or_insert(Millis(i64::MIN / 4));
        // On the event clock the highest event time before it, less the lateness: as far as one partition can tell.
        let accepted = if self.live { record.timestamp } else { Millis(high.0.saturating_sub(self.lateness_ms)) };
        *high = if self.live { accepted.max(*high) } else { event.occurred_at.max(*high) };
        let high = *high;
        if self.live && event.occurred_at.0 > accepted.0.saturating_add(self.events.max_skew_ms) {
            return Err(Class::Future);
        }
        let Ok(student_id) = StudentId::new(event.student_id.as_ref()) else { return Err(Class::Schema) };
        let student = self.tenants.entry(tenant.clone()).or_default().students.entry(student_id).or_default();
        (student.partition, student.last) = (partition, Some(offset));
        let id = events::identity(&tenant, &event);
        let (mut late, mut failed) = (self.events.any(), false);
        for program in 0..self.events.tables() {
            let judged = self.events.judge(program, &event, accepted);
            late &= judged.late;
            failed |= judged.failed;
            if judged.counts.is_empty() {
                continue;
            }
            let mut new = true;
            if let Some(horizon) = self.events.horizon_ms(program) {
                let seen = self.seen.entry((partition, program)).or_insert_with(|| Seen::new(horizon));
                let doubtful;
                (new, doubtful) = seen.is_new(id, event.occurred_at, (accepted, high), self.live);
                student.doubtful |= doubtful;
            }
            if new {
                self.events.keep(program, &event, &judged, self.from, &mut student.events);
            }
        }
        match (late, failed) {
            (true, _) => Err(Class::Late),
            (false, true) => Err(Class::Expression),
            (false, false) => Ok(()),
        }
    }

    /// Says that an event of a student was refused because a set was full: which one depends on when, so that the views
    /// that count distinct values cannot be told.
    pub fn limited(&mut self, tenant: TenantId, student: StudentId) {
        self.limited.insert((tenant, student));
    }

    /// Everybody who has an event or an evaluation on the log, in order.
    pub fn students(&self) -> BTreeMap<TenantId, BTreeSet<StudentId>> {
        let with_students = self.tenants.iter().filter(|(_, tenant)| !tenant.students.is_empty());
        with_students.map(|(id, tenant)| (id.clone(), tenant.students.keys().cloned().collect())).collect()
    }

    /// A student's views at a clock.
    pub fn student(&self, tenant: &TenantId, student: &StudentId, clock: Millis) -> Recomputed {
        let Some(known) = self.tenants.get(tenant) else { return Recomputed::default() };
        let grades = known.grades.of_student(student, clock);
        let Some(own) = known.students.get(student) else {
            return Recomputed { grades, ..Recomputed::default() };
        };
        let events = events::decode_kept(&own.events);
        let features = self.rows().at(&events, clock);
        let limited = self.limited.contains(&(tenant.clone(), student.clone()));
        let untold = self.untold(own, &events, clock, limited);
        Recomputed { grades, features, untold }
    }

    fn rows(&self) -> rows::Rows<'_> {
        rows::Rows { plan: &self.plan, layout: &self.layout, arguments: &self.arguments }
    }

    fn untold(
        &self,
        student: &Student,
        events: &[events::Kept],
        clock: Millis,
        limited: bool,
    ) -> BTreeMap<ViewIndex, &'static str> {
        let reached = self.reached.get(&(topic::BEHAVIOR, student.partition)).filter(|reached| reached.start > 0);
        // Whoever needs events from before this may miss some.
        let whole_from = reached.map(|reached| match reached.reaches_back_to.filter(|_| self.live) {
            Some(back) => Millis(back.0.saturating_add(self.events.max_skew_ms)),
            None => Millis(i64::MAX),
        });
        let mut untold = BTreeMap::new();
        for index in 0..self.plan.views.len() {
            let Some(from) = self.rows().needs_from(index, clock) else { continue };
            if whole_from.is_some_and(|whole| from < whole) {
                untold.insert(index as ViewIndex, "the log does not reach back to the start of its window any more");
            } else if self.rows().counts_distinct(index) && (limited || self.rows().may_be_full(index, events)) {
                untold.insert(
                    index as ViewIndex,
                    "a set of distinct values was full, and which events found it full depends on when",
                );
            } else if student.doubtful {
                untold.insert(
                    index as ViewIndex,
                    "event ids were repeated so far apart that the event clock's readings decide",
                );
            }
        }
        untold
    }

    /// The first instant after a tenant's period, by its newest calendar; `None`: it does not have it.
    pub fn period_end(&self, tenant: &TenantId, period: &PeriodId) -> Option<Millis> {
        self.tenants.get(tenant)?.grades.period_end(period)
    }

    /// A tenant's cohorts at a clock.
    pub fn cohorts(&self, tenant: &TenantId, clock: Millis) -> BTreeMap<(Subject, PeriodId), Cohort> {
        self.tenants.get(tenant).map(|known| known.grades.cohorts(clock)).unwrap_or_default()
    }

    /// A number that changes whenever a tenant's grades may, schedules aside.
    pub fn grades_changed(&self, tenant: &TenantId) -> u64 {
        self.tenants.get(tenant).map_or(0, |known| known.grades.changes())
    }

    /// Whether all records that decide on a student's views stand before these offsets: nothing that may or may not have
    /// been visible.
    pub fn settled(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        visible: &dyn Fn(&'static str) -> Option<Offset>,
    ) -> bool {
        let Some(known) = self.tenants.get(tenant) else { return true };
        let before = |topic, offset: Option<Offset>| {
            offset.is_none_or(|offset| visible(topic).is_some_and(|visible| offset < visible))
        };
        let events = known.students.get(student).and_then(|own| own.last);
        before(topic::BEHAVIOR, events)
            && before(topic::EVALUATIONS, known.grades.last_evaluation())
            && before(topic::TENANTS, known.grades.last_config())
    }

    /// The dead letters that there must be.
    pub fn letters(&self) -> &Letters {
        &self.letters
    }

    /// How far each source partition was read.
    pub fn reached(&self) -> &BTreeMap<(&'static str, u32), Reached> {
        &self.reached
    }
}
