//! Who users are: opened where somebody is shown it, and nowhere else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::UserId;
use domain::seal::{Identity, PersonKey, Sealed, Vault};
use domain::user::Person;
use eventstore::{Database, Error, PERSON_KEYS, Value, failpoint};
use moka::sync::Cache;

/// Opened keys that are remembered.
const KEYS_MAX: u64 = 100_000;

/// Opens persons, and remembers their keys until they are erased. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct Persons {
    vault: Vault,
    keys: Cache<UserId, PersonKey>,
    /// Grows with every erasure, so that what was read before it is not remembered after it.
    changes: Arc<AtomicU64>,
}

impl Persons {
    /// With the keys of an installation.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault, keys: Cache::new(KEYS_MAX), changes: Arc::default() }
    }

    /// The keys of the installation.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Forgets the key of somebody who may have been erased.
    pub fn forget(&self, user: UserId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.keys.invalidate(&user);
    }

    /// Forgets all keys.
    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.keys.invalidate_all();
    }

    /// The keys of some users, in one statement, or in none where all are remembered.
    ///
    /// # Errors
    /// What the database says; where a key is not what this installation has sealed.
    pub async fn unlock(
        &self,
        database: &Database,
        users: impl IntoIterator<Item = UserId>,
    ) -> Result<Opened, Error> {
        let mut keys = HashMap::new();
        let mut missing = BTreeSet::new();
        for user in users {
            if keys.contains_key(&user) {
                continue;
            }
            match self.keys.get(&user) {
                Some(key) => {
                    keys.insert(user, key);
                }
                None => {
                    missing.insert(user);
                }
            }
        }
        if missing.is_empty() {
            return Ok(Opened(keys));
        }
        let before = self.changes.load(Ordering::SeqCst);
        let ids = missing.iter().map(ToString::to_string).collect();
        let sql = format!(
            "select user_id, sealed from {PERSON_KEYS} where {}",
            database.engine().any_of("user_id", 1)
        );
        failpoint("projections::persons::open")?;
        for row in database.fetch(&sql, &[Value::Texts(ids)]).await? {
            let damaged = || {
                let id = row.text(0).unwrap_or_default();
                Error::Unsuitable(format!(
                    "the key of the user {id} does not open with this master key; restore a backup"
                ))
            };
            let user = row.text(0)?.parse().map_err(|_| damaged())?;
            let key = self.vault.open_key(user, row.bytes(1)?).map_err(|_| damaged())?;
            self.keys.insert(user, key.clone());
            keys.insert(user, key);
        }
        if self.changes.load(Ordering::SeqCst) != before {
            missing.iter().for_each(|user| self.keys.invalidate(user));
        }
        Ok(Opened(keys))
    }
}

/// Keys of some users: for one answer.
#[derive(Clone, Debug, Default)]
pub struct Opened(HashMap<UserId, PersonKey>);

impl Opened {
    /// Who a user is now; none where he was erased.
    #[must_use]
    pub fn person(&self, user: UserId, identity: Option<&Identity>) -> Option<Person> {
        match &identity?.sealed {
            Sealed::Clear(person) => Some(person.as_ref().clone()),
            sealed @ Sealed::Text(_) => self.past(user, sealed),
        }
    }

    /// Who a user was at some time, as history tells; none where he was erased since, or where it stands in
    /// clear in an old log: nobody can tell there whether he was.
    #[must_use]
    pub fn past(&self, user: UserId, sealed: &Sealed) -> Option<Person> {
        match sealed {
            Sealed::Clear(_) => None,
            Sealed::Text(_) => {
                let opened = self.0.get(&user)?.unseal(user, sealed);
                opened
                    .inspect_err(|error| {
                        tracing::error!(%user, %error, "a person cannot be opened");
                    })
                    .ok()
            }
        }
    }

    /// What a user is called.
    #[must_use]
    pub fn name(&self, user: UserId, identity: Option<&Identity>) -> String {
        self.person(user, identity)
            .map_or_else(|| domain::user::ERASED.to_owned(), |person| person.full_name())
    }
}
