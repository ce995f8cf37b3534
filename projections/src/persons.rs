//! Who users and contacts are: opened where somebody is shown it, and nowhere else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::organization::Contact;
use domain::seal::{Identity, PersonKey, Sealed, Vault};
use domain::user::Person;
use domain::{OrganizationId, SubjectId, UserId};
use eventstore::{Database, Error, PERSON_KEYS, Value, failpoint};
use moka::sync::Cache;
use serde::de::DeserializeOwned;

/// Opened keys that are remembered.
const KEYS_MAX: u64 = 100_000;

/// Opens persons, and remembers their keys until they are erased. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct Persons {
    vault: Vault,
    keys: Cache<SubjectId, PersonKey>,
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
    pub fn forget(&self, whose: impl Into<SubjectId>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.keys.invalidate(&whose.into());
    }

    /// Forgets all keys.
    pub fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.keys.invalidate_all();
    }

    /// The keys of some users or contacts, in one statement, or in none where all are remembered.
    ///
    /// # Errors
    /// What the database says; where a key is not what this installation has sealed.
    pub async fn unlock(
        &self,
        database: &Database,
        whose: impl IntoIterator<Item = impl Into<SubjectId>>,
    ) -> Result<Opened, Error> {
        let mut keys = HashMap::new();
        let mut missing = BTreeSet::new();
        for subject in whose.into_iter().map(Into::into) {
            if keys.contains_key(&subject) {
                continue;
            }
            match self.keys.get(&subject) {
                Some(key) => {
                    keys.insert(subject, key);
                }
                None => {
                    missing.insert(subject);
                }
            }
        }
        if missing.is_empty() {
            return Ok(Opened(keys));
        }
        let before = self.changes.load(Ordering::SeqCst);
        let ids = missing.iter().map(ToString::to_string).collect();
        let sql = format!(
            "select subject_id, sealed from {PERSON_KEYS} where {}",
            database.engine().any_of("subject_id", 1)
        );
        failpoint("projections::persons::open")?;
        for row in database.fetch(&sql, &[Value::Texts(ids)]).await? {
            let damaged = || {
                let id = row.text(0).unwrap_or_default();
                Error::Unsuitable(format!(
                    "the key of {id} does not open with this master key; restore a backup"
                ))
            };
            let subject: SubjectId = row.text(0)?.parse().map_err(|_| damaged())?;
            let key = self.vault.open_key(subject, row.bytes(1)?).map_err(|_| damaged())?;
            self.keys.insert(subject, key.clone());
            keys.insert(subject, key);
        }
        if self.changes.load(Ordering::SeqCst) != before {
            missing.iter().for_each(|subject| self.keys.invalidate(subject));
        }
        Ok(Opened(keys))
    }
}

/// Keys of some users and contacts: for one answer.
#[derive(Clone, Debug, Default)]
pub struct Opened(HashMap<SubjectId, PersonKey>);

impl Opened {
    /// Who a user is now; none where he was erased.
    #[must_use]
    pub fn person(&self, user: UserId, identity: Option<&Identity>) -> Option<Person> {
        match &identity?.sealed {
            Sealed::Clear(person) => Some(person.as_ref().clone()),
            sealed @ Sealed::Text(_) => self.past(user, sealed),
        }
    }

    /// How an organisation is reached now; nobody is named where the contact was erased.
    #[must_use]
    pub fn contact(&self, organization: OrganizationId, contact: &Sealed<Contact>) -> Contact {
        match contact {
            Sealed::Clear(contact) => contact.as_ref().clone(),
            Sealed::Text(_) => self.past(organization, contact).unwrap_or_default(),
        }
    }

    /// Who a user or contact was at some time, as history tells; none where he was erased since, or where it
    /// stands in clear in an old log: nobody can tell there whether he was.
    #[must_use]
    pub fn past<T: Clone + DeserializeOwned>(
        &self,
        whose: impl Into<SubjectId>,
        sealed: &Sealed<T>,
    ) -> Option<T> {
        let subject = whose.into();
        match sealed {
            Sealed::Clear(_) => None,
            Sealed::Text(_) => {
                let opened = self.0.get(&subject)?.unseal(subject, sealed);
                opened
                    .inspect_err(|error| {
                        tracing::error!(%subject, %error, "a person cannot be opened");
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
