//! `aulaflow clickhouse`: the embedded ClickHouse by itself, and the tables of any.

mod grants;
mod tables;

pub(super) use tables::open;

use crate::failure::Misuse;
use crate::stdio;
use anyhow::{Context, Result};
use aulaflow_embedded_clickhouse::{Account, Options, PASSWORD_VARIABLE, locate, password_in, serve};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Works with ClickHouse
#[derive(Debug, clap::Args)]
pub struct ClickHouseCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Serves the embedded ClickHouse over its HTTP interface, and prints the URL; `aulaflow run` starts this for itself
    Serve(Serve),
    /// Makes and changes the tables; repeating it does nothing. Those of the embedded ClickHouse make themselves
    Migrate(tables::Migrate),
    /// Compares the tables with what is written; changes nothing; exit code 1 if something is wrong
    Check(tables::Check),
    /// Prints the statements that let users of a ClickHouse server see one tenant and nothing else; repeating them changes nothing
    Grants(grants::Grants),
}

/// What `serve` takes. The password comes from `AULAFLOW_CLICKHOUSE_PASSWORD`, or is made and kept in the folder.
#[derive(Debug, clap::Args)]
struct Serve {
    /// Where it keeps everything; one process at a time
    #[arg(long, value_name = "DIR", default_value = "data/clickhouse")]
    data_dir: PathBuf,
    /// Address and port, on loopback; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// libchdb.so [default: $AULAFLOW_LIBCHDB, what `make libchdb` fetched, or the one beside this program]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Its only user
    #[arg(long, value_name = "NAME", default_value = "aula")]
    user: String,
    /// Stop at the end of the standard input, which is how a parent that is gone is noticed
    #[arg(long)]
    stop_with_stdin: bool,
}

impl ClickHouseCommand {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.what {
            What::Serve(command) => command.run(),
            What::Migrate(command) => command.run(),
            What::Check(command) => command.run(),
            What::Grants(command) => command.run(),
        }
    }
}

impl Serve {
    fn run(self) -> Result<()> {
        stdio::outlive_readers();
        if !self.listen.ip().is_loopback() {
            return Err(Misuse::error(format!(
                "--listen {} is not a loopback address: its user may read and write files of this machine; run a \
                 ClickHouse server for others",
                self.listen
            )));
        }
        let library = locate::library(self.library.as_deref()).map_err(Misuse::error)?;
        let password = match std::env::var(PASSWORD_VARIABLE) {
            Ok(password) if !password.is_empty() => password,
            Ok(_) | Err(_) => {
                let made = password_in(&self.data_dir);
                let (password, file) =
                    made.with_context(|| format!("no password can be kept in {}", self.data_dir.display()))?;
                eprintln!("user {}, password in {}", self.user, file.display());
                password
            }
        };
        let account = Account { user: self.user, password };
        let options = Options {
            data_dir: self.data_dir,
            listen: self.listen,
            library,
            account,
            stdin_is_lifeline: self.stop_with_stdin,
        };
        match serve(options)? {}
    }
}
