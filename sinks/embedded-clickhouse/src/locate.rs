//! Where the library is, and how to get it.

use std::path::{Path, PathBuf};

/// The version that `make libchdb` fetches.
pub const VERSION: &str = "26.7.3-stable.1";

/// The library's file name.
const FILE: &str = "libchdb.so";

/// The environment variable that names the library.
pub const VARIABLE: &str = "AULAFLOW_LIBCHDB";

/// How to get the library; for messages.
pub const HOW_TO_GET_IT: &str =
    "run `make libchdb` (170 MB to download), or name a libchdb.so of 26.7 or newer with AULAFLOW_LIBCHDB";

/// Finds the library: what the settings name, what the environment names, what `make libchdb` fetched, or what is beside
/// the program. A name that is said must be there: no other is taken in its place.
pub fn library(setting: Option<&Path>) -> Result<PathBuf, String> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = |name: &str, rest: &str| std::env::var_os(name).map(|folder| PathBuf::from(folder).join(rest));
    let cache = std::env::var_os("AULAFLOW_CACHE")
        .map(PathBuf::from)
        .or_else(|| home("XDG_CACHE_HOME", "aulaflow"))
        .or_else(|| home("HOME", ".cache/aulaflow"));
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(|folder| folder.join(FILE)));
    find(setting, variable.as_deref(), cache.as_deref(), beside.as_deref())
}

fn find(
    setting: Option<&Path>,
    variable: Option<&Path>,
    cache: Option<&Path>,
    beside: Option<&Path>,
) -> Result<PathBuf, String> {
    for (said, by) in [(setting, "`clickhouse.library`"), (variable, VARIABLE)] {
        if let Some(file) = said {
            let found = if file.is_file() {
                Ok(file.to_owned())
            } else {
                Err(format!("{} ({by}) is not there", file.display()))
            };
            return found;
        }
    }
    let cached = cache.map(|cache| cache.join(format!("libchdb-{VERSION}")).join(FILE));
    let found = [cached.as_deref(), beside].into_iter().flatten().find(|file| file.is_file());
    found.map(Path::to_owned).ok_or_else(|| format!("libchdb is missing: {HOW_TO_GET_IT}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_said_is_taken_and_nothing_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let cached = folder.path().join(format!("libchdb-{VERSION}")).join(FILE);
        let said = folder.path().join("mine.so");
        let cache = Some(folder.path());
        assert!(find(None, None, cache, None).unwrap_err().contains("make libchdb"));
        std::fs::create_dir_all(cached.parent().unwrap()).unwrap();
        std::fs::write(&cached, "").unwrap();
        assert_eq!(find(None, None, cache, Some(&said)).unwrap(), cached);
        assert!(find(Some(&said), None, cache, None).unwrap_err().contains("clickhouse.library"));
        assert!(find(None, Some(&said), cache, None).unwrap_err().contains(VARIABLE));
        std::fs::write(&said, "").unwrap();
        assert_eq!(find(Some(&said), None, cache, None).unwrap(), said);
        assert_eq!(find(None, None, None, Some(&said)).unwrap(), said);
    }
}
