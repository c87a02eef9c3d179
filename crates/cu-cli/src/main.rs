//! The binary `cu`.

fn main() {}
