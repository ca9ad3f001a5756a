//! `serve-constant`: the limit of reads. The same HTTP server with the same settings and headers as the product's, on
//! as many threads, answering every request with the same bytes: what is left is the network and the HTTP library.

use crate::server::Server;
use anyhow::Result;
use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::serve::ListenerExt;
use std::path::Path;
use std::process::Command;

/// Starts this program as the constant server.
pub fn start(bytes: usize, folder: &Path) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve-constant", "--bytes", &bytes.to_string()]);
    Server::start(command, folder)
}

/// Serves until the process is ended.
pub fn serve(bytes: usize) -> Result<()> {
    let body: &'static [u8] = Vec::leak(vec![b'x'; bytes]);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let app = Router::new().fallback(move || {
        let headers = headers.clone();
        async move { (headers, body) }
    });
    // As in the product: all processors.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("serving a constant at http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("TCP_NODELAY could not be set: {error}");
            }
        });
        axum::serve(listener, app).await?;
        Ok(())
    })
}
