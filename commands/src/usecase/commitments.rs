//! What buyers are committed to: what all that they hold of a service comes to at least.

use domain::billing::BillingSettings;
use domain::money::{Currency, Money};
use domain::permission::Permission;
use domain::pricing::{CommitmentSetting, PricingCommand};
use domain::{Faults, OrganizationId, Refusal, ServiceKey, TenantPath};
use projections::views::{CommitmentView, OrganizationView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::pricing::{ROWS_MAX, pricing, said, seller};
use super::services::Sold;
use super::{billing_settings, optional_moment};
use crate::error::Stop;
use crate::unit::Unit;
use crate::{Input, Reply};

/// What buyers are committed to.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetCommitments {
    /// To whom: the seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// From 1 to 100 of them.
    pub commitments: Vec<CommitmentText>,
    /// Why; finance will read it.
    pub reason: String,
}

/// What all that a buyer holds of a service comes to at least, in a full period. Of those for the same buyer and service the one
/// that has begun last counts.
///
/// What the charges of a period lack is shared among what is held, as entries of the component `commitment`: as the charges are.
/// What is charged by terms, such as by the year, is none of them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentText {
    /// Who is committed: a reseller or customer whom the seller bills, with all below.
    pub buyer_id: String,
    /// Of which service.
    pub service: String,
    /// At least so much, such as `100.00`; `0` ends an earlier one.
    pub amount: String,
    /// Of the amount, by ISO 4217; the seller's where it is left out.
    pub currency: Option<String>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out. A part of a period is charged by
    /// days.
    pub effective_from: Option<String>,
    /// Until when (exclusive); until another one follows where it is left out.
    pub effective_to: Option<String>,
}

/// What a buyer is committed to.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentResource {
    /// The position of its event.
    pub position: u64,
    /// To whom.
    pub organization_id: Uuid,
    /// Who.
    pub buyer_id: Uuid,
    /// Of which service.
    pub service: String,
    /// At least so much in a full period: a decimal text.
    pub amount: String,
    /// Of the amount.
    pub currency: String,
    /// From when.
    pub effective_from: chrono::DateTime<chrono::Utc>,
    /// Until when.
    pub effective_to: Option<chrono::DateTime<chrono::Utc>>,
    /// Who set it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

impl From<&CommitmentView> for CommitmentResource {
    fn from(view: &CommitmentView) -> Self {
        let CommitmentSetting { amount, buyer, seller, service, to } = &view.setting;
        Self {
            position: view.position,
            organization_id: seller.0,
            buyer_id: buyer.0,
            service: service.to_string(),
            amount: amount.to_string(),
            currency: amount.currency.code().to_owned(),
            effective_from: view.effective_from,
            effective_to: *to,
            actor: view.actor.to_string(),
            reason: view.reason.clone(),
        }
    }
}

/// Commitments that were set.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CommitmentsResource {
    /// They, in the order in which they were sent.
    pub commitments: Vec<CommitmentResource>,
}

pub(crate) fn set(unit: &mut Unit<'_>, body: Input<SetCommitments>) -> Result<Reply, Stop> {
    unit.require(Permission::OverridePrices)?;
    let SetCommitments { organization_id, commitments, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id, Permission::OverridePrices)?;
    let mut faults = Faults::default();
    let reason = said(&mut faults, &reason);
    faults.ensure(
        (1..=ROWS_MAX).contains(&commitments.len()),
        "/commitments",
        "count",
        "Send from 1 to 100 commitments at a time.",
    );
    let billing = billing_settings(unit, id)?;
    let mut settings = Vec::with_capacity(commitments.len());
    for (place, text) in commitments.iter().enumerate().take(ROWS_MAX) {
        settings.extend(setting(unit, (id, &path, &billing), place, text, &mut faults));
    }
    faults.check()?;
    let mut set = Vec::with_capacity(settings.len());
    for (from, setting) in settings {
        unit.because(from, reason.clone());
        let position = pricing(unit, &path, PricingCommand::SetCommitment(setting))?;
        let view = unit.view::<CommitmentView>(&format!("{position:020}"));
        set.push(CommitmentResource::from(&*view.ok_or_else(Refusal::not_found)?));
    }
    Ok(Reply::unversioned(&CommitmentsResource { commitments: set }))
}

type Dated = (Option<chrono::DateTime<chrono::Utc>>, CommitmentSetting);

/// A commitment as it is set, with when it is from; none where a fault was noted.
fn setting(
    unit: &mut Unit<'_>,
    (seller, path, billing): (OrganizationId, &TenantPath, &BillingSettings),
    place: usize,
    text: &CommitmentText,
    faults: &mut Faults,
) -> Option<Dated> {
    let at = |field: &str| format!("/commitments/{place}/{field}");
    let buyer = buyer(unit, seller, path, &text.buyer_id);
    let detail = "There is no such reseller or customer below the seller.";
    faults.ensure(buyer.is_some(), &at("buyerId"), "not_a_buyer", detail);
    let service = Sold::find(unit, &text.service).and_then(|_| ServiceKey::parse(&text.service));
    let detail = "No such service is sold.";
    faults.ensure(service.is_some(), &at("service"), "unknown_service", detail);
    let currency = match &text.currency {
        Some(code) => faults.take(&at("currency"), Currency::parse(code)),
        None => Some(billing.currency),
    };
    let amount = currency.and_then(|it| faults.take(&at("amount"), Money::parse(&text.amount, it)));
    let is_negative = amount.is_some_and(|amount| amount.minor < 0);
    faults.ensure(!is_negative, &at("amount"), "negative", "A commitment is not negative.");
    let from =
        optional_moment(faults, &at("effectiveFrom"), text.effective_from.as_deref(), billing);
    let to = optional_moment(faults, &at("effectiveTo"), text.effective_to.as_deref(), billing);
    let begins = from.unwrap_or(unit.now());
    faults.ensure(
        to.is_none_or(|to| to > begins),
        &at("effectiveTo"),
        "not_after",
        "A commitment ends after it begins.",
    );
    let (amount, buyer, service) = (amount?, buyer?, service?);
    Some((from, CommitmentSetting { amount, buyer, seller, service, to }))
}

/// Somebody below a seller, if there is one of that id: who bills whom may change.
fn buyer(
    unit: &mut Unit<'_>,
    seller: OrganizationId,
    path: &TenantPath,
    text: &str,
) -> Option<OrganizationId> {
    let id = text.parse::<OrganizationId>().ok().filter(|id| *id != seller)?;
    let view = unit.view::<OrganizationView>(&id.to_string())?;
    path.contains(&view.path).then_some(id)
}
