//! The views of a server, for users of ClickHouse itself: in a database of their own, under the names that queries over HTTP
//! have too. They are views with `SQL SECURITY INVOKER`: who reads one reads the tables behind it with his own rights and his own row
//! policies. (With DEFINER, policies of the reader would not be looked at.)

use super::{View, views};
use crate::connection::{Connection, literal, quoted};
use crate::error::ServerError;
use crate::tables::Tables;
use clickhouse::Row;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the comment of a view of ours begins with; a hash of its text follows.
const MARK: &str = "aulaflow ";

/// The database of the views that belong to a database of tables.
pub fn analysts(database: &str) -> String {
    format!("{database}_analysts")
}

#[derive(Row, Deserialize)]
struct Found {
    name: String,
    comment: String,
}

/// Makes the views, those that are not as they should be anew, and takes away those that nothing stands for any more. What was done,
/// a line each. Repeating it does nothing.
pub fn migrate_views(connection: &Connection, tables: &Tables) -> Result<Vec<String>, ServerError> {
    let database = analysts(connection.database());
    let mut steps = Vec::new();
    connection.execute(&format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&database)))?;
    let found = found(connection, &database)?;
    let views = views(tables, connection.database());
    for view in &views {
        let comment = comment(view);
        if found.get(&view.name) == Some(&comment) {
            continue;
        }
        connection.execute(&create(view, &database, &comment))?;
        steps.push(format!("made the view {database}.{}", view.name));
    }
    for name in found.iter().filter(|(_, comment)| comment.starts_with(MARK)).map(|(name, _)| name) {
        if !views.iter().any(|view| view.name == *name) {
            connection.execute(&format!("DROP VIEW IF EXISTS {}.{}", quoted(&database), quoted(name)))?;
            steps.push(format!("removed the view {database}.{name}"));
        }
    }
    Ok(steps)
}

/// What is wrong with a server's views, a line each, with what to do.
pub fn check_views(connection: &Connection, tables: &Tables) -> Result<Vec<String>, ServerError> {
    let database = analysts(connection.database());
    let found = found(connection, &database)?;
    let mut faults = Vec::new();
    for view in views(tables, connection.database()) {
        let what = match found.get(&view.name) {
            None => "there is no such view",
            Some(there) if *there != comment(&view) => "it was made for other tables or by another version",
            Some(_) => continue,
        };
        faults.push(format!("{database}.{}: {what}: run `aulaflow clickhouse migrate`", view.name));
    }
    Ok(faults)
}

fn found(connection: &Connection, database: &str) -> Result<BTreeMap<String, String>, ServerError> {
    let sql = format!("SELECT name, comment FROM system.tables WHERE database = {}", literal(database));
    let rows = connection.rows::<Found>(&sql)?;
    Ok(rows.into_iter().map(|Found { name, comment }| (name, comment)).collect())
}

fn comment(view: &View) -> String {
    let mut comment = MARK.to_owned();
    for byte in Sha256::digest(view.open.as_bytes()).iter().take(8) {
        // Writing to a String cannot fail.
        let _ = write!(comment, "{byte:02x}");
    }
    comment
}

fn create(view: &View, database: &str, comment: &str) -> String {
    format!(
        "CREATE OR REPLACE VIEW {}.{} SQL SECURITY INVOKER AS {} COMMENT {}",
        quoted(database),
        quoted(&view.name),
        view.open,
        literal(comment)
    )
}
