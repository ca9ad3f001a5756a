//! Random traffic and crashes: at the end a replica shows what the dataflow process shows, and on the way nothing went back.

use crate::harness::{HOUR, Harness, T0, plan, versions};
use proptest::prelude::*;

const VIEWS: &str = "
CREATE MATERIALIZED VIEW everything WITH (serve = true) AS
SELECT student_id, count(*) AS events, sum(value) AS points, avg(value) AS mean FROM behavior
GROUP BY student_id, hop(interval '1 hour', interval '6 hours');
CREATE MATERIALIZED VIEW visit WITH (serve = true) AS
SELECT student_id, count(*) AS events, max(event_type) AS kind FROM behavior
GROUP BY student_id, session(interval '40 minutes');
";

const STUDENTS: u32 = 6;

#[derive(Debug, Clone)]
enum Step {
    Behavior(bool, Vec<(u32, u32)>),
    Evaluation(bool, u32, Option<u32>),
    Config(bool, u32),
    /// A pause of some microseconds, so that crashes fall everywhere.
    Wait(u64),
    /// How many times, in a row.
    Crash(usize),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0..STUDENTS, 0u32..60);
    let step = prop_oneof![
        4 => (any::<bool>(), proptest::collection::vec(event, 1..20)).prop_map(|(t, events)| Step::Behavior(t, events)),
        5 => (any::<bool>(), 0u32..10, proptest::option::weighted(0.8, 0u32..=100))
            .prop_map(|(t, id, score)| Step::Evaluation(t, id, score)),
        1 => (any::<bool>(), 1u32..100).prop_map(|(t, min)| Step::Config(t, min)),
        2 => (0u64..8_000).prop_map(Step::Wait),
        2 => (1usize..4).prop_map(Step::Crash),
        1 => Just(Step::Settle),
    ];
    proptest::collection::vec(step, 1..25)
}

fn run(steps: &[Step], workers: usize) {
    let plan = plan("event", VIEWS);
    let harness = Harness::new();
    let replica = harness.replica(&plan);
    let mut process = harness.start(&plan, workers);
    let (mut updated, mut seen) = (0, versions(&replica, STUDENTS));
    harness.config("t0", 50);
    let tenant = |first: &bool| if *first { "t0" } else { "t1" };
    for step in steps {
        match step {
            Step::Behavior(first, events) => {
                harness.behavior(tenant(first), events.iter().map(|(s, n)| (*s, *n, T0 + i64::from(*n) * HOUR / 3)));
            }
            Step::Evaluation(first, id, score) => {
                updated += 1;
                harness.evaluation(tenant(first), *id, id % STUDENTS, *score, updated);
            }
            Step::Config(first, min) => harness.config(tenant(first), *min),
            Step::Wait(micros) => std::thread::park_timeout(std::time::Duration::from_micros(*micros)),
            Step::Crash(times) => {
                for _ in 0..*times {
                    process.crash();
                    process = harness.start(&plan, workers);
                }
            }
            Step::Settle => harness.same(&process, &replica, STUDENTS),
        }
        let now = versions(&replica, STUDENTS);
        for (grade, version) in &now {
            assert!(seen.get(grade).is_none_or(|before| before <= version), "{grade:?} went back to {version}");
        }
        seen.extend(now);
    }
    harness.same(&process, &replica, STUDENTS);
    process.stop();
    // Another number of workers, and a replica that starts now, show the same.
    let process = harness.start(&plan, workers % 3 + 1);
    harness.same(&process, &replica, STUDENTS);
    replica.stop();
    let late = harness.replica(&plan);
    harness.same(&process, &late, STUDENTS);
    assert!(late.status().caught_up);
    process.stop();
    late.stop();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 60, ..ProptestConfig::default() })]
    #[test]
    fn a_replica_shows_the_same(steps in steps(), workers in 1usize..4) {
        run(&steps, workers);
    }
}

/// How many random runs: more where `AULAFLOW_CASES` says so.
fn cases() -> u32 {
    std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(30)
}
