//! Numbered SQL files and who has applied them: objects that do not follow from the plan. A
//! file is applied once, recorded with its checksum, and never changed afterwards: what should change gets a new number.

use crate::connection::{Connection, literal, quoted};
use crate::error::ServerError;
use clickhouse::Row;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number: files are applied in their order.
    pub number: u32,
    /// Its name without number and ending.
    pub name: &'static str,
    /// Its statements, each ended by a semicolon at the end of a line.
    pub sql: &'static str,
}

/// All of them. A file is added with a line here; a test compares it with the folder.
pub const MIGRATIONS: &[Migration] = &[migration(1, "writers", include_str!("../migrations/0001_writers.sql"))];

const fn migration(number: u32, name: &'static str, sql: &'static str) -> Migration {
    Migration { number, name, sql }
}

/// Where it is recorded what was applied.
const TABLE: &str = "migrations";

impl Migration {
    /// SHA-256 of the file, in hexadecimal.
    pub fn checksum(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(self.sql.as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Its statements, without comments before them.
    pub fn statements(&self) -> Vec<String> {
        let lines = self.sql.lines().filter(|line| !line.trim_start().starts_with("--"));
        let text: Vec<_> = lines.map(str::trim_end).collect();
        let statements = text.join("\n");
        let statements = statements.split(";\n").map(|one| one.trim().trim_end_matches(';').to_owned());
        statements.filter(|one| !one.is_empty()).collect()
    }
}

/// What is recorded as applied.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Applied {
    /// The file's number.
    pub number: u32,
    /// Its name then.
    pub name: String,
    /// Its checksum then.
    pub checksum: String,
}

/// What is to be done, or why nothing may be.
pub fn pending<'a>(all: &'a [Migration], applied: &[Applied]) -> Result<Vec<&'a Migration>, ServerError> {
    for old in applied {
        match all.iter().find(|migration| migration.number == old.number) {
            None => {
                return Err(ServerError::somebody(format!(
                    "the database has migration {} ({}), which this version does not know: it was made by a newer version; \
                     use that one",
                    old.number, old.name
                )));
            }
            Some(migration) if migration.checksum() != old.checksum => {
                return Err(ServerError::somebody(format!(
                    "migration {} ({}) was applied with another text: applied files must not change; restore it, and put the \
                     change into a file with a new number",
                    old.number, old.name
                )));
            }
            Some(_) => {}
        }
    }
    Ok(all.iter().filter(|migration| !applied.iter().any(|old| old.number == migration.number)).collect())
}

/// What was applied to the database.
pub fn applied(connection: &Connection) -> Result<Vec<Applied>, ServerError> {
    let exists = format!(
        "SELECT count() FROM system.tables WHERE database = {} AND name = {}",
        literal(connection.database()),
        literal(TABLE)
    );
    if connection.number(&exists)? == 0 {
        return Ok(Vec::new());
    }
    // Two processes that migrate at once record it twice.
    let sql = format!("SELECT DISTINCT number, name, checksum FROM {} ORDER BY number", connection.table(TABLE));
    connection.rows(&sql)
}

/// Applies a file and records it. Statements can be repeated, so that a file that failed halfway is applied again.
pub fn apply(connection: &Connection, migration: &Migration) -> Result<(), ServerError> {
    for statement in migration.statements() {
        connection.execute(&statement).map_err(|error| ServerError {
            reason: format!("migration {} ({}): {}", migration.number, migration.name, error.reason),
            ..error
        })?;
    }
    connection.execute(&format!(
        "INSERT INTO {} SELECT {}, {}, {}, now64(3)",
        connection.table(TABLE),
        migration.number,
        literal(migration.name),
        literal(&migration.checksum())
    ))
}

/// Makes the table that records them, where there is none.
pub fn make_table(connection: &Connection) -> Result<(), ServerError> {
    connection.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {} (number UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC')) \
         ENGINE = MergeTree ORDER BY number",
        quoted(TABLE)
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn applied_of(migration: &Migration) -> Applied {
        Applied { number: migration.number, name: migration.name.to_owned(), checksum: migration.checksum() }
    }

    #[test]
    fn the_list_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<_> = MIGRATIONS.iter().map(|m| format!("{:04}_{}.sql", m.number, m.name)).collect();
        assert_eq!(listed, files);
        assert!(MIGRATIONS.iter().zip(1..).all(|(migration, number)| migration.number == number));
    }

    #[test]
    fn statements_can_be_repeated() {
        let repeatable = ["CREATE OR REPLACE", "DROP ", "ALTER ", "CREATE "];
        for migration in MIGRATIONS {
            assert!(!migration.statements().is_empty(), "{}", migration.name);
            for statement in migration.statements() {
                assert!(repeatable.iter().any(|start| statement.starts_with(start)), "{statement}");
                let safe = statement.starts_with("CREATE OR REPLACE") || statement.contains(" EXISTS");
                assert!(safe, "without IF [NOT] EXISTS: {statement}");
            }
        }
    }

    #[test]
    fn statements_are_told_apart() {
        let migration = Migration { number: 1, name: "x", sql: "-- a; b\nSELECT 1;\n\n-- c\nSELECT ';' \n  , 2;\n" };
        assert_eq!(migration.statements(), ["SELECT 1", "SELECT ';'\n  , 2"]);
    }

    #[test]
    fn files_are_applied_once_and_never_change() {
        let all = [migration(1, "a", "SELECT 1;"), migration(2, "b", "SELECT 2;")];
        let numbers = |applied: &[Applied]| {
            pending(&all, applied).map(|pending| pending.iter().map(|m| m.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&[]), Ok(vec![1, 2]));
        assert_eq!(numbers(&[applied_of(&all[0])]), Ok(vec![2]));
        assert_eq!(numbers(&[applied_of(&all[1]), applied_of(&all[0])]), Ok(vec![]));
        let changed = Applied { checksum: "0".repeat(64), ..applied_of(&all[0]) };
        assert!(numbers(&[changed]).unwrap_err().reason.contains("must not change"));
        let newer = Applied { number: 3, ..applied_of(&all[0]) };
        assert!(numbers(&[newer]).unwrap_err().reason.contains("newer version"));
    }
}
