//! Black-box tests: over HTTP, on both databases, with a clock that the tests turn. Each ends with
//! the laws.

use eventstore::Engine;

mod http {
    mod access;
    mod accounts;
    mod adjustments;
    mod approvals;
    mod assigned;
    mod bills;
    mod bulk;
    mod chain;
    mod closing;
    mod commitments;
    mod components;
    mod contract;
    mod credentials;
    mod dates;
    mod exports;
    mod feeds;
    mod fields;
    mod held_then;
    mod hostile;
    mod instances;
    mod interfaces;
    mod late;
    mod lifecycle;
    mod managers;
    mod margins;
    mod moves;
    mod offers;
    mod overrides;
    mod permissions;
    mod power_query;
    mod previews;
    mod privacy;
    mod properties;
    mod published;
    mod rates;
    mod refusals;
    mod rehearsals;
    mod requests;
    mod roles;
    mod rules;
    mod taxes;
    mod tenants;
    mod travel;
}

/// Every test runs on both.
const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];
