//! `GROUP BY student_id, tumble(…)` or `hop(…)`: a view's window.

use super::SqlFault;
use super::calendar::DAY_MS;
use super::nearest_help;
use super::node::{Constant, Node};
use super::resolve::{Resolver, fold_name, plain_arguments};
use super::view::is_student_id;
use aulaflow_model::window::{WindowKind, WindowSpec};
use sqlparser::ast::{Expr, Function, GroupByExpr, ObjectNamePart};

/// The most panes that a window may have: each is kept per student.
const PANES_MAX: i64 = 10_000;
/// The shortest slide.
const SLIDE_MIN_MS: i64 = 1000;
/// The longest window: a hundred years.
const SIZE_MAX_MS: i64 = 36_525 * DAY_MS;

const SHAPE: &str = "GROUP BY student_id, hop(INTERVAL '1 hour', INTERVAL '7 days')";

/// Whether a name in lower case is a window function's.
pub fn is_window(name: &str) -> bool {
    matches!(name, "tumble" | "hop" | "session")
}

/// Checks GROUP BY: `student_id` and one window.
pub fn group_by(resolver: &mut Resolver<'_>, group_by: &GroupByExpr) -> Option<WindowSpec> {
    let list = match group_by {
        GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => list.as_slice(),
        GroupByExpr::Expressions(..) | GroupByExpr::All(_) => {
            let at = resolver.source.keyword("GROUP", &resolver.within);
            resolver.fault(SqlFault::new(at, "a view groups by student_id and a window").help(SHAPE));
            return None;
        }
    };
    let (Some(first), Some(last)) = (list.first(), list.last()) else {
        let at = resolver.source.keyword("SELECT", &resolver.within);
        resolver.fault(SqlFault::new(at, "GROUP BY is missing").help(SHAPE));
        return None;
    };
    let at = resolver.range(first).start..resolver.range(last).end;
    let (mut students, mut windows, mut window) = (0, 0, None);
    for expression in list {
        let at = resolver.range(expression);
        if is_student_id(resolver, expression) {
            students += 1;
            if students > 1 {
                resolver.fault(SqlFault::new(at, "student_id stands twice in GROUP BY"));
            }
        } else if let Expr::Function(function) = expression {
            windows += 1;
            if windows > 1 {
                resolver.fault(SqlFault::new(at, "a view has one window").help("write a second view"));
            } else {
                window = window_of(resolver, function, expression);
            }
        } else {
            resolver.fault(SqlFault::new(at, "a view groups by student_id and a window only").help(SHAPE));
        }
    }
    if students == 0 {
        resolver.fault(SqlFault::new(at.clone(), "GROUP BY must hold student_id").help(SHAPE));
    }
    if windows == 0 {
        resolver.fault(SqlFault::new(at, "GROUP BY must hold a window").help(SHAPE));
    }
    window
}

fn window_of(resolver: &mut Resolver<'_>, function: &Function, e: &Expr) -> Option<WindowSpec> {
    let name = match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => fold_name(name),
        _ => function.name.to_string(),
    };
    let kind = match name.as_str() {
        "tumble" => WindowKind::Tumble,
        "hop" => WindowKind::Hop,
        "session" => {
            let help = "supported are tumble(size) and hop(slide, size)";
            return resolver.refuse(e, "session is not supported yet", Some(help));
        }
        other => {
            let help = nearest_help(other, &["tumble", "hop"], "windows");
            return resolver.refuse(e, format!("unknown window \"{other}\""), Some(&help));
        }
    };
    let arguments = plain_arguments(function).unwrap_or_default();
    match (kind, arguments.as_slice()) {
        (WindowKind::Tumble, [size]) => {
            let size_ms = length_ms(resolver, size)?;
            Some(WindowSpec::tumble(size_ms))
        }
        (WindowKind::Hop, [slide, size]) => {
            let (slide_ms, size_ms) = (length_ms(resolver, slide), length_ms(resolver, size));
            hop(resolver, slide_ms?, size_ms?, e)
        }
        (WindowKind::Tumble, _) => resolver.refuse(e, "tumble takes one interval", Some("tumble(INTERVAL '1 day')")),
        (WindowKind::Hop | WindowKind::Session | WindowKind::Present, _) => {
            let help = "hop(slide, size), such as hop(INTERVAL '1 hour', INTERVAL '7 days')";
            resolver.refuse(e, "hop takes two intervals", Some(help))
        }
    }
}

fn hop(resolver: &mut Resolver<'_>, slide_ms: i64, size_ms: i64, e: &Expr) -> Option<WindowSpec> {
    if size_ms % slide_ms != 0 {
        let help = format!("the size is {size_ms} ms, the slide {slide_ms} ms: hop(slide, size)");
        return resolver.refuse(e, "the window's size must be a multiple of its slide", Some(&help));
    }
    let panes = size_ms / slide_ms;
    if panes > PANES_MAX {
        let message = format!("the window has {panes} panes; at most {PANES_MAX} are allowed");
        return resolver.refuse(e, message, Some("a pane is as long as the slide: take a longer slide"));
    }
    Some(WindowSpec::hop(slide_ms, size_ms))
}

/// The length of an interval literal.
fn length_ms(resolver: &mut Resolver<'_>, e: &Expr) -> Option<i64> {
    if !matches!(e, Expr::Interval(_) | Expr::Cast { .. } | Expr::Nested(_)) {
        return resolver.refuse(e, "a window's length is an interval literal", Some("INTERVAL '7 days'"));
    }
    let typed = resolver.lower(e)?;
    let Node::Constant(Constant::Interval(months, days, millis)) = typed.node else {
        return resolver.refuse(e, "a window's length is an interval literal", Some("INTERVAL '7 days'"));
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
