//! OCI image store: read, check, merge, unpack, collect.
