//! Uploads under way: files that grow on the state partition until they are
//! loaded. An upload's name says all that is to be known of it (digest and
//! size), and its file's length how far it is, so that it survives a restart
//! without a record of its own.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use orlop_control::types::{ApiError, Upload, UploadRequest};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::answer::next_chunk;
use super::limits;
use crate::durable::no_room;

/// The largest upload, in bytes.
const SIZE_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// How many uploads may be under way.
const COUNT_MAX: usize = 8;
/// An upload that did not grow for so long is dropped.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);
/// What uploads leave free on the state partition, in bytes: logs and records
/// have to go on.
const RESERVE: u64 = 64 * 1024 * 1024;

/// The uploads in one directory.
#[derive(Debug)]
pub(super) struct Uploads {
    dir: PathBuf,
    /// Those that a request is at work on.
    busy: Arc<Mutex<HashSet<String>>>,
}

/// Sole use of an upload, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    upload: Upload,
    path: PathBuf,
    busy: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Ok(mut busy) = self.busy.lock() {
            busy.remove(&self.upload.id);
        }
    }
}

impl Uploads {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            busy: Arc::default(),
        }
    }

    /// Finds the upload that `request` describes, or begins it.
    pub(super) fn begin(
        &self,
        request: &UploadRequest,
        now: SystemTime,
    ) -> Result<Upload, ApiError> {
        let hex = request.digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64
            || !hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(ApiError::invalid(
                "the digest is not sha256: and 64 hexadecimal digits",
            ));
        }
        let size = request.size;
        if size == 0 {
            return Err(ApiError::invalid("an upload of 0 bytes is no archive"));
        }
        if size > SIZE_MAX {
            let message = format!("an upload of {size} bytes; 1 to {SIZE_MAX} are taken");
            return Err(ApiError::new(413, "tooLarge", message));
        }
        fs::create_dir_all(&self.dir).map_err(|error| io_error(&error))?;
        self.sweep(now);
        let id = format!("{hex}-{size}");
        let path = self.dir.join(&id);
        if let Ok(meta) = fs::metadata(&path) {
            let upload = Upload {
                id,
                size,
                offset: meta.len(),
            };
            room(&self.dir, size.saturating_sub(upload.offset))?;
            return Ok(upload);
        }
        let count = fs::read_dir(&self.dir)
            .map_err(|error| io_error(&error))?
            .count();
        if count >= COUNT_MAX {
            let message = format!("{count} uploads are under way, as many as there may be");
            return Err(ApiError::new(429, "tooManyUploads", message).with_help(
                "finish one of them, or wait: each is dropped when it rests for a day",
            ));
        }
        room(&self.dir, size)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        options.open(&path).map_err(|error| io_error(&error))?;
        Ok(Upload {
            id,
            size,
            offset: 0,
        })
    }

    /// Takes sole use of an upload.
    pub(super) fn claim(&self, id: &str) -> Result<Claim, ApiError> {
        let gone = || {
            ApiError::not_found("there is no such upload")
                .with_help("begin it again with POST /v1/uploads")
        };
        let size = size_of(id).ok_or_else(gone)?;
        let path = self.dir.join(id);
        let mut busy = self
            .busy
            .lock()
            .map_err(|_| ApiError::internal("uploads are broken"))?;
        let offset = fs::metadata(&path).map_err(|_| gone())?.len();
        if !busy.insert(id.to_owned()) {
            return Err(ApiError::conflict(
                "another request is at work on this upload",
            ));
        }
        drop(busy);
        let upload = Upload {
            id: id.to_owned(),
            size,
            offset,
        };
        Ok(Claim {
            upload,
            path,
            busy: self.busy.clone(),
        })
    }

    /// Drops uploads that rest for too long, and files that are none.
    fn sweep(&self, now: SystemTime) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if self.busy.lock().is_ok_and(|busy| busy.contains(&*name)) {
                continue;
            }
            let grown = entry.metadata().and_then(|meta| meta.modified());
            let rested = grown.ok().and_then(|grown| now.duration_since(grown).ok());
            if size_of(&name).is_none() || rested.is_some_and(|rested| rested > IDLE_MAX) {
                // It is tried again at the next upload.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Claim {
    /// Where the upload's file is, once all of it has come.
    pub(super) fn complete(&self) -> Result<&Path, ApiError> {
        let Upload { offset, size, .. } = self.upload;
        if offset == size {
            return Ok(&self.path);
        }
        Err(ApiError::conflict(format!(
            "only {offset} of the upload's {size} bytes have come"
        ))
        .with_help("send the rest with PATCH /v1/uploads/{id}"))
    }

    /// Drops the upload and its file.
    pub(super) fn remove(self) {
        // What stays is dropped when it has rested for a day.
        let _ = fs::remove_file(&self.path);
    }

    /// Appends a request's body, which starts at `offset`.
    pub(super) async fn append(self, offset: u64, body: Body) -> Result<Upload, ApiError> {
        if offset != self.upload.offset {
            let message = format!(
                "the upload is at offset {}, and the request starts at {offset}",
                self.upload.offset
            );
            return Err(ApiError::new(409, "wrongOffset", message)
                .with_help("POST /v1/uploads with the same digest and size gives the offset"));
        }
        room(&self.path, self.upload.size - offset)?;
        // It goes on when the request is given up: until all that was taken is
        // in the file, nobody else may append to it.
        let work = tokio::spawn(self.take(body)).await;
        work.map_err(|_| ApiError::internal("the upload broke off"))?
    }

    async fn take(mut self, body: Body) -> Result<Upload, ApiError> {
        match self.write(body).await {
            Ok(()) => Ok(self.upload.clone()),
            Err(error) if error.status == 507 => {
                // Give the room back: others need it more.
                self.remove();
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self, body: Body) -> Result<(), ApiError> {
        let mut file = File::options()
            .append(true)
            .open(&self.path)
            .await
            .map_err(|error| io_error(&error))?;
        let taken = self.write_to(&mut file, body).await;
        // After an error, too, the last piece is on its way still.
        let written = file.flush().await.map_err(|error| io_error(&error));
        taken.and(written)
    }

    async fn write_to(&mut self, file: &mut File, mut body: Body) -> Result<(), ApiError> {
        while let Some(chunk) = next_chunk(&mut body, limits::BODY_TIMEOUT).await? {
            let size = chunk.len() as u64;
            if size > self.upload.size - self.upload.offset {
                let message = "more bytes came than the upload's size";
                return Err(ApiError::new(413, "tooLarge", message));
            }
            // The others grow meanwhile, as do logs and records.
            room(&self.path, size)?;
            file.write_all(&chunk)
                .await
                .map_err(|error| io_error(&error))?;
            self.upload.offset += size;
        }
        Ok(())
    }
}

/// The size in an upload's name, if it is one: 64 hexadecimal digits, a hyphen
/// and the size.
fn size_of(id: &str) -> Option<u64> {
    let (hex, size) = id.split_once('-')?;
    let hex_ok = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size: u64 = size.parse().ok()?;
    (hex_ok && id == format!("{hex}-{size}")).then_some(size)
}

/// Refuses to take `size` more bytes where they would not leave the reserve.
fn room(dir: &Path, size: u64) -> Result<(), ApiError> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| io_error(&error.into()))?;
    let free = stat.f_bavail * stat.f_frsize;
    if free >= size.saturating_add(RESERVE) {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    Err(ApiError::no_space(format!(
        "no room for {} MiB: the state partition has {} MiB free, and uploads leave {} MiB",
        mib(size),
        mib(free),
        mib(RESERVE),
    )))
}

fn io_error(error: &io::Error) -> ApiError {
    if no_room(error) {
        return ApiError::no_space("the state partition is full; the upload was dropped");
    }
    ApiError::internal(format!("cannot keep the upload: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(digit: char, size: u64) -> UploadRequest {
        UploadRequest {
            size,
            digest: format!("sha256:{}", digit.to_string().repeat(64)),
        }
    }

    #[tokio::test]
    async fn an_upload_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(dir.path().join("uploads"));
        let now = SystemTime::now();
        let upload = uploads.begin(&request('a', 10), now).unwrap();
        assert_eq!(upload.offset, 0);
        let claim = uploads.claim(&upload.id).unwrap();
        assert_eq!(
            uploads.claim(&upload.id).unwrap_err().status,
            409,
            "one at a time"
        );
        claim.append(0, Body::from("hello")).await.unwrap();
        // As after a restart.
        let uploads = Uploads::new(dir.path().join("uploads"));
        assert_eq!(uploads.begin(&request('a', 10), now).unwrap().offset, 5);
        let wrong = uploads
            .claim(&upload.id)
            .unwrap()
            .append(3, Body::from("x"))
            .await;
        assert_eq!(wrong.unwrap_err().code, "wrongOffset");
        assert!(uploads.claim(&upload.id).unwrap().complete().is_err());
        let big = uploads
            .claim(&upload.id)
            .unwrap()
            .append(5, Body::from("world!"))
            .await;
        assert_eq!(big.unwrap_err().status, 413);
        uploads
            .claim(&upload.id)
            .unwrap()
            .append(5, Body::from("world"))
            .await
            .unwrap();
        let claim = uploads.claim(&upload.id).unwrap();
        assert_eq!(fs::read(claim.complete().unwrap()).unwrap(), b"helloworld");
        claim.remove();
        assert_eq!(uploads.claim(&upload.id).unwrap_err().status, 404);
    }

    #[tokio::test]
    async fn an_upload_whose_request_is_given_up_is_not_free_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(dir.path().join("uploads"));
        let upload = uploads.begin(&request('a', 10), SystemTime::now()).unwrap();
        let (send, receive) = tokio::sync::mpsc::channel::<io::Result<&[u8]>>(1);
        let pieces = futures_util::stream::unfold(receive, async |mut receive| {
            Some((receive.recv().await?, receive))
        });
        send.send(Ok(b"hello")).await.unwrap();
        let request = uploads
            .claim(&upload.id)
            .unwrap()
            .append(0, Body::from_stream(pieces));
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, request).await.is_err());
        assert_eq!(uploads.claim(&upload.id).unwrap_err().status, 409);
        drop(send);
        let claim = loop {
            match uploads.claim(&upload.id) {
                Ok(claim) => break claim,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(claim.upload.offset, 5);
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(dir.path().to_owned());
        fs::write(dir.path().join("secret"), "x").unwrap();
        let hex = "a".repeat(64);
        for id in [
            "secret",
            "../x",
            "",
            &format!("{hex}-+5"),
            &format!("{hex}-05"),
            &hex,
        ] {
            assert_eq!(uploads.claim(id).unwrap_err().status, 404, "{id:?}");
        }
        for digest in ["", "sha256:", "sha256:../../etc/passwd", "md5:00"] {
            let request = UploadRequest {
                size: 1,
                digest: digest.into(),
            };
            assert_eq!(
                uploads
                    .begin(&request, SystemTime::now())
                    .unwrap_err()
                    .status,
                400
            );
        }
    }

    #[test]
    fn count_size_and_age_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(dir.path().to_owned());
        let now = SystemTime::now();
        for digit in ('0'..='9').take(COUNT_MAX) {
            uploads.begin(&request(digit, 5), now).unwrap();
        }
        assert_eq!(
            uploads.begin(&request('a', 5), now).unwrap_err().code,
            "tooManyUploads"
        );
        assert_eq!(
            uploads.begin(&request('a', 0), now).unwrap_err().status,
            400
        );
        assert_eq!(
            uploads
                .begin(&request('a', SIZE_MAX + 1), now)
                .unwrap_err()
                .status,
            413
        );
        let later = now + IDLE_MAX + Duration::from_secs(60);
        uploads.begin(&request('a', 5), later).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let huge = uploads.begin(&request('b', SIZE_MAX), now);
        if let Err(error) = huge {
            assert_eq!(error.status, 507);
        }
    }
}
