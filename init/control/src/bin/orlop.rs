//! `orlop`.

fn main() {}
