//! Evaluates SQL expressions over rows, for comparisons with other engines (`tests/sql/compare_postgres.py`,
//! `tests/sql/compare_duckdb.py`).
//!
//! Reads JSON lines from stdin. The first is `{"columns": [["a", "bigint"], …], "rows": [["1", null, …], …]}`, with
//! values as texts; every other is `{"expr": "a + 1", "rows": [0, 3]}`. Prints one line for each expression: an array
//! with `["v", text]`, `["n"]` for NULL or `["e", message]` for each row, or `{"faults": [message and help, …]}`.

use aulaflow_plan::sql::expr::{Expr, Row, Type, Value};
use aulaflow_plan::sql::{SqlFault, compile_scalar};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, BufWriter, Write};

/// The first line.
#[derive(Deserialize)]
struct Data {
    columns: Vec<(String, String)>,
    rows: Vec<Vec<Option<String>>>,
}

/// Every other line.
#[derive(Deserialize)]
struct Task {
    expr: String,
    rows: Vec<usize>,
}

/// A row of constants.
struct Constants(Vec<Expr>);

/// For constants, which read no column.
struct Nothing;

impl Row for Nothing {
    fn column(&self, _: usize) -> Value<'_> {
        Value::Null
    }
}

impl Row for Constants {
    fn column(&self, index: usize) -> Value<'_> {
        self.0.get(index).and_then(|constant| constant.eval(&Nothing).ok()).unwrap_or(Value::Null)
    }
}

/// Errors as texts: this is a tool for tests.
type Failure = Box<dyn std::error::Error>;

fn fail(message: impl Into<String>) -> Failure {
    message.into().into()
}

fn main() -> Result<(), Failure> {
    let mut lines = std::io::stdin().lock().lines();
    let data: Data = serde_json::from_str(&lines.next().ok_or_else(|| fail("no input"))??)?;
    let mut columns = Vec::new();
    for (name, ty) in &data.columns {
        columns.push((name.clone(), type_named(ty)?));
    }
    let mut rows = Vec::new();
    for row in &data.rows {
        let cells = row.iter().zip(&data.columns).map(|(cell, (_, ty))| constant(cell.as_deref(), ty));
        rows.push(Constants(cells.collect::<Result<_, _>>()?));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in lines {
        let task: Task = serde_json::from_str(&line?)?;
        let result = match compile_scalar(&task.expr, &columns) {
            Ok(expr) => task.rows.iter().map(|&row| evaluate(&expr, &rows[row])).collect(),
            Err(faults) => json!({ "faults": faults.iter().map(told).collect::<Vec<_>>() }),
        };
        writeln!(out, "{result}")?;
    }
    Ok(out.flush()?)
}

/// A fault and its help line.
fn told(fault: &SqlFault) -> String {
    format!("{} ({})", fault.message, fault.help.as_deref().unwrap_or_default())
}

fn evaluate(expr: &Expr, row: &Constants) -> serde_json::Value {
    match expr.eval(row) {
        Ok(Value::Boolean(b)) => json!(["v", b.to_string()]),
        Ok(value) => value.to_text().map_or_else(|| json!(["n"]), |text| json!(["v", text])),
        Err(error) => json!(["e", error.to_string()]),
    }
}

fn constant(cell: Option<&str>, ty: &str) -> Result<Expr, Failure> {
    let text = match cell {
        Some(text) => format!("CAST('{}' AS {ty})", text.replace('\'', "''")),
        None => format!("CAST(NULL AS {ty})"),
    };
    compile_scalar(&text, &[]).map_err(|faults| fail(format!("{text}: {faults:?}")))
}

fn type_named(name: &str) -> Result<Type, Failure> {
    Ok(constant(None, name)?.ty())
}
