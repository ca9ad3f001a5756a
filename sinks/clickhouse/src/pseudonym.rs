//! Pseudonyms: what stands for a student outside. `HMAC-SHA256(tenant's key, student)`, of which sixteen bytes are kept as a
//! UUID. Who has the key can tell a student's pseudonym; without it nobody can, not even by trying all ids.
//!
//! The keys are files, one per tenant: 32 random bytes as hex digits, readable by their owner only. One is made when its tenant is
//! first seen. All processes that record a tenant must use the same file.

use crate::Uuid;
use aulaflow_model::ids::{StudentId, TenantId};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;
const SUFFIX: &str = ".key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the pseudonym key {path} cannot be used: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the pseudonym key {0} is not 64 hexadecimal digits: restore it from a copy, or remove it to begin with another one"
    )]
    Damaged(PathBuf),
}

/// The tenants' keys. Shared by all shares of a process.
pub struct PseudonymKeys {
    dir: PathBuf,
    keys: RwLock<FxHashMap<TenantId, Hmac<Sha256>>>,
}

impl PseudonymKeys {
    /// Reads the keys of a folder, which is made where it is missing.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::Io { path: dir.to_owned(), error };
        fs::create_dir_all(dir).map_err(failed)?;
        let mut keys = FxHashMap::default();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let tenant = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(tenant) = tenant.and_then(|tenant| TenantId::new(tenant).ok()) {
                let key = read(&dir.join(&name))?;
                keys.insert(tenant, key);
            }
        }
        Ok(Self { dir: dir.to_owned(), keys: RwLock::new(keys) })
    }

    /// A student's pseudonym; the tenant's key is made where there is none.
    pub fn pseudonym(&self, tenant: &TenantId, student: &StudentId) -> Result<Uuid, KeyError> {
        match self.known(tenant, student) {
            Some(pseudonym) => Ok(pseudonym),
            None => {
                self.make(tenant)?;
                let made = self.known(tenant, student);
                made.ok_or_else(|| KeyError::Damaged(self.path(tenant)))
            }
        }
    }

    /// A student's pseudonym, if the tenant has a key. Another process may have made it since.
    pub fn known(&self, tenant: &TenantId, student: &StudentId) -> Option<Uuid> {
        let here = self.keys.read().get(tenant).cloned();
        let mut mac = here.or_else(|| self.read_anew(tenant))?;
        mac.update(student.as_str().as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(digest.get(..16)?);
        Some(Uuid::custom(bytes))
    }

    /// A hash that is another one when any tenant's key is.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let keys = self.keys.read();
        let mut each: Vec<_> = keys
            .iter()
            .map(|(tenant, key)| {
                let mut mac = key.clone();
                mac.update(b"\0fingerprint");
                (tenant.clone(), mac.finalize().into_bytes())
            })
            .collect();
        each.sort();
        let mut hash = Sha256::new();
        for (tenant, digest) in each {
            hash.update(tenant.as_str().as_bytes());
            hash.update([0]);
            hash.update(digest);
        }
        hash.finalize().into()
    }

    fn read_anew(&self, tenant: &TenantId) -> Option<Hmac<Sha256>> {
        match read(&self.path(tenant)) {
            Ok(key) => {
                self.keys.write().insert(tenant.clone(), key.clone());
                Some(key)
            }
            Err(KeyError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%tenant, %error, "the tenant's pseudonym key cannot be read");
                None
            }
        }
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        self.dir.join(format!("{tenant}{SUFFIX}"))
    }

    /// Makes a key. Where another process made one at the same time, that one is taken.
    fn make(&self, tenant: &TenantId) -> Result<(), KeyError> {
        let path = self.path(tenant);
        let failed = |error| KeyError::Io { path: path.clone(), error };
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Written whole under a name of its own first: nobody ever reads half a key.
        let draft = self.dir.join(format!(".{}", Uuid::random().map_err(failed)?));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
        let linked = written.and_then(|()| fs::hard_link(&draft, &path));
        fs::remove_file(&draft).map_err(failed)?;
        match linked {
            Ok(()) => {
                tracing::info!(%tenant, path = %path.display(), "made the tenant's pseudonym key: keep a copy of it")
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        let key = read(&path)?;
        self.keys.write().insert(tenant.clone(), key);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Hmac<Sha256>, KeyError> {
    let text = fs::read_to_string(path).map_err(|error| KeyError::Io { path: path.to_owned(), error })?;
    let damaged = || KeyError::Damaged(path.to_owned());
    let digits = text.trim_end();
    if digits.len() != 2 * KEY_BYTES || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(damaged());
    }
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..KEY_BYTES).map(|n| byte(2 * n)).collect();
    Hmac::new_from_slice(&bytes.ok_or_else(damaged)?).map_err(|_| damaged())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn pseudonyms_follow_from_key_and_student() {
        let dir = tempfile::tempdir().unwrap();
        let (t, u) = (TenantId::new("t").unwrap(), TenantId::new("u").unwrap());
        let student = StudentId::new("Ñandú").unwrap();
        // Computed with Python's hmac module.
        fs::write(dir.path().join("t.key"), format!("{}\n", "0b".repeat(32))).unwrap();
        let keys = PseudonymKeys::open(dir.path()).unwrap();
        let expected = "b84d1b66-eabe-8dcd-9ec4-840ec728dd51";
        assert_eq!(keys.known(&t, &student).unwrap().to_string(), expected);
        assert_eq!(keys.known(&u, &student), None);
        let before = keys.fingerprint();
        let reader = PseudonymKeys::open(dir.path()).unwrap();
        let made = keys.pseudonym(&u, &student).unwrap();
        assert_eq!(reader.known(&u, &student), Some(made), "a key that another process has made meanwhile");
        assert_ne!(made.to_string(), expected);
        assert_ne!(keys.fingerprint(), before);
        let mode = fs::metadata(dir.path().join("u.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = PseudonymKeys::open(dir.path()).unwrap();
        assert_eq!(again.known(&u, &student), Some(made));
        assert_eq!(again.fingerprint(), keys.fingerprint());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no drafts are left");
        fs::write(dir.path().join("t.key"), "0b0b").unwrap();
        assert!(matches!(PseudonymKeys::open(dir.path()), Err(KeyError::Damaged(_))));
    }
}
