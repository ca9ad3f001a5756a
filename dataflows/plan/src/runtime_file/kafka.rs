//! `[log.kafka]`: how to reach Kafka, and who we are there. Secrets are named here and read by whoever starts the process.

use super::{hours, ms, seconds};
use crate::quantity::{GIB, MIB};
use crate::runtime::{Kafka, KafkaSasl, KafkaTls, SecretSource};
use crate::settings::{Section, list};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads the section. Faults only where it is used.
pub(super) fn kafka(mut s: Section<'_, '_>, used: bool) -> Kafka {
    let bootstrap = s.text("bootstrap", "text", "`host:port`, with commas", "required: brokers to ask first");
    if used && bootstrap.is_none() && !s.has("bootstrap") {
        let at = s.pointer("bootstrap");
        let help = "write `[log.kafka]` with `bootstrap = \"broker-1:9092,broker-2:9092\"`";
        s.reader.fault_with_help(at, "missing key `bootstrap` in `[log.kafka]`", help);
    }
    let kafka = Kafka {
        bootstrap: bootstrap.unwrap_or_default(),
        group: s.text_or(
            "group",
            "aulaflow",
            "the consumer group; it shows lag to everybody's tools, and shares the partitions with `scale_out`",
        ),
        instance: s.text(
            "instance",
            "text",
            "the host's name if it is not said",
            "this process's name in the group: the same after a restart, and no other process's",
        ),
        scale_out: s.flag(
            "scale_out",
            "several processes share the partitions through the group; otherwise this one has all of them",
        ),
        replication: s.count("replication", 3, None, 1..=16, "copies of a topic that `aulaflow topics ensure` makes"),
        min_isr: s.count(
            "min_isr",
            2,
            None,
            1..=16,
            "copies that have a write before it is acknowledged, for such a topic",
        ),
        read_ahead_bytes_max: s.bytes(
            "read_ahead_bytes_max",
            64 * MIB,
            MIB..=16 * GIB,
            "records read ahead of the dataflows, over all partitions",
        ),
        request_timeout: s.duration(
            "request_timeout",
            seconds(10),
            seconds(1)..=seconds(300),
            "how long a question to the brokers may take",
        ),
        stalled_after: s.duration(
            "stalled_after",
            seconds(10),
            seconds(2)..=seconds(600),
            "a source is stalled when the brokers are silent for this long",
        ),
        session_timeout: s.duration(
            "session_timeout",
            seconds(45),
            seconds(6)..=seconds(1_800),
            "the group gives a silent process's partitions to others after this time; a restart within it keeps them",
        ),
        release_timeout: s.duration(
            "release_timeout",
            seconds(30),
            ms(100)..=hours(1),
            "how long a process may take for the last checkpoint of a partition that goes to another",
        ),
        properties: properties(&mut s, used),
        tls: None,
        sasl: None,
    };
    let (has_tls, has_sasl) = (s.has("tls"), s.has("sasl"));
    let tls = tls(s.table("tls"), used);
    let sasl = sasl(s.table("sasl"), used && has_sasl, has_tls);
    s.finish();
    Kafka { tls: has_tls.then_some(tls), sasl: sasl.filter(|_| has_sasl), ..kafka }
}

/// `name=value`, each.
fn properties(s: &mut Section<'_, '_>, used: bool) -> BTreeMap<String, String> {
    let texts = s.texts(
        "properties",
        "list of texts",
        "other librdkafka properties, each as `name=value`; those that would break a guarantee are refused",
    );
    let mut properties = BTreeMap::new();
    for (at, text) in texts {
        match text.split_once('=') {
            Some((name, value)) => drop(properties.insert(name.trim().to_owned(), value.trim().to_owned())),
            None if used => s.reader.fault(at, format!("expected `name=value`, not {text:?}")),
            None => {}
        }
    }
    properties
}

fn tls(mut s: Section<'_, '_>, used: bool) -> KafkaTls {
    let path = |text: Option<String>| text.map(PathBuf::from);
    let ca_file = path(s.text(
        "ca_file",
        "path",
        "",
        "authorities that may vouch for the brokers (PEM); the system's if it is not said",
    ));
    let certificate_file =
        path(s.text("certificate_file", "path", "", "our certificate (PEM), if the brokers ask for one"));
    let key_file = path(s.text("key_file", "path", "", "its private key (PEM)"));
    let key_password = secret(&mut s, ("key_password_env", "key_password_file"), "the private key's password");
    if used && s.has("certificate_file") != s.has("key_file") {
        let missing = if s.has("key_file") { "certificate_file" } else { "key_file" };
        let at = s.pointer(missing);
        s.reader
            .fault(at, format!("missing key `{missing}` in `[log.kafka.tls]`: a certificate and its key go together"));
    }
    s.finish();
    KafkaTls { ca_file, certificate_file, key_file, key_password }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram256,
    Scram512,
    OAuth,
}

const PASSWORD_KEYS: [&str; 3] = ["user", "password_env", "password_file"];
const TOKEN_KEYS: [&str; 6] =
    ["token_url", "client_id", "client_secret_env", "client_secret_file", "scope", "token_ca_file"];

fn sasl(mut s: Section<'_, '_>, used: bool, has_tls: bool) -> Option<KafkaSasl> {
    let mechanism = s.choice(
        "mechanism",
        [
            ("SCRAM-SHA-512", Mechanism::Scram512),
            ("SCRAM-SHA-256", Mechanism::Scram256),
            ("PLAIN", Mechanism::Plain),
            ("OAUTHBEARER", Mechanism::OAuth),
        ],
        "how we say who we are; `PLAIN` needs TLS; `OAUTHBEARER` fetches tokens by client credentials",
    );
    let user = s.text("user", "text", "", "all but OAUTHBEARER, required: the user");
    let password = secret(&mut s, ("password_env", "password_file"), "its password");
    let token_url = s.text("token_url", "text", "", "OAUTHBEARER, required: the token server's endpoint");
    let client_id = s.text("client_id", "text", "", "OAUTHBEARER, required: who asks for tokens");
    let client_secret = secret(&mut s, ("client_secret_env", "client_secret_file"), "the client's secret");
    let scope = s.text("scope", "text", "", "OAUTHBEARER: what tokens are for");
    let ca = "OAUTHBEARER: authorities that may vouch for the token server (PEM); the system's if it is not said";
    let token_ca_file = s.text("token_ca_file", "path", "", ca).map(PathBuf::from);
    let by_token = mechanism == Mechanism::OAuth;
    if used {
        let (wanted, others, name) = if by_token {
            (["token_url", "client_id"].as_slice(), PASSWORD_KEYS.as_slice(), "OAUTHBEARER")
        } else {
            (["user"].as_slice(), TOKEN_KEYS.as_slice(), "this mechanism")
        };
        for key in others.iter().filter(|key| s.has(key)).collect::<Vec<_>>() {
            let at = s.pointer(key);
            s.reader.key_fault(at, format!("`{key}` is not a key of {name}"), None);
        }
        for key in wanted.iter().filter(|key| !s.has(key)).collect::<Vec<_>>() {
            let at = s.pointer(key);
            s.reader.fault(at, format!("missing key `{key}` in `[log.kafka.sasl]`"));
        }
        let (names, there) = if by_token {
            (["client_secret_env", "client_secret_file"], client_secret.is_some())
        } else {
            (["password_env", "password_file"], password.is_some())
        };
        if !there && !names.iter().any(|name| s.has(name)) {
            let at = s.pointer(names[0]);
            s.reader.fault(at, format!("missing secret in `[log.kafka.sasl]`: one of {}", list(names)));
        }
        if mechanism == Mechanism::Plain && !has_tls {
            let at = s.pointer("mechanism");
            let help = "add `[log.kafka.tls]`, or use a SCRAM mechanism";
            s.reader.fault_with_help(at, "PLAIN without TLS sends the password as it is", help);
        }
    }
    s.finish();
    match mechanism {
        Mechanism::OAuth => Some(KafkaSasl::OAuth {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: client_secret?,
            scope,
            ca_file: token_ca_file,
        }),
        Mechanism::Plain => Some(KafkaSasl::Plain { user: user?, password: password? }),
        Mechanism::Scram256 => Some(KafkaSasl::ScramSha256 { user: user?, password: password? }),
        Mechanism::Scram512 => Some(KafkaSasl::ScramSha512 { user: user?, password: password? }),
    }
}

/// A secret that is kept elsewhere, in one of two places.
pub(super) fn secret(
    s: &mut Section<'_, '_>,
    (env, file): (&'static str, &'static str),
    what: &'static str,
) -> Option<SecretSource> {
    let by_env = s.text(env, "text", "the name of an environment variable", what);
    let by_file = s.text(file, "path", "", what);
    if s.has(env) && s.has(file) {
        let at = s.pointer(file);
        s.reader.key_fault(at, format!("only one of {} can be given", list([env, file])), None);
    }
    by_env.map(SecretSource::Env).or_else(|| by_file.map(|file| SecretSource::File(file.into())))
}
