//! Windows over time: how instants are cut into panes, and which panes a window covers at a clock. Pure arithmetic on
//! instants and calendars; which events are in a pane is not known here.

use crate::instant::{DAYS_IN_400_YEARS, Millis};
use compact_str::CompactString;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// A day without daylight saving, in milliseconds.
pub const DAY_MS: i64 = 86_400_000;

/// The civil day from which day numbers count, a Thursday: the day of the Unix epoch.
const DAY_ZERO: Date = jiff::civil::date(1970, 1, 1);
/// The first day that jiff is not asked about, 9900-01-01: it ends in the last days of 9999, earlier in some zones.
const FAR_DAY: i64 = 2_896_373;
/// 400 years in milliseconds: then calendars repeat, and the rules of time zones with them.
const CYCLE_MS: i64 = DAYS_IN_400_YEARS * DAY_MS;
/// Days from the Monday before [`DAY_ZERO`] to it: weeks of a calendar start on Mondays.
const MONDAY_OFFSET: i64 = 3;

/// A window: instants are cut into panes, and at clock T, with `P = pane(T)`, it covers the panes `P - panes() + 1 ..= P`.
///
/// Without a zone a pane is `slide_ms` wide and pane 0 starts at the Unix epoch. With a zone a pane is a number of local
/// days, from midnight to midnight, however long they are; panes of whole weeks start on Mondays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowSpec {
    /// What it is called.
    pub kind: WindowKind,
    /// Width of a pane, in milliseconds; with a zone a multiple of 24 hours, which stand for local days.
    pub slide_ms: i64,
    /// Width of the window, in milliseconds; a multiple of the slide. Of a session: how far back events are considered.
    pub size_ms: i64,
    /// Of a session: the pause that ends it, in milliseconds; else 0.
    pub gap_ms: i64,
    /// The calendar that days are of; `None`: UTC, without a calendar.
    pub zone: Option<Zone>,
}

/// The window functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKind {
    /// `tumble(size)`: panes of the whole size.
    Tumble,
    /// `hop(slide, size)`.
    Hop,
    /// `session(gap)`: events with less than `gap` between one and the next. What is shown is the session that is open at
    /// the clock: its last event is less than `gap` ago.
    Session,
    /// No window: a view over what is true now.
    Present,
}

/// A time zone of the IANA database.
///
/// A local day is the time from its first instant to the first instant of the next one, so that days never overlap and
/// have no gaps. Where the clocks go back over midnight, as in St John's on 2010-11-07 at 00:01, the minutes that show the
/// old date once more belong to the day that has begun: a date that has begun stays.
#[derive(Debug, Clone)]
pub struct Zone {
    name: CompactString,
    tz: TimeZone,
    /// When the clocks went back to an earlier date, until [`TRANSITIONS_LISTED_TO`]: in order.
    steps_back: Arc<[Millis]>,
}

/// 2200-01-01. Until then the instants at which a zone's date steps back are listed once; later ones are asked for each time.
const TRANSITIONS_LISTED_TO: Millis = Millis(7_258_118_400_000);
/// How long after the clocks went back a date may show that is over. No zone ever went back by more than a day.
const STEP_BACK_MAX_MS: i64 = 2 * DAY_MS;

impl Zone {
    /// The zone of an IANA name, such as `America/Mexico_City`; `None` where the database has none.
    pub fn new(name: &str) -> Option<Self> {
        let tz = TimeZone::get(name).ok()?;
        let steps_back = steps_back(&tz);
        Some(Self { name: CompactString::new(tz.iana_name().unwrap_or(name)), tz, steps_back })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the local day that holds an instant; 1970-01-01 is day 0. The last day that has begun.
    fn day(&self, at: Millis) -> i64 {
        let Some(mut day) = date_shown(&self.tz, at) else { return at.pane(DAY_MS) };
        if self.may_show_an_old_date(at) {
            // No clock goes back by more than a day.
            for _ in 0..2 {
                day += i64::from(start_of_day(day + 1, &self.tz) <= at);
            }
        }
        day
    }

    /// Whether the clocks went back to an earlier date not long before.
    fn may_show_an_old_date(&self, at: Millis) -> bool {
        if at >= TRANSITIONS_LISTED_TO {
            return true;
        }
        let before = self.steps_back.partition_point(|step| *step <= at);
        before > 0 && at.0 - self.steps_back[before - 1].0 < STEP_BACK_MAX_MS
    }
}

/// How many times 400 years a day is moved to be one that jiff knows.
fn cycles(day: i64) -> i64 {
    if day < FAR_DAY { 0 } else { (day - FAR_DAY) / DAYS_IN_400_YEARS + 1 }
}

/// The number of a date; 1970-01-01 is day 0.
pub(crate) fn day_of_date(date: Date) -> i64 {
    i64::from((date - DAY_ZERO).get_days())
}

/// The first instant of a local day, which is not midnight where the clocks skip it: then it is the instant at which they
/// go forward. (jiff's `start_of_day` is a time after midnight as long as the gap, whatever of it was before.)
pub(crate) fn start_of_day(day: i64, zone: &TimeZone) -> Millis {
    let without_calendar = Millis(day.saturating_mul(DAY_MS));
    let cycles = cycles(day);
    let span = jiff::Span::new().try_days(day - cycles * DAYS_IN_400_YEARS);
    let Ok(date) = span.and_then(|span| DAY_ZERO.checked_add(span)) else { return without_calendar };
    let midnight = zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0));
    let is_skipped = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
    // Where it comes twice the first one; where it is skipped an instant at the end of the gap or behind it.
    let Ok(start) = midnight.compatible() else { return without_calendar };
    let behind = start.checked_add(jiff::Span::new().nanoseconds(1)).ok().filter(|_| is_skipped);
    let forward = behind.and_then(|behind| zone.preceding(behind).next());
    let start = forward.map_or(start, |transition| transition.timestamp());
    Millis(start.as_millisecond().saturating_add(cycles.saturating_mul(CYCLE_MS)))
}

/// The number of the date that the clocks of a zone show.
fn date_shown(tz: &TimeZone, at: Millis) -> Option<i64> {
    let cycles = cycles(at.pane(DAY_MS));
    let instant = jiff::Timestamp::from_millisecond(at.0 - cycles * CYCLE_MS).ok()?;
    let offset_ms = i64::from(tz.to_offset(instant).seconds()) * 1_000;
    Some(Millis(at.0.saturating_add(offset_ms)).pane(DAY_MS))
}

/// The instants at which a zone's clocks go back to an earlier date.
fn steps_back(tz: &TimeZone) -> Arc<[Millis]> {
    let transitions =
        tz.following(jiff::Timestamp::MIN).map(|transition| Millis(transition.timestamp().as_millisecond()));
    let goes_back = |at: &Millis| date_shown(tz, *at) < date_shown(tz, Millis(at.0 - 1));
    transitions.take_while(|at| *at < TRANSITIONS_LISTED_TO).filter(goes_back).collect()
}

/// A zone is what its name says: two of one name are equal.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl WindowSpec {
    /// `tumble(size)`.
    pub fn tumble(size_ms: i64) -> Self {
        Self { kind: WindowKind::Tumble, slide_ms: size_ms, size_ms, gap_ms: 0, zone: None }
    }

    /// `hop(slide, size)`.
    pub fn hop(slide_ms: i64, size_ms: i64) -> Self {
        Self { kind: WindowKind::Hop, slide_ms, size_ms, gap_ms: 0, zone: None }
    }

    /// `session(gap)`, of events that are at most `horizon` old, to be cut into panes of `slide_ms`.
    pub fn session(gap_ms: i64, slide_ms: i64, horizon_ms: i64) -> Self {
        Self { kind: WindowKind::Session, slide_ms, size_ms: horizon_ms, gap_ms, zone: None }
    }

    /// No window.
    pub fn present() -> Self {
        Self { kind: WindowKind::Present, slide_ms: DAY_MS, size_ms: DAY_MS, gap_ms: 0, zone: None }
    }

    /// The same with days of a calendar.
    pub fn in_zone(self, zone: Option<Zone>) -> Self {
        Self { zone, ..self }
    }

    /// How many panes the window covers.
    pub fn panes(&self) -> i64 {
        self.size_ms / self.slide_ms
    }

    /// Local days per pane, and how far their count is moved.
    fn days(&self) -> (i64, i64) {
        let days = (self.slide_ms / DAY_MS).max(1);
        (days, if days % 7 == 0 { MONDAY_OFFSET } else { 0 })
    }

    /// The pane that holds an instant.
    pub fn pane(&self, at: Millis) -> i64 {
        match &self.zone {
            None => at.pane(self.slide_ms),
            Some(zone) => {
                let (days, offset) = self.days();
                (zone.day(at) + offset).div_euclid(days)
            }
        }
    }

    /// The first instant of a pane; the pane ends where the next one starts.
    pub fn start_of(&self, pane: i64) -> Millis {
        match &self.zone {
            None => Millis(pane.saturating_mul(self.slide_ms)),
            Some(zone) => {
                let (days, offset) = self.days();
                start_of_day(pane.saturating_mul(days).saturating_sub(offset), &zone.tz)
            }
        }
    }

    /// The window's bounds at a clock: `[start, end)`.
    pub fn bounds(&self, clock: Millis) -> (Millis, Millis) {
        let pane = self.pane(clock);
        (self.start_of(pane - self.panes() + 1), self.start_of(pane + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_window_covers_its_panes() {
        let hop = WindowSpec::hop(1000, 3000);
        assert_eq!(hop.panes(), 3);
        assert_eq!(hop.bounds(Millis(5000)), (Millis(3000), Millis(6000)));
        assert_eq!(hop.bounds(Millis(5999)), (Millis(3000), Millis(6000)));
        assert_eq!(WindowSpec::tumble(1000).bounds(Millis(-1)), (Millis(-1000), Millis(0)));
    }

    #[test]
    fn days_of_a_calendar_are_as_long_as_they_are() {
        let new_york = WindowSpec::tumble(DAY_MS).in_zone(Zone::new("America/New_York"));
        // Clocks went forward on 2026-03-08 and back on 2026-11-01.
        let spring = new_york.bounds(at("2026-03-08T12:00:00-04:00"));
        assert_eq!(spring, (at("2026-03-08T00:00:00-05:00"), at("2026-03-09T00:00:00-04:00")));
        assert_eq!(spring.1.0 - spring.0.0, 23 * 3_600_000);
        let autumn = new_york.bounds(at("2026-11-01T00:30:00-04:00"));
        assert_eq!(autumn.1.0 - autumn.0.0, 25 * 3_600_000);
        assert_eq!(new_york.pane(at("2026-11-01T23:59:59-05:00")), new_york.pane(at("2026-11-01T00:00:00-04:00")));
        assert_eq!(new_york.pane(at("2026-11-02T00:00:00-05:00")), new_york.pane(autumn.0) + 1);
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_starts_when_it_starts() {
        // In Santiago the clocks went from 24:00 of 2026-09-05 to 01:00.
        let santiago = WindowSpec::tumble(DAY_MS).in_zone(Zone::new("America/Santiago"));
        let day = santiago.bounds(at("2026-09-06T12:00:00-03:00"));
        assert_eq!(day.0, at("2026-09-06T01:00:00-03:00"));
        assert_eq!(santiago.pane(day.0), santiago.pane(Millis(day.0.0 - 1)) + 1);
        assert_eq!(day.1.0 - day.0.0, 23 * 3_600_000);
    }

    #[test]
    fn weeks_of_a_calendar_start_on_mondays() {
        let week = WindowSpec::tumble(7 * DAY_MS).in_zone(Zone::new("Europe/Madrid"));
        let bounds = week.bounds(at("2026-03-29T12:00:00+02:00"));
        assert_eq!(bounds, (at("2026-03-23T00:00:00+01:00"), at("2026-03-30T00:00:00+02:00")));
    }

    #[test]
    fn a_day_that_has_begun_stays() {
        // In St John's the clocks went from 00:01 of 2010-11-07 to 23:01 of the day before.
        let st_johns = WindowSpec::tumble(DAY_MS).in_zone(Zone::new("America/St_Johns"));
        let seventh = (at("2010-11-07T02:30:00Z"), at("2010-11-08T03:30:00Z"));
        for instant in ["02:30:00", "02:30:30", "02:31:30", "03:29:59", "03:30:00", "03:30:30"] {
            assert_eq!(st_johns.bounds(at(&format!("2010-11-07T{instant}Z"))), seventh, "{instant}");
        }
        assert_eq!(st_johns.bounds(at("2010-11-07T02:29:59Z")), (at("2010-11-06T02:30:00Z"), seventh.0));
    }

    /// Every zone of the database, around every instant at which its offset changes: an instant lies within the bounds
    /// of the window that it is counted in, and panes never go back.
    #[test]
    fn an_instant_lies_within_the_bounds_of_its_window() {
        let (mut zones, mut back) = (0, 0);
        for name in jiff::tz::db().available() {
            let zone = Zone::new(name.as_str()).unwrap();
            let changes = zone.tz.following(jiff::Timestamp::MIN).map(|change| change.timestamp().as_millisecond());
            // Of a rule that goes on for ever some years will do.
            let changes: Vec<i64> =
                changes.take_while(|at| *at < 2_300_000_000_000).chain([8_000_000_000_000]).collect();
            back += zone.steps_back.len();
            for spec in
                [WindowSpec::tumble(DAY_MS), WindowSpec::tumble(7 * DAY_MS), WindowSpec::hop(DAY_MS, 3 * DAY_MS)]
            {
                let spec = spec.in_zone(Some(zone.clone()));
                for change in &changes {
                    let mut last = i64::MIN;
                    // From 26 hours before to 26 hours after, and the instants beside the change.
                    let steps = (-26..=26).map(|hours| change + hours * 3_600_000);
                    let mut instants: Vec<i64> = steps.chain([change - 1, change + 1, change + 59_000]).collect();
                    instants.sort_unstable();
                    for instant in instants {
                        let (start, end) = spec.bounds(Millis(instant));
                        assert!(
                            start.0 <= instant && instant < end.0,
                            "{name}: {instant} is not in {start:?}..{end:?}"
                        );
                        let pane = spec.pane(Millis(instant));
                        assert!(pane >= last, "{name}: the pane goes back at {instant}");
                        last = pane;
                    }
                }
            }
            zones += 1;
        }
        assert!(zones > 400 && back > 100, "{zones} zones, whose date went back {back} times");
    }

    #[test]
    fn days_go_on_where_rfc_3339_ends() {
        for zone in ["America/Mexico_City", "America/New_York", "Pacific/Apia", "Pacific/Kiritimati", "UTC"] {
            let days = WindowSpec::tumble(DAY_MS).in_zone(Zone::new(zone));
            // 400 years earlier everything is the same.
            for text in ["9999-07-01T12:00:00Z", "9999-12-30T21:59:59Z", "9999-12-30T22:00:01Z", "9999-12-31T23:59:59Z"]
            {
                let (start, end) = days.bounds(at(text));
                let before = days.bounds(at(&text.replacen("9999", "9599", 1)));
                assert_eq!((start.0 - CYCLE_MS, end.0 - CYCLE_MS), (before.0.0, before.1.0), "{zone} {text}");
                assert!((start..end).contains(&at(text)), "{zone} {text}");
            }
            let last = days.pane(at("9999-12-31T23:59:59Z"));
            for pane in last - 150 * 366..=last {
                let (start, end) = (days.start_of(pane), days.start_of(pane + 1));
                assert_eq!((days.pane(start), days.pane(Millis(end.0 - 1))), (pane, pane), "{zone} {pane}");
            }
        }
        assert_eq!(day_of_date(jiff::civil::date(9900, 1, 1)), FAR_DAY);
        for day in [i64::MIN, i64::MAX] {
            let zone = Zone::new("America/New_York").unwrap();
            let _ = (start_of_day(day, &zone.tz), zone.day(Millis(day)));
        }
    }

    #[test]
    fn every_pane_starts_where_the_one_before_ends() {
        let zones = [
            "America/Mexico_City",
            "America/Santiago",
            "Africa/Cairo",
            "Pacific/Apia",
            "Asia/Tehran",
            "America/St_Johns",
        ];
        for zone in zones {
            for days in [1, 2, 7] {
                let spec = WindowSpec::tumble(days * DAY_MS).in_zone(Zone::new(zone));
                let first = spec.pane(at("2009-01-01T00:00:00Z"));
                for pane in first..first + 6_000 / days {
                    let (start, end) = (spec.start_of(pane), spec.start_of(pane + 1));
                    // A day that a calendar left out has no instants.
                    assert!(start <= end, "{zone} {pane}");
                    if start < end {
                        assert_eq!((spec.pane(start), spec.pane(Millis(end.0 - 1))), (pane, pane), "{zone} {pane}");
                    }
                }
            }
        }
    }
}
