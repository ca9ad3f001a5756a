//! The registry of scalar functions. A new function is one [`Definition`] in a file here and its line in [`REGISTRY`].
//!
//! Constructs with a grammar of their own (CASE, CAST, LIKE, EXTRACT, operators) are in `resolve.rs`.

mod choice;
pub mod number;
pub mod text;
pub mod time;

use super::expr::Type;
use super::node::Call;
use super::resolve::{Resolver, Typed};
use sqlparser::ast;

/// A scalar function: its name and how its arguments decide what is called.
pub struct Definition {
    /// The name, in lower case.
    pub name: &'static str,
    /// What it takes, for people: `text, bigint`.
    pub takes: &'static str,
    /// How it is resolved.
    pub kind: Kind,
}

/// How a function is resolved.
pub enum Kind {
    /// One of these, with at most three arguments; NULL where an argument is NULL.
    Strict(&'static [Signature]),
    /// By a function: polymorphic, lazy or variadic ones. `None` where the arguments do not fit; the caller says so,
    /// unless the function pushed a fault of its own.
    Custom(Custom),
}

/// Resolves a call; see [`Kind::Custom`].
pub type Custom = for<'a> fn(&mut Resolver<'_>, Vec<Typed<'a>>, &'a ast::Expr) -> Option<Typed<'a>>;

/// Argument types, the result's type, and the code.
pub struct Signature {
    /// What the arguments are.
    pub arguments: &'static [Type],
    /// What the result is.
    pub result: Type,
    /// The code.
    pub call: Call,
}

/// All scalar functions.
pub static REGISTRY: &[&Definition] = &[
    &choice::COALESCE,
    &choice::GREATEST,
    &choice::LEAST,
    &choice::NULLIF,
    &number::ABS,
    &number::CEIL,
    &number::CEILING,
    &number::FLOOR,
    &number::ROUND,
    &text::CONCAT,
    &text::LENGTH,
    &text::LOWER,
    &text::SUBSTR,
    &text::SUBSTRING,
    &text::UPPER,
    &time::DATE_PART,
    &time::DATE_TRUNC,
];

/// Functions of other dialects, in lower case, and what to write here.
pub static HABITS: &[(&[&str], &str)] = &[
    (
        &[
            "now",
            "current_timestamp",
            "current_date",
            "current_time",
            "localtimestamp",
            "getdate",
            "curdate",
            "sysdate",
        ],
        "what a view shows follows from events and its window: window_end in SELECT is the end of the present window",
    ),
    (
        &["date_sub", "date_add", "dateadd", "adddate", "subdate", "timestampadd"],
        "add or subtract an interval: occurred_at - INTERVAL '7 days'",
    ),
    (
        &["datediff", "date_diff", "timestampdiff", "unix_timestamp", "to_unixtime", "age"],
        "extract(epoch FROM later - earlier) is the difference in seconds",
    ),
    (
        &["year", "month", "week", "day", "hour", "minute", "dayofweek", "weekday"],
        "such as extract(hour FROM occurred_at)",
    ),
    (&["to_date", "date", "trunc_date", "date_format", "to_char"], "date_trunc('day', occurred_at) is the day"),
    (&["if", "iif", "decode"], "CASE WHEN condition THEN … ELSE … END"),
    (&["ifnull", "nvl", "isnull"], "coalesce(x, y)"),
    (
        &["json_extract", "json_value", "get_json_object", "json_extract_scalar"],
        "context->>'key' takes a text out of JSON",
    ),
    (&["len", "char_length", "character_length"], "length(text)"),
    (&["mean", "average"], "avg(x)"),
    (&["stddev", "stddev_samp", "std", "stdev", "variance", "var_pop", "var_samp"], "stddev_pop(x)"),
    (&["approx_distinct", "approx_count_distinct", "uniq", "count_distinct"], "count(distinct x)"),
    (&["countif", "count_if"], "count(*) FILTER (WHERE condition)"),
    (&["sumif", "sum_if"], "sum(x) FILTER (WHERE condition)"),
    (&["first_value", "any_value", "earliest", "arg_min", "argmin"], "first(x), by event time"),
    (&["last_value", "latest", "arg_max", "argmax"], "last(x), by event time"),
    (&["covar_pop", "regr_intercept", "corr", "slope"], "regr_slope(y, x) is the slope of the line through the points"),
    (
        &["median", "percentile_cont", "percentile_disc", "mode", "quantile"],
        "views keep sums, not all values: avg, stddev_pop, min and max; of grades there is cohort.percentile",
    ),
    (
        &["array_agg", "string_agg", "group_concat", "listagg", "collect_list", "collect_set"],
        "a view's outputs are single values: count(distinct x), first(x) or last(x)",
    ),
    (
        &["lag", "lead", "row_number", "rank", "dense_rank"],
        "rows are seen one by one: a view over a view compares windows, such as regr_slope(n, extract(epoch FROM window_start))",
    ),
];

/// The function of a name in lower case.
pub fn find(name: &str) -> Option<&'static Definition> {
    REGISTRY.iter().find(|definition| definition.name == name).copied()
}
