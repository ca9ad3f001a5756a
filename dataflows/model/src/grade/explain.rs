//! The explanation of a grade: the evaluations, weights and drops that made the number, with exact fractions.

use super::{CategoryOutcome, Grade, Group, Item, Outcome, Status, compute, shown};
use crate::decimal::Decimal;
use crate::exact::Exact;
use crate::ids::{EvaluationId, EvaluationType};
use crate::tenant::{AbsentCategory, Combine, Rounding, Rule, Scale, Weights};
use compact_str::CompactString;
use serde::Serialize;

/// How a grade came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Every evaluation and what became of it, in the order of category and id.
    pub evaluations: Vec<ExplainedEvaluation>,
    /// Every category that has evaluations or a weight, in the order of their names.
    pub categories: Vec<ExplainedCategory>,
    /// Σ weight·value / Σ weight; `None` where the weights add up to 0.
    pub consolidated: Option<Fraction>,
    /// The consolidated value on the rule's scale, before it is rounded.
    pub exact_score: Option<Fraction>,
    /// The scale.
    pub scale: Scale,
    /// How the exact score was rounded.
    pub rounding: Rounding,
    /// What categories without evaluations did.
    pub absent_category: AbsentCategory,
    /// Whether scores above their maximum counted as such.
    pub extra_credit: bool,
    /// The smallest passing score.
    pub min_passing: Decimal,
    /// [`Rule::version`].
    pub rule_version: CompactString,
    /// The grade itself; `None` where no evaluation counts.
    pub grade: Option<Grade>,
}

/// A number: exactly, and as a decimal of at most 6 digits (half up).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fraction {
    /// In lowest terms, such as `281/300`.
    pub exact: String,
    /// Such as `0.936667`.
    pub decimal: CompactString,
}

/// An evaluation's part in the grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedEvaluation {
    /// Which.
    pub evaluation_id: EvaluationId,
    /// Its type.
    pub category: EvaluationType,
    /// Whether it was graded.
    pub status: Status,
    /// Points reached, as recorded.
    pub score: Decimal,
    /// Points possible.
    pub max_score: Decimal,
    /// Its own weight; it matters where the category combines `weighted`.
    pub weight: Decimal,
    /// The score as it counts, by its maximum; `None` where it does not count.
    pub normalised: Option<Fraction>,
    /// What became of it.
    pub used: Use,
    /// Why, in words, where it is not simply counted.
    pub reason: Option<String>,
}

/// What became of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// It is part of its category's value.
    Counted,
    /// It is among the lowest, which the rule drops.
    Dropped,
    /// It is excused.
    Excused,
}

/// A category's part in the grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCategory {
    /// Its name.
    pub category: EvaluationType,
    /// The rule's weight; `None`: the rule does not weigh this type.
    pub weight: Option<Decimal>,
    /// How its evaluations were combined.
    pub combine: Combine,
    /// How many of the lowest the rule drops.
    pub drop_lowest: u32,
    /// Evaluations that count, dropped ones included.
    pub counted: u32,
    /// Evaluations dropped.
    pub dropped: u32,
    /// Its value; `None` where it is absent or its evaluations' weights add up to 0.
    pub value: Option<Fraction>,
}

/// Explains the grade of a student's evaluations of one subject and period, by the computation that makes the grade.
pub fn explain(items: &[Item], rule: &Rule) -> Explanation {
    let version = rule.version();
    let outcome = compute(items, rule);
    let group = Group { items, extra_credit: rule.extra_credit };
    let dropped = |place: usize| {
        outcome.as_ref().is_some_and(|outcome| outcome.dropped.iter().any(|other| *other as usize == place))
    };
    let mut evaluations: Vec<_> =
        items.iter().enumerate().map(|(place, item)| evaluation(&group, item, rule, dropped(place))).collect();
    evaluations.sort_by(|a, b| (&a.category, &a.evaluation_id).cmp(&(&b.category, &b.evaluation_id)));
    Explanation {
        evaluations,
        categories: categories(outcome.as_ref(), rule),
        consolidated: outcome.as_ref().and_then(|outcome| outcome.consolidated.as_ref()).map(fraction),
        exact_score: outcome.as_ref().and_then(|outcome| outcome.exact_score.as_ref()).map(fraction),
        scale: rule.scale,
        rounding: rule.rounding,
        absent_category: rule.absent_category,
        extra_credit: rule.extra_credit,
        min_passing: rule.min_passing,
        grade: outcome.as_ref().map(|outcome| outcome.to_grade(rule, &version)),
        rule_version: version.into(),
    }
}

fn fraction(value: &Exact) -> Fraction {
    Fraction { exact: value.to_fraction(), decimal: shown(value) }
}

fn evaluation(group: &Group<'_>, item: &Item, rule: &Rule, dropped: bool) -> ExplainedEvaluation {
    let used = match item.status {
        Status::Excused => Use::Excused,
        Status::Graded | Status::Missing if dropped => Use::Dropped,
        Status::Graded | Status::Missing => Use::Counted,
    };
    ExplainedEvaluation {
        evaluation_id: item.evaluation_id.clone(),
        category: item.category.clone(),
        status: item.status,
        score: item.score,
        max_score: item.max_score,
        weight: item.weight,
        normalised: (used != Use::Excused).then(|| fraction(&group.normalised(item))),
        used,
        reason: reason(item, rule, used),
    }
}

fn reason(item: &Item, rule: &Rule, used: Use) -> Option<String> {
    let mut reasons = Vec::new();
    match used {
        Use::Excused => return Some("excused evaluations are left out".to_owned()),
        Use::Dropped => {
            let drops = rule.category(&item.category).drop_lowest;
            reasons.push(format!("the rule drops the lowest {drops} of `{}`", item.category));
        }
        Use::Counted => {}
    }
    if item.status == Status::Missing {
        reasons.push("missing evaluations count as 0".to_owned());
    } else if item.score > item.max_score && !rule.extra_credit {
        reasons.push("the rule gives no extra credit, so the score counts as its maximum".to_owned());
    }
    match &rule.weights {
        Weights::Items if item.weight <= Decimal::ZERO => reasons.push("its own weight is 0".to_owned()),
        Weights::Categories(weights) if !weights.contains_key(&item.category) => {
            reasons.push(format!("the rule gives no weight to `{}`", item.category));
        }
        Weights::Items | Weights::Categories(_) => {}
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn categories(outcome: Option<&Outcome<'_>>, rule: &Rule) -> Vec<ExplainedCategory> {
    let present = outcome.map_or(&[][..], |outcome| outcome.categories.as_slice());
    let mut all: Vec<ExplainedCategory> = present.iter().map(explained).collect();
    if let Weights::Categories(weights) = &rule.weights {
        let absent = weights.iter().filter(|(name, _)| present.iter().all(|category| category.category != *name));
        all.extend(absent.map(|(name, weight)| ExplainedCategory {
            category: name.clone(),
            weight: Some(*weight),
            combine: rule.category(name).combine,
            drop_lowest: rule.category(name).drop_lowest,
            counted: 0,
            dropped: 0,
            value: None,
        }));
    }
    all.sort_by(|a, b| a.category.cmp(&b.category));
    all
}

fn explained(category: &CategoryOutcome<'_>) -> ExplainedCategory {
    ExplainedCategory {
        category: category.category.clone(),
        weight: category.weight,
        combine: category.how.combine,
        drop_lowest: category.how.drop_lowest,
        counted: category.counted,
        dropped: category.dropped,
        value: category.value.as_ref().map(fraction),
    }
}
