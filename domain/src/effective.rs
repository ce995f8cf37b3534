//! What a property is for a holder, and why: every value on the way down to him, which of them wins, and
//! what it would be without each (service-model.md, section 3).

use std::cmp::Reverse;
use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::billing::{Overridden, Setting};
use crate::overrides::{Overriding, ResolvedProperty};
use crate::property::Property;
use crate::service::{Definition, Plan};
use crate::{OrganizationId, PlanKey, PropertyKey};

/// Where a value is set, from the farthest to the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// In the service's definition.
    Default,
    /// In the plan that is held.
    Plan,
    /// At an organisation on the way down.
    Organization {
        /// How many organisations lie above it.
        depth: usize,
        /// Which.
        id: OrganizationId,
    },
    /// At the subscription itself, by who provisioned it.
    Subscription,
}

/// An override of an organisation on the way down, with what is known of its making.
#[derive(Clone, Copy, Debug)]
pub struct OverrideAt<'a> {
    /// How many organisations lie above the one that it is set at.
    pub depth: usize,
    /// From when on it is true.
    pub from: DateTime<Utc>,
    /// The one that it is set at.
    pub organization: OrganizationId,
    /// What is set.
    pub overriding: &'a Overriding,
    /// Its place in the order of recording.
    pub position: u64,
}

/// What was filled in for a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Since when.
    pub from: DateTime<Utc>,
    /// Of which property.
    pub key: &'a PropertyKey,
    /// Its value.
    pub value: &'a str,
}

impl<'a> From<&'a ResolvedProperty> for Input<'a> {
    /// What a request says was filled in; since ever where it does not say.
    fn from(filled_in: &'a ResolvedProperty) -> Self {
        let from = filled_in.since.unwrap_or(DateTime::UNIX_EPOCH);
        Self { from, key: &filled_in.key, value: &filled_in.value }
    }
}

/// A value that somebody set, in force at the moment asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// Where.
    pub level: Level,
    /// Whether nobody below it can set another.
    pub locked: bool,
    /// The override's place in the order of recording; 0 for what is no override.
    pub position: u64,
    /// Since when; none: as long as the definition says so.
    pub since: Option<DateTime<Utc>>,
    /// Until when, where it ends by itself.
    pub until: Option<DateTime<Utc>>,
    /// The value.
    pub value: &'a str,
    /// Whether it is for holders of one plan only.
    for_plan: bool,
}

/// A property of a holder, and every value that was there to choose from.
#[derive(Clone, Debug)]
pub struct Effective<'a> {
    /// In force at the moment, the winner first, then the nearer before the farther.
    candidates: Vec<Candidate<'a>>,
    /// Which property.
    pub property: &'a Property,
}

impl<'a> Effective<'a> {
    /// The value that wins, with where it comes from; none where nobody says anything.
    #[must_use]
    pub fn winner(&self) -> Option<&Candidate<'a>> {
        self.candidates.first()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Option<&'a str> {
        self.winner().map(|winner| winner.value)
    }

    /// The others, the nearer first.
    #[must_use]
    pub fn losers(&self) -> &[Candidate<'a>] {
        self.candidates.get(1..).unwrap_or_default()
    }

    /// What the value would be if `candidate` had not been set.
    #[must_use]
    pub fn without(&self, candidate: &Candidate<'a>) -> Option<&Candidate<'a>> {
        best(self.candidates.iter().filter(|other| *other != candidate))
    }

    /// What keeps a level from setting another value, if anything does.
    #[must_use]
    pub fn lock_above(&self, level: Level) -> Option<&Candidate<'a>> {
        let locks = self.candidates.iter().filter(|it| it.locked && it.level < level);
        locks.min_by_key(|it| it.level)
    }
}

/// The winner: of those not below the topmost lock the nearest; within a level one for the plan before one for
/// every plan, then the latest since, then the later recorded.
fn best<'c, 'a: 'c>(
    candidates: impl Iterator<Item = &'c Candidate<'a>> + Clone,
) -> Option<&'c Candidate<'a>> {
    let lock = candidates.clone().filter(|it| it.locked).map(|it| it.level).min();
    candidates.filter(|it| lock.is_none_or(|lock| it.level <= lock)).max_by_key(|it| it.rank())
}

impl Candidate<'_> {
    fn rank(&self) -> (Level, bool, Option<DateTime<Utc>>, u64) {
        (self.level, self.for_plan, self.since, self.position)
    }
}

/// Every property of a service for one holder at a moment, in the order of the definition.
///
/// `plan` is the one that is held or wished for, `overrides` are those of the organisations on the way down
/// for this service, in any order, and `inputs` what was filled in for the subscription.
#[must_use]
pub fn resolve<'a>(
    definition: &'a Definition,
    plan: Option<&'a Plan>,
    overrides: &[OverrideAt<'a>],
    inputs: &[Input<'a>],
    moment: DateTime<Utc>,
) -> Vec<Effective<'a>> {
    let mut set = in_force(overrides, plan.map(|plan| &plan.key), moment);
    for input in inputs.iter().filter(|input| input.from <= moment) {
        set.entry(input.key).or_default().push(Candidate {
            level: Level::Subscription,
            locked: false,
            position: 0,
            since: Some(input.from),
            until: None,
            value: input.value,
            for_plan: false,
        });
    }
    let of_definition = |level, value: &'a String| Candidate {
        level,
        locked: false,
        position: 0,
        since: None,
        until: None,
        value,
        for_plan: false,
    };
    let properties = definition.properties.iter().map(|property| {
        let mut candidates = set.remove(&property.key).unwrap_or_default();
        let planned = plan.and_then(|plan| plan.properties.get(&property.key));
        candidates.extend(planned.map(|value| of_definition(Level::Plan, value)));
        candidates.extend(property.default.as_ref().map(|it| of_definition(Level::Default, it)));
        candidates.sort_unstable_by_key(|candidate| Reverse(candidate.rank()));
        let winner = best(candidates.iter()).copied();
        let place = winner.and_then(|winner| candidates.iter().position(|it| *it == winner));
        candidates[..place.map_or(0, |place| place + 1)].rotate_right(usize::from(place.is_some()));
        Effective { candidates, property }
    });
    properties.collect()
}

/// The overrides that are in force for holders of a plan at a moment: they have begun, have not ended by
/// themselves, and none that was recorded later cleared them.
fn in_force<'a>(
    overrides: &[OverrideAt<'a>],
    plan: Option<&PlanKey>,
    moment: DateTime<Utc>,
) -> HashMap<&'a PropertyKey, Vec<Candidate<'a>>> {
    let begun = overrides.iter().filter(|it| it.from <= moment);
    // For each subject, where the latest clear stands in the order of recording.
    let mut cleared = HashMap::new();
    for it in begun.clone() {
        if let Overridden::Property { key, setting: Setting::Cleared, .. } =
            &it.overriding.overridden
        {
            let latest = cleared.entry((it.depth, &it.overriding.plan, key)).or_insert(0);
            *latest = it.position.max(*latest);
        }
    }
    let mut set: HashMap<&PropertyKey, Vec<Candidate<'_>>> = HashMap::new();
    for it in begun {
        let Overridden::Property { key, locked, setting: Setting::Set { to, value }, .. } =
            &it.overriding.overridden
        else {
            continue;
        };
        let of = &it.overriding.plan;
        let is_over = to.is_some_and(|to| to <= moment)
            || cleared.get(&(it.depth, of, key)).is_some_and(|clear| *clear > it.position);
        if is_over || of.as_ref().is_some_and(|of| Some(of) != plan) {
            continue;
        }
        set.entry(key).or_default().push(Candidate {
            level: Level::Organization { depth: it.depth, id: it.organization },
            locked: *locked,
            position: it.position,
            since: Some(it.from),
            until: *to,
            value,
            for_plan: of.is_some(),
        });
    }
    set
}
