//! `[clickhouse.retention]`: for how many days what the log said is kept in ClickHouse, for all tenants and for single ones.

use super::hours;
use crate::runtime::{ClickHouseRetention, KeptDays};
use crate::settings::Section;
use aulaflow_model::ids::TenantId;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

const fn days(n: u64) -> Duration {
    hours(24 * n)
}

const RANGE: RangeInclusive<Duration> = days(1)..=days(3_650);

/// Reads the table.
pub(super) fn retention(mut s: Section<'_, '_>) -> ClickHouseRetention {
    let default = KeptDays {
        behavior: whole(s.duration(
            "behavior",
            days(30),
            RANGE,
            "how long behaviour events are kept, in whole days from the one on which the log took them; on the event clock from \
             the one on which they happened",
        )),
        service_events: whole(s.duration("service_events", days(30), RANGE, "the same for service events")),
        dead_letters: whole(s.duration(
            "dead_letters",
            days(90),
            RANGE,
            "how long it is kept that a record could not be used, and why; the record itself is on the log alone",
        )),
    };
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let tenants = s.tables("tenant", |s| tenant(s, default, &mut first));
    s.finish();
    ClickHouseRetention { default, tenants }
}

/// One `[[clickhouse.retention.tenant]]`. `first` knows where each id was first seen.
fn tenant(
    s: &mut Section<'_, '_>,
    default: KeptDays,
    first: &mut BTreeMap<String, String>,
) -> Option<(TenantId, KeptDays)> {
    let id = s.required_text("id", "the tenant; unique");
    let or = |days_kept: u16| days(u64::from(days_kept));
    let kept = KeptDays {
        behavior: whole(s.duration("behavior", or(default.behavior), RANGE, "this tenant's; as for all if not said")),
        service_events: whole(s.duration("service_events", or(default.service_events), RANGE, "the same")),
        dead_letters: whole(s.duration("dead_letters", or(default.dead_letters), RANGE, "the same")),
    };
    let id = id?;
    let here = s.pointer("id");
    if first.insert(id.clone(), here.clone()).is_some() {
        s.reader.fault(here, format!("the tenant {id:?} is already there"));
        return None;
    }
    match id.parse::<TenantId>() {
        Ok(id) => Some((id, kept)),
        Err(error) => {
            s.reader.fault(here, format!("`{id}` {error}"));
            None
        }
    }
}

/// A part of a day counts as one.
fn whole(kept: Duration) -> u16 {
    // The range's end is far below the largest.
    u16::try_from(kept.as_secs().div_ceil(DAY_SECONDS)).unwrap_or(u16::MAX)
}
