//! Unit and host TOML: model, parse, check.
