//! Local dates to instants. The time zones are those bundled with the program: checking reads no files.

use super::Period;
use crate::fault::{shown, suggestion};
use crate::instant::Millis;
use crate::window::{day_of_date, start_of_day};
use jiff::tz::TimeZone;

/// The time zone of a name, or what is wrong with the name.
pub(super) fn time_zone(name: &str) -> Result<TimeZone, String> {
    let db = jiff::tz::db();
    db.get(name).map_err(|_| {
        let known: Vec<_> = db.available().collect();
        let near = suggestion(name, known.iter().map(|zone| zone.as_str()));
        format!("unknown time zone `{}`, expected an IANA name such as `America/Mexico_City`{near}", shown(name))
    })
}

/// The instants that a period covers, `[start, end)`: from the first instant of its first day to the first one of the
/// day after its last. A day that starts in a gap of daylight saving time starts at the gap's end.
pub(super) fn bounds(period: &Period, zone: &TimeZone) -> (Millis, Millis) {
    let first = |day| start_of_day(day, zone);
    (first(day_of_date(period.start.0)), first(day_of_date(period.end.0) + 1))
}
