//! What lets somebody into a ClickHouse server who may see one tenant: a role, row policies, limits. Pure: the statements in the
//! order in which they are executed; each can be repeated.
//!
//! ClickHouse shows a row to whom at least one permissive policy and every restrictive one lets see it. Who has no permissive policy
//! for a table sees all of its rows or none, as the server's `users_without_row_policies_can_read_rows` says. So everybody gets one,
//! which shows nothing; the writer one that shows everything; and a tenant's role one that shows the tenant's rows, and a restrictive one, so
//! that no other policy can ever show it more. Nothing here depends on which tenants have been let in before.

use crate::connection::{literal, quoted};
use crate::raw::Raw;
use crate::sql::TENANT;
use crate::tables::Tables;
use crate::views::analysts;
use aulaflow_model::ids::TenantId;

/// What a tenant's analysts may have of a server: per query, and per hour and user.
const QUERY_SECONDS: u32 = 60;
const QUERY_MEMORY_BYTES: u64 = 4 << 30;
const QUERY_ROWS_READ: u64 = 1_000_000_000;
const HOUR_QUERIES: u32 = 3_600;
const HOUR_SECONDS: u32 = 3_600;

/// Who is let in where.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// The tables that there are.
    pub tables: &'a Tables,
    /// Their database.
    pub database: &'a str,
    /// Who writes them, and goes on seeing everything.
    pub writer: &'a str,
    /// Whose rows are shown.
    pub tenant: &'a TenantId,
    /// A user of the server, who gets the role.
    pub user: Option<&'a str>,
}

/// The role of those who may see a tenant.
pub fn role(tenant: &TenantId) -> String {
    format!("aulaflow_{tenant}")
}

impl Grant<'_> {
    /// The statements. Until all of them are through, nobody sees more than before.
    pub fn statements(&self) -> Vec<String> {
        let name = role(self.tenant);
        let role = quoted(&name);
        let mut statements = vec![format!("CREATE ROLE IF NOT EXISTS {role}")];
        statements.extend(self.policies(&role));
        statements.push(format!(
            "CREATE SETTINGS PROFILE OR REPLACE {role} SETTINGS readonly = 2 READONLY, max_execution_time = {QUERY_SECONDS} MAX \
             {QUERY_SECONDS}, max_memory_usage = {QUERY_MEMORY_BYTES} MAX {QUERY_MEMORY_BYTES}, max_rows_to_read = {QUERY_ROWS_READ} MAX \
             {QUERY_ROWS_READ}, allow_ddl = 0 READONLY, allow_introspection_functions = 0 READONLY TO {role}"
        ));
        statements.push(format!(
            "CREATE QUOTA OR REPLACE {role} KEYED BY user_name FOR INTERVAL 1 hour MAX queries = {HOUR_QUERIES}, execution_time = \
             {HOUR_SECONDS} TO {role}"
        ));
        // What is not granted below is taken back. `system`, table functions and the sink's own tables are never granted.
        statements.push(format!("REVOKE ALL ON *.* FROM {role}"));
        statements.push(format!("GRANT SELECT ON {}.* TO {role}", quoted(&analysts(self.database))));
        statements.extend(self.names().map(|name| format!("GRANT SELECT ON {} TO {role}", self.table(name))));
        if let Some(user) = self.user {
            statements.push(format!("GRANT {role} TO {}", quoted(user)));
            statements.push(format!("ALTER USER {} DEFAULT ROLE {role}", quoted(user)));
        }
        statements
    }

    /// First the writer's, so that it never sees less than everything.
    fn policies(&self, role: &str) -> Vec<String> {
        let condition = format!("{} = {}", quoted(TENANT), literal(self.tenant.as_str()));
        let only = quoted(&format!("{}_only", crate::grants::role(self.tenant)));
        let on = |what: &dyn Fn(&str) -> String| -> Vec<String> {
            self.names().map(|name| what(&self.table(name))).collect()
        };
        let writer = quoted(self.writer);
        let create = "CREATE ROW POLICY OR REPLACE";
        let mut all = on(&|table| format!("{create} aulaflow_writer ON {table} USING 1 TO {writer}"));
        all.extend(on(&|table| format!("{create} aulaflow_nobody ON {table} USING 0 TO ALL")));
        all.extend(on(&|table| format!("{create} {only} ON {table} USING {condition} AS RESTRICTIVE TO {role}")));
        all.extend(on(&|table| format!("{create} {role} ON {table} USING {condition} AS PERMISSIVE TO {role}")));
        all
    }

    /// The tables that views read.
    fn names(&self) -> impl Iterator<Item = &str> {
        let plans = self.tables.tables.iter().map(|table| table.name.as_str());
        plans.chain(Raw::ALL.into_iter().map(|raw| -> &str { raw.name() }))
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", quoted(self.database), quoted(name))
    }
}
