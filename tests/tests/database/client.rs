//! A client of PostgreSQL that writes numbered rows one after another, and keeps what was
//! acknowledged; and one of nginx.
//!
//! It speaks the protocol of version 3.0: a message is a byte for its kind, four for the length of
//! what follows them and themselves, and the rest. No number is ever sent twice: of a row without
//! an answer nobody knows whether it is there.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lifesign::clock;

/// The service address.
const ADDRESS: &str = "10.77.0.100";

/// How long to wait for a server to answer.
const LIMIT: Duration = Duration::from_secs(1);
/// How long to wait for a connection before the next is tried.
const CONNECT_LIMIT: Duration = Duration::from_millis(100);

fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::new(ADDRESS.parse().map_err(io::Error::other)?, port);
    let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns what nginx answers.
pub(crate) fn page() -> io::Result<String> {
    let mut stream = connect(80)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A connection to the database.
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects as the database's owner.
    pub(crate) fn open() -> io::Result<Self> {
        let mut stream = connect(5432)?;
        let mut told = 196_608_u32.to_be_bytes().to_vec();
        told.extend(b"user\0postgres\0database\0postgres\0\0");
        send(&mut stream, None, &told)?;
        let mut connection = Self { stream };
        connection.answer()?;
        Ok(connection)
    }

    /// Does `statement` and returns the first column of each row.
    pub(crate) fn ask(&mut self, statement: &str) -> io::Result<Vec<String>> {
        send(&mut self.stream, Some(b'Q'), format!("{statement}\0").as_bytes())?;
        self.answer()
    }

    /// Reads until the server is ready for another statement.
    fn answer(&mut self) -> io::Result<Vec<String>> {
        let mut rows = Vec::new();
        let mut is_done = false;
        let mut error = None;
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            let [kind, a, b, c, d] = head;
            let len = u32::from_be_bytes([a, b, c, d]).saturating_sub(4);
            let mut body = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            self.stream.read_exact(&mut body)?;
            match kind {
                b'D' => rows.push(String::from_utf8_lossy(body.get(6..).unwrap_or(&[])).into()),
                b'E' => error = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'R' | b'C' => is_done = true,
                b'Z' if is_done && error.is_none() => return Ok(rows),
                b'Z' => return Err(io::Error::other(error.unwrap_or_default())),
                _ => {}
            }
            // One that is fatal is the last that is said.
            if let Some(text) = error.take_if(|text| text.starts_with("SFATAL")) {
                return Err(io::Error::other(text));
            }
        }
    }
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    let message: Vec<u8> = kind.into_iter().chain(len.to_be_bytes()).chain(body.to_vec()).collect();
    stream.write_all(&message)
}

/// A row that the database has acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// Its number.
    pub(crate) number: u64,
    /// When the answer came, in microseconds of boot time.
    pub(crate) at_us: u64,
}

/// A client that writes until it is dropped.
pub(crate) struct Writer {
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts writing, in the calling thread's network.
    pub(crate) fn start() -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, ended) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = std::thread::spawn(move || write_rows(&kept, &ended));
        Self { acknowledged, stop, thread: Some(thread) }
    }

    /// Returns what has been acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().expect("no panic in the client").clone()
    }

    /// Returns the longest time between two acknowledgments of which the later came after
    /// `from_us`, in milliseconds.
    pub(crate) fn longest_outage_ms(&self, from_us: u64) -> u64 {
        let times: Vec<u64> = self.acknowledged().iter().map(|row| row.at_us).collect();
        let late = times.windows(2).filter(|pair| pair[1] > from_us);
        late.map(|pair| (pair[1] - pair[0]) / 1_000).max().unwrap_or_default()
    }

    /// Stops writing; what was being written has been answered, or never is.
    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic in the client");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write_rows(acknowledged: &Mutex<Vec<Acknowledged>>, stop: &AtomicBool) {
    let mut connection = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = Connection::open().ok();
            if connection.is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            continue;
        };
        number += 1;
        match open.ask(&format!("INSERT INTO rows (number) VALUES ({number})")) {
            Ok(_) => {
                let at_us = clock::now().as_micros();
                let mut kept = acknowledged.lock().expect("no panic in the test");
                kept.push(Acknowledged { number, at_us });
            }
            Err(_) => connection = None,
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
