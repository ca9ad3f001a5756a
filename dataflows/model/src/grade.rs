//! The grade function: (evaluations, rule) to a grade with its explanation. Pure, total and exact.
//!
//! [`grade`] and [`explain`] show the same computed outcome, so that no explanation can disagree with its grade.
//!
//! What the contract leaves open, decided here:
//! - A `weighted` category whose evaluations' weights add up to 0 has no value. Its evaluations are there, so it counts
//!   as present for `complete`; in the sum it is absent: left out (`renormalise`) or 0 (`zero`).
//! - Inputs that the edges refuse count as the nearest allowed ones: a negative score or weight as 0, an evaluation
//!   whose maximum is not above 0 as a score of 0.

mod explain;
mod preview;

pub use explain::{ExplainedCategory, ExplainedEvaluation, Explanation, Fraction, Use, explain};
pub use preview::{Preview, PreviewRow, PreviewSummary};

use crate::decimal::Decimal;
use crate::exact::{Exact, Rounded};
use crate::ids::{EvaluationId, EvaluationType};
use crate::tenant::{AbsentCategory, Category, Combine, Rule, Scale, Weights};
use compact_str::{CompactString, format_compact};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What the grade function needs to know of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Item {
    /// Breaks ties.
    pub evaluation_id: EvaluationId,
    /// Its category.
    pub category: EvaluationType,
    /// Points reached; 0 where missing.
    pub score: Decimal,
    /// Points possible; above 0.
    pub max_score: Decimal,
    /// Its weight within a `weighted` category or under `weights = "items"`; not negative.
    pub weight: Decimal,
    /// Whether it counts, and how.
    pub status: Status,
}

/// Whether an evaluation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It counts as it is.
    Graded,
    /// It is left out.
    Excused,
    /// It counts as 0.
    Missing,
}

/// A consolidated grade.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grade {
    /// With exactly the rule's decimals; `None` where the weights add up to 0.
    pub score: Option<CompactString>,
    /// `score >= min_passing`, compared after rounding; false without a score.
    pub passing: bool,
    /// Every weighted category is present.
    pub complete: bool,
    /// Evaluations that count (graded and missing), dropped ones included.
    pub evaluations_count: u32,
    /// Per category present: what it gave.
    pub by_category: BTreeMap<EvaluationType, CategoryResult>,
    /// [`Rule::version`].
    pub rule_version: CompactString,
}

/// What a category gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CategoryResult {
    /// Its value in 0..1, as a decimal of at most 6 digits (half up) for people; the score is computed from the exact one.
    /// `None` where it has no value (item weights that add up to 0).
    pub value: Option<CompactString>,
    /// The rule's weight; `"0"` for a type that the rule does not weigh.
    pub weight: CompactString,
    /// Evaluations that count.
    pub counted: u32,
    /// Evaluations dropped by `drop_lowest`.
    pub dropped: u32,
}

/// Consolidates a student's evaluations of one subject and period. `None` where none of them counts.
///
/// The order of the items does not matter.
pub fn grade(items: &[Item], rule: &Rule, rule_version: &str) -> Option<Arc<Grade>> {
    compute(items, rule).map(|outcome| Arc::new(outcome.to_grade(rule, rule_version)))
}

/// The types among the evaluations that count which the rule does not weigh: errors of the rule, and worth a warning.
pub fn unweighted_types<'a>(items: &'a [Item], rule: &Rule) -> Vec<&'a EvaluationType> {
    let Weights::Categories(weights) = &rule.weights else {
        return Vec::new();
    };
    let counted = items.iter().filter(|item| item.status != Status::Excused);
    let mut types: Vec<_> = counted.map(|item| &item.category).filter(|kind| !weights.contains_key(*kind)).collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// The name of the one category under `weights = "items"`.
#[expect(clippy::expect_used, reason = "the name is a constant")]
static ITEMS: LazyLock<EvaluationType> =
    LazyLock::new(|| EvaluationType::new("items").expect("the name is a legal evaluation type"));

/// Evaluations of a group, by their places in the list.
type Places = SmallVec<[u32; 32]>;

/// Everything that was computed on the way to a grade.
struct Outcome<'a> {
    /// Categories with evaluations that count, in the order of their names.
    categories: SmallVec<[CategoryOutcome<'a>; 4]>,
    /// Places of what was dropped.
    dropped: SmallVec<[u32; 8]>,
    /// Evaluations that count, dropped ones included.
    counted: u32,
    complete: bool,
    /// Σ weight·value / Σ weight; `None` where the weights add up to 0.
    consolidated: Option<Exact>,
    /// On the scale, before rounding.
    exact_score: Option<Exact>,
    score: Option<Rounded>,
}

struct CategoryOutcome<'a> {
    category: &'a EvaluationType,
    /// `None`: the rule does not weigh this type.
    weight: Option<Decimal>,
    how: Category,
    counted: u32,
    dropped: u32,
    value: Option<Exact>,
}

/// Steps 1 to 5 of the contract.
fn compute<'a>(items: &'a [Item], rule: &'a Rule) -> Option<Outcome<'a>> {
    let mut places: Places = SmallVec::new();
    places.extend((0_u32..).zip(items).filter(|(_, item)| item.status != Status::Excused).map(|(place, _)| place));
    if places.is_empty() {
        return None;
    }
    let counted = places.len() as u32;
    let group = Group { items, extra_credit: rule.extra_credit };
    let mut categories = SmallVec::new();
    let mut dropped = SmallVec::new();
    let (complete, consolidated) = match &rule.weights {
        Weights::Items => {
            let how = Category { combine: Combine::Weighted, drop_lowest: 0 };
            categories.push(group.combine(&mut places, &ITEMS, Some(Decimal::ONE), how, &mut dropped));
            (true, categories.first().and_then(|only: &CategoryOutcome<'_>| only.value.clone()))
        }
        Weights::Categories(weights) => {
            let category = |place: &u32| &items[*place as usize].category;
            places.sort_unstable_by(|a, b| category(a).cmp(category(b)));
            for run in places.chunk_by_mut(|a, b| category(a) == category(b)) {
                let name = category(&run[0]);
                categories.push(group.combine(
                    run,
                    name,
                    weights.get(name).copied(),
                    *rule.category(name),
                    &mut dropped,
                ));
            }
            (is_complete(weights, &categories), consolidate(weights, &categories, rule.absent_category))
        }
    };
    let exact_score = consolidated.as_ref().map(|value| on_scale(value, &rule.scale));
    let score = exact_score.as_ref().map(|exact| exact.round(rule.rounding.mode, rule.rounding.decimals));
    Some(Outcome { categories, dropped, counted, complete, consolidated, exact_score, score })
}

/// Evaluations and how their scores are read.
struct Group<'a> {
    items: &'a [Item],
    extra_credit: bool,
}

impl<'a> Group<'a> {
    fn item(&self, place: u32) -> &'a Item {
        &self.items[place as usize]
    }

    /// Score and maximum as they count: the maximum is above 0, the score in between unless there is extra credit.
    fn points(&self, item: &Item) -> (Decimal, Decimal) {
        if item.max_score <= Decimal::ZERO {
            return (Decimal::ZERO, Decimal::ONE);
        }
        let score = match item.status {
            Status::Graded => item.score.max(Decimal::ZERO),
            Status::Missing | Status::Excused => Decimal::ZERO,
        };
        (if self.extra_credit { score } else { score.min(item.max_score) }, item.max_score)
    }

    fn normalised(&self, item: &Item) -> Exact {
        let (score, max_score) = self.points(item);
        // The maximum is above 0.
        Exact::ratio(score, max_score).unwrap_or(Exact::ZERO)
    }

    /// By normalised score, ties by id. The rest only makes the order total where an id is there twice.
    fn by_score(&self, a: &Item, b: &Item) -> Ordering {
        let ((score_a, max_a), (score_b, max_b)) = (self.points(a), self.points(b));
        let left = i128::from(score_a.micros()) * i128::from(max_b.micros());
        let right = i128::from(score_b.micros()) * i128::from(max_a.micros());
        left.cmp(&right).then_with(|| a.cmp(b))
    }

    /// One category: drops the lowest and combines the others.
    fn combine(
        &self,
        places: &mut [u32],
        category: &'a EvaluationType,
        weight: Option<Decimal>,
        how: Category,
        dropped: &mut SmallVec<[u32; 8]>,
    ) -> CategoryOutcome<'a> {
        let drop = usize::try_from(how.drop_lowest).unwrap_or(usize::MAX).min(places.len().saturating_sub(1));
        if drop > 0 {
            places.select_nth_unstable_by(drop, |a, b| self.by_score(self.item(*a), self.item(*b)));
            dropped.extend_from_slice(&places[..drop]);
        }
        let kept = places[drop..].iter().map(|place| self.item(*place));
        let value = match how.combine {
            Combine::Mean => self.mean(kept),
            Combine::Weighted => self.weighted(kept),
            Combine::Points => self.sums(kept),
        };
        CategoryOutcome { category, weight, how, counted: places.len() as u32, dropped: drop as u32, value }
    }

    fn mean(&self, items: impl ExactSizeIterator<Item = &'a Item>) -> Option<Exact> {
        let count = Exact::from_int(i64::try_from(items.len()).ok()?);
        items.fold(Exact::ZERO, |sum, item| sum.add(&self.normalised(item))).div(&count)
    }

    fn weighted(&self, items: impl Iterator<Item = &'a Item>) -> Option<Exact> {
        let (mut sum, mut weights) = (Exact::ZERO, 0_i128);
        for item in items.filter(|item| item.weight > Decimal::ZERO) {
            sum = sum.add(&self.normalised(item).mul(&Exact::from(item.weight)));
            weights += i128::from(item.weight.micros());
        }
        sum.div(&Exact::from_micros(weights))
    }

    fn sums(&self, items: impl Iterator<Item = &'a Item>) -> Option<Exact> {
        let (mut scores, mut maxima) = (0_i128, 0_i128);
        for item in items {
            let (score, max_score) = self.points(item);
            scores += i128::from(score.micros());
            maxima += i128::from(max_score.micros());
        }
        Exact::ratio_of_micros(scores, maxima)
    }
}

type CategoryWeights = BTreeMap<EvaluationType, Decimal>;

fn is_complete(weights: &CategoryWeights, present: &[CategoryOutcome<'_>]) -> bool {
    let weighing = weights.iter().filter(|(_, weight)| **weight > Decimal::ZERO);
    weighing.into_iter().all(|(name, _)| present.iter().any(|category| category.category == name))
}

/// Step 4: Σ weight·value / Σ weight.
fn consolidate(
    weights: &CategoryWeights,
    present: &[CategoryOutcome<'_>],
    absent_category: AbsentCategory,
) -> Option<Exact> {
    let micros = |weight: &Decimal| i128::from(weight.micros().max(0));
    let (mut sum, mut valued) = (Exact::ZERO, 0_i128);
    for category in present {
        if let (Some(weight), Some(value)) = (category.weight.filter(|w| *w > Decimal::ZERO), &category.value) {
            sum = sum.add(&value.mul(&Exact::from(weight)));
            valued += micros(&weight);
        }
    }
    sum.div(&Exact::from_micros(match absent_category {
        AbsentCategory::Renormalise => valued,
        AbsentCategory::Zero => weights.values().map(micros).sum(),
    }))
}

/// Step 5, before rounding.
fn on_scale(value: &Exact, scale: &Scale) -> Exact {
    let (min, max) = (i128::from(scale.min.micros()), i128::from(scale.max.micros()));
    Exact::from_micros(min).add(&value.mul(&Exact::from_micros(max - min)))
}

impl Outcome<'_> {
    fn to_grade(&self, rule: &Rule, rule_version: &str) -> Grade {
        let results = self.categories.iter().map(|category| (category.category.clone(), category.to_result()));
        Grade {
            score: self.score.as_ref().map(|score| format_compact!("{score}")),
            passing: self.score.as_ref().is_some_and(|score| score.cmp_decimal(rule.min_passing) != Ordering::Less),
            complete: self.complete,
            evaluations_count: self.counted,
            by_category: results.collect(),
            rule_version: CompactString::new(rule_version),
        }
    }
}

/// Fractional digits of a category's value as people see it.
const VALUE_DECIMALS: u8 = 6;

/// A value as people see it.
fn shown(value: &Exact) -> CompactString {
    value.round(crate::tenant::RoundingMode::HalfUp, VALUE_DECIMALS).trimmed()
}

impl CategoryOutcome<'_> {
    fn to_result(&self) -> CategoryResult {
        CategoryResult {
            value: self.value.as_ref().map(shown),
            weight: format_compact!("{}", self.weight.unwrap_or(Decimal::ZERO)),
            counted: self.counted,
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests;
