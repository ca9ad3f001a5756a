//! Making a share's store again from ClickHouse: the rows that are there now, as the differences say. The table of the present
//! may be behind the differences or ahead of them, where a writer was cut off between two blocks: it is mended first.

use crate::connection::{Connection, literal, quoted};
use crate::error::ServerError;
use crate::tables::{Column, Relation, Table, TableKind, Tables};
use clickhouse::Row;
use serde::Deserialize;
use std::time::Duration;

/// How long one statement over all rows of a tenant may take.
pub const LONG: Duration = Duration::from_secs(3_600);

/// The tenants that have rows, in order.
pub fn tenants(connection: &Connection, tables: &Tables) -> Result<Vec<String>, ServerError> {
    #[derive(Row, Deserialize)]
    struct Tenant {
        tenant: String,
    }
    let each = tables.tables.iter().map(|table| format!("SELECT tenant FROM {}", connection.table(&table.name)));
    let all: Vec<_> = each.collect();
    let sql = format!("SELECT DISTINCT toString(tenant) AS tenant FROM ({}) ORDER BY tenant", all.join(" UNION ALL "));
    Ok(connection.rows::<Tenant>(&sql)?.into_iter().map(|row| row.tenant).collect())
}

/// How far what is there goes: the newest version and clock (milliseconds) of these tenants' rows.
pub fn newest(connection: &Connection, tables: &Tables, tenants: &[String]) -> Result<(u64, i64), ServerError> {
    #[derive(Row, Deserialize)]
    struct Newest {
        version: u64,
        clock: i64,
    }
    let one = |table: &Table| {
        format!(
            "SELECT max(version) AS version, toUnixTimestamp64Milli(max(clock)) AS clock FROM {} WHERE tenant IN ({})",
            connection.table(&table.name),
            list(tenants)
        )
    };
    if tenants.is_empty() {
        return Ok((0, 0));
    }
    let all: Vec<_> = tables.tables.iter().map(one).collect();
    let sql = format!("SELECT max(version) AS version, max(clock) AS clock FROM ({})", all.join(" UNION ALL "));
    Ok(connection.rows::<Newest>(&sql)?.first().map_or((0, 0), |newest| (newest.version, newest.clock)))
}

/// The number of the newest block of a writer (as SQL takes it); 0: there is none.
pub fn newest_block(connection: &Connection, tables: &Tables, writer: &str) -> Result<u64, ServerError> {
    let changes = tables.tables.iter().filter(|table| table.kind == TableKind::Changes);
    let one = |table: &Table| {
        format!("SELECT max(block) AS block FROM {} WHERE writer = {writer}", connection.table(&table.name))
    };
    let all: Vec<_> = changes.map(one).collect();
    connection.number(&format!("SELECT max(block) FROM ({})", all.join(" UNION ALL ")))
}

/// Gives each key of a tenant whose newest row in the present is not that of the differences a new one, with `version`.
pub fn mend(
    connection: &Connection,
    tables: &Tables,
    relation: usize,
    tenant: &str,
    version: u64,
) -> Result<(), ServerError> {
    connection.execute_within(&mend_sql(connection, tables, relation, tenant, version), LONG)
}

fn mend_sql(connection: &Connection, tables: &Tables, relation: usize, tenant: &str, version: u64) -> String {
    let changes = connection.table(&tables.of_relation(relation, TableKind::Changes).name);
    let present = connection.table(&tables.of_relation(relation, TableKind::Present).name);
    let relation = &tables.relations[relation];
    let (key, values) = (names(&relation.key), names(&relation.values));
    let of = format!("WHERE tenant = {}", literal(tenant));
    format!(
        "INSERT INTO {present} ({key}, {values}, clock, version, is_deleted) SELECT {key}, {taken}, newest, {version}, last != 1 \
         FROM (SELECT {key}, argMaxIf(tuple({values}), (v, d), c) AS row, argMaxIf(d, (v, d), c) AS last, max(at) AS newest, \
         maxIf(v, c) AS recorded, maxIf(v, NOT c) AS shown FROM (SELECT {key}, {values}, clock AS at, version AS v, diff AS d, \
         true AS c FROM {changes} {of} UNION ALL SELECT {key}, {values}, clock AS at, version AS v, toInt8(0) AS d, false AS c \
         FROM {present} {of}) GROUP BY {key}) WHERE recorded != shown",
        taken = taken(relation),
    )
}

/// The present rows of a tenant by the differences: key and values, in the order of the relation.
pub fn present_sql(connection: &Connection, tables: &Tables, relation: usize, tenant: &str) -> String {
    let changes = connection.table(&tables.of_relation(relation, TableKind::Changes).name);
    let relation = &tables.relations[relation];
    let (key, values) = (names(&relation.key), names(&relation.values));
    // The rows lie in the order of the key, so that the server need not keep them all to group them.
    format!(
        "SELECT {key}, {taken} FROM (SELECT {key}, argMax(tuple({values}), (version, diff)) AS row, argMax(diff, (version, diff)) \
         AS last FROM {changes} WHERE tenant = {tenant} GROUP BY {key}) WHERE last = 1 SETTINGS \
         optimize_aggregation_in_order = 1",
        taken = taken(relation),
        tenant = literal(tenant),
    )
}

/// Whether copies of a table can differ for a while.
pub fn is_replicated(connection: &Connection, table: &str) -> Result<bool, ServerError> {
    let replicated = connection.number(&format!(
        "SELECT count() FROM system.tables WHERE database = {} AND name = {} AND (engine LIKE 'Replicated%' OR engine LIKE \
         'Shared%')",
        literal(connection.database()),
        literal(table)
    ))?;
    Ok(replicated > 0)
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}

/// The values out of the tuple `row`.
fn taken(relation: &Relation) -> String {
    (1..=relation.values.len()).map(|place| format!("tupleElement(row, {place})")).collect::<Vec<_>>().join(", ")
}

fn list(texts: &[String]) -> String {
    texts.iter().map(|text| literal(text)).collect::<Vec<_>>().join(", ")
}
