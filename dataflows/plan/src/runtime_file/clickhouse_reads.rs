//! `[clickhouse]`, what an analyst's query (`POST /v1/sql`) may have.

use super::seconds;
use crate::quantity::{GIB, MIB};
use crate::runtime::ClickHouseReads;
use crate::settings::Section;

/// Reads these settings of the section.
pub(super) fn reads(s: &mut Section<'_, '_>) -> ClickHouseReads {
    ClickHouseReads {
        sql_timeout: s.duration(
            "sql_timeout",
            seconds(20),
            seconds(1)..=seconds(600),
            "how long a query of `POST /v1/sql` may take; `server.request_timeout` ends it as well",
        ),
        sql_rows_max: s.count("sql_rows_max", 10_000, None, 1..=1_000_000, "rows of its answer; more are cut off"),
        sql_memory_max: s.bytes(
            "sql_memory_max",
            GIB,
            16 * MIB..=1_024 * GIB,
            "memory that ClickHouse takes for it, at most",
        ) as u64,
    }
}
