//! The statements that make and change tables. Which tables there are, and what is in them, is `tables`' business.

use crate::connection::quoted;
use crate::raw::OwnTable;
use crate::tables::{Column, Table};

/// How many of a table's last blocks a server remembers by their tokens: more than are ever sent again.
pub const DEDUPLICATION_WINDOW: u32 = 10_000;

/// An insert is on the server's disk when it is acknowledged: our block is removed then, so a power cut would lose its rows. It
/// costs about 5 ms an insert, and there is one a second.
const DURABLE: &str = "fsync_after_insert = 1, fsync_part_directory = 1";

/// Makes a table where there is none.
pub fn create(table: &Table) -> String {
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    let order: Vec<_> = table.order_by.iter().map(|name| quoted(name)).collect();
    let partition = table.partition_by.map_or(String::new(), |by| format!("\nPARTITION BY {by}"));
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n  {}\n)\nENGINE = {}{partition}\nORDER BY ({})\nSETTINGS \
         non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}, {DURABLE}",
        quoted(&table.name),
        columns.join(",\n  "),
        table.engine,
        order.join(", "),
    )
}

/// Makes a table that does not follow from the plan, where there is none.
pub fn create_own(table: &OwnTable) -> String {
    let columns = table.columns.iter().map(column).chain(table.index.map(str::to_owned));
    let columns: Vec<_> = columns.collect();
    let order: Vec<_> = table.order_by.iter().map(|name| quoted(name)).collect();
    let partition = table.partition_by.map_or(String::new(), |by| format!("\nPARTITION BY {by}"));
    let ttl = table.ttl.map_or(String::new(), |ttl| format!("\nTTL {ttl}"));
    // Only whole parts go by themselves: no part is written anew for it.
    let settings = if table.ttl.is_some() {
        format!("\nSETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}, ttl_only_drop_parts = 1")
    } else {
        String::new()
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n  {}\n)\nENGINE = {}{partition}\nORDER BY ({}){ttl}{settings}",
        quoted(table.name),
        columns.join(",\n  "),
        table.engine,
        order.join(", "),
    )
}

/// Adds columns at the places that they have in a new table.
pub fn add_columns(table: &Table, added: &[&Column]) -> String {
    add_columns_to(&table.name, &table.columns, added)
}

/// The same for any table.
pub fn add_columns_to(table: &str, columns: &[Column], added: &[&Column]) -> String {
    let one = |add: &&Column| {
        let before = columns.iter().take_while(|known| known.name != add.name).last();
        let place = before.map_or("FIRST".to_owned(), |before| format!("AFTER {}", quoted(&before.name)));
        format!("ADD COLUMN IF NOT EXISTS {} {place}", column(add))
    };
    let added: Vec<_> = added.iter().map(one).collect();
    format!("ALTER TABLE {} {}", quoted(table), added.join(", "))
}

/// Gives a table another name.
pub fn rename(from: &str, to: &str) -> String {
    format!("RENAME TABLE {} TO {}", quoted(from), quoted(to))
}

fn column(column: &Column) -> String {
    format!("{} {}", quoted(&column.name), column.r#type)
}
