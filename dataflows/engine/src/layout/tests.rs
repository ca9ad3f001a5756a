//! What views share, and which numbers survive a change of the views.

use super::*;
use aulaflow_plan::{Source, compile, parse_runtime};

fn plan(views: &str) -> Plan {
    let table =
        "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP)
        WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');";
    let (file, _) = parse_runtime(&Source::new("test.toml", ""));
    let sql = [Source::new("test.sql", format!("{table}\n{views}"))];
    compile(file.unwrap(), &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)))
}

fn view(name: &str, select: &str, window: &str) -> String {
    format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT student_id, {select} FROM behavior GROUP BY student_id, {window};\n"
    )
}

fn week(name: &str, select: &str) -> String {
    view(name, select, "hop(interval '1 day', interval '7 days')")
}

fn missing(layout: &Layout) -> Vec<&str> {
    layout.slots.iter().flatten().filter(|slot| slot.missing).map(|slot| slot.label.as_str()).collect()
}

#[test]
fn views_over_the_same_panes_share_them() {
    let month = view("b", "count(*) AS m, avg(value) AS mean", "hop(interval '1 day', interval '28 days')");
    let layout = Layout::new(&plan(&(week("a", "count(*) AS n, sum(value) AS s") + &month)), &KnownSlots::default());
    assert_eq!(layout.grids.len(), 1);
    assert_eq!((layout.grids[0].windows.as_slice(), layout.grids[0].panes), ([7, 28].as_slice(), 28));
    // Rows, the count of values and their sum, each once.
    let slots: Vec<_> = layout.slots.iter().flatten().collect();
    assert_eq!(slots.len(), 3);
    assert!(slots.iter().all(|slot| slot.views.as_slice() == [0, 1] && slot.panes == 28 && slot.windows == 0b11));
}

#[test]
fn a_view_whose_argument_may_fail_shares_its_rows_with_one_whose_may_not() {
    let layout = Layout::new(
        &plan(&(week("a", "count(*) AS n") + &week("b", "count(*) AS n, sum(10 / value) AS s"))),
        &KnownSlots::default(),
    );
    let counts: Vec<_> = layout.slots.iter().flatten().filter(|slot| slot.label == "count(*)").collect();
    assert_eq!(counts.iter().map(|slot| slot.views.to_vec()).collect::<Vec<_>>(), [[0, 1]]);
}

#[test]
fn what_is_still_needed_keeps_its_number() {
    let before = Layout::new(&plan(&week("a", "count(*) AS n, sum(value) AS s")), &KnownSlots::default());
    let known = before.known();
    // Another name, another output of the same parts, a comment.
    let same = plan(&format!("-- changed\n{}", week("z", "sum(value) / count(*) AS mean, count(*) AS events")));
    let same = Layout::new(&same, &known);
    assert_eq!((missing(&same), same.known().slots), (Vec::new(), known.slots.clone()));
    // One part more: it alone is missing, and its number is new.
    let more = Layout::new(&plan(&week("a", "count(*) AS n, sum(value) AS s, max(value) AS m")), &known);
    assert_eq!(missing(&more), ["max(\"value\")"]);
    let number = more.slots.iter().flatten().find(|slot| slot.missing).map(|slot| slot.number);
    assert_eq!(number, Some(known.next));
    // Fewer panes suffice; for more of them everything is made anew, under other numbers.
    let short = view("a", "count(*) AS n, sum(value) AS s", "hop(interval '1 day', interval '3 days')");
    assert_eq!(missing(&Layout::new(&plan(&short), &known)), Vec::<&str>::new());
    let long = view("a", "count(*) AS n, sum(value) AS s", "hop(interval '1 day', interval '9 days')");
    let long = Layout::new(&plan(&long), &known);
    assert_eq!(missing(&long).len(), 3);
    assert!(long.slots.iter().flatten().all(|slot| slot.number >= known.next));
    // A number that was in use once is never given again.
    let none = Layout::new(&plan(""), &known);
    assert_eq!(none.known().next, known.next);
}

#[test]
fn more_windows_than_a_grid_has_bits_make_another_grid() {
    let views: String = (1..=70)
        .map(|n| view(&format!("v{n}"), "count(*) AS n", &format!("hop(interval '1 day', interval '{n} days')")))
        .collect();
    let layout = Layout::new(&plan(&views), &KnownSlots::default());
    assert_eq!(layout.grids.iter().map(|grid| grid.windows.len()).collect::<Vec<_>>(), [64, 6]);
    assert_ne!(layout.grids[0].identity, layout.grids[1].identity);
    let known = layout.known();
    let identities: BTreeSet<u64> = known.slots.iter().map(|slot| slot.identity).collect();
    assert_eq!(identities.len(), known.slots.len());
    assert_eq!(Layout::new(&plan(&views), &known).known(), known);
}

/// What `aulaflow check` counts is what a layout has.
#[test]
fn a_plan_knows_how_many_parts_it_has() {
    let select = "count(*) AS a, count(value) AS b, sum(length(event_type)) AS c, sum(value) AS d, avg(value) AS e,
        stddev_pop(value) AS f, regr_slope(value, length(event_type)) AS g, count(distinct event_type) AS h,
        min(value) AS i, max(value) AS j, first(value) AS k, last(value) AS l";
    let plan = plan(&week("everything", select));
    for aggregate in &plan.views[0].aggregates {
        assert_eq!(needs(aggregate.function).len(), aggregate.function.parts(), "{:?}", aggregate.function);
    }
    assert_eq!(plan.views[0].aggregates.len(), 12);
    let layout = Layout::new(&plan, &KnownSlots::default());
    // `sum` and `avg` share what they add up, and `count`, `sum`, `avg` and `stddev_pop` of a column how many.
    assert!(layout.slots.len() <= plan.views[0].parts_max(), "{} slots", layout.slots.len());
}

#[test]
fn numbers_that_are_used_up_are_said_before_anything_starts() {
    let before = plan(&week("a", "count(*) AS n"));
    let known = KnownSlots { next: Slot::MAX, ..Layout::new(&before, &KnownSlots::default()).known() };
    assert!(Layout::has_room(&before, &known), "nothing new");
    assert!(!Layout::has_room(&plan(&week("a", "count(*) AS n, sum(value) AS s")), &known));
    let one = KnownSlots { next: Slot::MAX - 2, ..known };
    assert!(Layout::has_room(&plan(&week("a", "count(*) AS n, max(value) AS m")), &one));
}
