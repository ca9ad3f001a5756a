//! TOML and SQL to a checked [`Plan`], with diagnostics that name file, line and column. Pure: it is given texts and
//! gives back a plan or every fault at once; it reads no file, knows no clock, and runs no dataflow.

mod check;
pub mod diagnostic;
pub mod document;
pub mod quantity;
pub mod runtime;
mod runtime_file;
mod settings;
pub mod sql;
pub mod tenant_file;

pub use check::compile;
pub use diagnostic::{Diagnostic, Severity, Source, render};
pub use runtime_file::{Pattern, RuntimeFile, parse_runtime, settings};
pub use settings::Setting;

use aulaflow_model::tenant::TenantConfig;

/// A checked configuration: what the engine and the edge are started with. Only this crate makes one.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The runtime's settings.
    pub runtime: runtime::Runtime,
    /// The tenants that files define, with a hash of each file's meaning.
    pub tenants: Vec<(TenantConfig, String)>,
    /// Source tables.
    pub tables: Vec<sql::Table>,
    /// Feature views, in the order of files and statements; a view's index is its `ViewIndex`.
    pub views: Vec<sql::View>,
    /// What is allowed and probably not meant. For a person to read; nothing depends on them.
    pub warnings: Vec<Diagnostic>,
}
