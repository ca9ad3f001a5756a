//! Through a running instance: one request at a time on keep-alive connections, retried while the instance is busy.

use super::batch::{Batch, Destination, Tally};
use crate::client::{Client, ClientError, Positions};
use crate::ingest::{self, Kind};
use anyhow::Result;

/// An instance as a destination.
pub struct OverHttp {
    /// Sends evaluations and rules.
    admin: Client,
    /// Sends behaviour events and asks for the lag.
    service: Client,
}

impl OverHttp {
    /// Sends with these clients.
    pub fn new(admin: Client, service: Client) -> Self {
        Self { admin, service }
    }

    /// The client that may ask for the lag.
    pub fn service(&self) -> &Client {
        &self.service
    }

    /// Whether the instance knows the tenant: it has periods, or a rule for all subjects.
    pub fn knows_tenant(&self) -> Result<bool> {
        let periods: serde_json::Value = serde_json::from_slice(&self.admin.get_once("/v1/periods")?.body)?;
        if periods["period"].as_array().is_some_and(|periods| !periods.is_empty()) {
            return Ok(true);
        }
        match self.admin.get_once("/v1/rules/*") {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a rule the tenant's own for all subjects; returns where it is on the log.
    pub fn put_default_rule(&self, rule: &serde_json::Value) -> Result<Positions> {
        Ok(self.admin.put("/v1/rules/*", "application/json", rule.to_string().as_bytes())?.positions)
    }
}

/// Whether the instance takes no request as large as this one.
fn is_too_large(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused { status: 413, .. }))
}

impl OverHttp {
    /// Sends the halves of a batch that is too large for a request; an event that is too large by itself is left out.
    fn send_parts(&mut self, batch: &Batch, error: &anyhow::Error) -> Result<Tally> {
        let mut tally = Tally::default();
        match batch.numbers.as_slice() {
            [] => {}
            [number] => tally.skip(*number, &format!("{error:#}")),
            _ => {
                for half in batch.halves() {
                    tally.add(self.send(&half)?);
                }
            }
        }
        Ok(tally)
    }
}

impl Destination for OverHttp {
    fn send(&mut self, batch: &Batch) -> Result<Tally> {
        let client = match batch.kind {
            Kind::Evaluations => &self.admin,
            Kind::Behavior | Kind::Events => &self.service,
        };
        let taken = match ingest::post(client, batch.kind, &batch.lines, true) {
            Ok(taken) => taken,
            Err(error) if is_too_large(&error) => return self.send_parts(batch, &error),
            Err(error) => return Err(error),
        };
        let mut tally = Tally { accepted: taken.accepted, positions: taken.positions, ..Tally::default() };
        for (index, reason) in taken.refused {
            // A batch has no empty lines: the index of a line is that of its item.
            tally.refuse(batch.numbers.get(index).copied().unwrap_or(0), &reason);
        }
        Ok(tally)
    }
}
