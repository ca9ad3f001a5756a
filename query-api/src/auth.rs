//! Tokens: JWTs signed with HS256 or EdDSA. The key decides the algorithm, never the token.
//!
//! A verified token is remembered until it expires, since checking an EdDSA signature takes longer than the read that
//! it is for. What is remembered is found by the token's whole text, not by a hash of it.

use crate::config::{ApiConfig, ConfigError};
use crate::error::{ApiError, Kind};
use crate::scope::{Caller, Role};
use aulaflow_model::ids::{StudentId, TenantId};
use foldhash::fast::RandomState;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Clocks of issuers and ours may differ by this.
const LEEWAY_S: i64 = 60;
/// Longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 8192;
/// Remembered tokens: at most `SHARDS × SHARD_TOKENS_MAX`, about 4 MB of usual ones.
const SHARDS: usize = 16;
const SHARD_TOKENS_MAX: usize = 512;
/// A shared secret shorter than the hash is weaker than it (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// A key that signs tokens.
#[derive(Debug, Clone)]
pub struct AuthKey {
    /// The token's `kid`.
    pub id: String,
    /// What it is made of.
    pub material: KeyMaterial,
    /// Known to everybody: refused on any listener but loopback.
    pub development: bool,
}

/// What a key is made of, which also says its algorithm.
#[derive(Clone)]
pub enum KeyMaterial {
    /// HS256 with a shared secret of at least 32 bytes.
    Hs256(Vec<u8>),
    /// EdDSA with an Ed25519 key.
    EdDsa {
        /// PEM of the public key (SubjectPublicKeyInfo).
        public_pem: Vec<u8>,
        /// PEM of the private key (PKCS#8), only where tokens are made.
        private_pem: Option<Vec<u8>>,
    },
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hs256(_) => f.write_str("Hs256(..)"),
            Self::EdDsa { .. } => f.write_str("EdDsa(..)"),
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Too short.
    #[error("its secret has {0} bytes, at least {SECRET_BYTES_MIN} are needed")]
    ShortSecret(usize),
    /// Only the public half is known.
    #[error("it has no private key, which making a token needs")]
    NoPrivateKey,
    /// Not a PEM of an Ed25519 key, for one.
    #[error("{0}")]
    Jwt(#[from] jsonwebtoken::errors::Error),
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenClaims {
    /// The tenant; none for `platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The role.
    pub role: Role,
    /// Who: for a student, the student's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Sections that a teacher teaches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<String>,
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Made at, in seconds since 1970.
    pub iat: i64,
    /// Valid until, in seconds since 1970.
    pub exp: i64,
}

/// Signs a token.
pub fn make_token(key: &AuthKey, claims: &TokenClaims) -> Result<String, AuthError> {
    let (algorithm, encoding) = match &key.material {
        KeyMaterial::Hs256(secret) => (Algorithm::HS256, EncodingKey::from_secret(check_secret(secret)?)),
        KeyMaterial::EdDsa { private_pem, .. } => {
            let pem = private_pem.as_deref().ok_or(AuthError::NoPrivateKey)?;
            (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem)?)
        }
    };
    let header = Header { kid: Some(key.id.clone()), ..Header::new(algorithm) };
    Ok(jsonwebtoken::encode(&header, claims, &encoding)?)
}

fn check_secret(secret: &[u8]) -> Result<&[u8], AuthError> {
    if secret.len() < SECRET_BYTES_MIN { Err(AuthError::ShortSecret(secret.len())) } else { Ok(secret) }
}

/// Checks tokens.
pub(crate) struct Verifier {
    keys: Vec<VerifyKey>,
    hasher: RandomState,
    seen: [RwLock<HashMap<Box<str>, Seen, RandomState>>; SHARDS],
}

struct VerifyKey {
    id: String,
    key: DecodingKey,
    validation: Validation,
}

struct Seen {
    caller: Arc<Caller>,
    exp: i64,
}

/// Claims as they come.
#[derive(Deserialize)]
struct RawClaims {
    tenant: Option<String>,
    school_id: Option<String>,
    role: Option<String>,
    sub: Option<String>,
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
}

impl Verifier {
    pub(crate) fn new(config: &ApiConfig) -> Result<Self, ConfigError> {
        let keys = config
            .keys
            .iter()
            .map(|key| VerifyKey::new(key, config).map_err(|source| ConfigError::Key { key: key.id.clone(), source }));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            hasher: RandomState::default(),
            seen: std::array::from_fn(|_| RwLock::default()),
        })
    }

    /// Who the token is of, at an instant in seconds since 1970.
    pub(crate) fn verify(&self, token: &str, now_s: i64) -> Result<Arc<Caller>, ApiError> {
        let Some(shard) = self.seen.get(self.hasher.hash_one(token) as usize % SHARDS) else {
            return Err(refuse("it cannot be checked"));
        };
        if let Some(seen) = shard.read().get(token).filter(|seen| now_s < seen.exp) {
            return Ok(Arc::clone(&seen.caller));
        }
        let (caller, exp) = self.check(token, now_s)?;
        if now_s < exp {
            let mut seen = shard.write();
            if seen.len() >= SHARD_TOKENS_MAX {
                seen.retain(|_, seen| now_s < seen.exp);
            }
            if seen.len() >= SHARD_TOKENS_MAX {
                // All are in use: forgetting them costs each one check, and no order has to be kept.
                seen.clear();
            }
            seen.insert(token.into(), Seen { caller: Arc::clone(&caller), exp });
        }
        Ok(caller)
    }

    fn check(&self, token: &str, now_s: i64) -> Result<(Arc<Caller>, i64), ApiError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| refuse("it is not a JWT with an algorithm that is accepted here (HS256, EdDSA)"))?;
        if header.crit.is_some() {
            return Err(refuse("it has a `crit` header, which is not supported"));
        }
        let key = match &header.kid {
            Some(kid) => self.keys.iter().find(|key| key.id == *kid),
            None => self.keys.first().filter(|_| self.keys.len() == 1),
        };
        let key = key.ok_or_else(|| refuse("no known key has its `kid`"))?;
        let claims = jsonwebtoken::decode::<RawClaims>(token, &key.key, &key.validation)
            .map_err(|error| refuse(&explain(error.kind())))?
            .claims;
        let exp = claims.exp.as_ref().and_then(seconds).ok_or_else(|| refuse("it has no `exp`, or a wrong one"))?;
        if exp.saturating_add(LEEWAY_S) <= now_s {
            return Err(refuse("it has expired"));
        }
        if let Some(nbf) = &claims.nbf {
            let nbf = seconds(nbf).ok_or_else(|| refuse("its `nbf` is wrong"))?;
            if now_s.saturating_add(LEEWAY_S) < nbf {
                return Err(refuse("it is not valid yet (`nbf`)"));
            }
        }
        Ok((Arc::new(claims.caller()?), exp))
    }
}

impl VerifyKey {
    fn new(key: &AuthKey, config: &ApiConfig) -> Result<Self, AuthError> {
        let (algorithm, decoding) = match &key.material {
            KeyMaterial::Hs256(secret) => (Algorithm::HS256, DecodingKey::from_secret(check_secret(secret)?)),
            KeyMaterial::EdDsa { public_pem, .. } => (Algorithm::EdDSA, DecodingKey::from_ed_pem(public_pem)?),
        };
        let mut validation = Validation::new(algorithm);
        // Instants are checked here, against a clock that is an argument.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
        match &config.issuer {
            Some(issuer) => {
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".to_owned());
            }
            None => validation.iss = None,
        }
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        Ok(Self { id: key.id.clone(), key: decoding, validation })
    }
}

impl RawClaims {
    fn caller(self) -> Result<Caller, ApiError> {
        let role = self.role.as_deref().and_then(Role::parse);
        let role = role.ok_or_else(|| refuse("its `role` is missing or unknown"))?;
        let tenant = match (self.tenant, self.school_id) {
            (Some(tenant), Some(school)) if tenant != school => {
                return Err(refuse("its `tenant` and `school_id` differ"));
            }
            (Some(name), _) | (None, Some(name)) => {
                Some(TenantId::new(name).map_err(|_| refuse("its `tenant` is not a tenant's name"))?)
            }
            (None, None) => None,
        };
        match (&tenant, role) {
            (None, Role::Platform) | (Some(_), _) => {}
            (None, _) => return Err(refuse("it has no `tenant`")),
        }
        if role == Role::Student && self.sub.as_deref().is_none_or(|sub| StudentId::check(sub).is_err()) {
            return Err(refuse("a student's token needs the student's id as its `sub`"));
        }
        Ok(Caller::new(role, tenant, self.sub))
    }
}

/// A `NumericDate` (RFC 7519): seconds, whole or not.
fn seconds(number: &serde_json::Number) -> Option<i64> {
    let whole = number.as_i64().or_else(|| number.as_f64().filter(|s| s.abs() < 1e15).map(|s| s.floor() as i64))?;
    (whole >= 0).then_some(whole)
}

fn refuse(why: &str) -> ApiError {
    ApiError::new(Kind::InvalidToken, format!("the token is refused: {why}"))
}

/// What is wrong, in words that tell nothing of keys or of what was expected.
fn explain(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong".into(),
        ErrorKind::InvalidIssuer => "its `iss` is not the one expected".into(),
        ErrorKind::InvalidAudience => "its `aud` is not the one expected".into(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no `{claim}`"),
        ErrorKind::InvalidAlgorithm => "its algorithm is not its key's".into(),
        // Not our enum: whatever else there is or comes to be, the token cannot be read.
        _ => "it cannot be read".into(),
    }
}

#[cfg(test)]
mod tests;
