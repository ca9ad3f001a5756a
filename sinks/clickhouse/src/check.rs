//! Whether a server's tables are what is written: each table's columns, engine, and keys, beside the plan's. Comparing is
//! pure; the facts are read in `found`.

use crate::connection::{Connection, literal};
use crate::error::ServerError;
use crate::raw::OwnTable;
use crate::tables::{Column, Table, Tables};
use clickhouse::Row;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A table as a server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its engine's name; `Shared…` and `Replicated…` are taken off.
    pub engine: String,
    /// Its sorting key, with commas.
    pub sorting_key: String,
    /// Its partition key.
    pub partition_key: String,
    /// Names and types in their order.
    pub columns: Vec<(String, String)>,
}

/// How a table differs from the plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference<'a> {
    /// There is none: it can be made.
    Missing(&'a Table),
    /// It lacks columns, which can be added.
    Lacks(&'a Table, Vec<&'a Column>),
    /// It is something else, which nobody can change without losing rows. What is different, in words.
    Other(&'a Table, Vec<String>),
}

impl std::fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(table) => write!(f, "{}: there is no such table", table.name),
            Self::Lacks(table, columns) => {
                let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
                write!(f, "{}: it has no column {}", table.name, names.join(", "))
            }
            Self::Other(table, how) => write!(f, "{}: {}", table.name, how.join("; ")),
        }
    }
}

/// What is different, in the order of the tables. Empty: everything can be written.
pub fn compare<'a>(tables: &'a Tables, found: &BTreeMap<String, Found>) -> Vec<Difference<'a>> {
    tables.tables.iter().filter_map(|table| one(table, found.get(&table.name))).collect()
}

fn one<'a>(table: &'a Table, found: Option<&Found>) -> Option<Difference<'a>> {
    let Some(found) = found else { return Some(Difference::Missing(table)) };
    let shape = Shape {
        columns: &table.columns,
        engine: table.engine,
        order_by: table.order_by.join(", "),
        partition_by: table.partition_by.unwrap_or_default(),
    };
    match shape.compare(found) {
        (other, _) if !other.is_empty() => Some(Difference::Other(table, other)),
        (_, lacks) if lacks.is_empty() => None,
        (_, lacks) => Some(Difference::Lacks(table, lacks)),
    }
}

/// How a table that does not follow from the plan differs: columns that can be added, and what nobody can change without
/// losing rows. Both empty: not at all.
pub fn compare_own<'a>(table: &'a OwnTable, found: &Found) -> (Vec<String>, Vec<&'a Column>) {
    let shape = Shape {
        columns: &table.columns,
        engine: table.engine,
        order_by: table.order_by.join(", "),
        partition_by: table.partition_by.unwrap_or_default(),
    };
    shape.compare(found)
}

/// What a table should be.
struct Shape<'a> {
    columns: &'a [Column],
    engine: &'a str,
    order_by: String,
    partition_by: &'a str,
}

impl<'a> Shape<'a> {
    /// What is different for good, and columns that can be added.
    fn compare(&self, found: &Found) -> (Vec<String>, Vec<&'a Column>) {
        let mut other = Vec::new();
        let mut expect = |what: &str, is: &str, should: &str| {
            if is != should {
                other.push(format!("its {what} is {is:?} and should be {should:?}"));
            }
        };
        // Without its arguments: servers spell those in several ways.
        expect("engine", &found.engine, self.engine.split('(').next().unwrap_or_default());
        expect("sorting key", &found.sorting_key, &self.order_by);
        expect("partition key", &found.partition_key, self.partition_by);
        let mut lacks = Vec::new();
        for column in self.columns {
            match found.columns.iter().find(|(name, _)| *name == column.name) {
                None => lacks.push(column),
                Some((_, r#type)) => expect(&format!("column {}", column.name), r#type, &column.r#type),
            }
        }
        // A column of somebody else's is filled with its default; ours has none to be filled with.
        for (name, _) in &found.columns {
            if !self.columns.iter().any(|column| column.name == *name) {
                other.push(format!("its column {name} is not written any more"));
            }
        }
        // What is sorted by is in every row.
        let sorted = |column: &&&Column| self.order_by.split(", ").any(|name| name == column.name);
        for column in lacks.iter().filter(sorted) {
            other.push(format!("it has no column {}, which it should be sorted by", column.name));
        }
        (other, lacks)
    }
}

#[derive(Row, Deserialize)]
struct TableRow {
    name: String,
    engine: String,
    sorting_key: String,
    partition_key: String,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    table: String,
    name: String,
    r#type: String,
}

/// The tables of the database, as the server says.
pub fn found(connection: &Connection) -> Result<BTreeMap<String, Found>, ServerError> {
    let database = literal(connection.database());
    let tables = connection.rows::<TableRow>(&format!(
        "SELECT name, engine, sorting_key, partition_key FROM system.tables WHERE database = {database}"
    ))?;
    let columns = connection.rows::<ColumnRow>(&format!(
        "SELECT table, name, type FROM system.columns WHERE database = {database} ORDER BY table, position"
    ))?;
    let plain = |engine: &str| {
        ["Shared", "Replicated"].iter().find_map(|kind| engine.strip_prefix(kind)).unwrap_or(engine).to_owned()
    };
    let mut found: BTreeMap<_, _> = tables
        .into_iter()
        .map(|TableRow { name, engine, sorting_key, partition_key }| {
            // `tuple()` and no key are the same.
            let partition_key = if partition_key == "tuple()" { String::new() } else { partition_key };
            (name, Found { engine: plain(&engine), sorting_key, partition_key, columns: Vec::new() })
        })
        .collect();
    for ColumnRow { table, name, r#type } in columns {
        if let Some(found) = found.get_mut(&table) {
            found.columns.push((name, r#type));
        }
    }
    Ok(found)
}
