//! The bytes of a record to an event: the only place where the engine knows how events are written. Another way of
//! writing them is another variant of [`Format`] here and another name in the plan.

use crate::dead_letters::{Class, describe};
use aulaflow_model::event::{Behavior, Evaluation, Origin, decode_behavior, decode_evaluation};
use aulaflow_model::ids::TenantId;
use aulaflow_plan::sql::Format;

/// A behaviour event of a tenant, whose texts stay in the record.
pub fn behavior<'a>(format: Format, bytes: &'a [u8], tenant: &TenantId) -> Result<Behavior<'a>, (Class, String)> {
    match format {
        Format::Json => decode_behavior(bytes, Origin::Log(tenant)),
    }
    .map_err(|faults| (Class::Schema, describe(&faults)))
}

/// An evaluation of a tenant.
pub fn evaluation(format: Format, bytes: &[u8], tenant: &TenantId) -> Result<Evaluation, (Class, String)> {
    match format {
        Format::Json => decode_evaluation(bytes, Origin::Log(tenant)),
    }
    .map_err(|faults| (Class::Schema, describe(&faults)))
}
