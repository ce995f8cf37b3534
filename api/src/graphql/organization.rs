//! Organisations: the provider, resellers and customers.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use commands::resource::{PatternsResource, RulesResource, TaxRatesResource};
use domain::custom_fields::CustomFields;
use domain::lifecycle::Status as InUse;
use domain::organization::{Contact as Reached, Kind, Purpose as Meant};
use domain::permission::Permission;
use projections::finder::{self, Query as Wanted, Scope};
use projections::views::{
    OrganizationView, OverrideView, RulebookView, SubscriptionView, UserView,
};
use uuid::Uuid;

use super::activity::{Activity, ActivityConnection};
use super::connection::{Order, Slice, ViewConnection, list, list_of};
use super::effective::{EffectiveProperty, Whose, keys, properties};
use super::id::GlobalId;
use super::limits::{PROPERTIES_COST, page_cost};
use super::offer::Offer;
use super::overriding::Override;
use super::reading::{Reading, Resolved, reading};
use super::rulebook::{BillableRule, BillingPattern, TaxRate};
use super::scalar::{AsOf, KnownAt};
use super::subscription::Subscription;
use super::user::User;
use crate::problem::Problem;

/// What an organisation is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Kind")]
pub(crate) enum OrganizationKind {
    /// The root; exactly one.
    Provider,
    /// Sells on to customers and other resellers.
    Reseller,
    /// Holds services, for itself and for its users.
    Customer,
}

/// Why an organisation or a user is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "OrganizationPurpose", remote = "Meant")]
pub(crate) enum Purpose {
    /// To do business with.
    Standard,
    /// To try things out.
    Test,
    /// To show things.
    Demo,
}

/// Where somebody or something is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "InUse")]
pub(crate) enum Status {
    /// In use.
    Active,
    /// Nobody signs in here or below; services are frozen and still billed.
    Disabled,
    /// Its services are gone; the record is kept.
    Deprovisioned,
    /// Hidden from lists, and can be restored.
    Deleted,
    /// Hidden from lists for good.
    Purged,
}

impl Status {
    /// As views write it.
    pub(crate) fn name(self) -> &'static str {
        InUse::from(self).name()
    }
}

/// What an installation keeps of an organisation or a user for its own systems.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct CustomField {
    /// The field's name.
    name: String,
    /// Its value.
    value: String,
}

impl CustomField {
    pub(crate) fn all(fields: &CustomFields) -> Vec<Self> {
        let fields = fields.all().iter();
        fields.map(|(name, value)| Self { name: name.clone(), value: value.clone() }).collect()
    }
}

/// How to reach an organisation.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Contact {
    /// Mail address.
    email: Option<String>,
    /// Whom to ask for.
    name: Option<String>,
    /// Telephone number.
    phone: Option<String>,
}

impl From<&Reached> for Contact {
    fn from(contact: &Reached) -> Self {
        Self {
            email: contact.email.as_ref().map(ToString::to_string),
            name: contact.name.clone(),
            phone: contact.phone.clone(),
        }
    }
}

/// A provider, reseller or customer.
#[derive(Clone)]
pub(crate) struct Organization(Arc<OrganizationView>);

impl From<Arc<OrganizationView>> for Organization {
    fn from(view: Arc<OrganizationView>) -> Self {
        Self(view)
    }
}

/// A provider, reseller or customer.
#[Object]
#[expect(clippy::too_many_arguments, reason = "four of them say which page, as Relay has it")]
impl Organization {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::Organization(self.0.id).encode()
    }

    /// The id in the REST API.
    async fn uuid(&self) -> Uuid {
        self.0.id.0
    }

    /// What it is in the tree.
    async fn kind(&self) -> OrganizationKind {
        self.0.kind.into()
    }

    /// The id in the billing API.
    async fn number(&self) -> u32 {
        self.0.number
    }

    /// Short and unique.
    async fn code(&self) -> &str {
        self.0.details.code.as_str()
    }

    /// Its name.
    async fn name(&self) -> &str {
        &self.0.details.name
    }

    /// Whether it is in use.
    async fn status(&self) -> Status {
        self.0.status.into()
    }

    /// Why it is there.
    #[graphql(name = "type")]
    async fn purpose(&self) -> Purpose {
        self.0.details.purpose.into()
    }

    /// Unique account code in the accounting system.
    async fn billing_identifier(&self) -> Option<&str> {
        self.0.details.billing_identifier.as_deref()
    }

    /// How to reach it.
    async fn contact(&self, context: &Context<'_>) -> Resolved<Contact> {
        Ok(reading(context).contact(&self.0).await?.as_ref().into())
    }

    /// What the installation keeps of it for its own systems, by name.
    async fn custom_fields(&self) -> Vec<CustomField> {
        CustomField::all(&self.0.details.custom_fields)
    }

    /// When it was founded.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it was deleted, where it is.
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
    }

    /// Its `ETag` in the REST API.
    async fn version(&self) -> u64 {
        self.0.version
    }

    /// The seller directly above, if the caller can see it.
    async fn parent(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        let Some(parent) = self.0.parent else { return Ok(None) };
        Ok(reading(context).find::<OrganizationView>(parent).await?.map(Self))
    }

    /// The seller who bills it, if the caller can see it: the one directly above, where nothing else was said.
    async fn billed_by(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        let Some(seller) = self.0.seller() else { return Ok(None) };
        Ok(reading(context).find::<OrganizationView>(seller).await?.map(Self))
    }

    /// What it does not charge on what it bills, and why; in the order in which rules are gone through.
    async fn billable_rules(&self, context: &Context<'_>) -> Resolved<Option<Vec<BillableRule>>> {
        let reading = reading(context);
        reading.permit(Permission::ViewBilling, &self.0.path).await?;
        let view = reading.find::<RulebookView>(self.0.id).await?;
        let rules = RulesResource::new(self.0.id, view.as_deref()).rules;
        Ok(Some(rules.into_iter().map(BillableRule::from).collect()))
    }

    /// How it describes what it bills, where that is not as the services' definitions say.
    async fn billing_patterns(
        &self,
        context: &Context<'_>,
    ) -> Resolved<Option<Vec<BillingPattern>>> {
        let reading = reading(context);
        reading.permit(Permission::ViewBilling, &self.0.path).await?;
        let view = reading.find::<RulebookView>(self.0.id).await?;
        let patterns = PatternsResource::new(self.0.id, view.as_deref()).patterns;
        Ok(Some(patterns.into_iter().map(BillingPattern::from).collect()))
    }

    /// The taxes that it adds to what it bills, by category and first date.
    async fn tax_rates(&self, context: &Context<'_>) -> Resolved<Option<Vec<TaxRate>>> {
        let reading = reading(context);
        reading.permit(Permission::ViewBilling, &self.0.path).await?;
        let view = reading.find::<RulebookView>(self.0.id).await?;
        let rates = TaxRatesResource::new(self.0.id, view.as_deref()).rates;
        Ok(Some(rates.into_iter().map(TaxRate::from).collect()))
    }

    /// The organisations directly below, by name.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn children(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<OrganizationView, Organization>>> {
        let slice = Slice { first, after, last, before };
        list_of(reading(context), self.0.id, &slice).await
    }

    /// Its users, in the order in which they were added.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn users(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<UserView, User>>> {
        reading(context).permit(Permission::ViewUsers, &self.0.path).await?;
        let slice = Slice { first, after, last, before };
        list_of(reading(context), self.0.id, &slice).await
    }

    /// What a service's properties would be for this organisation, with a plan or before one is chosen; now, or at a
    /// moment (`asOf`, of the business), as was known then (`knownAt`).
    #[graphql(complexity = "PROPERTIES_COST * child_complexity")]
    async fn effective_properties(
        &self,
        context: &Context<'_>,
        service: String,
        plan: Option<String>,
        as_of: Option<DateTime<Utc>>,
        known_at: Option<KnownAt>,
    ) -> Resolved<Vec<EffectiveProperty>> {
        let reading = reading(context);
        reading.permit(Permission::ViewSubscriptions, &self.0.path).await?;
        let (service, plan) = keys(&service, plan.as_deref())?;
        let whose = Whose { path: &self.0.path, plan, service, subscription: None };
        properties(reading, whose, as_of, known_at).await
    }

    /// What it holds itself, by service, or held then (`asOf`), as it was known then (`knownAt`); what its users hold is with
    /// them.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn subscriptions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What was held at that moment of the business.")] as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<SubscriptionView, Subscription>>> {
        reading(context).permit(Permission::ViewSubscriptions, &self.0.path).await?;
        let slice = Slice { first, after, last, before };
        let own = (self.0.id, &self.0.path);
        Subscription::list_of(reading(context), own, (as_of, known_at), &slice).await
    }

    /// How it stands here with every service that is sold: what can be had, and why.
    #[graphql(complexity = "page_cost(None, None, child_complexity)")]
    async fn offers(&self, context: &Context<'_>) -> Resolved<Option<Vec<Offer>>> {
        let reading = reading(context);
        reading.permit(Permission::ViewServices, &self.0.path).await?;
        let offers = reading.offers_at(self.0.id, &self.0.path).await?;
        Ok(Some(offers.iter().cloned().map(Offer).collect()))
    }

    /// What it has set otherwise, and cleared, in the order of recording.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn overrides(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<OverrideView, Override>>> {
        reading(context).permit(Permission::ViewBilling, &self.0.path).await?;
        let slice = Slice { first, after, last, before };
        list_of(reading(context), self.0.id, &slice).await
    }

    /// The days on which something happened at this very organisation, the newest first.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn activity(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ActivityConnection>> {
        reading(context).permit(Permission::ViewEvents, &self.0.path).await?;
        let slice = Slice { first, after, last, before };
        Activity::list(reading(context), &self.0.path, &slice).await
    }
}

/// Which organisations.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct OrganizationFilter {
    /// Only those of this status; where it is left out, all but those deleted.
    status: Option<Status>,
    /// Only those below this seller, directly or not: its id here, in the REST or in the billing API.
    seller_id: Option<ID>,
}

impl Organization {
    /// The organisation of an id, if the caller may see it.
    pub(crate) async fn get(reading: &Reading, id: &str) -> Resolved<Self> {
        let view = find(reading, id).await?;
        reading.permit(Permission::ViewOrganizations, &view.path).await?;
        Ok(Self(view))
    }

    /// The organisation that something belongs to; nothing where that is out of the caller's scope.
    pub(crate) async fn of(
        reading: &Reading,
        id: domain::OrganizationId,
    ) -> Resolved<Option<Self>> {
        reading.require(Permission::ViewOrganizations)?;
        Ok(reading.find::<OrganizationView>(id).await?.map(Self))
    }

    /// The customers in scope.
    pub(crate) async fn customers(
        reading: &Reading,
        filter: OrganizationFilter,
        order: Option<Order>,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<OrganizationView, Self>>> {
        reading.require(Permission::ViewOrganizations)?;
        let scope = narrowed(reading, filter.seller_id.as_ref()).await?;
        let query = Wanted {
            kind: Some(Kind::Customer.name().to_owned()),
            status: filter.status.map(|status| status.name().to_owned()),
            ..Wanted::default()
        };
        list(reading, scope, query, order, slice).await
    }
}

/// The organisation of an id as it is here, in the REST API or in the billing API.
pub(crate) async fn find(reading: &Reading, id: &str) -> Resolved<Arc<OrganizationView>> {
    let found = match (id.parse::<u32>(), GlobalId::decode(id), id.parse::<Uuid>()) {
        (Ok(number), _, _) => {
            finder::find_by_number(reading.app.database(), &reading.scope(), number).await?
        }
        (_, Some(GlobalId::Organization(id)), _) => reading.find::<OrganizationView>(id).await?,
        (_, _, Ok(id)) => reading.find::<OrganizationView>(id).await?,
        _ => None,
    };
    found.ok_or_else(Problem::not_found)
}

/// The caller's scope, or the part of it at and below an organisation.
pub(crate) async fn narrowed(reading: &Reading, to: Option<&ID>) -> Resolved<Scope> {
    match to {
        None => Ok(reading.scope()),
        Some(id) => Ok(Scope(find(reading, id).await?.path.clone())),
    }
}
