//! Uploading an image archive, and having it loaded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use sha2::{Digest, Sha256};

use super::{ANSWER_TIMEOUT, Client, ClientError, LOAD_TIMEOUT, segment};
use crate::types::{ImageInfo, Upload, UploadRequest};

/// How much one request carries, in bytes.
const CHUNK_SIZE: usize = 1024 * 1024;
/// How often it is tried again without any byte arriving in between.
pub(super) const RETRIES_MAX: u32 = 10;
/// How long to wait before each of these.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadProgress {
    /// So many of so many bytes have been read to name the upload.
    Reading(u64, u64),
    /// So many of so many bytes are on the host.
    Sending(u64, u64),
    /// The host unpacks.
    Unpacking,
}

impl Client {
    /// Uploads the archive at `path` and loads its images. An upload that was
    /// interrupted, by whatever, goes on where it ended.
    pub async fn load(
        &self,
        path: &Path,
        mut progress: impl FnMut(UploadProgress),
    ) -> Result<Vec<ImageInfo>, ClientError> {
        let shown = path.display().to_string();
        let failed = |source| ClientError::File {
            path: shown.clone(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(failed(source));
        }
        let request = UploadRequest {
            size: meta.len(),
            digest: digest(&mut file, meta.len(), &mut progress).map_err(failed)?,
        };
        let mut retries = 0;
        let mut reached = 0;
        let id = loop {
            let sent = self
                .send_file(&mut file, &request, &mut reached, &mut progress)
                .await;
            match sent {
                Ok(id) => break id,
                Err(Interrupted::File(source)) => return Err(failed(source)),
                Err(Interrupted::Request { error, moved }) => {
                    retries = if moved { 1 } else { retries + 1 };
                    if !error.is_transport() || retries > RETRIES_MAX {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        progress(UploadProgress::Unpacking);
        let path = format!("/v1/images?upload={}", segment(&id));
        self.json(Method::POST, &path, None::<&()>, LOAD_TIMEOUT)
            .await
    }

    /// Sends what is missing; `reached` is how far any attempt came.
    async fn send_file(
        &self,
        file: &mut File,
        request: &UploadRequest,
        reached: &mut u64,
        progress: &mut impl FnMut(UploadProgress),
    ) -> Result<String, Interrupted> {
        let before = *reached;
        let stop = |error, reached: u64| Interrupted::Request {
            error,
            moved: reached > before,
        };
        let mut upload: Upload = self
            .json(Method::POST, "/v1/uploads", Some(request), ANSWER_TIMEOUT)
            .await
            .map_err(|error| stop(error, *reached))?;
        while upload.offset < request.size {
            progress(UploadProgress::Sending(upload.offset, request.size));
            file.seek(SeekFrom::Start(upload.offset))
                .map_err(Interrupted::File)?;
            let left = usize::try_from(request.size - upload.offset).unwrap_or(CHUNK_SIZE);
            let mut chunk = vec![0; left.min(CHUNK_SIZE)];
            file.read_exact(&mut chunk).map_err(Interrupted::File)?;
            upload = self
                .send_chunk(&upload, chunk.into())
                .await
                .map_err(|error| stop(error, *reached))?;
            *reached = (*reached).max(upload.offset);
        }
        progress(UploadProgress::Sending(request.size, request.size));
        Ok(upload.id)
    }

    async fn send_chunk(&self, upload: &Upload, chunk: Bytes) -> Result<Upload, ClientError> {
        let request = Request::patch(format!("/v1/uploads/{}", segment(&upload.id)))
            .header("upload-offset", upload.offset)
            .header("content-type", "application/octet-stream")
            .body(Full::new(chunk))
            .map_err(ClientError::request)?;
        let answer = self.send(request, ANSWER_TIMEOUT).await?;
        let next: Upload = serde_json::from_slice(&answer).map_err(ClientError::body)?;
        if next.offset <= upload.offset {
            return Err(ClientError::Protocol("an upload does not move".into()));
        }
        Ok(next)
    }
}

enum Interrupted {
    File(io::Error),
    Request { error: ClientError, moved: bool },
}

fn digest(
    file: &mut File,
    size: u64,
    progress: &mut impl FnMut(UploadProgress),
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_SIZE];
    let mut done = 0;
    loop {
        progress(UploadProgress::Reading(done, size));
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        done += read as u64;
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("sha256:{hex}"))
}
