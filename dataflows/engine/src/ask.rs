//! Asking the running dataflow: previews of a rule, and explanations, each exact as of one epoch's clock.
//!
//! An asker waits on its own thread. Its question goes through a bounded channel to the coordinator, which gives it to
//! the workers with the next epoch; what they find is collected here by the question's number until the epoch is
//! complete. Grades and differences are then computed by the asker, so that no worker is held up by them. The dataflow's
//! side is `operators/ask.rs`.

use crate::Status;
use crate::configs::{Configs, RuleSet, RuleSetNo};
use crate::evaluations::GradeKey;
use crate::metrics::Metrics;
use crate::operators::ask::{Found, Question};
use crate::shared::{Shared, Time};
use crate::symbols::{StudentNo, Symbols, WordNo};
use aulaflow_log::Log;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::{Item, Preview, PreviewRow, PreviewSummary, explain, grade};
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::ClockTime;
use aulaflow_model::tenant::{Rule, TenantConfig};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Questions that may wait for an epoch, and that one epoch takes at most.
pub const ASKS_MAX: usize = 256;
/// Previews under way at most: each holds a tenant's groups in memory.
const PREVIEWS_MAX: usize = 4;

/// Why a question has no answer. Trying again later may help, except where the engine has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many questions wait already.
    #[error("too many questions wait for an answer")]
    Busy,
    /// No view is complete yet.
    #[error("the views are not complete yet")]
    NotReady,
    /// No answer came in time.
    #[error("the dataflows did not answer in time")]
    Timeout,
    /// The engine has stopped.
    #[error("the dataflows have stopped")]
    Stopped,
}

/// Asks a running engine; cheap to clone. Calls block until the answer is there.
#[derive(Clone)]
pub struct Asker {
    asks: Sender<Ask>,
    log: Arc<dyn Log>,
    status: Arc<Mutex<Status>>,
    symbols: Arc<Symbols>,
    configs: Arc<Configs>,
    metrics: Metrics,
    previews: Arc<AtomicUsize>,
}

impl Asker {
    /// And where its questions come out.
    pub(crate) fn new(log: Arc<dyn Log>, status: Arc<Mutex<Status>>, shared: &Shared) -> (Self, Receiver<Ask>) {
        let (asks, questions) = bounded(ASKS_MAX);
        // Not the whole of what the workers share: it lives as long as they do.
        let (symbols, configs) = (shared.symbols.clone(), shared.configs.clone());
        let metrics = shared.metrics.clone();
        (Self { asks, log, status, symbols, configs, metrics, previews: Arc::default() }, questions)
    }

    /// Counts an explanation that was compared with what is served (`kind`: `grade` or `feature`).
    pub fn compared(&self, kind: &'static str, agrees: bool) {
        self.metrics.compared(kind, agrees);
    }

    /// How a student's grade came about; `None` where there are no evaluations or no rule.
    pub fn grade(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        subject: &Subject,
        period: &PeriodId,
        timeout: Duration,
    ) -> Result<Option<GradeExplanation>, AskError> {
        let Some((tenant_no, student)) = self.symbols.find_student(tenant.as_str(), student.as_str()) else {
            return Ok(None);
        };
        let word = |word| self.symbols.find_word(word);
        let Some((subject_no, period_no)) = word(subject.as_str()).zip(word(period.as_str())) else { return Ok(None) };
        let key = GradeKey { tenant: tenant_no, student, subject: subject_no, period: period_no };
        let answer = self.ask(Asked::Dataflow(Question::Grade(key)), timeout)?;
        Ok(answer.explain(&self.configs, period))
    }

    /// How a student's feature came about; `None` where nothing is known of the student.
    pub fn feature(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        view: ViewIndex,
        timeout: Duration,
    ) -> Result<Option<FeatureExplanation>, AskError> {
        let Some((_, student)) = self.symbols.find_student(tenant.as_str(), student.as_str()) else { return Ok(None) };
        Ok(self.ask(Asked::Feature { student, view }, timeout)?.feature)
    }

    /// What would change if this rule replaced the present rules of its subject. Nothing changes by asking.
    pub fn preview(&self, tenant: &TenantId, rule: &Rule, timeout: Duration) -> Result<Preview, AskError> {
        let _turn = Turn::take(&self.previews)?;
        let tenant_no = self.symbols.find_tenant(tenant.as_str());
        let subject = rule.subject.as_ref().map(|subject| self.symbols.find_word(subject.as_str()));
        let answer = match (tenant_no, subject) {
            (Some(tenant), None) => self.ask(Asked::Dataflow(Question::Groups(tenant, None)), timeout)?,
            (Some(tenant), Some(Some(subject))) => {
                self.ask(Asked::Dataflow(Question::Groups(tenant, Some(subject))), timeout)?
            }
            // A name without a number has no evaluations; asked all the same, for the instant.
            (None, _) | (Some(_), Some(None)) => self.ask(Asked::Nothing, timeout)?,
        };
        Ok(preview(answer, tenant, rule, &self.symbols, &self.configs))
    }

    fn ask(&self, asked: Asked, timeout: Duration) -> Result<Answer, AskError> {
        {
            let status = self.status.lock();
            if status.clock.is_none() || !status.caught_up {
                return Err(AskError::NotReady);
            }
        }
        let waits = Arc::new(());
        let (ask, answer) = Ask::new(asked, Arc::downgrade(&waits));
        self.asks.try_send(ask).map_err(|error| match error {
            TrySendError::Full(_) => AskError::Busy,
            TrySendError::Disconnected(_) => AskError::Stopped,
        })?;
        // The coordinator may sleep until the log changes.
        self.log.wake();
        answer.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => AskError::Timeout,
            RecvTimeoutError::Disconnected => AskError::Stopped,
        })
    }
}

/// One of the previews that may be under way.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(previews: &'a AtomicUsize) -> Result<Self, AskError> {
        if previews.fetch_add(1, Ordering::AcqRel) >= PREVIEWS_MAX {
            previews.fetch_sub(1, Ordering::AcqRel);
            return Err(AskError::Busy);
        }
        Ok(Self(previews))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// Of the grades' arrangements.
    Dataflow(Question),
    /// Of the panes.
    Feature {
        /// Whose.
        student: StudentNo,
        /// Which view.
        view: ViewIndex,
    },
    /// Nothing but the instant.
    Nothing,
}

/// A question on its way to the coordinator.
pub struct Ask {
    /// What.
    pub asked: Asked,
    reply: Sender<Answer>,
    waits: Weak<()>,
}

impl Ask {
    /// A question, and where its answer comes; nobody waits any more once `waits` is gone.
    pub fn new(asked: Asked, waits: Weak<()>) -> (Self, Receiver<Answer>) {
        let (reply, answer) = bounded(1);
        (Self { asked, reply, waits }, answer)
    }

    /// Whether somebody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.waits.strong_count() > 0
    }
}

/// What was found for a question.
#[derive(Debug, Default)]
pub struct Answer {
    /// The epoch as of which it is true.
    pub time: Time,
    groups: Vec<(GradeKey, Arc<[Item]>)>,
    rules: FxHashMap<WordNo, RuleSetNo>,
    /// What the panes say.
    pub feature: Option<FeatureExplanation>,
}

impl Answer {
    /// The explanation of the one grade that was asked for.
    pub fn explain(self, configs: &Configs, period: &PeriodId) -> Option<GradeExplanation> {
        let (key, items) = self.groups.into_iter().next()?;
        let rules = configs.get_rule_set(*self.rules.get(&key.subject)?);
        let (rule, _) = rules.rule(period)?;
        let explanation = explain(&items, rule);
        Some(GradeExplanation { as_of: ClockTime(self.time).clock(), rule: rule.clone(), explanation })
    }
}

/// Questions that the workers work on, by number. Each leaves with its epoch.
#[derive(Default)]
pub struct Open(Mutex<FxHashMap<u64, (Ask, Answer)>>);

impl Open {
    /// A question goes to the workers.
    pub fn open(&self, no: u64, ask: Ask) {
        self.0.lock().insert(no, (ask, Answer::default()));
    }

    /// A worker has found these.
    pub fn found(&self, found: impl Iterator<Item = (u64, Found)>) {
        let mut found = found.peekable();
        if found.peek().is_none() {
            return;
        }
        let mut open = self.0.lock();
        for (no, found) in found {
            let Some((ask, answer)) = open.get_mut(&no) else { continue };
            match found {
                Found::Group(key, items) if ask.is_awaited() => answer.groups.push((key, items)),
                Found::Group(..) => {}
                Found::Rules(subject, rules) => drop(answer.rules.insert(subject, rules)),
            }
        }
    }

    /// The worker that has the student explains a feature.
    pub fn feature(&self, no: u64, explanation: FeatureExplanation) {
        if let Some((_, answer)) = self.0.lock().get_mut(&no) {
            answer.feature = Some(explanation);
        }
    }

    /// The question's epoch is complete: whoever waits is answered.
    pub fn close(&self, no: u64, time: Time) {
        let closed = self.0.lock().remove(&no);
        if let Some((ask, answer)) = closed {
            // Whoever asked may be gone.
            let _ = ask.reply.try_send(Answer { time, ..answer });
        }
    }
}

/// Both rules over every group whose rule would be another one.
fn preview(answer: Answer, tenant: &TenantId, rule: &Rule, symbols: &Symbols, configs: &Configs) -> Preview {
    let rule = Arc::new(rule.clone());
    let mut sets: FxHashMap<WordNo, (Arc<RuleSet>, RuleSet)> = FxHashMap::default();
    let mut base_rule_versions = BTreeSet::new();
    let mut rows = Vec::new();
    for (key, items) in answer.groups {
        let (present, other) = sets.entry(key.subject).or_insert_with(|| {
            let present = match answer.rules.get(&key.subject) {
                Some(no) => configs.get_rule_set(*no),
                // The tenant has no configuration yet.
                None => {
                    let none = Arc::new(TenantConfig::empty(tenant.clone()));
                    Arc::new(RuleSet::new(none, &symbols.subject(key.subject)))
                }
            };
            let other = present.replacing(rule.clone());
            (present, other)
        });
        let period = symbols.period(key.period);
        let (before, after) = (present.rule(&period), other.rule(&period));
        if before.map(|(_, version)| version) == after.map(|(_, version)| version) {
            continue;
        }
        base_rule_versions.extend(before.map(|(_, version)| version.to_owned()));
        let under = |rule: Option<(&Arc<Rule>, &str)>| rule.and_then(|(rule, version)| grade(&items, rule, version));
        let (before, after) = (under(before), under(after));
        if before.is_some() || after.is_some() {
            let (_, student_id) = symbols.student_id(key.student);
            let subject = symbols.subject(key.subject);
            rows.push(PreviewRow { student_id, subject, period, before, after });
        }
    }
    let summary = PreviewSummary::of(&rows);
    rows.retain(|row| row.before != row.after);
    rows.sort_unstable_by(|a, b| (&a.subject, &a.period, &a.student_id).cmp(&(&b.subject, &b.period, &b.student_id)));
    Preview {
        as_of: ClockTime(answer.time).clock(),
        rule_version: rule.version(),
        base_rule_versions,
        summary,
        changes: rows,
    }
}
