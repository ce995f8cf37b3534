//! What is sold to whom (service-model.md, section 4): a service reaches an organisation through an unbroken
//! chain of offers from the provider down, and of its plans those that every link passes on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{PlanKey, ServiceKey};

/// Some plans of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Plans {
    /// All that there are and will be.
    #[default]
    All,
    /// These.
    These(BTreeSet<PlanKey>),
}

impl Plans {
    /// Whether a plan is one of them.
    #[must_use]
    pub fn contain(&self, plan: &PlanKey) -> bool {
        match self {
            Self::All => true,
            Self::These(plans) => plans.contains(plan),
        }
    }

    /// Those that are among both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, plans) | (plans, Self::All) => plans.clone(),
            (Self::These(ours), Self::These(theirs)) => Self::These(ours & theirs),
        }
    }

    /// Those that are among either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::These(ours), Self::These(theirs)) => Self::These(ours | theirs),
        }
    }
}

/// How far an offer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// To the organisation.
    Itself,
    /// To it and to all below it, also to those who come later.
    Subtree,
    /// To all below it: what it is offered itself is for those above to say.
    Below,
}

/// An offer that is made to an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// Which plans.
    #[serde(default, skip_serializing_if = "is_all")]
    pub plans: Plans,
    /// How far it goes.
    pub reach: Reach,
    /// Of which service.
    pub service: ServiceKey,
}

/// The end of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// How far it goes.
    pub reach: Reach,
    /// Of which service.
    pub service: ServiceKey,
}

fn is_all(plans: &Plans) -> bool {
    *plans == Plans::All
}

/// How it stands with a service at one organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// What is offered to it; none: what was rolled out from above.
    pub own: Option<Plans>,
    /// What is rolled out from here to all below; none: nothing from here.
    pub below: Option<Plans>,
    /// Whether it was withdrawn, whatever is rolled out from above.
    pub is_withdrawn: bool,
}

impl Offer {
    /// Takes in an offer.
    pub fn extend(&mut self, offering: &Offering) {
        if offering.reach != Reach::Below {
            self.own = Some(offering.plans.clone());
            self.is_withdrawn = false;
        }
        if offering.reach != Reach::Itself {
            self.below = Some(offering.plans.clone());
        }
    }

    /// Takes in the end of one.
    pub fn withdraw(&mut self, reach: Reach) {
        if reach != Reach::Below {
            self.own = None;
            self.is_withdrawn = true;
        }
        if reach != Reach::Itself {
            self.below = None;
        }
    }
}

/// The plans that reach the last of these organisations, the provider first; none: the service does not.
pub fn reaching<'a>(chain: impl IntoIterator<Item = Option<&'a Offer>>) -> Option<Plans> {
    let mut plans = Plans::All;
    let mut rolled_out: Option<&Plans> = None;
    for (depth, offer) in chain.into_iter().enumerate() {
        if depth > 0 {
            if offer.is_some_and(|offer| offer.is_withdrawn) {
                return None;
            }
            plans = plans.and(offer.and_then(|offer| offer.own.as_ref()).or(rolled_out)?);
        }
        rolled_out = offer.and_then(|offer| offer.below.as_ref()).or(rolled_out);
    }
    Some(plans)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plans(keys: &[&str]) -> Plans {
        Plans::These(keys.iter().map(|key| PlanKey::parse(key).unwrap()).collect())
    }

    fn offer(reach: Reach, plans: Plans) -> Offer {
        let mut offer = Offer::default();
        let service = ServiceKey::parse("backup").unwrap();
        offer.extend(&Offering { plans, reach, service });
        offer
    }

    #[test]
    fn some_plans_contain_these_and_all_contain_every_one() {
        let [a, b] = ["a", "b"].map(|key| PlanKey::parse(key).unwrap());
        assert!(plans(&["a"]).contain(&a) && !plans(&["a"]).contain(&b));
        assert!(Plans::All.contain(&b));
    }

    #[test]
    fn the_provider_has_everything_and_nobody_else_has_anything_unasked() {
        assert_eq!(reaching([None]), Some(Plans::All));
        assert_eq!(reaching([None, None]), None);
        let own = offer(Reach::Itself, Plans::All);
        assert_eq!(reaching([None, Some(&own)]), Some(Plans::All));
        assert_eq!(reaching([None, Some(&own), None]), None, "it was not offered on");
        assert_eq!(reaching([None, None, Some(&own)]), None, "the chain is broken above");
    }

    #[test]
    fn each_link_passes_on_what_it_has_at_most() {
        let (two, one) =
            (offer(Reach::Itself, plans(&["a", "b"])), offer(Reach::Itself, plans(&["b", "c"])));
        assert_eq!(reaching([None, Some(&two), Some(&one)]), Some(plans(&["b"])));
    }

    #[test]
    fn what_is_rolled_out_reaches_all_below_who_are_offered_nothing_else() {
        let everywhere = offer(Reach::Below, Plans::All);
        let (own, nearer) =
            (offer(Reach::Itself, plans(&["a"])), offer(Reach::Subtree, plans(&["b"])));
        assert_eq!(reaching([Some(&everywhere), None, None]), Some(Plans::All));
        assert_eq!(reaching([Some(&everywhere), Some(&own), None]), Some(plans(&["a"])));
        assert_eq!(reaching([Some(&everywhere), Some(&nearer), None]), Some(plans(&["b"])));
    }

    #[test]
    fn what_is_withdrawn_does_not_come_from_above_until_it_is_offered_again() {
        let everywhere = offer(Reach::Below, Plans::All);
        let mut withdrawn = offer(Reach::Subtree, Plans::All);
        withdrawn.withdraw(Reach::Subtree);
        assert_eq!(reaching([Some(&everywhere), Some(&withdrawn)]), None);
        assert_eq!(reaching([Some(&everywhere), Some(&withdrawn), Some(&everywhere)]), None);
        let service = ServiceKey::parse("backup").unwrap();
        withdrawn.extend(&Offering { plans: plans(&["a"]), reach: Reach::Itself, service });
        assert_eq!(reaching([Some(&everywhere), Some(&withdrawn)]), Some(plans(&["a"])));
        let mut not_below = offer(Reach::Subtree, Plans::All);
        not_below.withdraw(Reach::Below);
        assert_eq!(reaching([None, Some(&not_below)]), Some(Plans::All));
        assert_eq!(reaching([None, Some(&not_below), None]), None);
    }

    fn any_offer() -> impl Strategy<Value = Option<Offer>> {
        let some =
            proptest::option::of(proptest::collection::btree_set("[abc]", 0..3).prop_map(|keys| {
                Plans::These(keys.iter().map(|key| PlanKey::parse(key).unwrap()).collect())
            }));
        let offer = (some.clone(), some, any::<bool>())
            .prop_map(|(own, below, is_withdrawn)| Offer { own, below, is_withdrawn });
        proptest::option::of(offer)
    }

    /// One plan at a time, level by level, from the bottom up.
    fn naive(chain: &[Option<Offer>], plan: &PlanKey) -> bool {
        (1..chain.len()).all(|level| {
            let here = chain[level].clone().unwrap_or_default();
            let above = chain[..level].iter().rev().flatten().find_map(|it| it.below.clone());
            !here.is_withdrawn && here.own.or(above).is_some_and(|plans| plans.contain(plan))
        })
    }

    proptest! {
        #[test]
        fn a_plan_reaches_whom_every_link_passes_it_on_to(
            chain in proptest::collection::vec(any_offer(), 1..7),
        ) {
            let found = reaching(chain.iter().map(Option::as_ref));
            for key in ["a", "b", "c"] {
                let plan = PlanKey::parse(key).unwrap();
                let reaches = found.as_ref().is_some_and(|plans| plans.contain(&plan));
                prop_assert_eq!(reaches, naive(&chain, &plan), "{} in {:?}", key, &chain);
            }
        }
    }
}
