//! The password of an embedded ClickHouse that is given none: made at the first start and kept in its folder, readable by
//! its owner. Without one every process of the machine, and every web page that its browser shows, could make the engine
//! read and write files.

use crate::random;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The password in the engine's folder, and the file that it is in.
pub fn password_in(data_dir: &Path) -> io::Result<(String, PathBuf)> {
    let file = data_dir.join("password");
    match std::fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => return Ok((text.trim().to_owned(), file)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::fs::create_dir_all(data_dir)?;
    let password = random::password();
    // Written beside it and renamed: it is there as a whole, or not.
    let new = data_dir.join("password.new");
    let mut writer = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(writer, "{password}")?;
    writer.sync_all()?;
    std::fs::rename(&new, &file)?;
    Ok((password, file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (first, file) = password_in(folder.path()).unwrap();
        assert_eq!(password_in(folder.path()).unwrap().0, first);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "mine\n").unwrap();
        assert_eq!(password_in(folder.path()).unwrap().0, "mine");
    }
}
