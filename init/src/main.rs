//! The `orlop-init` command.

fn main() {}
