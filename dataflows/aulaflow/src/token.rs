//! Keys as the HTTP server takes them, and tokens signed with them. Checking tokens is the query API's.

use crate::failure::Misuse;
use crate::tenant_records::now;
use anyhow::Result;
use aulaflow_model::ids::TenantId;
use aulaflow_plan::runtime::{self, Auth};
use aulaflow_query_api::Role;
use aulaflow_query_api::auth::{AuthKey, KeyMaterial, TokenClaims, make_token};
use std::path::Path;
use std::time::Duration;

/// Who a token is for.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// Whose data; none for [`Role::Platform`].
    pub tenant: Option<TenantId>,
    /// What the bearer may do.
    pub role: Role,
    /// Who the bearer is.
    pub subject: String,
}

impl Bearer {
    /// This program, for a tenant.
    pub fn program(tenant: &TenantId, role: Role) -> Self {
        Self { tenant: Some(tenant.clone()), role, subject: "aulaflow".to_owned() }
    }
}

/// The configured keys, with their files read. Secrets kept elsewhere were fetched when the configuration was loaded.
pub fn keys(auth: &Auth) -> Result<Vec<AuthKey>> {
    auth.keys.iter().map(key).collect()
}

fn key(key: &runtime::AuthKey) -> Result<AuthKey> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            Misuse::error(format!("the key {:?} cannot be used: {} cannot be read: {error}", key.id, path.display()))
        })
    };
    let material = match &key.material {
        runtime::KeyMaterial::Hs256(secret) => KeyMaterial::Hs256(secret.clone()),
        runtime::KeyMaterial::Hs256From(place) => {
            return Err(Misuse::error(format!("the secret of the key {:?} was not fetched from {place:?}", key.id)));
        }
        runtime::KeyMaterial::EdDsa { public_key_file, private_key_file } => KeyMaterial::EdDsa {
            public_pem: read(public_key_file)?,
            private_pem: private_key_file.as_deref().map(read).transpose()?,
        },
    };
    Ok(AuthKey { id: key.id.clone(), material, development: key.development })
}

/// Signs with the first key that can sign.
pub fn sign(auth: &Auth, bearer: &Bearer, ttl: Duration) -> Result<String> {
    let keys = keys(auth)?;
    let can_sign = |key: &&AuthKey| match &key.material {
        KeyMaterial::Hs256(_) => true,
        KeyMaterial::EdDsa { private_pem, .. } => private_pem.is_some(),
    };
    let key = keys.iter().find(can_sign).ok_or_else(|| {
        Misuse::error("no configured key can sign: give an [[auth.key]] a secret or a private_key_file")
    })?;
    let iat = now().0.div_euclid(1_000);
    let claims = TokenClaims {
        tenant: bearer.tenant.clone(),
        role: bearer.role,
        sub: Some(bearer.subject.clone()),
        sections: Vec::new(),
        iss: auth.issuer.clone(),
        aud: auth.audience.clone(),
        iat,
        exp: iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
    };
    make_token(key, &claims).map_err(|error| Misuse::error(format!("the key {:?} cannot be used: {error}", key.id)))
}
