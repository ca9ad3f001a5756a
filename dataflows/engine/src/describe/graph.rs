//! The nodes of the dataflow, in the order of the data. A new operator gets its entry here; a test compares the names
//! with those that timely logs.

use super::{Assumptions, Kept, Node, NodeKind, Size, sizes};
use crate::layout::Layout;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::quantity::format_duration;

/// The node of the store of profiles.
pub const SERVING_STORE: &str = "serving store";
/// The state on disk.
const CHECKPOINT: &str = "checkpoint";
/// Topics of records that cannot be used.
const DEAD_LETTERS: &str = "dead letters";

/// Everything, each after what it reads.
pub fn nodes(plan: &Plan, layout: &Layout, a: &Assumptions) -> Vec<Node> {
    let partitions = plan.runtime.log.partitions;
    let on_log = |keeps: &str| format!("{partitions} partitions by tenant, {keeps}");
    let days = format!("records kept {}", format_duration(plan.runtime.log.retention));
    let mut nodes = vec![
        node(topic::BEHAVIOR, NodeKind::Topic, &[], &on_log(&days)),
        node(topic::EVALUATIONS, NodeKind::Topic, &[], &on_log("records kept for good")),
        node(topic::TENANTS, NodeKind::Topic, &[], &on_log("records kept for good")),
    ];
    nodes.extend(features(plan, layout, a));
    nodes.extend(grades(a));
    nodes.push(Node {
        exchanged_by: Some("student".to_owned()),
        keeps: vec![kept("version, time and digest", "row shown", Some(sizes::history(plan, a)), Some("history"))],
        ..operator(
            "Profiles",
            &["Panes", "GroupsBySubject", "Rules"],
            "a student's changed rows, whole, once per epoch",
        )
    });
    nodes.extend(cohorts());
    nodes.extend(questions());
    nodes.extend(stores(plan, a));
    nodes
}

/// All grades of a subject and period: sums in the difference.
fn cohorts() -> [Node; 4] {
    let few = |what: &str| vec![kept(what, "subject and period", None, None)];
    [
        operator("CohortParts", &["GroupsBySubject", "Rules"], "what each grade adds: one, score, square, bin"),
        Node {
            exchanged_by: Some("tenant, subject and period".to_owned()),
            keeps: few("sums of the parts"),
            ..operator("Cohorts", &["CohortParts"], "the parts by cohort, in the difference")
        },
        Node { keeps: few("sums shown last"), ..operator("CountTotal", &["Cohorts"], "the sums as rows, old and new") },
        operator("CohortChanges", &["CountTotal"], "cohorts that changed, once per epoch"),
    ]
}

/// Questions to the running dataflow: records that are there for one epoch. They leave nothing behind.
fn questions() -> [Node; 6] {
    [
        operator("Ask", &[], "questions of the API and of the engine itself, each in one epoch"),
        operator("AskedGrades", &["Ask", "Groups"], "the evaluations of one grade"),
        operator("AskedTenants", &["Ask", "Subjects"], "the subjects of a tenant"),
        operator("AskedSubjects", &["Ask", "AskedTenants", "GroupsBySubject"], "all groups of a subject"),
        operator("AskedRules", &["Ask", "AskedTenants", "Rules"], "the rules in force"),
        operator("Answers", &["AskedGrades", "AskedSubjects", "AskedRules"], "what was found, to whoever asked"),
    ]
}

fn features(plan: &Plan, layout: &Layout, a: &Assumptions) -> [Node; 2] {
    let mut keeps = vec![kept("students", "student", Some(sizes::students(layout, a)), None)];
    for grid in 0..layout.grids.len() {
        let what = format!("open panes of grid {}", grid + 1);
        let per = if layout.grids[grid].is_session() { "student and session" } else { "student and pane" };
        keeps.push(kept(&what, per, Some(sizes::panes(layout, grid, a)), Some("panes")));
    }
    for table in &plan.tables {
        if let Some(horizon) = table.dedupe_horizon_ms {
            let what = format!("event ids of {}", table.name);
            keeps.push(kept(&what, "event", Some(sizes::event_ids(horizon, a)), Some("ids")));
        }
    }
    let decodes = "JSON, lateness and skew, every view's expressions";
    [
        operator("DecodeBehavior", &[topic::BEHAVIOR], decodes),
        Node {
            exchanged_by: Some("student".to_owned()),
            keeps,
            ..operator("Panes", &["DecodeBehavior"], "duplicates out, events into panes, windows and views from panes")
        },
    ]
}

fn grades(a: &Assumptions) -> Vec<Node> {
    let few = |what: &str, per: &str| vec![kept(what, per, None, None)];
    vec![
        Node {
            keeps: vec![kept("configuration in force", "tenant", None, Some("tenants"))],
            ..operator("Tenants", &[topic::TENANTS], "rules and periods, the newest per tenant, on one worker")
        },
        operator("DecodeEvaluations", &[topic::EVALUATIONS], "JSON"),
        Node {
            exchanged_by: Some("evaluation".to_owned()),
            keeps: vec![kept("present value", "evaluation", Some(sizes::evaluations(a)), Some("evaluations"))],
            ..operator(
                "UpsertEvaluations",
                &["DecodeEvaluations", "Tenants"],
                "the newest wins; in which grade it counts",
            )
        },
        Node {
            exchanged_by: Some("grade".to_owned()),
            keeps: vec![kept("references to items", "evaluation", Some(sizes::items(a)), None)],
            ..operator("Items", &["UpsertEvaluations"], "evaluations by student, subject and period")
        },
        Node {
            keeps: vec![kept("list of items", "grade", Some(sizes::groups(a)), None)],
            ..operator("Groups", &["Items"], "one list per student, subject and period")
        },
        Node {
            keeps: vec![kept("reference to the list", "grade", Some(sizes::groups_by_subject(a)), None)],
            ..operator("GroupsBySubject", &["Groups"], "the lists by tenant and subject, joined with rules to grades")
        },
        Node {
            exchanged_by: Some("tenant".to_owned()),
            keeps: few("configuration's number", "tenant"),
            ..operator("Configs", &["Tenants"], "configurations by tenant")
        },
        Node {
            exchanged_by: Some("tenant and subject".to_owned()),
            keeps: few("how many items", "tenant and subject"),
            ..operator("Distinct", &["UpsertEvaluations"], "subjects that have evaluations, each once")
        },
        Node {
            exchanged_by: Some("tenant".to_owned()),
            keeps: few("subject", "tenant and subject"),
            ..operator("Subjects", &["Distinct"], "subjects by tenant, joined with configurations")
        },
        Node {
            keeps: few("rules in force", "tenant and subject"),
            ..operator("Rules", &["Subjects", "Configs"], "the rules of each subject, sent to every worker")
        },
    ]
}

fn stores(plan: &Plan, a: &Assumptions) -> [Node; 4] {
    let every = format_duration(plan.runtime.engine.checkpoint_interval);
    let exported = ["Tenants", "UpsertEvaluations", "Panes", "Profiles"];
    let decoded = ["DecodeBehavior", "Panes", "DecodeEvaluations", "Tenants"];
    [
        Node {
            keeps: vec![kept("rows, without rendered JSON", "grade and view", Some(sizes::rows(plan, a)), None)],
            ..node(SERVING_STORE, NodeKind::Store, &["Profiles", "CohortChanges"], "profiles in memory, read over HTTP")
        },
        node(CHECKPOINT, NodeKind::Store, &exported, &format!("on disk, with the log's offsets, every {every}")),
        node(DEAD_LETTERS, NodeKind::Store, &decoded, "topics of the log: what cannot be used, with the reason"),
        Node {
            keeps: vec![kept("names as numbers", "student", Some(sizes::names(a)), None)],
            ..node("names", NodeKind::Store, &["DecodeBehavior", "DecodeEvaluations"], "shared by all workers")
        },
    ]
}

fn operator(name: &str, reads: &[&str], does: &str) -> Node {
    node(name, NodeKind::Operator, reads, does)
}

fn node(name: &str, kind: NodeKind, reads: &[&str], does: &str) -> Node {
    Node {
        name: name.to_owned(),
        kind,
        reads: reads.iter().map(|name| (*name).to_owned()).collect(),
        exchanged_by: None,
        does: does.to_owned(),
        keeps: Vec::new(),
    }
}

fn kept(what: &str, per: &str, size: Option<Size>, checkpoint: Option<&str>) -> Kept {
    Kept { what: what.to_owned(), per: per.to_owned(), size, checkpoint: checkpoint.map(str::to_owned) }
}
