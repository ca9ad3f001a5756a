//! Cohorts: all grades of one tenant, subject and period in numbers. Pure arithmetic on exact integers; which grades
//! there are is not known here.
//!
//! A cohort holds the grades that have a score, each student's once. [`Sums`] is what it keeps of them: an abelian group,
//! so that a grade that changes or goes is subtracted, whatever the order. Everything shown is derived from it.
//!
//! What it does not say: a cohort is no class or course group, it is everybody with a grade in the subject and period. A
//! grade counts as it stands, complete or not. The percentile is read off a histogram: it says where a score lies among
//! the scores, to about the width of a bin, and two students of one bin are told apart as if its scores were spread
//! evenly. It is no rank, and nothing about how much a student learned.

use crate::decimal::MICROS;
use crate::grade::Grade;
use crate::statistics::{deviation, divide_half_up};
use crate::tenant::Scale;
use serde::{Deserialize, Serialize};

/// Bins of the histogram.
pub const BINS: usize = 20;

/// Scores count up to this magnitude, in millionths (10^9); farther ones as if they were there, so that no sum overflows.
/// A score is below it unless extra credit is extreme.
const SCORE_MAX: i128 = 1_000_000_000 * MICROS as i128;

/// Sums over grades: an abelian group with [`Sums::add`], [`Sums::negate`] and the default as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Grades with a score.
    pub count: i64,
    /// Those that pass.
    pub passing: i64,
    /// Σ score, in millionths.
    pub sum: i128,
    /// Σ score², in millionths of millionths.
    pub squares: i128,
    /// Grades by bin (see [`bin`]).
    pub bins: [i64; BINS],
}

impl Sums {
    /// One grade's part; `None` where it has no score.
    pub fn of(grade: &Grade, scale: Scale) -> Option<Self> {
        let score = score_micros(grade.score.as_deref()?)?;
        let mut sums =
            Self { count: 1, passing: i64::from(grade.passing), sum: score, squares: score * score, bins: [0; BINS] };
        sums.bins[bin(score, scale)] = 1;
        Some(sums)
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.passing += other.passing;
        self.sum += other.sum;
        self.squares += other.squares;
        for (bin, more) in self.bins.iter_mut().zip(other.bins) {
            *bin += more;
        }
    }

    /// Turns them into their inverse.
    pub fn negate(&mut self) {
        self.count = -self.count;
        self.passing = -self.passing;
        self.sum = -self.sum;
        self.squares = -self.squares;
        for bin in &mut self.bins {
            *bin = -*bin;
        }
    }
}

/// The grades of one tenant, subject and period.
///
/// Derived numbers are in millionths, rounded half up (ties away from zero) once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cohort {
    /// The scale of the rule that made the grades: what the histogram divides.
    pub scale: Scale,
    /// Sums over them.
    pub sums: Sums,
}

impl Cohort {
    /// The arithmetic mean of the scores; `None` without one.
    pub fn mean(&self) -> Option<i128> {
        divide(self.sums.sum, self.sums.count)
    }

    /// The population standard deviation of the scores: √(n·Σx² − (Σx)²) / n. `None` without one.
    pub fn stddev(&self) -> Option<i128> {
        let Sums { count, sum, squares, .. } = self.sums;
        (count > 0).then(|| deviation(i128::from(count), sum, squares))
    }

    /// The share of passing grades, 0 to 1; `None` without a grade.
    pub fn pass_rate(&self) -> Option<i128> {
        divide(i128::from(self.sums.passing) * i128::from(MICROS), self.sums.count)
    }

    /// Where a score (in millionths) of the cohort lies among all, 0 to 100: `100 · (below + f · same) / count`, where
    /// `below` counts the bins below the score's own, `same` its own, and `f` is the score's place within its bin, from 0
    /// at the lower bound to 1 at the upper one. So it interpolates the histogram linearly and never falls where a score
    /// rises. `None` where there are fewer than two grades to compare.
    pub fn percentile(&self, score: i128) -> Option<i128> {
        let (part, whole) = self.share_below(score)?;
        Some(divide_half_up(part * 100 * i128::from(MICROS), whole))
    }

    /// [`Cohort::percentile`] as people see it, in hundredths: two digits are more than a histogram can bear.
    pub fn percentile_hundredths(&self, score: i128) -> Option<u64> {
        let (part, whole) = self.share_below(score)?;
        u64::try_from(divide_half_up(part * 10_000, whole)).ok()
    }

    /// `(below + f · same) / count` as a fraction.
    fn share_below(&self, score: i128) -> Option<(i128, i128)> {
        let Sums { count, bins, .. } = &self.sums;
        if *count < 2 {
            return None;
        }
        let own = bin(score, self.scale);
        let below: i64 = bins[..own].iter().sum();
        let (min, max) = (i128::from(self.scale.min.micros()), i128::from(self.scale.max.micros()));
        // f as a fraction of the scale's width: a bin is a twentieth of it.
        let width = (max - min).max(1);
        let offset = score.clamp(-SCORE_MAX, SCORE_MAX) - min;
        let f = (offset * BINS as i128 - own as i128 * width).clamp(0, width);
        Some((i128::from(below) * width + i128::from(bins[own]) * f, i128::from(*count) * width))
    }

    /// The bounds of a bin, in millionths: from, inclusive, and to; the last bin's end is in it. Scores outside the scale
    /// are in the first and the last bin.
    pub fn bin_bounds(&self, bin: usize) -> (i128, i128) {
        let (min, max) = (i128::from(self.scale.min.micros()), i128::from(self.scale.max.micros()));
        let bound = |n: usize| min + divide_half_up((max - min) * n as i128, BINS as i128);
        (bound(bin), bound(bin + 1))
    }
}

/// The bin of a score (in millionths): the scale in [`BINS`] equal parts, each with its lower bound and the last one with
/// both. Scores outside the scale count in the bins at its ends.
pub fn bin(score: i128, scale: Scale) -> usize {
    let (min, max) = (i128::from(scale.min.micros()), i128::from(scale.max.micros()));
    if max <= min {
        return 0;
    }
    let at = ((score.clamp(-SCORE_MAX, SCORE_MAX) - min) * BINS as i128).div_euclid(max - min);
    at.clamp(0, BINS as i128 - 1) as usize
}

/// A score's text as the grade function writes it (an optional sign, digits, perhaps a point and at most 6 more), in
/// millionths; `None` for any other text.
pub fn score_micros(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 6 || !plain(whole) || !plain(fraction) {
        return None;
    }
    let digit = |b: u8| i128::from(b - b'0');
    let mut micros = whole.bytes().fold(0, |n: i128, b| (n * 10 + digit(b)).min(SCORE_MAX));
    for place in 0..6 {
        micros = (micros * 10 + fraction.as_bytes().get(place).map_or(0, |b| digit(*b))).min(SCORE_MAX);
    }
    Some(if negative { -micros } else { micros })
}

fn divide(amount: i128, count: i64) -> Option<i128> {
    (count > 0).then(|| divide_half_up(amount, i128::from(count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;
    use crate::exact::Exact;
    use crate::tenant::RoundingMode;
    use proptest::prelude::*;
    use std::cmp::Ordering;
    use std::collections::BTreeMap;

    fn scale(min: i64, max: i64) -> Scale {
        Scale { min: Decimal::from_micros(min), max: Decimal::from_micros(max) }
    }

    fn grade(score: Option<&str>, passing: bool) -> Grade {
        Grade {
            score: score.map(Into::into),
            passing,
            complete: true,
            evaluations_count: 1,
            by_category: BTreeMap::new(),
            rule_version: "r".into(),
        }
    }

    fn cohort(scale: Scale, scores: &[&str]) -> Cohort {
        let mut sums = Sums::default();
        for score in scores {
            let passing = score_micros(score).unwrap() >= 60_000_000;
            sums.add(&Sums::of(&grade(Some(score), passing), scale).unwrap());
        }
        Cohort { scale, sums }
    }

    const HUNDRED: i64 = 100 * MICROS;

    #[test]
    fn a_small_cohort_by_hand() {
        let cohort = cohort(scale(0, HUNDRED), &["50.00", "60.00", "70.00", "100.00"]);
        assert_eq!(cohort.mean(), Some(70_000_000));
        // Deviations -20, -10, 0, 30: variance 350, of which the root is 18.708286…
        assert_eq!(cohort.stddev(), Some(18_708_287));
        assert_eq!(cohort.pass_rate(), Some(750_000));
        // 70 is the lower bound of its bin: 2 of 4 are below.
        assert_eq!(cohort.percentile(70_000_000), Some(50_000_000));
        assert_eq!(cohort.percentile(72_500_000), Some(62_500_000));
        assert_eq!(cohort.percentile(100_000_000), Some(100_000_000));
        assert_eq!(cohort.percentile(-1), Some(0));
        assert_eq!(cohort.bin_bounds(0), (0, 5_000_000));
        assert_eq!(cohort.bin_bounds(19), (95_000_000, 100_000_000));
    }

    #[test]
    fn one_grade_has_no_percentile_and_none_has_nothing() {
        let one = cohort(scale(0, HUNDRED), &["33.33"]);
        assert_eq!((one.mean(), one.stddev(), one.percentile(33_330_000)), (Some(33_330_000), Some(0), None));
        let none = Cohort { scale: scale(0, HUNDRED), sums: Sums::default() };
        assert_eq!((none.mean(), none.stddev(), none.pass_rate(), none.percentile(0)), (None, None, None, None));
        assert_eq!(Sums::of(&grade(None, false), scale(0, HUNDRED)), None);
    }

    #[test]
    fn scores_outside_the_scale_are_in_the_border_bins() {
        let scale = scale(5 * MICROS, 10 * MICROS);
        for (score, expected) in [(4, 0), (5, 0), (10, 19), (12, 19)] {
            assert_eq!(bin(score * i128::from(MICROS), scale), expected, "{score}");
        }
        assert_eq!(bin(5_249_999, scale), 0);
        assert_eq!(bin(5_250_000, scale), 1);
    }

    #[test]
    fn texts_of_scores_are_read_exactly() {
        for (text, micros) in [
            ("84.30", Some(84_300_000)),
            ("-0.5", Some(-500_000)),
            ("7", Some(7_000_000)),
            ("0.000001", Some(1)),
            ("123456789012345678901234567890", Some(SCORE_MAX)),
            ("", None),
            ("1.", Some(1_000_000)),
            ("1.0000001", None),
            ("1e3", None),
            (".5", None),
        ] {
            assert_eq!(score_micros(text), micros, "{text}");
        }
    }

    #[test]
    fn a_deviation_beyond_128_bits_is_exact() {
        let scale = scale(0, HUNDRED);
        let mut sums = Sums::default();
        for n in 0..40_000 {
            let far = if n % 2 == 0 { "999999999" } else { "-999999999" };
            sums.add(&Sums::of(&grade(Some(far), true), scale).unwrap());
        }
        assert_eq!(Cohort { scale, sums }.stddev(), Some(999_999_999_000_000));
    }

    /// Half up to so many digits, by exact fractions; in millionths.
    fn rounded(a: &Exact, decimals: u8) -> i128 {
        score_micros(&a.round(RoundingMode::HalfUp, decimals).to_string()).unwrap()
    }

    fn exact(a: &Exact) -> i128 {
        rounded(a, 6)
    }

    proptest! {
        #[test]
        fn equals_a_recomputation(
            bounds in (-50_000_000_i64..50_000_000, 1_i64..200_000_000),
            scores in proptest::collection::vec((-100_000_000_i64..300_000_000, any::<bool>()), 0..30),
            gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let scale = scale(bounds.0, bounds.0 + bounds.1);
            let text = |micros: i64| Decimal::from_micros(micros).to_string();
            let of = |(score, passing): &(i64, bool)| Sums::of(&grade(Some(&text(*score)), *passing), scale).unwrap();
            let mut kept = scores.clone();
            let mut sums = Sums::default();
            scores.iter().for_each(|g| sums.add(&of(g)));
            for index in gone {
                if !kept.is_empty() {
                    let mut out = of(&kept.swap_remove(index.index(kept.len())));
                    out.negate();
                    sums.add(&out);
                }
            }
            let cohort = Cohort { scale, sums };
            let n = kept.len() as i64;
            prop_assert_eq!(sums.count, n);
            if kept.is_empty() {
                prop_assert_eq!(sums, Sums::default());
                prop_assert_eq!(cohort.mean(), None);
                return Ok(());
            }
            let count = Exact::from_int(n);
            let exactly = |micros: i64| Exact::from(Decimal::from_micros(micros));
            let total = kept.iter().fold(Exact::ZERO, |sum, (score, _)| sum.add(&exactly(*score)));
            let mean = total.div(&count).unwrap();
            prop_assert_eq!(cohort.mean(), Some(exact(&mean)));
            let passing = Exact::from_int(kept.iter().filter(|(_, passing)| *passing).count() as i64);
            prop_assert_eq!(cohort.pass_rate(), Some(exact(&passing.div(&count).unwrap())));
            let deviation = |score: i64| exactly(score).sub(&mean);
            let variance = kept.iter().fold(Exact::ZERO, |sum, (score, _)| sum.add(&deviation(*score).mul(&deviation(*score))));
            let variance = variance.div(&count).unwrap();
            // Half up: the root lies in [d - 1/2, d + 1/2) millionths.
            let d = cohort.stddev().unwrap();
            let squared = |halves: i128| {
                let halves = Exact::from_micros(halves).div(&Exact::from_int(2)).unwrap();
                halves.mul(&halves)
            };
            prop_assert!(d == 0 || squared(2 * d - 1).cmp(&variance) != Ordering::Greater);
            prop_assert_eq!(squared(2 * d + 1).cmp(&variance), Ordering::Greater);
            // Bins and percentiles, by comparing each score with each bound.
            let bound = |i: i64| exactly(bounds.0).add(&exactly(bounds.1).mul(&Exact::ratio_of_micros(i.into(), 20).unwrap()));
            let place = |score: i64| (1..20).filter(|i| exactly(score).cmp(&bound(*i)) != Ordering::Less).count();
            for (score, _) in &kept {
                let own = place(*score);
                let below = Exact::from_int(kept.iter().filter(|(other, _)| place(*other) < own).count() as i64);
                let same = Exact::from_int(kept.iter().filter(|(other, _)| place(*other) == own).count() as i64);
                let f = exactly(*score).sub(&bound(own as i64)).mul(&Exact::from_int(20)).div(&exactly(bounds.1)).unwrap();
                let f = f.max(Exact::ZERO).min(Exact::from_int(1));
                let expected = below.add(&same.mul(&f)).mul(&Exact::from_int(100)).div(&count).unwrap();
                prop_assert_eq!(cohort.percentile(i128::from(*score)), (n >= 2).then(|| exact(&expected)));
                let hundredths = rounded(&expected, 2) / 10_000;
                prop_assert_eq!(cohort.percentile_hundredths((*score).into()), (n >= 2).then_some(hundredths as u64));
            }
        }

        #[test]
        fn a_higher_score_is_no_lower_percentile(
            scores in proptest::collection::vec(0_i64..120_000_000, 2..20),
            a in -10_000_000_i128..130_000_000,
            b in -10_000_000_i128..130_000_000,
        ) {
            let texts: Vec<_> = scores.iter().map(|s| Decimal::from_micros(*s).to_string()).collect();
            let cohort = cohort(scale(0, HUNDRED), &texts.iter().map(String::as_str).collect::<Vec<_>>());
            let (low, high) = (cohort.percentile(a.min(b)), cohort.percentile(a.max(b)));
            prop_assert!(low <= high);
            prop_assert!(low >= Some(0) && high <= Some(100_000_000));
        }
    }
}
