//! The ledger's entries of a period, one by one: with all that they were computed from, and by FOCUS 1.2.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use domain::OrganizationId;
use domain::billing::{Class, Exchange, Kind, Period};
use projections::ledger::Line;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::export::{Column, Table};
use super::{action_name, class_name, kind_name, level_name, measured, rule_ids};

/// How somebody is called who is out of the reader's sight.
const OUTSIDER: &str = "Service provider";

/// An entry of the ledger.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryResource {
    entry_id: String,
    booked_period: NaiveDate,
    service_period: NaiveDate,
    seller_id: Uuid,
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    customer_account_code: Option<String>,
    user_id: Option<Uuid>,
    user_name: Option<String>,
    /// None: it is of the customer's account.
    subscription_id: Option<Uuid>,
    instance_name: Option<String>,
    service_key: String,
    service_name: String,
    plan_key: String,
    plan_name: String,
    product_sku: String,
    /// `Customer` or `User`.
    level: &'static str,
    line_description: String,
    summary_grouping: String,
    /// `recurring`, `oneOff`, `usage`, `minimum`, `commission` or `manual`.
    kind: &'static str,
    component: String,
    /// `Added`, `Removed`, `Changed` or `Carried`.
    action: &'static str,
    /// `normal` or `correction`.
    class: &'static str,
    service_from: NaiveDate,
    /// The first date that it is not about any more.
    service_to: NaiveDate,
    effective_at: DateTime<Utc>,
    /// The seller's zone, in which dates are.
    time_zone: &'static str,
    quantity: u32,
    /// How much of a property, or how much that was used, is charged for each of them.
    measured: Option<String>,
    measured_unit: Option<String>,
    days: u32,
    period_days: u32,
    day_policy: &'static str,
    unit_price: String,
    currency: String,
    amount: String,
    /// The amount before it was rounded, in minor units: a fraction.
    amount_exact: String,
    billable: bool,
    /// What it would come to, where it is not billable.
    waived_amount: Option<String>,
    /// Why it is not.
    waive_reason: Option<String>,
    /// The rules that say so, in their order.
    rule_ids: Vec<String>,
    /// How it is taxed, as the plan or its component says.
    tax_category: Option<String>,
    /// How much tax the seller adds; none: it is computed elsewhere.
    tax_percent: Option<String>,
    actioned_by: String,
    reason: Option<String>,
    /// The property whose override it shows, where it is about one.
    property: Option<String>,
    property_value: Option<String>,
    /// Of a reversal: the entry that it takes back.
    reverses: Option<String>,
    /// Of what is booked in the place of another: that one.
    rebooks: Option<String>,
    /// What all corrections of one subscription have in common that are booked in one period; of what was made by hand, its
    /// id.
    adjustment_id: Option<String>,
    /// Positions of the events that it follows from.
    causes: Vec<u64>,
    /// Positions of the events that said the price.
    price_sources: Vec<u64>,
    /// Positions of those that said another, and lost.
    price_losers: Vec<u64>,
    /// The reseller who buys, or is paid a commission; none where the customer buys.
    buyer_id: Option<Uuid>,
    buyer_name: Option<String>,
    /// By which rates its price was exchanged, such as `USD/EUR 0.9015`.
    exchange_rates: Vec<String>,
}

/// The entries as a table.
pub(super) const ENTRIES: Table = Table {
    name: "entries",
    columns: &[
        ("entryId", Column::Text),
        ("bookedPeriod", Column::Date),
        ("servicePeriod", Column::Date),
        ("sellerId", Column::Text),
        ("customerId", Column::Number),
        ("customerCode", Column::Text),
        ("customerName", Column::Text),
        ("customerAccountCode", Column::Text),
        ("userId", Column::Text),
        ("userName", Column::Text),
        ("subscriptionId", Column::Text),
        ("instanceName", Column::Text),
        ("serviceKey", Column::Text),
        ("serviceName", Column::Text),
        ("planKey", Column::Text),
        ("planName", Column::Text),
        ("productSku", Column::Text),
        ("level", Column::Text),
        ("lineDescription", Column::Text),
        ("summaryGrouping", Column::Text),
        ("kind", Column::Text),
        ("component", Column::Text),
        ("action", Column::Text),
        ("class", Column::Text),
        ("serviceFrom", Column::Date),
        ("serviceTo", Column::Date),
        ("effectiveAt", Column::Time),
        ("timeZone", Column::Text),
        ("quantity", Column::Number),
        ("measured", Column::Number),
        ("measuredUnit", Column::Text),
        ("days", Column::Number),
        ("periodDays", Column::Number),
        ("dayPolicy", Column::Text),
        ("unitPrice", Column::Number),
        ("currency", Column::Text),
        ("amount", Column::Number),
        ("amountExact", Column::Text),
        ("billable", Column::Text),
        ("actionedBy", Column::Text),
        ("reason", Column::Text),
        ("property", Column::Text),
        ("propertyValue", Column::Text),
        ("reverses", Column::Text),
        ("rebooks", Column::Text),
        ("adjustmentId", Column::Text),
        ("causes", Column::Text),
        ("priceSources", Column::Text),
        ("priceLosers", Column::Text),
        ("waivedAmount", Column::Number),
        ("waiveReason", Column::Text),
        ("ruleIds", Column::Text),
        ("taxCategory", Column::Text),
        ("taxPercent", Column::Number),
        ("buyerId", Column::Text),
        ("buyerName", Column::Text),
        ("exchangeRates", Column::Text),
    ],
};

impl From<Line> for EntryResource {
    fn from(line: Line) -> Self {
        let entry = line.entry;
        let change = entry.property_change.as_ref();
        let correction = entry.correction.as_ref();
        let manual = entry.manual.as_ref();
        let reverses = correction.and_then(|it| it.reverses.as_ref());
        let reverses = reverses.or_else(|| manual?.reverses.as_ref());
        let adjustment = manual.map(|it| it.adjustment.to_string());
        let waiver = entry.waiver.as_ref();
        Self {
            entry_id: entry.entry_id.clone(),
            booked_period: entry.booked_end(),
            service_period: entry.period_end,
            seller_id: entry.seller.0,
            customer_id: line.customer.number,
            customer_code: line.customer.details.code.as_str().to_owned(),
            customer_name: line.customer.details.name.clone(),
            customer_account_code: line.customer.details.billing_identifier.clone(),
            user_id: line.user.as_ref().map(|user| user.id.0),
            user_name: line.user_name,
            subscription_id: (!entry.is_of_account()).then_some(entry.subscription.0),
            instance_name: line.instance,
            service_key: entry.service.to_string(),
            service_name: line.service_name,
            plan_key: entry.plan.to_string(),
            plan_name: line.plan_name,
            product_sku: line.sku,
            level: level_name(line.level),
            line_description: line.line_description,
            summary_grouping: line.summary_description,
            kind: kind_name(entry.kind),
            component: entry.component.to_string(),
            action: action_name(entry.action),
            class: class_name(entry.class),
            service_from: entry.service_from,
            service_to: entry.service_to,
            effective_at: entry.effective_at,
            time_zone: line.seller.settings.zone.name(),
            quantity: entry.quantity,
            measured: measured(&entry),
            measured_unit: entry.measured.as_ref().and_then(|it| it.unit.clone()),
            days: entry.days,
            period_days: entry.period_days,
            day_policy: entry.policy.name(),
            unit_price: entry.unit_price.decimal.clone(),
            currency: entry.amount.currency.code().to_owned(),
            amount: entry.amount.to_string(),
            amount_exact: entry.exact.to_string(),
            billable: entry.is_billable(),
            waived_amount: waiver.map(|waiver| waiver.amount.to_string()),
            waive_reason: waiver.map(|waiver| waiver.reason.clone()),
            rule_ids: rule_ids(&entry),
            tax_category: line.tax_category.as_ref().map(ToString::to_string),
            tax_percent: line.tax_percent.map(|percent| percent.to_string()),
            actioned_by: line.actor_name,
            reason: entry.reason.clone(),
            property: change.map(|change| change.property.to_string()),
            property_value: change.and_then(|change| change.value.clone()),
            reverses: reverses.cloned(),
            rebooks: correction.and_then(|it| it.rebooks.clone()),
            adjustment_id: adjustment.or_else(|| Some(correction?.adjustment_id.clone())),
            causes: entry.causes.clone(),
            price_sources: entry.price_sources.iter().map(|it| it.position()).collect(),
            price_losers: entry.price_losers.iter().map(|it| it.position()).collect(),
            buyer_id: line.buyer.as_ref().map(|buyer| buyer.id.0),
            buyer_name: line.buyer.as_ref().map(|buyer| buyer.name().to_owned()),
            exchange_rates: entry.exchange.iter().map(exchange_text).collect(),
        }
    }
}

/// An entry by FOCUS 1.2 (the FinOps Open Cost and Usage Specification): its mandatory columns, those of the conditional
/// ones that there is something to say in, and two of our own.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FocusResource {
    billed_cost: String,
    billing_account_id: String,
    billing_account_name: String,
    billing_account_type: &'static str,
    billing_currency: String,
    billing_period_end: String,
    billing_period_start: String,
    charge_category: &'static str,
    charge_class: Option<&'static str>,
    charge_description: String,
    charge_frequency: &'static str,
    charge_period_end: String,
    charge_period_start: String,
    contracted_cost: String,
    contracted_unit_price: String,
    effective_cost: String,
    invoice_issuer_name: String,
    list_cost: String,
    pricing_category: &'static str,
    pricing_quantity: String,
    pricing_unit: &'static str,
    provider_name: String,
    publisher_name: String,
    resource_id: Option<String>,
    resource_name: Option<String>,
    resource_type: Option<String>,
    service_category: &'static str,
    service_name: String,
    sku_id: String,
    sub_account_id: Option<Uuid>,
    sub_account_name: Option<String>,
    #[serde(rename = "x_EntryId")]
    entry_id: String,
    #[serde(rename = "x_PlanName")]
    plan_name: String,
}

/// The entries as a table by FOCUS.
pub(super) const FOCUS: Table = Table {
    name: "entries",
    columns: &[
        ("BilledCost", Column::Number),
        ("BillingAccountId", Column::Text),
        ("BillingAccountName", Column::Text),
        ("BillingAccountType", Column::Text),
        ("BillingCurrency", Column::Text),
        ("BillingPeriodEnd", Column::Time),
        ("BillingPeriodStart", Column::Time),
        ("ChargeCategory", Column::Text),
        ("ChargeClass", Column::Text),
        ("ChargeDescription", Column::Text),
        ("ChargeFrequency", Column::Text),
        ("ChargePeriodEnd", Column::Time),
        ("ChargePeriodStart", Column::Time),
        ("ContractedCost", Column::Number),
        ("ContractedUnitPrice", Column::Number),
        ("EffectiveCost", Column::Number),
        ("InvoiceIssuerName", Column::Text),
        ("ListCost", Column::Number),
        ("PricingCategory", Column::Text),
        ("PricingQuantity", Column::Number),
        ("PricingUnit", Column::Text),
        ("ProviderName", Column::Text),
        ("PublisherName", Column::Text),
        ("ResourceId", Column::Text),
        ("ResourceName", Column::Text),
        ("ResourceType", Column::Text),
        ("ServiceCategory", Column::Text),
        ("ServiceName", Column::Text),
        ("SkuId", Column::Text),
        ("SubAccountId", Column::Text),
        ("SubAccountName", Column::Text),
        ("x_EntryId", Column::Text),
        ("x_PlanName", Column::Text),
    ],
};

impl FocusResource {
    /// `sellers` are those that the reader sees, by name.
    pub(super) fn new(
        line: &Line,
        period: &Period,
        sellers: &BTreeMap<OrganizationId, String>,
    ) -> Self {
        let entry = &line.entry;
        let settings = &line.seller.settings;
        let (begin, end) = settings.instants(period);
        let seller = sellers.get(&entry.seller).map_or(OUTSIDER, String::as_str);
        let (amount, due) = (entry.amount.to_string(), entry.due().to_string());
        let midnight = |date| moment(settings.midnight(date));
        Self {
            billed_cost: amount.clone(),
            billing_account_id: match &line.buyer {
                Some(buyer) => buyer.path.numbers().last().unwrap_or_default().to_string(),
                None => line.customer.number.to_string(),
            },
            billing_account_name: match &line.buyer {
                Some(buyer) => buyer.name().to_owned(),
                None => line.customer.details.name.clone(),
            },
            billing_account_type: if line.buyer.is_some() { "Reseller" } else { "Customer" },
            billing_currency: entry.amount.currency.code().to_owned(),
            billing_period_end: moment(end),
            billing_period_start: moment(begin),
            charge_category: match entry.kind {
                Kind::Usage => "Usage",
                Kind::Manual => "Adjustment",
                Kind::Recurring | Kind::OneOff | Kind::Minimum => "Purchase",
                Kind::Commission => "Credit",
            },
            charge_class: match entry.class {
                Class::Normal => None,
                Class::Correction => Some("Correction"),
            },
            charge_description: line.line_description.clone(),
            charge_frequency: match entry.kind {
                Kind::Recurring | Kind::Minimum | Kind::Commission => "Recurring",
                Kind::OneOff | Kind::Manual => "One-Time",
                Kind::Usage => "Usage-Based",
            },
            charge_period_end: midnight(entry.service_to),
            charge_period_start: midnight(entry.service_from),
            contracted_cost: due.clone(),
            contracted_unit_price: entry.unit_price.decimal.clone(),
            effective_cost: amount,
            invoice_issuer_name: seller.to_owned(),
            list_cost: due,
            pricing_category: "Standard",
            pricing_quantity: parts(entry.quantity, entry.days, entry.period_days),
            pricing_unit: "Units",
            provider_name: seller.to_owned(),
            publisher_name: seller.to_owned(),
            resource_id: (!entry.is_of_account()).then(|| entry.subscription.to_string()),
            resource_name: line.instance.clone(),
            resource_type: (!entry.is_of_account()).then(|| entry.service.to_string()),
            service_category: "Other",
            service_name: line.service_name.clone(),
            sku_id: line.sku.clone(),
            sub_account_id: line.user.as_ref().map(|user| user.id.0),
            sub_account_name: line.user_name.clone(),
            entry_id: entry.entry_id.clone(),
            plan_name: line.plan_name.clone(),
        }
    }
}

/// An exchange rate as it is written in answers.
#[must_use]
pub fn exchange_text(exchange: &Exchange) -> String {
    let Exchange { from, rate, to, .. } = exchange;
    format!("{}/{} {}", from.code(), to.code(), rate.shown())
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// So many units for some days of a period, with six decimals.
fn parts(quantity: u32, days: u32, of: u32) -> String {
    const PARTS: u128 = 1_000_000;
    let of = u128::from(of.max(1));
    // Half away from zero, as amounts are.
    let parts = (u128::from(quantity) * u128::from(days) * PARTS * 2 + of) / (of * 2);
    format!("{}.{:06}", parts / PARTS, parts % PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_units_have_six_decimals() {
        assert_eq!(parts(1, 30, 30), "1.000000");
        assert_eq!(parts(2, 10, 30), "0.666667");
        assert_eq!(parts(1, 0, 0), "0.000000");
    }
}
