//! Updating a host, and going back.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};

use super::bundle::Bundle;
use super::upload::{RETRIES_MAX, RETRY_PAUSE};
use super::{ANSWER_TIMEOUT, Client, ClientError, LOAD_TIMEOUT, query};
use crate::types::{
    ApiError, InstalledVersion, MissingChunks, NOT_RECEIVING, UpdatePhase, UpdateQuery,
    UpdateRequest, UpdateStatus,
};

/// How many requests with chunks are under way at a time. All of them may have to be sent again.
pub(super) const IN_FLIGHT: usize = 2;
/// How often the host is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// How far the sending of a bundle is.
#[derive(Debug, Clone, Copy)]
pub enum UpdateProgress<'a> {
    /// The host is so far.
    At(&'a UpdateStatus),
    /// It was interrupted for this reason, and goes on.
    Interrupted(&'a ClientError),
}

impl Client {
    /// How the last update is, or was.
    pub async fn update_status(&self) -> Result<UpdateStatus, ClientError> {
        self.get("/v1/update").await
    }

    /// Has the host update itself from what a web server has. It has read the head of the bundle
    /// when this answers; with `dry_run`, which may take minutes, it has made its plan.
    pub async fn begin_update(
        &self,
        request: &UpdateRequest,
        how: UpdateQuery,
    ) -> Result<UpdateStatus, ClientError> {
        let path = format!("/v1/update{}", query_of(how));
        self.json(Method::POST, &path, Some(request), patience(how))
            .await
    }

    /// Begins an update whose chunks we send, or joins it. `head` is the bundle's, byte for byte.
    pub async fn send_head(
        &self,
        head: Bytes,
        how: UpdateQuery,
    ) -> Result<UpdateStatus, ClientError> {
        let path = format!("/v1/update/head{}", query_of(how));
        self.post_bytes(&path, head, patience(how)).await
    }

    /// The chunks that the host still lacks. It fails with [`NOT_RECEIVING`] unless the update is
    /// in the phase `receiving`.
    pub async fn missing_chunks(&self) -> Result<MissingChunks, ClientError> {
        self.get("/v1/update/missing").await
    }

    /// Sends chunks, as records (see [`CHUNKS_SIZE_MAX`](crate::types::CHUNKS_SIZE_MAX)).
    pub async fn send_chunks(&self, records: Bytes) -> Result<UpdateStatus, ClientError> {
        self.post_bytes("/v1/update/chunks", records, ANSWER_TIMEOUT)
            .await
    }

    /// Gives up the update that is under way, or that waits for a reboot.
    pub async fn cancel_update(&self) -> Result<UpdateStatus, ClientError> {
        self.json(Method::DELETE, "/v1/update", None::<&()>, ANSWER_TIMEOUT)
            .await
    }

    /// Has the host go back to the last good version. It reboots into the one in the answer.
    pub async fn rollback(&self) -> Result<InstalledVersion, ClientError> {
        self.post("/v1/rollback").await
    }

    /// Updates the host from the bundle at `path`: sends its head, and then what the host lacks.
    /// Sending that was interrupted, by whatever, goes on with what is still missing. Where the
    /// bundle turns out bad on the way, the host is told to give the update up.
    ///
    /// Gives how the host is once it lacks nothing: it goes on by itself then. With `dry_run`
    /// only the head is sent, and the answer has the plan.
    pub async fn send_bundle(
        &self,
        path: &Path,
        how: UpdateQuery,
        progress: impl FnMut(UpdateProgress<'_>),
    ) -> Result<UpdateStatus, ClientError> {
        let mut sending = Sending {
            client: self,
            bundle: Bundle::open(path)?,
            how,
            accepted: false,
            moved: false,
            progress,
        };
        let mut retries = 0;
        loop {
            sending.moved = false;
            let error = match sending.attempt().await {
                Ok(status) => return Ok(status),
                Err(error) => error,
            };
            retries = if sending.moved { 1 } else { retries + 1 };
            if !error.is_passing() || retries > RETRIES_MAX {
                if sending.accepted && is_of_bundle(&error) {
                    // It would wait for chunks that no second try has either. That the host cannot
                    // be told is no news beside the error.
                    let _ = self.cancel_update().await;
                }
                return Err(error);
            }
            (sending.progress)(UpdateProgress::Interrupted(&error));
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn post_bytes(
        &self,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<UpdateStatus, ClientError> {
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .map_err(ClientError::request)?;
        let answer = self.send(request, timeout).await?;
        serde_json::from_slice(&answer).map_err(ClientError::body)
    }
}

/// A bundle on its way.
struct Sending<'a, P> {
    client: &'a Client,
    bundle: Bundle,
    how: UpdateQuery,
    /// The host has taken the head, and has not forgotten it since, as far as we know.
    accepted: bool,
    /// Chunks arrived in this attempt.
    moved: bool,
    progress: P,
}

impl<P: FnMut(UpdateProgress<'_>)> Sending<'_, P> {
    /// Goes on from where the host is.
    async fn attempt(&mut self) -> Result<UpdateStatus, ClientError> {
        let client = self.client;
        let mut status = match self.accepted {
            true => client.update_status().await?,
            false => client.send_head(self.bundle.head(), self.how).await?,
        };
        if self.how.dry_run {
            return Ok(status);
        }
        self.accepted = true;
        loop {
            (self.progress)(UpdateProgress::At(&status));
            self.check_ours(&status)?;
            let sent = match status.phase {
                UpdatePhase::Surveying => false,
                UpdatePhase::Receiving => self.send_missing().await?,
                UpdatePhase::Idle => {
                    self.accepted = false;
                    return Err(forgotten());
                }
                UpdatePhase::Fetching
                | UpdatePhase::Verifying
                | UpdatePhase::Installing
                | UpdatePhase::Installed
                | UpdatePhase::Rebooting
                | UpdatePhase::Failed => return Ok(status),
            };
            if !sent {
                tokio::time::sleep(LOOK).await;
            }
            status = client.update_status().await?;
        }
    }

    /// Chunk numbers mean nothing to an update from another bundle.
    fn check_ours(&self, status: &UpdateStatus) -> Result<(), ClientError> {
        let ours = self.bundle.version();
        match &status.version {
            Some(other) if other != ours => Err(ClientError::Api(other_update(ours, other))),
            Some(_) | None => Ok(()),
        }
    }

    /// Sends all that is missing now; whether there was anything.
    async fn send_missing(&mut self) -> Result<bool, ClientError> {
        let client = self.client;
        let missing = match client.missing_chunks().await {
            Err(error) if not_receiving(&error) => return Ok(false),
            missing => missing?.chunks,
        };
        let requests = self.bundle.requests(&missing)?;
        let bundle = &self.bundle;
        let mut answers = stream::iter(&requests)
            .map(|numbers| async move { client.send_chunks(bundle.records(numbers)?).await })
            .buffer_unordered(IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(status) => {
                    self.moved = true;
                    (self.progress)(UpdateProgress::At(&status));
                }
                Err(error) if not_receiving(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(!requests.is_empty())
    }
}

/// Whether the bundle is to blame, which sending it again does not change.
fn is_of_bundle(error: &ClientError) -> bool {
    match error {
        ClientError::File { .. } | ClientError::Bundle { .. } => true,
        // "The request itself is wrong": a chunk that is not what the head says.
        ClientError::Api(error) => error.status == 400,
        ClientError::Connect { .. }
        | ClientError::Resolve { .. }
        | ClientError::Credentials { .. }
        | ClientError::Broken { .. }
        | ClientError::Timeout { .. }
        | ClientError::Protocol(_) => false,
    }
}

fn not_receiving(error: &ClientError) -> bool {
    matches!(error, ClientError::Api(error) if error.code == NOT_RECEIVING)
}

fn forgotten() -> ClientError {
    ClientError::Api(ApiError::unavailable(
        "the host has forgotten the update: its manager was started anew",
    ))
}

fn other_update(ours: &str, other: &str) -> ApiError {
    ApiError::conflict(format!(
        "the host is being updated to {other} now, not to {ours}: somebody else asked for it"
    ))
    .with_help("`orlop update --status` says how far it is, `orlop update --cancel` gives it up")
}

/// How long the answer to how an update is to be made may take.
fn patience(how: UpdateQuery) -> Duration {
    match how.dry_run {
        true => LOAD_TIMEOUT,
        false => ANSWER_TIMEOUT,
    }
}

fn query_of(how: UpdateQuery) -> String {
    let UpdateQuery {
        allow_downgrade,
        no_reboot,
        dry_run,
    } = how;
    let on = |flag: bool| flag.then(|| "true".to_owned());
    query(&[
        ("allowDowngrade", on(allow_downgrade)),
        ("noReboot", on(no_reboot)),
        ("dryRun", on(dry_run)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_in_the_query() {
        assert_eq!(query_of(UpdateQuery::default()), "");
        let all = UpdateQuery {
            allow_downgrade: true,
            no_reboot: true,
            dry_run: true,
        };
        assert_eq!(
            query_of(all),
            "?allowDowngrade=true&noReboot=true&dryRun=true"
        );
        assert_eq!(patience(all), LOAD_TIMEOUT);
    }
}
