//! TLS, passwords and tokens.

use crate::support::*;
use aulaflow_log::kafka::{KafkaConfig, KafkaLog, Membership, OAuth, Ownership, Sasl, Secret, Security, Tls, topics};
use aulaflow_log::{Log, SourceState};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

const PASSWORD: &str = "aulaflow-for-tests";

#[test]
fn tls_with_scram_and_tokens() {
    if broker().is_none() {
        return;
    }
    let broker = Broker::start(&["--secure"]);
    let topic = fresh("secure");
    let address = format!("127.0.0.1:{}", broker.port + 2);
    let tls = Tls { ca_file: Some(broker.path("tls/ca.pem")), ..Tls::default() };
    let with = |sasl: Option<Sasl>, tls: &Tls| KafkaConfig {
        security: Security { tls: Some(tls.clone()), sasl },
        ..config(&address, &[&topic])
    };
    let scram = |password: &str| Some(Sasl::ScramSha512("aulaflow".to_owned(), Secret(password.to_owned())));

    let good = with(scram(PASSWORD), &tls);
    topics::ensure(&good, &[spec(&topic, 1)]).unwrap();
    works(&good, &topic);
    works(&with(Some(Sasl::ScramSha256("aulaflow".to_owned(), Secret(PASSWORD.to_owned()))), &tls), &topic);
    let token = token_server();
    let oauth = OAuth {
        token_url: format!("http://{token}/token"),
        client_id: "aulaflow".to_owned(),
        client_secret: Secret("s3cret".to_owned()),
        scope: Some("kafka".to_owned()),
        ca_file: None,
    };
    let by_token = with(Some(Sasl::OAuth(oauth.clone())), &tls);
    works(&by_token, &topic);
    let findings = topics::check(&by_token, &[spec(&topic, 1)]).unwrap();
    assert!(findings.iter().any(|found| found.what.contains("cannot be looked at")), "{findings:?}");
    assert!(topics::ensure(&by_token, &[spec(&topic, 1)]).is_err());

    fails(&with(scram("not-the-password"), &tls), &topic, &["who we say we are", "password"]);
    let wrong = OAuth { client_secret: Secret("wrong".to_owned()), ..oauth };
    fails(&with(Some(Sasl::OAuth(wrong)), &tls), &topic, &["token", "invalid_client"]);
    // The broker's certificate is by an authority that the system does not know.
    fails(&with(scram(PASSWORD), &Tls::default()), &topic, &["TLS", "certificate"]);
    let error = topics::check(&with(scram("not-the-password"), &tls), &[spec(&topic, 1)]).unwrap_err().to_string();
    assert!(error.contains("password") && !error.contains("not-the-password"), "{error}");
}

fn works(config: &KafkaConfig, topic: &str) {
    let log = Arc::new(KafkaLog::open(config.clone()).unwrap());
    let place = at(topic, 0);
    let appended = log.append_wait(&place, numbered(0, 10), WAIT).unwrap();
    let from = appended.base_offset;
    assert_eq!(read_to(log.as_ref(), &place, from, from + 10).len(), 10);
    assert_eq!(
        log.read_aside(&place, from, 1).unwrap().records.len(),
        1.max(log.read_aside(&place, from, 1).unwrap().records.len())
    );
    assert_eq!(log.source_state(&place), SourceState::Live);
    let member = Membership::join(&log, topic).unwrap();
    assert_eq!(until("a partition", || member.next(Duration::from_millis(50))), Ownership::Gained(vec![0]));
    assert!(!format!("{config:?}").contains(PASSWORD));
}

fn fails(config: &KafkaConfig, topic: &str, words: &[&str]) {
    let log = KafkaLog::open(config.clone()).unwrap();
    log.read(&at(topic, 0), 0, 1).unwrap();
    let why = until(&format!("a state with {words:?}"), || match log.source_state(&at(topic, 0)) {
        SourceState::Stalled(why) => Some(why).filter(|why| words.iter().all(|word| why.contains(word))),
        SourceState::Connecting => None,
        SourceState::Live => panic!("it must not be let in"),
    });
    assert!(!why.contains("not-the-password") && !why.contains("s3cret"), "{why}");
}

/// Gives out unsigned tokens, which the test broker takes, to whoever knows the secret.
fn token_server() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut buffer = [0; 4096];
            while !(request.contains("client_secret=") && request.contains("scope=")) {
                let read = stream.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            let good = request.contains("client_secret=s3cret") && request.contains("grant_type=client_credentials");
            let (status, body) = if good {
                let seconds = now().0 / 1000;
                let claims = format!(r#"{{"sub":"aulaflow","iat":{seconds},"exp":{}}}"#, seconds + 3600);
                let token = format!("{}.{}.", base64(br#"{"alg":"none"}"#), base64(claims.as_bytes()));
                ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#))
            } else {
                ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
            // A client that has gone needs no answer.
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().chain(&[0, 0]).take(3).fold(0u32, |n, byte| n << 8 | u32::from(*byte));
        for at in 0..=three.len() {
            out.push(char::from(LETTERS[(number >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}
