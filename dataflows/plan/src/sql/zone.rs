//! Time zones in SQL: names of the IANA database, and what is said about others.

use super::resolve::Resolver;
use aulaflow_model::fault::nearest;
use aulaflow_model::window::Zone;
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
