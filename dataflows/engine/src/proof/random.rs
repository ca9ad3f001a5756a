//! The random cases: views, events, steps of the clock, checkpoints, crashes, changed configurations.

use super::reference::{Agg, Arg, Base, DAY, Event, Filter, Outer, PLACES, Place, Row, Window};
use super::stepper::{Checkpoint, Records, Running};
use crate::batch::Batch;
use aulaflow_model::change::FeatureValue;
use aulaflow_model::instant::Millis;
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const HOUR: i64 = 3_600_000;
const SKEW_MS: i64 = 300_000;
const STUDENTS: u8 = 3;
/// For how long an event's id is remembered, at least.
const HORIZON_HOURS: i64 = 30;
/// How many events an explanation shows.
const EVENTS: usize = 3;
const KINDS: [&str; 3] = ["answer", "view", "post"];

#[derive(Debug, Clone)]
struct Views {
    bases: Vec<Base>,
    outers: Vec<Outer>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Student, kind, twice the value, time from the clock.
    Event(u8, usize, i64, i64),
    /// An event once more.
    Repeat(prop::sample::Index),
    Advance(i64),
    Checkpoint(i64),
    /// The workers from now on, and whether the other views are in force.
    Crash(usize, bool),
}

fn arguments() -> impl Strategy<Value = Arg> {
    let usual = prop::sample::select(vec![Arg::Value, Arg::Int, Arg::Kind, Arg::At, Arg::Ten, Arg::NullKind]);
    prop_oneof![12 => usual, 3 => prop::sample::select(vec![Arg::Wide, Arg::Over]), 1 => Just(Arg::Long)]
}

fn numbers() -> impl Strategy<Value = Arg> {
    prop::sample::select(vec![Arg::Value, Arg::Int, Arg::Ten, Arg::Wide, Arg::Over])
}

fn aggregates() -> impl Strategy<Value = Agg> {
    prop_oneof![
        Just(Agg::Rows),
        arguments().prop_map(Agg::Count),
        arguments().prop_map(Agg::Distinct),
        numbers().prop_map(Agg::Sum),
        numbers().prop_map(Agg::Avg),
        arguments().prop_map(Agg::Min),
        arguments().prop_map(Agg::Max),
        numbers().prop_map(Agg::Stddev),
        arguments().prop_map(Agg::First),
        arguments().prop_map(Agg::Last),
        (numbers(), numbers()).prop_map(|(y, x)| Agg::Slope(y, x)),
    ]
}

fn session(gap: i64) -> Window {
    Window::Session(gap, DAY.max(10 * gap))
}

fn windows(place: Place) -> impl Strategy<Value = Window> {
    prop::sample::select(vec![
        Window::Tumble(DAY),
        Window::Tumble(6 * HOUR),
        Window::Hop(HOUR, 3 * HOUR),
        Window::Hop(6 * HOUR, DAY),
        Window::Hop(6 * HOUR, 3 * DAY),
        Window::Days(1, 1, place),
        Window::Days(1, 3, place),
        Window::Days(7, 7, place),
        session(HOUR * 2 / 3),
        session(5 * HOUR),
    ])
}

fn base(place: Place) -> impl Strategy<Value = Base> {
    let filters = prop::sample::select(vec![Filter::All, Filter::All, Filter::Answer, Filter::Big, Filter::NotView]);
    (filters, windows(place), prop::collection::vec(aggregates(), 0..4)).prop_map(|(filter, window, mut aggregates)| {
        aggregates.insert(0, Agg::Rows);
        Base { filter, window, aggregates }
    })
}

/// A view over one of the others, where they can be read.
fn outer(bases: &[Base], place: Place, pick: prop::sample::Index, filtered: bool, which: usize) -> Option<Outer> {
    let inner = pick.index(bases.len());
    let window = match bases[inner].window {
        Window::Tumble(DAY) => {
            [Window::Tumble(2 * DAY), Window::Hop(DAY, 4 * DAY), session(2 * DAY), session(3 * DAY)][which]
        }
        Window::Tumble(size) => {
            [Window::Hop(size, 4 * size), Window::Tumble(DAY), session(2 * size), session(5 * size)][which]
        }
        Window::Days(1, 1, _) => {
            [Window::Days(1, 4, place), Window::Days(7, 14, place), session(2 * DAY), session(3 * DAY)][which]
        }
        Window::Session(..) => {
            [Window::Tumble(DAY), Window::Days(1, 2, place), Window::Hop(6 * HOUR, 2 * DAY), Window::Tumble(2 * DAY)]
                [which]
        }
        Window::Days(..) | Window::Hop(..) => return None,
    };
    Some(Outer { inner, filtered, window })
}

fn views(place: Place) -> impl Strategy<Value = Views> {
    let more = (any::<prop::sample::Index>(), any::<bool>(), 0usize..4);
    (prop::collection::vec(base(place), 1..4), prop::collection::vec(more, 0..3)).prop_map(move |(bases, more)| {
        let outers = more.into_iter().filter_map(|(pick, filtered, which)| outer(&bases, place, pick, filtered, which));
        let outers = outers.collect();
        Views { bases, outers }
    })
}

/// A calendar, and the views before and after a change of the configuration.
fn cases_of_views() -> impl Strategy<Value = (Place, Views, Views)> {
    prop::sample::select(PLACES.to_vec()).prop_flat_map(|place| (Just(place), views(place), views(place)))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Late, a little early, and now and then too early or too late for anybody.
    let times = prop_oneof![
        6 => -3 * HOUR..=0,
        3 => -60 * HOUR..=0,
        1 => 0..=SKEW_MS,
        1 => SKEW_MS + 1..=4 * SKEW_MS,
        1 => Just(-40 * DAY),
    ];
    let by = || prop_oneof![3 => 0..2 * HOUR, 2 => 0..30 * HOUR, 1 => 0..9 * DAY];
    let event = (0..STUDENTS, 0..KINDS.len(), 0i64..7, times);
    let step = prop_oneof![
        10 => event.prop_map(|(student, kind, halves, from)| Step::Event(student, kind, halves, from)),
        2 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        4 => by().prop_map(Step::Advance),
        1 => by().prop_map(Step::Checkpoint),
        1 => (1usize..4, any::<bool>()).prop_map(|(workers, other)| Step::Crash(workers, other)),
    ];
    prop::collection::vec(step, 1..40)
}

fn plan(views: &Views) -> Arc<Plan> {
    let mut sql = format!(
        "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP)
         WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id',
               dedupe_horizon = '{HORIZON_HOURS} hours');\n"
    );
    for (n, view) in views.bases.iter().enumerate() {
        let columns: Vec<_> = view.aggregates.iter().enumerate().map(|(i, a)| format!("{} AS a{i}", a.sql())).collect();
        let (filter, window) = (view.filter.sql(), view.window.sql());
        sql.push_str(&format!(
            "CREATE MATERIALIZED VIEW v{n} WITH (serve = true, explain = {EVENTS}) AS SELECT student_id, {} FROM behavior {filter}
             GROUP BY student_id, {window};\n",
            columns.join(", ")
        ));
    }
    for (n, view) in views.outers.iter().enumerate() {
        sql.push_str(&format!("CREATE MATERIALIZED VIEW o{n} WITH (serve = true) AS {};\n", view.sql()));
    }
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", "[engine]\nclock = \"live\"\n"));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let source = [Source::new("test.sql", &sql)];
    Arc::new(compile(file, &[], &source).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d))))
}

/// What was put on the log.
#[derive(Default)]
struct Model {
    records: Records,
    /// Student and event of each record, and when it was accepted.
    appended: Vec<(u8, Event, i64)>,
}

impl Model {
    fn append(&mut self, student: u8, event: Event, clock: i64) {
        let value = format!(
            r#"{{"tenant_id":"t","event_id":"{}","student_id":"s{student}","event_type":"{}","value":{}.{},"occurred_at":"{}"}}"#,
            event.id,
            event.kind,
            event.halves / 2,
            event.halves % 2 * 5,
            Millis(event.at)
        );
        self.records.push(Millis(clock), format!("t/s{student}"), value);
        self.appended.push((student, event, clock));
    }

    /// Each student's events that count: those not from the future, and of those with one id each that was accepted more
    /// than three thirds of the horizon after the one that counted before it.
    fn events(&self, student: u8, read: usize) -> Vec<Event> {
        let third = HORIZON_HOURS * HOUR / 3;
        let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
        let mut events: Vec<Event> = Vec::new();
        for (_, event, accepted) in self.appended[..read].iter().filter(|(of, ..)| *of == student) {
            if event.at > accepted + SKEW_MS {
                continue;
            }
            let generation = event.at.max(*accepted).div_euclid(third);
            if counted.get(event.id.as_str()).is_none_or(|before| generation - before > 3) {
                counted.insert(&event.id, generation);
                events.push(event.clone());
            }
        }
        events
    }

    fn expected(&self, views: &Views, read: usize, clock: i64) -> BTreeMap<(String, u16), Row> {
        let mut rows = BTreeMap::new();
        for student in 0..STUDENTS {
            let events = self.events(student, read);
            let bases = views.bases.iter().map(|view| view.row(&events, clock));
            let outers = views.outers.iter().map(|view| view.row(&views.bases[view.inner], &events, clock));
            for (index, row) in bases.chain(outers).enumerate() {
                rows.extend(row.map(|row| ((format!("s{student}"), index as u16), row)));
            }
        }
        rows
    }
}

/// The rows as `aulaflow verify` recomputes them from the log.
fn recomputed(running: &Running, model: &Model, clock: i64) -> BTreeMap<(String, u16), Row> {
    let mut batch = Batch::new(running.plan(), Millis(clock));
    batch.take(aulaflow_model::topic::BEHAVIOR, 0, 0, &model.records.set(0, running.read));
    let mut rows = BTreeMap::new();
    for (tenant, student) in
        batch.students().into_iter().flat_map(|(t, all)| all.into_iter().map(move |s| (t.clone(), s)))
    {
        let of = batch.student(&tenant, &student, Millis(clock));
        assert_eq!(of.untold, BTreeMap::new());
        let plain = |(values, session): (Arc<[FeatureValue]>, Option<(Millis, Millis)>)| {
            (values.to_vec(), session.map(|(start, end)| (start.0, end.0)))
        };
        rows.extend(of.features.into_iter().map(|(view, row)| ((student.to_string(), view), plain(row))));
    }
    rows
}

fn check(running: &mut Running, model: &Model, views: &Views, clock: i64) {
    let expected = model.expected(views, running.read, clock);
    {
        let shown = running.shown.lock();
        let plain = |(values, session): &(Vec<_>, Option<(Millis, Millis)>)| {
            (values.clone(), session.map(|(start, end)| (start.0, end.0)))
        };
        let shown: BTreeMap<_, Row> = shown.iter().map(|(key, row)| (key.clone(), plain(row))).collect();
        assert_eq!(shown, expected, "at {}", Millis(clock));
    }
    assert_eq!(recomputed(running, model, clock), expected, "recomputed at {}", Millis(clock));
    // One of the rows, or of those that are not there, explains itself.
    let student = (clock / 60_000).rem_euclid(i64::from(STUDENTS)) as u8;
    let view = running.read % (views.bases.len() + views.outers.len());
    let Some(explained) = running.explain(&format!("s{student}"), view as u16) else { return };
    let row = expected.get(&(format!("s{student}"), view as u16));
    assert_eq!(explained.values.as_deref(), row.map(|(values, _)| values.as_slice()), "explained at {}", Millis(clock));
    let int = |value: &FeatureValue| match value {
        FeatureValue::Int(n) => *n as i64,
        other => panic!("no integer: {other:?}"),
    };
    // The first output counts rows: those of the panes are those of the window.
    let of_panes: i64 = explained.panes.iter().map(|pane| int(&pane.values[0])).sum();
    assert_eq!(of_panes, row.map_or(0, |(values, _)| int(&values[0])), "panes at {}", Millis(clock));
    if let Some(base) = views.bases.get(view) {
        let events = model.events(student, running.read);
        let mut covered = base.covered(&events, clock);
        // One that counted again after the horizon is one event to look at.
        covered.dedup_by_key(|e| (e.at, e.id.clone()));
        let newest: Vec<_> = covered.iter().rev().take(EVENTS).map(|e| (e.id.clone(), e.at)).collect();
        let shown: Vec<_> = explained.events.iter().map(|e| (e.event_id.clone(), e.occurred_at.0)).collect();
        assert_eq!(shown, newest, "events at {}", Millis(clock));
    }
}

fn run(place: Place, both: [Views; 2], steps: Vec<Step>, workers: usize) {
    let plans = [plan(&both[0]), plan(&both[1])];
    let mut which = 0;
    let mut model = Model::default();
    let mut checkpoint = Checkpoint::default();
    let mut clock = Millis::parse_rfc3339(place.from).unwrap().0;
    let mut running = Running::start(&plans[which], &checkpoint, &model.records, workers);
    for step in steps {
        match step {
            Step::Event(student, kind, halves, from) => {
                let id = format!("e{}", model.appended.len());
                model.append(student, Event { id, kind: KINDS[kind], halves, at: clock + from }, clock);
            }
            Step::Repeat(index) if !model.appended.is_empty() => {
                let (student, event, _) = index.get(&model.appended).clone();
                model.append(student, event, clock);
            }
            Step::Repeat(_) => {}
            Step::Advance(by) => {
                clock += by;
                running.step(&model.records, model.records.len(), Millis(clock), None);
                check(&mut running, &model, &both[which], clock);
            }
            Step::Checkpoint(by) => {
                clock += by;
                running.step(&model.records, model.records.len(), Millis(clock), Some(&mut checkpoint));
                check(&mut running, &model, &both[which], clock);
            }
            Step::Crash(workers, other) => {
                running.stop();
                // Without a checkpoint nothing is known of any views.
                which = usize::from(other);
                running = Running::start(&plans[which], &checkpoint, &model.records, workers);
                running.step(&model.records, model.records.len(), Millis(clock), None);
                check(&mut running, &model, &both[which], clock);
            }
        }
    }
    running.step(&model.records, model.records.len(), Millis(clock), None);
    check(&mut running, &model, &both[which], clock);
    let future = model.appended.iter().enumerate().filter(|(_, (_, event, at))| event.at > at + SKEW_MS);
    for (offset, _) in future.filter(|(offset, _)| *offset >= checkpoint.covered) {
        assert_eq!(running.dead.get(&(offset as u64)), Some(&"future"), "record {offset}");
    }
    running.stop();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn random_views_equal_their_definition((place, a, b) in cases_of_views(), steps in steps(), workers in 1usize..4) {
        run(place, [a, b], steps, workers);
    }
}

/// How many random cases: more where `AULAFLOW_CASES` says so.
fn cases() -> u32 {
    std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}
