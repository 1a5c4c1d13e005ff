//! `cargo vm`.

fn main() {}
