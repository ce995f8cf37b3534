//! What the writer remembers between batches.

use std::collections::HashMap;
use std::sync::Arc;

use domain::event::{Event, Recorded};
use domain::{Bug, SubjectId, planted};
use eventstore::Hash;
use projections::{View, Views};

use crate::state::{Held, State, States};

/// Streams, views and kept answers: what a unit reads and what it decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    /// States of deciders.
    pub states: States,
    /// Documents.
    pub views: Views,
    /// Answers given under idempotency keys.
    pub replies: HashMap<String, Option<KeptReply>>,
    /// What persons are sealed under, itself sealed.
    pub keys: HashMap<SubjectId, Option<SealedKey>>,
    /// The keys of documents that lists had in the database. Never remembered beyond a batch.
    pub lists: HashMap<String, Vec<String>>,
}

/// A person's key as it is stored.
pub(crate) type SealedKey = Arc<[u8]>;

/// An answer that was given before.
#[derive(Clone, Debug)]
pub(crate) struct KeptReply {
    /// Hash of the request that it answered.
    pub request: Hash,
    /// The stored [`crate::Reply`].
    pub answer: Arc<[u8]>,
}

impl Layer {
    /// Takes over what a newer layer knows.
    pub(crate) fn absorb(&mut self, newer: Self) {
        self.states.absorb(newer.states);
        self.views.absorb(newer.views);
        self.replies.extend(newer.replies);
        self.keys.extend(newer.keys);
        self.lists.extend(newer.lists);
    }

    fn len(&self) -> usize {
        self.states.len() + self.views.len() + self.replies.len() + self.keys.len()
    }

    /// Forgets all that an event changes.
    fn forget(&mut self, event: &Recorded) {
        self.states.forget(&event.stream);
        self.views.forget(event);
        if let Event::User(_) | Event::Organization(_) = event.event
            && let Some(Ok(id)) = event.stream.split_once('-').map(|(_, id)| id.parse())
        {
            self.keys.remove(&id);
        }
    }
}

/// Most entries of each of the two generations.
const GENERATION_MAX: usize = 50_000;

/// Two generations: what is new goes into the young one; when that is full it becomes the old one,
/// and what was old is forgotten. Bounded, and what is used is soon known again.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    young: Layer,
    old: Layer,
}

impl Cache {
    /// Remembers what a batch loaded or decided.
    pub(crate) fn remember(&mut self, mut layer: Layer) {
        // That a key was not used can be untrue a moment later, and no event would say so.
        layer.replies.retain(|_, kept| kept.is_some() || planted(Bug::UnusedKeyRemembered));
        layer.lists.clear();
        self.young.absorb(layer);
        if self.young.len() > GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Forgets all that an event of another process changes.
    pub(crate) fn forget(&mut self, event: &Recorded) {
        if planted(Bug::CacheKeepsOthers) {
            return;
        }
        self.young.forget(event);
        self.old.forget(event);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What is known, the newest first.
    pub(crate) fn layers(&self) -> [&Layer; 2] {
        [&self.young, &self.old]
    }
}

/// The first thing that one of the layers knows of a stream.
pub(crate) fn state<'a, D: Held>(
    layers: impl IntoIterator<Item = &'a Layer>,
    stream: &str,
) -> Option<&'a State<D>> {
    layers.into_iter().find_map(|layer| D::of(&layer.states).get(stream))
}

/// The first thing that one of the layers knows of a document.
pub(crate) fn document<'a, V: View>(
    layers: impl IntoIterator<Item = &'a Layer>,
    key: &str,
) -> Option<&'a Option<Arc<V>>> {
    layers.into_iter().find_map(|layer| V::of(&layer.views).get(key))
}

/// The first thing that one of the layers knows of a person's key.
pub(crate) fn person_key<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
    subject: SubjectId,
) -> Option<&'a Option<SealedKey>> {
    layers.into_iter().find_map(|layer| layer.keys.get(&subject))
}

/// The first thing that one of the layers knows of a kept answer.
pub(crate) fn reply<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
    key: &str,
) -> Option<&'a Option<KeptReply>> {
    layers.into_iter().find_map(|layer| layer.replies.get(key))
}
