//! Tenants' configurations from the log: the newest record per tenant is in force, as of the epoch's clock: a scheduled
//! rule replaces its subject's rules in the epoch whose clock reaches its instant.

use super::{Epochs, upper};
use crate::configs::ConfigNo;
use crate::dead_letters::{Class, DeadLetter, describe, oversized};
use crate::metrics::RecordLabels;
use crate::shared::{Chunk, Local, Time};
use crate::state::{self, Key, Row};
use crate::symbols::TenantNo;
use aulaflow_model::event::tenant_of_key;
use aulaflow_model::fault::Fault;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::topic;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

/// What comes in, on the first worker only.
#[derive(Debug, Clone)]
pub enum TenantInput {
    /// From the log.
    Chunk(Chunk),
    /// From the state: tenant, JSON.
    Loaded(String, Vec<u8>),
}

/// The configuration in force per tenant, as differences.
pub type ConfigDiff = ((TenantNo, ConfigNo), Time, isize);

/// Reads records of `aula.tenants.v1`; keeps the newest per tenant. Emits what is in force, and tells when that changes
/// by itself.
pub fn tenants<'scope>(
    stream: StreamVec<'scope, Time, TenantInput>,
    local: Local,
) -> StreamVec<'scope, Time, ConfigDiff> {
    stream.unary_frontier(Pipeline, "Tenants", move |capability, _| {
        let mut epochs = Epochs::new(local.clone());
        let mut store = Store::default();
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each(|cap, data| {
                if let Some(time) = cap.least() {
                    epochs.push(*time, data);
                }
            });
            let upper = upper(frontier);
            while let Some(epoch) = epochs.next(upper) {
                let mut out = Vec::new();
                for input in epoch.data {
                    store.take(input, epoch.time, &local, &mut out);
                }
                store.switch(epoch.time, &local, &mut out);
                if let Some(cap) = capability.as_ref().filter(|_| !out.is_empty()) {
                    let cap = cap.delayed(&epoch.time);
                    output.session(&cap).give_iterator(out.into_iter());
                }
                if epoch.barrier {
                    local.export(std::mem::take(&mut store.changed));
                }
            }
            super::keep_until(&mut capability, upper);
        }
    })
}

#[derive(Default)]
struct Store {
    present: FxHashMap<TenantNo, Present>,
    /// When each tenant with scheduled rules has its next one in force.
    switches: BTreeSet<(Millis, TenantNo)>,
    changed: Vec<state::Change>,
}

/// A tenant's configuration.
struct Present {
    /// As recorded, with its schedule.
    config: TenantConfig,
    /// The number of what is in force of it.
    number: ConfigNo,
    /// When that changes.
    next: Option<Millis>,
}

impl Store {
    fn take(&mut self, input: TenantInput, time: Time, local: &Local, out: &mut Vec<ConfigDiff>) {
        match input {
            TenantInput::Loaded(tenant, json) => match decode_stored(&json, &tenant) {
                Ok(config) => self.put(&tenant, config, time, local, out),
                // It was accepted once: a stricter version of the code must not silently drop a school's rules.
                Err(error) => panic!("the stored configuration of tenant {tenant} is not valid: {error}"),
            },
            TenantInput::Chunk(chunk) => {
                for record in chunk.records.iter() {
                    let offset = chunk.base_offset + u64::from(record.index);
                    let tenant = tenant_of_key(record.key);
                    let small = oversized(&record, local.shared.plan.runtime.engine.record_bytes_max);
                    let outcome = small.and_then(|()| match (&tenant, record.value) {
                        (None, _) => Err((Class::Key, "the key is not a tenant's name".to_owned())),
                        (Some(_), None) => {
                            Err((Class::Schema, "a tenant's configuration cannot be deleted".to_owned()))
                        }
                        (Some(tenant), Some(json)) => local.shared.check_home(tenant.as_str()).and_then(|()| {
                            decode(json, tenant.as_str()).map(|c| (tenant, c, json)).map_err(|e| (Class::Schema, e))
                        }),
                    });
                    let labels = |outcome| RecordLabels { topic: topic::TENANTS, outcome };
                    match outcome {
                        Ok((tenant, config, json)) => {
                            local.shared.metrics.records.get_or_create(&labels("accepted")).inc();
                            let row = Row::Tenant { json: json.to_vec(), offset };
                            self.changed.push((Key::Tenant(tenant.to_string()), Some(row)));
                            self.put(tenant.as_str(), config, time, local, out);
                        }
                        Err((class, error)) => {
                            local.shared.metrics.records.get_or_create(&labels("dead")).inc();
                            let place = (topic::TENANTS, chunk.partition, offset);
                            local.shared.dead(DeadLetter::new(time, place, &record, class, error));
                        }
                    }
                }
            }
        }
    }

    fn put(&mut self, tenant: &str, config: TenantConfig, time: Time, local: &Local, out: &mut Vec<ConfigDiff>) {
        let (tenant, _) = local.shared.symbols.tenant(tenant);
        let old = self.present.remove(&tenant);
        if let Some(next) = old.as_ref().and_then(|old| old.next) {
            self.switches.remove(&(next, tenant));
        }
        self.emit(tenant, config, old.map(|old| old.number), time, local, out);
    }

    /// Puts in force what the clock has reached.
    fn switch(&mut self, time: Time, local: &Local, out: &mut Vec<ConfigDiff>) {
        let clock = ClockTime(time).clock();
        while let Some((_, tenant)) = self.switches.first().copied().filter(|(at, _)| *at <= clock) {
            self.switches.pop_first();
            if let Some(Present { config, number, .. }) = self.present.remove(&tenant) {
                self.emit(tenant, config, Some(number), time, local, out);
            }
        }
        // Only the first worker has tenants.
        if local.index == 0 {
            let next = self.switches.first().map_or(i64::MAX, |(at, _)| at.0);
            local.shared.next_switch.store(next, Ordering::Relaxed);
        }
    }

    /// Keeps a configuration, and emits how what is in force of it differs from `old`.
    fn emit(
        &mut self,
        tenant: TenantNo,
        config: TenantConfig,
        old: Option<ConfigNo>,
        time: Time,
        local: &Local,
        out: &mut Vec<ConfigDiff>,
    ) {
        let (mut in_force, next) = config.in_force(ClockTime(time).clock());
        // What is still to come makes no difference.
        in_force.scheduled.clear();
        let number = local.shared.configs.number(in_force);
        self.switches.extend(next.map(|next| (next, tenant)));
        self.present.insert(tenant, Present { config, number, next });
        if old != Some(number) {
            out.extend(old.map(|old| ((tenant, old), time, -1)));
            out.push(((tenant, number), time, 1));
        }
    }
}

/// A configuration of the state, which earlier versions took although a key stood in it twice.
fn decode_stored(json: &[u8], tenant: &str) -> Result<TenantConfig, String> {
    let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| format!("not JSON: {e}"))?;
    of_tenant(TenantConfig::from_json(&value), tenant)
}

fn decode(json: &[u8], tenant: &str) -> Result<TenantConfig, String> {
    of_tenant(TenantConfig::from_json_slice(json), tenant)
}

fn of_tenant(config: Result<TenantConfig, Vec<Fault>>, tenant: &str) -> Result<TenantConfig, String> {
    let config = config.map_err(|faults| describe(&faults))?;
    if config.tenant.as_str() != tenant {
        return Err(describe(&[Fault::new("/tenant", format!("is not the key's tenant {tenant:?}"))]));
    }
    Ok(config)
}
