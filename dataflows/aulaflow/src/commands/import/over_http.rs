//! Through a running instance: one request at a time on keep-alive connections, retried while the instance is busy.

use super::batch::{Batch, Destination, Tally};
use crate::client::{Client, Positions};
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

    /// Makes a rule the tenant's own for all subjects; returns where it is on the log.
    pub fn put_default_rule(&self, rule: &serde_json::Value) -> Result<Positions> {
        Ok(self.admin.put("/v1/rules/*", "application/json", rule.to_string().as_bytes())?.positions)
    }
}

impl Destination for OverHttp {
    fn send(&mut self, batch: &Batch) -> Result<Tally> {
        let client = match batch.kind {
            Kind::Evaluations => &self.admin,
            Kind::Behavior | Kind::Events => &self.service,
        };
        let taken = ingest::post(client, batch.kind, &batch.lines, true)?;
        let mut tally = Tally { accepted: taken.accepted, positions: taken.positions, ..Tally::default() };
        for (index, reason) in taken.refused {
            // A batch has no empty lines: the index of a line is that of its item.
            tally.refuse(batch.numbers.get(index).copied().unwrap_or(0), &reason);
        }
        Ok(tally)
    }
}
