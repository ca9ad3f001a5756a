//! `aulaflow lake`: closed days of ClickHouse as Parquet, elsewhere.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::lake::{Exported, Lake};
use crate::progress::Progress;
use crate::tenant_records::now;
use anyhow::{Context, Result};
use aulaflow_clickhouse::lake::{Day, Range, closed, exported};
use aulaflow_model::ids::TenantId;
use aulaflow_plan::runtime::ClickHouseKind;

/// Keeps what ClickHouse has as files elsewhere
#[derive(Debug, clap::Args)]
pub struct LakeCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Writes closed days (UTC) as Parquet files; what is there and has not changed is left alone
    Export(Export),
}

/// What `export` takes.
#[derive(Debug, clap::Args)]
struct Export {
    /// A folder, or `s3://bucket/folder` with the usual `AWS_…` variables for keys, region and endpoint
    #[arg(long, value_name = "DIR|URL")]
    to: String,
    /// The first day, such as 2026-03-01 [default: the first that there is]
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    /// The last day [default: yesterday]
    #[arg(long, value_name = "DAY")]
    until: Option<Day>,
    /// One tenant alone
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// A ClickHouse at another URL than the configuration's, such as the one that a running instance has embedded
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
}

impl LakeCommand {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.what {
            What::Export(command) => command.run(),
        }
    }
}

impl Export {
    fn run(self) -> Result<()> {
        let yesterday = Day::of(now()).before();
        let until = self.until.unwrap_or(yesterday);
        if until > yesterday {
            return Err(Misuse::error(format!(
                "--until {until}: a day is exported once it is over (UTC); yesterday was {yesterday}"
            )));
        }
        let plan = config::load(&self.config.config, &self.overrides)?;
        if matches!(plan.runtime.clickhouse.kind, ClickHouseKind::Embedded { .. }) && self.url.is_none() {
            return Err(Misuse::error(format!(
                "the ClickHouse of this configuration is embedded: name a running instance's with --url (its log says the URL), or start \
                 it alone with `aulaflow clickhouse serve --data-dir {}`",
                plan.runtime.data_dir.join("clickhouse").display()
            )));
        }
        let (connection, tables) = super::clickhouse::open(&plan, self.url)?;
        let lake = Lake::open(&url_of(&self.to)?)?;
        let range = Range { from: self.from, until, tenant: self.tenant.as_ref() };
        let mut all = Vec::new();
        for table in exported(&tables) {
            let days = closed(&connection, &table, range)?;
            all.push((table, days));
        }
        let rows = all.iter().flat_map(|(_, days)| days).map(|day| day.rows).sum();
        let progress = Progress::start("exporting", Some(rows)).of("rows");
        let mut total = Exported::default();
        for (table, days) in all {
            let done = lake.export(&connection, &table, days, &progress)?;
            let Exported { days, files, rows, bytes, unchanged } = done;
            total.days += days;
            total.files += files;
            total.rows += rows;
            total.bytes += bytes;
            total.unchanged += unchanged;
        }
        progress.finish();
        let Exported { days, files, rows, bytes, unchanged } = total;
        println!(
            "{days} days in {files} files were written ({rows} rows, {bytes} bytes); {unchanged} days were there already"
        );
        Ok(())
    }
}

/// A folder's URL, or the URL.
fn url_of(to: &str) -> Result<String> {
    if to.contains("://") {
        return Ok(to.to_owned());
    }
    let folder = std::path::absolute(to).with_context(|| format!("{to:?} is no folder"))?;
    let url = reqwest::Url::from_directory_path(&folder);
    url.map(String::from).map_err(|()| Misuse::error(format!("{} cannot be used as a folder", folder.display())))
}
