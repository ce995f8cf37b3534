//! What a subscription remembers of its slot's facts. A command works on a copy of its subscription, so a copy must cost the
//! same however many facts there are: they stand in chunks that copies share, and each knows what was so before it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::CommandId;
use crate::billing::{Change, Fact, Holding};

/// Most facts of one chunk: these are copied when one more is taken in.
const CHUNK_FACTS: usize = 32;

/// A slot's facts, in business order.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Vec<Arc<Chunk>>);

/// Facts that follow each other: one at the least.
#[derive(Clone, Debug)]
struct Chunk {
    before: SoFar<Arc<Fact>>,
    facts: Vec<Arc<Fact>>,
}

/// What facts come to that follow each other. The same as a [`crate::billing::Timeline`] makes of them.
#[derive(Clone, Copy, Debug)]
struct SoFar<F> {
    /// The fact that began what is held; none where nothing is.
    began: Option<F>,
    /// The fact that says what is held.
    holds: Option<F>,
    /// Whether anything was ever taken away.
    has_ended: bool,
}

impl<F: Clone + AsRef<Fact>> SoFar<F> {
    /// Before the first fact.
    const NOTHING: Self = Self { began: None, holds: None, has_ended: false };

    fn take_in(&mut self, fact: F) {
        match fact.as_ref().change {
            // Without effect where nothing is held.
            Change::Changed { .. } if self.holds.is_none() => {}
            Change::Changed { .. } => self.holds = Some(fact),
            Change::Provisioned { .. } => {
                self.began.get_or_insert_with(|| fact.clone());
                self.holds = Some(fact);
            }
            Change::Deprovisioned => {
                *self = Self { began: None, holds: None, has_ended: true };
            }
        }
    }
}

impl Chunk {
    fn first(&self) -> &Fact {
        &self.facts[0]
    }

    /// What is so after a part of its facts.
    fn so_far(&self, is_known: impl Fn(&Fact) -> bool) -> SoFar<&Arc<Fact>> {
        let SoFar { began, holds, has_ended } = &self.before;
        let mut so_far =
            SoFar { began: began.as_ref(), holds: holds.as_ref(), has_ended: *has_ended };
        let known = self.facts.iter().take_while(|fact| is_known(fact));
        known.for_each(|fact| so_far.take_in(fact));
        so_far
    }
}

impl History {
    /// The facts, in order.
    pub(super) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.0.iter().flat_map(|chunk| &chunk.facts).map(AsRef::as_ref)
    }

    /// Those that are true only after a moment.
    pub(super) fn facts_after(&self, moment: DateTime<Utc>) -> impl Iterator<Item = &Fact> {
        let begun = self.begun(moment);
        let chunks = self.0[begun.saturating_sub(1)..].iter();
        let facts = chunks.flat_map(|chunk| &chunk.facts).map(AsRef::as_ref);
        facts.skip_while(move |fact| fact.effective_at <= moment)
    }

    /// What is held at a moment; none where nothing is.
    pub(super) fn held_at(&self, moment: DateTime<Utc>) -> Option<Holding<'_>> {
        self.so_far(moment).holds?.holding()
    }

    /// The fact that began what is held at a moment; none where nothing is.
    pub(super) fn began_at(&self, moment: DateTime<Utc>) -> Option<&Fact> {
        self.so_far(moment).began.map(AsRef::as_ref)
    }

    /// Whether anything was taken away at a moment or before.
    pub(super) fn has_ended_by(&self, moment: DateTime<Utc>) -> bool {
        self.so_far(moment).has_ended
    }

    /// Takes in one more fact. Cheap where few come after it, as is mostly so.
    pub(super) fn record(&mut self, fact: Fact) {
        let order = fact.order();
        let own = self.0.partition_point(|chunk| chunk.first().order() <= order).saturating_sub(1);
        let mut later = self.split_off(own);
        let place = later.partition_point(|other| other.order() <= order);
        later.insert(place, Arc::new(fact));
        later.into_iter().for_each(|fact| self.push(fact));
    }

    /// Takes the facts of a request out, as if it had never been asked.
    pub(super) fn withdraw(&mut self, request: CommandId) {
        let is_its = |fact: &Arc<Fact>| fact.request == Some(request);
        let Some(first) = self.0.iter().position(|chunk| chunk.facts.iter().any(is_its)) else {
            return;
        };
        let later = self.split_off(first);
        later.into_iter().filter(|fact| !is_its(fact)).for_each(|fact| self.push(fact));
    }

    /// How many chunks begin at a moment or before.
    fn begun(&self, moment: DateTime<Utc>) -> usize {
        self.0.partition_point(|chunk| chunk.first().effective_at <= moment)
    }

    fn so_far(&self, moment: DateTime<Utc>) -> SoFar<&Arc<Fact>> {
        let last = self.begun(moment).checked_sub(1);
        let last = last.map(|place| self.0[place].so_far(|fact| fact.effective_at <= moment));
        last.unwrap_or(SoFar::NOTHING)
    }

    /// Takes out all facts from a chunk on. Of a last chunk that has room, these are few.
    fn split_off(&mut self, place: usize) -> Vec<Arc<Fact>> {
        let chunks = self.0.drain(place..);
        chunks.flat_map(|chunk| Arc::unwrap_or_clone(chunk).facts).collect()
    }

    /// Appends a fact that comes after all there are.
    fn push(&mut self, fact: Arc<Fact>) {
        match self.0.last_mut() {
            Some(last) if last.facts.len() < CHUNK_FACTS => Arc::make_mut(last).facts.push(fact),
            last => {
                let before = last.map_or(SoFar::NOTHING, |last| {
                    let SoFar { began, holds, has_ended } = last.so_far(|_| true);
                    SoFar { began: began.cloned(), holds: holds.cloned(), has_ended }
                });
                self.0.push(Arc::new(Chunk { before, facts: vec![fact] }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::PlanKey;
    use crate::billing::Timeline;

    fn instant(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// What is done to a history: a fact at some second, of some kind, of some request; or all facts of one are taken out.
    fn steps() -> impl Strategy<Value = Vec<(i64, u8, u8)>> {
        prop::collection::vec((0_i64..40, 0_u8..8, 0_u8..30), 0..100)
    }

    fn fact(second: i64, position: u64, kind: u8, request: CommandId) -> Fact {
        let plan = PlanKey::parse(if kind.is_multiple_of(2) { "a" } else { "b" }).unwrap();
        let change = match kind {
            0 | 1 => Change::Provisioned { plan, quantity: 1 },
            2 => Change::Deprovisioned,
            _ => Change::Changed { plan, quantity: u32::try_from(position).unwrap() },
        };
        Fact {
            date: None,
            actor: String::new(),
            change,
            effective_at: instant(second),
            position,
            reason: None,
            request: Some(request),
            values: Default::default(),
        }
    }

    proptest! {
        #[test]
        fn it_says_what_a_timeline_of_the_same_facts_says(steps in steps()) {
            let (mut history, mut facts) = (History::default(), Vec::<Fact>::new());
            for (position, (second, kind, request)) in (1..).zip(steps) {
                let request = CommandId(uuid::Uuid::from_u128(request.into()));
                let shared = history.clone();
                let before: Vec<_> = shared.facts().cloned().collect();
                if kind == 7 {
                    history.withdraw(request);
                    facts.retain(|fact| fact.request != Some(request));
                } else {
                    let fact = fact(second, position, kind, request);
                    history.record(fact.clone());
                    facts.push(fact);
                }
                prop_assert!(shared.facts().eq(&before), "copies stay what they are");
            }
            let timeline = Timeline::new(facts);
            prop_assert!(history.facts().eq(timeline.facts()));
            for moment in (-1..41).map(instant) {
                prop_assert_eq!(history.held_at(moment), timeline.state_at(moment));
                let began = timeline.run_at(moment).map(|run| run.began());
                prop_assert_eq!(history.began_at(moment), began);
                let (then, later): (Vec<_>, Vec<_>) =
                    timeline.facts().iter().partition(|fact| fact.effective_at <= moment);
                let ended = then.iter().any(|fact| fact.change == Change::Deprovisioned);
                prop_assert_eq!(history.has_ended_by(moment), ended);
                prop_assert!(history.facts_after(moment).eq(later));
            }
        }
    }

    #[test]
    fn a_copy_shares_all_but_the_last_facts() {
        let mut history = History::default();
        let request = CommandId(uuid::Uuid::nil());
        (1..=1_000).for_each(|position| history.record(fact(1, position, 3, request)));
        let mut copy = history.clone();
        copy.record(fact(1, 1_001, 3, request));
        let shared = history.0.iter().zip(&copy.0).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert!(shared.count() + 1 >= history.0.len());
        assert!(history.0.len() <= 1_000 / CHUNK_FACTS + 1);
    }
}
