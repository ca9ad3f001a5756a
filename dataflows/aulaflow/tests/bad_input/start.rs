//! What can be in the way of a start: a port, a directory, another process, a key that everybody knows.

use crate::support::{Folder, SECRET, event};
use serde_json::json;
use std::net::TcpListener;

#[test]
fn a_port_in_use_is_1_and_the_data_stays_untouched() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = folder.run(&["run", "--config", "aulaflow.toml", "--listen", &address]);
    done.failed(1, &[&format!("{address} is in use by another process"), "--listen"]);
    assert!(!folder.path().join("data").exists());
    let done = folder.run(&["run", "--config", "aulaflow.toml", "--listen", "192.0.2.1:80"]);
    done.failed(2, &["192.0.2.1:80"]);
    folder.run(&["run", "--config", "aulaflow.toml", "--listen", "localhost"]).failed(2, &["localhost"]);
}

#[test]
fn a_data_directory_in_use_is_1_and_its_owner_goes_on() {
    let folder = Folder::new();
    let instance = folder.start();
    let service = instance.caller("service");
    service.post("/v1/behavior", &json!([event("e1", "s1")])).expect(202);
    let done = folder.run(&["run", "--config", "aulaflow.toml"]);
    done.failed(1, &["in use by another process", "another data directory"]);
    service.post("/v1/behavior", &json!([event("e2", "s1")])).expect(202);
    service.events_of("s1", 2);
    instance.finish();
}

#[test]
fn a_data_directory_that_cannot_be_written_is_1() {
    let folder = Folder::new();
    folder.write("taken", "a file in place of the directory");
    for dir in ["taken", "taken/below"] {
        let done = folder.run(&["run", "--config", "aulaflow.toml", "--data-dir", dir]);
        done.failed(1, &["cannot write to the data directory", "--data-dir"]);
    }
    // Also root is denied here.
    folder
        .run(&["run", "--config", "aulaflow.toml", "--data-dir", "/proc/aulaflow"])
        .failed(1, &["/proc/aulaflow", "--data-dir"]);
}

#[test]
fn a_development_key_stays_on_loopback() {
    let folder = Folder::new();
    let done = folder.run(&["run", "--config", "aulaflow.toml", "--listen", "0.0.0.0:0"]);
    done.failed(2, &["development key", "listen on 127.0.0.1, or configure a key of your own"]);
    let runtime = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    folder.write("open.toml", &runtime.replace("127.0.0.1:0", "[::]:0"));
    for command in ["check", "run"] {
        let done = folder.run(&[command, "--config", "open.toml"]);
        done.failed(2, &["open.toml:10:15: error: a development key on [::]:0", "listen on 127.0.0.1"]);
    }
    let short = runtime.replace(SECRET, "short");
    folder.write("short.toml", &short);
    folder.run(&["check", "--config", "short.toml"]).failed(2, &["short.toml:9:", "32"]);
    assert!(!folder.path().join("data").exists());
}

#[test]
fn another_count_of_partitions_is_refused_and_harms_nothing() {
    let folder = Folder::new();
    let instance = folder.start();
    instance.finish();
    // Another count of partitions would move tenants.
    let runtime = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    folder.write("other.toml", &format!("{runtime}[log]\npartitions = 7\n"));
    let done = folder.run(&["run", "--config", "other.toml"]);
    done.failed(1, &["has 4 partitions per topic, the configuration says 7", "set it to 4"]);
    folder.start().finish();
}
