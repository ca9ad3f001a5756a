//! Time zones in SQL: names of the IANA database, and what is said about others.

use super::calendar::{self, Civil};
use super::resolve::Resolver;
use aulaflow_model::fault::nearest;
use aulaflow_model::window::Zone;
use jiff::tz::{AmbiguousOffset, TimeZone};
use sqlparser::ast::{Expr, Value};

/// The zone that an argument names.
pub fn resolve(resolver: &mut Resolver<'_>, e: &Expr) -> Option<Zone> {
    let Some(name) = text_literal(e) else {
        let help = "an IANA name in single quotes, such as 'America/Mexico_City'";
        return resolver.refuse(e, "a time zone is a text literal", Some(help));
    };
    match Zone::new(name) {
        Some(zone) => Some(zone),
        None => resolver.refuse(e, format!("unknown time zone '{name}'"), Some(&help(name))),
    }
}

/// The offset from UTC of a local time, in milliseconds to the east. As in PostgreSQL, a time that the clocks skip is
/// read with the offset before, and one that comes twice with the one after.
pub fn offset_ms(zone: &TimeZone, local_ms: i64) -> i64 {
    let day = local_ms.div_euclid(calendar::DAY_MS);
    let Civil { mut year, month, day, .. } = calendar::civil_of_day(day);
    // jiff ends with the year 9999. Calendars and the rules of zones repeat every 400 years.
    if year > 9000 {
        year = 8800 + year.rem_euclid(400);
    }
    let second = local_ms.rem_euclid(calendar::DAY_MS) / 1000;
    let fields = (i16::try_from(year), i8::try_from(month), i8::try_from(day));
    let clock = [second / 3600, second / 60 % 60, second % 60].map(i8::try_from);
    let ((Ok(year), Ok(month), Ok(day)), [Ok(hour), Ok(minute), Ok(second)]) = (fields, clock) else { return 0 };
    let Ok(local) = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0) else { return 0 };
    let offset = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, .. } => before,
        AmbiguousOffset::Fold { after, .. } => after,
    };
    i64::from(offset.seconds()) * 1000
}

/// The text of a literal in single quotes.
pub fn text_literal(e: &Expr) -> Option<&str> {
    match e {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The nearest name: whole, by its city, or by a part of its city.
fn help(name: &str) -> String {
    let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    let cities = || known.iter().filter_map(|zone| Some((zone.rsplit_once('/')?.1.to_lowercase(), zone.as_str())));
    let wanted = name.replace(' ', "_").to_lowercase();
    let city = wanted.rsplit_once('/').map_or(wanted.as_str(), |(_, city)| city);
    // An abbreviation is near to other abbreviations, which are other zones.
    let long = city.len() >= 4;
    let near = nearest(&wanted, known.iter().map(String::as_str)).filter(|_| long);
    let same = || cities().find(|(known, _)| known == city).map(|(_, zone)| zone);
    let part = || cities().find(|(known, _)| long && known.contains(city)).map(|(_, zone)| zone);
    // A name that is cut off is nearer to its whole than to a short name of other letters.
    let begun = || known.iter().find(|zone| long && zone.to_lowercase().starts_with(&format!("{wanted}_")));
    match begun().map(String::as_str).or(near).or_else(same).or_else(part) {
        Some(near) => format!("did you mean '{near}'? names are those of the IANA database"),
        None => "an IANA name, such as 'America/Mexico_City'; abbreviations and offsets have no calendar".to_owned(),
    }
}
