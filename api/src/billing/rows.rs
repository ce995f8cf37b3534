//! The summary and the detail of a billing period, as rows.

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{Action, Class, Entry, Kind};
use domain::service::Level;
use projections::ledger::Line;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::export::{Column, Table};

/// A row of the summary: what one customer has of one thing.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SummaryResource {
    pub(super) customer_id: u32,
    pub(super) customer_code: String,
    pub(super) customer_name: String,
    pub(super) customer_account_code: Option<String>,
    /// None where the row is for the whole customer.
    pub(super) product_sku: Option<String>,
    pub(super) billable: bool,
    pub(super) summary_grouping: Option<String>,
    pub(super) last_month_count: i64,
    pub(super) difference: i64,
    pub(super) this_month_count: i64,
    pub(super) currency: String,
    /// A decimal text, such as `66.67`.
    pub(super) amount: String,
    pub(super) last_month_amount: String,
    /// Detail rows of this period behind the row.
    pub(super) result_count: u64,
}

/// A row of the detail: one billable element.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetailResource {
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    customer_account_code: Option<String>,
    user_id: Option<Uuid>,
    user_name: Option<String>,
    service_name: String,
    plan_name: String,
    instance_name: Option<String>,
    product_sku: String,
    /// `Customer` or `User`.
    sku_type: &'static str,
    billable: bool,
    non_billable_reason: Option<String>,
    /// What it would come to, where it is not billable.
    waived_amount: Option<String>,
    /// How it is taxed, as the plan or its component says.
    tax_category: Option<String>,
    /// How much tax the seller adds; none: it is computed elsewhere.
    tax_percent: Option<String>,
    line_description: String,
    summary_grouping: String,
    /// `Added`, `Removed`, `Changed` or `Carried`.
    action: &'static str,
    actioned_date: DateTime<Utc>,
    actioned_by: String,
    quantity: u32,
    days: u32,
    period_days: u32,
    unit_price: String,
    currency: String,
    amount: String,
    entry_id: String,
    class: &'static str,
    /// Which part of what the plan costs: `recurring` is the plan's own price.
    component: String,
    /// How much of a property, or how much that was used, is charged for each of what is held; none where it is what is
    /// held itself.
    measured: Option<String>,
    /// The unit of that.
    measured_unit: Option<String>,
    /// `recurring`, `oneOff`, `usage`, `minimum`, `commission` or `manual`.
    kind: &'static str,
    booked_period: NaiveDate,
    service_period: NaiveDate,
    /// The reseller who buys, or is paid a commission; none where the customer buys.
    buyer_name: Option<String>,
}

/// The summary as a table.
pub(super) const SUMMARY: Table = Table {
    name: "summary",
    columns: &[
        ("customerId", Column::Number),
        ("customerCode", Column::Text),
        ("customerName", Column::Text),
        ("customerAccountCode", Column::Text),
        ("productSku", Column::Text),
        ("billable", Column::Text),
        ("summaryGrouping", Column::Text),
        ("lastMonthCount", Column::Number),
        ("difference", Column::Number),
        ("thisMonthCount", Column::Number),
        ("currency", Column::Text),
        ("amount", Column::Number),
        ("lastMonthAmount", Column::Number),
        ("resultCount", Column::Number),
    ],
};

/// The detail as a table.
pub(super) const DETAIL: Table = Table {
    name: "detail",
    columns: &[
        ("customerId", Column::Number),
        ("customerCode", Column::Text),
        ("customerName", Column::Text),
        ("customerAccountCode", Column::Text),
        ("userId", Column::Text),
        ("userName", Column::Text),
        ("serviceName", Column::Text),
        ("planName", Column::Text),
        ("instanceName", Column::Text),
        ("productSku", Column::Text),
        ("skuType", Column::Text),
        ("billable", Column::Text),
        ("nonBillableReason", Column::Text),
        ("lineDescription", Column::Text),
        ("summaryGrouping", Column::Text),
        ("action", Column::Text),
        ("actionedDate", Column::Time),
        ("actionedBy", Column::Text),
        ("quantity", Column::Number),
        ("days", Column::Number),
        ("periodDays", Column::Number),
        ("unitPrice", Column::Number),
        ("currency", Column::Text),
        ("amount", Column::Number),
        ("entryId", Column::Text),
        ("class", Column::Text),
        ("component", Column::Text),
        ("kind", Column::Text),
        ("bookedPeriod", Column::Date),
        ("servicePeriod", Column::Date),
        ("measured", Column::Number),
        ("measuredUnit", Column::Text),
        ("waivedAmount", Column::Number),
        ("taxCategory", Column::Text),
        ("taxPercent", Column::Number),
        ("buyerName", Column::Text),
    ],
};

impl From<Line> for DetailResource {
    fn from(line: Line) -> Self {
        let entry = line.entry;
        let (booked_period, measured) = (entry.booked_end(), measured(&entry));
        let waiver = entry.waiver.as_ref();
        Self {
            customer_id: line.customer.number,
            customer_code: line.customer.details.code.as_str().to_owned(),
            customer_name: line.customer.details.name.clone(),
            customer_account_code: line.customer.details.billing_identifier.clone(),
            user_id: line.user.as_ref().map(|user| user.id.0),
            user_name: line.user_name,
            service_name: line.service_name,
            plan_name: line.plan_name,
            instance_name: line.instance,
            product_sku: line.sku,
            sku_type: level_name(line.level),
            billable: entry.is_billable(),
            non_billable_reason: waiver.map(|waiver| waiver.reason.clone()),
            waived_amount: waiver.map(|waiver| waiver.amount.to_string()),
            tax_category: line.tax_category.as_ref().map(ToString::to_string),
            tax_percent: line.tax_percent.map(|percent| percent.to_string()),
            line_description: line.line_description,
            summary_grouping: line.summary_description,
            action: action_name(entry.action),
            actioned_date: entry.effective_at,
            actioned_by: line.actor_name,
            quantity: entry.quantity,
            days: entry.days,
            period_days: entry.period_days,
            unit_price: entry.unit_price.decimal,
            currency: entry.amount.currency.code().to_owned(),
            amount: entry.amount.to_string(),
            entry_id: entry.entry_id,
            class: class_name(entry.class),
            component: entry.component.to_string(),
            measured,
            measured_unit: entry.measured.and_then(|it| it.unit),
            kind: kind_name(entry.kind),
            booked_period,
            service_period: entry.period_end,
            buyer_name: line.buyer.as_ref().map(|buyer| buyer.name().to_owned()),
        }
    }
}

/// The rules that say that an entry is not charged, in their order.
#[must_use]
pub fn rule_ids(entry: &Entry) -> Vec<String> {
    let rules = entry.waiver.iter().flat_map(|waiver| &waiver.rules);
    rules.map(ToString::to_string).collect()
}

/// How much was measured, as it is written in answers.
#[must_use]
pub fn measured(entry: &Entry) -> Option<String> {
    entry.measured.as_ref().map(|measured| measured.amount.shown())
}

pub(super) fn level_name(level: Level) -> &'static str {
    match level {
        Level::Customer => "Customer",
        Level::User => "User",
    }
}

/// A kind as it is written in answers.
#[must_use]
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Recurring => "recurring",
        Kind::OneOff => "oneOff",
        Kind::Usage => "usage",
        Kind::Minimum => "minimum",
        Kind::Commission => "commission",
        Kind::Manual => "manual",
    }
}

pub(super) fn class_name(class: Class) -> &'static str {
    match class {
        Class::Normal => "normal",
        Class::Correction => "correction",
    }
}

/// An action as it is written in answers.
#[must_use]
pub fn action_name(action: Action) -> &'static str {
    match action {
        Action::Removed => "Removed",
        Action::Added => "Added",
        Action::Changed => "Changed",
        Action::Carried => "Carried",
    }
}
