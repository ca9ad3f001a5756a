//! Exact fractions: 128-bit integers as long as they suffice, big integers after that. It knows nothing of grades.

use crate::decimal::{Decimal, MICROS};
use crate::tenant::RoundingMode;
use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use std::cmp::Ordering;
use std::fmt;

/// A rational number. No operation overflows or rounds.
///
/// Fractions are reduced only where a product would not fit into 128 bits, and for showing: reducing after each step
/// costs more than all the rest.
#[derive(Debug, Clone)]
pub struct Exact(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Numerator and denominator; the denominator is positive.
    Small(i128, i128),
    /// Likewise.
    Big(Box<(BigInt, BigInt)>),
}

impl Exact {
    /// Zero.
    pub const ZERO: Self = Self(Form::Small(0, 1));

    /// A whole number.
    pub const fn from_int(n: i64) -> Self {
        Self(Form::Small(n as i128, 1))
    }

    /// From a sum of decimals, in millionths.
    pub fn from_micros(micros: i128) -> Self {
        Self(Form::Small(micros, i128::from(MICROS))).without_millionths()
    }

    /// `a / b` of two decimals; `None` where `b` is zero.
    pub fn ratio(a: Decimal, b: Decimal) -> Option<Self> {
        Self::ratio_of_micros(i128::from(a.micros()), i128::from(b.micros()))
    }

    /// `a / b` of two sums of decimals, both in millionths; `None` where `b` is zero.
    pub fn ratio_of_micros(a: i128, b: i128) -> Option<Self> {
        match b {
            0 => None,
            1.. => Some(Self(Form::Small(a, b)).without_millionths()),
            _ => Self(Form::Small(a, 1)).div(&Self(Form::Small(b, 1))),
        }
    }

    /// From a whole number of any size.
    pub fn from_integer(n: i128) -> Self {
        Self(Form::Small(n, 1))
    }

    /// `a / b`; `None` where `b` is zero.
    pub fn from_big(a: BigInt, b: BigInt) -> Option<Self> {
        match b.sign() {
            Sign::NoSign => None,
            Sign::Plus => Some(Self(Form::Big(Box::new((a, b))))),
            Sign::Minus => Some(Self(Form::Big(Box::new((-a, -b))))),
        }
    }

    /// The decimal number that a double is shown as, the shortest that reads back as the same double: `0.1` is one tenth,
    /// though the double is a little more. `None` where it is not finite.
    pub fn from_shown(x: f64) -> Option<Self> {
        if !x.is_finite() {
            return None;
        }
        let text = format!("{x:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let power = exponent.parse::<i64>().ok()? - i64::try_from(fraction.len()).ok()?;
        let scale = u32::try_from(power.unsigned_abs()).ok()?;
        let small = || 10_i128.checked_pow(scale);
        match (power >= 0, small()) {
            (true, Some(unit)) if digits.checked_mul(unit).is_some() => Some(Self(Form::Small(digits * unit, 1))),
            (false, Some(unit)) => Some(Self(Form::Small(digits, unit))),
            (true, _) => Self::from_big(BigInt::from(digits) * BigInt::from(10).pow(scale), BigInt::from(1)),
            (false, None) => Self::from_big(BigInt::from(digits), BigInt::from(10).pow(scale)),
        }
    }

    /// Whole numbers are the usual case, and small numbers stay in 128 bits for longer.
    fn without_millionths(self) -> Self {
        const M: i64 = MICROS;
        match self.0 {
            Form::Small(num, den) => match (i64::try_from(num), i64::try_from(den)) {
                (Ok(n), Ok(d)) if n % M == 0 && d % M == 0 => Self(Form::Small(i128::from(n / M), i128::from(d / M))),
                _ => self,
            },
            Form::Big(_) => self,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        match &self.0 {
            Form::Small(num, _) => *num == 0,
            Form::Big(parts) => parts.0.sign() == Sign::NoSign,
        }
    }

    /// The sum.
    pub fn add(&self, other: &Self) -> Self {
        self.checked(
            other,
            add_small,
            |(a, b), (c, d)| {
                if b == d { (a + c, b.clone()) } else { (a * d + c * b, b * d) }
            },
        )
    }

    /// The difference.
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    /// The number with the other sign.
    pub fn neg(&self) -> Self {
        match &self.0 {
            Form::Small(num, den) => match num.checked_neg() {
                Some(num) => Self(Form::Small(num, *den)),
                None => Self(Form::Big(Box::new((-BigInt::from(*num), BigInt::from(*den))))),
            },
            Form::Big(parts) => Self(Form::Big(Box::new((-&parts.0, parts.1.clone())))),
        }
    }

    /// The product.
    pub fn mul(&self, other: &Self) -> Self {
        let small = |(a, b): (i128, i128), (c, d): (i128, i128)| Some((a.checked_mul(c)?, b.checked_mul(d)?));
        self.checked(other, small, |(a, b), (c, d)| (a * c, b * d))
    }

    /// The quotient; `None` where the divisor is zero.
    pub fn div(&self, other: &Self) -> Option<Self> {
        let inverse = match &other.0 {
            Form::Small(0, _) => return None,
            Form::Small(num, den) if *num > 0 => Form::Small(*den, *num),
            Form::Small(num, den) => match num.checked_neg() {
                Some(num) => Form::Small(-den, num),
                None => Form::Big(Box::new((-BigInt::from(*den), -BigInt::from(*num)))),
            },
            Form::Big(parts) => match parts.0.sign() {
                Sign::NoSign => return None,
                Sign::Plus => Form::Big(Box::new((parts.1.clone(), parts.0.clone()))),
                Sign::Minus => Form::Big(Box::new((-&parts.1, -&parts.0))),
            },
        };
        Some(self.mul(&Self(inverse)))
    }

    /// The magnitude.
    pub fn abs(&self) -> Self {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Form::Small(num, _) => *num < 0,
            Form::Big(parts) => parts.0.sign() == Sign::Minus,
        }
    }

    /// The greatest whole number that is not above it.
    pub fn floor(&self) -> Self {
        match &self.0 {
            Form::Small(num, den) => Self(Form::Small(num.div_euclid(*den), 1)),
            Form::Big(parts) => Self(Form::Big(Box::new((parts.0.div_floor(&parts.1), BigInt::from(1))))),
        }
    }

    /// The smallest whole number that is not below it.
    pub fn ceil(&self) -> Self {
        self.neg().floor().neg()
    }

    /// What is left of it after as many whole multiples of `other` as fit, with its own sign, as SQL's `%`; `None` where
    /// `other` is zero.
    pub fn rem(&self, other: &Self) -> Option<Self> {
        let quotient = self.div(other)?;
        let whole = if quotient.is_negative() { quotient.ceil() } else { quotient.floor() };
        Some(self.sub(&whole.mul(other)))
    }

    /// Rounded to `decimals` fractional digits, as a fraction again; with fewer than none, to tens, hundreds and so on.
    pub fn rounded(&self, mode: RoundingMode, decimals: i32) -> Self {
        let unit = BigInt::from(10).pow(decimals.unsigned_abs());
        let (num, den) = self.to_big();
        if decimals >= 0 {
            Self(Form::Big(Box::new((round_big(&(num * &unit), &den, mode), unit))))
        } else {
            Self(Form::Big(Box::new((round_big(&num, &(den * &unit), mode) * unit, BigInt::from(1)))))
        }
    }

    /// In units of `10^-decimals`, rounded once; `None` where it does not fit.
    pub fn scaled(&self, mode: RoundingMode, decimals: u32) -> Option<i128> {
        let scale = 10_i128.checked_pow(decimals)?;
        if let Form::Small(num, den) = &self.0
            && let Some(scaled) = num.checked_mul(scale).and_then(|num| round_small(num, *den, mode))
        {
            return Some(scaled);
        }
        let (num, den) = self.to_big();
        i128::try_from(round_big(&(num * scale), &den, mode)).ok()
    }

    /// The nearest double, or nearly so.
    pub fn to_f64(&self) -> f64 {
        // 25 significant digits are more than a double tells apart; the parser rounds to the nearest.
        let (num, den) = self.to_big();
        let digits = |n: &BigInt| i64::try_from(n.bits() * 301 / 1000).unwrap_or(i64::MAX);
        let power = 25 - (digits(&num) - digits(&den));
        let unit = BigInt::from(10).pow(u32::try_from(power.unsigned_abs()).unwrap_or(u32::MAX));
        let scaled = if power >= 0 { num * unit / den } else { num / (den * unit) };
        format!("{scaled}e{}", -power).parse().unwrap_or(f64::NAN)
    }

    /// Runs the quick way on what is given, then on its reduced form, and at last the way that always goes.
    fn checked(
        &self,
        other: &Self,
        small: impl Fn((i128, i128), (i128, i128)) -> Option<(i128, i128)>,
        big: impl Fn((&BigInt, &BigInt), (&BigInt, &BigInt)) -> (BigInt, BigInt),
    ) -> Self {
        if let (Form::Small(a, b), Form::Small(c, d)) = (&self.0, &other.0) {
            let quick = small((*a, *b), (*c, *d)).or_else(|| small(reduce(*a, *b), reduce(*c, *d)));
            if let Some((num, den)) = quick {
                return Self(Form::Small(num, den));
            }
        }
        let (x, y) = (self.to_big(), other.to_big());
        Self(Form::Big(Box::new(big((&x.0, &x.1), (&y.0, &y.1)))))
    }

    /// Numerator and denominator as big integers.
    fn to_big(&self) -> (BigInt, BigInt) {
        match &self.0 {
            Form::Small(num, den) => (BigInt::from(*num), BigInt::from(*den)),
            Form::Big(parts) => (parts.0.clone(), parts.1.clone()),
        }
    }

    /// Rounds once to `decimals` fractional digits.
    pub fn round(&self, mode: RoundingMode, decimals: u8) -> Rounded {
        let scale = 10_i128.pow(u32::from(decimals.min(ROUNDED_DECIMALS_MAX)));
        let digits = match &self.0 {
            Form::Small(num, den) => num.checked_mul(scale).and_then(|num| round_small(num, *den, mode)),
            Form::Big(_) => None,
        };
        let digits = digits.map_or_else(
            || {
                let (num, den) = self.to_big();
                Digits::Big(round_big(&(num * scale), &den, mode))
            },
            Digits::Small,
        );
        Rounded { digits, decimals: decimals.min(ROUNDED_DECIMALS_MAX) }
    }

    /// In lowest terms: `281/300`, `-1/2`, `7`.
    pub fn to_fraction(&self) -> String {
        let (num, den) = match &self.0 {
            Form::Small(num, den) => {
                let (num, den) = reduce(*num, *den);
                (num.to_string(), den.to_string())
            }
            Form::Big(parts) => {
                let gcd = parts.0.gcd(&parts.1);
                ((&parts.0 / &gcd).to_string(), (&parts.1 / &gcd).to_string())
            }
        };
        if den == "1" { num } else { format!("{num}/{den}") }
    }
}

impl From<Decimal> for Exact {
    fn from(decimal: Decimal) -> Self {
        Self::from_micros(i128::from(decimal.micros()))
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Exact {}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Form::Small(a, b), Form::Small(c, d)) = (&self.0, &other.0)
            && let (Some(left), Some(right)) = (a.checked_mul(*d), c.checked_mul(*b))
        {
            return left.cmp(&right);
        }
        let ((a, b), (c, d)) = (self.to_big(), other.to_big());
        (a * d).cmp(&(c * b))
    }
}

fn add_small((a, b): (i128, i128), (c, d): (i128, i128)) -> Option<(i128, i128)> {
    if b == d {
        return Some((a.checked_add(c)?, b));
    }
    // Maxima of 20, 50 and 100 points: soon the sum's denominator is a multiple of each, and grows no more.
    if let (Ok(b), Ok(d)) = (u64::try_from(b), u64::try_from(d)) {
        if b % d == 0 {
            return Some((a.checked_add(c.checked_mul(i128::from(b / d))?)?, i128::from(b)));
        }
        if d % b == 0 {
            return Some((a.checked_mul(i128::from(d / b))?.checked_add(c)?, i128::from(d)));
        }
    }
    Some((a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?))
}

/// In lowest terms. The denominator is positive, so the greatest common divisor fits.
fn reduce(num: i128, den: i128) -> (i128, i128) {
    let (mut a, mut b) = (num.unsigned_abs(), den.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    match i128::try_from(a) {
        Ok(gcd) if gcd > 1 => (num / gcd, den / gcd),
        _ => (num, den),
    }
}

/// The most fractional digits that a result is rounded to.
const ROUNDED_DECIMALS_MAX: u8 = 6;

/// `num / den` as a whole number; `None` where it does not fit.
fn round_small(num: i128, den: i128, mode: RoundingMode) -> Option<i128> {
    let (quotient, rest) = (num / den, (num % den).unsigned_abs());
    let twice = rest.checked_mul(2)?.cmp(&den.unsigned_abs());
    let away = rounds_away(mode, twice, quotient % 2 != 0);
    if away { quotient.checked_add(if num < 0 { -1 } else { 1 }) } else { Some(quotient) }
}

fn round_big(num: &BigInt, den: &BigInt, mode: RoundingMode) -> BigInt {
    let (quotient, rest) = num.div_rem(den);
    let twice = (rest * 2_i32).magnitude().cmp(den.magnitude());
    let away = rounds_away(mode, twice, quotient.is_odd());
    if away { quotient + if num.sign() == Sign::Minus { -1 } else { 1 } } else { quotient }
}

/// Whether what was cut off moves the digit before it away from zero; `twice` compares it with one half.
fn rounds_away(mode: RoundingMode, twice: Ordering, odd: bool) -> bool {
    match mode {
        RoundingMode::Down => false,
        RoundingMode::HalfUp => twice != Ordering::Less,
        RoundingMode::HalfEven => twice == Ordering::Greater || (twice == Ordering::Equal && odd),
    }
}

/// A number with a fixed count of fractional digits.
#[derive(Debug, Clone)]
pub struct Rounded {
    digits: Digits,
    decimals: u8,
}

/// The number without its point.
#[derive(Debug, Clone)]
enum Digits {
    Small(i128),
    Big(BigInt),
}

impl Rounded {
    /// Compares with a decimal, exactly.
    pub fn cmp_decimal(&self, other: Decimal) -> Ordering {
        let unit = 10_i128.pow(u32::from(ROUNDED_DECIMALS_MAX - self.decimals));
        let micros = i128::from(other.micros());
        match &self.digits {
            Digits::Small(digits) => match digits.checked_mul(unit) {
                Some(mine) => mine.cmp(&micros),
                None => digits.cmp(&0),
            },
            Digits::Big(digits) => (digits * unit).cmp(&BigInt::from(micros)),
        }
    }

    /// Without trailing zeros: `0.85`, `1`.
    pub fn trimmed(&self) -> compact_str::CompactString {
        let mut text = compact_str::format_compact!("{self}");
        if self.decimals > 0 {
            let end = text.trim_end_matches('0').trim_end_matches('.').len();
            text.truncate(end);
        }
        text
    }
}

impl fmt::Display for Rounded {
    /// With exactly its fractional digits: `84.30`, `-0.05`, `7`. There is no negative zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals);
        match &self.digits {
            Digits::Small(digits) => {
                let unit = 10_u128.pow(u32::from(self.decimals));
                let magnitude = digits.unsigned_abs();
                let sign = if *digits < 0 { "-" } else { "" };
                write!(f, "{sign}{}", magnitude / unit)?;
                if decimals > 0 { write!(f, ".{:0decimals$}", magnitude % unit) } else { Ok(()) }
            }
            Digits::Big(digits) => {
                let sign = if digits.sign() == Sign::Minus { "-" } else { "" };
                let all = format!("{:0>width$}", digits.magnitude().to_string(), width = decimals + 1);
                let (whole, fraction) = all.split_at(all.len() - decimals);
                let point = if decimals > 0 { "." } else { "" };
                write!(f, "{sign}{whole}{point}{fraction}")
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use RoundingMode::{Down, HalfEven, HalfUp};
    use proptest::prelude::*;

    fn exact(num: i128, den: i128) -> Exact {
        Exact(Form::Small(num, den))
    }

    fn big(num: i128, den: i128) -> Exact {
        Exact(Form::Big(Box::new((num.into(), den.into()))))
    }

    #[test]
    fn rounds_as_each_mode_says() {
        for (num, den, decimals, half_up, half_even, down) in [
            (84_295, 1000, 2, "84.30", "84.30", "84.29"),
            (84_285, 1000, 2, "84.29", "84.28", "84.28"),
            (-84_285, 1000, 2, "-84.29", "-84.28", "-84.28"),
            (1, 3, 6, "0.333333", "0.333333", "0.333333"),
            (2, 3, 0, "1", "1", "0"),
            (-1, 1000, 2, "0.00", "0.00", "0.00"),
            (1, 2, 0, "1", "0", "0"),
            (3, 2, 0, "2", "2", "1"),
            (7, 1, 3, "7.000", "7.000", "7.000"),
        ] {
            for (mode, text) in [(HalfUp, half_up), (HalfEven, half_even), (Down, down)] {
                assert_eq!(exact(num, den).round(mode, decimals).to_string(), text, "{num}/{den} {mode:?}");
                assert_eq!(big(num, den).round(mode, decimals).to_string(), text, "{num}/{den} {mode:?}, big");
            }
        }
    }

    #[test]
    fn doubles_are_the_decimals_that_they_show() {
        for (x, fraction) in [
            (0.1, "1/10"),
            (-2.675, "-107/40"),
            (0.0, "0"),
            (1e23, "100000000000000000000000"),
            (5e-7, "1/2000000"),
            (0.300_000_000_000_000_04, "7500000000000001/25000000000000000"),
        ] {
            assert_eq!(Exact::from_shown(x).unwrap().to_fraction(), fraction);
        }
        for x in [f64::MAX, f64::MIN_POSITIVE, -5e-324, 1.0 / 3.0, 9_007_199_254_740_993.0, 1e300] {
            assert_eq!(Exact::from_shown(x).unwrap().to_f64().to_bits(), x.to_bits(), "{x:e}");
        }
        assert_eq!(Exact::from_shown(f64::NAN), None);
        assert_eq!(exact(1, 3).to_f64().to_bits(), (1.0_f64 / 3.0).to_bits());
    }

    #[test]
    fn whole_parts_and_rests() {
        for (num, den, floor, ceil, rest_of_two) in
            [(7, 2, "3", "4", "3/2"), (-7, 2, "-4", "-3", "-3/2"), (4, 1, "4", "4", "0"), (-1, 3, "-1", "0", "-1/3")]
        {
            for x in [exact(num, den), big(num, den)] {
                assert_eq!((x.floor().to_fraction(), x.ceil().to_fraction()), (floor.to_owned(), ceil.to_owned()));
                assert_eq!(x.rem(&Exact::from_int(-2)).unwrap().to_fraction(), rest_of_two);
                assert_eq!(x.rem(&Exact::ZERO), None);
            }
        }
        assert_eq!(exact(2675, 1000).rounded(HalfUp, 2).to_fraction(), "67/25");
        assert_eq!(exact(-2665, 1).rounded(HalfUp, -1).to_fraction(), "-2670");
        assert_eq!(exact(2, 3).scaled(HalfUp, 6), Some(666_667));
        assert_eq!(exact(i128::MAX, 3).scaled(HalfUp, 6), None);
    }

    #[test]
    fn shows_lowest_terms() {
        assert_eq!(exact(84, 100).to_fraction(), "21/25");
        assert_eq!(big(84, 100).to_fraction(), "21/25");
        assert_eq!(exact(-200, 100).to_fraction(), "-2");
        assert_eq!(exact(0, 7).to_fraction(), "0");
        assert_eq!(exact(i128::MIN, 2).to_fraction(), (i128::MIN / 2).to_string());
    }

    #[test]
    fn trims_for_people() {
        assert_eq!(exact(85, 100).round(HalfUp, 6).trimmed(), "0.85");
        assert_eq!(exact(1, 1).round(HalfUp, 6).trimmed(), "1");
        assert_eq!(exact(100, 1).round(HalfUp, 0).trimmed(), "100");
        assert_eq!(exact(0, 1).round(HalfUp, 6).trimmed(), "0");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let extremes = [exact(i128::MIN, 1), exact(i128::MAX, 1), exact(1, i128::MAX), exact(i128::MIN, i128::MAX)];
        for a in &extremes {
            for b in &extremes {
                assert_eq!(a.add(b).sub(b), *a);
                assert_eq!(a.mul(b).div(b).unwrap(), *a);
                assert_eq!(a.cmp(b), b.cmp(a).reverse());
            }
            for mode in [HalfUp, HalfEven, Down] {
                let rounded = a.round(mode, 6);
                let _ = (rounded.to_string(), rounded.cmp_decimal(Decimal::ONE), a.neg().to_fraction());
            }
        }
        assert_eq!(Exact::ZERO.div(&Exact::ZERO), None);
        assert_eq!(Exact::ratio(Decimal::ONE, Decimal::ZERO), None);
        assert_eq!(exact(i128::MIN, 1).round(Down, 0).cmp_decimal(Decimal::ZERO), Ordering::Less);
    }

    proptest! {
        /// Both forms say the same, and the numbers are a field.
        #[test]
        fn small_and_big_agree(
            a in -1000_i128..1000, b in 1_i128..100, c in any::<i128>(), d in 1..=i128::MAX, decimals in 0_u8..=6,
        ) {
            for (x, y) in [(exact(a, b), exact(c, d)), (exact(c, d), exact(a, b)), (exact(a, d), exact(c, b))] {
                let (Form::Small(xn, xd), Form::Small(yn, yd)) = (&x.0, &y.0) else { unreachable!() };
                let (bx, by) = (big(*xn, *xd), big(*yn, *yd));
                prop_assert_eq!(x.add(&y), bx.add(&by));
                prop_assert_eq!(x.sub(&y), bx.sub(&by));
                prop_assert_eq!(x.mul(&y), bx.mul(&by));
                prop_assert_eq!(x.div(&y), bx.div(&by));
                prop_assert_eq!(x.cmp(&y), bx.cmp(&by));
                prop_assert_eq!(x.to_fraction(), bx.to_fraction());
                for mode in [HalfUp, HalfEven, Down] {
                    let (small, large) = (x.round(mode, decimals), bx.round(mode, decimals));
                    prop_assert_eq!(small.to_string(), large.to_string());
                    let decimal = Decimal::from_micros(a as i64 * 1000);
                    prop_assert_eq!(small.cmp_decimal(decimal), large.cmp_decimal(decimal));
                }
            }
        }
    }
}
