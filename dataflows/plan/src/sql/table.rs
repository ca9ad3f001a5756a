//! `CREATE TABLE … WITH (connector = 'log', …)`: a source table.

use super::expr::Type;
use super::options::Options;
use super::parse::Source;
use super::resolve::fold_name;
use super::{BehaviorField, Column, Format, SqlFault, Table, nearest_help, object_name};
use aulaflow_model::topic;
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{ColumnDef, CreateTable, DataType, ExactNumberInfo};
use std::ops::Range;

/// Types that SQL texts can name.
pub const TYPES_HELP: &str = "types are BOOLEAN, BIGINT, DOUBLE, TEXT, TIMESTAMP, INTERVAL and JSON";

/// What to write for a type that is not supported.
pub fn type_help(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Date | DataType::Datetime(_) => "a day is the TIMESTAMP of its start: TIMESTAMP '2026-01-15'",
        DataType::Decimal(_) | DataType::Numeric(_) | DataType::Dec(_) => "DOUBLE; sums of it are exact to millionths",
        _ => TYPES_HELP,
    }
}

/// How long ids are remembered where `dedupe_horizon` does not say.
const DEDUPE_HORIZON_MS: i64 = 24 * 3_600_000;

/// What may stand in its `WITH (…)`.
pub const OPTIONS: [&str; 7] = ["connector", "topic", "format", "event_time", "lateness", "dedupe", "dedupe_horizon"];

/// The fields of a behaviour event and their types.
const FIELDS: [(&str, Type, BehaviorField); 6] = [
    ("event_id", Type::Text, BehaviorField::EventId),
    ("student_id", Type::Text, BehaviorField::StudentId),
    ("event_type", Type::Text, BehaviorField::EventType),
    ("value", Type::Double, BehaviorField::Value),
    ("occurred_at", Type::Timestamp, BehaviorField::OccurredAt),
    ("context", Type::Json, BehaviorField::Context),
];

/// Checks a source table. `None` where it has faults.
pub fn check(
    source: &Source<'_>,
    create: &CreateTable,
    within: &Range<usize>,
    faults: &mut Vec<SqlFault>,
) -> Option<Table> {
    let before = faults.len();
    let name = object_name(source, &create.name, "table", within, faults);
    let plain = CreateTableBuilder::new(create.name.clone())
        .columns(create.columns.clone())
        .table_options(create.table_options.clone())
        .build();
    if plain != *create {
        let fault = SqlFault::new(source.keyword("CREATE", within), "only a plain CREATE TABLE is supported");
        faults.push(fault.help("CREATE TABLE name (column type, …) WITH (connector = 'log', …)"));
    }
    let columns = columns(source, &create.columns, within, faults);
    if create.columns.is_empty() {
        faults.push(SqlFault::new(source.place(&create.name, within), "the table has no columns"));
    }
    let at = source.place(&create.name, within);
    let options = Options::new(source, &create.table_options, &OPTIONS, within, faults);
    let topic = topic_option(&options, &at, faults);
    let format = format_option(&options, faults);
    event_time_option(&options, &columns, &at, faults);
    let lateness_ms = options.duration_ms("lateness", faults).unwrap_or(0);
    let dedupe_horizon_ms = dedupe_options(&options, &columns, faults);
    if faults.len() > before {
        return None;
    }
    Some(Table { name: name?, topic: topic?, columns, format, lateness_ms, dedupe_horizon_ms })
}

fn columns(
    source: &Source<'_>,
    definitions: &[ColumnDef],
    within: &Range<usize>,
    faults: &mut Vec<SqlFault>,
) -> Vec<Column> {
    let known: Vec<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
    let mut columns: Vec<Column> = Vec::new();
    for definition in definitions {
        let (name, at) = (fold_name(&definition.name), source.ident(&definition.name));
        let Some((_, ty, field)) = FIELDS.iter().find(|(field, ..)| *field == name) else {
            let help = nearest_help(&name, &known, "fields");
            faults.push(SqlFault::new(at, format!("behaviour events have no field \"{name}\"")).help(help));
            continue;
        };
        if columns.iter().any(|column| column.name == name) {
            faults.push(SqlFault::new(at, format!("column \"{name}\" is declared twice")));
            continue;
        }
        match sql_type(&definition.data_type) {
            Some(given) if given == *ty => {}
            Some(given) => faults.push(SqlFault::new(at.clone(), format!("column \"{name}\" is {ty}, not {given}"))),
            None => {
                let given = definition.data_type.to_string().to_lowercase();
                let fault = SqlFault::new(at.clone(), format!("type {given} is not supported"));
                faults.push(fault.help(format!("column \"{name}\" is {ty}")));
            }
        }
        if let Some(option) = definition.options.first() {
            let place = source.place(&option.option, &at);
            let place = if place == *within { at } else { place };
            faults.push(SqlFault::new(place, "a column has a name and a type, nothing else"));
        }
        columns.push(Column { name, ty: *ty, field: *field });
    }
    columns
}

fn topic_option(options: &Options<'_>, at: &Range<usize>, faults: &mut Vec<SqlFault>) -> Option<String> {
    if options.place("connector").is_none() {
        faults.push(SqlFault::new(at.clone(), "option \"connector\" is missing").help("connector = 'log'"));
    }
    if let Some((connector, place)) = options.text("connector", faults)
        && !matches!(connector.as_str(), "log" | "kafka")
    {
        let help = "connector = 'log' ('kafka' means the same: the log that is configured)";
        faults.push(SqlFault::new(place, format!("unknown connector '{connector}'")).help(help));
    }
    let help = format!("topic = '{}'", topic::BEHAVIOR);
    if options.place("topic").is_none() {
        faults.push(SqlFault::new(at.clone(), "option \"topic\" is missing").help(help));
        return None;
    }
    let (given, place) = options.text("topic", faults)?;
    if given != topic::BEHAVIOR {
        let message = format!("topic '{given}' cannot be a source table");
        faults.push(SqlFault::new(place, message).help(format!("supported topics: '{}'", topic::BEHAVIOR)));
        return None;
    }
    Some(given)
}

fn format_option(options: &Options<'_>, faults: &mut Vec<SqlFault>) -> Format {
    match options.text("format", faults) {
        None => Format::default(),
        Some((given, _)) if given == "json" => Format::Json,
        Some((given, place)) => {
            faults.push(SqlFault::new(place, format!("unknown format '{given}'")).help("format = 'json'"));
            Format::default()
        }
    }
}

fn event_time_option(options: &Options<'_>, columns: &[Column], at: &Range<usize>, faults: &mut Vec<SqlFault>) {
    if options.place("event_time").is_none() {
        let fault = SqlFault::new(at.clone(), "option \"event_time\" is missing");
        faults.push(fault.help("event_time = 'occurred_at'"));
    }
    let Some((given, place)) = options.text("event_time", faults) else { return };
    match columns.iter().find(|column| column.name == given.to_lowercase()) {
        Some(column) if column.ty == Type::Timestamp => {}
        Some(column) => {
            let message = format!("event_time must name a timestamp column; \"{given}\" is {}", column.ty);
            faults.push(SqlFault::new(place, message));
        }
        None => {
            let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let help = nearest_help(&given, &known, "columns");
            faults.push(SqlFault::new(place, format!("column \"{given}\" does not exist")).help(help));
        }
    }
}

fn dedupe_options(options: &Options<'_>, columns: &[Column], faults: &mut Vec<SqlFault>) -> Option<i64> {
    let horizon_ms = options.duration_ms("dedupe_horizon", faults);
    let Some(dedupe_place) = options.place("dedupe") else {
        if let Some(place) = options.place("dedupe_horizon") {
            faults.push(SqlFault::new(place, "dedupe_horizon needs dedupe").help("dedupe = 'event_id'"));
        }
        return None;
    };
    let (given, place) = options.text("dedupe", faults)?;
    let declared = columns.iter().any(|column| column.field == BehaviorField::EventId);
    if !given.eq_ignore_ascii_case("event_id") {
        faults.push(SqlFault::new(place, "dedupe must be 'event_id'"));
    } else if !declared {
        faults.push(SqlFault::new(place, "column \"event_id\" does not exist").help("declare it: event_id TEXT"));
    }
    if horizon_ms == Some(0) {
        faults.push(SqlFault::new(dedupe_place, "a dedupe_horizon of 0 remembers nothing: leave dedupe out"));
    }
    Some(horizon_ms.unwrap_or(DEDUPE_HORIZON_MS))
}

/// The type that SQL calls so; `None` for those that are not supported.
pub fn sql_type(data_type: &DataType) -> Option<Type> {
    Some(match data_type {
        DataType::Bool | DataType::Boolean => Type::Boolean,
        DataType::BigInt(None)
        | DataType::Int(None)
        | DataType::Integer(None)
        | DataType::Int8(None)
        | DataType::Int64 => Type::Bigint,
        DataType::Double(ExactNumberInfo::None)
        | DataType::DoublePrecision
        | DataType::Float8
        | DataType::Float64
        | DataType::Float(ExactNumberInfo::None) => Type::Double,
        DataType::Text
        | DataType::Varchar(None)
        | DataType::CharacterVarying(None)
        | DataType::CharVarying(None)
        | DataType::String(None) => Type::Text,
        DataType::Timestamp(None, _) => Type::Timestamp,
        DataType::Interval { fields: None, precision: None } => Type::Interval,
        DataType::JSON | DataType::JSONB => Type::Json,
        _ => return None,
    })
}
