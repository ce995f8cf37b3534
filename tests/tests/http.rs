//! Black-box tests: over HTTP, on both databases, with a clock that the tests turn. Each ends with
//! the laws.

use eventstore::Engine;

mod http {
    mod access;
    mod bills;
    mod contract;
    mod rates;
    mod streams;
}

/// Every test runs on both.
const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];
