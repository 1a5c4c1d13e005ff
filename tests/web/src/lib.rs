//! A web server on the loopback that serves a directory, well or badly, as tests of updates need it.
//!
//! It is written by hand, as no library misbehaves so on purpose. It speaks enough of HTTP/1.1 for
//! `GET`: whole files, and parts of them from a byte on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should be, with parts of files.
    Well,
    /// With whole files only.
    Whole,
    /// With another status, and nothing.
    Status(u16),
    /// With bytes that are not the file's.
    Garbled,
    /// With half of the file, and no end.
    Stalls,
    /// With half of the file, and an end.
    Cuts,
    /// With half of the file, as if that were all.
    Short,
    /// With all of the file, ten bytes a second.
    Trickles,
    /// Not at all.
    Hangs,
    /// With the end of the connection.
    Drops,
}

/// Chooses the manner: by the request's number, from 0, and its path without the first slash.
type Chooser = Box<dyn Fn(u64, &str) -> Manner + Send + Sync>;

/// The server; every clone is the same one. It serves until the process ends.
#[derive(Clone)]
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    chooser: Mutex<Chooser>,
    requests: AtomicU64,
    sent: AtomicU64,
}

impl Server {
    /// Serves `dir`, well, on a free port.
    ///
    /// # Errors
    /// The system's.
    pub fn start(dir: &Path) -> std::io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Server {
            port: listener.local_addr()?.port(),
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                chooser: Mutex::new(Box::new(|_, _| Manner::Well)),
                requests: AtomicU64::new(0),
                sent: AtomicU64::new(0),
            }),
        };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || while shared.answer(&stream).is_some() {});
            }
        });
        Ok(server)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of `path`, from this machine.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// From the next request on, counted from 0 anew, answers are chosen so.
    pub fn choose(&self, chooser: impl Fn(u64, &str) -> Manner + Send + Sync + 'static) {
        let mut current = self.shared.chooser.lock();
        let current = current.as_mut().map_err(|_| ());
        if let Ok(current) = current {
            **current = Box::new(chooser);
        }
        self.shared.requests.store(0, Ordering::SeqCst);
    }

    /// Requests since the last [`Server::choose`].
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Bytes of chunks and bundles (`.zst`, `.orlop`) that were sent, in all.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

/// The bytes that a request asks for: the first, and the last if it says.
type Range = Option<(usize, Option<usize>)>;

impl Shared {
    /// Answers one request; none when the connection is over.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let mut range = None;
        for line in lines {
            let line = line.ok()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(asked) = line.strip_prefix("range: bytes=") {
                let (from, to) = asked.split_once('-')?;
                range = Some((from.parse().ok()?, to.parse().ok()));
            }
        }
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let manner = {
            let chooser = self.chooser.lock();
            (chooser.unwrap_or_else(PoisonError::into_inner))(number, &path)
        };
        self.give(stream, &path, range, manner)
    }

    fn give(&self, mut stream: &TcpStream, path: &str, range: Range, manner: Manner) -> Option<()> {
        let bytes = match std::fs::read(self.dir.join(path)) {
            Ok(bytes) if !path.split('/').any(|part| part == "..") => bytes,
            Ok(_) | Err(_) => {
                let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                return stream.write_all(answer.as_bytes()).ok();
            }
        };
        if manner == Manner::Hangs {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]);
            return None;
        }
        if manner == Manner::Drops {
            return None;
        }
        let (head, bytes, length) = answer(bytes, range, manner);
        if path.ends_with(".zst") || path.ends_with(".orlop") {
            self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
        write!(stream, "{head}content-length: {length}\r\n\r\n").ok()?;
        if manner == Manner::Trickles {
            for byte in &bytes {
                stream.write_all(&[*byte]).ok()?;
                thread::sleep(Duration::from_millis(100));
            }
            return Some(());
        }
        stream.write_all(&bytes).ok()?;
        match manner {
            Manner::Stalls => {
                thread::sleep(Duration::from_secs(3600));
                None
            }
            Manner::Cuts => None,
            _ => Some(()),
        }
    }
}

/// The head of an answer but for its length, its bytes, and the length that it says.
fn answer(mut bytes: Vec<u8>, range: Range, manner: Manner) -> (String, Vec<u8>, usize) {
    let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
    let last = bytes.len().saturating_sub(1);
    if let Some((from, to)) = range.filter(|(from, _)| manner != Manner::Whole && *from <= last) {
        let to = to.unwrap_or(last).min(last);
        let all = bytes.len();
        head =
            format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{to}/{all}\r\n");
        bytes = bytes.get(from..=to).unwrap_or_default().to_vec();
    }
    let length = bytes.len();
    match manner {
        Manner::Well | Manner::Whole | Manner::Trickles | Manner::Hangs | Manner::Drops => {}
        Manner::Status(status) => return (format!("HTTP/1.1 {status} No\r\n"), Vec::new(), 0),
        Manner::Garbled => bytes.iter_mut().for_each(|byte| *byte ^= 0x55),
        Manner::Stalls | Manner::Cuts => bytes.truncate(length / 2),
        Manner::Short => {
            bytes.truncate(length / 2);
            return (head, bytes, length / 2);
        }
    }
    (head, bytes, length)
}
