//! `acknowledge`: an instance that takes everything and does nothing. It is the limit of the importer, and it keeps
//! what the importer sends, byte by byte, for the limit of decoding.

use crate::server::Server;
use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Where evaluations are kept, in the folder given.
pub const EVALUATIONS: &str = "evaluations.jsonl";

/// Where behaviour events are kept.
pub const BEHAVIOR: &str = "behavior.jsonl";

/// Starts this program as such an instance. With `keep`, what is sent is kept in that folder.
pub fn start(keep: Option<&Path>, folder: &Path) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("acknowledge");
    if let Some(keep) = keep {
        command.arg("--keep").arg(keep);
    }
    Server::start(command, folder)
}

/// Serves until the process is ended.
pub fn serve(keep: Option<PathBuf>) -> Result<()> {
    let file = |name: &str| -> Result<Option<Arc<Mutex<File>>>> {
        let Some(keep) = &keep else { return Ok(None) };
        let file = OpenOptions::new().create(true).append(true).open(keep.join(name))?;
        Ok(Some(Arc::new(Mutex::new(file))))
    };
    let taker = |file: Option<Arc<Mutex<File>>>| {
        post(move |body: Bytes| async move {
            let count = body.iter().filter(|byte| **byte == b'\n').count();
            let kept = file.is_none_or(|file| file.lock().is_ok_and(|mut file| file.write_all(&body).is_ok()));
            let accepted = if kept { count } else { 0 };
            format!(r#"{{"accepted":{accepted},"errors":[]}}"#)
        })
    };
    let app = Router::new()
        .route("/healthz", get(async || r#"{"status":"ok"}"#))
        .route("/v1/rules/{subject}", put(async || "{}"))
        .route("/v1/evaluations:batch", taker(file(EVALUATIONS)?))
        .route("/v1/behavior", taker(file(BEHAVIOR)?))
        .layer(DefaultBodyLimit::disable());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("taking everything at http://{}", listener.local_addr()?);
        axum::serve(listener, app).await?;
        Ok(())
    })
}
