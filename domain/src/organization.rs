//! Organisations: the provider, its resellers, their customers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::approval::{POLICIES_MAX, Policy};
use crate::custom_fields::CustomFields;
use crate::decider::Decider;
use crate::lifecycle::{Status, Transition, gone, transitions_of};
use crate::offer::{Offer, Offering, Plans, Reach, Withdrawal};
use crate::overrides::Overriding;
use crate::role::GIVEN_MAX;
use crate::seal::Sealed;
use crate::text::{Address, Code};
use crate::{OrganizationId, Refusal, RoleId, ServiceKey, TenantPath};

/// What an organisation is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The root; exactly one.
    Provider,
    /// Sells on to customers and other resellers.
    Reseller,
    /// Holds services, for itself and for its users.
    Customer,
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Reseller => "reseller",
            Self::Customer => "customer",
        }
    }
}

/// Why an organisation or a user is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// To do business with.
    #[default]
    Standard,
    /// To try things out.
    Test,
    /// To show things.
    Demo,
}

impl Purpose {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Test => "test",
            Self::Demo => "demo",
        }
    }

    /// Whether there is nothing to say about it.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// How to reach an organisation, by somebody there. It is stored sealed, and never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Address>,
    /// Whom to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact(***)")
    }
}

/// What can be edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Unique account code in the accounting system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_identifier: Option<String>,
    /// Unique short name.
    pub code: Code,
    /// How to reach it, sealed.
    pub contact: Sealed<Contact>,
    /// What the installation keeps of it beside that.
    #[serde(default, skip_serializing_if = "CustomFields::is_empty")]
    pub custom_fields: CustomFields,
    /// Its name.
    pub name: String,
    /// Why it is there.
    #[serde(rename = "type")]
    pub purpose: Purpose,
}

impl Details {
    /// Whether somebody is named as the contact.
    #[must_use]
    pub fn names_contact(&self) -> bool {
        self.contact != Sealed::default()
    }
}

/// A wish about an organisation.
#[derive(Clone, Debug)]
pub enum OrganizationCommand {
    /// Found it.
    Create {
        /// Its own id.
        id: OrganizationId,
        /// What it is.
        kind: Kind,
        /// Assigned once, never reused; the `id` of the billing API.
        number: u32,
        /// Directly above; none for the provider.
        parent: Option<OrganizationId>,
        /// Where it is in the tree.
        path: TenantPath,
        /// The rest.
        details: Details,
    },
    /// Change its details.
    Edit(Details),
    /// Forget how to reach it, for good.
    EraseContact,
    /// Take a step of its life.
    Transition(Transition),
    /// Override a price or a plan's property, or clear such an override.
    Override(Overriding),
    /// Give it a role, for its people and for those below.
    GiveRole(RoleId),
    /// Take a role away from it, and from all below.
    TakeRole(RoleId),
    /// Offer it a service, or those below it.
    Offer(Offering),
    /// Add plans to the offers that name theirs.
    AddPlans(ServiceKey, Plans),
    /// Offer it a service no more.
    Withdraw(Withdrawal),
    /// Say who is asked before anything is done with a service, or with all that have no policy of their own; here and
    /// below.
    SetApprovals(Option<ServiceKey>, Policy),
    /// Ask nobody any more because of that.
    ClearApprovals(Option<ServiceKey>),
    /// Put it below another seller.
    Move {
        /// Directly above from then on.
        parent: OrganizationId,
        /// Where it is in the tree from then on.
        path: TenantPath,
    },
    /// Note that a customer has gone to another seller.
    LetGo(OrganizationId),
    /// Have it billed by a seller above it.
    BillBy(OrganizationId),
}

/// A fact about an organisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum OrganizationEvent {
    /// It was founded.
    #[serde(rename = "organization.created")]
    Created {
        /// The editable part.
        details: Details,
        /// Its own id.
        id: OrganizationId,
        /// What it is.
        kind: Kind,
        /// Assigned once, never reused.
        number: u32,
        /// Directly above; none for the provider.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<OrganizationId>,
        /// Where it is in the tree.
        path: TenantPath,
    },
    /// Its details were changed.
    #[serde(rename = "organization.edited")]
    Edited {
        /// All of them, as they are now.
        details: Details,
    },
    /// Whom it named as its contact, ever, can be read no more.
    #[serde(rename = "organization.contact_erased")]
    ContactErased {},
    /// It was disabled.
    #[serde(rename = "organization.disabled")]
    Disabled {},
    /// It was enabled again.
    #[serde(rename = "organization.enabled")]
    Enabled {},
    /// Its services and those of its users were taken away.
    #[serde(rename = "organization.deprovisioned")]
    Deprovisioned {},
    /// It was hidden.
    #[serde(rename = "organization.deleted")]
    Deleted {},
    /// It was restored.
    #[serde(rename = "organization.restored")]
    Restored {},
    /// It was hidden for good.
    #[serde(rename = "organization.purged")]
    Purged {},
    /// A price or property was overridden for it and all below, from the event's effective time.
    #[serde(rename = "organization.overridden")]
    Overridden(Overriding),
    /// It was given a role that was made above.
    #[serde(rename = "organization.role_given")]
    RoleGiven {
        /// Which.
        role: RoleId,
    },
    /// The role was taken away from it, and so from all below.
    #[serde(rename = "organization.role_taken")]
    RoleTaken {
        /// Which.
        role: RoleId,
    },
    /// A service was offered to it, or to those below it.
    #[serde(rename = "organization.offered")]
    Offered(Offering),
    /// An offer was withdrawn.
    #[serde(rename = "organization.offer_withdrawn")]
    OfferWithdrawn(Withdrawal),
    /// Who is asked before anything is done with a service was set.
    #[serde(rename = "organization.approvals_set")]
    ApprovalsSet {
        /// Who, and for what.
        policy: Policy,
        /// Which service; all that have no policy of their own where it is left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// Nobody is asked any more because of that.
    #[serde(rename = "organization.approvals_cleared")]
    ApprovalsCleared {
        /// Which service; all that have no policy of their own where it is left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// It was put below another seller, who bills it from the event's effective time.
    #[serde(rename = "organization.moved")]
    Moved {
        /// Where it was in the tree.
        from: TenantPath,
        /// Directly above.
        parent: OrganizationId,
        /// Where it is in the tree.
        path: TenantPath,
    },
    /// A customer was put below another seller: said at the one that it left.
    #[serde(rename = "organization.customer_left")]
    CustomerLeft {
        /// Which.
        customer: OrganizationId,
    },
    /// It is billed by a seller above it, from the event's effective time.
    #[serde(rename = "organization.billed_by")]
    BilledBy {
        /// Which.
        seller: OrganizationId,
    },
}

impl OrganizationEvent {
    /// Where it leaves the organisation in its life.
    #[must_use]
    pub fn status(&self, before: Status) -> Status {
        match self {
            Self::Created { .. } | Self::Enabled {} => Status::Active,
            Self::Disabled {} => Status::Disabled,
            Self::Deprovisioned {} | Self::Restored {} => Status::Deprovisioned,
            Self::Deleted {} => Status::Deleted,
            Self::Purged {} => Status::Purged,
            Self::Edited { .. }
            | Self::ContactErased {}
            | Self::Overridden(_)
            | Self::Offered(_)
            | Self::OfferWithdrawn(_)
            | Self::ApprovalsSet { .. }
            | Self::ApprovalsCleared { .. }
            | Self::Moved { .. }
            | Self::CustomerLeft { .. }
            | Self::BilledBy { .. }
            | Self::RoleGiven { .. }
            | Self::RoleTaken { .. } => before,
        }
    }
}

transitions_of!(OrganizationEvent);

/// An organisation as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Organization {
    founded: Option<Founded>,
    /// Whether there is a contact, or was one that has not been erased.
    pub has_named_contact: bool,
    /// Whether it is in use.
    pub status: Status,
    /// Overrides set here, with when each is from, in the order of recording.
    pub overrides: Vec<(DateTime<Utc>, Overriding)>,
    /// Roles made above that it was given.
    pub given: BTreeSet<RoleId>,
    /// How it stands with the services here.
    pub offers: BTreeMap<ServiceKey, Offer>,
    /// Who is asked first, by service; under none: for all services that have no policy of their own.
    pub approvals: BTreeMap<Option<ServiceKey>, Policy>,
}

/// What is known since its founding.
#[derive(Clone, Debug)]
pub struct Founded {
    /// The seller above that bills it, where that is not the one directly above.
    pub billed_by: Option<OrganizationId>,
    /// Since when it has been billed as it is, where that was ever changed.
    pub billed_since: Option<DateTime<Utc>>,
    /// The editable part.
    pub details: Details,
    /// Its own id.
    pub id: OrganizationId,
    /// What it is.
    pub kind: Kind,
    /// Assigned once, never reused.
    pub number: u32,
    /// Directly above; none for the provider.
    pub parent: Option<OrganizationId>,
    /// Where it is in the tree.
    pub path: TenantPath,
}

impl Founded {
    /// Who bills it; nobody bills the provider.
    #[must_use]
    pub fn seller(&self) -> Option<OrganizationId> {
        self.billed_by.or(self.parent)
    }
}

impl Organization {
    /// What is known since its founding.
    ///
    /// # Errors
    /// Not found where it was never founded.
    pub fn founded(&self) -> Result<&Founded, Refusal> {
        self.founded.as_ref().ok_or_else(Refusal::not_found)
    }
}

impl Decider for Organization {
    const CATEGORY: &'static str = "organization";
    type Command = OrganizationCommand;
    type Event = OrganizationEvent;

    fn decide(
        &self,
        command: Self::Command,
        effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        use OrganizationCommand as C;
        use OrganizationEvent as E;
        match (&self.founded, command) {
            (None, C::Create { id, kind, number, parent, path, details }) => {
                Ok(vec![E::Created { details, id, kind, number, parent, path }])
            }
            (Some(_), C::Create { .. }) => {
                Err(Refusal::conflict("exists", "This organisation exists already."))
            }
            (None, _) => Err(Refusal::not_found()),
            (
                Some(_),
                C::Edit(_)
                | C::Override(_)
                | C::Offer(_)
                | C::AddPlans(..)
                | C::Withdraw(_)
                | C::SetApprovals(..)
                | C::ClearApprovals(_)
                | C::Move { .. }
                | C::BillBy(_),
            ) if self.status.is_gone() => Err(gone(self.status)),
            (Some(founded), C::Edit(details)) if founded.details == details => Ok(vec![]),
            (Some(_), C::Edit(details)) => Ok(vec![E::Edited { details }]),
            (Some(_), C::EraseContact) if self.has_named_contact => Ok(vec![E::ContactErased {}]),
            (Some(_), C::EraseContact) => Ok(vec![]),
            (Some(founded), C::Transition(_)) if founded.kind == Kind::Provider => {
                Err(Refusal::conflict(
                    "provider_stays",
                    "The provider itself stays in use: nobody could undo it.",
                ))
            }
            // Whom it named is forgotten with that.
            (Some(_), C::Transition(Transition::Purge)) => {
                let purged = self.status.after(Transition::Purge)?.map(|_| E::Purged {});
                let is_named = purged.is_some() && self.has_named_contact;
                let erased = is_named.then_some(E::ContactErased {});
                Ok(erased.into_iter().chain(purged).collect())
            }
            (Some(_), C::Transition(step)) => {
                Ok(self.status.after(step)?.map(|_| step.into()).into_iter().collect())
            }
            (Some(_), C::Override(overriding)) => Ok(vec![E::Overridden(overriding)]),
            (Some(_), C::GiveRole(role)) if self.given.contains(&role) => Ok(vec![]),
            (Some(_), C::GiveRole(_)) if self.given.len() >= GIVEN_MAX => Err(Refusal::conflict(
                "too_many_roles",
                format!("An organisation is given at most {GIVEN_MAX} roles; take one away first."),
            )),
            (Some(_), C::GiveRole(role)) => Ok(vec![E::RoleGiven { role }]),
            (Some(_), C::TakeRole(role)) if !self.given.contains(&role) => Ok(vec![]),
            (Some(_), C::TakeRole(role)) => Ok(vec![E::RoleTaken { role }]),
            (Some(_), C::Offer(offering)) => {
                let before = self.offers.get(&offering.service).cloned().unwrap_or_default();
                let mut after = before.clone();
                after.extend(&offering);
                Ok(if after == before { vec![] } else { vec![E::Offered(offering)] })
            }
            (Some(_), C::AddPlans(service, plans)) => {
                let offer = self.offers.get(&service).cloned().unwrap_or_default();
                let more = |old: Option<Plans>, reach| {
                    let new = old
                        .as_ref()
                        .map(|old| old.or(&plans))
                        .filter(|new| Some(new) != old.as_ref());
                    new.map(|plans| E::Offered(Offering { plans, reach, service: service.clone() }))
                };
                let both = [more(offer.own, Reach::Itself), more(offer.below, Reach::Below)];
                Ok(both.into_iter().flatten().collect())
            }
            (Some(_), C::SetApprovals(service, policy)) => match self.approvals.get(&service) {
                Some(before) if *before == policy => Ok(vec![]),
                None if self.approvals.len() >= POLICIES_MAX => Err(Refusal::conflict(
                    "too_many_policies",
                    format!(
                        "An organisation sets at most {POLICIES_MAX} policies; clear one first."
                    ),
                )),
                Some(_) | None => Ok(vec![E::ApprovalsSet { policy, service }]),
            },
            (Some(_), C::ClearApprovals(service)) => Ok(match self.approvals.get(&service) {
                Some(_) => vec![E::ApprovalsCleared { service }],
                None => vec![],
            }),
            (Some(founded), C::Move { .. } | C::BillBy(_)) if founded.kind != Kind::Customer => {
                Err(Refusal::conflict("not_a_customer", "Only customers go to another seller."))
            }
            (Some(founded), C::Move { parent, .. }) if founded.parent == Some(parent) => Ok(vec![]),
            (Some(founded), C::BillBy(seller)) if founded.seller() == Some(seller) => Ok(vec![]),
            (Some(founded), C::Move { .. } | C::BillBy(_))
                if founded.billed_since.is_some_and(|since| since > effective_at) =>
            {
                Err(Refusal::conflict(
                    "billed_otherwise_since",
                    "Who bills it was changed from a later date already; only from that date on can it be changed.",
                ))
            }
            (Some(founded), C::Move { parent, path }) => {
                Ok(vec![E::Moved { from: founded.path.clone(), parent, path }])
            }
            (Some(_), C::BillBy(seller)) => Ok(vec![E::BilledBy { seller }]),
            (Some(_), C::LetGo(customer)) => Ok(vec![E::CustomerLeft { customer }]),
            (Some(_), C::Withdraw(withdrawal)) => {
                let before = self.offers.get(&withdrawal.service).cloned().unwrap_or_default();
                let mut after = before.clone();
                after.withdraw(withdrawal.reach);
                Ok(if after == before { vec![] } else { vec![E::OfferWithdrawn(withdrawal)] })
            }
        }
    }

    fn evolve(mut self, event: &Self::Event, effective_at: DateTime<Utc>) -> Self {
        self.status = event.status(self.status);
        match event {
            OrganizationEvent::Created { details, id, kind, number, parent, path } => {
                self.has_named_contact |= details.names_contact();
                self.founded = Some(Founded {
                    billed_by: None,
                    billed_since: None,
                    details: details.clone(),
                    id: *id,
                    kind: *kind,
                    number: *number,
                    parent: *parent,
                    path: path.clone(),
                });
            }
            OrganizationEvent::Edited { details } => {
                self.has_named_contact |= details.names_contact();
                if let Some(founded) = &mut self.founded {
                    founded.details = details.clone();
                }
            }
            OrganizationEvent::ContactErased {} => {
                self.has_named_contact = false;
                if let Some(founded) = &mut self.founded {
                    founded.details.contact = Sealed::default();
                }
            }
            OrganizationEvent::Overridden(fact) => {
                self.overrides.push((effective_at, fact.clone()))
            }
            OrganizationEvent::RoleGiven { role } => {
                self.given.insert(*role);
            }
            OrganizationEvent::RoleTaken { role } => {
                self.given.remove(role);
            }
            OrganizationEvent::Offered(offering) => {
                self.offers.entry(offering.service.clone()).or_default().extend(offering);
            }
            OrganizationEvent::OfferWithdrawn(Withdrawal { reach, service }) => {
                self.offers.entry(service.clone()).or_default().withdraw(*reach);
            }
            OrganizationEvent::ApprovalsSet { policy, service } => {
                self.approvals.insert(service.clone(), policy.clone());
            }
            OrganizationEvent::ApprovalsCleared { service } => {
                self.approvals.remove(service);
            }
            OrganizationEvent::Moved { parent, path, .. } => {
                if let Some(founded) = &mut self.founded {
                    founded.parent = Some(*parent);
                    founded.path = path.clone();
                    founded.billed_by = None;
                    founded.billed_since = Some(effective_at);
                }
            }
            OrganizationEvent::BilledBy { seller } => {
                if let Some(founded) = &mut self.founded {
                    founded.billed_by = Some(*seller).filter(|_| founded.parent != Some(*seller));
                    founded.billed_since = Some(effective_at);
                }
            }
            OrganizationEvent::CustomerLeft { .. }
            | OrganizationEvent::Disabled {}
            | OrganizationEvent::Enabled {}
            | OrganizationEvent::Deprovisioned {}
            | OrganizationEvent::Deleted {}
            | OrganizationEvent::Restored {}
            | OrganizationEvent::Purged {} => {}
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ServiceKey;
    use crate::approval::{Approvers, Asking};
    use crate::billing::{Overridden, Setting};
    use crate::decider::testing::{given, november};

    pub(crate) fn details(name: &str) -> Details {
        Details {
            billing_identifier: None,
            code: Code::proposed(name, None),
            contact: Sealed::default(),
            custom_fields: CustomFields::default(),
            name: name.to_owned(),
            purpose: Purpose::Standard,
        }
    }

    fn created(kind: Kind) -> OrganizationEvent {
        OrganizationEvent::Created {
            details: details("Aanimals Inc"),
            id: OrganizationId(Uuid::from_u128(30)),
            kind,
            number: 30,
            parent: Some(OrganizationId(Uuid::from_u128(1))),
            path: TenantPath::provider().child(30),
        }
    }

    #[test]
    fn editing_without_a_difference_is_no_fact() {
        let customer = || given::<Organization>([(1, created(Kind::Customer))]);
        customer().when(2, OrganizationCommand::Edit(details("Aanimals Inc"))).then_nothing();
        customer()
            .when(2, OrganizationCommand::Edit(details("Zanimals")))
            .then([OrganizationEvent::Edited { details: details("Zanimals") }]);
    }

    #[test]
    fn a_contact_that_was_ever_named_is_erased_once() {
        let named = |text: &str| Details {
            contact: Sealed::Text(text.to_owned()),
            ..details("Aanimals Inc")
        };
        let edited = |details| OrganizationEvent::Edited { details };
        let erase = || OrganizationCommand::EraseContact;
        let founded = (1, created(Kind::Customer));
        let erased = OrganizationEvent::ContactErased {};
        given::<Organization>([founded.clone()]).when(2, erase()).then_nothing();
        let named = (2, edited(named("sealed")));
        given::<Organization>([founded.clone(), named.clone()])
            .when(3, erase())
            .then([erased.clone()]);
        // Who is not named any more still stands in history.
        let history = [founded.clone(), named.clone(), (3, edited(details("Aanimals Inc")))];
        given::<Organization>(history).when(4, erase()).then([erased.clone()]);
        given::<Organization>([founded.clone(), named.clone(), (3, erased.clone())])
            .when(4, erase())
            .then_nothing();
        given::<Organization>([founded, named, (3, erased)])
            .when(4, OrganizationCommand::Edit(details("Aanimals Inc")))
            .then_nothing();
    }

    #[test]
    fn disabling_twice_is_one_fact_and_enabling_undoes_it() {
        let customer = (1, created(Kind::Customer));
        given::<Organization>([customer.clone()])
            .when(2, OrganizationCommand::Transition(Transition::Disable))
            .then([OrganizationEvent::Disabled {}]);
        let disabled = (2, OrganizationEvent::Disabled {});
        given::<Organization>([customer.clone(), disabled.clone()])
            .when(3, OrganizationCommand::Transition(Transition::Disable))
            .then_nothing();
        given::<Organization>([customer, disabled])
            .when(3, OrganizationCommand::Transition(Transition::Enable))
            .then([OrganizationEvent::Enabled {}]);
    }

    #[test]
    fn the_provider_cannot_be_disabled() {
        given::<Organization>([(1, created(Kind::Provider))])
            .when(2, OrganizationCommand::Transition(Transition::Disable))
            .then_refused("provider_stays");
    }

    #[test]
    fn nothing_happens_to_an_organisation_that_was_never_founded() {
        given::<Organization>([])
            .when(2, OrganizationCommand::Transition(Transition::Disable))
            .then_refused("not_found");
        assert_eq!(Organization::default().founded().err(), Some(Refusal::not_found()));
    }

    #[test]
    fn an_organisation_is_founded_once() {
        let create = || OrganizationCommand::Create {
            id: OrganizationId(Uuid::from_u128(30)),
            kind: Kind::Customer,
            number: 30,
            parent: Some(OrganizationId(Uuid::from_u128(1))),
            path: TenantPath::provider().child(30),
            details: details("Aanimals Inc"),
        };
        given::<Organization>([]).when(1, create()).then([created(Kind::Customer)]);
        given::<Organization>([(1, created(Kind::Customer))])
            .when(2, create())
            .then_refused("exists");
    }

    #[test]
    fn editing_back_is_a_fact_and_what_was_edited_counts() {
        let edited = (2, OrganizationEvent::Edited { details: details("Zanimals") });
        let customer = || given::<Organization>([(1, created(Kind::Customer)), edited.clone()]);
        customer().when(3, OrganizationCommand::Edit(details("Zanimals"))).then_nothing();
        customer()
            .when(3, OrganizationCommand::Edit(details("Aanimals Inc")))
            .then([OrganizationEvent::Edited { details: details("Aanimals Inc") }]);
    }

    #[test]
    fn enabling_what_is_in_use_is_no_fact_and_disabling_again_is_one() {
        let customer = (1, created(Kind::Customer));
        given::<Organization>([customer.clone()])
            .when(2, OrganizationCommand::Transition(Transition::Enable))
            .then_nothing();
        given::<Organization>([
            customer,
            (2, OrganizationEvent::Disabled {}),
            (3, OrganizationEvent::Enabled {}),
        ])
        .when(4, OrganizationCommand::Transition(Transition::Disable))
        .then([OrganizationEvent::Disabled {}]);
    }

    #[test]
    fn every_override_is_a_fact_and_is_kept_with_when_it_is_from() {
        let cleared = Overriding {
            overridden: Overridden::Price(Setting::Cleared),
            plan: None,
            service: ServiceKey::parse("backup").unwrap(),
        };
        let event = OrganizationEvent::Overridden(cleared.clone());
        given::<Organization>([(1, created(Kind::Customer)), (2, event.clone())])
            .when(3, OrganizationCommand::Override(cleared.clone()))
            .then([event.clone()]);
        let kept = Organization::default().evolve(&event, november(2));
        assert_eq!(kept.overrides, [(november(2), cleared)]);
    }

    #[test]
    fn a_role_is_given_once_and_taken_once() {
        use {OrganizationCommand as C, OrganizationEvent as E};
        let role = |number: usize| RoleId(Uuid::from_u128(number as u128));
        let given_roles = |count: usize| {
            let facts = (0..count).map(|number| (2, E::RoleGiven { role: role(number) }));
            given::<Organization>(std::iter::once((1, created(Kind::Customer))).chain(facts))
        };
        given_roles(0).when(3, C::GiveRole(role(0))).then([E::RoleGiven { role: role(0) }]);
        given_roles(1).when(3, C::GiveRole(role(0))).then_nothing();
        given_roles(1).when(3, C::TakeRole(role(0))).then([E::RoleTaken { role: role(0) }]);
        given_roles(0).when(3, C::TakeRole(role(0))).then_nothing();
        given_roles(GIVEN_MAX).when(3, C::GiveRole(role(GIVEN_MAX))).then_refused("too_many_roles");
        given_roles(GIVEN_MAX).when(3, C::GiveRole(role(0))).then_nothing();
        let taken = Organization::default()
            .evolve(&E::RoleGiven { role: role(0) }, november(2))
            .evolve(&E::RoleTaken { role: role(0) }, november(3));
        assert!(taken.given.is_empty());
    }

    #[test]
    fn offering_the_same_again_is_no_fact_and_a_new_plan_joins_what_names_its_plans() {
        let service = || ServiceKey::parse("backup").unwrap();
        let plans = |keys: &[&str]| {
            Plans::These(keys.iter().map(|key| crate::PlanKey::parse(key).unwrap()).collect())
        };
        let offering = |reach, plans| Offering { plans, reach, service: service() };
        let offered = |reach, plans| OrganizationEvent::Offered(offering(reach, plans));
        let customer = (1, created(Kind::Customer));
        let standing = (2, offered(Reach::Subtree, plans(&["a"])));
        let reseller = || given::<Organization>([customer.clone(), standing.clone()]);
        reseller()
            .when(3, OrganizationCommand::Offer(offering(Reach::Itself, plans(&["a"]))))
            .then_nothing();
        reseller().when(3, OrganizationCommand::AddPlans(service(), plans(&["a"]))).then_nothing();
        reseller().when(3, OrganizationCommand::AddPlans(service(), plans(&["b"]))).then([
            offered(Reach::Itself, plans(&["a", "b"])),
            offered(Reach::Below, plans(&["a", "b"])),
        ]);
        let withdrawal = Withdrawal { reach: Reach::Subtree, service: service() };
        let withdrawn = OrganizationEvent::OfferWithdrawn(withdrawal.clone());
        reseller()
            .when(3, OrganizationCommand::Withdraw(withdrawal.clone()))
            .then([withdrawn.clone()]);
        given::<Organization>([customer.clone(), standing.clone(), (3, withdrawn)])
            .when(4, OrganizationCommand::Withdraw(withdrawal))
            .then_nothing();
        let all =
            || given::<Organization>([customer.clone(), (2, offered(Reach::Itself, Plans::All))]);
        all().when(3, OrganizationCommand::AddPlans(service(), plans(&["b"]))).then_nothing();
    }

    fn seller(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    fn moved() -> OrganizationEvent {
        OrganizationEvent::Moved {
            from: TenantPath::provider().child(30),
            parent: seller(4),
            path: TenantPath::provider().child(4).child(30),
        }
    }

    #[test]
    fn who_is_purged_does_not_come_back() {
        let gone = [(1, created(Kind::Customer)), (2, OrganizationEvent::Deleted {})];
        let purge = || OrganizationCommand::Transition(Transition::Purge);
        let named =
            Details { contact: Sealed::Text("sealed".to_owned()), ..details("Aanimals Inc") };
        let [founded, deleted] = gone.clone();
        given::<Organization>([
            founded,
            (1, OrganizationEvent::Edited { details: named }),
            deleted,
        ])
        .when(3, purge())
        .then([OrganizationEvent::ContactErased {}, OrganizationEvent::Purged {}]);
        given::<Organization>(gone.clone()).when(3, purge()).then([OrganizationEvent::Purged {}]);
        let [created, deleted] = gone;
        let purged = [created, deleted, (3, OrganizationEvent::Purged {})];
        given::<Organization>(purged.clone()).when(4, purge()).then_nothing();
        given::<Organization>(purged.clone())
            .when(4, OrganizationCommand::Transition(Transition::Restore))
            .then_refused("purged");
        given::<Organization>(purged)
            .when(4, OrganizationCommand::Edit(details("Zanimals")))
            .then_refused("purged");
    }

    #[test]
    fn a_customer_goes_to_another_seller_who_bills_it_from_then_on() {
        let to_other = || OrganizationCommand::Move {
            parent: seller(4),
            path: TenantPath::provider().child(4).child(30),
        };
        let customer = (1, created(Kind::Customer));
        given::<Organization>([customer.clone()]).when(5, to_other()).then([moved()]);
        given::<Organization>([customer.clone(), (5, moved())]).when(6, to_other()).then_nothing();
        let back =
            OrganizationCommand::Move { parent: seller(1), path: TenantPath::provider().child(30) };
        given::<Organization>([customer.clone(), (5, moved())])
            .when(4, back)
            .then_refused("billed_otherwise_since");
        given::<Organization>([(1, created(Kind::Reseller))])
            .when(5, to_other())
            .then_refused("not_a_customer");
        given::<Organization>([customer, (2, OrganizationEvent::Deleted {})])
            .when(5, to_other())
            .then_refused("deleted");
        given::<Organization>([(1, created(Kind::Reseller))])
            .when(5, OrganizationCommand::LetGo(seller(30)))
            .then([OrganizationEvent::CustomerLeft { customer: seller(30) }]);
    }

    #[test]
    fn who_bills_is_the_seller_directly_above_until_another_is_named() {
        let customer = (1, created(Kind::Customer));
        let by = |number| OrganizationCommand::BillBy(seller(number));
        given::<Organization>([customer.clone()]).when(5, by(1)).then_nothing();
        let named = OrganizationEvent::BilledBy { seller: seller(2) };
        given::<Organization>([customer.clone()]).when(5, by(2)).then([named.clone()]);
        given::<Organization>([customer.clone(), (5, named.clone())]).when(6, by(2)).then_nothing();
        given::<Organization>([customer.clone(), (5, named.clone())])
            .when(6, by(1))
            .then([OrganizationEvent::BilledBy { seller: seller(1) }]);
        given::<Organization>([customer.clone(), (5, named.clone())])
            .when(4, by(1))
            .then_refused("billed_otherwise_since");
        // Who goes to another seller is billed by that one.
        given::<Organization>([customer, (5, named), (6, moved())]).when(7, by(4)).then_nothing();
    }

    #[test]
    fn a_kind_has_the_name_that_it_is_stored_by() {
        for kind in [Kind::Provider, Kind::Reseller, Kind::Customer] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    fn founded() -> (u32, OrganizationEvent) {
        (1, created(Kind::Reseller))
    }

    fn policy(levels: u32) -> Policy {
        Policy {
            approvers: Approvers::Managers { levels },
            asking: Asking::ALL.into(),
            expires_after_hours: 168,
            remind_after_hours: 24,
        }
    }

    #[test]
    fn a_policy_is_set_changed_and_cleared_for_a_service_or_for_all() {
        let set =
            |levels, service| OrganizationEvent::ApprovalsSet { policy: policy(levels), service };
        for service in [None, ServiceKey::parse("backup")] {
            let command =
                |levels| OrganizationCommand::SetApprovals(service.clone(), policy(levels));
            let clear = || OrganizationCommand::ClearApprovals(service.clone());
            given::<Organization>([founded()]).when(2, command(1)).then([set(1, service.clone())]);
            given::<Organization>([founded()]).when(2, clear()).then_nothing();
            let there = || given::<Organization>([founded(), (2, set(1, service.clone()))]);
            there().when(3, command(1)).then_nothing();
            there().when(3, command(2)).then([set(2, service.clone())]);
            let cleared = OrganizationEvent::ApprovalsCleared { service: service.clone() };
            there().when(3, clear()).then([cleared.clone()]);
            given::<Organization>([founded(), (2, set(1, service.clone())), (3, cleared)])
                .when(4, clear())
                .then_nothing();
        }
    }

    #[test]
    fn policies_are_bounded() {
        let set = |n: usize| OrganizationEvent::ApprovalsSet {
            policy: policy(1),
            service: ServiceKey::parse(&format!("s{n}")),
        };
        let full = (0..POLICIES_MAX).map(|n| (2, set(n)));
        let full = std::iter::once(founded()).chain(full);
        given::<Organization>(full.clone())
            .when(3, OrganizationCommand::SetApprovals(None, policy(1)))
            .then_refused("too_many_policies");
        let one = ServiceKey::parse("s0");
        given::<Organization>(full)
            .when(3, OrganizationCommand::SetApprovals(one.clone(), policy(2)))
            .then([OrganizationEvent::ApprovalsSet { policy: policy(2), service: one }]);
    }
}
