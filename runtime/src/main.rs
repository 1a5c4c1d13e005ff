//! The `orlop-runtime` command.

fn main() {}
