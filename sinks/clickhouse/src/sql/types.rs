//! Types that a value may be cast to, in ClickHouse's spelling.

use sqlparser::ast::{ArrayElemTypeDef, DataType, ExactNumberInfo, TimezoneInfo};

/// How deep types may be within each other.
const DEPTH_MAX: usize = 4;

/// A type as it is written; `None`: it is not allowed.
pub(super) fn spelling(data_type: &DataType) -> Option<String> {
    spell(data_type, DEPTH_MAX)
}

fn spell(data_type: &DataType, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let plain = match data_type {
        DataType::Int8(None) | DataType::TinyInt(None) => "Int8",
        DataType::Int16 | DataType::SmallInt(None) => "Int16",
        DataType::Int32 | DataType::Int(None) | DataType::Integer(None) => "Int32",
        DataType::Int64 | DataType::BigInt(None) => "Int64",
        DataType::Int256 => "Int256",
        DataType::UInt256 => "UInt256",
        DataType::Int128 => "Int128",
        DataType::UInt8 => "UInt8",
        DataType::UInt16 => "UInt16",
        DataType::UInt32 => "UInt32",
        DataType::UInt64 => "UInt64",
        DataType::UInt128 => "UInt128",
        // FLOAT alone is ClickHouse's shorter one.
        DataType::Float32 | DataType::Real | DataType::Float(ExactNumberInfo::None) => "Float32",
        DataType::Float64 | DataType::DoublePrecision | DataType::Double(ExactNumberInfo::None) => "Float64",
        DataType::Bool | DataType::Boolean => "Bool",
        DataType::String(None) | DataType::Text | DataType::Varchar(None) => "String",
        DataType::Uuid => "UUID",
        DataType::Date => "Date",
        DataType::Date32 => "Date32",
        DataType::Datetime(None) | DataType::Timestamp(None, TimezoneInfo::None) => "DateTime",
        DataType::Datetime64(digits, None) if *digits <= 9 => return Some(format!("DateTime64({digits})")),
        DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale))
        | DataType::Numeric(ExactNumberInfo::PrecisionAndScale(precision, scale)) => {
            let fits = (1..=76).contains(precision) && u64::try_from(*scale).is_ok_and(|scale| scale <= *precision);
            return fits.then(|| format!("Decimal({precision}, {scale})"));
        }
        DataType::Decimal(ExactNumberInfo::Precision(precision))
        | DataType::Numeric(ExactNumberInfo::Precision(precision)) => {
            return (1..=76).contains(precision).then(|| format!("Decimal({precision}, 0)"));
        }
        DataType::Map(key, value, _) => return Some(format!("Map({}, {})", spell(key, depth)?, spell(value, depth)?)),
        DataType::Nullable(inner) => return Some(format!("Nullable({})", spell(inner, depth)?)),
        DataType::LowCardinality(inner) => return Some(format!("LowCardinality({})", spell(inner, depth)?)),
        DataType::Array(ArrayElemTypeDef::Parenthesis(inner)) => {
            return Some(format!("Array({})", spell(inner, depth)?));
        }
        _ => return None,
    };
    Some(plain.to_owned())
}
