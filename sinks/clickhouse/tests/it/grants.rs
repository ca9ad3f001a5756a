//! Who may see one tenant. The embedded engine keeps no users, so that the statements are parsed by it, and what they say (the grants
//! and the conditions, read out of them) is given to its one user in a file of users, as whom everything is then tried.

use crate::engine::{access, access_to, connect, launch};
use crate::school::{History, insert, tables};
use aulaflow_clickhouse::{Connection, Grant, Tables, migrate, migrate_views, role, views};
use aulaflow_model::ids::TenantId;
use clickhouse::Row;
use serde::Deserialize;
use std::path::Path;

#[derive(Row, Deserialize)]
struct Line {
    explain: String,
}

fn grant<'a>(tables: &'a Tables, tenant: &'a TenantId) -> Grant<'a> {
    Grant { tables, database: "aula", writer: "writer", tenant, user: Some("alice") }
}

#[test]
fn every_statement_is_clickhouses() {
    let Some(access) = access() else { return };
    let connection = connect(&access);
    let (tables, tenant) = (tables(), TenantId::new("school").unwrap());
    let statements = grant(&tables, &tenant).statements();
    for statement in &statements {
        let explained = connection.rows::<Line>(&format!("EXPLAIN AST {statement}"));
        let lines = explained.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(!lines.is_empty() && !lines[0].explain.is_empty(), "{statement}");
    }
    // Every table has its four policies, the writer's before the one for everybody, and before anything is granted.
    let place = |text: &str| statements.iter().position(|one| one.contains(text)).unwrap_or_else(|| panic!("{text}"));
    for table in &tables.tables {
        let on = format!("ON `aula`.`{}` ", table.name);
        let writer = place(&format!("aulaflow_writer {on}USING 1 TO `writer`"));
        let nobody = place(&format!("aulaflow_nobody {on}USING 0 TO ALL"));
        let only =
            place(&format!("`aulaflow_school_only` {on}USING `tenant` = 'school' AS RESTRICTIVE TO `aulaflow_school`"));
        let own = place(&format!("`aulaflow_school` {on}USING `tenant` = 'school' AS PERMISSIVE TO `aulaflow_school`"));
        let granted = place(&format!("GRANT SELECT {on}TO `aulaflow_school`"));
        assert!(writer < nobody && nobody < only && only < own && own < granted);
    }
    assert_eq!(statements.iter().filter(|one| one.starts_with("GRANT SELECT")).count(), tables.tables.len() + 3 + 1);
    assert_eq!(statements.last().unwrap(), "ALTER USER `alice` DEFAULT ROLE `aulaflow_school`");
    assert!(
        !statements
            .iter()
            .any(|one| one.contains("`writers`") || one.contains("`migrations`") || one.contains("system"))
    );
}

/// The file of users of an engine, whose one user then has what the role would have.
fn users(statements: &[String], role: &str) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let to = format!(" TO `{role}`");
    let grants = statements.iter().filter(|one| one.starts_with("GRANT SELECT"));
    let grants: String =
        grants.map(|one| format!("<query>{}</query>", escaped(one.strip_suffix(&to).unwrap()))).collect();
    let mut filters = String::new();
    for one in statements.iter().filter(|one| one.contains(" AS PERMISSIVE ")) {
        let table = one.split("ON `aula`.`").nth(1).unwrap().split('`').next().unwrap();
        let condition = one.split(" USING ").nth(1).unwrap().split(" AS ").next().unwrap();
        filters.push_str(&format!("<{table}><filter>{}</filter></{table}>", escaped(condition)));
    }
    format!(
        "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password></password><networks>\
         <ip>::/0</ip></networks><profile>default</profile><quota>default</quota><grants>{grants}</grants><databases><aula>{filters}\
         </aula></databases></default></users></clickhouse>"
    )
}

fn number(connection: &Connection, sql: &str) -> u64 {
    connection.number(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[test]
fn who_is_let_in_sees_one_tenant_and_nothing_else() {
    if access().is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clickhouse-grants");
    let _ = std::fs::remove_dir_all(&folder);
    let (tables, tenant) = (tables(), TenantId::new("school").unwrap());
    let server = launch(&folder);
    let connection = connect(&access_to(&server, "aula"));
    migrate(&connection, &tables, &[], "").unwrap();
    migrate_views(&connection, &tables).unwrap();
    insert(&connection, "school", &History::new(1));
    insert(&connection, "other", &History::new(2));
    assert_eq!(number(&connection, "SELECT uniq(tenant) FROM aula.grades"), 2);
    drop(connection);
    server.stop();

    let statements = grant(&tables, &tenant).statements();
    std::fs::create_dir_all(folder.join("config.d")).unwrap();
    std::fs::write(folder.join("users.xml"), users(&statements, &role(&tenant))).unwrap();
    let config =
        format!("<clickhouse><users_config>{}</users_config></clickhouse>", folder.join("users.xml").display());
    std::fs::write(folder.join("config.d/users.xml"), config).unwrap();
    let server = launch(&folder);
    let connection = connect(&access_to(&server, "aula"));

    // Everything is there, and nothing of the other tenant's, also behind a view.
    for table in &tables.tables {
        let (others, name) = ("countIf(tenant != 'school')", &table.name);
        assert_eq!(number(&connection, &format!("SELECT {others} FROM aula.{name}")), 0, "{name}");
    }
    for view in views(&tables, "aula") {
        let arguments = view.parameter.map_or(String::new(), |parameter| format!("({})", parameter.example()));
        let name = format!("aula_analysts.{}{arguments}", view.name);
        assert_eq!(number(&connection, &format!("SELECT countIf(tenant != 'school') FROM {name}")), 0, "{name}");
        // Nothing fails because of the other's rows.
        number(&connection, &format!("SELECT countIf(throwIf(tenant = 'other') = 1) FROM {name}"));
    }
    assert_eq!(number(&connection, "SELECT count() FROM aula_analysts.grades"), 179);
    assert_eq!(number(&connection, "SELECT uniq(tenant) FROM merge('aula', '^grades')"), 1);
    // What is not granted is not even listed.
    assert_eq!(number(&connection, "SELECT count() FROM system.tables WHERE name IN ('writers', 'migrations')"), 0);
    // A condition of the query's own is looked at after the policy.
    assert_eq!(number(&connection, "SELECT countIf(throwIf(tenant = 'other') = 0) FROM aula.grades"), 180);

    for (sql, why) in [
        ("SELECT count() FROM aula.writers", 497),
        ("SELECT count() FROM aula.migrations", 497),
        ("SELECT count() FROM system.users", 497),
        ("SELECT count() FROM file('/etc/passwd', 'LineAsString')", 497),
        ("SELECT count() FROM url('http://127.0.0.1:1/', 'LineAsString')", 497),
        ("SELECT count() FROM remote('127.0.0.1', 'aula', 'grades')", 497),
        ("INSERT INTO aula.cohorts SELECT * FROM aula.cohorts", 497),
        ("ALTER TABLE aula.grades DELETE WHERE 1", 497),
        ("DROP TABLE aula.grades", 497),
        ("DROP VIEW aula_analysts.grades", 497),
        ("CREATE VIEW aula_analysts.mine AS SELECT 1", 497),
        ("CREATE OR REPLACE VIEW aula_analysts.grades SQL SECURITY NONE AS SELECT * FROM aula.grades", 497),
        ("GRANT SELECT ON *.* TO default", 497),
        ("DROP ROW POLICY aulaflow_nobody ON aula.grades", 497),
    ] {
        let error = connection.execute(sql).expect_err(sql);
        assert_eq!(error.code, Some(why), "{sql}: {error}");
    }
    server.stop();
}
