//! `WITH (key = value, …)`: known keys, each once, with values of the right kind.

use super::literal;
use super::parse::Source;
use super::{SqlFault, nearest_help};
use sqlparser::ast::{CreateTableOptions, Expr, SqlOption, Value as Literal};
use std::ops::Range;

/// The options of a statement. Readers take what they know; [`Options::new`] has refused everything else.
pub struct Options<'a> {
    given: Vec<(String, Range<usize>, &'a Expr, Range<usize>)>,
}

impl<'a> Options<'a> {
    /// Checks keys against the known ones.
    pub fn new(
        source: &Source<'_>,
        options: &'a CreateTableOptions,
        known: &[&str],
        at: &Range<usize>,
        faults: &mut Vec<SqlFault>,
    ) -> Self {
        let mut given: Vec<(String, Range<usize>, &Expr, Range<usize>)> = Vec::new();
        let list: &[SqlOption] = match options {
            CreateTableOptions::None => &[],
            CreateTableOptions::With(list) => list,
            CreateTableOptions::Options(_) | CreateTableOptions::Plain(_) | CreateTableOptions::TableProperties(_) => {
                faults.push(SqlFault::new(at.clone(), "options are given as WITH (name = value, …)"));
                &[]
            }
        };
        for option in list {
            let SqlOption::KeyValue { key, value } = option else {
                let place = match option {
                    SqlOption::Ident(ident) => source.ident(ident),
                    _ => source.keyword("WITH", at),
                };
                faults.push(SqlFault::new(place, "an option is written name = value"));
                continue;
            };
            let (name, place) = (key.value.to_lowercase(), source.quoted_ident(key, at));
            if !known.contains(&name.as_str()) {
                let message = format!("unknown option \"{name}\"");
                faults.push(SqlFault { span: place, message, help: Some(nearest_help(&name, known, "options")) });
            } else if given.iter().any(|(other, ..)| *other == name) {
                faults.push(SqlFault::new(place, format!("option \"{name}\" is given twice")));
            } else {
                let value_place = source.range(value, &place);
                given.push((name, place, value, value_place));
            }
        }
        Self { given }
    }

    /// The place of an option, if it is given.
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.find(name).map(|(_, place, ..)| place.clone())
    }

    fn find(&self, name: &str) -> Option<&(String, Range<usize>, &'a Expr, Range<usize>)> {
        self.given.iter().find(|(given, ..)| given == name)
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        faults: &mut Vec<SqlFault>,
        read: impl FnOnce(&Expr) -> Option<T>,
    ) -> Option<(T, Range<usize>)> {
        let (_, _, value, place) = self.find(name)?;
        let read = read(value);
        if read.is_none() {
            faults.push(SqlFault::new(place.clone(), format!("option \"{name}\" must be {expected}")));
        }
        read.map(|value| (value, place.clone()))
    }

    /// A text.
    pub fn text(&self, name: &str, faults: &mut Vec<SqlFault>) -> Option<(String, Range<usize>)> {
        self.read(name, "a text in single quotes", faults, text_of)
    }

    /// `true` or `false`, in quotes or without.
    pub fn boolean(&self, name: &str, faults: &mut Vec<SqlFault>) -> Option<bool> {
        let read = self.read(name, "true or false", faults, |value| match literal_of(value)? {
            Literal::Boolean(b) => Some(*b),
            Literal::SingleQuotedString(text) => text.to_lowercase().parse().ok(),
            _ => None,
        });
        read.map(|(value, _)| value)
    }

    /// A whole number up to a limit.
    pub fn number(&self, name: &str, most: u32, faults: &mut Vec<SqlFault>) -> Option<u32> {
        let expected = format!("a whole number from 0 to {most}");
        let read = self.read(name, &expected, faults, |value| match literal_of(value)? {
            Literal::Number(digits, _) => digits.parse().ok().filter(|n| *n <= most),
            _ => None,
        });
        read.map(|(value, _)| value)
    }

    /// A duration such as `'10 minutes'`, not negative, in milliseconds.
    pub fn duration_ms(&self, name: &str, faults: &mut Vec<SqlFault>) -> Option<i64> {
        let expected = "a duration such as '10 minutes', of at most 1000 days, without months or years";
        let read = self.read(name, expected, faults, |value| {
            let text = match value {
                Expr::Interval(interval) if interval.leading_field.is_none() => text_of(&interval.value)?,
                other => text_of(other)?,
            };
            // A number alone would be seconds, which is rarely what is meant.
            if text.trim().parse::<f64>().is_ok() {
                return None;
            }
            match literal::parse_interval(&text).ok()? {
                (0, days, millis) => {
                    let total = i64::from(days) * super::calendar::DAY_MS + millis;
                    (0..=1000 * super::calendar::DAY_MS).contains(&total).then_some(total)
                }
                _ => None,
            }
        });
        read.map(|(value, _)| value)
    }
}

fn literal_of(value: &Expr) -> Option<&Literal> {
    match value {
        Expr::Value(value) => Some(&value.value),
        _ => None,
    }
}

fn text_of(value: &Expr) -> Option<String> {
    match literal_of(value)? {
        Literal::SingleQuotedString(text) => Some(text.clone()),
        _ => None,
    }
}
