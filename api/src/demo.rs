//! A small MSP with two years of history.
