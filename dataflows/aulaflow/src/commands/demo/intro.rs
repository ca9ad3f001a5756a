//! What the demo prints at its start: where to look, and what to try.

use super::Cast;
use crate::clickhouse::ClickHouse;
use crate::node::Node;
use crate::traffic::{Settings, student_name};
use serde_json::json;

/// Prints it on stdout.
pub(super) fn print(node: &Node, cast: &Cast, settings: &Settings) {
    let url = &node.url;
    let tenant = cast.tenant.tenant.as_str();
    // Marks are given in turn: the first student has one first.
    let student = student_name(0);
    let lesson = settings.lessons.first();
    let subject = lesson.map_or("*", |lesson| lesson.subject.as_str());
    let categories = lesson.map(|lesson| lesson.categories.as_slice()).unwrap_or_default();
    let weights: serde_json::Map<_, _> = categories.iter().map(|name| (name.clone(), json!(1))).collect();
    let rule = json!({ "weights": weights, "min_passing": 70 });
    println!(
        "\na school of {} students, tenant {tenant}\n\
         \n  API          {url}/docs\
         \n  OpenAPI      {url}/openapi.json\
         \n  metrics      {url}/metrics\n\
         \nTry these in another terminal:\n\
         \n  export TOKEN={}\n\
         \n  # a student's grades and features, from memory\
         \n  curl -s -H \"Authorization: Bearer $TOKEN\" {url}/v1/students/{student}/profile\n\
         \n  # another rule for a subject: every affected grade follows at once\
         \n  curl -s -X PUT -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\
         \n       -d '{rule}' {url}/v1/rules/{}\n",
        settings.students,
        cast.admin,
        percent_encoded(subject),
    );
    analytics(&node.clickhouse, url);
}

/// What analysts can try, or why they cannot.
fn analytics(clickhouse: &ClickHouse, url: &str) {
    if clickhouse.endpoint.is_some() {
        println!(
            "  # SQL over the school's own tables; students are pseudonyms there\n  curl -s -H \"Authorization: Bearer $TOKEN\" -H \
             'Content-Type: text/plain' {url}/v1/sql \\\n       -d 'SELECT subject, count(*) AS students, avg(score) AS mean FROM grades \
             GROUP BY subject'\n"
        );
    }
    if let (Some(endpoint), Some(file)) = (&clickhouse.endpoint, &clickhouse.password_file) {
        println!(
            "  # ClickHouse itself, for its own clients too\n  curl -s -u {}:$(cat {}) '{}/?database={}' -d 'SHOW TABLES'\n",
            endpoint.user,
            file.display(),
            endpoint.url,
            endpoint.database,
        );
    }
    if let Some(missing) = &clickhouse.missing {
        println!("SQL for analysts is off, everything else runs: {missing}\n");
    }
}

/// A text as a path's segment.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_become_path_segments() {
        assert_eq!(percent_encoded("matemáticas 1/2"), "matem%C3%A1ticas%201%2F2");
    }
}
