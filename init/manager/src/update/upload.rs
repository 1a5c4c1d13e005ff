//! Chunks that a client sends.

use orlop_bundle::Head;
use orlop_bundle::chunk::COMPRESSED_MAX;
use orlop_control::types::{
    ApiError, MissingChunks, NOT_RECEIVING, UpdatePhase, UpdateQuery, UpdateStatus,
};

use super::error::UpdateError;
use super::pending::Origin;
use super::target::PutError;
use super::{Current, Updater, aside};

/// A record's number and length, in bytes.
const PREFIX: usize = 8;

impl Updater {
    /// Begins an update whose chunks the client sends; `head` is the bundle's, or joins it.
    ///
    /// # Errors
    /// As [`Updater::begin`].
    pub async fn begin_upload(
        &self,
        head: Vec<u8>,
        query: UpdateQuery,
    ) -> Result<UpdateStatus, ApiError> {
        self.ready()?;
        let head = Head::read(&mut head.as_slice()).map_err(UpdateError::Bundle)?;
        let trusted = self.judge(head, query.allow_downgrade)?;
        self.start(trusted, Origin::Upload, query).await
    }

    /// The chunks that are to be sent.
    ///
    /// # Errors
    /// None are, now.
    pub fn missing(&self) -> Result<MissingChunks, ApiError> {
        let chunks = self.receiving()?.target.missing();
        Ok(MissingChunks { chunks })
    }

    fn receiving(&self) -> Result<Current, ApiError> {
        let phase = self.0.progress.current_phase();
        match &*self.current() {
            Some(current) if phase == UpdatePhase::Receiving => Ok(current.clone()),
            _ => Err(ApiError::new(
                409,
                NOT_RECEIVING,
                format!("no chunks are expected: {}", phase.as_str()),
            )
            .with_help("POST /v1/update/head begins an update, and GET /v1/update says when")),
        }
    }

    /// Takes chunks, in the form that `CHUNKS_SIZE_MAX` tells of.
    ///
    /// # Errors
    /// They are not in that form, or not the bundle's; the disk. The ones before are taken.
    pub async fn put(&self, body: Vec<u8>) -> Result<UpdateStatus, ApiError> {
        let current = self.receiving()?;
        let put = aside(move || {
            records(&body).try_for_each(|record| {
                let (number, compressed) = record?;
                current
                    .target
                    .put(number, compressed)
                    .map(drop)
                    .map_err(|error| refused(number, error))
            })
        });
        put.await??;
        Ok(self.status())
    }
}

fn refused(number: u32, error: PutError) -> ApiError {
    match error {
        PutError::Chunk(error) => ApiError::invalid(format!("chunk {number}: {error}")),
        PutError::NoChunk(_) => ApiError::invalid(error.to_string()),
        PutError::Update(error) => error.into(),
    }
}

/// The chunks in a request's body: number and compressed bytes.
fn records(mut body: &[u8]) -> impl Iterator<Item = Result<(u32, &[u8]), ApiError>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let record = first_record(body);
        body = match &record {
            Some((_, _, rest)) => rest,
            None => &[],
        };
        let refused = || ApiError::invalid("the body is not a sequence of chunks");
        Some(
            record
                .map(|(number, bytes, _)| (number, bytes))
                .ok_or_else(refused),
        )
    })
}

fn first_record(body: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX>()?;
    let [a, b, c, d, e, f, g, h] = *prefix;
    let number = u32::from_le_bytes([a, b, c, d]);
    let length = u32::from_le_bytes([e, f, g, h]);
    if length > COMPRESSED_MAX {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(length as usize)?;
    Some((number, bytes, rest))
}

#[cfg(test)]
mod form {
    use super::*;

    #[test]
    fn records_are_read_and_what_is_none_is_refused() {
        let mut body = Vec::new();
        for (number, bytes) in [(7_u32, &b"abc"[..]), (9, b""), (8, b"x")] {
            body.extend(number.to_le_bytes());
            body.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            body.extend(bytes);
        }
        let read: Vec<_> = records(&body).map(Result::unwrap).collect();
        assert_eq!(read, [(7, &b"abc"[..]), (9, b""), (8, b"x")]);
        for cut in 1..body.len() {
            let whole = [11, 19].contains(&cut);
            let last = records(&body[..cut]).last().unwrap();
            assert_eq!(last.is_ok(), whole, "{cut}");
        }
        let huge = [1, 0, 0, 0, 255, 255, 255, 255];
        assert!(records(&huge).next().unwrap().is_err());
    }
}
