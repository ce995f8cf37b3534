//! Recording what was used.

use domain::permission::Permission;
use domain::subscription::Subscription;
use domain::text::line;
use domain::usage::{Aggregation, MeterReading, UNIQUE_MAX_CHARS, Usage, UsageCommand};
use domain::{Faults, Invalid, MeterKey, Refusal};
use projections::views::UsageView;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::definition::ValueDocument;
use super::services::Sold;
use super::{billing_settings, optional_moment, optional_reason};
use crate::error::Stop;
use crate::unit::Unit;
use crate::{Input, Reply};

/// A reading of a meter.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordUsage {
    /// Whose usage it is.
    pub subscription_id: String,
    /// Which of its service's meters: its key.
    pub meter: String,
    /// How much, such as `12.5`; of a meter that sums up, it may be negative, to take something back.
    pub quantity: ValueDocument,
    /// What was seen, of a meter that counts different things, and of no other.
    pub unique: Option<String>,
    /// When it was so: a time, or a date, which means its first moment at the seller; now where it is left out. Not later
    /// than now.
    pub effective_at: Option<String>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageResource {
    /// The position of the event.
    pub position: u64,
    /// Whose usage it is.
    pub subscription_id: Uuid,
    /// The key of the meter.
    pub meter: String,
    /// How much, as a decimal text.
    pub quantity: String,
    /// What was seen, where different things are counted.
    pub unique: Option<String>,
    /// When it was so.
    pub effective_at: chrono::DateTime<chrono::Utc>,
    /// Who recorded it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

impl From<&UsageView> for UsageResource {
    fn from(view: &UsageView) -> Self {
        Self {
            position: view.position,
            subscription_id: view.subscription().0,
            meter: view.reading.meter.to_string(),
            quantity: view.reading.quantity.to_string(),
            unique: view.reading.unique.clone(),
            effective_at: view.effective_at,
            actor: view.actor.to_string(),
            reason: view.reason.clone(),
        }
    }
}

pub(crate) fn record(unit: &mut Unit<'_>, body: Input<RecordUsage>) -> Result<Reply, Stop> {
    unit.require(Permission::RecordUsage)?;
    let body = unit.take(body)?;
    let (id, held, recipient) = super::subscriptions::find(unit, &body.subscription_id)?;
    unit.permit(Permission::RecordUsage, &recipient.path)?;

    let settings = billing_settings(unit, recipient.customer)?;
    let mut faults = Faults::default();
    let at = optional_moment(&mut faults, "/effectiveAt", body.effective_at.as_deref(), &settings);
    faults.ensure(
        at.is_none_or(|at| at <= unit.now()),
        "/effectiveAt",
        "not_yet",
        "What was used is recorded when it was.",
    );
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    let sold = Sold::find(unit, held.service.key.as_str()).ok_or_else(Refusal::not_found)?;
    let meter = MeterKey::parse(&body.meter).and_then(|key| sold.definition.meter(&key));
    if meter.is_none() {
        let known: Vec<_> = sold.definition.meters.iter().map(|it| it.key.as_str()).collect();
        let detail = match &known[..] {
            [] => "The service has no meters.".to_owned(),
            known => format!("The service has no such meter; it has: {}.", known.join(", ")),
        };
        faults.add("/meter", "unknown_meter", detail);
    }
    let may_be_negative = meter.is_some_and(|it| it.aggregation == Aggregation::Sum);
    let quantity = faults.take("/quantity", quantity(&body.quantity.text(), may_be_negative));
    let counts_different = meter.is_some_and(|it| it.aggregation == Aggregation::Unique);
    let unique = body.unique.as_deref();
    let unique = unique.and_then(|text| faults.take("/unique", line(text, UNIQUE_MAX_CHARS)));
    faults.ensure(
        meter.is_none() || body.unique.is_some() == counts_different,
        "/unique",
        if counts_different { "missing" } else { "not_unique" },
        "A meter that counts different things says which one was seen; no other does.",
    );
    faults.check()?;
    let (Some(meter), Some(quantity)) = (meter, quantity) else {
        unreachable!("a fault was noted")
    };
    let meter = meter.key.clone();
    unit.because(at, reason);
    let moment = unit.effective_at();
    if unit.load::<Subscription>(id).held_at(moment).is_none() {
        let detail = format!("Nothing was provisioned here on {}.", moment.to_rfc3339());
        return Err(Refusal::conflict("not_provisioned", detail).into());
    }
    let reading = MeterReading { meter, quantity, subscription: id, unique };
    let name = unit.id();
    unit.begin::<Usage>(name);
    let position = unit.next_position();
    unit.execute::<Usage>(name, &recipient.path, UsageCommand::Record(reading))?;
    let view = unit.view::<UsageView>(&format!("{position:020}"));
    let resource = UsageResource::from(&*view.ok_or_else(Refusal::not_found)?);
    Ok(Reply::created(format!("/subscriptions/{id}/usage"), &resource, 1))
}

/// How much was used, as somebody wrote it.
fn quantity(text: &str, may_be_negative: bool) -> Result<Decimal, Invalid> {
    let (sign, magnitude) = match text.strip_prefix('-').filter(|_| may_be_negative) {
        Some(rest) => (-Decimal::ONE, rest),
        None => (Decimal::ONE, text),
    };
    domain::billing::component::units(magnitude).map(|units| sign * units)
}
