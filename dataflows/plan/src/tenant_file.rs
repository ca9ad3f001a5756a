//! A tenant's TOML file to a checked `TenantConfig`, with places for its faults. What is right or wrong in it is
//! decided by the model, which checks the same configuration when it comes over HTTP.

use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::document::{At, Document};
use aulaflow_model::fault::Fault;
use aulaflow_model::tenant::TenantConfig;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A tenant's configuration and the hash of its meaning: files that differ in spacing, comments or the order of
/// keys have the same hash. 64 hexadecimal digits.
pub type Hashed = (TenantConfig, String);

/// Checks the tenants' files, each for itself and all together.
pub(crate) fn check(sources: &[Source], diagnostics: &mut Vec<Diagnostic>) -> Vec<Hashed> {
    let mut tenants = Vec::with_capacity(sources.len());
    let mut documents = Vec::with_capacity(sources.len());
    for source in sources {
        match Document::parse(source) {
            Ok(document) => documents.push(document),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    for document in &documents {
        match TenantConfig::from_json(document.value()) {
            Ok(config) => {
                let warn = |fault: &Fault| Diagnostic { severity: Severity::Warning, ..document.fault(fault) };
                diagnostics.extend(TenantConfig::warnings(document.value()).iter().map(warn));
                let hash = hash(&config);
                tenants.push((config, hash));
            }
            Err(faults) => diagnostics.extend(faults.iter().map(|fault| document.fault(fault))),
        }
    }
    duplicates(&documents, diagnostics);
    tenants
}

/// A tenant in two files is a fault in both: neither is more right than the other.
fn duplicates(documents: &[Document], diagnostics: &mut Vec<Diagnostic>) {
    let mut files: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        if let Some(tenant) = document.value().get("tenant").and_then(Value::as_str) {
            files.entry(tenant).or_default().push(document);
        }
    }
    for (tenant, documents) in files {
        for document in &documents {
            let others: Vec<&str> = documents.iter().map(|d| d.source().name()).collect();
            let others: Vec<&str> = others.into_iter().filter(|name| *name != document.source().name()).collect();
            if !others.is_empty() {
                let message = format!("the tenant {tenant:?} is also defined in {}", others.join(", "));
                diagnostics.push(document.error(At::Value, "/tenant", message));
            }
        }
    }
}

/// SHA-256 over the checked configuration as JSON with sorted keys.
fn hash(config: &TenantConfig) -> String {
    let value = serde_json::to_value(config).unwrap_or_default();
    let mut text = String::new();
    write_canonical(&value, &mut text);
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sorted here, since another crate's feature can make `serde_json` keep the order of insertion.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(element, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_json_has_one_form() {
        let mut out = String::new();
        write_canonical(&json!({"b": [1, {"z": null, "a": "x\"y"}], "a": {}, "c": []}), &mut out);
        assert_eq!(out, r#"{"a":{},"b":[1,{"a":"x\"y","z":null}],"c":[]}"#);
    }
}
