//! Quotients and deviations of exact sums, each rounded once. What is summed is not known here.

use crate::decimal::MICROS;
use crate::exact::Exact;
use num_bigint::BigInt;

/// `a / b` rounded to the nearest, ties away from zero; `b` is positive.
pub fn divide_half_up(a: i128, b: i128) -> i128 {
    let magnitude = a.unsigned_abs();
    let b = b.unsigned_abs();
    let rounded = (magnitude / b + u128::from(magnitude % b >= b.div_ceil(2))) as i128;
    if a < 0 { -rounded } else { rounded }
}

/// The population standard deviation `√(n·Σx² − (Σx)²) / n`, rounded half up to a whole number: exact, since the root is
/// taken in integers. In units of `x`; `count` is positive.
pub fn deviation(count: i128, sum: i128, squares: i128) -> i128 {
    // With s = ⌊√(4·(n·Σx² − (Σx)²))⌋ the root is rounded half up by (⌊s/n⌋ + 1) / 2, since only whole numbers are
    // compared with it.
    let small = || {
        let over = count.checked_mul(squares)?.checked_sub(sum.checked_mul(sum)?)?;
        over.checked_mul(4)?.checked_isqrt()
    };
    match small() {
        Some(root) => (root / count + 1) / 2,
        None => deviation_of_big(count, sum, &BigInt::from(squares)),
    }
}

/// The same of squares whose sum exceeds 128 bits.
pub fn deviation_of_big(count: i128, sum: i128, squares: &BigInt) -> i128 {
    // At most twice the sum of the magnitudes: a caller who can add those up gets a number here.
    let root = i128::try_from((spread(count, sum, squares) * 4_i32).sqrt()).unwrap_or(0);
    (root / count + 1) / 2
}

/// The population standard deviation of millionths, as a fraction: exact where it is rational, else within 10^-46.
/// `count` is positive.
pub fn deviation_exact(count: i128, sum: i128, squares: &BigInt) -> Exact {
    /// Digits of the root beyond the millionths.
    const GUARD_DIGITS: u32 = 40;
    let spread = spread(count, sum, squares);
    let root = spread.sqrt();
    let millionths = BigInt::from(count) * MICROS;
    let fraction = if &root * &root == spread {
        Exact::from_big(root, millionths)
    } else {
        let unit = BigInt::from(10).pow(GUARD_DIGITS);
        Exact::from_big((spread * &unit * &unit).sqrt(), millionths * unit)
    };
    // There is no count of zero.
    fraction.unwrap_or(Exact::ZERO)
}

/// `n·Σx² − (Σx)²`, which is never below zero.
fn spread(count: i128, sum: i128, squares: &BigInt) -> BigInt {
    (squares * count - BigInt::from(sum) * sum).max(BigInt::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::RoundingMode;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (a, b, expected) in [(7, 2, 4), (-7, 2, -4), (5, 3, 2), (4, 3, 1), (0, 9, 0), (1, 3, 0), (3, 1, 3)] {
            assert_eq!(divide_half_up(a, b), expected, "{a}/{b}");
        }
    }

    #[test]
    fn fractions_of_deviations() {
        // Of 1, 0 and 0 it is √2 / 3.
        let of = |values: &[i128]| {
            let squares: i128 = values.iter().map(|v| v * v).sum();
            deviation_exact(values.len() as i128, values.iter().sum(), &BigInt::from(squares))
        };
        let third = of(&[1_000_000, 0, 0]);
        let twelve_digits = third.mul(&Exact::from_int(1_000_000)).scaled(RoundingMode::HalfUp, 6);
        assert_eq!(twelve_digits, Some(471_404_520_791));
        assert_eq!(of(&[2, 4, 4, 4, 5, 5, 7, 9].map(|v| v * 1_000_000)), Exact::from_int(2));
        assert_eq!(of(&[7]), Exact::ZERO);
    }

    #[test]
    fn both_ways_to_a_deviation_agree() {
        // The same numbers, as they are and so large that their products exceed 128 bits.
        let of =
            |values: &[i128]| deviation(values.len() as i128, values.iter().sum(), values.iter().map(|v| v * v).sum());
        assert_eq!(of(&[2, 4, 4, 4, 5, 5, 7, 9]), 2);
        let scale = 500_000_000_000_000_000;
        assert_eq!(of(&[2, 4, 4, 4, 5, 5, 7, 9].map(|v| v * scale)), 2 * scale);
        assert_eq!(of(&[7]), 0);
    }
}
