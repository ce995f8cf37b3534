//! What the black-box tests, the witness and the benchmarks share.

pub mod world;
