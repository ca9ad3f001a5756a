//! The description against the dataflow itself, and its sizes by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::proof::stepper::shared;
use crate::shared::Local;
use crate::state::KnownSlots;
use crate::worker;
use aulaflow_plan::{Source, compile, parse_runtime};
use aulaflow_sink::Fanout;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use timely::logging::{TimelyEvent, TimelyEventBuilder};

const TABLE: &str = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE,
    occurred_at TIMESTAMP) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
    dedupe = 'event_id', dedupe_horizon = '24 hours');";

/// What timely and differential put between the operators that have names of their own.
const PLUMBING: &[&str] = &[
    "Arrange: Distinct",
    "AsCollection",
    "Concatenate",
    "Consolidate",
    "Exchange",
    "FlatMap",
    "Input",
    "Join",
    "Probe",
    "aulaflow",
];

fn plan(views: &str) -> Arc<Plan> {
    let (file, _) = parse_runtime(&Source::new("test.toml", ""));
    let sql = [Source::new("test.sql", format!("{TABLE}\n{views}"))];
    Arc::new(compile(file.unwrap(), &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d))))
}

/// The names of all operators, as timely logs them.
fn operators_of(plan: &Arc<Plan>) -> BTreeSet<String> {
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let (logged, plan) = (names.clone(), plan.clone());
    timely::execute_directly(move |worker| {
        let register = worker.log_register();
        register.unwrap().insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            for (_, event) in events.iter().flat_map(|events| events.iter()) {
                if let TimelyEvent::Operates(operates) = event {
                    logged.lock().unwrap().insert(operates.name.clone());
                }
            }
        });
        let (shared, _messages) = shared(&plan, &KnownSlots::default(), 1);
        let epochs = std::rc::Rc::default();
        let local = Local {
            shared,
            index: 0,
            peers: 1,
            epochs,
            loading: std::rc::Rc::default(),
            spare: std::rc::Rc::default(),
            asked_features: std::rc::Rc::default(),
        };
        let probe = timely::dataflow::operators::probe::Handle::new();
        let _inputs = worker::build(worker, &local, Fanout::new(), &probe);
    });
    let names = names.lock().unwrap();
    names.clone()
}

#[test]
fn operators_are_those_that_timely_sees() {
    let plan = plan(
        "CREATE MATERIALIZED VIEW n AS SELECT student_id, count(*) AS n FROM behavior
        GROUP BY student_id, tumble(interval '1 day');",
    );
    let description = describe(&plan, None, Assumptions::default());
    let nodes = description.nodes.iter().filter(|node| node.kind == NodeKind::Operator);
    let described: BTreeSet<String> = nodes.map(|node| node.name.clone()).collect();
    let real = operators_of(&plan);
    let unknown: Vec<_> = described.difference(&real).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in the dataflow: {real:?}");
    let own: Vec<_> = real.difference(&described).filter(|name| !PLUMBING.contains(&name.as_str())).collect();
    assert!(own.is_empty(), "{own:?} are not described: `describe/graph.rs` needs an entry for each");
}

#[test]
fn nodes_read_nodes_before_them() {
    let description = describe(&plan(""), None, Assumptions::default());
    let mut before = BTreeSet::new();
    for node in &description.nodes {
        for read in &node.reads {
            assert!(before.contains(read), "{} reads {read}", node.name);
        }
        assert!(before.insert(&node.name), "{} stands twice", node.name);
    }
}

#[test]
fn shared_panes_are_said_once() {
    let plan = plan(
        "CREATE MATERIALIZED VIEW week AS SELECT student_id, count(*) AS n, max(value) AS top FROM behavior
            WHERE event_type = 'x' GROUP BY student_id, hop(interval '1 day', interval '7 days');
        CREATE MATERIALIZED VIEW today AS SELECT student_id, count(*) AS n FROM behavior
            WHERE event_type = 'x' GROUP BY student_id, tumble(interval '1 day');
        CREATE MATERIALIZED VIEW month AS SELECT student_id, max(n) AS best FROM today
            GROUP BY student_id, hop(interval '1 day', interval '28 days');",
    );
    let description = describe(&plan, None, Assumptions { active_panes: 10, ..Assumptions::default() });
    let [grid] = description.grids.as_slice() else { panic!("{:?}", description.grids) };
    assert_eq!((grid.panes, grid.gap_ms), (28, None));
    assert_eq!(grid.windows, [(1, vec!["today".to_owned()]), (7, vec!["week".to_owned()])]);
    let part = |at: usize| {
        let part = &grid.parts[at];
        (part.label.as_str(), part.panes, part.views.join(" "), part.filter.is_some())
    };
    assert_eq!(grid.parts.len(), 2);
    assert_eq!(part(0), ("count(*)", 28, "week today month".to_owned(), true));
    assert_eq!(part(1), ("max(\"value\")", 7, "week".to_owned(), true));
    assert_eq!(description.views[2].reads, Reads::View("today".to_owned()));
    assert!(description.views.iter().all(|view| view.grid == Some(0)));
    // Ten panes of a count, seven of them with a maximum; the vector of panes reserves 16 places.
    let kept = &description.nodes.iter().find(|node| node.name == "Panes").unwrap().keeps[1];
    let (amount, part) = (size_of::<crate::sum::Amount>(), size_of::<(Slot, crate::cells::Part)>());
    let block = |bytes: usize| allocated(bytes as u64);
    let student = block(16 * crate::panes::sizes::PANE) + 10 * block(amount) + 7 * block(part)
        // The running sum of the week, beside that of the day, which has none.
        + block(amount) + block(2 * crate::panes::sizes::WINDOW);
    assert_eq!(kept.size, Some(Size { entries: 10_000_000, bytes: 1_000_000 * student }));
    assert_eq!(kept.checkpoint.as_deref(), Some("panes"));
}

/// The classes of mimalloc, by hand.
#[test]
fn allocations_take_whole_classes() {
    let given =
        [(0, 0), (1, 8), (24, 32), (64, 64), (65, 80), (80, 80), (144, 160), (257, 320), (264, 320), (1_025, 1_280)];
    for (bytes, class) in given {
        assert_eq!(allocated(bytes), class, "{bytes}");
    }
    assert_eq!(allocated(1 << 20), 1 << 20);
    assert_eq!(table_bytes(5, 32), allocated(8 * 33 + 16));
}
