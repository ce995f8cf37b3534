//! Names, for lines as people read them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::UserId;
use domain::billing::description::{self, Variables};
use domain::billing::{Entry, Kind};
use domain::event::Actor;
use domain::service::Level;
use eventstore::{Database, Error};

use super::Line;
use super::rules::Own;
use super::sellers::{Link, Seller};
use super::slots::Slot;
use crate::finder::{self, Scope};
use crate::persons::Persons;
use crate::views::{Holder, OrganizationView, ServiceView, UserView};

/// The names of the people who have to do with some slots.
#[derive(Default)]
pub(super) struct Names {
    users: HashMap<UserId, (Arc<UserView>, String)>,
}

/// How somebody is called who is not in the reader's scope.
const OUTSIDER: &str = "Service provider";

impl Names {
    /// Of those who hold some slots, who did what is known of them, who are named by entries, and of others.
    pub(super) async fn load<'a>(
        database: &Database,
        persons: &Persons,
        scope: &Scope,
        slots: impl Iterator<Item = &'a Slot> + Clone,
        (entries, others): (impl Iterator<Item = &'a Entry>, impl Iterator<Item = Actor>),
    ) -> Result<Self, Error> {
        let holders = slots.clone().filter_map(|slot| match slot.view.holder {
            Holder::User(id) => Some(id.to_string()),
            Holder::Customer(_) => None,
        });
        let actors = slots
            .flat_map(|slot| slot.timeline.facts())
            .filter_map(|fact| fact.actor.strip_prefix("user:").map(str::to_owned));
        let named = entries.flat_map(|entry| {
            [Some(&entry.actor), Some(&entry.added_by), entry.removed_by.as_ref()]
        });
        let named = named.flatten().filter_map(|it| it.strip_prefix("user:").map(str::to_owned));
        let holders: BTreeSet<_> = holders.collect();
        let others = others.filter_map(|actor| match actor {
            Actor::User(id) => Some(id.to_string()),
            Actor::System => None,
        });
        let people = holders.iter().cloned().chain(actors).chain(named).chain(others).collect();
        let mut users =
            finder::find_many::<UserView>(database, &Scope::catalogue(), people).await?;
        // Who holds what is billed is named, also where he is elsewhere by now.
        users.retain(|id, user| scope.0.contains(&user.path) || holders.contains(id));
        let opened = persons.unlock(database, users.values().map(|user| user.id)).await?;
        let users = users.into_values().map(|user| {
            let name = opened.name(user.id, user.person.as_ref());
            (user.id, (user, name))
        });
        Ok(Self { users: users.collect() })
    }

    fn actor(&self, actor: &str) -> &str {
        let Some(id) = actor.strip_prefix("user:") else { return "Atrium" };
        let user = id.parse().ok().and_then(|id: UserId| self.users.get(&id));
        user.map_or(OUTSIDER, |(_, name)| name)
    }

    pub(super) fn line(
        &self,
        entry: Entry,
        slot: &Slot,
        (customer, link, buyer): (&Arc<OrganizationView>, &Link, Option<Arc<Seller>>),
        (service, known_at, end): (&Arc<ServiceView>, u64, DateTime<Utc>),
        own: Own<'_>,
    ) -> Line {
        let definition = service.published.as_ref();
        let plan = definition.and_then(|definition| definition.plan(&entry.plan));
        let (user, user_name) = match slot.view.holder {
            Holder::User(id) => self.users.get(&id).cloned().unzip(),
            Holder::Customer(_) => (None, None),
        };
        let level = match slot.view.holder {
            Holder::User(_) => Level::User,
            Holder::Customer(_) => Level::Customer,
        };
        let defaults = match (&slot.view.instance, level) {
            (Some(_), _) => description::INSTANCE,
            (None, Level::Customer) => description::CUSTOMER_SERVICE,
            (None, Level::User) => description::USER_SERVICE,
        };
        let of_account = entry.is_of_account().then_some(("Account", "Adjustment"));
        let unnamed = of_account.unwrap_or((service.key.as_str(), entry.plan.as_str()));
        let service_name = definition.map_or(unnamed.0, |it| it.name.as_str());
        let plan_name = plan.map_or(unnamed.1, |plan| plan.name.as_str());
        let sku = service.sku_before(&entry.plan, end, known_at);
        let sku = sku.unwrap_or(entry.plan.as_str());
        let variables = Variables {
            added_by_user_name: self.actor(&entry.added_by),
            customer_name: &customer.details.name,
            instance_name: slot.view.instance.as_deref().unwrap_or_default(),
            plan_name,
            product_sku: sku,
            removed_by_user_name: entry
                .removed_by
                .as_deref()
                .map(|actor| self.actor(actor))
                .unwrap_or_default(),
            service_name,
            user_full_name: user_name.as_deref().unwrap_or_default(),
        };
        let line = own.described.line.or(definition.and_then(|it| it.line_description.as_deref()));
        let summary =
            own.described.summary.or(definition.and_then(|it| it.summary_description.as_deref()));
        let component = plan.and_then(|plan| plan.component(&entry.component));
        let mut line_description = description::render(line.unwrap_or(defaults.line), &variables);
        if !entry.component.is_recurring() && !own.described.names_component {
            let name = component.map_or(entry.component.as_str(), |it| &it.name);
            line_description = format!("{line_description}: {name}");
        }
        let mut summary_description =
            description::render(summary.unwrap_or(defaults.summary), &variables);
        if let Some(manual) = &entry.manual {
            line_description.clone_from(&manual.description);
            summary_description.clone_from(&manual.description);
        } else if entry.kind == Kind::Commission {
            // What a reseller earns is no part of what the customer pays.
            let earns = buyer.as_ref().map_or("", |reseller| reseller.name());
            for text in [&mut line_description, &mut summary_description] {
                *text = format!("Commission of {earns}: {text}");
            }
        }
        Line {
            line_description,
            summary_description,
            seller: link.seller.clone(),
            buyer,
            actor_name: self.actor(&entry.actor).to_owned(),
            service_name: service_name.to_owned(),
            plan_name: plan_name.to_owned(),
            sku: sku.to_owned(),
            tax_category: own.tax_category.cloned(),
            tax_percent: own.tax_percent,
            service: service.clone(),
            known_at,
            instance: slot.view.instance.clone(),
            customer: customer.clone(),
            level,
            user,
            user_name,
            entry,
        }
    }
}
