//! Views by their definition: over the whole list of events, with nothing kept from one moment to the next.

use aulaflow_model::change::FeatureValue;
use num_bigint::BigInt;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;

/// A zone, and an instant some two days before its clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub zone: &'static str,
    pub from: &'static str,
}

pub const PLACES: [Place; 8] = [
    // Forward at 2:00.
    Place { zone: "America/New_York", from: "2026-03-06T12:00:00Z" },
    // Back over midnight, from 00:01 to 23:01 of the day before.
    Place { zone: "America/St_Johns", from: "2010-11-05T12:00:00Z" },
    // Back at midnight to 23:00: the date that ends is shown for an hour more.
    Place { zone: "America/Sao_Paulo", from: "2018-02-16T00:00:00Z" },
    Place { zone: "Africa/Cairo", from: "2025-10-28T22:00:00Z" },
    // Back from 1:00 to midnight, which comes twice.
    Place { zone: "America/Havana", from: "2026-10-30T12:00:00Z" },
    // Forward from midnight to 1:00: midnight is skipped.
    Place { zone: "America/Santiago", from: "2026-09-04T12:00:00Z" },
    // Forward by a whole day, which does not exist.
    Place { zone: "Pacific/Apia", from: "2011-12-28T12:00:00Z" },
    // Back by half an hour at 2:00.
    Place { zone: "Australia/Lord_Howe", from: "2026-04-02T12:00:00Z" },
];

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub kind: &'static str,
    /// Twice the value.
    pub halves: i64,
    pub at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Filter {
    All,
    Answer,
    Big,
    NotView,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    Value,
    Int,
    Kind,
    At,
    /// Has no value where the event's is 0.
    Ten,
    /// Null for one kind.
    NullKind,
    /// Numbers whose squares exceed 128 bits.
    Wide,
    /// Has no value where it exceeds what can be summed: from 1.5 on.
    Over,
    /// Of one kind too long to be kept, but not to be counted.
    Long,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Agg {
    Rows,
    Count(Arg),
    Distinct(Arg),
    Sum(Arg),
    Avg(Arg),
    Min(Arg),
    Max(Arg),
    Stddev(Arg),
    First(Arg),
    Last(Arg),
    Slope(Arg, Arg),
}

/// A window: lengths in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    Tumble(i64),
    Hop(i64, i64),
    Session(i64, i64),
    /// Local days: of a pane, and of the window, and the calendar.
    Days(i64, i64, Place),
}

/// A view over the events.
#[derive(Debug, Clone)]
pub struct Base {
    pub filter: Filter,
    pub window: Window,
    /// The first one counts rows.
    pub aggregates: Vec<Agg>,
}

/// A view over the windows of another one: what it computes of the count `n` in each.
#[derive(Debug, Clone)]
pub struct Outer {
    pub inner: usize,
    /// Only windows with more than one row.
    pub filtered: bool,
    pub window: Window,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Value {
    Null,
    Int(i64),
    Micros(i128),
    Text(String),
    Time(i64),
}

pub type Row = (Vec<FeatureValue>, Option<(i64, i64)>);

impl Arg {
    pub fn sql(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Int => "CAST(floor(value) AS BIGINT)",
            Self::Kind => "event_type",
            Self::At => "occurred_at",
            Self::Ten => "10 / value",
            Self::NullKind => "NULLIF(event_type, 'view')",
            Self::Wide => "value * 1e15",
            Self::Over => "value * 1e21",
            Self::Long => {
                static SQL: OnceLock<String> = OnceLock::new();
                SQL.get_or_init(|| format!("CASE WHEN event_type = 'post' THEN '{}' ELSE event_type END", long()))
            }
        }
    }

    fn of(self, event: &Event) -> Result<Value, ()> {
        Ok(match self {
            Self::Value => Value::Micros(i128::from(event.halves) * 500_000),
            Self::Int => Value::Int(event.halves.div_euclid(2)),
            Self::Kind => Value::Text(event.kind.to_owned()),
            Self::At => Value::Time(event.at),
            Self::Ten if event.halves == 0 => return Err(()),
            Self::Ten => Value::Micros((10.0 / (event.halves as f64 / 2.0) * 1e6).round_ties_even() as i128),
            Self::NullKind if event.kind == "view" => Value::Null,
            Self::NullKind => Value::Text(event.kind.to_owned()),
            Self::Wide => Value::Micros(i128::from(event.halves) * 5 * 10_i128.pow(20)),
            Self::Over if event.halves > 2 => return Err(()),
            Self::Over => Value::Micros(i128::from(event.halves) * 5 * 10_i128.pow(26)),
            Self::Long if event.kind == "post" => Value::Text(long()),
            Self::Long => Value::Text(event.kind.to_owned()),
        })
    }
}

/// A text of more than 64 KiB.
fn long() -> String {
    "post".repeat(16_385)
}

impl Filter {
    pub fn sql(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Answer => "WHERE event_type = 'answer'",
            Self::Big => "WHERE value > 1.5",
            Self::NotView => "WHERE event_type <> 'view' OR value = 1",
        }
    }

    fn holds(self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Answer => event.kind == "answer",
            Self::Big => event.halves > 3,
            Self::NotView => event.kind != "view" || event.halves == 2,
        }
    }
}

impl Agg {
    pub fn sql(self) -> String {
        match self {
            Self::Rows => "count(*)".to_owned(),
            Self::Count(a) => format!("count({})", a.sql()),
            Self::Distinct(a) => format!("count(distinct {})", a.sql()),
            Self::Sum(a) => format!("sum({})", a.sql()),
            Self::Avg(a) => format!("avg({})", a.sql()),
            Self::Min(a) => format!("min({})", a.sql()),
            Self::Max(a) => format!("max({})", a.sql()),
            Self::Stddev(a) => format!("stddev_pop({})", a.sql()),
            Self::First(a) => format!("first({})", a.sql()),
            Self::Last(a) => format!("last({})", a.sql()),
            Self::Slope(y, x) => format!("regr_slope({}, {})", y.sql(), x.sql()),
        }
    }

    fn of(self, events: &[&Event]) -> Value {
        // What has no value is left out; what is null is a value of first and last.
        let all = |arg: Arg| events.iter().filter_map(|e| arg.of(e).ok()).collect::<Vec<_>>();
        let kept = |arg: Arg| all(arg).into_iter().filter(|v| !matches!(v, Value::Text(text) if text.len() > 65_536));
        let values = |arg: Arg| all(arg).into_iter().filter(|v| *v != Value::Null).collect::<Vec<_>>();
        let extreme = |arg: Arg, less: bool| {
            let best = kept(arg).filter(|v| *v != Value::Null).reduce(|a, b| if (b < a) == less { b } else { a });
            best.unwrap_or(Value::Null)
        };
        match self {
            Self::Rows => Value::Int(events.len() as i64),
            Self::Count(a) => Value::Int(values(a).len() as i64),
            Self::Distinct(a) => {
                Value::Int(values(a).iter().map(|v| format!("{v:?}")).collect::<BTreeSet<_>>().len() as i64)
            }
            Self::Sum(Arg::Int) => match values(Arg::Int).as_slice() {
                [] => Value::Null,
                all => Value::Int(all.iter().map(|v| micros(v) as i64 / 1_000_000).sum()),
            },
            Self::Sum(a) => match values(a).as_slice() {
                [] => Value::Null,
                all => Value::Micros(all.iter().map(micros).sum()),
            },
            Self::Avg(a) => match values(a).as_slice() {
                [] => Value::Null,
                all => Value::Micros(half_up(all.iter().map(micros).sum(), all.len() as i128)),
            },
            Self::Min(a) => extreme(a, true),
            Self::Max(a) => extreme(a, false),
            Self::Stddev(a) => deviation(&values(a).iter().map(micros).collect::<Vec<_>>()),
            Self::First(a) => kept(a).next().unwrap_or(Value::Null),
            Self::Last(a) => kept(a).next_back().unwrap_or(Value::Null),
            Self::Slope(y, x) => {
                let pairs: Vec<_> = events.iter().filter_map(|e| y.of(e).ok().zip(x.of(e).ok())).collect();
                let both = pairs.iter().filter(|(y, x)| *y != Value::Null && *x != Value::Null);
                slope(&both.map(|(y, x)| (micros(y), micros(x))).collect::<Vec<_>>())
            }
        }
    }
}

fn micros(value: &Value) -> i128 {
    match value {
        Value::Int(n) => i128::from(*n) * 1_000_000,
        Value::Micros(m) => *m,
        Value::Null | Value::Text(_) | Value::Time(_) => panic!("no number: {value:?}"),
    }
}

/// The nearest whole number to `a / b`, halves away from zero.
fn half_up(a: i128, b: i128) -> i128 {
    let (a, b) = if b < 0 { (-a, -b) } else { (a, b) };
    let magnitude = (2 * a.abs() + b) / (2 * b);
    if a < 0 { -magnitude } else { magnitude }
}

/// √(Σ(x − mean)² / n), in millionths: the nearest whole number, found by halving.
fn deviation(values: &[i128]) -> Value {
    let n = values.len() as i128;
    if n == 0 {
        return Value::Null;
    }
    let sum: BigInt = values.iter().map(|v| BigInt::from(*v)).sum();
    // n²·variance = n·Σ(n·x − Σx)² / n².
    let from_mean = |v: &i128| BigInt::from(*v) * n - &sum;
    let squares: BigInt = values.iter().map(|v| from_mean(v).pow(2)).sum();
    // The deviation d has n³·d² = squares; the nearest r has (2r − 1)²·n³ <= 4·squares < (2r + 1)²·n³.
    let (mut low, mut high) = (0_i128, 1 << 92);
    while low < high {
        let middle = (low + high) / 2;
        let below = BigInt::from(2 * middle + 1).pow(2) * BigInt::from(n).pow(3) <= &squares * 4;
        if below { low = middle + 1 } else { high = middle }
    }
    Value::Micros(low)
}

/// Σ(x − x̄)(y − ȳ) / Σ(x − x̄)².
fn slope(pairs: &[(i128, i128)]) -> Value {
    let n = pairs.len() as i128;
    let (sum_y, sum_x) = pairs.iter().fold((0, 0), |(y, x), pair| (y + pair.0, x + pair.1));
    let of = |a: i128, sum: i128| BigInt::from(n) * a - sum;
    let over: BigInt = pairs.iter().map(|(y, x)| of(*x, sum_x) * of(*y, sum_y)).sum();
    let under: BigInt = pairs.iter().map(|(_, x)| of(*x, sum_x).pow(2)).sum();
    if under == BigInt::ZERO {
        return Value::Null;
    }
    // Halves away from zero: the denominator is above zero.
    let magnitude = (over.magnitude() * 2_000_000_u32 + under.magnitude()) / (under.magnitude() * 2_u32);
    let magnitude = i128::try_from(magnitude).unwrap();
    Value::Micros(if over < BigInt::ZERO { -magnitude } else { magnitude })
}

/// The local day of an instant: the last one that has begun.
fn local_day(at: i64, place: Place) -> i64 {
    // No zone is as much as two days away from UTC.
    let mut day = at.div_euclid(DAY) - 2;
    while day_start(day + 1, place) <= at {
        day += 1;
    }
    day
}

thread_local! {
    static DAY_STARTS: RefCell<BTreeMap<(Place, i64), i64>> = RefCell::default();
}

/// The first instant at which the clocks show a date, or one after it: looked for minute by minute.
fn day_start(day: i64, place: Place) -> i64 {
    let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(day);
    let search = || {
        let zone = jiff::tz::TimeZone::get(place.zone).unwrap();
        let shows = |at: &i64| zone.to_datetime(jiff::Timestamp::from_millisecond(*at).unwrap()).date() >= date;
        (day * DAY - 26 * HOUR..).step_by(60_000).find(shows).unwrap()
    };
    DAY_STARTS.with_borrow_mut(|known| *known.entry((place, day)).or_insert_with(search))
}

/// Weeks begin on Mondays; 1970-01-01 was a Thursday.
fn day_pane(at: i64, days: i64, place: Place) -> i64 {
    (local_day(at, place) + if days % 7 == 0 { 3 } else { 0 }).div_euclid(days)
}

impl Window {
    pub fn sql(self) -> String {
        let minutes = |ms: i64| format!("interval '{} minutes'", ms / 60_000);
        let days = |n: i64| format!("interval '{n} days'");
        match self {
            Self::Tumble(size) => format!("tumble({})", minutes(size)),
            Self::Hop(slide, size) => format!("hop({}, {})", minutes(slide), minutes(size)),
            Self::Session(gap, _) => format!("session({})", minutes(gap)),
            Self::Days(step, size, Place { zone, .. }) if step == size => format!("tumble({}, '{zone}')", days(size)),
            Self::Days(step, size, Place { zone, .. }) => format!("hop({}, {}, '{zone}')", days(step), days(size)),
        }
    }

    /// Whether what happened at `at` is in the window at the clock; of sessions, whether it is considered.
    fn covers(self, at: i64, clock: i64) -> bool {
        let within = |pane: i64, now: i64, panes: i64| pane <= now && pane > now - panes;
        let hop = |slide: i64, size: i64| within(at.div_euclid(slide), clock.div_euclid(slide), size / slide);
        match self {
            Self::Tumble(size) => hop(size, size),
            Self::Hop(slide, size) => hop(slide, size),
            Self::Days(step, size, place) => {
                within(day_pane(at, step, place), day_pane(clock, step, place), size / step)
            }
            Self::Session(gap, horizon) => {
                let width = session_pane(gap, horizon);
                within(at.div_euclid(width), clock.div_euclid(width), (horizon + width - 1) / width)
            }
        }
    }
}

/// A pane of sessions is as wide as the gap, or as a part of the horizon if that is more, in whole seconds.
fn session_pane(gap: i64, horizon: i64) -> i64 {
    let width = gap.max((horizon + 255) / 256);
    (width + 999) / 1000 * 1000
}

impl Base {
    /// The events that count, by time and id.
    fn counted<'e>(&self, events: &'e [Event]) -> Vec<&'e Event> {
        let mut counted: Vec<_> = events.iter().filter(|e| self.filter.holds(e)).collect();
        counted.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        counted
    }

    /// The events in the window at a clock, by time and id: of sessions, those of the open one.
    pub fn covered<'e>(&self, events: &'e [Event], clock: i64) -> Vec<&'e Event> {
        let within: Vec<_> = self.counted(events).into_iter().filter(|e| self.window.covers(e.at, clock)).collect();
        let Window::Session(gap, _) = self.window else { return within };
        let open = sessions(&within, |e| e.at, gap).pop().unwrap_or_default();
        if open.last().is_some_and(|last| last.at + gap > clock) { open } else { Vec::new() }
    }

    /// The view's row at a clock.
    pub fn row(&self, events: &[Event], clock: i64) -> Option<Row> {
        let within = self.covered(events, clock);
        let (first, last) = (within.first()?.at, within.last()?.at);
        let bounds = match self.window {
            Window::Session(gap, _) => Some((first, last + gap)),
            Window::Tumble(_) | Window::Hop(..) | Window::Days(..) => None,
        };
        Some((self.aggregates.iter().map(|a| shown(a.of(&within))).collect(), bounds))
    }

    /// The rows of the windows for whoever reads this view at a clock: start and count.
    fn rows(&self, events: &[Event], clock: i64, back: i64) -> Vec<(i64, i64)> {
        let counted = self.counted(events);
        let starts = |pane: &dyn Fn(i64) -> i64, start: &dyn Fn(i64) -> i64| {
            let now = pane(clock);
            let panes: BTreeSet<i64> = counted.iter().map(|e| pane(e.at)).filter(|p| *p <= now).collect();
            let count = |p: i64| counted.iter().filter(|e| pane(e.at) == p).count() as i64;
            panes.into_iter().map(|p| (start(p), count(p))).collect()
        };
        match self.window {
            Window::Tumble(size) => starts(&|at| at.div_euclid(size), &|pane| pane * size),
            Window::Days(step, _, place) => {
                let monday = if step % 7 == 0 { 3 } else { 0 };
                starts(&|at| day_pane(at, step, place), &|pane| day_start(pane * step - monday, place))
            }
            Window::Session(gap, horizon) => {
                let width = session_pane(gap, horizon);
                let whole = (horizon + width - 1) / width * width;
                let panes = (back + whole).div_euclid(width) + 2;
                let now = clock.div_euclid(width);
                let within = |e: &&Event| (now - panes + 1..=now).contains(&e.at.div_euclid(width));
                let considered: Vec<_> = counted.into_iter().filter(within).collect();
                let sessions = sessions(&considered, |e| e.at, gap);
                sessions.iter().map(|s| (s[0].at, s.len() as i64)).collect()
            }
            Window::Hop(..) => panic!("nobody reads a hop view"),
        }
    }
}

/// Cut where nothing came for the gap.
fn sessions<T: Clone>(sorted: &[T], at: impl Fn(&T) -> i64, gap: i64) -> Vec<Vec<T>> {
    sorted.chunk_by(|a, b| at(b) - at(a) < gap).map(<[T]>::to_vec).collect()
}

impl Outer {
    /// Count of windows, sum of their counts, the slope of the counts over days, the latest count, and the first start.
    pub fn sql(&self) -> String {
        format!(
            "SELECT student_id, count(*) AS rows, sum(a0) AS total, max(a0) AS most, last(a0) AS latest,
             regr_slope(a0, extract(epoch from window_start) / 86400) AS trend, min(window_start) AS since FROM v{}{}
             GROUP BY student_id, {}",
            self.inner,
            if self.filtered { " WHERE a0 > 1" } else { "" },
            self.window.sql()
        )
    }

    pub fn row(&self, inner: &Base, events: &[Event], clock: i64) -> Option<Row> {
        let back = match self.window {
            Window::Tumble(size) | Window::Hop(_, size) => size,
            Window::Days(_, size, _) => size * DAY,
            Window::Session(gap, horizon) => {
                let width = session_pane(gap, horizon);
                (horizon + width - 1) / width * width
            }
        };
        let mut rows: Vec<_> = inner.rows(events, clock, back);
        rows.retain(|(start, count)| self.window.covers(*start, clock) && (!self.filtered || *count > 1));
        let mut bounds = None;
        if let Window::Session(gap, _) = self.window {
            rows = sessions(&rows, |(start, _)| *start, gap).pop().unwrap_or_default();
            let (first, last) = (rows.first()?.0, rows.last()?.0);
            if last + gap <= clock {
                return None;
            }
            bounds = Some((first, last + gap));
        }
        let last = rows.last()?;
        let day = |start: i64| millionths(start as f64 / 1000.0 / 86_400.0);
        let points: Vec<_> = rows.iter().map(|(start, n)| (i128::from(*n) * 1_000_000, day(*start))).collect();
        let values = [
            Value::Int(rows.len() as i64),
            Value::Int(rows.iter().map(|(_, n)| n).sum()),
            Value::Int(rows.iter().map(|(_, n)| *n).max()?),
            Value::Int(last.1),
            slope(&points),
            Value::Time(rows.iter().map(|(start, _)| *start).min()?),
        ];
        Some((values.into_iter().map(shown).collect(), bounds))
    }
}

/// The nearest millionth of the decimal that a double above zero shows, halves up: digit by digit.
fn millionths(x: f64) -> i128 {
    let text = x.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{fraction:0<7}");
    let kept: i128 = format!("{whole}{}", &digits[..6]).parse().unwrap();
    kept + i128::from(&digits[6..7] >= "5")
}

fn shown(value: Value) -> FeatureValue {
    match value {
        Value::Null => FeatureValue::Null,
        Value::Int(n) => FeatureValue::Int(i128::from(n)),
        Value::Micros(m) => FeatureValue::Micros(m),
        Value::Text(text) => FeatureValue::Text(text.as_str().into()),
        Value::Time(at) => {
            let text = jiff::Timestamp::from_millisecond(at).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            FeatureValue::Text(text.as_str().into())
        }
    }
}
