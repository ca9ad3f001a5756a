//! The calls that take events in bulk, as a client sees them: what is sent, and what the answer says.

use crate::client::{Client, ClientError, Positions};
use anyhow::{Context, Result};
use aulaflow_model::fault::Fault;
use aulaflow_model::topic;
use clap::ValueEnum;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The media type of JSON lines.
const JSON_LINES: &str = "application/x-ndjson";

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Evaluations: upserts by their id.
    Evaluations,
    /// Behaviour events.
    Behavior,
    /// Service events: what other systems say about themselves.
    Events,
}

/// What became of events that were posted.
#[derive(Debug, Default)]
pub struct Taken {
    /// How many are durable on the log.
    pub accepted: u64,
    /// The others: index of the line, from 0, and the reason.
    pub refused: Vec<(usize, String)>,
    /// Where the accepted ones are.
    pub positions: Positions,
}

#[derive(Deserialize)]
struct BatchAnswer {
    accepted: u64,
    errors: Vec<ItemErrors>,
}

#[derive(Deserialize)]
struct ItemErrors {
    index: usize,
    errors: Vec<ItemFault>,
}

#[derive(Deserialize)]
struct ItemFault {
    pointer: String,
    detail: String,
}

impl Kind {
    /// The topic they go to.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Evaluations => topic::EVALUATIONS,
            Self::Behavior => topic::BEHAVIOR,
            Self::Events => topic::EVENTS,
        }
    }

    /// The call that takes them; `None` where there is none.
    fn path(self) -> Option<&'static str> {
        match self {
            Self::Evaluations => Some("/v1/evaluations:batch"),
            Self::Behavior => Some("/v1/behavior"),
            Self::Events => None,
        }
    }
}

/// Posts JSON lines. With `dead_letters`, refused ones are kept on the topic's dead letters.
pub fn post(client: &Client, kind: Kind, lines: &[u8], dead_letters: bool) -> Result<Taken> {
    let path = kind.path().context("service events cannot be sent over HTTP in this version")?;
    let path = if dead_letters { format!("{path}?dead_letters=true") } else { path.to_owned() };
    match client.post(&path, JSON_LINES, lines) {
        Ok(answer) => {
            let body: BatchAnswer = serde_json::from_slice(&answer.body).context("the answer makes no sense")?;
            let refused = body.errors.into_iter().map(|item| (item.index, describe(item.errors))).collect();
            Ok(Taken { accepted: body.accepted, refused, positions: answer.positions })
        }
        // None of them was good.
        Err(ClientError::Refused { status: 422, errors, .. }) if !errors.is_empty() => {
            Ok(Taken { refused: by_item(errors), ..Taken::default() })
        }
        Err(error) => Err(error.into()),
    }
}

fn describe(faults: Vec<ItemFault>) -> String {
    let faults = faults.into_iter().map(|fault| Fault::new(fault.pointer, fault.detail).to_string());
    faults.collect::<Vec<_>>().join("; ")
}

/// Faults with pointers from the body's root, `/3/score`, by item.
fn by_item(errors: Vec<Fault>) -> Vec<(usize, String)> {
    let mut items: BTreeMap<usize, Vec<ItemFault>> = BTreeMap::new();
    for Fault { pointer, detail } in errors {
        let path = pointer.strip_prefix('/').unwrap_or_default();
        let (index, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let fault = ItemFault { pointer: rest.to_owned(), detail };
        items.entry(index.parse().unwrap_or(0)).or_default().push(fault);
    }
    items.into_iter().map(|(index, faults)| (index, describe(faults))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_gathered_by_item() {
        let faults = [("/3/score", "is no number"), ("/3/type", "is missing"), ("/0", "is not JSON")];
        let items = by_item(faults.map(|(pointer, detail)| Fault::new(pointer, detail)).into());
        let reasons = ["is not JSON", "/score: is no number; /type: is missing"].map(str::to_owned);
        assert_eq!(items, [(0, reasons[0].clone()), (3, reasons[1].clone())]);
    }
}
