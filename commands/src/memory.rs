//! A writer without a database: obvious and slow. What the real one is compared with.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use domain::event::Recorded;
use domain::seal::Vault;
use domain::{SubjectId, TenantPath};
use projections::{Below, View, Wants};

use crate::cache::{KeptReply, Layer, SealedKey};
use crate::error::Stop;
use crate::unit::{Decided, Ground, Unit};
use crate::writer::{Answer, Failure, answer, reply_key};
use crate::{Ambient, Committed, Error, Submission};

/// Below the first layer.
struct Nothing;

impl Below for Nothing {
    fn document<V: View>(&self, _key: &str) -> Option<Option<Arc<V>>> {
        Some(None)
    }

    fn keys_at<V: View>(&self, _: &TenantPath, _: &mut Wants) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// Keeps the log in memory, folds all of it again for each command, and does one at a time: no
/// batches, no caches, no races.
pub struct MemoryWriter {
    ambient: Arc<dyn Ambient>,
    vault: Vault,
    events: Vec<Recorded>,
    replies: HashMap<String, Option<KeptReply>>,
    keys: HashMap<SubjectId, Option<SealedKey>>,
}

impl MemoryWriter {
    /// An empty log.
    #[must_use]
    pub fn new(vault: Vault, ambient: Arc<dyn Ambient>) -> Self {
        let (replies, keys) = (HashMap::new(), HashMap::new());
        Self { ambient, vault, events: Vec::new(), replies, keys }
    }

    /// The keys that persons are sealed under, themselves sealed, as the database would have them.
    pub fn person_keys(&self) -> impl Iterator<Item = (SubjectId, &[u8])> {
        self.keys.iter().filter_map(|(subject, sealed)| Some((*subject, sealed.as_deref()?)))
    }

    /// The log.
    #[must_use]
    pub fn events(&self) -> &[Recorded] {
        &self.events
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// What the real writer says, but for what only a queue or a database can cause.
    pub fn submit(&mut self, submission: &Submission) -> Result<Committed, Error> {
        let (replies, keys) = (self.replies.clone(), self.keys.clone());
        let mut known = Layer { replies, keys, ..Layer::default() };
        let mut wants = Wants::default();
        for event in &self.events {
            known.states.fold(event);
            known.views.fold(event, &Nothing, &mut wants);
        }
        let last = self.events.last().map(|event| event.recorded_at);
        let now = last.map_or(self.ambient.now(), |last| self.ambient.now().max(last));
        let ground = Ground {
            layers: &[&known],
            next_position: self.events.len() as u64 + 1,
            now,
            ambient: self.ambient.as_ref(),
            vault: &self.vault,
        };
        // All that there is is known, so what the unit wants is really not there.
        let mut unit = Unit::new(ground, submission.caller);
        match catch_unwind(AssertUnwindSafe(|| answer(&mut unit, submission))) {
            Ok(Ok(Answer::New(reply))) => {
                let Decided { layer, events, .. } = unit.decided();
                self.events.extend(events);
                self.keys.extend(layer.keys);
                if let Some(idempotency) = &submission.idempotency {
                    let answer = serde_json::to_vec(&reply).expect("a reply has a JSON form");
                    let kept = KeptReply { request: idempotency.request, answer: answer.into() };
                    let key = reply_key(submission.caller, &idempotency.key);
                    self.replies.insert(key, Some(kept));
                }
                Ok(Committed { reply, replayed: false })
            }
            Ok(Ok(Answer::Kept(reply))) => Ok(Committed { reply, replayed: true }),
            Ok(Err(Failure::KeyReused)) => Err(Error::KeyReused),
            Ok(Err(Failure::Stopped(Stop::Refused(refusal)))) => Err(Error::Refused(refusal)),
            Ok(Err(Failure::Stopped(Stop::Unauthenticated))) => Err(Error::Unauthenticated),
            Err(_) => Err(Error::Panicked),
        }
    }
}
