//! The lines of a billing period, each with why it is what it is.

use std::sync::Arc;

use async_graphql::connection::{Connection, OpaqueCursor};
use async_graphql::{Context, Enum, ID, InputObject, Json, Object, SimpleObject};
use chrono::{DateTime, Utc};
use domain::billing::{self, PriceSource as Source};
use domain::permission::Permission;
use projections::ledger::{Line, Statement};
use uuid::Uuid;

use super::{BillingFilter, find_period, statement_of};
use crate::billing::{exchange_text, measured, rule_ids};
use crate::graphql::connection::{Known, Slice, cut};
use crate::graphql::organization::Organization;
use crate::graphql::reading::{Reading, Resolved, reading};
use crate::graphql::scalar::{Asked, Date, Money, Position, UnitPrice, then};
use crate::graphql::service::{Level, Service};
use crate::graphql::subscription::Subscription;
use crate::graphql::user::User;

/// What happened to what a line is of, in the line's period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::Action")]
pub(crate) enum LedgerAction {
    /// It was deprovisioned.
    Removed,
    /// It was provisioned.
    Added,
    /// Its plan, quantity or price is not what it was the day before.
    Changed,
    /// Nothing.
    Carried,
}

/// Whether an entry is the charge itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::Class")]
pub(crate) enum LedgerClass {
    /// It is.
    Normal,
    /// It sets right what a closed period has.
    Correction,
}

/// What sort of charge an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::Kind")]
pub(crate) enum LedgerKind {
    /// Again and again, for holding the plan.
    Recurring,
    /// Once, for setting it up.
    OneOff,
    /// For what was used.
    Usage,
    /// What the other charges lack to come to a least amount.
    Minimum,
    /// What a reseller earns whose customer is billed by somebody above it: less than nothing.
    Commission,
    /// What somebody charged once, or gave back, by hand.
    Manual,
}

/// How the days of a period are charged on which a plan is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::DayPolicy")]
pub(crate) enum DayPolicy {
    /// By days: those held, of those that the period has.
    Daily,
    /// By days of months that all have 30.
    #[graphql(name = "FIXED_30")]
    Fixed30,
    /// One full price for any touch, that of the last state in the period.
    Full,
    /// By days, and the first partial period is free.
    NextPeriod,
    /// One full price for what is held when the period ends, nothing for what is not.
    Snapshot,
    /// Nothing: it is only counted.
    None,
}

/// What sort of thing says a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum PriceSourceKind {
    /// An override.
    Override,
    /// A price of the service's plan.
    Plan,
    /// A row of a seller's price book.
    PriceBook,
    /// What the buyer is committed to.
    Commitment,
}

/// Where a price comes from.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(crate) struct PriceSource {
    /// What says it.
    kind: PriceSourceKind,
    /// The position of its event.
    position: Position,
}

impl From<&Source> for PriceSource {
    fn from(source: &Source) -> Self {
        let kind = match source {
            Source::Override(_) => PriceSourceKind::Override,
            Source::Row(_) => PriceSourceKind::Plan,
            Source::Book(_) => PriceSourceKind::PriceBook,
            Source::Commitment(_) => PriceSourceKind::Commitment,
        };
        Self { kind, position: Position(source.position()) }
    }
}

/// What a property was overridden with.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct PropertyChange {
    /// Which property.
    property: String,
    /// Its value; none: the override was cleared.
    value: Option<String>,
}

/// Why an entry is what it is.
#[derive(Clone, SimpleObject)]
pub(crate) struct EntryExplanation {
    /// For the customer, in a sentence.
    sentence: String,
    /// A tree from the amount to days, prices and those that lost, facts and people: of each `what` it is, its `value`, and
    /// `because`, what it follows from.
    reason: Json<serde_json::Value>,
}

/// A line of the ledger: what is charged, and why.
pub(crate) struct LedgerEntry {
    statement: Arc<Statement>,
    index: usize,
}

impl LedgerEntry {
    fn line(&self) -> &Line {
        &self.statement.lines[self.index]
    }
}

/// A line of the ledger: what is charged, and why.
#[Object]
impl LedgerEntry {
    /// SHA-256, in hex, over what the line is and what it was computed from: the same facts give the
    /// same id.
    async fn entry_id(&self) -> &str {
        &self.line().entry.entry_id
    }

    /// The last date of its billing period.
    async fn end_date(&self) -> Date {
        Date(self.line().entry.period_end)
    }

    /// What happened in the period.
    async fn action(&self) -> LedgerAction {
        self.line().entry.action.into()
    }

    /// Whether it is the charge itself.
    async fn class(&self) -> LedgerClass {
        self.line().entry.class.into()
    }

    /// What sort of charge it is.
    async fn kind(&self) -> LedgerKind {
        self.line().entry.kind.into()
    }

    /// Which part of what the plan costs: `recurring` is the plan's own price.
    async fn component(&self) -> &str {
        self.line().entry.component.as_str()
    }

    /// Who buys.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.line().customer.id).await
    }

    /// The customer's id in the billing API.
    async fn customer_number(&self) -> u32 {
        self.line().customer.number
    }

    /// The customer's code.
    async fn customer_code(&self) -> &str {
        self.line().customer.details.code.as_str()
    }

    /// The customer's name.
    async fn customer_name(&self) -> &str {
        &self.line().customer.details.name
    }

    /// The customer's account code in the accounting system.
    async fn customer_account_code(&self) -> Option<&str> {
        self.line().customer.details.billing_identifier.as_deref()
    }

    /// Who sells, if the caller can see it.
    async fn seller(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.line().entry.seller).await
    }

    /// The reseller who buys, or is paid a commission, if the caller can see it; none where the customer buys.
    async fn buyer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        match self.line().entry.buyer {
            None => Ok(None),
            Some(buyer) => Organization::of(reading(context), buyer).await,
        }
    }

    /// By which rates its price was exchanged, such as `USD/EUR 0.9015`.
    async fn exchange_rates(&self) -> Vec<String> {
        self.line().entry.exchange.iter().map(exchange_text).collect()
    }

    /// The user who holds it, for a user service.
    async fn user(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        match &self.line().user {
            None => Ok(None),
            Some(user) => User::of(reading(context), user.id).await,
        }
    }

    /// The name of the user who holds it, for a user service.
    async fn user_name(&self) -> Option<&str> {
        self.line().user_name.as_deref()
    }

    /// The subscription that it is of.
    async fn subscription(&self, context: &Context<'_>) -> Resolved<Option<Subscription>> {
        Subscription::of(reading(context), self.line().entry.subscription).await
    }

    /// The key of the service.
    async fn service_key(&self) -> &str {
        self.line().entry.service.as_str()
    }

    /// The service.
    async fn service(&self, context: &Context<'_>) -> Resolved<Option<Service>> {
        Service::of(reading(context), &self.line().entry.service).await
    }

    /// The service's name.
    async fn service_name(&self) -> &str {
        &self.line().service_name
    }

    /// The key of the plan held.
    async fn plan_key(&self) -> &str {
        self.line().entry.plan.as_str()
    }

    /// The plan's name.
    async fn plan_name(&self) -> &str {
        &self.line().plan_name
    }

    /// The instance's name, where the service has many.
    async fn instance(&self) -> Option<&str> {
        self.line().instance.as_deref()
    }

    /// Stock code.
    async fn product_sku(&self) -> &str {
        &self.line().sku
    }

    /// To whom the service is provisioned.
    async fn level(&self) -> Level {
        self.line().level.into()
    }

    /// Whether it is charged.
    async fn billable(&self) -> bool {
        self.line().entry.is_billable()
    }

    /// Why it is not charged; none where it is.
    async fn non_billable_reason(&self) -> Option<&str> {
        self.line().entry.waiver.as_ref().map(|waiver| waiver.reason.as_str())
    }

    /// What it would come to, where it is not charged.
    async fn waived_amount(&self) -> Option<Money> {
        self.line().entry.waiver.as_ref().map(|waiver| waiver.amount.into())
    }

    /// How it is taxed, as the plan or its component says.
    async fn tax_category(&self) -> Option<&str> {
        self.line().tax_category.as_ref().map(|category| category.as_str())
    }

    /// How much tax the seller adds, in percent; none: it is computed elsewhere.
    async fn tax_percent(&self) -> Option<String> {
        self.line().tax_percent.map(|percent| percent.to_string())
    }

    /// The keys of the rules that say that it is not charged, in their order.
    async fn rule_ids(&self) -> Vec<String> {
        rule_ids(&self.line().entry)
    }

    /// Describes this line.
    async fn line_description(&self) -> &str {
        &self.line().line_description
    }

    /// Describes all lines that are summed up with it.
    async fn summary_grouping(&self) -> &str {
        &self.line().summary_description
    }

    /// What is charged.
    async fn amount(&self) -> Money {
        self.line().entry.amount.into()
    }

    /// What is charged before rounding, in minor units: a fraction such as `200000/31`.
    async fn exact_amount(&self) -> String {
        self.line().entry.exact.to_string()
    }

    /// Per unit and full period.
    async fn unit_price(&self) -> UnitPrice {
        (&self.line().entry.unit_price).into()
    }

    /// What said the price; after a percentage, what it was taken of. Empty for a line without a
    /// price.
    async fn price_sources(&self) -> Vec<PriceSource> {
        self.line().entry.price_sources.iter().map(PriceSource::from).collect()
    }

    /// What said another price and lost.
    async fn price_losers(&self) -> Vec<PriceSource> {
        self.line().entry.price_losers.iter().map(PriceSource::from).collect()
    }

    /// On a line that shows the override of a property without a price: what was set.
    async fn property_change(&self) -> Option<PropertyChange> {
        self.line().entry.property_change.as_ref().map(|change| PropertyChange {
            property: change.property.to_string(),
            value: change.value.clone(),
        })
    }

    /// How many are held.
    async fn quantity(&self) -> u32 {
        self.line().entry.quantity
    }

    /// How much of a property, or how much that was used, is charged for each of what is held, as a decimal; none where it
    /// is what is held itself.
    async fn measured(&self) -> Option<String> {
        measured(&self.line().entry)
    }

    /// The unit of that.
    async fn measured_unit(&self) -> Option<&str> {
        self.line().entry.measured.as_ref()?.unit.as_deref()
    }

    /// What the line adds to its plan's count at the period's end.
    async fn count_after(&self) -> u32 {
        self.line().entry.count_after
    }

    /// What the line adds to its plan's count at the previous period's end.
    async fn count_before(&self) -> u32 {
        self.line().entry.count_before
    }

    /// How its days are charged.
    async fn day_policy(&self) -> DayPolicy {
        self.line().entry.policy.into()
    }

    /// How many days are charged.
    async fn days(&self) -> u32 {
        self.line().entry.days
    }

    /// How many days a full period has.
    async fn period_days(&self) -> u32 {
        self.line().entry.period_days
    }

    /// The first date charged, in the seller's zone.
    async fn service_from(&self) -> Date {
        Date(self.line().entry.service_from)
    }

    /// The first date not charged any more.
    async fn service_to(&self) -> Date {
        Date(self.line().entry.service_to)
    }

    /// When what caused the line became true.
    async fn effective_at(&self) -> DateTime<Utc> {
        self.line().entry.effective_at
    }

    /// Who caused the line as it is: `user:<id>` or `system`.
    async fn actor(&self) -> &str {
        &self.line().entry.actor
    }

    /// That one's name.
    async fn actor_name(&self) -> &str {
        &self.line().actor_name
    }

    /// Who provisioned what the line is of.
    async fn added_by(&self) -> &str {
        &self.line().entry.added_by
    }

    /// Who deprovisioned it, where that was in this period.
    async fn removed_by(&self) -> Option<&str> {
        self.line().entry.removed_by.as_deref()
    }

    /// Why, where who caused the line said so.
    async fn reason(&self) -> Option<&str> {
        self.line().entry.reason.as_deref()
    }

    /// Why it is what it is.
    async fn explain(&self) -> EntryExplanation {
        let line = self.line();
        EntryExplanation {
            sentence: billing::sentence(&line.entry, &line.line_description, &line.actor_name),
            reason: Json(
                serde_json::to_value(billing::explain(&line.entry)).expect("it has text keys only"),
            ),
        }
    }

    /// The positions of the events that the line follows from, in order.
    async fn causes(&self) -> Vec<Position> {
        self.line().entry.causes.iter().copied().map(Position).collect()
    }
}

/// Which lines.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct LedgerEntryFilter {
    /// Only those of this customer: its id here, in the REST or in the billing API.
    customer_id: Option<ID>,
    /// What this seller bills, by whose calendar; the caller's own organisation where it is left out, and for a customer
    /// what it buys.
    seller_id: Option<ID>,
    /// What this reseller or customer buys.
    buyer_id: Option<ID>,
    /// Only those of these actions.
    actions: Option<Vec<LedgerAction>>,
    /// Only what is, or is not, charged.
    billable: Option<bool>,
}

/// A line's place: the customer's name in lower case and number, the service and instance, the subscription,
/// and which of its lines it is.
pub(crate) type LinePlace = (String, u32, String, Uuid, usize);

/// Lines by customer name, then by service and instance, then by date.
pub(crate) type LedgerEntryConnection = Connection<OpaqueCursor<LinePlace>, LedgerEntry, Known>;

impl LedgerEntry {
    /// The lines of a period.
    pub(crate) async fn list(
        reading: &Reading,
        end_date: Date,
        filter: LedgerEntryFilter,
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<LedgerEntryConnection>> {
        reading.require(Permission::ViewBilling)?;
        let LedgerEntryFilter { customer_id, seller_id, buyer_id, actions, billable } = filter;
        let whose = BillingFilter { customer_id, seller_id, buyer_id }.whose(reading).await?;
        let period = find_period(reading, &whose, end_date.0).await?;
        let then = then(reading, asked, &whose.seller.settings).await?;
        let key = statement_of(&whose, then, period);
        let statement = reading.statement(key).await?;
        let mut places = Vec::with_capacity(statement.lines.len());
        let mut last = None;
        let mut order = 0;
        for (index, line) in statement.lines.iter().enumerate() {
            let subscription = line.entry.subscription;
            order = if last == Some(subscription) { order + 1 } else { 0 };
            last = Some(subscription);
            let wanted =
                actions.as_ref().is_none_or(|actions| actions.contains(&line.entry.action.into()));
            if wanted && billable.is_none_or(|billable| line.entry.is_billable() == billable) {
                let name = line.customer.details.name.to_lowercase();
                let slot =
                    format!("{}/{}", line.entry.service, line.instance.as_deref().unwrap_or(""));
                let place = (name, line.customer.number, slot, subscription.0, order);
                places.push((place, Self { statement: statement.clone(), index }));
            }
        }
        cut(places, slice)
    }
}
