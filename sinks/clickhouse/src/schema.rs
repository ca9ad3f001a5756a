//! A server's tables made and checked: what `migrate` does, and what is looked at before anything is written.

use crate::Uuid;
use crate::check::{Difference, Found, compare, compare_own, found};
use crate::connection::Connection;
use crate::ddl;
use crate::error::ServerError;
use crate::migrations::{self, MIGRATIONS};
use crate::raw;
use crate::tables::{TableKind, Tables};
use crate::writers;
use aulaflow_model::share::Share;
use std::collections::BTreeMap;

/// The oldest server that is written to, as `version() = 25.8` is 2508. Tests run with 26.7; what is older than this nobody has tried.
const OLDEST: u64 = 2_508;

/// What a migration has done, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// One line per step; none: everything was as it should be.
    pub steps: Vec<String>,
}

/// Makes the database, its tables, their new columns, and what the numbered files say. Repeating it does nothing. Tables of
/// `replace` (names of views, `grades`, `cohorts`) that cannot be changed keep their rows under another name, which ends in
/// `suffix`, and are made anew.
pub fn migrate(
    connection: &Connection,
    tables: &Tables,
    replace: &[String],
    suffix: &str,
) -> Result<Migrated, ServerError> {
    let mut done = Migrated::default();
    refuse_old(connection)?;
    connection.make_database()?;
    let mut ousted = put_aside(connection, tables, replace, suffix, &mut done)?;
    let found_now = found(connection)?;
    let differences = compare(tables, &found_now);
    refuse(&differences)?;
    for difference in &differences {
        match difference {
            Difference::Missing(table) => {
                connection.execute(&ddl::create(table))?;
                done.steps.push(format!("made the table {}", table.name));
                // Of two tables that belong together one was lost.
                let of = |kind| found_now.contains_key(&tables.of_relation(table.relation, kind).name);
                ousted |= of(TableKind::Changes) || of(TableKind::Present);
            }
            Difference::Lacks(table, columns) => {
                connection.execute(&ddl::add_columns(table, columns))?;
                done.steps.push(format!("changed the table {}", table.name));
            }
            // Refused above.
            Difference::Other(..) => {}
        }
    }
    make_own(connection, &found_now, &mut done)?;
    migrations::make_table(connection)?;
    for migration in migrations::pending(MIGRATIONS, &migrations::applied(connection)?)? {
        migrations::apply(connection, migration)?;
        done.steps.push(format!("applied migration {} ({})", migration.number, migration.name));
    }
    if ousted {
        // Whatever a process thinks that it has written is not in the new tables: every store is made again from ClickHouse.
        writers::say(connection, Share::All, Uuid::default(), true)?;
    }
    Ok(done)
}

/// Renames the two tables of each relation to be replaced, if they are there. Whether any was.
fn put_aside(
    connection: &Connection,
    tables: &Tables,
    replace: &[String],
    suffix: &str,
    done: &mut Migrated,
) -> Result<bool, ServerError> {
    let found = found(connection)?;
    let mut any = false;
    for name in replace {
        let Some(relation) = tables.relations.iter().position(|relation| relation.name == *name) else {
            let known: Vec<_> = tables.relations.iter().map(|relation| relation.name.as_str()).collect();
            let known = known.join(", ");
            return Err(ServerError::somebody(format!("nothing is kept of {name:?}; there are: {known}")));
        };
        for kind in [TableKind::Changes, TableKind::Present] {
            let table = tables.of_relation(relation, kind);
            if !found.contains_key(&table.name) {
                continue;
            }
            let old = format!("{}_old_{suffix}", table.name);
            connection.execute(&ddl::rename(&table.name, &old))?;
            done.steps.push(format!("renamed the table {} to {old}", table.name));
            any = true;
        }
    }
    Ok(any)
}

/// What is wrong with a server's tables, a line each, with what to do. None: they can be written.
pub fn check(connection: &Connection, tables: &Tables) -> Result<Vec<String>, ServerError> {
    refuse_old(connection)?;
    let found = found(connection)?;
    let mut faults: Vec<_> = compare(tables, &found).iter().map(|difference| advice(difference, tables)).collect();
    faults.extend(own_faults(&found));
    match migrations::pending(MIGRATIONS, &migrations::applied(connection)?) {
        Ok(pending) => faults.extend(pending.iter().map(|migration| {
            format!(
                "migration {} ({}) was not applied: run `aulaflow clickhouse migrate`",
                migration.number, migration.name
            )
        })),
        Err(error) => faults.push(error.reason),
    }
    Ok(faults)
}

/// Makes the tables that do not follow from the plan, and adds their new columns.
fn make_own(connection: &Connection, found: &BTreeMap<String, Found>, done: &mut Migrated) -> Result<(), ServerError> {
    for table in raw::tables() {
        let Some(is) = found.get(table.name) else {
            connection.execute(&ddl::create_own(table))?;
            done.steps.push(format!("made the table {}", table.name));
            continue;
        };
        let (other, lacks) = compare_own(table, is);
        if !other.is_empty() {
            return Err(ServerError::somebody(format!(
                "{}: {}; change it back by hand, or rename it: then `aulaflow clickhouse migrate` makes a new one",
                table.name,
                other.join("; ")
            )));
        }
        if !lacks.is_empty() {
            connection.execute(&ddl::add_columns_to(table.name, &table.columns, &lacks))?;
            done.steps.push(format!("changed the table {}", table.name));
        }
    }
    Ok(())
}

/// What is wrong with them.
fn own_faults(found: &BTreeMap<String, Found>) -> Vec<String> {
    let mut faults = Vec::new();
    for table in raw::tables() {
        let Some(is) = found.get(table.name) else {
            faults.push(format!("{}: there is no such table: run `aulaflow clickhouse migrate`", table.name));
            continue;
        };
        let (other, lacks) = compare_own(table, is);
        if !other.is_empty() {
            faults.push(format!("{}: {}: change it back by hand, or rename it", table.name, other.join("; ")));
        } else if !lacks.is_empty() {
            let names: Vec<_> = lacks.iter().map(|column| column.name.as_str()).collect();
            let names = names.join(", ");
            faults.push(format!("{}: it has no column {names}: run `aulaflow clickhouse migrate`", table.name));
        }
    }
    faults
}

fn refuse_old(connection: &Connection) -> Result<(), ServerError> {
    let part = |place: u8| format!("toUInt64(splitByChar('.', version())[{place}])");
    let version = connection.number(&format!("SELECT {} * 100 + {}", part(1), part(2)))?;
    too_old(version).map_or(Ok(()), |why| Err(ServerError::somebody(why)))
}

fn too_old(version: u64) -> Option<String> {
    let text = |version: u64| format!("{}.{}", version / 100, version % 100);
    (version < OLDEST)
        .then(|| format!("the server is ClickHouse {}: upgrade it to {} or newer", text(version), text(OLDEST)))
}

/// An error if somebody must decide about a table.
fn refuse(differences: &[Difference<'_>]) -> Result<(), ServerError> {
    let other: Vec<_> = differences.iter().filter(|one| matches!(one, Difference::Other(..))).collect();
    if other.is_empty() {
        return Ok(());
    }
    let faults: Vec<_> = other.iter().map(|one| one.to_string()).collect();
    Err(ServerError::somebody(format!(
        "tables cannot be changed without losing rows: {}; `aulaflow clickhouse migrate --replace NAME` keeps the old ones \
         under another name and makes new ones",
        faults.join("; ")
    )))
}

fn advice(difference: &Difference<'_>, tables: &Tables) -> String {
    match difference {
        Difference::Missing(_) | Difference::Lacks(..) => format!("{difference}: run `aulaflow clickhouse migrate`"),
        Difference::Other(table, _) => {
            let name = &tables.relations[table.relation].name;
            format!(
                "{difference}: change it back by hand, or run `aulaflow clickhouse migrate --replace {name}`, which keeps the \
                 old tables under another name"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused() {
        assert_eq!(too_old(2_607), None);
        assert_eq!(too_old(OLDEST), None);
        let why = too_old(2_412);
        assert_eq!(why.as_deref(), Some("the server is ClickHouse 24.12: upgrade it to 25.8 or newer"));
    }
}
