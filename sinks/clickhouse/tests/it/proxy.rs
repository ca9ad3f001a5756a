//! A proxy in front of ClickHouse that breaks things: each connection carries one request, and a seed decides what becomes of it.

use parking_lot::Mutex;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Pass,
    /// The connection is closed before anything is read.
    Refuse,
    /// A part of the request gets through, then both ends are cut.
    CutRequest,
    /// ClickHouse has done it, and the answer never comes.
    LoseAnswer,
    /// ClickHouse has done it, and somebody in between says 500.
    Say500,
    /// ClickHouse has done it, and the answer comes after the client has given up.
    Late,
    /// It takes a while.
    Slow,
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }
}

/// A running proxy. It ends with the process.
pub struct Proxy {
    pub url: String,
    faulty: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    hits: Arc<[AtomicU32; 7]>,
}

impl Proxy {
    /// `late`: how long an answer is held that should be too late.
    pub fn start(to: SocketAddr, seed: u64, late: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let (faulty, down) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let hits: Arc<[AtomicU32; 7]> = Arc::default();
        let random = Arc::new(Mutex::new(Random(seed)));
        let (is_faulty, is_down, hit) = (Arc::clone(&faulty), Arc::clone(&down), Arc::clone(&hits));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let fault = match (is_down.load(Ordering::Relaxed), is_faulty.load(Ordering::Relaxed)) {
                    (true, _) => Fault::Refuse,
                    (false, false) => Fault::Pass,
                    (false, true) => choose(&mut random.lock()),
                };
                hit[fault as usize].fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    // What breaks here breaks for the client, who must cope.
                    let _ = serve(&client, to, fault, late);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(Self { url, faulty, down, hits })
    }

    /// From now on everything passes.
    pub fn heal(&self) {
        self.down.store(false, Ordering::Relaxed);
        self.faulty.store(false, Ordering::Relaxed);
    }

    /// Nothing gets through, or something.
    pub fn down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// How many requests were broken after ClickHouse had done them.
    pub fn done_and_lost(&self) -> u32 {
        [Fault::LoseAnswer, Fault::Say500, Fault::Late]
            .iter()
            .map(|f| self.hits[*f as usize].load(Ordering::Relaxed))
            .sum()
    }
}

fn choose(random: &mut Random) -> Fault {
    match random.below(48) {
        0 => Fault::Refuse,
        1 | 2 => Fault::CutRequest,
        3 | 4 => Fault::LoseAnswer,
        5 | 6 => Fault::Say500,
        7 => Fault::Late,
        8 | 9 => Fault::Slow,
        _ => Fault::Pass,
    }
}

fn serve(client: &TcpStream, to: SocketAddr, fault: Fault, late: Duration) -> io::Result<()> {
    if fault == Fault::Refuse {
        return Ok(());
    }
    let request = request(client)?;
    let mut server = TcpStream::connect(to)?;
    if fault == Fault::CutRequest {
        server.write_all(&request[..request.len() - request.len() / 3])?;
        return server.shutdown(Shutdown::Both);
    }
    if fault == Fault::Slow {
        std::thread::sleep(Duration::from_millis(50));
    }
    server.write_all(&request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let mut client = client;
    match fault {
        Fault::Pass | Fault::Slow => client.write_all(&answer),
        Fault::Say500 => client
            .write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"),
        Fault::Late => {
            std::thread::sleep(late);
            client.write_all(&answer)
        }
        Fault::LoseAnswer | Fault::Refuse | Fault::CutRequest => Ok(()),
    }
}

/// A whole request, asking for the connection to be closed after the answer.
fn request(client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::new(client);
    let (mut bytes, mut line) = (Vec::new(), Vec::new());
    let (mut length, mut chunked) = (0, false);
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        chunked |= text.starts_with("transfer-encoding:") && text.contains("chunked");
        if line == b"\r\n" {
            bytes.extend_from_slice(b"Connection: close\r\n\r\n");
            break;
        }
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !text.starts_with("connection:") {
            bytes.extend_from_slice(&line);
        }
    }
    while chunked {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).map_err(io::Error::other)?;
        bytes.extend_from_slice(&line);
        copy(&mut reader, size + 2, &mut bytes)?;
        chunked = size > 0;
    }
    copy(&mut reader, length, &mut bytes)?;
    Ok(bytes)
}

fn copy(reader: &mut impl Read, size: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let start = bytes.len();
    bytes.resize(start + size, 0);
    reader.read_exact(&mut bytes[start..])
}
