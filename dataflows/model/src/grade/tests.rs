//! The grade function against a slow reference, its laws, and cases computed by hand.

#![allow(clippy::unwrap_used, clippy::too_many_lines, clippy::type_complexity)]

use super::*;
use crate::tenant::{Rounding, RoundingMode};
use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{One, Signed, Zero};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The rules of consolidation word by word, over rationals, without a thought for speed.
mod reference {
    use super::*;

    type Q = Ratio<BigInt>;

    fn q(decimal: Decimal) -> Q {
        Q::new(decimal.micros().into(), 1_000_000.into())
    }

    fn capped(item: &Item, rule: &Rule) -> (Q, Q) {
        let max = q(item.max_score);
        let score = if item.status == Status::Missing { Q::zero() } else { q(item.score) };
        if score > max && !rule.extra_credit { (max.clone(), max) } else { (score, max) }
    }

    fn normalised(item: &Item, rule: &Rule) -> Q {
        let (score, max) = capped(item, rule);
        score / max
    }

    /// Step 2: takes the smallest away one at a time.
    fn drop_lowest<'a>(mut items: Vec<&'a Item>, count: u32, rule: &Rule) -> Vec<&'a Item> {
        for _ in 0..count {
            if items.len() == 1 {
                break;
            }
            let lowest =
                items.iter().map(|item| (normalised(item, rule), &item.evaluation_id)).min().unwrap().1.clone();
            items.retain(|item| item.evaluation_id != lowest);
        }
        items
    }

    /// Step 3.
    fn combine(items: &[&Item], how: Combine, rule: &Rule) -> Option<Q> {
        let divide = |a: Q, b: Q| if b.is_zero() { None } else { Some(a / b) };
        let sum = |of: &dyn Fn(&Item) -> Q| items.iter().map(|item| of(item)).fold(Q::zero(), |a, b| a + b);
        match how {
            Combine::Mean => divide(sum(&|item| normalised(item, rule)), Q::from_integer(items.len().into())),
            Combine::Weighted => {
                divide(sum(&|item| normalised(item, rule) * q(item.weight)), sum(&|item| q(item.weight)))
            }
            Combine::Points => divide(sum(&|item| capped(item, rule).0), sum(&|item| capped(item, rule).1)),
        }
    }

    /// Rounds by adding and flooring.
    pub fn round(x: &Q, rounding: Rounding) -> BigInt {
        let x = x * Q::from_integer(BigInt::from(10).pow(u32::from(rounding.decimals)));
        let half = Q::new(1.into(), 2.into());
        let magnitude = x.abs();
        let rounded = match rounding.mode {
            RoundingMode::Down => magnitude.floor(),
            RoundingMode::HalfUp => (magnitude + half).floor(),
            RoundingMode::HalfEven => {
                let up = (&magnitude + &half).floor();
                let tie = &up - &magnitude == half;
                if tie && (up.to_integer() % BigInt::from(2)) != BigInt::zero() { up - Q::one() } else { up }
            }
        };
        rounded.to_integer() * if x.is_negative() { -1 } else { 1 }
    }

    pub fn text(digits: &BigInt, decimals: u8) -> String {
        let decimals = usize::from(decimals);
        let mut text = digits.abs().to_string();
        while text.len() <= decimals {
            text.insert(0, '0');
        }
        if decimals > 0 {
            text.insert(text.len() - decimals, '.');
        }
        if digits.is_negative() { format!("-{text}") } else { text }
    }

    fn trimmed(value: &Q) -> String {
        let digits = round(value, Rounding { mode: RoundingMode::HalfUp, decimals: 6 });
        text(&digits, 6).trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    pub fn grade(items: &[Item], rule: &Rule) -> Option<Grade> {
        let counting: Vec<&Item> = items.iter().filter(|item| item.status != Status::Excused).collect();
        if counting.is_empty() {
            return None;
        }
        let mut by_category = BTreeMap::new();
        let mut values: BTreeMap<EvaluationType, Option<Q>> = BTreeMap::new();
        let weights: BTreeMap<EvaluationType, Decimal> = match &rule.weights {
            Weights::Items => BTreeMap::from([(EvaluationType::new("items").unwrap(), Decimal::ONE)]),
            Weights::Categories(weights) => weights.clone(),
        };
        let kind = |item: &Item| match rule.weights {
            Weights::Items => EvaluationType::new("items").unwrap(),
            Weights::Categories(_) => item.category.clone(),
        };
        for category in counting.iter().map(|item| kind(item)).collect::<BTreeSet<_>>() {
            let all: Vec<&Item> = counting.iter().copied().filter(|item| kind(item) == category).collect();
            let how = match rule.weights {
                Weights::Items => Category { combine: Combine::Weighted, drop_lowest: 0 },
                Weights::Categories(_) => rule.categories.get(&category).copied().unwrap_or_default(),
            };
            let kept = drop_lowest(all.clone(), how.drop_lowest, rule);
            let value = combine(&kept, how.combine, rule);
            by_category.insert(
                category.clone(),
                CategoryResult {
                    value: value.as_ref().map(|value| trimmed(value).into()),
                    weight: weights.get(&category).map_or("0".into(), |weight| weight.to_string().into()),
                    counted: all.len() as u32,
                    dropped: (all.len() - kept.len()) as u32,
                },
            );
            values.insert(category, value);
        }
        // Step 4.
        let (mut sum, mut total) = (Q::zero(), Q::zero());
        for (category, weight) in &weights {
            let value = match (values.get(category).cloned().flatten(), rule.absent_category, &rule.weights) {
                (Some(value), _, _) => value,
                (None, AbsentCategory::Zero, Weights::Categories(_)) => Q::zero(),
                (None, _, _) => continue,
            };
            sum += q(*weight) * value;
            total += q(*weight);
        }
        let score = (!total.is_zero()).then(|| {
            let exact = q(rule.scale.min) + sum / total * (q(rule.scale.max) - q(rule.scale.min));
            round(&exact, rule.rounding)
        });
        let unit = BigInt::from(10).pow(u32::from(rule.rounding.decimals));
        Some(Grade {
            passing: score.as_ref().is_some_and(|score| Q::new(score.clone(), unit) >= q(rule.min_passing)),
            score: score.map(|score| text(&score, rule.rounding.decimals).into()),
            complete: weights.iter().all(|(name, weight)| *weight == Decimal::ZERO || by_category.contains_key(name)),
            evaluations_count: counting.len() as u32,
            by_category,
            rule_version: "r-x".into(),
        })
    }
}

fn kind(text: &str) -> EvaluationType {
    EvaluationType::new(text).unwrap()
}

fn item(id: &str, category: &str, score: &str, max_score: &str) -> Item {
    Item {
        evaluation_id: EvaluationId::new(id).unwrap(),
        category: kind(category),
        score: score.parse().unwrap(),
        max_score: max_score.parse().unwrap(),
        weight: Decimal::ONE,
        status: Status::Graded,
    }
}

fn rule(json: serde_json::Value) -> Rule {
    Rule::from_json_for(None, &json, "").unwrap()
}

fn score(items: &[Item], rule: &Rule) -> Option<String> {
    grade(items, rule, "r-x").unwrap().score.clone().map(String::from)
}

prop_compose! {
    fn any_item(scores: std::ops::Range<i64>)(
        category in prop::sample::select(vec!["exam", "homework", "quiz", "essay"]),
        score in prop_oneof![(0..=100_i64).prop_map(|n| n * 1_000_000), scores],
        max in prop_oneof![
            4 => Just(100_000_000_i64), 2 => prop::sample::select(vec![20_000_000_i64, 30_000_000, 7_000_000]),
            2 => 1..1_000_000_000_000_000_i64, 1 => 1..100_i64,
        ],
        weight in prop_oneof![
            3 => Just(1_000_000_i64), 2 => Just(0), 1 => 0..1_000_000_000_000_000_i64, 1 => 0..5_000_000_i64,
        ],
        status in prop_oneof![6 => Just(Status::Graded), 1 => Just(Status::Excused), 1 => Just(Status::Missing)],
    ) -> Item {
        Item {
            evaluation_id: EvaluationId::new("x").unwrap(),
            category: kind(category),
            score: Decimal::from_micros(score),
            max_score: Decimal::from_micros(max),
            weight: Decimal::from_micros(weight),
            status,
        }
    }
}

/// Items with ids of their own, not in the order of the list.
fn items() -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(any_item(0..1_000_000_000_000_000), 0..14).prop_map(|mut items| {
        for (i, item) in items.iter_mut().enumerate() {
            item.evaluation_id = EvaluationId::new(format!("e{}", i * 5 % 17)).unwrap();
        }
        items
    })
}

fn any_weight() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => prop::sample::select(vec![100_000_i64, 200_000, 700_000, 1_000_000]),
        2 => Just(0),
        1 => 0..1_000_000_000_000_000_i64,
    ]
}

fn any_category() -> impl Strategy<Value = Category> {
    let combine = prop::sample::select(vec![Combine::Mean, Combine::Weighted, Combine::Points]);
    (combine, 0..4_u32).prop_map(|(combine, drop_lowest)| Category { combine, drop_lowest })
}

fn rules() -> impl Strategy<Value = Rule> {
    let types = || prop::sample::select(vec!["exam", "homework", "quiz", "lab"]);
    let weights = prop_oneof![
        1 => Just(Weights::Items),
        6 => prop::collection::btree_map(types().prop_map(kind), any_weight().prop_map(Decimal::from_micros), 1..4)
            .prop_map(Weights::Categories),
    ];
    let categories = prop::collection::btree_map(types().prop_map(kind), any_category(), 0..4);
    let scales = prop::sample::select(vec![(0, 100_000_000), (0, 10_000_000), (1_000_000, 7_000_000), (-5, 333_333)]);
    let modes = prop::sample::select(vec![RoundingMode::HalfUp, RoundingMode::HalfEven, RoundingMode::Down]);
    (weights, categories, scales, modes, 0..=6_u8, any::<bool>(), any::<bool>(), 0..=100_i64).prop_map(
        |(weights, categories, (min, max), mode, decimals, zero, extra_credit, passing)| Rule {
            subject: None,
            periods: None,
            weights,
            min_passing: Decimal::from_micros(min + (max - min) * passing / 100),
            scale: Scale { min: Decimal::from_micros(min), max: Decimal::from_micros(max) },
            rounding: Rounding { mode, decimals },
            absent_category: if zero { AbsentCategory::Zero } else { AbsentCategory::Renormalise },
            extra_credit,
            categories,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn agrees_with_the_reference(items in items(), rule in rules()) {
        let found = grade(&items, &rule, "r-x");
        let expected = reference::grade(&items, &rule);
        prop_assert_eq!(found.as_deref(), expected.as_ref());
    }

    #[test]
    fn order_of_arrival_does_not_matter(items in items(), rule in rules(), seed in any::<prop::sample::Index>()) {
        let first = grade(&items, &rule, "r-x");
        let mut other = items.clone();
        other.reverse();
        prop_assert_eq!(&grade(&other, &rule, "r-x"), &first);
        let turn = seed.index(other.len().max(1));
        other.rotate_left(turn);
        prop_assert_eq!(&grade(&other, &rule, "r-x"), &first);
    }

    #[test]
    fn raising_a_score_never_lowers_a_mean(
        items in items(), rule in rules(), place in any::<prop::sample::Index>(), more in 1..1_000_000_000_i64,
    ) {
        let mut rule = rule;
        rule.categories.values_mut().for_each(|category| category.combine = Combine::Mean);
        if items.is_empty() {
            return Ok(());
        }
        let mut raised = items.clone();
        let item = &mut raised[place.index(items.len())];
        item.score = Decimal::from_micros(item.score.micros() + more);
        match (compute(&items, &rule), compute(&raised, &rule)) {
            (Some(before), Some(after)) => prop_assert!(before.exact_score <= after.exact_score),
            (before, after) => prop_assert!(before.is_none() && after.is_none()),
        }
    }

    #[test]
    fn explanations_tell_of_the_grade(items in items(), rule in rules()) {
        let explanation = explain(&items, &rule);
        let grade = grade(&items, &rule, &rule.version());
        prop_assert_eq!(explanation.grade.as_ref(), grade.as_deref());
        prop_assert_eq!(explanation.evaluations.len(), items.len());
        let used = |used| explanation.evaluations.iter().filter(|evaluation| evaluation.used == used).count() as u32;
        let Some(grade) = grade else { return Ok(()) };
        let stored = postcard::to_allocvec(&(&*grade, &items)).unwrap();
        let read: (Grade, Vec<Item>) = postcard::from_bytes(&stored).unwrap();
        prop_assert_eq!(&read, &((*grade).clone(), items.clone()));
        prop_assert_eq!(used(Use::Counted) + used(Use::Dropped), grade.evaluations_count);
        prop_assert_eq!(used(Use::Dropped), grade.by_category.values().map(|category| category.dropped).sum::<u32>());
        prop_assert_eq!(explanation.exact_score.is_some(), grade.score.is_some());
        for category in explanation.categories.iter().filter(|category| category.counted > 0) {
            let value = category.value.as_ref().map(|value| value.decimal.clone());
            prop_assert_eq!(&value, &grade.by_category[&category.category].value);
        }
    }

    /// Also on values that no edge lets through.
    #[test]
    fn is_total(
        numbers in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>()), 1..6),
        rule in rules(), weight in any::<i64>(), scale in any::<(i64, i64)>(), drop_lowest in any::<u32>(),
    ) {
        let decimal = Decimal::from_micros;
        let items: Vec<Item> = numbers.into_iter().map(|(score, max_score, weight)| Item {
            score: decimal(score), max_score: decimal(max_score), weight: decimal(weight), ..item("e", "exam", "0", "1")
        }).collect();
        let mut rule = rule;
        if let Weights::Categories(weights) = &mut rule.weights {
            weights.insert(kind("exam"), decimal(weight));
        }
        rule.scale = Scale { min: decimal(scale.0), max: decimal(scale.1) };
        rule.categories.insert(kind("exam"), Category { combine: Combine::Points, drop_lowest });
        prop_assert!(grade(&items, &rule, "r-x").is_some());
        prop_assert_eq!(explain(&items, &rule).evaluations.len(), items.len());
    }
}

#[test]
fn rounds_once_as_the_mode_says() {
    for (points, half_up, half_even, down) in [
        ("84.295", "84.30", "84.30", "84.29"),
        ("84.285", "84.29", "84.28", "84.28"),
        // Rounding to three digits first would make 84.295 of it, and 84.30 of that.
        ("84.2949", "84.29", "84.29", "84.29"),
        ("84.3", "84.30", "84.30", "84.30"),
        ("0", "0.00", "0.00", "0.00"),
    ] {
        for (mode, text) in [("half_up", half_up), ("half_even", half_even), ("down", down)] {
            let rule = rule(serde_json::json!({ "weights": { "exam": 1 }, "rounding": { "mode": mode } }));
            assert_eq!(score(&[item("a", "exam", points, "100")], &rule).unwrap(), text, "{points} {mode}");
        }
    }
}

#[test]
fn passing_compares_the_rounded_score() {
    let rule = rule(serde_json::json!({ "weights": { "exam": 1 }, "min_passing": 60 }));
    for (points, passing) in [("59.994999", false), ("59.995", true), ("60", true)] {
        assert_eq!(grade(&[item("a", "exam", points, "100")], &rule, "").unwrap().passing, passing, "{points}");
    }
}

/// Computed by hand from the contract.
#[test]
fn hand_computed_cases() {
    let school = serde_json::json!({
        "weights": { "exam": "0.7", "homework": "0.2", "quiz": "0.1" }, "category": { "homework": { "drop_lowest": 1 } },
    });
    let with = |changes: serde_json::Value| {
        let mut rule = school.clone();
        rule.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        rule
    };
    let (e1, e2) = (item("e1", "exam", "80", "100"), item("e2", "exam", "90", "100"));
    let (h1, h2) = (item("h1", "homework", "5", "10"), item("h2", "homework", "9", "10"));
    let q1 = item("q1", "quiz", "3", "4");
    let missing = Item { status: Status::Missing, ..h1.clone() };
    let excused = Item { status: Status::Excused, ..q1.clone() };
    let heavy = Item { weight: Decimal::from_int(3), ..e2.clone() };
    let extra = item("e3", "exam", "120", "100");
    let all = vec![e1.clone(), e2.clone(), h1.clone(), h2.clone(), q1.clone()];
    let cases: Vec<(&str, Vec<Item>, serde_json::Value, Option<&str>, bool)> = vec![
        // 0.7·0.85 + 0.2·0.9 + 0.1·0.75 = 0.85
        ("everything", all.clone(), with(serde_json::json!({})), Some("85.00"), true),
        // (0.595 + 0.18) / 0.9
        (
            "excused",
            vec![e1.clone(), e2.clone(), h1.clone(), h2.clone(), excused.clone()],
            with(serde_json::json!({})),
            Some("86.11"),
            false,
        ),
        (
            "excused, zero",
            vec![e1.clone(), e2.clone(), h1.clone(), h2.clone(), excused.clone()],
            with(serde_json::json!({ "absent_category": "zero" })),
            Some("77.50"),
            false,
        ),
        // The missing one is the one dropped.
        ("missing dropped", vec![missing.clone(), h2.clone()], with(serde_json::json!({})), Some("90.00"), false),
        ("the last one stays", vec![missing.clone()], with(serde_json::json!({})), Some("0.00"), false),
        // (0.8 + 3·0.9) / 4 = 0.875
        (
            "weighted",
            vec![e1.clone(), heavy.clone()],
            serde_json::json!({ "weights": { "exam": 1 }, "category": { "exam": { "combine": "weighted" } } }),
            Some("87.50"),
            true,
        ),
        ("items", vec![e1.clone(), heavy.clone()], serde_json::json!({ "weights": "items" }), Some("87.50"), true),
        // 12 of 20 and 3 of 4: 15 of 24
        (
            "points",
            vec![item("a", "lab", "12", "20"), item("b", "lab", "3", "4")],
            serde_json::json!({ "weights": { "lab": 2 }, "category": { "lab": { "combine": "points" } } }),
            Some("62.50"),
            true,
        ),
        (
            "capped",
            vec![e1.clone(), extra.clone()],
            serde_json::json!({ "weights": { "exam": 1 } }),
            Some("90.00"),
            true,
        ),
        (
            "extra credit",
            vec![extra.clone()],
            serde_json::json!({ "weights": { "exam": 1 }, "extra_credit": true }),
            Some("120.00"),
            true,
        ),
        (
            "a type without a weight",
            vec![e1.clone(), item("o", "oral", "0", "10")],
            serde_json::json!({ "weights": { "exam": 1 } }),
            Some("80.00"),
            true,
        ),
        ("only such", vec![item("o", "oral", "1", "10")], serde_json::json!({ "weights": { "exam": 1 } }), None, false),
        (
            "only such, zero",
            vec![item("o", "oral", "1", "10")],
            serde_json::json!({ "weights": { "exam": 1 }, "absent_category": "zero" }),
            Some("0.00"),
            false,
        ),
        ("weights add up to 0", vec![e1.clone()], serde_json::json!({ "weights": { "exam": 0 } }), None, true),
        (
            "items' weights add up to 0",
            vec![Item { weight: Decimal::ZERO, ..e1.clone() }],
            serde_json::json!({ "weights": "items" }),
            None,
            true,
        ),
        // 1 + 2/3·6
        (
            "a scale from 1 to 7",
            vec![item("a", "exam", "2", "3")],
            serde_json::json!({ "weights": { "exam": 1 }, "scale": { "min": 1, "max": 7 }, "rounding": { "decimals": 1 } }),
            Some("5.0"),
            true,
        ),
        (
            "a third, down",
            vec![item("a", "exam", "1", "3")],
            serde_json::json!({ "weights": { "exam": 1 }, "rounding": { "mode": "down", "decimals": 6 } }),
            Some("33.333333"),
            true,
        ),
        (
            "no digits",
            vec![item("a", "exam", "84.5", "100")],
            serde_json::json!({ "weights": { "exam": 1 }, "rounding": { "mode": "half_even", "decimals": 0 } }),
            Some("84"),
            true,
        ),
    ];
    for (name, items, json, expected, complete) in cases {
        let grade = grade(&items, &rule(json), "r-x").unwrap();
        assert_eq!(grade.score.as_deref(), expected, "{name}");
        assert_eq!(grade.complete, complete, "{name}");
    }
    assert_eq!(grade(&[excused], &rule(school.clone()), ""), None);
    assert_eq!(grade(&[], &rule(school), ""), None);
}

#[test]
fn by_category_tells_what_each_gave() {
    let rule = rule(serde_json::json!({
        "weights": { "exam": 0.7, "lab": 0.3 }, "category": { "exam": { "drop_lowest": 1 }, "lab": { "combine": "weighted" } },
    }));
    let no_weight = Item { weight: Decimal::ZERO, ..item("l", "lab", "1", "1") };
    let items = [item("a", "exam", "2", "3"), item("b", "exam", "1", "3"), no_weight, item("o", "oral", "1", "2")];
    let grade = grade(&items, &rule, "r-1").unwrap();
    let json = serde_json::to_value(&*grade).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "score": "66.67", "passing": true, "complete": true, "evaluations_count": 4,
            "by_category": {
                "exam": { "value": "0.666667", "weight": "0.7", "counted": 2, "dropped": 1 },
                "lab": { "value": null, "weight": "0.3", "counted": 1, "dropped": 0 },
                "oral": { "value": "0.5", "weight": "0", "counted": 1, "dropped": 0 },
            },
            "rule_version": "r-1",
        })
    );
    assert_eq!(unweighted_types(&items, &rule), [&kind("oral")]);
}

#[test]
fn ties_drop_by_id() {
    let rule = rule(
        serde_json::json!({ "weights": { "exam": 1 }, "category": { "exam": { "combine": "points", "drop_lowest": 1 } } }),
    );
    // All are one half, so whichever is dropped shows in the points.
    let items = [item("c", "exam", "1", "2"), item("a", "exam", "50", "100"), item("b", "exam", "5", "10")];
    let explanation = explain(&items, &rule);
    let used: Vec<_> = explanation.evaluations.iter().map(|e| (e.evaluation_id.as_str(), e.used)).collect();
    assert_eq!(used, [("a", Use::Dropped), ("b", Use::Counted), ("c", Use::Counted)]);
    assert_eq!(explanation.evaluations[0].reason.as_deref(), Some("the rule drops the lowest 1 of `exam`"));
}

#[test]
fn explains_exactly() {
    let rule = rule(serde_json::json!({ "weights": { "exam": 0.7, "quiz": 0.3 }, "rounding": { "decimals": 1 } }));
    let missing = Item { status: Status::Missing, ..item("m", "exam", "5", "10") };
    let excused = Item { status: Status::Excused, ..item("x", "exam", "5", "10") };
    let explanation = explain(&[missing, item("a", "exam", "12", "10"), excused, item("o", "oral", "1", "3")], &rule);
    let exact = |fraction: &Option<Fraction>| fraction.as_ref().map(|f| (f.exact.clone(), f.decimal.to_string()));
    assert_eq!(exact(&explanation.consolidated), Some(("1/2".into(), "0.5".into())));
    assert_eq!(exact(&explanation.exact_score), Some(("50".into(), "50".into())));
    assert_eq!(explanation.rule_version, rule.version());
    let told: Vec<_> = explanation
        .evaluations
        .iter()
        .map(|e| (e.evaluation_id.as_str(), exact(&e.normalised).map(|(text, _)| text), e.reason.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("a", Some("1".into()), Some("the rule gives no extra credit, so the score counts as its maximum")),
            ("m", Some("0".into()), Some("missing evaluations count as 0")),
            ("x", None, Some("excused evaluations are left out")),
            ("o", Some("1/3".into()), Some("the rule gives no weight to `oral`")),
        ]
    );
    let categories: Vec<_> = explanation.categories.iter().map(|c| (c.category.as_str(), c.counted)).collect();
    assert_eq!(categories, [("exam", 2), ("oral", 1), ("quiz", 0)]);
}

#[test]
fn denominators_may_explode() {
    let rule = rule(serde_json::json!({ "weights": { "exam": 1 }, "rounding": { "decimals": 6 } }));
    let items: Vec<Item> = (0..400)
        .map(|i| {
            let max = Decimal::from_micros(999_999_999_999_989 - 2 * i * i - i);
            Item { max_score: max, ..item(&format!("e{i}"), "exam", "123456.789", "1") }
        })
        .collect();
    let found = grade(&items, &rule, "r-x");
    assert_eq!(found.as_deref(), reference::grade(&items, &rule).as_ref());
}
