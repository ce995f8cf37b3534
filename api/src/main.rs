//! The `atrium` binary.

fn main() {}
