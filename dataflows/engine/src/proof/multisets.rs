//! Aggregates inside expressions, of random multisets, beside rational arithmetic: equal to the last digit shown.
//!
//! The views run on real workers. The reference takes the same numbers as fractions and rounds once, at the end; square roots
//! are compared by their squares.

use super::stepper::{Checkpoint, Records, Running};
use aulaflow_model::change::FeatureValue;
use aulaflow_model::instant::Millis;
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use num_bigint::BigInt;
use num_rational::Ratio;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;
use std::sync::Arc;

/// 2026-03-06T12:00:00Z
const T0: i64 = 1_772_798_400_000;
/// Multisets that are compared at a time, each a student's.
const STUDENTS: u32 = 5_000;

type BigRational = Ratio<BigInt>;

/// A number, one beside it, and a whole number.
#[derive(Debug, Clone)]
struct Point {
    x: f64,
    w: f64,
    n: i64,
}

/// Up to 15 digits between 1e-6 and 1e15, on either side of zero.
fn number() -> impl Strategy<Value = f64> {
    let digits = prop_oneof![1i64..100, 1i64..1_000_000_000_000_000];
    (digits, -6i32..=15, any::<bool>()).prop_map(|(digits, magnitude, negative)| {
        let length = digits.ilog10() as i32;
        let x: f64 = format!("{digits}e{}", magnitude - length).parse().unwrap();
        if negative { -x.min(1e15) } else { x.min(1e15) }
    })
}

fn multiset() -> impl Strategy<Value = Vec<Point>> {
    let few = prop::sample::select(vec![0.0, 1.0, 2.0, 0.5, 1e15, 1e-6, 1.0 / 3.0]);
    let number = || prop_oneof![3 => number(), 1 => few.clone()];
    let point = (number(), number(), prop_oneof![any::<i64>(), -9i64..10]).prop_map(|(x, w, n)| Point { x, w, n });
    prop::collection::vec(point, 1..12)
}

const OUTPUTS: [(&str, &str); 16] = [
    ("total", "sum(x)"),
    ("mean", "avg(x)"),
    ("spread", "stddev_pop(x)"),
    ("slope", "regr_slope(x, w)"),
    ("seventh", "sum(x) / 7"),
    ("mean3", "avg(x) * 3 - 0.1"),
    ("spread3", "stddev_pop(x) * 1000"),
    ("slope2", "regr_slope(x, w) * 2"),
    ("range", "(max(x) - min(x)) / 3"),
    ("edges", "first(x) * 2 + last(x) / 3"),
    ("distinct", "count(distinct n) / 3.0"),
    ("whole", "sum(n)"),
    ("whole10", "sum(n) * 10 / 3"),
    ("cents", "round(avg(x), 2)"),
    ("tens", "floor(avg(x) / 10) + 0.5"),
    ("same", "avg(x) = sum(x) / count(*) AND avg(n) * count(n) = sum(n)"),
];

fn plan() -> Arc<Plan> {
    let of = |text: &str| {
        let number = |key: &str, ty: &str| format!("CAST(context->>'{key}' AS {ty})");
        // Arguments are written as letters in brackets.
        [
            ("(x", "(", "x", "DOUBLE"),
            (", w)", ", ", "w", "DOUBLE"),
            ("(n)", "(", "n", "BIGINT"),
            ("distinct n)", "distinct ", "n", "BIGINT"),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (from, before, key, ty)| {
            let after = if from.ends_with(')') { ")" } else { "" };
            text.replace(from, &format!("{before}{}{after}", number(key, ty)))
        })
    };
    let outputs: Vec<_> = OUTPUTS.iter().map(|(name, text)| format!("{} AS {name}", of(text))).collect();
    let sql = format!(
        "CREATE TABLE behavior (event_id TEXT, student_id TEXT, occurred_at TIMESTAMP, context JSON)
         WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
         CREATE MATERIALIZED VIEW v AS SELECT student_id, {} FROM behavior
         GROUP BY student_id, tumble(interval '1 day');",
        outputs.join(", ")
    );
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", "[engine]\nclock = \"live\"\n"));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    Arc::new(
        compile(file, &[], &[Source::new("test.sql", &sql)])
            .unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d))),
    )
}

fn whole(n: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(n.into())
}

/// An argument: the decimal number that the double shows, to the nearest millionth, halves away from zero.
fn argument(x: f64) -> BigRational {
    let text = x.to_string();
    let (digits, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let all: BigInt = format!("{digits}{fraction}").parse().unwrap();
    let unit = BigInt::from(10).pow(u32::try_from(fraction.len()).unwrap());
    // `round` of a ratio goes away from zero.
    (BigRational::new(all, unit) * whole(1_000_000)).round() / whole(1_000_000)
}

/// In millionths, halves away from zero.
fn micros(x: &BigRational) -> FeatureValue {
    // `round` of a ratio goes away from zero.
    FeatureValue::Micros(i128::try_from((x * whole(1_000_000)).round().to_integer()).unwrap())
}

struct Reference {
    x: Vec<BigRational>,
    w: Vec<BigRational>,
    n: Vec<i64>,
}

impl Reference {
    fn mean(of: &[BigRational]) -> BigRational {
        of.iter().sum::<BigRational>() / whole(of.len())
    }

    fn variance(&self) -> BigRational {
        let mean = Self::mean(&self.x);
        let squares: Vec<_> = self.x.iter().map(|x| (x - &mean) * (x - &mean)).collect();
        Self::mean(&squares)
    }

    fn slope(&self) -> Option<BigRational> {
        let (x, w) = (Self::mean(&self.x), Self::mean(&self.w));
        let over: BigRational = self.x.iter().zip(&self.w).map(|(a, b)| (a - &x) * (b - &w)).sum();
        let under: BigRational = self.w.iter().map(|b| (b - &w) * (b - &w)).sum();
        (under != whole(0)).then(|| over / under)
    }

    /// Whether a shown number is the nearest to `factor · √variance`.
    fn is_root(&self, shown: &FeatureValue, factor: i64) -> bool {
        let FeatureValue::Micros(shown) = shown else { return false };
        let square = self.variance() * whole(factor * factor) * whole(4_000_000_000_000_i64);
        let bound = |n: i128| whole(n * 2 + 1) * whole(n * 2 + 1);
        *shown >= 0 && square < bound(*shown) && (*shown == 0 || square >= bound(*shown - 1))
    }

    fn check(&self, shown: &[FeatureValue]) {
        let total: BigRational = self.x.iter().sum();
        let mean = Self::mean(&self.x);
        let ratio = |a: i64, b: i64| BigRational::new(a.into(), b.into());
        let sum: i128 = self.n.iter().map(|n| i128::from(*n)).sum();
        let range = self.x.iter().max().unwrap() - self.x.iter().min().unwrap();
        let distinct = self.n.iter().collect::<BTreeSet<_>>().len() as i64;
        let cents = (&mean * whole(100)).round() / whole(100);
        let slope = |factor: i64| self.slope().map_or(FeatureValue::Null, |slope| micros(&(slope * whole(factor))));
        let expected = [
            Some(micros(&total)),
            Some(micros(&mean)),
            None,
            Some(slope(1)),
            Some(micros(&(&total / whole(7)))),
            Some(micros(&(&mean * whole(3) - ratio(1, 10)))),
            None,
            Some(slope(2)),
            Some(micros(&(range / whole(3)))),
            Some(micros(&(self.x.first().unwrap() * whole(2) + self.x.last().unwrap() / whole(3)))),
            Some(micros(&ratio(distinct, 3))),
            Some(FeatureValue::Int(sum)),
            Some(FeatureValue::Int(sum * 10 / 3)),
            Some(micros(&cents)),
            Some(micros(&((&mean / whole(10)).floor() + ratio(1, 2)))),
            Some(FeatureValue::Bool(true)),
        ];
        for ((shown, expected), (name, text)) in shown.iter().zip(expected).zip(OUTPUTS) {
            match (name, expected) {
                ("spread", _) => assert!(self.is_root(shown, 1), "{text}: {shown:?}"),
                ("spread3", _) => assert!(self.is_root(shown, 1_000), "{text}: {shown:?}"),
                (_, expected) => assert_eq!(Some(shown), expected.as_ref(), "{text}"),
            }
        }
        assert_eq!(shown.len(), OUTPUTS.len());
    }
}

fn compare(plan: &Arc<Plan>, multisets: &[Vec<Point>]) {
    let mut records = Records::default();
    for (student, points) in multisets.iter().enumerate() {
        for (at, Point { x, w, n }) in points.iter().enumerate() {
            let occurred = Millis(T0 - 1_000 + at as i64);
            let value = format!(
                r#"{{"tenant_id":"t","event_id":"{at}","student_id":"s{student}","event_type":"a","occurred_at":"{occurred}","context":{{"x":{x:e},"w":{w:e},"n":{n}}}}}"#
            );
            records.push(Millis(T0), format!("t/s{student}"), value);
        }
    }
    let mut running = Running::start(plan, &Checkpoint::default(), &records, 1);
    running.step(&records, records.len(), Millis(T0), None);
    for (student, points) in multisets.iter().enumerate() {
        let of = |number: fn(&Point) -> f64| points.iter().map(|point| argument(number(point))).collect();
        let reference = Reference { x: of(|p| p.x), w: of(|p| p.w), n: points.iter().map(|p| p.n).collect() };
        let shown = running.shown.lock();
        let row = shown.get(&(format!("s{student}"), 0)).unwrap_or_else(|| panic!("no row of {points:?}"));
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reference.check(&row.0)));
        assert!(checked.is_ok(), "of {points:?}");
    }
    assert!(running.dead.is_empty(), "{:?}", running.dead);
    running.stop();
}

/// `AULAFLOW_CASES` says of how many multisets.
#[test]
fn aggregates_inside_expressions_equal_exact_rationals() {
    let cases: u32 = std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let plan = plan();
    let mut left = cases;
    while left > 0 {
        let count = left.min(STUDENTS);
        let multisets: Vec<_> = (0..count).map(|_| multiset().new_tree(&mut runner).unwrap().current()).collect();
        compare(&plan, &multisets);
        left -= count;
    }
}
