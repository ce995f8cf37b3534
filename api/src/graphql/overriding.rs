//! Overrides: prices and properties that an organisation sets otherwise.

use std::sync::Arc;

use async_graphql::connection::{Connection, Edge, OpaqueCursor};
use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use commands::resource::OverrideResource;
use domain::money;
use domain::permission::Permission;
use projections::finder::{End, Query as Wanted, Scope};
use projections::ledger::{Effect, InForce};
use projections::views::OverrideView;

use super::connection::{Known, Slice, ViewConnection, has_more, list};
use super::id::GlobalId;
use super::organization::{Organization, find as find_organization};
use super::reading::{Reading, Resolved, reading};
use super::scalar::{Date, Money, Position};
use super::service::Service;
use super::subscription::service_key;
use crate::problem::Problem;

/// A price or property that an organisation sets otherwise, or clears.
#[derive(Clone)]
pub(crate) struct Override {
    view: Arc<OverrideView>,
    resource: OverrideResource,
}

impl From<Arc<OverrideView>> for Override {
    fn from(view: Arc<OverrideView>) -> Self {
        Self { resource: view.as_ref().into(), view }
    }
}

/// A price or property that an organisation sets otherwise, or clears.
#[Object]
impl Override {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::Override(self.view.position).encode()
    }

    /// The position of the event that set it.
    async fn position(&self) -> Position {
        Position(self.view.position)
    }

    /// For whom, and all below.
    async fn organization(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.view.organization).await
    }

    /// The key of the service.
    async fn service_key(&self) -> &str {
        &self.resource.service
    }

    /// Of which service.
    async fn service(&self, context: &Context<'_>) -> Resolved<Option<Service>> {
        Service::of(reading(context), &self.view.overriding.service).await
    }

    /// The key of the plan; none: of every plan.
    async fn plan_key(&self) -> Option<&str> {
        self.resource.plan.as_deref()
    }

    /// The key of the component whose price it is; none: the plan's own price, or a property.
    async fn component(&self) -> Option<&str> {
        self.resource.component.as_deref()
    }

    /// The key of the property; none: a price.
    async fn property(&self, context: &Context<'_>) -> Option<&str> {
        self.resource.property.as_deref().filter(|_| self.is_shown(reading(context)))
    }

    /// What the property is set to.
    async fn value(&self, context: &Context<'_>) -> Option<&str> {
        self.resource.value.as_deref().filter(|_| self.is_shown(reading(context)))
    }

    /// Whether only those who publish services see which property it is and what its value is.
    async fn hidden(&self) -> bool {
        self.resource.hidden
    }

    /// What the price is set to, per month and unit, or as the component says.
    async fn price(&self, context: &Context<'_>) -> Resolved<Option<Money>> {
        let Some(minor) = self.resource.price_minor else { return Ok(None) };
        let currency = reading(context).settings().await?.currency;
        Ok(Some(money::Money::new(minor, currency).into()))
    }

    /// The percentage on the price, such as `-12.5`.
    async fn percent(&self) -> Option<&str> {
        self.resource.percent.as_deref()
    }

    /// Whether nobody below can set another value.
    async fn locked(&self) -> bool {
        self.resource.locked
    }

    /// Whether it ends those before it.
    async fn cleared(&self) -> bool {
        self.resource.cleared
    }

    /// From when.
    async fn effective_from(&self) -> DateTime<Utc> {
        self.resource.effective_from
    }

    /// Until when.
    async fn effective_to(&self) -> Option<DateTime<Utc>> {
        self.resource.effective_to
    }

    /// Why.
    async fn reason(&self) -> Option<&str> {
        self.resource.reason.as_deref()
    }

    /// Who did it: `user:<id>` or `system`.
    async fn actor(&self) -> &str {
        &self.resource.actor
    }
}

impl Override {
    fn is_shown(&self, reading: &Reading) -> bool {
        !self.resource.hidden || reading.principal.sees_hidden()
    }
}

/// Which overrides.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct OverrideFilter {
    /// Only those of this very organisation.
    organization_id: Option<ID>,
    /// Only those of this service: its key.
    service: Option<String>,
}

impl Override {
    /// An override, if the caller may see it.
    pub(crate) async fn get(reading: &Reading, position: u64) -> Resolved<Self> {
        let key = format!("{position:020}");
        let view = reading.find::<OverrideView>(key).await?.ok_or_else(Problem::not_found)?;
        reading.permit(Permission::ViewBilling, &view.path).await?;
        Ok(view.into())
    }

    /// The overrides in scope, in the order of recording.
    pub(crate) async fn list(
        reading: &Reading,
        filter: OverrideFilter,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<OverrideView, Self>>> {
        reading.require(Permission::ViewBilling)?;
        let owner = match &filter.organization_id {
            None => None,
            Some(id) => Some(find_organization(reading, id).await?.id.to_string()),
        };
        let query = Wanted { owner, kind: service_key(filter.service)?, ..Wanted::default() };
        list(reading, reading.scope(), query, None, slice).await
    }
}

/// An override that is in force, and what it comes to.
pub(crate) struct OverrideInForce(Effect);

/// An override that is in force, and what it comes to.
#[Object]
impl OverrideInForce {
    /// It.
    #[graphql(name = "override")]
    async fn what(&self) -> Override {
        self.0.view.clone().into()
    }

    /// Subscriptions that run there or below and are what they are because of it.
    async fn subscription_count(&self) -> u64 {
        self.0.subscriptions
    }

    /// What those cost more in a month because of it; none for a property, which has no price.
    async fn monthly_effect(&self) -> Option<Money> {
        self.0.monthly.map(Money::from)
    }

    /// What would hold there without it, such as `1 TB` or `40.00`; none where nothing would, or not the same for every
    /// plan.
    async fn without(&self, context: &Context<'_>) -> Option<&str> {
        let what = Override::from(self.0.view.clone());
        self.0.without.as_deref().filter(|_| what.is_shown(reading(context)))
    }
}

/// Which of those that are in force.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct InForceFilter {
    /// Only those of this organisation and all below it.
    organization_id: Option<ID>,
    /// Only those of this service: its key.
    service: Option<String>,
}

/// Overrides in force, in the order of recording.
pub(crate) type InForceConnection = Connection<OpaqueCursor<u64>, OverrideInForce, Known>;

impl OverrideInForce {
    /// Those in scope.
    pub(crate) async fn list(
        reading: &Reading,
        filter: InForceFilter,
        date: Option<Date>,
        slice: &Slice,
    ) -> Resolved<Option<InForceConnection>> {
        reading.require(Permission::ViewBilling)?;
        let window = slice.window::<u64>()?;
        let scope = match &filter.organization_id {
            None => reading.scope(),
            Some(id) => Scope(find_organization(reading, id).await?.path.clone()),
        };
        let service = service_key(filter.service)?;
        let settings = reading.settings().await?;
        let date = date.map_or_else(|| settings.local_date(reading.now), |date| date.0);
        let database = reading.app.database();
        let report = InForce::on(database, &scope, &settings, date).await?;
        let is_meant = |view: &&Arc<OverrideView>| {
            service.as_deref().is_none_or(|key| view.overriding.service.as_str() == key)
        };
        let all: Vec<_> = report.overrides().iter().filter(is_meant).cloned().collect();
        let known = Known { total_count: all.len() };
        let is_inside = |view: &Arc<OverrideView>| {
            window.after.is_none_or(|after| view.position > after)
                && window.before.is_none_or(|before| view.position < before)
        };
        let mut page: Vec<_> = all.into_iter().filter(is_inside).collect();
        let more = page.len() > window.limit;
        match window.end {
            End::First => page.truncate(window.limit),
            End::Last => {
                page.drain(..page.len().saturating_sub(window.limit));
            }
        }
        let (has_previous, has_next) = has_more(&window, more);
        let mut connection = Connection::with_additional_fields(has_previous, has_next, known);
        let effects = report.effects(database, &page).await?;
        let edge = |it: Effect| Edge::new(OpaqueCursor(it.view.position), Self(it));
        connection.edges.extend(effects.into_iter().map(edge));
        Ok(Some(connection))
    }
}
