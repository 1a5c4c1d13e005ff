//! Builds disk images, update bundles and small OCI images.

pub mod oci;
