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
