//! OCI runtime: library and command.
