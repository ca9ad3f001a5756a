//! Results of aggregates before they are rounded: shown alone they are rounded to millionths, and in an expression they go
//! on exactly.

use crate::cells::Scalar;
use aulaflow_model::exact::Exact;
use aulaflow_model::statistics::{deviation, deviation_exact, deviation_of_big, divide_half_up};
use aulaflow_plan::sql::expr::Value;
use num_bigint::BigInt;

/// Bits of a product that are summed in its first slot: of 2^31 products the sum fits 128 bits.
const LOW_BITS: u32 = 96;

/// A sum of squares or products of millionths.
#[derive(Debug, Clone, PartialEq)]
pub enum Products {
    /// Of 128 bits.
    Small(i128),
    /// Of more.
    Big(BigInt),
}

impl Products {
    /// The lower bits of a product and the rest, both with its sign. Factors have at most 90 bits.
    pub fn limbs(a: i128, b: i128) -> (i128, i128) {
        const MASK: i128 = (1 << LOW_BITS) - 1;
        if let Some(product) = a.checked_mul(b) {
            return (product % (1 << LOW_BITS), product / (1 << LOW_BITS));
        }
        let sign = if (a < 0) == (b < 0) { 1 } else { -1 };
        let (a, b) = (a.unsigned_abs() as i128, b.unsigned_abs() as i128);
        // By halves of 48 bits: none of the three products exceeds 96 bits.
        const HALF: u32 = LOW_BITS / 2;
        const HALF_MASK: i128 = (1 << HALF) - 1;
        let ((a_high, a_low), (b_high, b_low)) = ((a >> HALF, a & HALF_MASK), (b >> HALF, b & HALF_MASK));
        let middle = a_high * b_low + a_low * b_high;
        let low = a_low * b_low + ((middle & HALF_MASK) << HALF);
        let high = a_high * b_high + (middle >> HALF) + (low >> LOW_BITS);
        (sign * (low & MASK), sign * high)
    }

    /// From the sums of both.
    pub fn new(low: i128, high: i128) -> Self {
        match high {
            0 => Self::Small(low),
            _ => Self::Big((BigInt::from(high) << LOW_BITS) + low),
        }
    }

    fn to_big(&self) -> BigInt {
        match self {
            Self::Small(sum) => BigInt::from(*sum),
            Self::Big(sum) => sum.clone(),
        }
    }
}

/// What an aggregate says of a window.
#[derive(Debug, Clone)]
pub enum Measure {
    /// What needs no rounding.
    Plain(Scalar),
    /// `avg`: the sum in millionths.
    Average {
        /// How many, above 0.
        count: i128,
        /// Of how much.
        sum: i128,
    },
    /// `stddev_pop`
    Deviation(Box<Spread>),
    /// `regr_slope`: a numerator and a denominator that is not 0.
    Slope(Box<(BigInt, BigInt)>),
}

/// What a deviation is made from.
#[derive(Debug, Clone)]
pub struct Spread {
    /// How many, above 0.
    pub count: i128,
    /// Their sum in millionths.
    pub sum: i128,
    /// The sum of the squares.
    pub squares: Products,
}

impl Measure {
    /// The population standard deviation; `count` is positive.
    pub fn deviation(count: i128, sum: i128, squares: Products) -> Self {
        Self::Deviation(Box::new(Spread { count, sum, squares }))
    }

    /// The least-squares slope, from the count and the sums of y and x in millionths, and of x·y and x².
    pub fn slope([n, y, x]: [i128; 3], xy: Products, xx: Products) -> Self {
        let big = |n: i128| BigInt::from(n);
        let under = xx.to_big() * n - big(x) * x;
        if under == BigInt::ZERO {
            return Self::Plain(Scalar::Null);
        }
        Self::Slope(Box::new((xy.to_big() * n - big(x) * y, under)))
    }

    /// As it is shown alone: in millionths, rounded half up.
    pub fn rounded(&self) -> Scalar {
        match self {
            Self::Plain(scalar) => scalar.clone(),
            Self::Average { count, sum } => Scalar::Micros(divide_half_up(*sum, *count)),
            Self::Deviation(of) => Scalar::Micros(match &of.squares {
                Products::Small(squares) => deviation(of.count, of.sum, *squares),
                Products::Big(squares) => deviation_of_big(of.count, of.sum, squares),
            }),
            Self::Slope(_) => Scalar::output(&self.exact()).unwrap_or(Scalar::Null),
        }
    }

    /// As it goes on in an expression.
    pub fn exact(&self) -> Value<'_> {
        let exact = |x: Option<Exact>| x.map_or(Value::Null, |x| Value::Exact(Box::new(x)));
        match self {
            Self::Plain(Scalar::Int(n)) => Value::Wide(Box::new(*n)),
            Self::Plain(Scalar::Micros(m)) => exact(Some(Exact::from_micros(*m))),
            Self::Plain(scalar) => scalar.value(),
            Self::Average { count, sum } => {
                exact(count.checked_mul(1_000_000).and_then(|millionths| Exact::ratio_of_micros(*sum, millionths)))
            }
            Self::Deviation(of) => exact(Some(deviation_exact(of.count, of.sum, &of.squares.to_big()))),
            Self::Slope(of) => exact(Exact::from_big(of.0.clone(), of.1.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn factor() -> impl Strategy<Value = i128> {
        let most = crate::cells::ARGUMENT_MAX;
        prop_oneof![-most..=most, -1_000_i128..1_000, Just(most), Just(-most)]
    }

    proptest! {
        #[test]
        fn limbs_add_up_to_products(factors in proptest::collection::vec((factor(), factor()), 1..50)) {
            let limbs = factors.iter().map(|(a, b)| Products::limbs(*a, *b));
            let (low, high) = limbs.fold((0, 0), |(low, high), limb| (low + limb.0, high + limb.1));
            let sum: BigInt = factors.iter().map(|(a, b)| BigInt::from(*a) * *b).sum();
            prop_assert_eq!(Products::new(low, high).to_big(), sum);
        }

        #[test]
        fn usual_numbers_need_one_limb(a in -10_i128.pow(14)..10_i128.pow(14), b in -10_i128.pow(14)..10_i128.pow(14)) {
            prop_assert_eq!(Products::limbs(a, b), (a * b, 0));
        }
    }

    fn millionths(numbers: &[i128]) -> Vec<i128> {
        numbers.iter().map(|n| n * 1_000_000).collect()
    }

    fn spread(values: &[i128]) -> Measure {
        let squares: BigInt = values.iter().map(|v| BigInt::from(*v) * *v).sum();
        Measure::deviation(values.len() as i128, values.iter().sum(), Products::Big(squares))
    }

    #[test]
    fn deviations_by_hand() {
        // 2, 4, 4, 4, 5, 5, 7, 9: the textbook's mean 5 and deviation 2.
        assert_eq!(spread(&millionths(&[2, 4, 4, 4, 5, 5, 7, 9])).rounded(), Scalar::Micros(2_000_000));
        assert_eq!(spread(&[3_500_000]).rounded(), Scalar::Micros(0));
        assert_eq!(spread(&[1_000_000, 2_000_000]).rounded(), Scalar::Micros(500_000));
        // The root of 2/3 is 0.8164965…
        assert_eq!(spread(&[1_000_000, 2_000_000, 3_000_000]).rounded(), Scalar::Micros(816_497));
        let billions = spread(&millionths(&[0, 1_000_000_000, 2_000_000_000]));
        assert_eq!(billions.rounded(), Scalar::Micros(816_496_580_927_726));
    }

    #[test]
    fn slopes_by_hand() {
        let of = |points: &[(i128, i128)]| {
            let sum = |f: &dyn Fn(&(i128, i128)) -> i128| points.iter().map(f).sum::<i128>();
            let m = 1_000_000;
            let sums = [points.len() as i128, sum(&|(_, y)| y * m), sum(&|(x, _)| x * m)];
            let products = |f: &dyn Fn(&(i128, i128)) -> i128| Products::Small(sum(&|point| f(point) * m * m));
            Measure::slope(sums, products(&|(x, y)| x * y), products(&|(x, _)| x * x)).rounded()
        };
        assert_eq!(of(&[(0, 1), (1, 3), (2, 5)]), Scalar::Micros(2_000_000));
        // Points (1,2), (2,3), (3,5), (4,4): x̄ 2.5, ȳ 3.5, Sxy 4, Sxx 5.
        assert_eq!(of(&[(1, 2), (2, 3), (3, 5), (4, 4)]), Scalar::Micros(800_000));
        assert_eq!(of(&[(1, 1), (1, 5)]), Scalar::Null);
        assert_eq!(of(&[(7, 1)]), Scalar::Null);
        assert_eq!(of(&[]), Scalar::Null);
        assert_eq!(of(&[(0, 0), (3, -1)]), Scalar::Micros(-333_333));
    }
}
