//! The history as the edge asks it: [`Reader`] behind the edge's trait.

use aulaflow_clickhouse::{ReadError, Reader};
use aulaflow_model::ids::{PeriodId, StudentId, TenantId};
use aulaflow_plan::runtime::ClickHouseKind;
use aulaflow_query_api::{History, HistoryFailure, Later, NoHistory, PastGrades, SqlRows};

/// What is said where the configuration wants no ClickHouse.
const OFF: &str = "analytics are off: set `kind = \"embedded\"` in `[clickhouse]` of the configuration and run `make libchdb`, or \
                   set `kind = \"server\"` with the `url` of a ClickHouse server; then start again";
/// What is said where it wants the embedded one, and there is none in this process.
const MISSING: &str = "analytics are off: ClickHouse's library is not there, or this process does not run the dataflows; run \
                       `make libchdb` and start again, or ask the process with the role dataflow";

/// The history of a process; `reader` where there is a ClickHouse.
pub fn history(reader: Option<Reader>, kind: &ClickHouseKind) -> Box<dyn History> {
    match (reader, kind) {
        (Some(reader), _) => Box::new(ClickHouseHistory(reader)),
        (None, ClickHouseKind::Embedded { .. }) => Box::new(NoHistory(MISSING)),
        (None, ClickHouseKind::Off | ClickHouseKind::Server { .. }) => Box::new(NoHistory(OFF)),
    }
}

struct ClickHouseHistory(Reader);

impl History for ClickHouseHistory {
    fn grades<'a>(
        &'a self,
        tenant: &'a TenantId,
        student: &'a StudentId,
        period: &'a PeriodId,
    ) -> Later<'a, PastGrades> {
        Box::pin(async move {
            let (grades, as_of) = self.0.grades(tenant, student, period).await.map_err(failure)?;
            Ok(PastGrades { grades, as_of })
        })
    }

    fn sql<'a>(&'a self, tenant: &'a TenantId, text: &'a str) -> Later<'a, SqlRows> {
        Box::pin(async move {
            let rows = self.0.sql(tenant, text).await.map_err(failure)?;
            let answered = rows.answered;
            Ok(SqlRows { columns: answered.columns, rows: answered.rows, truncated: rows.truncated, as_of: rows.as_of })
        })
    }
}

fn failure(error: ReadError) -> HistoryFailure {
    match error {
        ReadError::Refused(why) => HistoryFailure::Refused(why),
        ReadError::Failed(why) => HistoryFailure::Failed(why),
        ReadError::Limit(why) => HistoryFailure::Limit(why),
        ReadError::Timeout => HistoryFailure::Timeout,
        ReadError::Unavailable(reason) => HistoryFailure::Unavailable(reason),
    }
}
