//! The `orlop-manager` command.

fn main() {}
