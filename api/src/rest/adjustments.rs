//! What is charged once, or given back, by hand.

use axum::extract::State;
use commands::Command;
use commands::usecase::adjustments::{Adjust, AdjustmentResource};
use domain::permission::Permission;
use projections::finder;
use projections::views::AdjustmentView;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Parameters;
use super::call::{Answer, Call, Reader};
use super::list::{ListParameters, ListResource, page};
use crate::app::App;
use crate::billing::find_organization;
use crate::problem::Problem;

/// Which adjustments.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AdjustmentParameters {
    /// Only this customer's or reseller's, by its number or its id.
    customer_id: Option<String>,
    /// At most so many, up to 500; 50 where it is left out.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// Behind this cursor, which the page before gave as `next`.
    after: Option<String>,
}

/// Charges a customer or a reseller once, or gives back, by hand; or takes an earlier such charge back, whole. It is billed in
/// the period of its date; where that is closed, in the first open one, as a correction.
#[utoipa::path(post, path = "/api/v2/billing/adjustments", tag = "Billing", request_body = Adjust,
    responses((status = 201, body = AdjustmentResource)))]
pub async fn adjust(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::Adjust { body }).await
}

/// Lists what was charged and given back by hand, in the order of recording. It stays with the seller who made it where a
/// customer moves.
#[utoipa::path(get, path = "/api/v2/billing/adjustments", tag = "Billing",
    params(AdjustmentParameters),
    responses((status = 200, body = ListResource<AdjustmentResource>)))]
pub async fn list_adjustments(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<AdjustmentParameters>,
) -> Answer {
    reader.0.require(Permission::ViewBilling)?;
    let AdjustmentParameters { customer_id, limit, after } = parameters.take()?;
    let scope = reader.0.scope();
    let mut query = ListParameters { limit, after }.query()?;
    if let Some(wanted) = customer_id {
        let found = find_organization(&app, &scope, &wanted).await?;
        query.owner = Some(found.ok_or_else(Problem::not_found)?.id.to_string());
    }
    let found = finder::list::<AdjustmentView>(app.database(), &scope, &query).await?;
    Ok(page(&found, |view: &AdjustmentView| AdjustmentResource::from(view)))
}
