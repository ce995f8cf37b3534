//! Charging customers and resellers once, or giving back, by hand.

use chrono::{DateTime, Utc};
use domain::billing::adjustment::{
    Adjusted, AdjustedSubscription, Adjustment, AdjustmentCommand, DESCRIPTION_MAX_CHARS,
};
use domain::money::Money;
use domain::organization::{Kind, Organization};
use domain::permission::Permission;
use domain::subscription::Subscription;
use domain::text::line;
use domain::{AdjustmentId, Faults, Invalid, OrganizationId, Reason, Refusal, TenantPath};
use projections::views::{AdjustmentView, OrganizationView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{billing_settings, optional_moment, optional_reason};
use crate::error::Stop;
use crate::unit::Unit;
use crate::{Input, Reply};

/// What somebody is charged once, or given back. Either an amount, for a customer, one of its subscriptions, or a reseller; or an
/// earlier one that is taken back, whole.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adjust {
    /// Whom.
    pub customer_id: Option<String>,
    /// What it is about; its customer is charged.
    pub subscription_id: Option<String>,
    /// A reseller, who is charged by the seller directly above it.
    pub buyer_id: Option<String>,
    /// So much, in the seller's currency, such as `-12.50`; less than nothing is given back.
    pub amount: Option<String>,
    /// As who is charged reads it; where another one is taken back, that one's where it is left out.
    pub description: Option<String>,
    /// Why; finance will read it.
    pub reason: String,
    /// A time, or a date, which means its first moment at the seller; now where it is left out. It is billed in the period
    /// of its date; where that is closed, in the first open one, as a correction.
    pub effective_at: Option<String>,
    /// The id of an earlier one that is taken back; then nobody is named, and no amount.
    pub reverses: Option<String>,
}

/// What was charged once, or given back.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdjustmentResource {
    /// Its id.
    pub id: Uuid,
    /// The position of its making.
    pub position: u64,
    /// Who was charged: a customer, or the reseller.
    pub customer_id: Uuid,
    /// The reseller who was charged; none: the customer.
    pub buyer_id: Option<Uuid>,
    /// What it is about; none: the account.
    pub subscription_id: Option<Uuid>,
    /// Who charges it.
    pub seller_id: Uuid,
    /// A decimal text, such as `-12.50`.
    pub amount: String,
    /// The amount's currency.
    pub currency: String,
    /// As who was charged reads it.
    pub description: String,
    /// Why.
    pub reason: Option<String>,
    /// When it is true.
    pub effective_at: DateTime<Utc>,
    /// When it was made.
    pub recorded_at: DateTime<Utc>,
    /// Who made it: `user:<id>` or `system`.
    pub actor: String,
    /// The earlier one that it takes back.
    pub reverses: Option<Uuid>,
    /// The later one that took it back.
    pub reversed_by: Option<Uuid>,
}

impl From<&AdjustmentView> for AdjustmentResource {
    fn from(view: &AdjustmentView) -> Self {
        let adjusted = &view.adjusted;
        Self {
            id: view.id.0,
            position: view.position,
            customer_id: adjusted.customer.0,
            buyer_id: adjusted.buyer.map(|id| id.0),
            subscription_id: adjusted.of.as_ref().map(|of| of.subscription.0),
            seller_id: adjusted.seller.0,
            amount: adjusted.amount.to_string(),
            currency: adjusted.amount.currency.code().to_owned(),
            description: adjusted.description.clone(),
            reason: view.reason.clone(),
            effective_at: view.effective_at,
            recorded_at: view.recorded_at,
            actor: view.actor.to_string(),
            reverses: adjusted.reverses.map(|id| id.0),
            reversed_by: view.reversed_by.map(|id| id.0),
        }
    }
}

pub(crate) fn adjust(unit: &mut Unit<'_>, body: Input<Adjust>) -> Result<Reply, Stop> {
    unit.require(Permission::AdjustBilling)?;
    let body = unit.take(body)?;
    match body.reverses.clone() {
        None => make(unit, body),
        Some(earlier) => reverse(unit, &earlier, body),
    }
}

fn make(unit: &mut Unit<'_>, body: Adjust) -> Result<Reply, Stop> {
    let mut faults = Faults::default();
    let named = [&body.customer_id, &body.subscription_id, &body.buyer_id];
    let one = named.iter().filter(|it| it.is_some()).count() == 1;
    let detail = "Name a customer, a subscription, or a reseller who buys.";
    faults.ensure(one, "", "customer_or_subscription", detail);
    if !one {
        check(&mut faults, &body);
        faults.check()?;
        unreachable!("a fault was noted")
    }
    let held = match &body.subscription_id {
        Some(id) => Some(super::subscriptions::find(unit, id)?),
        None => None,
    };
    let customer = match (&held, body.customer_id.as_ref().or(body.buyer_id.as_ref())) {
        (Some((_, _, recipient)), _) => recipient.customer,
        (None, id) => {
            let id = id.map_or("", String::as_str).parse::<OrganizationId>();
            id.map_err(|_| Refusal::not_found())?
        }
    };
    let path = unit.path_of(&customer.to_string())?;
    unit.permit(Permission::AdjustBilling, &path)?;
    let kind = unit.load::<Organization>(customer).founded()?.kind;
    let buyer = body.buyer_id.is_some().then_some(customer);
    if buyer.is_none() && kind != Kind::Customer {
        faults.add(
            "/customerId",
            "not_a_customer",
            "A reseller is named as who buys, by `buyerId`.",
        );
    }
    if buyer.is_some() && kind != Kind::Reseller {
        faults.add("/buyerId", "not_a_reseller", "Only a reseller buys for others.");
    }
    let seller_now = seller(unit, customer, unit.now())?;
    let settings = billing_settings(unit, seller_now)?;
    let at = "/effectiveAt";
    let moment = optional_moment(&mut faults, at, body.effective_at.as_deref(), &settings);
    let (reason, description) = check(&mut faults, &body);
    let seller = seller(unit, customer, moment.unwrap_or(unit.now()))?;
    may_adjust(unit, seller)?;
    let currency = billing_settings(unit, seller)?.currency;
    let amount = match &body.amount {
        Some(text) => Money::parse(text, currency),
        None => Err(Invalid::new("missing", "Say how much.")),
    };
    let amount = faults.take("/amount", amount);
    let is_something = amount.is_none_or(|amount| amount.minor != 0);
    faults.ensure(is_something, "/amount", "nothing", "Nothing is nothing to be charged.");
    if body.description.is_none() {
        faults.add("/description", "missing", "Say what for, as who is charged will read it.");
    }
    faults.check()?;
    let (Some(amount), Some(description)) = (amount, description) else {
        unreachable!("a fault was noted")
    };
    unit.because(moment, reason);
    let moment = unit.effective_at();
    let of = held.map(|(subscription, request, _)| {
        let held = unit.load::<Subscription>(subscription);
        let plan = held.held_at(moment).map_or(request.plan.key, |held| held.plan.clone());
        AdjustedSubscription { plan, service: request.service.key, subscription }
    });
    let adjusted = Adjusted { amount, buyer, customer, description, of, reverses: None, seller };
    record(unit, &path, adjusted)
}

fn reverse(unit: &mut Unit<'_>, earlier: &str, body: Adjust) -> Result<Reply, Stop> {
    let earlier: AdjustmentId = earlier.parse().map_err(|_| Refusal::not_found())?;
    let made = unit.load::<Adjustment>(earlier).made.clone().ok_or_else(Refusal::not_found)?;
    let view = unit.view::<AdjustmentView>(&earlier.to_string()).ok_or_else(Refusal::not_found)?;
    unit.permit(Permission::AdjustBilling, &view.path)?;
    may_adjust(unit, made.seller)?;
    let settings = billing_settings(unit, made.seller)?;
    let mut faults = Faults::default();
    let at = "/effectiveAt";
    let moment = optional_moment(&mut faults, at, body.effective_at.as_deref(), &settings);
    let (reason, description) = check(&mut faults, &body);
    for (name, text) in [
        ("/customerId", &body.customer_id),
        ("/subscriptionId", &body.subscription_id),
        ("/buyerId", &body.buyer_id),
        ("/amount", &body.amount),
    ] {
        let detail = "What is taken back is taken back whole; leave this out.";
        faults.ensure(text.is_none(), name, "not_with_reverses", detail);
    }
    faults.check()?;
    unit.because(moment, reason);
    let negated = made.amount.checked_neg().expect("an amount that was entered has a negative");
    let adjusted = Adjusted {
        amount: negated,
        description: description.unwrap_or_else(|| made.description.clone()),
        reverses: Some(earlier),
        ..made
    };
    record(unit, &view.path, adjusted)
}

/// What is the same for all: why, and how who is charged reads it.
fn check(faults: &mut Faults, body: &Adjust) -> (Option<String>, Option<String>) {
    let reason = optional_reason(faults, Some(&body.reason));
    faults.ensure(reason.is_some(), "/reason", "required", "Say why.");
    let description = body.description.as_deref();
    let description =
        description.and_then(|text| faults.take("/description", line(text, DESCRIPTION_MAX_CHARS)));
    (reason, description)
}

/// Who bills a customer at a moment, or sells to a reseller.
fn seller(
    unit: &mut Unit<'_>,
    customer: OrganizationId,
    moment: DateTime<Utc>,
) -> Result<OrganizationId, Stop> {
    let view = unit.view::<OrganizationView>(&customer.to_string());
    let edges = view.ok_or_else(Refusal::not_found)?.edges_known_at(u64::MAX);
    let begun = edges.iter().rfind(|edge| edge.turn.as_ref().is_none_or(|turn| turn.at <= moment));
    Ok(begun.or(edges.first()).ok_or_else(Refusal::not_found)?.seller)
}

/// Who charges is of the seller, or of somebody above him.
fn may_adjust(unit: &mut Unit<'_>, seller: OrganizationId) -> Result<(), Stop> {
    let path = unit.load::<Organization>(seller).founded()?.path.clone();
    match unit.permit(Permission::AdjustBilling, &path) {
        Err(Stop::Refused(refusal)) if refusal.reason == Reason::NotFound => {
            let detail = "Somebody above you bills it then: only he charges it by hand.";
            Err(Refusal::conflict("not_the_seller", detail).into())
        }
        other => other,
    }
}

fn record(unit: &mut Unit<'_>, path: &TenantPath, adjusted: Adjusted) -> Result<Reply, Stop> {
    let id = AdjustmentId(unit.id());
    if let Some(earlier) = adjusted.reverses {
        unit.execute::<Adjustment>(earlier, path, AdjustmentCommand::Reverse(id))?;
    }
    unit.begin::<Adjustment>(id);
    unit.execute::<Adjustment>(id, path, AdjustmentCommand::Make(Box::new(adjusted)))?;
    let view = unit.view::<AdjustmentView>(&id.to_string()).ok_or_else(Refusal::not_found)?;
    let resource = AdjustmentResource::from(&*view);
    Ok(Reply::created_unversioned("/billing/adjustments".to_owned(), &resource))
}
