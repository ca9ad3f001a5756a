//! Tokens: good ones, and every way in which one can be wrong.
#![allow(clippy::unwrap_used)]

use super::*;
use jsonwebtoken::encode;
use serde_json::{Value, json};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const PUBLIC: &[u8] = include_bytes!("../../tests/api/ed25519.public.pem");
const PRIVATE: &[u8] = include_bytes!("../../tests/api/ed25519.private.pem");
const NOW: i64 = 1_772_463_845;

fn hs(id: &str) -> AuthKey {
    AuthKey { id: id.into(), material: KeyMaterial::Hs256(SECRET.to_vec()), development: false }
}

fn ed(id: &str) -> AuthKey {
    let material = KeyMaterial::EdDsa { public_pem: PUBLIC.to_vec(), private_pem: Some(PRIVATE.to_vec()) };
    AuthKey { id: id.into(), material, development: false }
}

fn config(keys: Vec<AuthKey>) -> ApiConfig {
    ApiConfig::new(([127, 0, 0, 1], 0).into(), keys)
}

fn verifier(keys: Vec<AuthKey>) -> Verifier {
    Verifier::new(&config(keys)).unwrap()
}

fn claims() -> TokenClaims {
    TokenClaims {
        tenant: Some(TenantId::new("school_1").unwrap()),
        role: Role::Teacher,
        sub: Some("t-1".into()),
        sections: vec!["1A".into()],
        iss: None,
        aud: None,
        iat: NOW,
        exp: NOW + 3600,
    }
}

/// A token of any claims, signed with the shared secret.
fn raw(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn detail(outcome: Result<Arc<Caller>, ApiError>) -> String {
    let error = outcome.map(|caller| panic!("accepted as {caller:?}")).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidToken);
    error.detail
}

#[test]
fn both_algorithms_make_and_check_tokens() {
    let verifier = verifier(vec![hs("a"), ed("b")]);
    for key in [hs("a"), ed("b")] {
        let caller = verifier.verify(&make_token(&key, &claims()).unwrap(), NOW).unwrap();
        assert_eq!(caller.role(), Role::Teacher);
        assert_eq!(caller.tenant().map(TenantId::as_str), Some("school_1"));
    }
}

#[test]
fn the_key_decides_the_algorithm() {
    let verifier = verifier(vec![ed("b")]);
    // The classic: the public key's text as a shared secret.
    let header = Header { kid: Some("b".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(PUBLIC)).unwrap();
    assert!(detail(verifier.verify(&forged, NOW)).contains("algorithm is not its key's"));
    // `alg: none`, with and without a signature.
    let good = make_token(&ed("b"), &claims()).unwrap();
    let payload = good.split('.').nth(1).unwrap();
    for signature in ["", "AAAA"] {
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.{signature}");
        assert!(detail(verifier.verify(&none, NOW)).contains("algorithm that is accepted"));
    }
    // Another member of the family.
    let header = Header { kid: Some("b".into()), ..Header::new(Algorithm::HS512) };
    let other = encode(&header, &claims(), &EncodingKey::from_secret(SECRET)).unwrap();
    assert!(detail(verifier.verify(&other, NOW)).contains("algorithm is not its key's"));
}

#[test]
fn tampered_tokens_are_refused() {
    let verifier = verifier(vec![hs("a")]);
    let good = make_token(&hs("a"), &claims()).unwrap();
    let admin = make_token(&hs("a"), &TokenClaims { role: Role::Admin, ..claims() }).unwrap();
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good_parts, admin_parts) = (parts(&good), parts(&admin));
    let mixed = format!("{}.{}.{}", good_parts[0], admin_parts[1], good_parts[2]);
    assert!(detail(verifier.verify(&mixed, NOW)).contains("signature is wrong"));
    // Also where the untampered one is remembered.
    verifier.verify(&good, NOW).unwrap();
    assert!(detail(verifier.verify(&mixed, NOW)).contains("signature is wrong"));
    for broken in ["", "x", "a.b", "a.b.c", "a.b.c.d", &good[..good.len() - 2], &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        detail(verifier.verify(broken, NOW));
    }
}

#[test]
fn a_remembered_token_is_not_accepted_past_its_end() {
    let verifier = verifier(vec![hs("a")]);
    let token = make_token(&hs("a"), &claims()).unwrap();
    let exp = NOW + 3600;
    for now in [NOW, exp - 1, exp, exp + LEEWAY_S - 1] {
        verifier.verify(&token, now).unwrap();
    }
    assert!(detail(verifier.verify(&token, exp + LEEWAY_S)).contains("expired"));
    assert!(detail(verifier.verify(&token, i64::MAX)).contains("expired"));
}

#[test]
fn no_more_tokens_are_remembered_than_allowed() {
    let verifier = verifier(vec![hs("a")]);
    for i in 0..(SHARDS * SHARD_TOKENS_MAX + 5000) as i64 {
        verifier.verify(&make_token(&hs("a"), &TokenClaims { iat: i, ..claims() }).unwrap(), NOW).unwrap();
    }
    assert!(verifier.seen.iter().all(|shard| shard.read().len() <= SHARD_TOKENS_MAX));
}

#[test]
fn keys_are_found_by_kid() {
    let two = verifier(vec![hs("a"), ed("b")]);
    assert!(detail(two.verify(&make_token(&hs("c"), &claims()).unwrap(), NOW)).contains("kid"));
    let exp = json!({"tenant": "t", "role": "admin", "exp": NOW + 10});
    assert!(detail(two.verify(&raw(&exp), NOW)).contains("kid"), "no kid and two keys");
    verifier(vec![hs("a")]).verify(&raw(&exp), NOW).unwrap();
}

#[test]
fn claims_are_checked() {
    let verifier = verifier(vec![hs("a")]);
    let good = json!({"tenant": "t", "role": "admin", "exp": NOW + 10});
    verifier.verify(&raw(&good), NOW).unwrap();
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        raw(&claims)
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        raw(&claims)
    };
    for (token, says) in [
        (without("exp"), "no `exp`"),
        (with("exp", json!("soon")), "cannot be read"),
        (with("exp", json!(-1)), "no `exp`"),
        (with("exp", json!(NOW - 60)), "expired"),
        (with("nbf", json!(NOW + 61)), "not valid yet"),
        (without("tenant"), "no `tenant`"),
        (with("tenant", json!("a/b")), "not a tenant's name"),
        (with("school_id", json!("other")), "differ"),
        (without("role"), "`role`"),
        (with("role", json!("root")), "`role`"),
        (with("role", json!("student")), "`sub`"),
    ] {
        let detail = detail(verifier.verify(&token, NOW));
        assert!(detail.contains(says), "{detail:?} does not say {says:?}");
    }
    for token in [
        with("exp", json!(NOW - 59)),
        with("exp", json!(NOW as f64 + 10.5)),
        with("nbf", json!(NOW + 60)),
        with("school_id", json!("t")),
        raw(&json!({"school_id": "t", "role": "admin", "exp": NOW + 10})),
        raw(&json!({"role": "platform", "exp": NOW + 10})),
    ] {
        verifier.verify(&token, NOW).unwrap();
    }
}

#[test]
fn issuer_and_audience_are_checked_where_configured() {
    let strict = ApiConfig { issuer: Some("us".into()), audience: Some("aulaflow".into()), ..config(vec![hs("a")]) };
    let strict = Verifier::new(&strict).unwrap();
    let token = |iss: Option<&str>, aud: Value| {
        let mut claims = json!({"tenant": "t", "role": "admin", "exp": NOW + 10, "aud": aud});
        if let Some(iss) = iss {
            claims["iss"] = json!(iss);
        }
        raw(&claims)
    };
    strict.verify(&token(Some("us"), json!("aulaflow")), NOW).unwrap();
    strict.verify(&token(Some("us"), json!(["other", "aulaflow"])), NOW).unwrap();
    assert!(detail(strict.verify(&token(Some("them"), json!("aulaflow")), NOW)).contains("`iss`"));
    assert!(detail(strict.verify(&token(None, json!("aulaflow")), NOW)).contains("`iss`"));
    assert!(detail(strict.verify(&token(Some("us"), json!("other")), NOW)).contains("`aud`"));
    let without = raw(&json!({"tenant": "t", "role": "admin", "exp": NOW + 10, "iss": "us"}));
    assert!(detail(strict.verify(&without, NOW)).contains("`aud`"));
    // Where no audience is configured, any is accepted.
    verifier(vec![hs("a")]).verify(&token(None, json!("whatever")), NOW).unwrap();
}

#[test]
fn unsafe_configurations_are_refused() {
    let short = AuthKey { material: KeyMaterial::Hs256(vec![1; 31]), ..hs("a") };
    assert!(matches!(make_token(&short, &claims()), Err(AuthError::ShortSecret(31))));
    assert!(matches!(Verifier::new(&config(vec![short])), Err(ConfigError::Key { .. })));
    assert!(matches!(config(vec![]).check(), Err(ConfigError::NoKey)));
    assert!(matches!(config(vec![hs("a"), ed("a")]).check(), Err(ConfigError::DuplicateKey(_))));
    let development = AuthKey { development: true, ..hs("dev") };
    assert!(config(vec![development.clone()]).check().is_ok());
    let public = ApiConfig { listen: ([0, 0, 0, 0], 8080).into(), ..config(vec![development]) };
    assert!(matches!(public.check(), Err(ConfigError::DevelopmentKey { .. })));
    let public_only = KeyMaterial::EdDsa { public_pem: PUBLIC.to_vec(), private_pem: None };
    assert!(matches!(
        make_token(&AuthKey { material: public_only, ..ed("b") }, &claims()),
        Err(AuthError::NoPrivateKey)
    ));
}
