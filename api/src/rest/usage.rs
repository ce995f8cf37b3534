//! What was used.

use axum::extract::State;
use commands::Command;
use commands::usecase::usage::{RecordUsage, UsageResource};
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::views::{SubscriptionView, UsageView};

use super::call::{Answer, Call, Reader};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

/// Records a reading of a meter: what was used of a subscription. Late readings are taken, too: the period in which it was
/// so is rated again.
#[utoipa::path(post, path = "/api/v2/billing/usage", tag = "Billing", request_body = RecordUsage,
    responses((status = 201, body = UsageResource)))]
pub async fn record_usage(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::RecordUsage { body }).await
}

/// Lists what was used of a subscription, by time.
#[utoipa::path(get, path = "/api/v2/subscriptions/{id}/usage", tag = "Billing",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<UsageResource>)))]
pub async fn list_usage(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let found = finder::find::<SubscriptionView>(app.database(), &reader.0.scope(), &id).await?;
    let subscription = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &subscription.path).await?;
    let mut query = parameters.take()?.query()?;
    query.owner = Some(subscription.id.to_string());
    let found = finder::list::<UsageView>(app.database(), &Scope::catalogue(), &query).await?;
    Ok(page(&found, |view: &UsageView| UsageResource::from(view)))
}
