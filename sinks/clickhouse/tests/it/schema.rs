//! Tables made, checked, changed and replaced.

use crate::engine::{VIEWS, access, connect, tables};
use aulaflow_clickhouse::{Connection, Next, check, migrate};

fn names(connection: &Connection) -> u64 {
    let database = connection.database();
    connection.number(&format!("SELECT count() FROM system.tables WHERE database = '{database}'")).unwrap()
}

#[test]
fn a_migration_makes_everything_and_repeats_nothing() {
    let Some(access) = access() else { return };
    let connection = connect(&access);
    let tables = tables(VIEWS);
    let faults = check(&connection, &tables).unwrap();
    assert!(faults[0].contains("there is no such table: run `aulaflow clickhouse migrate`"), "{faults:?}");
    let done = migrate(&connection, &tables, &[], "").unwrap();
    // The tables of the plan, and what the numbered files make.
    assert!(done.steps.len() > tables.tables.len(), "{done:?}");
    assert_eq!(check(&connection, &tables).unwrap(), Vec::<String>::new());
    assert_eq!(migrate(&connection, &tables, &[], "").unwrap().steps, Vec::<String>::new());
    assert_eq!(names(&connection), tables.tables.len() as u64 + 7);
}

#[test]
fn columns_are_added_and_nothing_else_is_changed() {
    let Some(access) = access() else { return };
    let connection = connect(&access);
    let before = tables(VIEWS);
    migrate(&connection, &before, &[], "").unwrap();
    let wider = tables(&VIEWS.replace("AS points,", "AS points, max(value) AS most,"));
    let faults = check(&connection, &wider).unwrap();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("often_changes: it has no column most: run"), "{faults:?}");
    migrate(&connection, &wider, &[], "").unwrap();
    assert_eq!(check(&connection, &wider).unwrap(), Vec::<String>::new());
    // What was added is in its place.
    let sql = "SELECT position FROM system.columns WHERE database = 'DB' AND table = 'often' AND name = 'most'";
    assert_eq!(connection.number(&sql.replace("DB", connection.database())).unwrap(), 5);

    // The other way round columns would be lost.
    let error = migrate(&connection, &before, &[], "").unwrap_err();
    assert_eq!(error.next, Next::Somebody);
    assert!(error.reason.contains("its column most is not written any more"), "{error}");
    assert!(error.reason.contains("--replace NAME"), "{error}");
    let done = migrate(&connection, &before, &["often".to_owned()], "20260302").unwrap();
    assert!(
        done.steps.contains(&"renamed the table often_changes to often_changes_old_20260302".to_owned()),
        "{done:?}"
    );
    assert_eq!(check(&connection, &before).unwrap(), Vec::<String>::new());
    let unknown = migrate(&connection, &before, &["nothing".to_owned()], "x").unwrap_err();
    assert!(unknown.reason.contains("grades, cohorts, often, daily"), "{unknown}");
}

#[test]
fn a_hand_that_changed_a_column_is_noticed() {
    let Some(access) = access() else { return };
    let connection = connect(&access);
    let tables = tables(VIEWS);
    migrate(&connection, &tables, &[], "").unwrap();
    connection.execute("ALTER TABLE grades_changes MODIFY COLUMN evaluations_count UInt64").unwrap();
    let faults = check(&connection, &tables).unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("its column evaluations_count is \"UInt64\" and should be \"UInt32\""), "{faults:?}");
    connection.execute("INSERT INTO migrations VALUES (9999, 'later', 'x', now64(3))").unwrap();
    assert!(check(&connection, &tables).unwrap()[1].contains("newer version"));
}
