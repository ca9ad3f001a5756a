//! What a right configuration means once it is checked, and that no text whatever breaks the checks.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_plan::runtime::{ClockMode, Fsync, KeyMaterial, SecretSource};
use aulaflow_plan::{Plan, Source, compile, parse_runtime, render};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

fn plan(runtime: &str, tenants: &[&str]) -> Plan {
    let (file, diagnostics) = parse_runtime(&Source::new("runtime.toml", runtime));
    let file = file.unwrap_or_else(|| panic!("{}", render(&diagnostics)));
    let tenants: Vec<Source> = tenants.iter().map(|text| Source::new("tenant.toml", *text)).collect();
    compile(file, &tenants, &[]).unwrap_or_else(|diagnostics| panic!("{}", render(&diagnostics)))
}

#[test]
fn every_setting_arrives() {
    let text = read("dataflows/plan/tests/ok/every_setting/runtime.toml");
    let runtime = plan(&text, &[]).runtime;
    assert_eq!(runtime.data_dir, Path::new("/var/lib/aulaflow"));
    assert_eq!(runtime.server.listen, "[::]:8443".parse().unwrap());
    assert_eq!(runtime.server.body_bytes_max, 1_048_576);
    assert_eq!(runtime.server.request_timeout, Duration::from_secs(60));
    assert_eq!(runtime.auth.issuer.as_deref(), Some("https://id.example.org"));
    assert_eq!(runtime.auth.audience.as_deref(), Some("aulaflow"));
    assert_eq!(runtime.log.partitions, 16);
    assert_eq!(runtime.log.fsync, Fsync::Never);
    assert_eq!(runtime.log.buffer_bytes_max, 1 << 30);
    assert_eq!(runtime.log.append_timeout, Duration::from_secs(2));
    assert_eq!(runtime.log.retention, Duration::from_hours(364 * 24));
    assert_eq!(runtime.engine.workers, 8);
    assert_eq!(runtime.engine.clock, ClockMode::Event);
    assert_eq!(runtime.engine.tick, Duration::from_millis(50));
    assert_eq!(runtime.engine.max_skew, Duration::ZERO);
    assert_eq!(runtime.engine.idle_timeout, Duration::from_secs(10));
    assert_eq!(runtime.engine.batch_records_max, 100_000);
    assert_eq!(runtime.engine.checkpoint_interval, Duration::from_secs(60));
    assert_eq!(runtime.serving.students_expected, 1_000_000);
    assert_eq!(runtime.serving.stale_after, Duration::from_hours(1));
    assert_eq!(runtime.serving.grades_keep, Some(Duration::from_hours(400 * 24)));
    let materials: Vec<&KeyMaterial> = runtime.auth.keys.iter().map(|key| &key.material).collect();
    match materials.as_slice() {
        [
            KeyMaterial::EdDsa { public_key_file, private_key_file },
            KeyMaterial::Hs256From(env),
            KeyMaterial::Hs256From(file),
        ] => {
            assert_eq!(public_key_file, Path::new("public.pem"));
            assert_eq!(private_key_file.as_deref(), Some(Path::new("private.pem")));
            assert_eq!(*env, SecretSource::Env("AULAFLOW_SECRET".to_owned()));
            assert_eq!(*file, SecretSource::File("/run/secrets/aulaflow".into()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn patterns_have_their_place() {
    let (file, _) = parse_runtime(&Source::new("c.toml", "tenants = ['a/*.toml',\n  'b.toml']\n"));
    let file = file.unwrap();
    assert_eq!(file.tenants.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["a/*.toml", "b.toml"]);
    let printed = file.tenants[1].error("no file matches `b.toml`").to_string();
    assert_eq!(printed, "c.toml:2:3: error: no file matches `b.toml`\n  'b.toml']\n  ^~~~~~~~");
}

#[test]
fn development_keys_stay_on_loopback() {
    let auth = plan(&read("configs/local.toml"), &[]).runtime.auth;
    for (listen, exposed) in
        [("127.0.0.1:80", 0), ("127.8.8.8:80", 0), ("[::1]:80", 0), ("0.0.0.0:80", 1), ("[::]:80", 1)]
    {
        assert_eq!(auth.exposed_development_keys(listen.parse().unwrap()).len(), exposed, "{listen}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let plan = plan(&read("configs/local.toml"), &[]);
    assert!(!format!("{plan:?}").contains("not-a-secret"));
    assert!(KeyMaterial::hs256(vec![0; 31]).is_err());
    assert!(KeyMaterial::hs256(vec![0; 32]).is_ok());
}

const TENANT: &str = "tenant = 't'\ntimezone = 'UTC'\n[[period]]\nid = 'p'\nstart = 2026-01-01\nend = 2026-02-01\n\
                      [[rule]]\nsubject = '*'\nweights = { exam = 0.70, homework = 0.3 }\nmin_passing = 60\n";

#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |text: &str| plan("", &[text]).tenants[0].1.clone();
    let same = "# reordered\ntimezone = \"UTC\"\ntenant = \"t\"\n[[rule]]\nmin_passing = 60.0\nsubject = \"*\"\n\
                weights.homework = \"0.30\"\nweights.exam = 0.7\n[[period]]\nstart = \"2026-01-01\"\n\
                end = 2026-02-01\nid = \"p\"\n";
    assert_eq!(hash(TENANT), hash(same));
    assert_eq!(hash(TENANT).len(), 64);
    assert_ne!(hash(TENANT), hash(&TENANT.replace("0.70", "0.71")));
    assert_ne!(hash(TENANT), hash(&TENANT.replace("02-01", "02-02")));
}

/// A text with a piece of another text, or noise, in place of some of its own.
fn damaged(text: String) -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[\\[\\]{}=,.\"'#\n\r\t a-c0-9\u{f1}-]{0,6}",
        Just("[[rule]]\n".to_owned()),
        Just(" = -1\n".to_owned()),
        Just("\"".to_owned()),
        Just("\u{feff}".to_owned()),
    ];
    (0..text.len(), 0_usize..40, pieces).prop_map(move |(at, length, piece)| {
        let characters: Vec<char> = text.chars().collect();
        let at = at.min(characters.len());
        let end = (at + length).min(characters.len());
        let (start, rest) = (&characters[..at], &characters[end..]);
        start.iter().copied().chain(piece.chars()).chain(rest.iter().copied()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is done to the files, the answer is a plan or printed faults, each within its line.
    #[test]
    fn damaged_files_are_answered(
        runtime in damaged(read("dataflows/plan/tests/ok/every_setting/runtime.toml")),
        tenant in damaged(read("configs/tenants/school_123.toml")),
    ) {
        let (file, mut diagnostics) = parse_runtime(&Source::new("r", runtime));
        let file = file.unwrap_or_else(|| parse_runtime(&Source::new("r", "")).0.unwrap());
        if let Err(more) = compile(file, &[Source::new("t", tenant)], &[]) {
            prop_assert!(!more.is_empty());
            diagnostics.extend(more);
        }
        for diagnostic in &diagnostics {
            prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
            prop_assert!(diagnostic.end_column <= diagnostic.source_line.chars().count() + 1);
            prop_assert!(!diagnostic.message.is_empty());
        }
    }
}
