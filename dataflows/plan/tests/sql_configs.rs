//! The SQL that ships in `configs/dataflows` compiles, and means what it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aulaflow_model::window::WindowSpec;
use aulaflow_plan::sql::{AggregateFunction, Analytics, Table, View, compile};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn compiled(names: &[&str]) -> (Vec<Table>, Vec<View>) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/dataflows/");
    let read = |name: &&str| ((*name).to_owned(), std::fs::read_to_string(format!("{folder}{name}")).unwrap());
    compile(&names.iter().map(read).collect::<Vec<_>>()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn names(views: &[View]) -> Vec<&str> {
    views.iter().map(|view| view.schema.name.as_str()).collect()
}

#[test]
fn school_features() {
    let (tables, views) = compiled(&[
        "participation/participation.sql",
        "activity/activity.sql",
        "time_on_task/time_on_task.sql",
        "behavior.sql",
    ]);
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0].lateness_ms, 600_000);
    assert_eq!(tables[0].dedupe_horizon_ms, Some(DAY_MS));
    assert_eq!(tables[0].columns.len(), 6);
    assert_eq!(names(&views), ["participation_7d", "activity_today", "activity_1d", "activity_7d", "time_on_task_7d"]);
    let participation = &views[0];
    assert_eq!(participation.schema.outputs, ["participations", "points"]);
    assert_eq!(participation.schema.window, WindowSpec::hop(HOUR_MS, 7 * DAY_MS));
    assert!(participation.serve && participation.filter.is_some());
    assert_eq!((participation.analytics, participation.explain_events), (Analytics::Daily, 20));
    assert!(participation.text.starts_with("CREATE MATERIALIZED VIEW") && participation.text.ends_with("'7 days')"));
    assert_eq!(views[1].schema.window, WindowSpec::tumble(DAY_MS));
    // mean_value shares the aggregates of the other outputs.
    assert_eq!(views[3].schema.outputs.len(), 5);
    assert_eq!(views[3].aggregates.len(), 4);
}

#[test]
fn open_university_features() {
    let (tables, views) = compiled(&["oulad/oulad.sql"]);
    assert_eq!((tables[0].lateness_ms, tables[0].dedupe_horizon_ms), (0, Some(8 * DAY_MS)));
    assert_eq!(names(&views), ["clicks_7d", "clicks_1d", "social_7d", "quizzes_7d", "study_mix_7d"]);
    let functions: Vec<AggregateFunction> = views[0].aggregates.iter().map(|aggregate| aggregate.function).collect();
    assert_eq!(functions, [AggregateFunction::CountRows, AggregateFunction::SumDecimal]);
    assert!(views[0].filter.is_none());
    // material_share divides a sum that is an output too.
    assert_eq!(views[4].aggregates.len(), 3);
}

/// Every option has a row in the guide, and the guide has no other.
#[test]
fn options_are_documented() {
    let guide = include_str!("../../../docs/guides/features.md");
    let section = guide.split("\n## ").find(|section| section.starts_with("Options\n")).unwrap();
    let rows = |of: &str| -> Vec<&str> {
        let table = section.split(&format!("| of `{of}` |")).nth(1).unwrap().split("\n\n").next().unwrap();
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
    };
    assert_eq!(rows("CREATE TABLE"), aulaflow_plan::sql::TABLE_OPTIONS);
    let (mut documented, mut known) = (rows("CREATE MATERIALIZED VIEW"), aulaflow_plan::sql::VIEW_OPTIONS.to_vec());
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
}

/// What ships divides nothing by accident.
#[test]
fn nothing_that_ships_is_warned_of() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/dataflows");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let inner = if path.is_dir() {
            std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect()
        } else {
            vec![path]
        };
        let sql = inner.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "sql"));
        files.extend(sql.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())));
    }
    assert!(files.len() >= 11, "{} files", files.len());
    let checked = aulaflow_plan::sql::check(&files);
    assert!(checked.made.is_ok());
    assert!(checked.warnings.is_empty(), "{:#?}", checked.warnings);
    let bench = |file: &str| std::fs::read_to_string(folder.join("../../bench/src").join(file)).unwrap();
    for file in ["features.sql", "views.sql"] {
        let checked = aulaflow_plan::sql::check(&[(file.to_owned(), bench(file))]);
        assert!(checked.made.is_ok() && checked.warnings.is_empty(), "{:#?}", checked.warnings);
    }
}
