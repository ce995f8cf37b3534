//! What a period would come to if something were so that somebody thinks of, by customer (billing.md, section 9).
//!
//! What is proposed goes through the very commands that would make it so, and through the same rating as everything else:
//! it is allowed and refused as they are, and nothing is recorded.

use std::sync::Arc;

use axum::http::StatusCode;
use commands::usecase::definition::DefinitionDocument;
use commands::usecase::pricing::{PriceRowText, SetPrices};
use commands::usecase::rulebook::{RuleText, SetRules};
use commands::usecase::services::PublishService;
use commands::{Command, Rehearsed, Submission};
use domain::billing::Period;
use domain::organization::Kind;
use domain::permission::Permission;
use domain::{Fault, Refusal};
use projections::ledger::{self, Proposal as Proposed, Rehearsal, Supposed};
use projections::views::OrganizationView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::asked::end_date_of;
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;
use crate::seals::Sealed;

/// What is to be rehearsed: what somebody thinks of, on a period of a seller. Where nothing is proposed, a closed period
/// is rated as it was closed, by this program in place of the one that closed it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rehearse {
    /// The seller: his id, or his number; the caller's own organisation where it is left out.
    pub(crate) organization_id: Option<String>,
    /// The period: its last date; the one that goes on now where it is left out.
    pub(crate) end_date: Option<String>,
    /// A service as it would be sold.
    service: Option<ProposedService>,
    /// From 1 to 100 rows for the seller's price book, as `PUT /api/v2/organizations/{id}/price-book` takes them. Those
    /// that do not say from when are from the first moment of the period.
    prices: Option<Vec<PriceRowText>>,
    /// All billable rules of the seller, as `PUT /api/v2/billing/rules` takes them, in place of those that he has.
    rules: Option<Vec<RuleText>>,
}

/// What somebody thinks of: any of it, all at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposal {
    pub(crate) service: Option<ProposedService>,
    pub(crate) prices: Option<Vec<PriceRowText>>,
    pub(crate) rules: Option<Vec<RuleText>>,
}

impl From<Rehearse> for Proposal {
    fn from(Rehearse { service, prices, rules, .. }: Rehearse) -> Self {
        Self { service, prices, rules }
    }
}

/// A service as it would be sold.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProposedService {
    /// Which.
    key: String,
    /// Its definition, as `PUT /api/v2/services/{key}/draft` takes it; the draft that is saved now where it is left out.
    definition: Option<DefinitionDocument>,
    /// From when it would be sold so: a time or a date; from the first moment of the period where it is left out.
    effective_at: Option<String>,
}

/// Of whom, and which period.
pub(crate) struct Rehearsing {
    pub(crate) seller: Arc<OrganizationView>,
    /// The period's last date; the one that goes on now where it is left out.
    pub(crate) end_date: Option<String>,
    pub(crate) proposal: Proposal,
}

/// What came of it.
pub(crate) struct Shown {
    pub(crate) period: Period,
    pub(crate) rehearsal: Rehearsal,
    /// By which rating a closed period was sealed.
    pub(crate) sealed_engine: Option<u32>,
}

/// A command that would make a part of a proposal so.
struct Part {
    command: Command,
    /// Where that part stands in what was sent.
    place: &'static str,
    /// What begins the pointers of faults, and what takes its place: the first that fits.
    pointers: &'static [(&'static str, &'static str)],
}

impl Rehearsing {
    /// Rates the period as it is and as it would be.
    ///
    /// # Errors
    /// The refusal of what is proposed, or all that is wrong with it.
    pub(crate) async fn carry_out(
        self,
        app: &App,
        principal: &Principal,
    ) -> Result<Shown, Problem> {
        let Self { seller, end_date, proposal } = self;
        principal.permit(Permission::ViewBilling, &seller.path).await?;
        if seller.kind == Kind::Customer {
            let detail = "A customer sells nothing, and so bills nothing.";
            return Err(Refusal::conflict("no_books", detail).into());
        }
        let settings = app.seller_at(&seller.path).await?.settings.clone();
        let period = match end_date.as_deref() {
            None => Some(settings.period_containing(settings.local_date(app.now()))),
            Some(text) => end_date_of(text).and_then(|end| settings.period_ending(end)),
        };
        let period = period.ok_or_else(|| {
            Refusal::invalid("/endDate", "no_such_period", "No period ends on this date.")
        })?;
        let start = settings.instants(&period).0.to_rfc3339();
        let prices = proposal.service.is_some() || proposal.prices.is_some();
        let rules = proposal.rules.is_some();
        let parts = parts(proposal, &seller, &start);
        let is_engine_alone = parts.is_empty();
        let supposed = supposed(app, principal, parts).await?;
        let (of, proposed) = ((seller.id, &seller.path), Proposed { supposed, prices, rules });
        let rehearsal = ledger::rehearse(app.database(), of, period, proposed).await?;
        if is_engine_alone && rehearsal.closed.is_none() {
            let detail =
                "Propose something, or name a closed period: it is rated again as it was closed.";
            return Err(Refusal::invalid("", "nothing_proposed", detail).into());
        }
        let sealed_engine = match rehearsal.closed {
            None => None,
            Some(_) => Some(Sealed::find(app, seller, &period.label()).await?.engine()),
        };
        Ok(Shown { period, rehearsal, sealed_engine })
    }
}

/// The commands that would make a proposal so, in order.
fn parts(proposal: Proposal, seller: &OrganizationView, start: &str) -> Vec<Part> {
    let Proposal { service, prices, rules } = proposal;
    let mut parts = Vec::new();
    if let Some(ProposedService { key, definition, effective_at }) = service {
        if let Some(definition) = definition {
            let key = key.clone();
            let command = Command::DraftService { key, body: Ok(definition), if_match: None };
            let (place, pointers) = ("/service/definition", &[("", "/service/definition")]);
            parts.push(Part { command, place, pointers });
        }
        let effective_at = Some(effective_at.unwrap_or_else(|| start.to_owned()));
        let body = Ok(PublishService { effective_at, ..PublishService::default() });
        let command = Command::PublishService { key, body };
        // What is wrong beside the date is the definition that would be published.
        let pointers = &[("/effectiveAt", "/service/effectiveAt"), ("", "/service/definition")];
        parts.push(Part { command, place: "/service", pointers });
    }
    if let Some(mut rows) = prices {
        for row in &mut rows {
            row.effective_from.get_or_insert_with(|| start.to_owned());
        }
        // Nobody will ever read why.
        let body = Ok(SetPrices { rows, reason: "A rehearsal.".to_owned() });
        let command = Command::SetPrices { organization: seller.id.to_string(), body };
        parts.push(Part { command, place: "/prices", pointers: &[("/rows", "/prices")] });
    }
    if let Some(rules) = rules {
        let organization_id = Some(seller.id.to_string());
        let body = Ok(SetRules { organization_id, rules, reason: None });
        let command = Command::SetBillableRules { body, if_match: None };
        parts.push(Part { command, place: "/rules", pointers: &[] });
    }
    parts
}

/// What would follow from what is proposed.
async fn supposed(app: &App, principal: &Principal, parts: Vec<Part>) -> Result<Supposed, Problem> {
    if parts.is_empty() {
        return Ok(Supposed::default());
    }
    let (commands, places): (Vec<_>, Vec<_>) =
        parts.into_iter().map(|part| (part.command, (part.place, part.pointers))).unzip();
    let caller = principal.caller();
    let submit = |command| Submission { caller, command, idempotency: None };
    let submissions = commands.into_iter().map(submit).collect();
    let vault = app.persons().vault();
    let Rehearsed { answers, events, views } =
        app.writer().rehearse(app.database(), vault, submissions).await?;
    let mut refused: Option<Problem> = None;
    for (answer, (place, pointers)) in answers.into_iter().zip(places) {
        let Err(error) = answer else { continue };
        let mut problem = placed(error.into(), place, pointers);
        match &mut refused {
            None => refused = Some(problem),
            // What stands on something that is wrong is wrong because of that.
            Some(first) if first.status == problem.status => {
                first.errors.append(&mut problem.errors)
            }
            Some(_) => {}
        }
    }
    match refused {
        Some(problem) => Err(problem),
        None => Ok(Supposed { events, views }),
    }
}

/// What is wrong with a part, as what was sent has it.
fn placed(mut problem: Problem, place: &str, pointers: &[(&str, &str)]) -> Problem {
    for fault in &mut problem.errors {
        let mut placed = pointers.iter().filter_map(|(sent, proposed)| {
            Some(format!("{proposed}{}", fault.pointer.strip_prefix(sent)?))
        });
        if let Some(placed) = placed.next() {
            fault.pointer = placed;
        }
    }
    let is_silent = matches!(problem.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
    if problem.errors.is_empty() && !is_silent {
        let Problem { code, detail, .. } = &problem;
        let (pointer, detail) = (place.to_owned(), detail.clone());
        problem.errors.push(Fault { pointer, code, detail });
    }
    problem
}
