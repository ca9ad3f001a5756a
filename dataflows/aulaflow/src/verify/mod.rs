//! The running views against a recomputation of the log: what is read, compared and reported. Where what is shown comes
//! from is in `shown`, how the recomputation becomes profiles in `expected`, the dead letters in `letters`.

mod expected;
mod letters;
mod offline;
mod past;
mod report;
mod shown;

pub use offline::offline;
pub use report::{Difference, Report};
pub use shown::{Http, InProcess, Shown};

use crate::progress::Progress;
use anyhow::{Context, Result};
use aulaflow_engine::batch::Batch;
use aulaflow_engine::home;
use aulaflow_log::{Log, Offset, TopicPartition};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::LogKind;
use expected::Expected;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Students compared at once: as many as one call answers.
const STUDENTS: usize = 500;
/// How often something that differs, and may only have moved meanwhile, is looked at again.
const ROUNDS: usize = 20;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Per source partition, an offset.
pub type Offsets = BTreeMap<(&'static str, u32), Offset>;

/// A verification under way.
pub struct Verifier<'a> {
    plan: Arc<Plan>,
    log: &'a dyn Log,
    shown: &'a dyn Shown,
    batch: Batch,
    expected: Expected,
    report: Report,
    dump: Option<Box<dyn Write + 'a>>,
}

/// What one look at a student found.
struct Looked {
    /// As recomputed.
    profile: Value,
    /// What is equal: kinds.
    same: Vec<&'static str>,
    /// Why something cannot be told.
    untold: Vec<&'static str>,
    differences: Vec<Difference>,
}

/// Letters of the classes that depend on the configuration count only from here on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope {
    /// Since when the configuration is the present one; `None`: always.
    pub configured_since: Option<Millis>,
}

/// Whose views are recomputed.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    /// Those of one engine, which has all partitions.
    One,
    /// Those of engines that have one partition each: of this one, or of all.
    Each(Share),
}

impl Whose {
    /// What the instances of a configuration run.
    pub fn all(plan: &Plan) -> Self {
        match &plan.runtime.log.kind {
            LogKind::Kafka(kafka) if kafka.scale_out => Self::Each(Share::All),
            LogKind::Kafka(_) | LogKind::Embedded => Self::One,
        }
    }

    /// The partitions that are read.
    fn share(self) -> Share {
        match self {
            Self::One => Share::All,
            Self::Each(share) => share,
        }
    }
}

/// Reads the log into a recomputation. `from`: the earliest clock that will be asked for.
pub fn recompute(plan: &Arc<Plan>, log: &Arc<dyn Log>, whose: Whose, from: Millis) -> Result<Batch> {
    let batch = Batch::new(Arc::clone(plan), from);
    let mut batch = match whose {
        Whose::One => batch,
        Whose::Each(share) => batch.in_parts(share, home(log)?),
    };
    let progress = Progress::start("reading the log", Some(records(log.as_ref(), whose.share())?));
    batch.read(log.as_ref(), None, &mut |records| progress.advance(records)).context("the log cannot be read")?;
    progress.finish();
    Ok(batch)
}

/// About how many records the source topics hold.
fn records(log: &dyn Log, share: Share) -> Result<u64> {
    let mut records = 0;
    for (_, source) in topic::inputs() {
        for partition in (0..log.partitions(source)?).filter(|partition| share.has(*partition)) {
            let place = TopicPartition { topic: source.to_owned(), partition };
            records += log.end_offset(&place)?.saturating_sub(log.start_offset(&place)?);
        }
    }
    Ok(records)
}

/// Compares what is shown with a recomputation. `due`: dead letters of records from these offsets on need not be there yet.
pub fn compare<'a>(
    plan: &Arc<Plan>,
    log: &'a dyn Log,
    batch: Batch,
    shown: &'a dyn Shown,
    (due, scope): (Option<&Offsets>, Scope),
    dump: Option<Box<dyn Write + 'a>>,
) -> Result<Report> {
    let report = Report::new(plan, &batch);
    let expected = Expected::new(plan);
    let mut verifier = Verifier { plan: Arc::clone(plan), log, shown, batch, expected, report, dump };
    verifier.letters_refused_for_a_limit()?;
    let tenants = verifier.batch.students();
    let total = tenants.values().map(|students| students.len() as u64).sum();
    let progress = Progress::start("comparing students", Some(total));
    for (tenant, students) in tenants {
        let students: Vec<StudentId> = students.into_iter().collect();
        for some in students.chunks(STUDENTS) {
            verifier.students(&tenant, some)?;
            progress.advance(some.len() as u64);
        }
        verifier.cohorts(&tenant)?;
    }
    progress.finish();
    verifier.nobody_else()?;
    verifier.dead_letters(due, scope)?;
    if let Some(dump) = &mut verifier.dump {
        dump.flush().context("the dump cannot be written")?;
    }
    Ok(verifier.report)
}

impl Verifier<'_> {
    /// Reads on to where the log ends now: nothing shown before can be of a later record.
    fn catch_up(&mut self) -> Result<()> {
        if self.shown.moves() {
            self.batch.read(self.log, None, &mut |_| {}).context("the log cannot be read on")?;
        }
        Ok(())
    }

    /// Compares some students of a tenant, again and again while what differs may only have moved.
    fn students(&mut self, tenant: &TenantId, students: &[StudentId]) -> Result<()> {
        let mut left = students.to_vec();
        for round in 0..ROUNDS {
            let last = round + 1 == ROUNDS;
            let visible = self.shown.visible()?;
            let profiles = self.shown.profiles(tenant, &left)?;
            self.catch_up()?;
            let mut again = Vec::new();
            for (student, shown) in left.into_iter().zip(profiles) {
                let looked = self.student(tenant, &student, shown)?;
                let before = |topic| visible.get(&(topic, self.partition(tenant, topic)?)).copied();
                // Nothing of the student may have come between the first look and the reading.
                let still = !self.shown.moves() || self.batch.settled(tenant, &student, &before);
                match (looked.differences.is_empty() || still, last) {
                    (true, _) => self.take(looked)?,
                    (false, true) => self.report.moving += 1,
                    (false, false) => again.push(student),
                }
            }
            left = again;
            if left.is_empty() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Reports what a look found.
    fn take(&mut self, looked: Looked) -> Result<()> {
        if let Some(dump) = &mut self.dump {
            serde_json::to_writer(&mut *dump, &looked.profile).context("the dump cannot be written")?;
            writeln!(dump).context("the dump cannot be written")?;
        }
        self.report.same("student");
        looked.same.into_iter().for_each(|kind| self.report.same(kind));
        looked.untold.into_iter().for_each(|why| self.report.untold(why));
        looked.differences.into_iter().for_each(|difference| self.report.differs(difference));
        Ok(())
    }

    fn partition(&self, tenant: &TenantId, topic: &str) -> Option<u32> {
        self.log.partition_of(topic, tenant.as_str()).ok()
    }

    /// Looks at one student.
    fn student(&mut self, tenant: &TenantId, student: &StudentId, shown: Option<Value>) -> Result<Looked> {
        let clock = match &shown {
            Some(profile) => shown::as_of(profile)?,
            None => self.shown.clock()?,
        };
        let mut recomputed = self.batch.student(tenant, student, clock);
        let past = past::take(&self.plan, &self.batch, (tenant, clock), shown.as_ref(), &mut recomputed.grades);
        let cohorts = expected::cohorts_of(&self.batch, tenant, clock, &mut self.expected);
        let profile = self.expected.profile((tenant, student), clock, &recomputed, &cohorts, shown.as_ref())?;
        let shown = shown.map(expected::without_history).unwrap_or_default();
        let untold = recomputed.untold.iter().filter_map(|(view, why)| {
            self.plan.views.get(usize::from(*view)).map(|view| (view.schema.name.as_str(), *why))
        });
        let untold: BTreeMap<&str, &'static str> = untold.collect();
        let parts = expected::parts(&profile, &shown);
        let untold_grades = vec!["a grade of a past period is in ClickHouse alone"; past];
        let mut looked = Looked { profile, same: Vec::new(), untold: untold_grades, differences: Vec::new() };
        for part in parts {
            match untold.get(part.name.as_str()).filter(|_| part.kind == "feature") {
                Some(why) => looked.untold.push(*why),
                None if part.recomputed == part.shown => looked.same.push(part.kind),
                None => looked.differences.push(Difference::of(tenant, Some(student), part)),
            }
        }
        Ok(looked)
    }

    fn cohorts(&mut self, tenant: &TenantId) -> Result<()> {
        for round in 0..ROUNDS {
            let visible = self.shown.visible()?;
            let shown = self.shown.cohorts(tenant)?;
            let clock = self.shown.clock()?;
            self.catch_up()?;
            let recomputed = expected::cohorts_of(&self.batch, tenant, clock, &mut self.expected);
            let parts = expected::cohort_parts(&recomputed, &shown);
            let before = |source| {
                // Cohorts know no events.
                if source == topic::BEHAVIOR {
                    return Some(Offset::MAX);
                }
                visible.get(&(source, self.partition(tenant, source)?)).copied()
            };
            let nobody = StudentId::new("-").context("a student's id")?;
            let still = !self.shown.moves() || self.batch.settled(tenant, &nobody, &before);
            let equal = parts.iter().all(|part| part.recomputed == part.shown);
            if !equal && !still && round + 1 < ROUNDS {
                std::thread::sleep(PAUSE);
                continue;
            }
            for part in parts {
                if part.recomputed == part.shown {
                    self.report.same(part.kind);
                } else if still {
                    self.report.differs(Difference::of(tenant, None, part));
                } else {
                    self.report.moving += 1;
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// Whether anybody is shown of whom the log knows nothing.
    fn nobody_else(&mut self) -> Result<()> {
        let Some(shown) = self.shown.students() else { return Ok(()) };
        let mut expected = 0;
        let clock = self.shown.clock()?;
        for (tenant, students) in self.batch.students() {
            let has_rows = |student: &StudentId| {
                let of = self.batch.student(&tenant, student, clock);
                !of.grades.is_empty() || !of.features.is_empty() || !of.untold.is_empty()
            };
            expected += students.iter().filter(|student| has_rows(student)).count();
        }
        if shown > expected {
            self.report.differs(Difference {
                what: "students".to_owned(),
                shown: shown.into(),
                recomputed: expected.into(),
                ..Difference::default()
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
