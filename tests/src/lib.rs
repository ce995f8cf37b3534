//! What the black-box tests, the witness and the benchmarks share.

pub mod bench;
pub mod books;
pub mod history;
pub mod http;
pub mod laws;
pub mod prove;
#[cfg(feature = "faults")]
pub mod simulation;
pub mod witness;
pub mod world;
