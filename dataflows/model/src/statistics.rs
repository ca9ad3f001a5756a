//! Quotients and deviations of exact sums, each rounded once. What is summed is not known here.

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
    let wide = || {
        let over: BigInt = BigInt::from(count) * squares - BigInt::from(sum) * sum;
        // At most twice the sum of the magnitudes: a caller who can add those up gets a number here.
        i128::try_from((over * 4_i32).max(BigInt::ZERO).sqrt()).unwrap_or(0)
    };
    (small().unwrap_or_else(wide) / count + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (a, b, expected) in [(7, 2, 4), (-7, 2, -4), (5, 3, 2), (4, 3, 1), (0, 9, 0), (1, 3, 0), (3, 1, 3)] {
            assert_eq!(divide_half_up(a, b), expected, "{a}/{b}");
        }
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
