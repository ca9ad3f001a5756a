//! Where ClickHouse is for this instance: a server of its own, or one that is embedded here as a child process. What is
//! written to it is not known here.

use crate::config::read_secret;
use crate::failure::Misuse;
use crate::node::Roles;
use anyhow::{Context, Result};
use aulaflow_embedded_clickhouse::{Launch, Supervisor, locate, password_in};
use aulaflow_plan::runtime::{ClickHouse as Settings, ClickHouseKind, Runtime};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The folder of the embedded one, in the data directory.
const FOLDER: &str = "clickhouse";

/// Who asks ClickHouse, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouseEndpoint {
    /// Its HTTP interface. An embedded one may not answer yet, or not at the moment; it comes back at the same place.
    pub url: String,
    /// The database of our tables. It may not be there yet.
    pub database: String,
    /// Who we are.
    pub user: String,
    /// Our password; empty: none.
    pub password: String,
}

impl std::fmt::Debug for ClickHouseEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, database, user, password: _ } = self;
        f.debug_struct("ClickHouseEndpoint").field("url", url).field("database", database).field("user", user).finish()
    }
}

/// ClickHouse, as the settings want it.
#[derive(Default)]
pub struct ClickHouse {
    /// `None`: there is none, and analytics are off.
    pub endpoint: Option<ClickHouseEndpoint>,
    /// Where the embedded one's password is; `None`: the settings know it.
    pub password_file: Option<PathBuf>,
    /// Why there is none although the settings want one, and what to do.
    pub missing: Option<String>,
    embedded: Option<Supervisor>,
}

impl ClickHouse {
    /// Finds it, or starts it. Without the library of an embedded one everything else works.
    pub fn start(runtime: &Runtime, roles: Roles) -> Result<Self> {
        let settings = &runtime.clickhouse;
        match &settings.kind {
            ClickHouseKind::Off => Ok(Self::default()),
            ClickHouseKind::Server { url } => {
                let password = password(settings)?.unwrap_or_default();
                let endpoint = Some(endpoint(settings, url.clone(), password));
                Ok(Self { endpoint, ..Self::default() })
            }
            // Its tables are those of the process that maintains the views.
            ClickHouseKind::Embedded { .. } if !roles.dataflow => Ok(Self::default()),
            ClickHouseKind::Embedded { library, listen } => {
                let library = match locate::library(library.as_deref()) {
                    Ok(library) => library,
                    Err(reason) => {
                        tracing::warn!("analytics are off: {reason}");
                        return Ok(Self { missing: Some(reason), ..Self::default() });
                    }
                };
                Self::embed(settings, &runtime.data_dir.join(FOLDER), &library, *listen)
            }
        }
    }

    fn embed(settings: &Settings, folder: &Path, library: &Path, listen: SocketAddr) -> Result<Self> {
        let (password, password_file) = match password(settings)? {
            Some(password) => (password, None),
            None => {
                let made = password_in(folder);
                let (password, file) =
                    made.with_context(|| format!("no password can be kept in {}", folder.display()))?;
                (password, Some(file))
            }
        };
        let launch = Launch {
            program: std::env::current_exe().context("the path of this program is not known")?,
            arguments: vec![
                "clickhouse".into(),
                "serve".into(),
                "--stop-with-stdin".into(),
                "--data-dir".into(),
                folder.into(),
                "--library".into(),
                library.into(),
                "--user".into(),
                settings.user.clone().into(),
            ],
            listen,
            password: password.clone(),
            silence_max: None,
        };
        let supervisor = Supervisor::start(launch).context("the embedded ClickHouse cannot be started")?;
        let endpoint = endpoint(settings, supervisor.url.clone(), password);
        let password_is_in = password_file.as_ref().map(|file| file.display().to_string());
        tracing::info!(url = endpoint.url, user = endpoint.user, password_is_in, "ClickHouse is embedded");
        Ok(Self { endpoint: Some(endpoint), password_file, missing: None, embedded: Some(supervisor) })
    }

    /// Stops the embedded one.
    pub fn stop(self) {
        if let Some(supervisor) = self.embedded {
            supervisor.stop();
        }
    }
}

/// Where a server of its own is, for commands; `url`: somewhere else than the settings say.
pub fn server_endpoint(runtime: &Runtime, url: Option<String>) -> Result<ClickHouseEndpoint> {
    let settings = &runtime.clickhouse;
    let (url, password) = match (&settings.kind, url) {
        // The embedded one's password is in its folder.
        (ClickHouseKind::Embedded { .. }, Some(url)) => {
            let folder = runtime.data_dir.join(FOLDER);
            let kept = || folder.is_dir().then(|| password_in(&folder).ok().map(|(password, _)| password)).flatten();
            (url, password(settings)?.or_else(kept))
        }
        (ClickHouseKind::Off | ClickHouseKind::Server { .. }, Some(url)) => (url, password(settings)?),
        (ClickHouseKind::Server { url }, None) => (url.clone(), password(settings)?),
        (ClickHouseKind::Off, None) => {
            return Err(Misuse::error(
                "there is no ClickHouse server in the configuration: write `kind = \"server\"` and `url` in `[clickhouse]`"
                    .to_owned(),
            ));
        }
        (ClickHouseKind::Embedded { .. }, None) => {
            return Err(Misuse::error(
                "the embedded ClickHouse makes its tables by itself when an instance starts; --url URL names a running one"
                    .to_owned(),
            ));
        }
    };
    Ok(endpoint(settings, url, password.unwrap_or_default()))
}

fn endpoint(settings: &Settings, url: String, password: String) -> ClickHouseEndpoint {
    ClickHouseEndpoint { url, database: settings.database.clone(), user: settings.user.clone(), password }
}

fn password(settings: &Settings) -> Result<Option<String>> {
    let Some(place) = &settings.password else { return Ok(None) };
    let bytes =
        read_secret(place).map_err(|why| Misuse::error(format!("ClickHouse's password cannot be read: {why}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Misuse::error("ClickHouse's password is not UTF-8".to_owned()))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aulaflow_plan::runtime::SecretSource;

    fn settings(kind: ClickHouseKind) -> Settings {
        Settings { kind, database: "d".to_owned(), user: "u".to_owned(), password: None }
    }

    #[test]
    fn a_password_is_read_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let kind = ClickHouseKind::Server { url: "http://c:8123".to_owned() };
        let with = Settings { password: Some(SecretSource::File(file)), ..settings(kind.clone()) };
        let read = password(&with).unwrap().unwrap();
        assert_eq!(read, "s3cret");
        let shown = format!("{:?}", endpoint(&with, "http://c:8123".to_owned(), read));
        assert!(shown.contains("http://c:8123") && !shown.contains("s3cret"), "{shown}");
        let missing = SecretSource::File(folder.path().join("none"));
        let error = password(&Settings { password: Some(missing), ..settings(kind) }).unwrap_err();
        assert_eq!(crate::failure::exit_code(&error), 2);
    }
}
