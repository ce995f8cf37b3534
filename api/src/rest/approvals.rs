//! Approvals: policies, and answers to what waits.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use commands::Command;
use commands::resource::{ApprovalPolicyResource, ApprovalResource};
use commands::usecase::approvals::policies::SetApprovalPolicy;
use commands::usecase::organizations::Because;
use domain::SubscriptionId;
use domain::approval::{Answering, Status};
use domain::permission::Permission;
use projections::finder::{self, Query};
use projections::views::{ApprovalPolicyView, ApprovalView, AskedView, OrganizationView};
use serde::Serialize;
use utoipa::ToSchema;

use super::Path;
use super::call::{Answer, Call, Reader, json_response, resource};
use super::subscriptions::RequestOrApproval;
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;

/// Those of some subscriptions where something waits for approval.
pub(super) async fn waiting(
    app: &App,
    reader: &Reader,
    subscriptions: impl IntoIterator<Item = SubscriptionId>,
) -> Result<HashSet<SubscriptionId>, Problem> {
    let scope = reader.0.scope();
    let ids = subscriptions.into_iter().map(|id| id.to_string()).collect();
    let asked = finder::find_many::<AskedView>(app.database(), &scope, ids).await?;
    let approvals = asked.values().map(|asked| asked.approval.to_string()).collect();
    let approvals = finder::find_many::<ApprovalView>(app.database(), &scope, approvals).await?;
    let waiting = approvals.values().filter(|it| it.progress.status == Status::Waiting);
    Ok(waiting.map(|it| it.progress.asked.wish.subscription).collect())
}

/// What has to be approved at an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApprovalPolicyList {
    /// Those that it sets itself, and then those of each organisation above that the caller can see; by service. They
    /// all apply.
    data: Vec<ApprovalPolicyResource>,
}

/// Lets somebody see something that has to be approved: who asked, who is asked, and whoever sees subscriptions there.
///
/// # Errors
/// See [`Principal::permit`].
pub(crate) async fn permit(reader: &Principal, view: &ApprovalView) -> Result<(), Problem> {
    let asked = &view.progress.asked;
    let answering = Answering {
        user: reader.user,
        impersonator: reader.real,
        organization: reader.organization,
        roles: reader.authority.roles.clone(),
    };
    let is_asked = asked.steps.iter().any(|step| step.asks(&answering));
    if is_asked || asked.requester.is(reader.user) {
        return Ok(());
    }
    reader.permit(Permission::ViewSubscriptions, &view.path).await
}

/// Something that has to be approved, as somebody is shown it.
pub(crate) fn shown_to(reader: &Principal, view: &ApprovalView) -> ApprovalResource {
    match reader.sees_hidden() {
        true => ApprovalResource::whole(view),
        false => ApprovalResource::shown(view),
    }
}

/// Shows what has to be approved.
///
/// # Errors
/// Not found where there is none, or it is out of scope.
pub(crate) async fn shown(app: &App, reader: &Principal, id: &str) -> Answer {
    let found = finder::find::<ApprovalView>(app.database(), &reader.scope(), id).await?;
    let view = found.ok_or_else(Problem::not_found)?;
    permit(reader, &view).await?;
    let shown = RequestOrApproval::Approval(Box::new(shown_to(reader, &view)));
    Ok(resource(&shown, view.version))
}

/// Approves what was asked for. With the last approval that it needs, it is carried out, as the one who asked may do
/// it then; where it is refused by then, `failure` says why.
#[utoipa::path(post, path = "/api/v2/requests/{id}/approve", tag = "Approvals",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = ApprovalResource)))]
pub async fn approve(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ApproveRequest { id, body }).await
}

/// Rejects what was asked for: it is over.
#[utoipa::path(post, path = "/api/v2/requests/{id}/reject", tag = "Approvals",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = ApprovalResource)))]
pub async fn reject(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::RejectRequest { id, body }).await
}

/// Takes back what one has asked for, as long as it waits for approval.
#[utoipa::path(post, path = "/api/v2/requests/{id}/withdraw", tag = "Approvals",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = ApprovalResource)))]
pub async fn withdraw(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::WithdrawRequest { id, body }).await
}

/// Lists who has to approve what at an organisation.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/approval-policies", tag = "Approvals",
    params(("id" = String, Path)), responses((status = 200, body = ApprovalPolicyList)))]
pub async fn list_policies(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    let scope = reader.0.scope();
    let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
    let organization = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewSubscriptions, &organization.path).await?;
    let mut data = Vec::new();
    let mut next = Some(organization);
    while let Some(organization) = next {
        let query = Query {
            owner: Some(organization.id.to_string()),
            kind: Some(ApprovalPolicyView::SET.to_owned()),
            limit: domain::approval::POLICIES_MAX,
            ..Query::default()
        };
        let page = finder::list::<ApprovalPolicyView>(app.database(), &scope, &query).await?;
        data.extend(page.items.iter().filter_map(|(_, view)| {
            let policy = view.policy.as_ref()?;
            Some(ApprovalPolicyResource::new(view.organization, view.service.as_ref(), policy))
        }));
        next = match organization.parent {
            Some(parent) => {
                finder::find::<OrganizationView>(app.database(), &scope, &parent.to_string())
                    .await?
            }
            None => None,
        };
    }
    let list = ApprovalPolicyList { data };
    let json = serde_json::to_string(&list).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Says who has to approve what before it is done: for a service, or for all that have no policy of their own here
/// (`*`). It holds here and below; what organisations above say holds as well.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/approval-policies/{service}", tag = "Approvals",
    params(("id" = String, Path), ("service" = String, Path)), request_body = SetApprovalPolicy,
    responses((status = 200, body = ApprovalPolicyResource)))]
pub async fn set_policy(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::SetApprovalPolicy { organization, service, body }).await
}

/// Clears a policy. What waits goes on waiting.
#[utoipa::path(delete, path = "/api/v2/organizations/{id}/approval-policies/{service}", tag = "Approvals",
    params(("id" = String, Path), ("service" = String, Path)),
    responses((status = 204, description = "Cleared, or there was none")))]
pub async fn clear_policy(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ClearApprovalPolicy { organization, service, body }).await
}
