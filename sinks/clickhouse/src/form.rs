//! The types of columns: how ClickHouse spells them, and how many bytes of RowBinary a value of one takes.
//! What values mean is not known here.

use std::fmt;

/// A column's type.
///
/// Displayed as `system.columns` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Form {
    /// `Bool`: a byte.
    Bool,
    /// `Int8`
    Int8,
    /// `UInt8`
    UInt8,
    /// `UInt32`
    UInt32,
    /// `Int64`
    Int64,
    /// `Int128`
    Int128,
    /// `UInt64`
    UInt64,
    /// `Decimal(18, 6)`: an `Int64` of millionths.
    Decimal18,
    /// `Decimal(38, 6)`: an `Int128` of millionths.
    Decimal38,
    /// `Date`: a `UInt16` of days since 1970.
    Date,
    /// `DateTime64(3, 'UTC')`: an `Int64` of milliseconds.
    Instant,
    /// `UUID`
    Uuid,
    /// `String`
    Text,
    /// `LowCardinality(String)`, for texts that repeat. RowBinary has them as plain ones.
    Name,
    /// `Nullable(T)`: a byte, and a value unless it is 1.
    Nullable(Box<Form>),
    /// `Array(T)`: how many, and the values.
    Array(Box<Form>),
    /// `Map(K, V)`: how many, and the pairs.
    Map(Box<Form>, Box<Form>),
    /// `Tuple(a A, b B)`: one after the other.
    Tuple(Vec<(&'static str, Form)>),
}

impl Form {
    /// `Nullable` of this one.
    pub fn nullable(self) -> Self {
        Self::Nullable(Box::new(self))
    }

    /// How many bytes the value at the start of `bytes` takes; `None` where it is cut short.
    pub fn width(&self, bytes: &[u8]) -> Option<usize> {
        let width = match self {
            Self::Bool | Self::Int8 | Self::UInt8 => 1,
            Self::Date => 2,
            Self::UInt32 => 4,
            Self::Int64 | Self::UInt64 | Self::Decimal18 | Self::Instant => 8,
            Self::Int128 | Self::Decimal38 | Self::Uuid => 16,
            Self::Text | Self::Name => {
                let (length, head) = varint(bytes)?;
                head.checked_add(usize::try_from(length).ok()?)?
            }
            Self::Nullable(form) => match bytes.first()? {
                0 => 1 + form.width(bytes.get(1..)?)?,
                _ => 1,
            },
            Self::Array(form) => repeated(bytes, &[form])?,
            Self::Map(key, value) => repeated(bytes, &[key, value])?,
            Self::Tuple(fields) => {
                let next = |at: usize, form: &Self| Some(at + form.width(bytes.get(at..)?)?);
                fields.iter().try_fold(0, |at, (_, form)| next(at, form))?
            }
        };
        (width <= bytes.len()).then_some(width)
    }
}

/// A count, and as many groups of values.
fn repeated(bytes: &[u8], forms: &[&Form]) -> Option<usize> {
    let (count, mut at) = varint(bytes)?;
    for _ in 0..count {
        for form in forms {
            at += form.width(bytes.get(at..)?)?;
        }
    }
    Some(at)
}

/// A number in groups of seven bits, the lowest first, and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("Bool"),
            Self::Int8 => f.write_str("Int8"),
            Self::UInt8 => f.write_str("UInt8"),
            Self::UInt32 => f.write_str("UInt32"),
            Self::Int64 => f.write_str("Int64"),
            Self::Int128 => f.write_str("Int128"),
            Self::UInt64 => f.write_str("UInt64"),
            Self::Decimal18 => f.write_str("Decimal(18, 6)"),
            Self::Decimal38 => f.write_str("Decimal(38, 6)"),
            Self::Date => f.write_str("Date"),
            Self::Instant => f.write_str("DateTime64(3, 'UTC')"),
            Self::Uuid => f.write_str("UUID"),
            Self::Text => f.write_str("String"),
            Self::Name => f.write_str("LowCardinality(String)"),
            Self::Nullable(form) => write!(f, "Nullable({form})"),
            Self::Array(form) => write!(f, "Array({form})"),
            Self::Map(key, value) => write!(f, "Map({key}, {value})"),
            Self::Tuple(fields) => {
                f.write_str("Tuple(")?;
                for (at, (name, form)) in fields.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{name} {form}")?;
                }
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_the_bytes() {
        let tuple = Form::Tuple(vec![("a", Form::Int8), ("b", Form::Text)]);
        for (form, bytes, width) in [
            (Form::Text, b"\x03abcd".as_slice(), Some(4)),
            (Form::Text, b"\x03ab", None),
            (Form::Int128.nullable(), b"\x001234567812345678", Some(17)),
            (Form::Int128.nullable(), b"\x00123456781234567", None),
            (Form::Int64.nullable(), b"\x01rest", Some(1)),
            (Form::Int64.nullable(), b"\x0012345678", Some(9)),
            (Form::Int64.nullable(), b"\x001234567", None),
            (Form::Array(Box::new(Form::Bool)), b"\x02\x01\x00\x01", Some(3)),
            (Form::Map(Box::new(Form::Name), Box::new(tuple)), b"\x01\x01k\x05\x02xy", Some(7)),
            (Form::Decimal38, &[0; 15], None),
            (Form::Text, &[0xff; 10], None),
            (Form::Text, b"", None),
        ] {
            assert_eq!(form.width(bytes), width, "{form} {bytes:?}");
        }
        let mut long = vec![0x80, 0x02];
        long.extend([b'x'; 256]);
        assert_eq!(Form::Text.width(&long), Some(258));
    }

    #[test]
    fn types_are_spelled_as_clickhouse_does() {
        let tuple = Form::Tuple(vec![("value", Form::Decimal18.nullable()), ("counted", Form::UInt32)]);
        let map = Form::Map(Box::new(Form::Name), Box::new(tuple));
        let text = "Map(LowCardinality(String), Tuple(value Nullable(Decimal(18, 6)), counted UInt32))";
        assert_eq!(map.to_string(), text);
    }
}
