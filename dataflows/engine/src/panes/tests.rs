//! The pane store against sums over the plain list of events.

use super::*;
use proptest::prelude::*;

/// Two views, one slot for rows and one unused end slot each: (rows, end) = (0, 1) and (2, 3).
fn store(windows: [WindowSpec; 2]) -> PaneStore {
    PaneStore::with_slots(windows.to_vec(), vec![(0, 1, 100), (2, 3, 200)])
}

fn window(slide_ms: i64, panes: i64) -> WindowSpec {
    WindowSpec::hop(slide_ms, slide_ms * panes)
}

#[derive(Debug, Clone)]
enum Step {
    Event { student: StudentNo, at: i64, amounts: Vec<(Slot, i64)> },
    Advance { by: i64, budget: usize },
    Export,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0u32..4, -30i64..60, 1i64..5, 0usize..3).prop_map(|(student, at, n, which)| Step::Event {
        student,
        at,
        amounts: [vec![(0, n)], vec![(2, n)], vec![(0, n), (2, -n)]][which].clone(),
    });
    let advance = (0i64..40, prop_oneof![Just(0usize), Just(1), Just(1000)])
        .prop_map(|(by, budget)| Step::Advance { by, budget });
    proptest::collection::vec(
        prop_oneof![6 => event, 3 => advance, 1 => Just(Step::Export), 1 => Just(Step::Reload)],
        1..60,
    )
}

/// An event's amount and the clock at which it was accepted.
struct Accepted {
    student: StudentNo,
    at: i64,
    slot: Slot,
    amount: i64,
    clock: i64,
}

/// The sum of the events accepted by an instant whose pane the window covers then: the definition, without panes.
fn expected(events: &[Accepted], student: StudentNo, windows: &[WindowSpec; 2], as_of: i64) -> FeatureSum {
    let mut sum = FeatureSum::default();
    for e in events.iter().filter(|e| e.student == student && e.clock <= as_of) {
        let w = windows[usize::from(e.slot) / 2].clone();
        let (pane, now) = (e.at.div_euclid(w.slide_ms), as_of.div_euclid(w.slide_ms));
        if pane > now - w.panes() && pane <= now {
            sum.add(e.slot, i128::from(e.amount));
        }
    }
    sum
}

fn keep(kept: &mut FxHashMap<StudentNo, StoredStudent>, rows: Vec<(StudentNo, Option<StoredStudent>)>) {
    for (student, stored) in rows {
        match stored {
            Some(stored) => kept.insert(student, stored),
            None => kept.remove(&student),
        };
    }
}

/// What was exported in steps, while events came and the clock moved, is the store as it was at the first step.
fn check_snapshot(
    kept: &FxHashMap<StudentNo, StoredStudent>,
    windows: [WindowSpec; 2],
    events: &[Accepted],
    clock: i64,
) -> Result<(), TestCaseError> {
    let mut loaded = store(windows.clone());
    loaded.advance(Millis(clock), usize::MAX);
    for (student, stored) in kept {
        loaded.load(*student, stored.clone());
    }
    let sums: FxHashMap<_, _> = loaded.take_changes().into_iter().collect();
    for student in 0..4 {
        let got = sums.get(&student).cloned().unwrap_or_default();
        prop_assert_eq!(
            got,
            expected(events, student, &windows, clock),
            "exported student {} as of {}",
            student,
            clock
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn windows_equal_sums_over_the_events(steps in steps(), s1 in 1i64..12, n1 in 1i64..5, s2 in 1i64..12, n2 in 1i64..5) {
        let windows = [window(s1, n1), window(s2, n2)];
        let mut panes = store(windows.clone());
        let mut clock = 0i64;
        panes.advance(Millis(0), 0);
        let mut events = Vec::new();
        // Of the export under way: how many events were accepted before it began, and the clock then.
        let mut snapshot = None;
        let mut kept: FxHashMap<StudentNo, StoredStudent> = FxHashMap::default();
        let mut sums: FxHashMap<StudentNo, FeatureSum> = FxHashMap::default();
        // When each student last changed: with the boundary that waits it says as of when the sums are true.
        let mut changed: FxHashMap<StudentNo, i64> = FxHashMap::default();
        for step in steps {
            match step {
                Step::Event { student, at, amounts } => {
                    // Events are at most a little ahead of the clock, or as late as they like.
                    let at = clock + at - 30;
                    panes.add(student, Millis(at), &amounts);
                    events.extend(amounts.iter().map(|(slot, n)| Accepted { student, at, slot: *slot, amount: *n, clock }));
                    for (s, change) in panes.take_changes() {
                        sums.entry(s).or_default().add_all(&change, false);
                        changed.insert(s, clock);
                    }
                    // The rings of a student that an event touched are exact at once, whatever else waits.
                    let want = expected(&events, student, &windows, clock);
                    let w = windows[usize::from(amounts[0].0) / 2].clone();
                    if at.div_euclid(w.slide_ms) + w.panes() > clock.div_euclid(w.slide_ms) {
                        for (slot, _) in &amounts[..1] {
                            prop_assert_eq!(sums.entry(student).or_default().get(*slot), want.get(*slot));
                        }
                    }
                }
                Step::Advance { by, budget } => {
                    clock += by;
                    panes.advance(Millis(clock), budget);
                }
                Step::Export if snapshot.is_none() => {
                    panes.begin_export();
                    snapshot = Some((events.len(), clock));
                }
                Step::Export => {}
                Step::Reload => {
                    keep(&mut kept, panes.export(usize::MAX).0);
                    snapshot = None;
                    panes.begin_export();
                    keep(&mut kept, panes.export(usize::MAX).0);
                    panes = store(windows.clone());
                    panes.advance(Millis(clock), 0);
                    sums.clear();
                    changed.clear();
                    for (student, stored) in &kept {
                        panes.load(*student, stored.clone());
                    }
                }
            }
            for (s, change) in panes.take_changes() {
                sums.entry(s).or_default().add_all(&change, false);
                changed.insert(s, clock);
            }
            if let Some((accepted, at)) = snapshot {
                let (rows, last) = panes.export(1);
                keep(&mut kept, rows);
                if last {
                    snapshot = None;
                    check_snapshot(&kept, windows.clone(), &events[..accepted], at)?;
                }
            }
            for student in 0..4 {
                let as_of = match panes.unsettled() {
                    Some(boundary) if changed.get(&student).is_none_or(|at| *at < boundary.0) => boundary.0 - 1,
                    _ => clock,
                };
                let got = sums.get(&student).cloned().unwrap_or_default();
                prop_assert_eq!(got, expected(&events, student, &windows, as_of), "student {} as of {}", student, as_of);
            }
        }
        // Once the clock has passed everything, nothing is left behind.
        panes.advance(Millis(clock + 10_000), usize::MAX);
        let _ = (panes.take_changes(), panes.export(usize::MAX), panes.begin_export(), panes.export(usize::MAX));
        prop_assert_eq!(panes.len(), (0, 0));
        prop_assert!(panes.next_due().is_none());
    }
}
