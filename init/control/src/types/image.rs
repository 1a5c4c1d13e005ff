//! Container images in the host's store, and uploads into it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// An image that units can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageInfo {
    /// The name that units use, such as `localhost/demo:1`.
    pub reference: String,
    /// The digest of its configuration, `sha256:<hex>`.
    pub id: String,
    /// The digest of its manifest, `sha256:<hex>`.
    pub digest: String,
    /// In OCI's words (`amd64`).
    pub architecture: String,
    /// The unpacked size in bytes.
    pub size: u64,
    /// When it was made, if it says so (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// It is part of the host image, and cannot be removed.
    #[serde(default)]
    pub baked: bool,
    /// The units that name it.
    #[serde(default)]
    pub used_by: Vec<String>,
}

/// Asks for a place to upload to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadRequest {
    /// How many bytes will come.
    pub size: u64,
    /// `sha256:<hex>` of them all. The same digest and size find an upload that
    /// was begun before, so that it goes on where it ended.
    pub digest: String,
}

/// An upload under way. It is dropped when nothing came for a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Its name in paths.
    pub id: String,
    /// How many bytes are expected.
    pub size: u64,
    /// How many have come: where the next PATCH has to start.
    pub offset: u64,
}

/// Which upload to load images from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct LoadQuery {
    /// A complete upload's `id`.
    pub upload: String,
}
