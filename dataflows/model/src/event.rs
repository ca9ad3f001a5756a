//! Events as they come from outside, decoded and checked. How a JSON object becomes typed members is in
//! `members`, how events are written in `encode`.
//!
//! There is one decoder per event, and it finds all faults: it splits the object into its members' raw texts in one
//! pass and reads each of them from its text, so that no number passes through a float and nothing is copied.
//! (Rejected: a quick decoder with a second one for the faults. It was no quicker, and two can disagree.)

mod encode;
mod members;

pub use encode::{splice_tenant, tombstone_key};

use crate::decimal::Decimal;
use crate::fault::{Fault, shown};
use crate::grade::{Item, Status};
use crate::ids::{EvaluationId, EvaluationType, EventId, PeriodId, StudentId, Subject, TenantId, check_printable};
use crate::instant::Millis;
use crate::updated_at::UpdatedAt;
use members::Members;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An evaluation: an upsert by `(tenant, evaluation_id)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Evaluation {
    /// The natural key within the tenant.
    pub evaluation_id: EvaluationId,
    /// Whose.
    pub student_id: StudentId,
    /// In what.
    pub subject: Subject,
    /// Its type, which is its category.
    pub category: EvaluationType,
    /// Points reached, 0 where it is missing or excused without a score.
    pub score: Decimal,
    /// Points possible.
    pub max_score: Decimal,
    /// Its own weight.
    pub weight: Decimal,
    /// When it was graded: decides the period where none is given.
    pub graded_at: Millis,
    /// When it was changed last, where the sender says so. Which of two records wins is [`Evaluation::yields_to`].
    pub updated_at: Option<UpdatedAt>,
    /// Who graded.
    pub teacher_id: Option<compact_str::CompactString>,
    /// The period given, if any.
    pub period: Option<PeriodId>,
    /// Whether it counts.
    pub status: Status,
}

/// A behaviour event, borrowed from the bytes it was decoded from.
#[derive(Debug, Clone)]
pub struct Behavior<'a> {
    /// Counts once within the dedupe horizon.
    pub event_id: Cow<'a, str>,
    /// Whose.
    pub student_id: Cow<'a, str>,
    /// What happened.
    pub event_type: Cow<'a, str>,
    /// How much, to the nearest millionth; 1 if not given.
    pub value: Decimal,
    /// When.
    pub occurred_at: Millis,
    /// An object, unparsed.
    pub context: Option<&'a RawValue>,
    /// Fields that are not known: kept as further members of the context.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// A service event, borrowed from the bytes it was decoded from.
#[derive(Debug, Clone)]
pub struct ServiceEvent<'a> {
    /// When.
    pub timestamp: Millis,
    /// Which service.
    pub service: Cow<'a, str>,
    /// What it says.
    pub message: Cow<'a, str>,
    /// An object, unparsed.
    pub metadata: Option<&'a RawValue>,
    /// Fields that are not known: kept as further members of the metadata.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Where a record comes from, which decides whether it names its tenant.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'t> {
    /// The HTTP edge: the token names the tenant, the body must not.
    Edge,
    /// The log: every record carries `tenant_id`, and it must be the key's.
    Log(&'t TenantId),
}

const EVALUATION: [&str; 13] = [
    "tenant_id",
    "evaluation_id",
    "student_id",
    "subject",
    "type",
    "score",
    "max_score",
    "weight",
    "graded_at",
    "updated_at",
    "teacher_id",
    "period",
    "status",
];

/// Decodes and checks an evaluation. All faults at once, each with its pointer; broken JSON is one fault at `""`.
///
/// A score above the maximum is no fault here, since it depends on the rule: see [`Evaluation::above_max`].
pub fn decode_evaluation(json: &[u8], origin: Origin<'_>) -> Result<Evaluation, Vec<Fault>> {
    let mut object = Members::read(json, &EVALUATION).map_err(|fault| vec![fault])?;
    check_tenant(&mut object, origin);
    object.refuse_others();
    let evaluation = read_evaluation(&mut object);
    object.finish(evaluation)
}

fn read_evaluation(object: &mut Members<'_, 13>) -> Option<Evaluation> {
    let evaluation_id = object.need("evaluation_id").and_then(|m| object.parse(m, str::parse::<EvaluationId>));
    let student_id = object.need("student_id").and_then(|m| object.parse(m, str::parse::<StudentId>));
    let subject = object.need("subject").and_then(|m| object.parse(m, str::parse::<Subject>));
    let category = object.need("type").and_then(|m| object.parse(m, str::parse::<EvaluationType>));
    let status = match object.get("status") {
        Some(member) => object
            .choice(member, &[("graded", Status::Graded), ("excused", Status::Excused), ("missing", Status::Missing)]),
        None => Some(Status::Graded),
    };
    let score = match (object.get("score"), status) {
        (Some(member), _) => object.amount(member),
        (None, Some(Status::Excused | Status::Missing)) => Some(Decimal::ZERO),
        (None, Some(Status::Graded)) => {
            object.fault("score", "is required where the status is `graded`");
            None
        }
        (None, None) => None,
    };
    let max_score = match object.get("max_score") {
        Some(member) => object.amount(member).and_then(|max| object.positive(member, max)),
        None => Some(Decimal::from_int(100)),
    };
    let weight = object.get("weight").map_or(Some(Decimal::ONE), |member| object.amount(member));
    let graded_at = object.need("graded_at").and_then(|member| object.time(member));
    let updated_at = optional(object.get("updated_at"), |member| object.parse(member, UpdatedAt::parse_rfc3339));
    let teacher_id = optional(object.get("teacher_id"), |member| {
        object.parse(member, |text| check_printable(text).map(|()| compact_str::CompactString::new(text)))
    });
    let period = optional(object.get("period"), |member| object.parse(member, str::parse::<PeriodId>));
    Some(Evaluation {
        evaluation_id: evaluation_id?,
        student_id: student_id?,
        subject: subject?,
        category: category?,
        score: score?,
        max_score: max_score?,
        weight: weight?,
        graded_at: graded_at?,
        updated_at: updated_at?,
        teacher_id: teacher_id?,
        period: period?,
        status: status?,
    })
}

/// `Some(None)` where it is absent, `None` where it is wrong.
fn optional<M, T>(member: Option<M>, read: impl FnOnce(M) -> Option<T>) -> Option<Option<T>> {
    member.map_or(Some(None), |member| read(member).map(Some))
}

const BEHAVIOR: [&str; 7] = ["tenant_id", "event_id", "student_id", "event_type", "value", "occurred_at", "context"];

/// Decodes and checks a behaviour event: the hot path.
pub fn decode_behavior<'a>(json: &'a [u8], origin: Origin<'_>) -> Result<Behavior<'a>, Vec<Fault>> {
    let mut object = Members::read(json, &BEHAVIOR).map_err(|fault| vec![fault])?;
    check_tenant(&mut object, origin);
    let event_id = object.need("event_id").and_then(|m| object.text(m, EventId::check));
    let student_id = object.need("student_id").and_then(|m| object.text(m, StudentId::check));
    let event_type = object.need("event_type").and_then(|m| object.text(m, check_printable));
    let value = object.get("value").map_or(Some(Decimal::ONE), |member| object.value(member));
    let occurred_at = object.need("occurred_at").and_then(|member| object.time(member));
    let context = optional(object.get("context"), |member| object.object(member));
    object.check_extra("context", context.flatten());
    let extra = object.take_others();
    let behavior = (|| {
        Some(Behavior {
            event_id: event_id?,
            student_id: student_id?,
            event_type: event_type?,
            value: value?,
            occurred_at: occurred_at?,
            context: context?,
            extra,
        })
    })();
    object.finish(behavior)
}

const SERVICE_EVENT: [&str; 5] = ["tenant_id", "timestamp", "service", "message", "metadata"];

/// Decodes and checks a service event.
pub fn decode_service_event<'a>(json: &'a [u8], origin: Origin<'_>) -> Result<ServiceEvent<'a>, Vec<Fault>> {
    let mut object = Members::read(json, &SERVICE_EVENT).map_err(|fault| vec![fault])?;
    check_tenant(&mut object, origin);
    let timestamp = object.need("timestamp").and_then(|member| object.time(member));
    let service = object.need("service").and_then(|m| object.text(m, check_printable));
    let message = object.need("message").and_then(|member| object.string(member));
    let metadata = optional(object.get("metadata"), |member| object.object(member));
    object.check_extra("metadata", metadata.flatten());
    let extra = object.take_others();
    let event = (|| {
        Some(ServiceEvent { timestamp: timestamp?, service: service?, message: message?, metadata: metadata?, extra })
    })();
    object.finish(event)
}

/// A record names its tenant exactly where it comes from the log.
fn check_tenant<const N: usize>(object: &mut Members<'_, N>, origin: Origin<'_>) {
    match origin {
        Origin::Edge => {
            if object.has("tenant_id") {
                object.fault("tenant_id", "must not be given: the token names the tenant");
            }
        }
        Origin::Log(tenant) => {
            let Some(given) = object.need("tenant_id").and_then(|member| object.string(member)) else {
                return;
            };
            if given != tenant.as_str() {
                object.fault("tenant_id", format!("is not `{tenant}`, the tenant of the record's key"));
            }
        }
    }
}

impl Evaluation {
    /// Whether it changes nothing: `given` is the newest `updated_at` of the records before it that took effect, since
    /// the last deletion. One without is an edit at its place on the log and never yields; of equal ones the later wins.
    pub fn yields_to(&self, given: Option<&UpdatedAt>) -> bool {
        self.updated_at.as_ref().is_some_and(|own| given.is_some_and(|given| own < given))
    }

    /// The fault of an `updated_at` that is more than `max_skew_ms` after the record was received: it would win over every
    /// correction until then.
    pub fn updated_ahead(&self, received: Millis, max_skew_ms: i64) -> Option<Fault> {
        let updated_at = self.updated_at.as_ref()?;
        let ahead = updated_at.is_after(Millis(received.0.saturating_add(max_skew_ms)));
        ahead.then(|| {
            let detail = format!(
                "`{}` is more than `max_skew` ({} s) after it was received, at {received}: send the time of the change, or \
                 none",
                shown(&updated_at.to_string()),
                max_skew_ms / 1000
            );
            Fault::new("/updated_at", detail)
        })
    }

    /// Whether the score is above the maximum, which only a rule with extra credit allows.
    pub fn above_max(&self) -> bool {
        self.score > self.max_score
    }

    /// The fault of a score above the maximum, for those who refuse it.
    pub fn above_max_fault(&self) -> Fault {
        Fault::new("/score", format!("is above `max_score`, {}, and the rule gives no extra credit", self.max_score))
    }

    /// What the grade function needs of it.
    pub fn item(&self) -> Item {
        Item {
            evaluation_id: self.evaluation_id.clone(),
            category: self.category.clone(),
            score: match self.status {
                Status::Graded | Status::Excused => self.score,
                Status::Missing => Decimal::ZERO,
            },
            max_score: self.max_score,
            weight: self.weight,
            status: self.status,
        }
    }
}

/// The tenant of a record's key: what stands before the first `/` (or the whole key).
pub fn tenant_of_key(key: &[u8]) -> Option<TenantId> {
    let text = std::str::from_utf8(key).ok()?;
    TenantId::new(text.split_once('/').map_or(text, |(tenant, _)| tenant)).ok()
}

#[cfg(test)]
mod tests;
