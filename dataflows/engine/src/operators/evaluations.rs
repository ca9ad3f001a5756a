//! Evaluations: decoded where they were read, then upserted by natural key (`crate::evaluations`), exchanged by it.

use super::tenants::ConfigDiff;
use super::{Epochs, upper};
use crate::dead_letters::{Class, DeadLetter, describe, oversized};
use crate::decode;
use crate::evaluations::{EvaluationChange, EvaluationStore, GradeKey};
use crate::metrics::RecordLabels;
use crate::shared::{Chunk, Local, Time};
use crate::state::{Key, Row};
use aulaflow_log::RecordRef;
use aulaflow_model::event::tenant_of_key;
use aulaflow_model::grade::Item;
use aulaflow_model::topic;
use aulaflow_plan::sql::Format;
use compact_str::CompactString;
use std::sync::Arc;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What comes in.
#[derive(Debug, Clone)]
pub enum EvaluationInput {
    /// From the log.
    Chunk(Chunk),
    /// From the state.
    Loaded(Vec<EvaluationChange>),
}

/// A difference of the items that grades are made of.
pub type ItemUpdate = ((GradeKey, Arc<Item>), Time, isize);

/// Decodes records of `aula.evaluations.v1`.
pub fn decode<'scope>(
    stream: StreamVec<'scope, Time, EvaluationInput>,
    local: Local,
) -> StreamVec<'scope, Time, EvaluationChange> {
    stream.unary(Pipeline, "DecodeEvaluations", move |_, _| {
        move |input, output| {
            input.for_each(|cap, data| {
                let Some(time) = cap.least().copied() else { return };
                let mut session = output.session(&cap);
                for input in data.drain(..) {
                    match input {
                        EvaluationInput::Chunk(chunk) => decode_chunk(&chunk, time, &local, &mut |c| session.give(c)),
                        EvaluationInput::Loaded(loaded) => session.give_iterator(loaded.into_iter()),
                    }
                }
            });
        }
    })
}

fn decode_chunk(chunk: &Chunk, time: Time, local: &Local, give: &mut impl FnMut(EvaluationChange)) {
    for record in chunk.records.iter() {
        let offset = chunk.base_offset + u64::from(record.index);
        let outcome = match decode_record(&record, offset, local) {
            Ok(change) => {
                give(change);
                "accepted"
            }
            Err((class, error)) => {
                let place = (topic::EVALUATIONS, chunk.partition, offset);
                local.shared.dead(DeadLetter::new(time, place, &record, class, error));
                "dead"
            }
        };
        let labels = RecordLabels { topic: topic::EVALUATIONS, outcome };
        local.shared.metrics.records.get_or_create(&labels).inc();
    }
}

fn decode_record(record: &RecordRef<'_>, offset: u64, local: &Local) -> Result<EvaluationChange, (Class, String)> {
    oversized(record, local.shared.plan.runtime.engine.record_bytes_max)?;
    let no_key = || (Class::Key, "the key is not tenant/evaluation_id".to_owned());
    let tenant = tenant_of_key(record.key).ok_or_else(no_key)?;
    local.shared.check_home(tenant.as_str())?;
    let id =
        std::str::from_utf8(record.key).ok().and_then(|k| k.split_once('/')).map(|(_, id)| id).ok_or_else(no_key)?;
    let value = match record.value {
        None => None,
        Some(json) => {
            // Evaluations are no table of the plan, and written as JSON.
            let value = decode::evaluation(Format::Json, json, &tenant)?;
            if value.evaluation_id.as_str() != id {
                return Err((
                    Class::Schema,
                    format!("/evaluation_id: is {:?}, and the key says {id:?}", value.evaluation_id.as_str()),
                ));
            }
            // On the live clock, by when the log took it: the same whenever it is read.
            if let Some(fault) = live_skew_ms(local).and_then(|skew_ms| value.updated_ahead(record.timestamp, skew_ms))
            {
                return Err((Class::Future, describe(&[fault])));
            }
            Some(Box::new(value))
        }
    };
    let (tenant, _) = local.shared.symbols.tenant(tenant.as_str());
    Ok(EvaluationChange { tenant, evaluation_id: CompactString::new(id), offset, value, given: None })
}

/// How far ahead an `updated_at` may be, on the live clock.
fn live_skew_ms(local: &Local) -> Option<i64> {
    let max_skew = local.shared.plan.runtime.engine.max_skew;
    local.shared.live.then(|| i64::try_from(max_skew.as_millis()).unwrap_or(i64::MAX))
}

/// The upsert stage: evaluations and the tenants' calendars to the items of each grade.
/// `configs` reaches every worker whole.
pub fn upsert<'scope>(
    changes: StreamVec<'scope, Time, EvaluationChange>,
    configs: StreamVec<'scope, Time, ConfigDiff>,
    local: Local,
) -> StreamVec<'scope, Time, ItemUpdate> {
    let by_key =
        Exchange::new(|c: &EvaluationChange| xxh3_64_with_seed(c.evaluation_id.as_bytes(), u64::from(c.tenant)));
    changes.binary_frontier(configs, by_key, Pipeline, "UpsertEvaluations", move |capability, _| {
        let mut epochs = Epochs::new(local.clone());
        let mut store = EvaluationStore::new(local.shared.symbols.clone(), local.shared.configs.clone());
        let mut capability = Some(capability);
        move |(changes, changes_frontier), (configs, configs_frontier), output| {
            changes.for_each(|cap, data| {
                if let Some(time) = cap.least() {
                    epochs.push(*time, &mut data.drain(..).map(Input::Change).collect());
                }
            });
            configs.for_each(|cap, data| {
                if let Some(time) = cap.least() {
                    epochs.push(*time, &mut data.drain(..).map(Input::Config).collect());
                }
            });
            let upper = upper(changes_frontier).min(upper(configs_frontier));
            while let Some(epoch) = epochs.next(upper) {
                let out = apply(&mut store, epoch.data);
                if let Some(cap) = capability.as_ref().filter(|_| !out.is_empty()) {
                    let cap = cap.delayed(&epoch.time);
                    output.session(&cap).give_iterator(out.into_iter().map(|(item, diff)| (item, epoch.time, diff)));
                }
                if local.loading.get() {
                    store.clear_dirty();
                }
                if epoch.barrier {
                    export(&mut store, &local);
                }
            }
            super::keep_until(&mut capability, upper);
        }
    })
}

enum Input {
    Change(EvaluationChange),
    Config(ConfigDiff),
}

fn apply(store: &mut EvaluationStore, inputs: Vec<Input>) -> Vec<crate::evaluations::ItemDiff> {
    let mut out = Vec::new();
    let mut changes = Vec::new();
    for input in inputs {
        match input {
            Input::Config(((tenant, config), _, diff)) if diff > 0 => store.configure(tenant, config, &mut out),
            // The insertion that comes with it says what is in force.
            Input::Config(_) => {}
            Input::Change(change) => changes.push(change),
        }
    }
    // Chunks of one partition come from several workers, in any order.
    changes.sort_by_key(|c| c.offset);
    for change in changes {
        store.apply(change, &mut out);
    }
    out
}

fn export(store: &mut EvaluationStore, local: &Local) {
    let symbols = &local.shared.symbols;
    let changes = store.take_dirty().into_iter().map(|(tenant, student, id, value)| {
        let key = Key::Evaluation(symbols.tenant_id(tenant).to_string(), student.to_string(), id.to_string());
        let row = value.map(|stored| Row::Evaluation(Box::new(stored)));
        (key, row)
    });
    local.export(changes.collect());
    local.gauge("grades", "evaluations", store.len());
}
