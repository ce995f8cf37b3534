//! Closing billing periods.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::NaiveDate;
use commands::closing::{self, Unready, Why};
use commands::resource::{PeriodResource, RerateResource};
use commands::usecase::books::{ClosePeriod, DeferInstance, Readiness, RerateClosed};
use commands::{Command, Input};
use domain::billing::Period;
use domain::organization::Kind;
use domain::permission::Permission;
use domain::{OrganizationId, TenantPath};
use projections::finder;
use projections::views::{BooksView, OrganizationView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::call::{Answer, Call, Reader, json_response, respond};
use super::{Parameters, Path};
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;

/// How long an approval waits for the period to be closed. It is closed all the same if that takes longer.
const CLOSING_PATIENCE: Duration = Duration::from_secs(20);

/// Whose period.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SellerParameters {
    /// The seller: his id, or his number; the caller's own organisation where it is left out.
    pub(super) organization_id: Option<String>,
}

/// What keeps a period from being closed, unless it is fixed or deferred.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessResource {
    /// The seller.
    organization_id: Uuid,
    /// The period: its last date.
    end_date: NaiveDate,
    /// The position up to which the log was looked at: the period's cutoff, where somebody has asked to close it.
    pub(crate) cutoff: u64,
    /// Whether nothing is in the way.
    pub(crate) ready: bool,
    /// Subscriptions that are in the way, at most 500 of them.
    pub(crate) reasons: Vec<UnreadyResource>,
    /// How many there are.
    reason_count: usize,
}

/// A subscription that is not ready to be billed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnreadyResource {
    /// Which.
    pub(crate) subscription_id: Uuid,
    /// `no_price`, `too_large` or `request_stuck`.
    pub(crate) code: &'static str,
    /// The same, for people.
    pub(crate) detail: String,
    /// The request that is stuck, where one is.
    request_id: Option<Uuid>,
    /// Whether it is left out of the period.
    pub(crate) deferred: bool,
}

/// Most reasons that are shown.
const REASONS_MAX: usize = 500;

/// A seller and one of his periods.
pub(crate) struct SellerPeriod {
    pub(crate) seller: Arc<OrganizationView>,
    pub(crate) period: Period,
    pub(crate) books: Option<Arc<BooksView>>,
}

impl SellerPeriod {
    /// The period of that name of a seller whom the caller can see.
    ///
    /// # Errors
    /// Not found where there is none.
    pub(crate) async fn find(
        app: &App,
        principal: &Principal,
        end: &str,
        organization: Option<&str>,
    ) -> Result<Self, Problem> {
        let own = principal.organization.to_string();
        let wanted = organization.unwrap_or(&own);
        let seller = crate::billing::find_organization(app, &principal.scope(), wanted).await?;
        let mut seller = seller.ok_or_else(Problem::not_found)?;
        if let (None, Kind::Customer) = (organization, seller.kind) {
            seller = crate::seals::biller(app, &seller).await?;
        }
        let settings = &app.seller_at(&seller.path).await?.settings;
        let period = crate::billing::end_date_of(end).and_then(|end| settings.period_ending(end));
        let period = period.ok_or_else(Problem::not_found)?;
        let scope = finder::Scope::catalogue();
        let books = finder::find(app.database(), &scope, &seller.id.to_string()).await?;
        Ok(Self { seller, period, books })
    }

    /// As far as the log counts, or would.
    async fn cutoff(&self, app: &App) -> Result<u64, Problem> {
        let closing = self.books.as_ref().and_then(|books| books.closing.as_ref());
        match closing.filter(|closing| closing.end == self.period.end) {
            Some(closing) => Ok(closing.cutoff),
            None => Ok(app.log().head().await?.position),
        }
    }

    /// Of an organisation at a place in the tree; none where it sells nothing.
    pub(crate) async fn at(
        app: &App,
        path: &TenantPath,
        period: Period,
    ) -> Result<Option<Self>, Problem> {
        let scope = finder::Scope::catalogue();
        let Some(number) = path.numbers().last() else { return Ok(None) };
        let found = finder::find_by_number(app.database(), &scope, number).await?;
        let Some(seller) = found.filter(|it| it.kind != Kind::Customer) else { return Ok(None) };
        let books = finder::find(app.database(), &scope, &seller.id.to_string()).await?;
        Ok(Some(Self { seller, period, books }))
    }

    /// What keeps it from being closed.
    pub(crate) async fn readiness(&self, app: &App) -> Result<ReadinessResource, Problem> {
        let cutoff = self.cutoff(app).await?;
        let unready = self.unready(app, cutoff).await?;
        let closing = self.books.as_ref().and_then(|books| books.closing.as_ref());
        let is_deferred = |it: &Unready| {
            closing.is_some_and(|closing| {
                closing.end == self.period.end && closing.deferred.contains(&it.subscription)
            })
        };
        let reasons = unready.iter().take(REASONS_MAX).map(|it| {
            let (code, detail, request_id) = match &it.why {
                Why::Quarantined(cause) => (cause.reason.code(), cause.to_string(), None),
                Why::Stuck(request) => {
                    let detail =
                        "A request that was made before the period's end has come to no end.";
                    ("request_stuck", detail.to_owned(), Some(request.0))
                }
            };
            let (subscription_id, deferred) = (it.subscription.0, is_deferred(it));
            UnreadyResource { subscription_id, code, detail, request_id, deferred }
        });
        Ok(ReadinessResource {
            organization_id: self.seller.id.0,
            end_date: self.period.end,
            cutoff,
            ready: unready.iter().all(is_deferred),
            reasons: reasons.collect(),
            reason_count: unready.len(),
        })
    }

    async fn unready(&self, app: &App, cutoff: u64) -> Result<Vec<Unready>, Problem> {
        let settings = &app.seller_at(&self.seller.path).await?.settings;
        let seller = (self.seller.id, &self.seller.path);
        Ok(closing::readiness(app.database(), seller, settings, self.period, cutoff).await?)
    }
}

/// Shows how far a seller's period is.
#[utoipa::path(get, path = "/api/v2/billing/{endDate}/close", tag = "Billing",
    params(("endDate" = String, Path), SellerParameters),
    responses((status = 200, body = PeriodResource)))]
pub async fn get_period(
    State(app): State<App>,
    reader: Reader,
    Path(end): Path<String>,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    reader.0.require(Permission::ViewBilling)?;
    let SellerParameters { organization_id } = parameters.take()?;
    let found = SellerPeriod::find(&app, &reader.0, &end, organization_id.as_deref()).await?;
    let mut period = PeriodResource::new(found.seller.id, found.period.end, found.books.as_deref());
    if reader.0.scope().0.contains(&found.seller.path) {
        reader.0.permit(Permission::ViewBilling, &found.seller.path).await?;
    } else {
        // How far it is, a customer may know; not what others have to do with it.
        period = period.for_buyers();
    }
    Ok(shown(&period))
}

/// Shows what keeps a seller's period from being closed: subscriptions that cannot be rated, and requests that were made
/// before its end and are stuck. Each is fixed, or deferred.
#[utoipa::path(get, path = "/api/v2/billing/{endDate}/readiness", tag = "Billing",
    params(("endDate" = String, Path), SellerParameters),
    responses((status = 200, body = ReadinessResource)))]
pub async fn readiness(
    State(app): State<App>,
    reader: Reader,
    Path(end): Path<String>,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    reader.0.require(Permission::ClosePeriods)?;
    let SellerParameters { organization_id } = parameters.take()?;
    let found = SellerPeriod::find(&app, &reader.0, &end, organization_id.as_deref()).await?;
    reader.0.permit(Permission::ClosePeriods, &found.seller.path).await?;
    Ok(shown(&found.readiness(&app).await?))
}

/// Asks to close a period, as far as the log goes now: what is recorded later is late, and will be booked as a correction.
/// Somebody else has to approve it. Asked again before that, more of the log counts.
#[utoipa::path(post, path = "/api/v2/billing/{endDate}/close", tag = "Billing",
    params(("endDate" = String, Path)), request_body = ClosePeriod,
    responses((status = 200, body = PeriodResource)))]
pub async fn close_period(State(app): State<App>, Path(end): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::AskClose { end, body }).await
}

/// Leaves a subscription out of a period that is being closed. Once it can be rated, it is booked as a correction.
#[utoipa::path(post, path = "/api/v2/billing/{endDate}/defer", tag = "Billing",
    params(("endDate" = String, Path)), request_body = DeferInstance,
    responses((status = 200, body = PeriodResource)))]
pub async fn defer_instance(State(app): State<App>, Path(end): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::DeferInstance { end, body }).await
}

/// Approves that a period is closed that somebody else asked to close. It is closed then: its entries are sealed and never
/// change any more. That is mostly done when the answer comes; `GET .../close` tells.
#[utoipa::path(post, path = "/api/v2/billing/{endDate}/approve", tag = "Billing",
    params(("endDate" = String, Path)), request_body = ClosePeriod,
    responses((status = 202, body = PeriodResource)))]
pub async fn approve_close(State(app): State<App>, Path(end): Path<String>, call: Call) -> Answer {
    let body: Input<ClosePeriod> = call.input()?;
    let (readiness, seller) = match ready(&app, call.principal(), &end, &body).await? {
        Some(readiness) => (Some(readiness.0), Some(readiness.1)),
        None => (None, None),
    };
    let command = Command::ApproveClose { end, body, readiness };
    let committed = call.commit(&app, command).await?;
    if let Some(seller) = seller {
        // What is not done by then, the one who looks for what is due goes on with.
        let closed = closing::close(app.database(), app.writer(), seller);
        match tokio::time::timeout(CLOSING_PATIENCE, closed).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(error = cause, %seller, "a period was not closed");
            }
        }
    }
    let shown = committed.reply.body.get().to_owned();
    Ok(respond(committed, shown))
}

/// What has to be known of a period before somebody approves it; none where the command will say what is wrong.
async fn ready(
    app: &App,
    principal: &Principal,
    end: &str,
    body: &Input<ClosePeriod>,
) -> Result<Option<(Readiness, OrganizationId)>, Problem> {
    let Ok(body) = body else { return Ok(None) };
    let organization = body.organization_id.as_deref();
    let Ok(found) = SellerPeriod::find(app, principal, end, organization).await else {
        return Ok(None);
    };
    let seller = &found.seller;
    let is_permitted = principal.permit(Permission::ClosePeriods, &seller.path).await.is_ok();
    let closing = found.books.as_ref().and_then(|books| books.closing.as_ref());
    let asked = closing.filter(|it| it.end == found.period.end && it.approved_by.is_none());
    let (true, Some(closing), false) = (is_permitted, asked, seller.kind == Kind::Customer) else {
        return Ok(closing.map(|closing| {
            let (cutoff, unready) = (closing.cutoff, Vec::new());
            (Readiness { seller: seller.id, cutoff, unready }, seller.id)
        }));
    };
    let cutoff = closing.cutoff;
    let unready = closing::subscriptions(&found.unready(app, cutoff).await?);
    Ok(Some((Readiness { seller: seller.id, cutoff, unready }, seller.id)))
}

/// Asks to rate closed periods again, with the prices as they are known now: what differs is booked as corrections in the
/// first open period. Somebody else has to approve it.
#[utoipa::path(post, path = "/api/v2/billing/rerate", tag = "Billing",
    request_body = RerateClosed, responses((status = 200, body = RerateResource)))]
pub async fn rerate(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::AskRerate { body }).await
}

/// Approves that closed periods are rated again, as somebody else asked.
#[utoipa::path(post, path = "/api/v2/billing/rerate/approve", tag = "Billing",
    request_body = ClosePeriod, responses((status = 200, body = RerateResource)))]
pub async fn approve_rerate(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ApproveRerate { body }).await
}

fn shown(resource: &impl Serialize) -> axum::response::Response {
    let json = serde_json::to_string(resource).expect("resources have text keys only");
    json_response(StatusCode::OK, json)
}
