//! The language of Aulaflow: events, ids, exact decimals, instants, the grade function, and the
//! rows that views are made of. No I/O, no clock, no timely, no SQL.

pub mod change;
pub mod cohort;
pub mod decimal;
pub mod event;
pub mod exact;
pub mod explain;
pub mod fault;
pub mod fields;
pub mod grade;
pub mod ids;
pub mod instant;
pub mod json;
pub mod share;
pub mod statistics;
pub mod tenant;
pub mod topic;
pub mod updated_at;
pub mod window;
