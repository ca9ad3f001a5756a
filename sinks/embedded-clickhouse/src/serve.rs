//! The child process: the engine behind its HTTP interface, until it is told to stop or its parent is gone.

use crate::engine::{Engine, StartError};
use crate::library;
use crate::server::{Account, router};
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long requests may go on when it stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What a server is started with.
pub struct Options {
    /// Where the engine keeps everything.
    pub data_dir: PathBuf,
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `libchdb.so`.
    pub library: PathBuf,
    /// Who may ask.
    pub account: Account,
    /// Whether the end of stdin means that the parent is gone, and so is what this is for.
    pub stdin_is_lifeline: bool,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// It cannot listen.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Everything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until it is told to stop, then ends the process. Prints its URL on stdout once it answers. Returns only if it
/// cannot serve.
pub fn serve(options: Options) -> Result<std::convert::Infallible, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("clickhouse-http").build()?;
    runtime.block_on(serve_until_stopped(options))?;
    // The library's threads run until the process ends, and its global objects are not made for being destroyed under
    // them. What was acknowledged is in the engine's files.
    library::end_process(0)
}

async fn serve_until_stopped(options: Options) -> Result<(), ServeError> {
    let Options { data_dir, listen, library, account, stdin_is_lifeline } = options;
    // Before the engine, since that takes longer.
    let listener = TcpListener::bind(listen).await.map_err(|error| ServeError::Listen(listen, error))?;
    let url = format!("http://{}", listener.local_addr()?);
    let stop = stop(stdin_is_lifeline)?;
    let engine = tokio::task::spawn_blocking(move || Engine::start(&library, &data_dir));
    let engine = engine.await.map_err(io::Error::other)??;
    let (told, telling) = tokio::sync::oneshot::channel::<()>();
    let served = axum::serve(listener, router(Arc::new(engine), account)).with_graceful_shutdown(async {
        stop.await;
        // Whoever does not listen has ended already.
        let _ = told.send(());
    });
    writeln!(io::stdout(), "{url}")?;
    io::stdout().flush()?;
    let cut_off = async {
        // A dropped sender means that the server has ended: then there is nothing to cut off.
        if telling.await.is_ok() {
            tokio::time::sleep(DRAIN).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = served => ended.map_err(ServeError::Io),
        () = cut_off => Ok(()),
    }
}

/// Completes when the process shall stop.
fn stop(stdin_is_lifeline: bool) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lifeline = async move {
        if !stdin_is_lifeline {
            return std::future::pending().await;
        }
        let mut byte = [0];
        // Nothing is ever written there: whatever comes, or an error, is the end.
        let _ = tokio::io::stdin().read(&mut byte).await;
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = lifeline => {}
        }
    })
}
