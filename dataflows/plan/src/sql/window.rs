//! `GROUP BY student_id, tumble(…)`, `hop(…)` or `session(…)`: a view's window.

use super::SqlFault;
use super::calendar::DAY_MS;
use super::from::Scope;
use super::nearest_help;
use super::node::{Constant, Node};
use super::output::is_student_id;
use super::resolve::{Resolver, fold_name, plain_arguments};
use super::zone;
use super::{Relation, zone::text_literal};
use crate::quantity::format_duration;
use aulaflow_model::instant::Millis;
use aulaflow_model::window::{WindowKind, WindowSpec, Zone};
use sqlparser::ast::{Expr, Function, GroupByExpr, ObjectNamePart};
use std::ops::Range;
use std::time::Duration;

/// The most panes that a window may have: each is kept per student.
const PANES_MAX: i64 = 10_000;
/// The shortest slide, and the shortest gap.
const SLIDE_MIN_MS: i64 = 1000;
/// The longest window: a hundred years.
const SIZE_MAX_MS: i64 = 36_525 * DAY_MS;
/// The longest gap of sessions: so long that ten of them are a window.
const GAP_MAX_MS: i64 = SIZE_MAX_MS / 10;
/// A session's horizon is cut into about so many panes, where the gap is not longer than such a pane.
const SESSION_PANES: i64 = 256;
/// The widest pane of a session: instants within a pane are kept as milliseconds in 32 bits, which are 49.7 days.
const SESSION_PANE_MAX_MS: i64 = 48 * DAY_MS;

const WINDOWS: [&str; 3] = ["tumble", "hop", "session"];

const SHAPE: &str = "GROUP BY student_id, hop(INTERVAL '1 hour', INTERVAL '7 days')";

const TUMBLE_USAGE: &str =
    "tumble(size), such as tumble(INTERVAL '1 day') or tumble(INTERVAL '1 day', 'America/Mexico_City')";
const HOP_USAGE: &str = "hop(slide, size), such as hop(INTERVAL '1 hour', INTERVAL '7 days') or \
                         hop(INTERVAL '1 day', INTERVAL '7 days', 'America/Mexico_City')";
const SESSION_USAGE: &str = "session(gap), such as session(INTERVAL '30 minutes')";

/// Whether a name in lower case is a window function's.
pub fn is_window(name: &str) -> bool {
    WINDOWS.contains(&name)
}

/// The view option `horizon` and its place.
pub type Horizon = Option<(i64, Range<usize>)>;

/// Checks GROUP BY: `student_id` and one window, or `student_id` alone over grades.
pub fn group_by(
    resolver: &mut Resolver<'_>,
    group_by: &GroupByExpr,
    scope: &Scope,
    horizon: &Horizon,
) -> Option<WindowSpec> {
    let present = scope.relation == Relation::Grades;
    let shape = if present { "GROUP BY student_id" } else { SHAPE };
    let list = match group_by {
        GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => list.as_slice(),
        GroupByExpr::Expressions(..) | GroupByExpr::All(_) => {
            let at = resolver.source.keyword("GROUP", &resolver.within);
            resolver.fault(SqlFault::new(at, "a view groups by student_id and a window").help(shape));
            return None;
        }
    };
    let (Some(first), Some(last)) = (list.first(), list.last()) else {
        let at = resolver.source.keyword("SELECT", &resolver.within);
        resolver.fault(SqlFault::new(at, "GROUP BY is missing").help(shape));
        return None;
    };
    let at = resolver.range(first).start..resolver.range(last).end;
    let mut students = 0;
    let mut windows = Vec::new();
    for expression in list {
        if is_student_id(resolver, expression) {
            students += 1;
            if students > 1 {
                let at = resolver.range(expression);
                resolver.fault(SqlFault::new(at, "student_id stands twice in GROUP BY"));
            }
        } else if let Expr::Function(function) = expression {
            windows.push((function, expression));
        } else {
            other_key(resolver, expression, shape);
        }
    }
    if students == 0 {
        resolver.fault(SqlFault::new(at.clone(), "GROUP BY must hold student_id").help(shape));
    }
    if present {
        return present_window(resolver, &windows, horizon);
    }
    if let Some((_, second)) = windows.get(1) {
        return resolver.refuse(second, "a view has one window", Some("write a second view"));
    }
    let Some((function, e)) = windows.first() else {
        resolver.fault(SqlFault::new(at, "GROUP BY must hold a window").help(shape));
        return None;
    };
    let window = window_of(resolver, function, e, horizon)?;
    fits(resolver, &window, scope, e)?;
    Some(window)
}

/// What is neither student_id nor a window.
fn other_key(resolver: &mut Resolver<'_>, expression: &Expr, shape: &str) {
    let name = match expression {
        Expr::Identifier(name) => fold_name(name),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold_name).unwrap_or_default(),
        _ => String::new(),
    };
    let help = match (name.as_str(), expression) {
        ("tenant" | "tenant_id" | "school" | "school_id", _) => {
            "every view is per tenant, and its key carries the tenant: leave it out".to_owned()
        }
        ("window_start" | "window_end" | "window", _) => {
            format!("write the window itself: {shape}; its bounds can be selected")
        }
        (_, Expr::Value(_)) => format!("positions are not supported, write the names: {shape}"),
        _ => format!("{shape}; a row per student is all a view has: count(CASE WHEN … THEN 1 END) tells kinds apart"),
    };
    let what = if shape == SHAPE { "student_id and a window only" } else { "student_id only" };
    let at = resolver.range(expression);
    resolver.fault(SqlFault::new(at, format!("a view groups by {what}")).help(help));
}

fn present_window(
    resolver: &mut Resolver<'_>,
    windows: &[(&Function, &Expr)],
    horizon: &Horizon,
) -> Option<WindowSpec> {
    if let Some((_, e)) = windows.first() {
        let help = "grades are shown as they are now: GROUP BY student_id";
        return resolver.refuse(e, "a view over grades has no window", Some(help));
    }
    no_horizon(resolver, horizon)?;
    Some(WindowSpec::present())
}

fn no_horizon(resolver: &mut Resolver<'_>, horizon: &Horizon) -> Option<()> {
    if let Some((_, at)) = horizon {
        let fault = SqlFault::new(at.clone(), "only a view with a session window has a horizon");
        resolver.fault(fault.help("it says how far back sessions are looked for; other windows have a size"));
        return None;
    }
    Some(())
}

fn window_of(resolver: &mut Resolver<'_>, function: &Function, e: &Expr, horizon: &Horizon) -> Option<WindowSpec> {
    let name = match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => fold_name(name),
        _ => function.name.to_string(),
    };
    let arguments = plain_arguments(function).unwrap_or_default();
    if let [first, rest @ ..] = arguments.as_slice()
        && is_window(&name)
        && matches!(first, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
    {
        let rest: Vec<&str> = rest.iter().map(|e| resolver.source.text(resolver.range(e))).collect();
        let help = format!("the event time is the one that the table names: {name}({})", rest.join(", "));
        return resolver.refuse(first, format!("{name} takes no column"), Some(&help));
    }
    if name != "session" && is_window(&name) {
        no_horizon(resolver, horizon)?;
    }
    match (name.as_str(), arguments.as_slice()) {
        ("tumble", [size]) => Some(WindowSpec::tumble(length_ms(resolver, size)?)),
        ("tumble", [size, zone]) => {
            let (size_ms, zone) = (length_ms(resolver, size), zone::resolve(resolver, zone));
            let size_ms = size_ms?;
            whole_days(resolver, &[(size, size_ms)])?;
            Some(WindowSpec::tumble(size_ms).in_zone(Some(zone?)))
        }
        ("hop", [slide, size]) if text_literal(size).is_none_or(|name| Zone::new(name).is_none()) => {
            hop(resolver, slide, size, e)
        }
        ("hop", [slide, size, zone]) => {
            let (window, zone) = (hop(resolver, slide, size, e), zone::resolve(resolver, zone));
            let window = window?;
            whole_days(resolver, &[(slide, window.slide_ms), (size, window.size_ms)])?;
            Some(window.in_zone(Some(zone?)))
        }
        ("session", [gap]) => session(resolver, gap, horizon),
        ("session", [_, second]) if text_literal(second).is_some_and(|name| Zone::new(name).is_some()) => {
            let help = "sessions end after a pause, whatever the time of day: session(INTERVAL '30 minutes')";
            resolver.refuse(second, "a session has no time zone", Some(help))
        }
        ("session", [_, _, ..]) => {
            let help = format!("{SESSION_USAGE}; how far back to look is an option: WITH (horizon = '30 days')");
            resolver.refuse(e, "session takes one interval, the gap", Some(&help))
        }
        ("tumble", _) => resolver.refuse(e, "tumble takes one interval, and a time zone if wanted", Some(TUMBLE_USAGE)),
        ("hop", _) => resolver.refuse(e, "hop takes two intervals, and a time zone if wanted", Some(HOP_USAGE)),
        ("session", _) => resolver.refuse(e, "session takes one interval, the gap", Some(SESSION_USAGE)),
        ("sliding" | "slide" | "hopping", _) => {
            resolver.refuse(e, format!("unknown window \"{name}\""), Some(HOP_USAGE))
        }
        ("tumbling" | "fixed", _) => resolver.refuse(e, format!("unknown window \"{name}\""), Some(TUMBLE_USAGE)),
        ("date_trunc", _) => {
            let help = "days, hours and weeks are windows: tumble(INTERVAL '1 day')";
            resolver.refuse(e, "a view groups by student_id and a window only", Some(help))
        }
        (other, _) => {
            let help = nearest_help(other, &WINDOWS, "windows");
            resolver.refuse(e, format!("unknown window \"{other}\""), Some(&help))
        }
    }
}

fn hop(resolver: &mut Resolver<'_>, slide: &Expr, size: &Expr, e: &Expr) -> Option<WindowSpec> {
    let (slide_ms, size_ms) = (length_ms(resolver, slide), length_ms(resolver, size));
    let (slide_ms, size_ms) = (slide_ms?, size_ms?);
    if slide_ms > size_ms {
        let text = |e: &Expr| resolver.source.text(resolver.range(e)).to_owned();
        let help = format!("hop(slide, size): did you mean hop({}, {})?", text(size), text(slide));
        return resolver.refuse(e, "the window's slide is longer than its size", Some(&help));
    }
    if size_ms % slide_ms != 0 {
        let (size, slide) = (shown(size_ms), shown(slide_ms));
        let help = format!("the size is {size}, the slide {slide}: hop(slide, size)");
        return resolver.refuse(e, "the window's size must be a multiple of its slide", Some(&help));
    }
    let panes = size_ms / slide_ms;
    if panes > PANES_MAX {
        let message = format!("the window has {panes} panes; at most {PANES_MAX} are allowed");
        return resolver.refuse(e, message, Some("a pane is as long as the slide: take a longer slide"));
    }
    Some(WindowSpec::hop(slide_ms, size_ms))
}

/// Panes are as wide as the gap at least, so that a session's events lie in panes one after the other, and no more than
/// [`SESSION_PANES`] where the horizon is very long.
fn session(resolver: &mut Resolver<'_>, gap: &Expr, horizon: &Horizon) -> Option<WindowSpec> {
    let gap_ms = length_ms(resolver, gap)?;
    if gap_ms > GAP_MAX_MS {
        return resolver.refuse(gap, "a session's gap must be at most 10 years", None);
    }
    let horizon_ms = match horizon {
        Some((horizon_ms, at)) if *horizon_ms < gap_ms => {
            let message = format!("the horizon is shorter than the gap of {}", shown(gap_ms));
            let fault = SqlFault::new(at.clone(), message);
            resolver.fault(fault.help("it says how far back sessions are looked for: ten gaps or more"));
            return None;
        }
        Some((horizon_ms, _)) => *horizon_ms,
        None => (10 * gap_ms).max(DAY_MS),
    };
    let slide_ms = gap_ms.max((horizon_ms + SESSION_PANES - 1) / SESSION_PANES);
    let slide_ms = ((slide_ms + 999) / 1000 * 1000).min(SESSION_PANE_MAX_MS);
    let panes = (horizon_ms + slide_ms - 1) / slide_ms;
    Some(WindowSpec::session(gap_ms, slide_ms, panes * slide_ms))
}

/// A calendar has days of its own, and no other lengths.
fn whole_days(resolver: &mut Resolver<'_>, lengths: &[(&Expr, i64)]) -> Option<()> {
    let broken = lengths.iter().find(|(_, length_ms)| length_ms % DAY_MS != 0);
    if let Some((e, length_ms)) = broken {
        let message = format!("a window in a time zone is made of whole days, not of {}", shown(*length_ms));
        let help = "days and weeks have a zone; leave the zone out for other lengths: all zones share their hours";
        return resolver.refuse(e, message, Some(help));
    }
    Some(())
}

/// Whether the windows of the view that is read lie within the panes of this one.
fn fits(resolver: &mut Resolver<'_>, window: &WindowSpec, scope: &Scope, e: &Expr) -> Option<()> {
    let Some(inner) = scope.inner.as_ref().filter(|inner| inner.kind == WindowKind::Tumble) else { return Some(()) };
    // A row counts at the start of its window, so that sessions of them need nothing more.
    if window.kind == WindowKind::Session {
        return Some(());
    }
    if window.zone != inner.zone {
        let zone =
            |spec: &WindowSpec| spec.zone.as_ref().map_or("none".to_owned(), |zone| format!("'{}'", zone.name()));
        let message = format!("the time zones differ: {} here, {} in the view that is read", zone(window), zone(inner));
        return resolver.refuse(e, message, Some("the days of both must be the same days"));
    }
    // Weeks of a calendar start on Mondays, so that it takes more than a multiple.
    let start = window.start_of(window.pane(Millis(0)));
    let aligned = inner.start_of(inner.pane(start)) == start;
    if window.slide_ms % inner.size_ms != 0 || !aligned {
        let what = if window.kind == WindowKind::Hop { "slide" } else { "size" };
        let (own, inner) = (shown(window.slide_ms), shown(inner.size_ms));
        let message = format!("the {what} of {own} must be a multiple of {inner}, the window of the view that is read");
        let help = "a window of that view lies in one window of this one, or in none";
        return resolver.refuse(e, message, Some(help));
    }
    Some(())
}

fn shown(length_ms: i64) -> String {
    format_duration(Duration::from_millis(length_ms.unsigned_abs()))
}

/// The length of an interval literal.
fn length_ms(resolver: &mut Resolver<'_>, e: &Expr) -> Option<i64> {
    const MESSAGE: &str = "a window's length is an interval literal";
    if let Some(text) = text_literal(e) {
        let help = format!("INTERVAL '{text}'");
        let help = if super::literal::parse_interval(text).is_ok() { &help } else { "INTERVAL '7 days'" };
        return resolver.refuse(e, MESSAGE, Some(help));
    }
    if !matches!(e, Expr::Interval(_) | Expr::Cast { .. } | Expr::Nested(_)) {
        return resolver.refuse(e, MESSAGE, Some("INTERVAL '7 days'"));
    }
    let typed = resolver.lower(e)?;
    let Node::Constant(Constant::Interval(months, days, millis)) = typed.node else {
        return resolver.refuse(e, MESSAGE, Some("INTERVAL '7 days'"));
    };
    if months != 0 {
        let help = "write days: INTERVAL '30 days', INTERVAL '365 days'";
        return resolver.refuse(
            e,
            "months and years are not all of one length, so a window cannot be so long",
            Some(help),
        );
    }
    let length = i64::from(days) * DAY_MS + millis;
    match length {
        ..=0 => resolver.refuse(e, "a window's length must be positive", None),
        1..SLIDE_MIN_MS => resolver.refuse(e, "a window's length must be at least 1 second", None),
        _ if length > SIZE_MAX_MS => resolver.refuse(e, "a window's length must be at most 100 years", None),
        _ => Some(length),
    }
}
