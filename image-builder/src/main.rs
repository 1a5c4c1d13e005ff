//! The `orlop-image` command.

fn main() {}
