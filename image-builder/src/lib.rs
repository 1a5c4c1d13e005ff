//! Builds disk images, update bundles and small OCI images.
