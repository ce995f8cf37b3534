//! Overrides of prices and plan properties.

use std::sync::Arc;

use axum::extract::State;
use commands::Command;
use commands::resource::OverrideResource;
use commands::usecase::organizations::Because;
use commands::usecase::overrides::{
    AppliedOverrides, OverriddenProperty, OverridePrice, OverrideProperty,
};
use domain::permission::Permission;
use projections::finder::{self, Cursor, Page, Scope};
use projections::ledger::{Effect, InForce};
use projections::views::{OrganizationView, OverrideView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::call::{Answer, Call, Reader};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

/// Lists what an organisation has set otherwise, and cleared, in the order of recording.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/overrides", tag = "Overrides",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<OverrideResource>)))]
pub async fn list_overrides(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let scope = reader.0.scope();
    let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
    let organization = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &organization.path).await?;
    let mut query = parameters.take()?.query()?;
    query.owner = Some(organization.id.to_string());
    let found = finder::list::<OverrideView>(app.database(), &scope, &query).await?;
    let sees_hidden = reader.0.sees_hidden();
    Ok(page(&found, |view| {
        let resource = OverrideResource::from(view);
        if sees_hidden { resource } else { resource.without_hidden() }
    }))
}

/// Which day is reported, and which part.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportParameters {
    /// In force at the end of this day, such as `2019-11-30`; of today where it is left out.
    pub date: Option<String>,
    /// At most so many, up to 500; 50 where it is left out.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// Behind this cursor, which the page before gave as `next`.
    pub after: Option<String>,
}

/// An override that is in force, and what it comes to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideInForce {
    /// What is set.
    #[serde(flatten)]
    what: OverrideResource,
    /// For whom, by name.
    organization_name: String,
    /// What would hold there without it, such as `1 TB` or `40.00`; none where nothing would, or not the same for every
    /// plan.
    without: Option<String>,
    /// Subscriptions that run there or below and are what they are because of it.
    subscriptions: u64,
    /// What those cost more in a month because of it, such as `-20.00`; none for a property, which has no price.
    monthly_effect: Option<String>,
    /// Of the effect.
    currency: String,
}

/// Reports every override that is in force on a day for an organisation or below: who has it, who said so and why,
/// until when, who feels it, and what it comes to in a month. In the order of recording.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/overrides-in-force", tag = "Overrides",
    params(("id" = String, Path), ReportParameters),
    responses((status = 200, body = ListResource<OverrideInForce>)))]
pub async fn overrides_in_force(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ReportParameters>,
) -> Answer {
    let scope = reader.0.scope();
    let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
    let organization = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &organization.path).await?;
    let ReportParameters { date, limit, after } = parameters.take()?;
    let query = ListParameters { limit, after }.query()?;
    let settings = app.seller_at(&organization.path).await?.settings.clone();
    let date = match date {
        None => settings.local_date(app.now()),
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_parameter("date", "This is a date such as 2019-11-30."))?,
    };
    let scope = Scope(organization.path.clone());
    let report = InForce::on(app.database(), &scope, &settings, date).await?;
    let place = |view: &OverrideView| {
        let key = format!("{:020}", view.position);
        Cursor { sort: key.clone(), key }
    };
    let is_behind = |view: &&Arc<OverrideView>| {
        query.after.as_ref().is_none_or(|after| place(view).key > after.key)
    };
    let mut views: Vec<_> = report.overrides().iter().filter(is_behind).cloned().collect();
    let more = views.len() > query.limit;
    views.truncate(query.limit);
    let effects = report.effects(app.database(), &views).await?;
    let items = effects.into_iter().map(|effect| (place(&effect.view), Arc::new(effect)));
    let sees_hidden = reader.0.sees_hidden();
    Ok(page(&Page { items: items.collect(), more }, |effect: &Effect| {
        let what = OverrideResource::from(effect.view.as_ref());
        let is_shown = sees_hidden || !what.hidden;
        let organization = effect.organization.as_ref();
        OverrideInForce {
            what: if is_shown { what } else { what.without_hidden() },
            organization_name: organization.map(|it| it.details.name.clone()).unwrap_or_default(),
            without: effect.without.clone().filter(|_| is_shown),
            subscriptions: effect.subscriptions,
            monthly_effect: effect.monthly.map(|money| money.to_string()),
            currency: settings.currency.code().to_owned(),
        }
    }))
}

/// Sets a plan's property otherwise for an organisation and all below, or clears that.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/overrides/{service}", tag = "Overrides",
    params(("id" = String, Path), ("service" = String, Path)), request_body = OverrideProperty,
    responses((status = 200, body = OverriddenProperty)))]
pub async fn override_property(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::OverrideProperty { organization, service, body }).await
}

/// Carries all that is set for a service by now to what runs at an organisation and below: a change request for each
/// subscription that would be built otherwise. What was overridden with `apply: later` waits for this.
#[utoipa::path(post, path = "/api/v2/organizations/{id}/overrides/{service}/apply", tag = "Overrides",
    params(("id" = String, Path), ("service" = String, Path)), request_body = Because,
    responses((status = 200, body = AppliedOverrides)))]
pub async fn apply_overrides(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ApplyOverrides { organization, service, body }).await
}

/// Sets a price otherwise for an organisation and all below, or clears that.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/prices", tag = "Overrides",
    params(("id" = String, Path)), request_body = OverridePrice,
    responses((status = 200, body = OverrideResource)))]
pub async fn override_price(
    State(app): State<App>,
    Path(organization): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::OverridePrice { organization, body }).await
}
