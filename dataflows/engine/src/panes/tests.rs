//! The pane store against the plain list of events: boundaries that are settled a few students at a time, and exports in
//! steps while events come. Windows, aggregates and sessions of every kind are in `proof`.

use super::*;
use crate::fold::Piece;
use crate::state::KnownSlots;
use aulaflow_model::change::FeatureValue;
use aulaflow_plan::{Source, compile, parse_runtime};
use compact_str::CompactString;
use proptest::prelude::*;

const SECOND: i64 = 1_000;

/// Slide and panes of two views, in seconds.
type Windows = [(i64, i64); 2];
/// Count and greatest value of the first view, count and sum of the second.
type Rows = [Option<(i64, i64)>; 2];

fn plan(windows: Windows) -> Arc<Plan> {
    let hop =
        |(slide, panes): (i64, i64)| format!("hop(interval '{slide} seconds', interval '{} seconds')", slide * panes);
    let sql = format!(
        "CREATE TABLE behavior (student_id TEXT, value DOUBLE, occurred_at TIMESTAMP)
         WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
         CREATE MATERIALIZED VIEW a WITH (serve = true) AS
         SELECT student_id, count(*) AS n, max(CAST(value AS BIGINT)) AS most FROM behavior GROUP BY student_id, {};
         CREATE MATERIALIZED VIEW b WITH (serve = true) AS
         SELECT student_id, count(*) AS n, sum(CAST(value AS BIGINT)) AS total FROM behavior GROUP BY student_id, {};",
        hop(windows[0]),
        hop(windows[1])
    );
    compiled(&sql)
}

fn compiled(sql: &str) -> Arc<Plan> {
    let (file, _) = parse_runtime(&Source::new("test.toml", ""));
    Arc::new(compile(file.unwrap(), &[], &[Source::new("test.sql", sql)]).unwrap_or_else(|d| panic!("{d:?}")))
}

fn store(plan: &Arc<Plan>) -> PaneStore {
    PaneStore::new(plan.clone(), Arc::new(Layout::new(plan, &KnownSlots::default())))
}

/// Adds an event of a value, as the decoder would.
fn add(panes: &mut PaneStore, student: StudentNo, at: i64, value: i64) {
    let layout = panes.place.layout.clone();
    let mut segments = Vec::new();
    for filter in layout.programs.iter().flat_map(|p| &p.filters) {
        for program in &filter.grids {
            let (mut amounts, mut parts) = (vec![Amount::new(program.rows, 1)], Vec::new());
            for (slot, op, ..) in &program.adds {
                match op.apply(&[Scalar::Int(i128::from(value))]) {
                    Some(Piece::Amount(amount)) => amounts.push(Amount::new(*slot, amount)),
                    Some(Piece::Value(value)) => parts.push((*slot, value)),
                    None => {}
                }
            }
            segments.push((program.grid as u16, amounts, parts));
        }
    }
    let segments: Vec<_> =
        segments.iter().map(|(grid, amounts, parts)| Segment { grid: *grid, amounts, parts }).collect();
    let full = panes.add(student, &Moment { at, id: CompactString::default() }, &segments);
    assert!(full.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Event { student: StudentNo, at: i64, value: i64 },
    Advance { by: i64, budget: usize },
    Export,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0u32..4, -30i64..30, -4i64..5).prop_map(|(student, at, value)| Step::Event { student, at, value });
    let advance = (0i64..40, prop_oneof![Just(0usize), Just(1), Just(1000)])
        .prop_map(|(by, budget)| Step::Advance { by, budget });
    prop::collection::vec(
        prop_oneof![6 => event, 3 => advance, 1 => Just(Step::Export), 1 => Just(Step::Reload)],
        1..60,
    )
}

/// An event and the clock at which it was accepted, in seconds.
struct Accepted {
    student: StudentNo,
    at: i64,
    value: i64,
    clock: i64,
}

/// The rows over the events accepted by an instant whose pane the window covers then: the definition, without panes.
fn expected(events: &[Accepted], student: StudentNo, windows: Windows, as_of: i64) -> Rows {
    let covered = |(slide, panes): (i64, i64)| -> Vec<i64> {
        let within = |e: &&Accepted| {
            let (pane, now) = (e.at.div_euclid(slide), as_of.div_euclid(slide));
            e.student == student && e.clock <= as_of && pane > now - panes && pane <= now
        };
        events.iter().filter(within).map(|e| e.value).collect()
    };
    let (a, b) = (covered(windows[0]), covered(windows[1]));
    [a.iter().max().map(|most| (a.len() as i64, *most)), (!b.is_empty()).then(|| (b.len() as i64, b.iter().sum()))]
}

#[test]
fn a_session_of_rows_ends_on_time_though_a_newer_row_is_filtered_out() {
    let plan = compiled(
        "CREATE TABLE behavior (student_id TEXT, value DOUBLE, occurred_at TIMESTAMP)
         WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
         CREATE MATERIALIZED VIEW windows WITH (serve = false) AS
         SELECT student_id, count(*) AS n FROM behavior GROUP BY student_id, tumble(interval '10 seconds');
         CREATE MATERIALIZED VIEW busy WITH (serve = true) AS
         SELECT student_id, count(*) AS rows, sum(n) AS events FROM windows WHERE n > 1
         GROUP BY student_id, session(interval '25 seconds');",
    );
    let mut panes = store(&plan);
    // Two events in the window at 0; one, which is too few, in the window at 10.
    for (clock, at) in [(0, 0), (1, 1), (11, 11)] {
        panes.advance(Millis(clock * SECOND), usize::MAX);
        add(&mut panes, 0, at * SECOND, 1);
    }
    panes.advance(Millis(24_999), usize::MAX);
    let rows = |panes: &mut PaneStore| -> Vec<bool> {
        let updates = panes.take_changes(usize::MAX).into_iter().flat_map(|(_, updates)| updates);
        updates.map(|update| update.row.is_some()).collect()
    };
    assert_eq!(rows(&mut panes), [true]);
    assert_eq!(panes.next_due(), Some(Millis(25_000)));
    panes.advance(Millis(25_000), usize::MAX);
    assert_eq!(rows(&mut panes), [false]);
}

/// Takes what changed into what is shown.
fn take(panes: &mut PaneStore, shown: &mut FxHashMap<StudentNo, Rows>) -> Vec<StudentNo> {
    let int = |value: &FeatureValue| match value {
        FeatureValue::Int(n) => *n as i64,
        other => panic!("no integer: {other:?}"),
    };
    let changes = panes.take_changes(usize::MAX);
    for (student, updates) in &changes {
        for update in updates {
            let row = update.row.as_ref().map(|(values, _)| (int(&values[0]), int(&values[1])));
            shown.entry(*student).or_default()[usize::from(update.view)] = row;
        }
    }
    changes.into_iter().map(|(student, _)| student).collect()
}

/// Stored panes by student, grid and number.
type Kept = BTreeMap<(StudentNo, u64, i64), Vec<StoredRun>>;

fn keep(kept: &mut Kept, rows: Vec<(StudentNo, StoredStudent)>) {
    for (student, stored) in rows {
        kept.extend(stored.panes().map(|(grid, number, runs)| ((student, grid, number), runs)));
    }
}

fn reloaded(plan: &Arc<Plan>, kept: &Kept, clock: i64) -> PaneStore {
    let mut loaded = store(plan);
    loaded.advance(Millis(clock * SECOND), usize::MAX);
    let mut students: BTreeMap<StudentNo, StoredStudent> = BTreeMap::new();
    for ((student, grid, number), runs) in kept {
        students.entry(*student).or_default().push(*grid, *number, runs.clone());
    }
    for (student, stored) in students {
        loaded.load(student, stored);
    }
    loaded
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn rows_equal_the_definition_while_settling_and_exporting(
        steps in steps(), s1 in 1i64..12, n1 in 1i64..5, s2 in 1i64..12, n2 in 1i64..5,
    ) {
        let windows = [(s1, n1), (s2, n2)];
        let plan = plan(windows);
        let mut panes = store(&plan);
        let mut clock = 0i64;
        panes.advance(Millis(0), 0);
        let mut events: Vec<Accepted> = Vec::new();
        // Of the export under way: how many events were accepted before it began, and the clock then.
        let mut snapshot = None;
        let mut kept = Kept::new();
        let mut shown: FxHashMap<StudentNo, Rows> = FxHashMap::default();
        // When each student last changed: with the boundary that waits it says as of when the rows are true.
        let mut changed: FxHashMap<StudentNo, i64> = FxHashMap::default();
        for step in steps {
            match step {
                Step::Event { student, at, value } => {
                    add(&mut panes, student, (clock + at) * SECOND, value);
                    events.push(Accepted { student, at: clock + at, value, clock });
                }
                Step::Advance { by, budget } => {
                    clock += by;
                    panes.advance(Millis(clock * SECOND), budget);
                }
                Step::Export if snapshot.is_none() => {
                    panes.begin_export();
                    snapshot = Some((events.len(), clock));
                }
                Step::Export => {}
                Step::Reload => {
                    take(&mut panes, &mut shown);
                    keep(&mut kept, panes.export(usize::MAX).0);
                    snapshot = None;
                    panes.begin_export();
                    keep(&mut kept, panes.export(usize::MAX).0);
                    panes = reloaded(&plan, &kept, clock);
                    shown.clear();
                    changed.clear();
                }
            }
            changed.extend(take(&mut panes, &mut shown).into_iter().map(|student| (student, clock)));
            if let Some((accepted, at)) = snapshot {
                let (rows, last) = panes.export(1);
                keep(&mut kept, rows);
                if last {
                    // What was exported in steps is the store as it was at the first step.
                    snapshot = None;
                    let mut then = FxHashMap::default();
                    take(&mut reloaded(&plan, &kept, at), &mut then);
                    for student in 0..4 {
                        let got = then.get(&student).copied().unwrap_or_default();
                        prop_assert_eq!(got, expected(&events[..accepted], student, windows, at), "exported {}", student);
                    }
                }
            }
            for student in 0..4 {
                let as_of = match panes.unsettled() {
                    Some(boundary) if changed.get(&student).is_none_or(|at| *at * SECOND < boundary.0) => {
                        (boundary.0 - 1).div_euclid(SECOND)
                    }
                    _ => clock,
                };
                let got = shown.get(&student).copied().unwrap_or_default();
                prop_assert_eq!(got, expected(&events, student, windows, as_of), "student {} as of {}", student, as_of);
            }
        }
        // Once the clock has passed everything, nothing is left behind.
        panes.advance(Millis((clock + 10_000) * SECOND), usize::MAX);
        let _ = (panes.take_changes(usize::MAX), panes.export(usize::MAX), panes.begin_export(), panes.export(usize::MAX));
        prop_assert_eq!(panes.len(), (0, 0));
        prop_assert!(panes.next_due().is_none());
    }
}
