//! Reads for people: a student's grades of a period, and analysts' queries behind their fence ([`crate::sql`]). Every read has
//! limits of time, rows and memory, and ends with whoever waits for it. For any number of tasks of an async runtime.

use crate::answers::{self, Answered};
use crate::connection::{Access, quoted};
use crate::error::ServerError;
use crate::rows;
use crate::sql::{Asked, Catalog, Fenced, TENANT, ask};
use crate::tables::Tables;
use crate::{PseudonymKeys, Whereabouts};
use aulaflow_model::change::GradeRow;
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::{EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_serving::GradeEntry;
use bytes::Bytes;
use clickhouse::query::Query;
use clickhouse::{Client, Compression};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// We wait so much longer than the server works, so that its own words arrive.
const AFTER: Duration = Duration::from_secs(1);

/// How long a read of grades may take.
const GRADES_TIMEOUT: Duration = Duration::from_secs(2);

/// Rows that a query may look at, and the bytes of its answer.
const ROWS_READ_MAX: u64 = 1_000_000_000;
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// What a query may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLimits {
    /// How long it may take.
    pub sql_timeout: Duration,
    /// Rows of its answer; more are cut off.
    pub sql_rows_max: u64,
    /// Memory of the server.
    pub sql_memory_max: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The query may not be asked.
    #[error("{0}")]
    Refused(String),
    /// The query cannot be answered.
    #[error("{0}")]
    Failed(String),
    /// The query needs more than it may have.
    #[error("{0}")]
    Limit(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The server cannot be reached, or has its own troubles. The reason is for the operator.
    #[error("{0}")]
    Unavailable(String),
}

/// An analyst's answer.
#[derive(Debug)]
pub struct Rows {
    /// Columns and rows.
    pub answered: Answered,
    /// There were more rows.
    pub truncated: bool,
    /// The newest change in what was read.
    pub as_of: Option<Millis>,
}

/// Reads from where the server is.
pub struct Reader {
    at: Whereabouts,
    tables: Arc<Tables>,
    keys: Arc<PseudonymKeys>,
    limits: ReadLimits,
    /// What may be asked, of the database that it was made for.
    catalog: Mutex<Option<(String, Arc<Catalog>)>>,
    /// The client of the last place: it keeps its connections.
    client: Mutex<Option<(Access, Client)>>,
}

/// A row of grades, as it is asked for.
#[derive(Deserialize)]
struct PastRow(
    Subject,
    Option<String>,
    Option<u8>,
    bool,
    bool,
    u32,
    BTreeMap<EvaluationType, CategoryResult>,
    String,
    u32,
    i64,
    i64,
);

impl Reader {
    /// Reaches for nothing yet.
    pub fn new(at: Whereabouts, tables: Arc<Tables>, keys: Arc<PseudonymKeys>, limits: ReadLimits) -> Self {
        Self { at, tables, keys, limits, catalog: Mutex::default(), client: Mutex::default() }
    }

    /// A student's grades of one period as they are now, in order of their subjects, and the instant of the tenant's newest
    /// change.
    pub async fn grades(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        period: &PeriodId,
    ) -> Result<(Vec<GradeEntry>, Millis), ReadError> {
        // A tenant without a key has nothing there.
        let Some(pseudonym) = self.keys.known(tenant, student) else { return Ok((Vec::new(), Millis(0))) };
        let (access, client) = self.connect()?;
        let table = |name: &str| format!("{}.{}", quoted(&access.database), quoted(name));
        let (present, changes) = (table("grades"), table("grades_changes"));
        let text = format!(
            "SELECT subject, toString(score), score_decimals, passing, complete, evaluations_count, by_category, rule_version, row_version, \
             toUnixTimestamp64Milli(updated_at), (SELECT toUnixTimestamp64Milli(max(clock)) FROM {changes} PREWHERE tenant = \
             {{tenant:String}}) FROM {present} FINAL PREWHERE tenant = {{tenant:String}} WHERE student = {{student:UUID}} AND \
             period = {{period:String}} ORDER BY subject"
        );
        let query = limited(client.query_raw(&text), GRADES_TIMEOUT)
            .param(TENANT, tenant.as_str())
            .param("student", pseudonym.to_string())
            .param("period", period.as_str());
        let bytes = all(query, "JSONCompactEachRow", GRADES_TIMEOUT).await?;
        let mut as_of = Millis(0);
        let mut grades = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let row: PastRow = serde_json::from_slice(line)
                .map_err(|error| ReadError::Unavailable(format!("a row of grades cannot be read: {error}")))?;
            let PastRow(
                subject,
                score,
                decimals,
                passing,
                complete,
                evaluations_count,
                by_category,
                rule,
                version,
                updated,
                newest,
            ) = row;
            let grade = Grade {
                score: score.map(|score| rows::with_fraction_digits(score, decimals).into()),
                passing,
                complete,
                evaluations_count,
                by_category,
                rule_version: rule.into(),
            };
            let row = GradeRow { grade: Arc::new(grade), version, updated_at: Millis(updated) };
            grades.push(GradeEntry { subject, period: period.clone(), row });
            as_of = Millis(newest);
        }
        Ok((grades, as_of))
    }

    /// Answers an analyst's query.
    pub async fn sql(&self, tenant: &TenantId, text: &str) -> Result<Rows, ReadError> {
        let (access, client) = self.connect()?;
        let catalog = self.catalog(&access.database);
        let asked = ask(text, &catalog).map_err(|refusal| ReadError::Refused(refusal.to_string()))?;
        let (fenced, described) = match asked {
            Asked::Query(fenced) => (fenced, false),
            Asked::Columns(fenced) => (fenced, true),
            Asked::Tables(names) => {
                let rows = names.iter().map(|name| vec![name.as_str()]);
                return Ok(Rows { answered: answers::texts(&["name"], rows), truncated: false, as_of: None });
            }
        };
        let as_of = self.newest(&client, &catalog, tenant, &fenced).await?;
        let limits = &self.limits;
        let rows_max = limits.sql_rows_max;
        // One row more than is answered tells whether there are more.
        let settings = [
            // Whatever is wrong with the text, nothing can be changed by it.
            ("readonly", "1".to_owned()),
            // A second fence, by the server itself.
            ("additional_table_filters", catalog.filters(tenant.as_str())),
            ("limit", (rows_max + 1).to_string()),
            ("max_result_bytes", ANSWER_BYTES_MAX.to_string()),
            ("result_overflow_mode", "throw".to_owned()),
            ("max_memory_usage", limits.sql_memory_max.to_string()),
            ("max_rows_to_read", ROWS_READ_MAX.to_string()),
            ("max_threads", "2".to_owned()),
            ("max_subquery_depth", "100".to_owned()),
            ("allow_introspection_functions", "0".to_owned()),
            ("optimize_move_to_prewhere", "0".to_owned()),
            ("output_format_json_quote_64bit_integers", "0".to_owned()),
            ("output_format_json_quote_denormals", "1".to_owned()),
            ("output_format_json_escape_forward_slashes", "0".to_owned()),
            // Bytes that are no text are shown as such: JSON has no others.
            ("output_format_json_validate_utf8", "1".to_owned()),
            ("output_format_write_statistics", "0".to_owned()),
        ];
        let query = limited(client.query_raw(&fenced.text), limits.sql_timeout).param(TENANT, tenant.as_str());
        let query = settings.into_iter().fold(query, |query, (name, value)| query.with_setting(name, value));
        let bytes =
            all(query, "JSONCompact", limits.sql_timeout).await.map_err(|error| nearest(error, &catalog, &fenced))?;
        let mut answered = answers::read(&bytes).map_err(ReadError::Unavailable)?;
        if described {
            let rows = answered.columns.iter().map(|(name, r#type)| vec![name.as_str(), r#type.as_str()]);
            return Ok(Rows { answered: answers::texts(&["name", "type"], rows), truncated: false, as_of: None });
        }
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
        let truncated = answered.rows.len() > rows_max;
        answered.rows.truncate(rows_max);
        Ok(Rows { answered, truncated, as_of })
    }

    /// The instant of the newest change of what a query reads.
    async fn newest(
        &self,
        client: &Client,
        catalog: &Catalog,
        tenant: &TenantId,
        fenced: &Fenced,
    ) -> Result<Option<Millis>, ReadError> {
        let shown = fenced.relations.iter().filter_map(|name| catalog.get(name));
        let tables: BTreeSet<&(String, &str)> = shown.flat_map(|(_, shown)| &shown.newest).collect();
        if tables.is_empty() {
            return Ok(None);
        }
        let one = |(name, at): &&(String, &str)| {
            format!(
                "SELECT toUnixTimestamp64Milli(max({at})) AS at FROM {}.{} PREWHERE tenant = {{tenant:String}}",
                quoted(catalog.database()),
                quoted(name)
            )
        };
        let all_of: Vec<_> = tables.iter().map(one).collect();
        let text = format!("SELECT max(at) FROM ({})", all_of.join(" UNION ALL "));
        let limit = self.limits.sql_timeout;
        let query = limited(client.query_raw(&text), limit).param(TENANT, tenant.as_str());
        let bytes = all(query, "TabSeparated", limit).await?;
        let at = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        // An empty table's is the beginning of 1970.
        Ok(at.filter(|at| *at > 0).map(Millis))
    }

    fn catalog(&self, database: &str) -> Arc<Catalog> {
        let mut kept = self.catalog.lock();
        if let Some((of, catalog)) = &*kept
            && of == database
        {
            return Arc::clone(catalog);
        }
        let catalog = Arc::new(Catalog::of(&self.tables, database));
        *kept = Some((database.to_owned(), Arc::clone(&catalog)));
        catalog
    }

    fn connect(&self) -> Result<(Access, Client), ReadError> {
        let access = (self.at)().map_err(ReadError::Unavailable)?;
        let mut kept = self.client.lock();
        if let Some((of, client)) = &*kept {
            let same = |of: &Access| (&of.url, &of.user, &of.password) == (&access.url, &access.user, &access.password);
            if same(of) {
                return Ok((access, client.clone()));
            }
        }
        let mut client = Client::default()
            .with_url(&access.url)
            .with_product_info("aulaflow", env!("CARGO_PKG_VERSION"))
            .with_compression(Compression::None);
        if let Some(user) = &access.user {
            client = client.with_user(user);
        }
        if let Some(password) = &access.password {
            client = client.with_password(password);
        }
        *kept = Some((access.clone(), client.clone()));
        Ok((access, client))
    }
}

/// Adds to the error about a name that is no column the nearest one of the tables that are read.
fn nearest(error: ReadError, catalog: &Catalog, fenced: &Fenced) -> ReadError {
    let ReadError::Failed(message) = &error else { return error };
    // Of a name alone, and of one with a table's.
    let between = |before: &str, behind: char| {
        message.split_once(before).and_then(|(_, rest)| rest.split_once(behind)).map(|(name, _)| name)
    };
    let unknown = between("identifier `", '`').or_else(|| between("Identifier '", '\''));
    let Some(unknown) = unknown.map(|name| name.rsplit('.').next().unwrap_or(name)) else { return error };
    let shown = fenced.relations.iter().filter_map(|name| catalog.get(name));
    let columns: Vec<&str> = shown.flat_map(|(_, shown)| shown.columns.iter().map(String::as_str)).collect();
    match aulaflow_model::fault::nearest(unknown, columns.iter().copied()) {
        Some(near) => ReadError::Failed(format!("{message}; did you mean {near:?}?")),
        None if columns.is_empty() => error,
        None => ReadError::Failed(format!("{message}; columns are: {}", columns.join(", "))),
    }
}

/// What all reads have.
fn limited(query: Query, limit: Duration) -> Query {
    query
        .with_setting("max_execution_time", limit.as_secs().max(1).to_string())
        // The answer has a status of its own, whatever goes wrong while it is made.
        .with_setting("wait_end_of_query", "1")
        .with_setting("output_format_json_quote_decimals", "1")
        .with_setting("output_format_json_named_tuples_as_objects", "1")
        .with_setting("date_time_output_format", "iso")
}

async fn all(query: Query, format: &str, limit: Duration) -> Result<Bytes, ReadError> {
    let read = async {
        let mut cursor = query.fetch_bytes(format)?;
        cursor.collect().await
    };
    let read = timeout(limit + AFTER, read).await.map_err(|_| ReadError::Timeout)?;
    read.map_err(|error| match error {
        clickhouse::error::Error::BadResponse(text) => answers::failure(&text),
        clickhouse::error::Error::TimedOut => ReadError::Timeout,
        other => ReadError::Unavailable(ServerError::from(other).to_string()),
    })
}
