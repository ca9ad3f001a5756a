//! The Kafka log against a real broker. Needs the broker's address in `AULAFLOW_KAFKA`, as `make test-kafka` sets it;
//! without it every test says that it was skipped. What needs no broker is tested beside the code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod group;
mod outage;
mod read;
mod secure;
mod support;
mod topics;
mod write;
