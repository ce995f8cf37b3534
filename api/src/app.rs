//! What every request can reach.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::{Ambient, Writer};
use domain::TenantPath;
use eventstore::{Database, Log};
use projections::Persons;
use projections::ledger::Seller;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::auth::Gate;
use crate::keys::Keys;
use crate::password::Passwords;
use crate::problem::Problem;
use crate::rate::{Asker, Network, Rates, SECONDS_PER_TRY, WRONG_PASSWORDS_AT_ONCE};
use crate::rest::feed::Feeds;
use crate::seals::Signer;
use crate::token::Tokens;

/// Requests served at a time; more are told to come again.
const REQUESTS_AT_A_TIME: usize = 2_048;

/// GraphQL documents that are answered at a time; more wait for their turn. Each keeps all that it shows in
/// memory, and the fewer there are, the more of it stays in the processors' caches.
const DOCUMENTS_AT_A_TIME: usize = 16;

/// What every request can reach. Clones share it.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    writer: Writer,
    gate: Arc<Gate>,
    tokens: Tokens,
    signer: Signer,
    passwords: Passwords,
    requests: Option<Rates<Asker>>,
    tries: Rates<(String, Network)>,
    feeds: Arc<Feeds>,
    stopping: AtomicBool,
    places: Semaphore,
    documents: Arc<Semaphore>,
}

impl App {
    /// On a database with its writer. The gate must be the one that the writer tells of commits.
    /// Callers make at most so many requests in a minute, if there is a limit.
    #[must_use]
    pub fn new(
        database: Database,
        writer: Writer,
        gate: Arc<Gate>,
        keys: Keys,
        requests_per_minute: Option<NonZeroU32>,
    ) -> Self {
        let pause = Duration::from_secs(SECONDS_PER_TRY);
        Self {
            inner: Arc::new(Inner {
                requests: requests_per_minute.map(Rates::per_minute),
                tries: Rates::at_once(WRONG_PASSWORDS_AT_ONCE, pause),
                passwords: Passwords::new(&keys.pepper),
                signer: Signer::new(&keys),
                tokens: Tokens::new(keys),
                feeds: Arc::default(),
                stopping: AtomicBool::new(false),
                places: Semaphore::new(REQUESTS_AT_A_TIME),
                documents: Arc::new(Semaphore::new(DOCUMENTS_AT_A_TIME)),
                database,
                writer,
                gate,
            }),
        }
    }

    /// For reading.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The log, for reading.
    #[must_use]
    pub fn log(&self) -> Log {
        Log::new(self.inner.database.clone())
    }

    /// For commands.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// Time and ids.
    #[must_use]
    pub fn ambient(&self) -> &dyn Ambient {
        self.inner.writer.ambient()
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.ambient().now()
    }

    /// Who is let in.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.inner.gate
    }

    /// Opens persons.
    #[must_use]
    pub fn persons(&self) -> &Persons {
        self.inner.gate.persons()
    }

    /// Signs and verifies tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.inner.tokens
    }

    /// Signs seals.
    pub(crate) fn signer(&self) -> &Signer {
        &self.inner.signer
    }

    /// Hashes and checks passwords.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.inner.passwords
    }

    /// Counts the requests of each caller, where they are limited.
    #[must_use]
    pub fn requests(&self) -> Option<&Rates<Asker>> {
        self.inner.requests.as_ref()
    }

    /// Counts the tries to sign in with a login from a network.
    #[must_use]
    pub fn tries(&self) -> &Rates<(String, Network)> {
        &self.inner.tries
    }

    /// The feeds of events that are open.
    #[must_use]
    pub fn feeds(&self) -> &Arc<Feeds> {
        &self.inner.feeds
    }

    /// The seller at a place in the tree, or the nearest above it, and how he bills.
    ///
    /// # Errors
    /// What the database says.
    pub async fn seller_at(&self, path: &TenantPath) -> Result<Arc<Seller>, Problem> {
        Ok(self.gate().seller_at(self.database(), path).await?)
    }

    /// A place among the requests that are being served, if there is one left.
    #[must_use]
    pub fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.places.try_acquire().ok()
    }

    /// A turn among the GraphQL documents that are being answered.
    ///
    /// # Panics
    /// Never: turns are not taken away.
    pub async fn turn(&self) -> OwnedSemaphorePermit {
        self.inner.documents.clone().acquire_owned().await.expect("nobody closes it")
    }

    /// Says that the server is about to stop: it is not ready any more.
    pub fn stop(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the server is about to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::SeqCst)
    }
}
