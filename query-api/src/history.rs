//! What is no longer in memory, or never was: the history, which the edge knows by a trait only. Reads of it are bounded in
//! number and time; the same question of many callers is asked once; and while it does not answer, it is left alone.

use crate::error::{ApiError, Kind};
use aulaflow_model::ids::{PeriodId, StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_serving::GradeEntry;
use moka::Expiry;
use moka::future::Cache;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::value::RawValue;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What an implementation answers with, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, HistoryFailure>> + Send + 'a>>;

/// The history, as far as it can be asked. An implementation answers within the limits that it was made with.
pub trait History: Send + Sync {
    /// A student's grades of one period as they are now, in order of their subjects; none where nothing is known of them.
    fn grades<'a>(
        &'a self,
        tenant: &'a TenantId,
        student: &'a StudentId,
        period: &'a PeriodId,
    ) -> Later<'a, PastGrades>;

    /// Answers an analyst's query over the tenant's own tables. What is not safe is [`HistoryFailure::Refused`].
    fn sql<'a>(&'a self, tenant: &'a TenantId, text: &'a str) -> Later<'a, SqlRows>;
}

/// Grades that were read.
#[derive(Debug, Clone, PartialEq)]
pub struct PastGrades {
    /// In order of their subjects.
    pub grades: Vec<GradeEntry>,
    /// They are true as of this instant.
    pub as_of: Millis,
}

/// Rows that a query gave.
#[derive(Debug)]
pub struct SqlRows {
    /// Names and types.
    pub columns: Vec<(String, String)>,
    /// Values in the order of the columns, as JSON.
    pub rows: Vec<Vec<Box<RawValue>>>,
    /// There were more rows than are answered.
    pub truncated: bool,
    /// The tables were true as of this instant; `None`: none was read, or nothing is there yet.
    pub as_of: Option<Millis>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryFailure {
    /// There is no history here; how to turn it on.
    Off(&'static str),
    /// Too many questions wait.
    Busy,
    /// It cannot be reached, or is broken. The reason is for the operator's log.
    Unavailable(String),
    /// No answer in time.
    Timeout,
    /// It was left alone for this long, since it did not answer before.
    Resting(Duration),
    /// The query may not be asked: why, and where.
    Refused(String),
    /// The query cannot be answered: what is wrong with it.
    Failed(String),
    /// The query needs more than it may have.
    Limit(String),
}

impl From<HistoryFailure> for ApiError {
    fn from(failure: HistoryFailure) -> Self {
        let second = Duration::from_secs(1);
        match failure {
            HistoryFailure::Off(how) => Self::new(Kind::AnalyticsOff, how),
            HistoryFailure::Busy => {
                Self::new(Kind::Overloaded, "too many questions wait for the history").retry_after(second)
            }
            HistoryFailure::Unavailable(reason) => {
                tracing::warn!(reason, "the history does not answer");
                Self::new(Kind::AnalyticsUnavailable, "ClickHouse does not answer").retry_after(second)
            }
            HistoryFailure::Timeout => {
                Self::new(Kind::AnalyticsUnavailable, "ClickHouse did not answer in time").retry_after(second)
            }
            HistoryFailure::Resting(left) => {
                let detail = "ClickHouse did not answer the last reads, and is left alone for a while";
                Self::new(Kind::AnalyticsUnavailable, detail).retry_after(left)
            }
            HistoryFailure::Refused(why) => Self::new(Kind::SqlRefused, why),
            HistoryFailure::Failed(why) => Self::new(Kind::SqlFailed, why),
            HistoryFailure::Limit(why) => Self::new(Kind::SqlLimit, why),
        }
    }
}

/// Where there is no history.
pub struct NoHistory(pub &'static str);

impl History for NoHistory {
    fn grades<'a>(&'a self, _: &'a TenantId, _: &'a StudentId, _: &'a PeriodId) -> Later<'a, PastGrades> {
        Box::pin(std::future::ready(Err(HistoryFailure::Off(self.0))))
    }

    fn sql<'a>(&'a self, _: &'a TenantId, _: &'a str) -> Later<'a, SqlRows> {
        Box::pin(std::future::ready(Err(HistoryFailure::Off(self.0))))
    }
}

/// Periods that are kept after they were read.
const ENTRIES_MAX: u64 = 10_000;
/// How long: what is there may be corrected, what is not may come soon.
const KEPT: Duration = Duration::from_secs(60);
const KEPT_NOTHING: Duration = Duration::from_secs(5);
/// How long a read may take, with its wait for its turn.
const BUDGET: Duration = Duration::from_secs(2);
/// Reads at once; others wait for their turn.
const READS_MAX: usize = 16;

/// Grades of past periods: read once for all who ask at the same time, and kept for a while.
pub(crate) struct Past {
    cache: Cache<Key, Arc<PastGrades>>,
    reads: Family<ReadLabels, Counter>,
    resting: Gauge,
    breaker: Breaker,
    turns: Semaphore,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    student: StudentId,
    period: PeriodId,
}

/// What is not there is forgotten sooner.
struct Kept;

impl Expiry<Key, Arc<PastGrades>> for Kept {
    fn expire_after_create(&self, _: &Key, past: &Arc<PastGrades>, _: Instant) -> Option<Duration> {
        Some(if past.grades.is_empty() { KEPT_NOTHING } else { KEPT })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabels {
    outcome: &'static str,
}

impl Past {
    /// Adds its metrics to a registry, whose prefix they take.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let cache = Cache::builder().max_capacity(ENTRIES_MAX).expire_after(Kept).build();
        let (reads, resting) = (Family::<ReadLabels, Counter>::default(), Gauge::default());
        registry.register(
            "history_reads",
            "Grades of past periods asked for: kept (read before), read, shared (read for somebody else at the same time), failed, \
             refused (the history is left alone)",
            reads.clone(),
        );
        let help = "1 while the history is left alone, since it did not answer";
        registry.register("history_resting", help, resting.clone());
        Self { cache, reads, resting, breaker: Breaker::default(), turns: Semaphore::new(READS_MAX) }
    }

    fn count(&self, outcome: &'static str) {
        self.reads.get_or_create(&ReadLabels { outcome }).inc();
    }

    /// A student's grades of a period, kept or read.
    pub(crate) async fn grades(
        &self,
        history: &dyn History,
        tenant: &TenantId,
        student: &StudentId,
        period: &PeriodId,
    ) -> Result<Arc<PastGrades>, HistoryFailure> {
        let key = Key { tenant: tenant.clone(), student: student.clone(), period: period.clone() };
        if let Some(kept) = self.cache.get(&key).await {
            self.count("kept");
            return Ok(kept);
        }
        let read = async {
            self.breaker.admit(Instant::now()).map_err(HistoryFailure::Resting)?;
            let within = async {
                let _turn = self.turns.acquire().await.map_err(|_| HistoryFailure::Busy)?;
                history.grades(tenant, student, period).await
            };
            let read = tokio::time::timeout(BUDGET, within).await.unwrap_or(Err(HistoryFailure::Timeout));
            let answered = !matches!(read, Err(HistoryFailure::Unavailable(_) | HistoryFailure::Timeout));
            let rests = self.breaker.told(answered, Instant::now());
            self.resting.set(i64::from(rests));
            read.map(Arc::new)
        };
        match self.cache.entry(key).or_try_insert_with(read).await {
            Ok(entry) => {
                self.count(if entry.is_fresh() { "read" } else { "shared" });
                Ok(entry.into_value())
            }
            Err(failure) => {
                let refused = matches!(*failure, HistoryFailure::Resting(_));
                self.count(if refused { "refused" } else { "failed" });
                Err((*failure).clone())
            }
        }
    }

    /// What was read of a period is not answered any more.
    pub(crate) async fn forget(&self, tenant: &TenantId, student: &StudentId, period: &PeriodId) {
        self.cache.invalidate(&Key { tenant: tenant.clone(), student: student.clone(), period: period.clone() }).await;
    }
}

/// Failures in a row until it opens.
const FAILURES_MAX: u32 = 5;
/// How long it stays open before one read is tried.
const REST: Duration = Duration::from_secs(5);

/// Lets reads through while they are answered. After several that were not, it refuses all for a while, then lets one through
/// to see.
#[derive(Default)]
struct Breaker(Mutex<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many failures in a row.
    Closed(u32),
    /// Until then nothing is let through; then one, which may take as long again.
    Open(Instant),
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(0)
    }
}

impl Breaker {
    /// Whether a read may be tried; else how long it shall wait.
    fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.0.lock();
        match *state {
            State::Closed(_) => Ok(()),
            State::Open(until) if until > now => Err(until - now),
            State::Open(_) => {
                // This one looks. Whatever becomes of it, the next one looks after another rest.
                *state = State::Open(now + REST);
                Ok(())
            }
        }
    }

    /// Hears of a read; whether others are refused now.
    fn told(&self, answered: bool, now: Instant) -> bool {
        let mut state = self.0.lock();
        *state = match *state {
            _ if answered => State::Closed(0),
            State::Closed(failures) if failures + 1 < FAILURES_MAX => State::Closed(failures + 1),
            State::Closed(_) | State::Open(_) => State::Open(now + REST),
        };
        matches!(*state, State::Open(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_and_lets_one_through_to_see() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.told(false, start);
        }
        // One that is answered in between begins anew.
        breaker.told(true, start);
        for _ in 0..FAILURES_MAX {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.told(false, start);
        }
        assert_eq!(breaker.admit(start), Err(REST));
        let later = start + REST;
        assert_eq!(breaker.admit(later), Ok(()), "one looks");
        assert_eq!(breaker.admit(later), Err(REST), "one only");
        breaker.told(false, later);
        assert_eq!(breaker.admit(later), Err(REST));
        assert_eq!(breaker.admit(later + REST), Ok(()));
        breaker.told(true, later + REST);
        assert_eq!(breaker.admit(later + REST), Ok(()));
    }
}
