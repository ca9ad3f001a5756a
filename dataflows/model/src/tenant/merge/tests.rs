//! Merges: the law part by part, against a table that says it in another way, and what does not go together.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

/// Rules by subject with their `min_passing`, in a configuration with one period.
fn config(rules: &[(&str, u32)]) -> TenantConfig {
    with(rules, &json!([{ "id": "p1", "start": "2026-01-01", "end": "2026-06-30" }]))
}

fn with(rules: &[(&str, u32)], periods: &serde_json::Value) -> TenantConfig {
    let rules: Vec<_> = rules
        .iter()
        .map(|(subject, min)| json!({ "subject": subject, "weights": { "exam": 1 }, "min_passing": min }))
        .collect();
    TenantConfig::from_json(&json!({ "tenant": "t", "period": periods, "rule": rules })).unwrap()
}

fn said(merged: &Merged) -> Vec<String> {
    merged.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn one_more_rule_in_the_file_leaves_those_of_http() {
    let applied = config(&[("*", 60)]);
    let present = config(&[("*", 60), ("chemistry", 50)]);
    let file = config(&[("*", 60), ("art", 40)]);
    let merged = merge(&file, Some(&applied), Some(&present), None).unwrap();
    assert_eq!(merged.config, config(&[("*", 60), ("chemistry", 50), ("art", 40)]));
    assert_eq!(said(&merged), ["the rule of `art`: added from the file"]);
}

#[test]
fn a_subject_in_both_is_whose_change_is_newer() {
    let applied = config(&[("*", 60), ("art", 40), ("math", 10)]);
    let present = config(&[("*", 60), ("art", 41), ("math", 11)]);
    // The file changed `math` after it was set over HTTP, and says of `art` what it said before.
    let file = config(&[("*", 60), ("art", 40), ("math", 12)]);
    let merged = merge(&file, Some(&applied), Some(&present), None).unwrap();
    assert_eq!(merged.config, config(&[("*", 60), ("art", 41), ("math", 12)]));
    assert_eq!(
        said(&merged),
        [
            "the rule of `art`: kept as it was set over HTTP, though the file says otherwise",
            "the rule of `math`: changed to what the file says"
        ]
    );
}

#[test]
fn what_left_the_file_goes_unless_it_was_set_otherwise() {
    let applied = config(&[("*", 60), ("art", 40), ("math", 10)]);
    let present = config(&[("*", 60), ("art", 41), ("math", 10)]);
    let merged = merge(&config(&[("*", 60)]), Some(&applied), Some(&present), None).unwrap();
    assert_eq!(merged.config, config(&[("*", 60), ("art", 41)]));
    assert_eq!(merged.changes.iter().map(|change| change.effect).collect::<Vec<_>>(), [Effect::Kept, Effect::Removed]);
    // Deleted over HTTP, it does not come back before the file says something else of it.
    let merged = merge(&applied, Some(&applied), Some(&config(&[("*", 60)])), None).unwrap();
    assert_eq!(merged.config, config(&[("*", 60)]));
}

#[test]
fn periods_are_merged_by_id_and_refused_where_they_overlap() {
    let period = |id: &str, from: u32, to: u32| json!({ "id": id, "start": format!("2026-{from:02}-01"), "end": format!("2026-{to:02}-28") });
    let applied = with(&[("*", 60)], &json!([period("a", 1, 2)]));
    let present = with(&[("*", 60)], &json!([period("a", 1, 2), period("http", 3, 4)]));
    let file = with(&[("*", 60)], &json!([period("a", 1, 2), period("b", 5, 6)]));
    let merged = merge(&file, Some(&applied), Some(&present), None).unwrap();
    assert_eq!(merged.config, with(&[("*", 60)], &json!([period("a", 1, 2), period("b", 5, 6), period("http", 3, 4)])));
    let clash = with(&[("*", 60)], &json!([period("a", 1, 2), period("b", 4, 6)]));
    let faults = merge(&clash, Some(&applied), Some(&present), None).unwrap_err();
    assert!(faults[0].detail.contains("within the period `http`"), "{faults:?}");
}

#[test]
fn a_schedule_that_has_come_true_is_compared_as_what_is_in_force() {
    let later = |min: u32, at: &str| {
        let rule = |min: u32| json!({ "subject": "art", "weights": { "exam": 1 }, "min_passing": min });
        let mut scheduled = rule(min);
        scheduled["effective_at"] = json!(at);
        TenantConfig::from_json(&json!({ "tenant": "t", "rule": [rule(10), scheduled] })).unwrap()
    };
    let file = later(20, "2026-02-01T00:00:00Z");
    let now = Millis::parse_rfc3339("2026-03-01T00:00:00Z").unwrap();
    // Set over HTTP before and after the instant: the file is as it was, so both stay.
    let present = later(30, "2026-04-01T00:00:00Z");
    let merged = merge(&file, Some(&file), Some(&present), Some(now)).unwrap();
    assert_eq!(merged.config, present);
    // Nothing was set: nothing changes, though the log has the rule that is not in force any more.
    let merged = merge(&file, Some(&file), Some(&file), Some(now)).unwrap();
    assert_eq!(merged.config, file.in_force(now).0);
    assert_eq!(merged.changes, []);
}

#[test]
fn records_of_earlier_versions_say_what_the_file_said() {
    let json = config(&[("*", 60)]).to_json().to_string().into_bytes();
    let of = |headers: &[(&'static str, &'static [u8])]| Applied::of(headers.iter().copied(), Some(&json));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[("file-hash", b"h")]), Some(Applied { file: json.clone(), hash: "h".to_owned() }));
    let both = of(&[("file-hash", b"h"), ("file", b"{}")]);
    assert_eq!(both, Some(Applied { file: b"{}".to_vec(), hash: "h".to_owned() }));
}

proptest! {
    /// Each subject by itself, from what is said of three versions: 0 is absent.
    #[test]
    fn every_subject_follows_the_table(versions in prop::collection::vec((0u32..4, 0u32..4, 0u32..4), 1..6)) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let pick = |which: fn(&(u32, u32, u32)) -> u32| {
            let rules: Vec<_> = versions.iter().zip(names).map(|(v, name)| (name, which(v))).filter(|(_, v)| *v > 0).collect();
            config(&rules)
        };
        let (file, applied, present) = (pick(|v| v.0), pick(|v| v.1), pick(|v| v.2));
        let merged = merge(&file, Some(&applied), Some(&present), None).unwrap();
        for ((now, before, there), name) in versions.iter().zip(names) {
            let expected = if now == before || (*now == 0 && there != before) { there } else { now };
            let rule = merged.config.rules.iter().find(|rule| rule.subject.as_ref().is_some_and(|s| s.as_str() == name));
            let found = rule.map_or(0, |rule| (rule.min_passing.micros() / 1_000_000) as u32);
            prop_assert_eq!(found, *expected, "{}: file {}, before {}, log {}", name, now, before, there);
        }
        // Applied, it stays as it is.
        let again = merge(&file, Some(&file), Some(&merged.config), None).unwrap();
        prop_assert_eq!(again.config, merged.config);
    }
}
