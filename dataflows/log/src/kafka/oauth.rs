//! Tokens for OAUTHBEARER, by OAuth 2 client credentials (RFC 6749, section 4.4). librdkafka asks for one before its old
//! one expires; it has no HTTP client of its own here.

use super::config::{OAuth, Secret};
use rdkafka::client::OAuthToken;
use std::time::{Duration, SystemTime};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// How long the token server may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What a token is good for where the server does not say.
const LIFE: u64 = 300;
/// A token is some KiB; what is larger is none.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Asks a token server.
pub(super) struct TokenSource {
    agent: ureq::Agent,
    settings: OAuth,
}

/// Why there is no token. Never holds a secret.
#[derive(Debug, thiserror::Error)]
#[error("no token from {url}: {why}")]
pub(super) struct NoToken {
    url: String,
    why: String,
}

impl TokenSource {
    pub fn new(settings: OAuth) -> Result<Self, NoToken> {
        let no = |why: String| NoToken { url: settings.token_url.clone(), why };
        let roots = match &settings.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(file) => {
                let pem = std::fs::read(file).map_err(|e| no(format!("{}: {e}", file.display())))?;
                let certificate = Certificate::from_pem(&pem).map_err(|e| no(format!("{}: {e}", file.display())))?;
                RootCerts::from(vec![certificate])
            }
        };
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_MAX))
            // An answer with a status of failure says why.
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Ok(Self { agent: config.new_agent(), settings })
    }

    /// A new token.
    pub fn fetch(&self) -> Result<OAuthToken, NoToken> {
        let OAuth { token_url, client_id, client_secret: Secret(secret), scope, .. } = &self.settings;
        let no = |why: String| NoToken { url: token_url.clone(), why };
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id.as_str()),
            ("client_secret", secret.as_str()),
        ];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let mut answer = self.agent.post(token_url).send_form(form).map_err(|e| no(e.to_string()))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|e| no(e.to_string()))?;
        let body: serde_json::Value = serde_json::from_str(&body).map_err(|_| no(format!("{status}, and no JSON")))?;
        let Some(token) = body["access_token"].as_str().filter(|_| status.is_success()) else {
            let why = body["error"].as_str().unwrap_or("no access_token");
            return Err(no(format!("{status}, {why}")));
        };
        let seconds = body["expires_in"].as_u64().unwrap_or(LIFE);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let lifetime_ms = (now + Duration::from_secs(seconds)).as_millis() as i64;
        Ok(OAuthToken { token: token.to_owned(), principal_name: client_id.clone(), lifetime_ms })
    }
}
