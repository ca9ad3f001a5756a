//! A proxy in front of ClickHouse that passes everything on and counts readers' queries.

use anyhow::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a request of the product's client begins with; nothing in a body does.
const BEGINNING: &[u8] = b"POST /?";
/// What only readers' requests have in their first line. The sink asks something every few seconds, too.
const OF_READERS: &[u8] = b"output_format_json_quote_decimals";

/// The proxy. Its threads end with the process, or with their connections.
pub struct Counting {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Counting {
    /// Starts one in front of an address.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, requests) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counts = Arc::clone(&requests);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let counts = Arc::clone(&counts);
                std::thread::spawn(move || serve(&client, target, &counts));
            }
        });
        Ok(Self { address, requests })
    }

    /// Readers' queries so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(client: &TcpStream, target: SocketAddr, counts: &AtomicU64) {
    let Ok(server) = TcpStream::connect(target) else { return };
    let count = |piece: &[u8]| {
        // A head is sent in one piece: where it was cut in two, the pieces begin with it all the same.
        let heads = piece.windows(BEGINNING.len()).enumerate().filter(|(_, window)| *window == BEGINNING);
        let lines = heads.map(|(at, _)| piece[at..].split(|byte| *byte == b'\r').next().unwrap_or_default());
        let found = lines.filter(|line| line.windows(OF_READERS.len()).any(|window| window == OF_READERS)).count();
        counts.fetch_add(found as u64, Ordering::SeqCst);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, count));
        scope.spawn(|| pump(&server, client, |_| {}));
    });
}

/// Passes on until one side has had enough: then both end.
fn pump(mut from: &TcpStream, mut to: &TcpStream, each: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        each(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // Sockets that are closed already need no closing.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
