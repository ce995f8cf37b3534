//! Suites that prove promises, longer than the tests do.

pub mod edits;
