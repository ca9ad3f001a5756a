//! The engine in this process: its connections, and the settings of one statement. A request that belongs to no session
//! gets a connection of its own (it takes 0.2 ms), so that nothing of one statement stays for the next.

use crate::exception::{Exception, code};
use crate::library::{Connection, Library, OpenError};
use crate::request::Request;
use parking_lot::Mutex;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A statement that says nothing else is stopped after it.
const STATEMENT_SECONDS: u32 = 600;

/// A result that must be made as a whole, because of its format, has at most so many bytes in the engine's memory.
pub const RESULT_BYTES_MAX: usize = 256 << 20;

/// The engine's own file of settings. It takes half of the memory at most, and reads no other file.
const CONFIG: &str = "<clickhouse>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
</clickhouse>
";

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The library cannot be used.
    #[error("{0}: {1}")]
    Library(PathBuf, #[source] OpenError),
    /// The folder cannot be used.
    #[error("{0}: {1}")]
    Folder(PathBuf, #[source] io::Error),
    /// The engine does not open the folder.
    #[error("the engine does not open {0}: another process has it open, or it is not writable; stderr says more")]
    Refused(PathBuf),
    /// The engine answers nothing sensible.
    #[error("the engine does not answer: {0}")]
    Silent(#[from] Exception),
}

/// The engine, running.
pub struct Engine {
    library: Arc<Library>,
    arguments: Vec<CString>,
    /// Keeps the engine running between requests; asks whether it answers, and stops statements.
    anchor: Mutex<Connection>,
    /// The engine's version.
    pub version: String,
    /// Its time zone.
    pub timezone: String,
}

impl Engine {
    /// Starts the engine on a folder of its own.
    pub fn start(library: &Path, folder: &Path) -> Result<Self, StartError> {
        let in_folder = |error| StartError::Folder(folder.to_owned(), error);
        let path = folder.join("engine");
        std::fs::create_dir_all(&path).map_err(in_folder)?;
        // The engine takes a relative path relative to its own ideas.
        let folder = folder.canonicalize().map_err(in_folder)?;
        let (path, config) = (folder.join("engine"), folder.join("config.xml"));
        std::fs::write(&config, CONFIG).map_err(in_folder)?;
        let arguments = [
            "aulaflow".to_owned(),
            format!("--path={}", path.display()),
            format!("--config-file={}", config.display()),
        ];
        let nul = |error| in_folder(io::Error::new(io::ErrorKind::InvalidInput, error));
        let arguments = arguments.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map_err(nul)?;
        let opened = Library::open(library).map_err(|error| StartError::Library(library.to_owned(), error))?;
        let mut anchor = opened.connect(&arguments).ok_or(StartError::Refused(path))?;
        let version = ask(&mut anchor, "SELECT version()")?;
        let timezone = ask(&mut anchor, "SELECT serverTimezone()")?;
        Ok(Self { library: opened, arguments, anchor: Mutex::new(anchor), version, timezone })
    }

    /// Whether it answers. Hangs where it hangs.
    pub fn health(&self) -> Result<(), Exception> {
        ask(&mut self.anchor.lock(), "SELECT 1").map(drop)
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Connection, Exception> {
        self.library.connect(&self.arguments).ok_or_else(|| Exception::from_engine("the engine opens no connection"))
    }

    /// Stops the statement that was marked so; it ends with `QUERY_WAS_CANCELLED` at its next step.
    pub fn stop(&self, mark: &str) {
        let statement = format!("KILL QUERY WHERE Settings['log_comment'] = {} ASYNC", quote(mark));
        if let Err(error) = run(&mut self.anchor.lock(), &statement) {
            tracing::warn!(%error, "a statement that nobody waits for could not be stopped");
        }
    }
}

fn ask(connection: &mut Connection, statement: &str) -> Result<String, Exception> {
    let outcome = connection.query(statement.as_bytes(), "TabSeparatedRaw", &[])?;
    Ok(String::from_utf8_lossy(outcome.data()).trim_end().to_owned())
}

/// Runs a statement without a result.
pub fn run(connection: &mut Connection, statement: &str) -> Result<(), Exception> {
    connection.query(statement.as_bytes(), "Null", &[]).map(drop)
}

/// What a request changes on its connection, before its statement. `mark` is what [`Engine::stop`] finds it by;
/// a `log_comment` of the request's own takes its place, and then it stops at its end or at `max_execution_time`.
pub fn prepare(connection: &mut Connection, request: &Request, mark: &str, whole: bool) -> Result<(), Exception> {
    if let Some(database) = request.database.as_ref().filter(|database| !database.is_empty()) {
        run(connection, &format!("USE {}", quote_name(database)))?;
    }
    run(connection, &set(&request.settings, mark, whole)?)
}

/// The names of all that [`prepare`] sets, to take it back.
pub fn prepared_names(request: &Request, whole: bool) -> Vec<&str> {
    let own = ["max_execution_time", "log_comment"].into_iter().chain(whole.then_some("max_result_bytes"));
    let mut names: Vec<&str> = request.settings.iter().map(|(name, _)| name.as_str()).chain(own).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `SET a = 'x', …`. Values are texts, which the engine takes for every type; names are names.
fn set(settings: &[(String, String)], mark: &str, whole: bool) -> Result<String, Exception> {
    let given = |name: &str| settings.iter().any(|(given, _)| given == name);
    let mut all = Vec::with_capacity(settings.len() + 3);
    for (name, value) in settings {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(Exception::new(
                code::UNKNOWN_SETTING,
                "UNKNOWN_SETTING",
                format!("Unknown setting {}", quote(name)),
            ));
        }
        all.push(format!("{name} = {}", quote(value)));
    }
    if !given("max_execution_time") {
        all.push(format!("max_execution_time = {STATEMENT_SECONDS}"));
    }
    if !given("log_comment") {
        all.push(format!("log_comment = {}", quote(mark)));
    }
    if whole && !given("max_result_bytes") {
        all.push(format!("max_result_bytes = {RESULT_BYTES_MAX}"));
    }
    Ok(format!("SET {}", all.join(", ")))
}

/// A text in SQL.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A name in SQL.
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn setting(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn a_value_stays_a_value() {
        let text = set(&setting("session_timezone", "x', readonly = 0, y='\\"), "m", false).unwrap();
        assert_eq!(
            text,
            r"SET session_timezone = 'x\', readonly = 0, y=\'\\', max_execution_time = 600, log_comment = 'm'"
        );
        assert_eq!(quote_name("a`b\\"), r"`a\`b\\`");
    }

    #[test]
    fn a_name_is_a_name() {
        for name in ["", "a b", "a=1,b", "1a", "a'", "max threads", "a.b"] {
            assert_eq!(set(&setting(name, "1"), "m", false).unwrap_err().code, 115, "{name}");
        }
    }

    #[test]
    fn limits_of_the_request_win() {
        let text = set(&setting("max_execution_time", "5"), "m", true).unwrap();
        assert_eq!(
            text,
            format!("SET max_execution_time = '5', log_comment = 'm', max_result_bytes = {RESULT_BYTES_MAX}")
        );
        let request = Request { settings: setting("max_execution_time", "5"), ..Request::default() };
        assert_eq!(prepared_names(&request, true), ["log_comment", "max_execution_time", "max_result_bytes"]);
    }
}
