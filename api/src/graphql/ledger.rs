//! The ledger: billing periods, their lines, and what these come to.

use std::sync::Arc;

use async_graphql::connection::{Connection, OpaqueCursor};
use async_graphql::{Context, Enum, ID, InputObject, Json, Object, SimpleObject};
use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{self, Period, PriceSource as Source, summarize, total_by_customer};
use domain::organization::Kind;
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::ledger::{self, Line, Quarantined, Side, Statement};
use projections::views::{BooksView, ClosingPeriod};
use uuid::Uuid;

use super::connection::{Known, Slice, cut};
use super::id::GlobalId;
use super::limits::{PAGE_MAX, STATEMENT_COST};
use super::organization::{Organization, find as find_organization};
use super::reading::{Reading, Resolved, StatementKey, reading};
use super::scalar::{Date, KnownAt, Money, Position, UnitPrice};
use super::service::{Level, Service};
use super::subscription::Subscription;
use super::user::User;
use crate::billing::{Whose, Wish, exchange_text, measured, rule_ids, summary_detail};
use crate::problem::Problem;
use crate::rest::closing::SellerPeriod;

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

/// Why a subscription could not be rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::QuarantineReason")]
pub(crate) enum QuarantineReason {
    /// The price is in a currency that nothing says the rate of.
    NoExchangeRate,
    /// Nothing says what the plan costs.
    NoPrice,
    /// The amount is beyond what the ledger holds exactly.
    TooLarge,
}

/// A subscription that could not be rated: reported, never zero by silence.
pub(crate) struct QuarantinedSubscription(Quarantined);

/// A subscription that could not be rated: reported, never zero by silence.
#[Object]
impl QuarantinedSubscription {
    /// Which.
    async fn subscription(&self, context: &Context<'_>) -> Resolved<Option<Subscription>> {
        Subscription::of(reading(context), self.0.subscription).await
    }

    /// Whose.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.customer).await
    }

    /// The key of the service.
    async fn service_key(&self) -> &str {
        self.0.service.as_str()
    }

    /// The key of the plan held then.
    async fn plan_key(&self) -> &str {
        self.0.cause.plan.as_str()
    }

    /// The first date that it fails on.
    async fn date(&self) -> Date {
        Date(self.0.cause.date)
    }

    /// What is missing or wrong.
    async fn reason(&self) -> QuarantineReason {
        self.0.cause.reason.into()
    }
}

/// How far a billing period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum BillingPeriodState {
    /// It goes on.
    Open,
    /// Its last date is over.
    Ended,
    /// Somebody has asked to close it.
    Closing,
    /// It never changes any more.
    Closed,
}

/// What keeps a period from being closed.
#[derive(SimpleObject)]
pub(crate) struct Readiness {
    /// The position up to which the log was looked at.
    cutoff: Position,
    /// Whether nothing is in the way.
    ready: bool,
    /// Subscriptions that are in the way, at most 500 of them.
    reasons: Vec<UnreadySubscription>,
}

/// A subscription that is not ready to be billed.
#[derive(SimpleObject)]
pub(crate) struct UnreadySubscription {
    /// Which.
    subscription_uuid: Uuid,
    /// `no_price`, `too_large` or `request_stuck`.
    code: String,
    /// The same, for people.
    detail: String,
    /// Whether it is left out of the period.
    deferred: bool,
}

/// The local dates that are billed together.
#[derive(Clone)]
pub(crate) struct BillingPeriod {
    period: Period,
    state: BillingPeriodState,
    key: StatementKey,
}

/// The local dates that are billed together.
#[Object]
impl BillingPeriod {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        let number = self.key.path.numbers().last().unwrap_or_default();
        let known_at = self.key.known_at;
        let is_bought = matches!(self.key.side, Side::Buys(_));
        GlobalId::BillingPeriod { end: self.period.end, number, is_bought, known_at }.encode()
    }

    /// Its last date, and its name.
    async fn end_date(&self) -> Date {
        Date(self.period.end)
    }

    /// Its first date.
    async fn start_date(&self) -> Date {
        Date(self.period.start)
    }

    /// How far it is.
    async fn state(&self) -> BillingPeriodState {
        self.state
    }

    /// What keeps it from being closed; none where the organisation sells nothing.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn readiness(&self, context: &Context<'_>) -> Resolved<Option<Readiness>> {
        let reading = reading(context);
        reading.permit(Permission::ClosePeriods, &self.key.path).await?;
        let Some(found) = SellerPeriod::at(&reading.app, &self.key.path, self.period).await? else {
            return Ok(None);
        };
        let looked = found.readiness(&reading.app).await?;
        let reasons = looked.reasons.into_iter().map(|it| UnreadySubscription {
            subscription_uuid: it.subscription_id,
            code: it.code.to_owned(),
            detail: it.detail,
            deferred: it.deferred,
        });
        let (cutoff, ready) = (Position(looked.cutoff), looked.ready);
        Ok(Some(Readiness { cutoff, ready, reasons: reasons.collect() }))
    }

    /// What is charged altogether, for each currency.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn totals(&self, context: &Context<'_>) -> Resolved<Option<Vec<Money>>> {
        let total = reading(context).total(self.key.clone()).await?;
        Ok(Some(total.amounts.values().copied().map(Money::from).collect()))
    }

    /// How many lines there are.
    #[graphql(complexity = "STATEMENT_COST")]
    async fn entry_count(&self, context: &Context<'_>) -> Resolved<Option<u64>> {
        Ok(Some(reading(context).total(self.key.clone()).await?.lines))
    }

    /// How many subscriptions could not be rated.
    #[graphql(complexity = "STATEMENT_COST")]
    async fn quarantined_count(&self, context: &Context<'_>) -> Resolved<Option<usize>> {
        Ok(Some(reading(context).total(self.key.clone()).await?.quarantined.len()))
    }

    /// The subscriptions that could not be rated, at most 500 of them.
    #[graphql(complexity = "STATEMENT_COST * child_complexity.max(1)")]
    async fn quarantined(
        &self,
        context: &Context<'_>,
    ) -> Resolved<Option<Vec<QuarantinedSubscription>>> {
        let total = reading(context).total(self.key.clone()).await?;
        let shown = total.quarantined.iter().take(PAGE_MAX).cloned();
        Ok(Some(shown.map(QuarantinedSubscription).collect()))
    }
}

/// A row of the summary: what one customer has of one thing.
#[derive(Clone)]
pub(crate) struct SummaryRow(billing::SummaryRow, Grouping);

/// What the rows of a summary are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[graphql(name = "SummaryGrouping")]
pub(crate) enum Grouping {
    /// A row for each customer, product and summary description.
    #[default]
    Product,
    /// A row for each customer.
    Customer,
}

/// A row of the summary: what one customer has of one thing.
#[Object]
impl SummaryRow {
    /// Who buys.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.customer).await
    }

    /// The customer's id in the billing API.
    async fn customer_number(&self) -> u32 {
        self.0.customer_number
    }

    /// The customer's name.
    async fn customer_name(&self) -> &str {
        &self.0.customer_name
    }

    /// Stock code; none where the row is for the whole customer.
    async fn product_sku(&self) -> Option<&str> {
        (self.1 == Grouping::Product).then_some(&self.0.sku)
    }

    /// The summary description; none where the row is for the whole customer.
    async fn summary_grouping(&self) -> Option<&str> {
        (self.1 == Grouping::Product).then_some(&self.0.summary)
    }

    /// Whether the lines are charged.
    async fn billable(&self) -> bool {
        self.0.billable
    }

    /// How many there were at the previous period's end.
    async fn last_month_count(&self) -> i64 {
        self.0.last_count
    }

    /// By how much the count has grown.
    async fn difference(&self) -> i64 {
        self.0.difference
    }

    /// How many there are at this period's end.
    async fn this_month_count(&self) -> i64 {
        self.0.count
    }

    /// This period's sum.
    async fn amount(&self) -> Money {
        self.0.amount.into()
    }

    /// The previous period's sum.
    async fn last_month_amount(&self) -> Money {
        self.0.last_amount.into()
    }

    /// How many of this period's lines are behind the row.
    async fn result_count(&self) -> u64 {
        self.0.result_count
    }
}

/// Whose bills.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct BillingFilter {
    /// Only this customer: its id here, in the REST or in the billing API.
    customer_id: Option<ID>,
    /// What this seller bills, by whose calendar; the caller's own organisation where it is left out, and for a customer
    /// what it buys.
    seller_id: Option<ID>,
    /// What this reseller or customer buys.
    buyer_id: Option<ID>,
}

impl BillingFilter {
    /// Whose charges are meant.
    pub(super) async fn whose(&self, reading: &Reading) -> Resolved<Whose> {
        let mut found = [None, None, None];
        let wanted = [&self.seller_id, &self.customer_id, &self.buyer_id];
        for (found, wanted) in found.iter_mut().zip(wanted) {
            if let Some(id) = wanted {
                *found = Some(find_organization(reading, id).await?);
            }
        }
        let [seller, customer, buyer] = found;
        Whose::find(&reading.app, &reading.scope(), Wish { seller, customer, buyer }).await
    }
}

/// The statement of a period.
pub(super) fn statement_of(whose: &Whose, known_at: Option<u64>, period: Period) -> StatementKey {
    StatementKey { path: whose.scope.0.clone(), known_at, period, side: whose.side }
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
        known_at: Option<KnownAt>,
        slice: &Slice,
    ) -> Resolved<Option<LedgerEntryConnection>> {
        reading.require(Permission::ViewBilling)?;
        let LedgerEntryFilter { customer_id, seller_id, buyer_id, actions, billable } = filter;
        let whose = BillingFilter { customer_id, seller_id, buyer_id }.whose(reading).await?;
        let period = find_period(reading, &whose, end_date.0).await?;
        let known_at = position(reading, known_at).await?;
        let key = statement_of(&whose, known_at, period);
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

/// Billing periods, ascending.
pub(crate) type BillingPeriodConnection = Connection<OpaqueCursor<NaiveDate>, BillingPeriod, Known>;

impl BillingPeriod {
    fn new(open: Period, key: StatementKey, books: Option<&BooksView>) -> Self {
        let end = key.period.end;
        let known_at = key.known_at.unwrap_or(u64::MAX);
        let closing = books.and_then(|books| books.closing.as_ref());
        let is_closing = |it: &ClosingPeriod| it.end == end && it.cutoff < known_at;
        let state = if books.is_some_and(|books| books.closed(end, known_at).is_some()) {
            BillingPeriodState::Closed
        } else if closing.is_some_and(is_closing) {
            BillingPeriodState::Closing
        } else if key.period.end < open.start {
            BillingPeriodState::Ended
        } else {
            BillingPeriodState::Open
        };
        Self { period: key.period, state, key }
    }

    /// A billing period of an organisation and all below it.
    pub(crate) async fn get(
        reading: &Reading,
        end: NaiveDate,
        (number, is_bought): (u32, bool),
        known_at: Option<u64>,
    ) -> Resolved<Self> {
        let organization = find_organization(reading, &number.to_string()).await?;
        reading.permit(Permission::ViewBilling, &organization.path).await?;
        let named = Some(organization.clone());
        let wish = match (is_bought, organization.kind) {
            (true, _) => Wish { buyer: named, ..Wish::default() },
            (false, Kind::Customer) => Wish { customer: named, ..Wish::default() },
            (false, Kind::Provider | Kind::Reseller) => Wish { seller: named, ..Wish::default() },
        };
        let whose = Whose::find(&reading.app, &reading.scope(), wish).await?;
        let period = find_period(reading, &whose, end).await?;
        let key = statement_of(&whose, known_at, period);
        let books = books_of(reading, &whose).await?;
        Ok(Self::new(open_period(reading, &whose), key, books.as_deref()))
    }

    /// All billing periods, the open one included.
    pub(crate) async fn list(
        reading: &Reading,
        filter: BillingFilter,
        known_at: Option<KnownAt>,
        slice: &Slice,
    ) -> Resolved<Option<BillingPeriodConnection>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let known_at = position(reading, known_at).await?;
        let open = open_period(reading, &whose);
        let (database, settings) = (reading.app.database(), &whose.seller.settings);
        let periods = ledger::periods(database, &whose.scope, settings, reading.now).await?;
        let books = books_of(reading, &whose).await?;
        let periods = periods.into_iter().map(|period| {
            let key = statement_of(&whose, known_at, period);
            (period.end, Self::new(open, key, books.as_deref()))
        });
        cut(periods.collect(), slice)
    }
}

/// A row's place: customer's name and id, product, description, whether it is charged, currency.
pub(crate) type RowPlace = (String, Uuid, String, String, bool, String);

/// Rows by customer name, product and description.
pub(crate) type SummaryConnection = Connection<OpaqueCursor<RowPlace>, SummaryRow, Known>;

impl SummaryRow {
    /// The summary of a period, beside what the one before came to.
    pub(crate) async fn list(
        reading: &Reading,
        end_date: Date,
        filter: BillingFilter,
        grouping: Grouping,
        known_at: Option<KnownAt>,
        slice: &Slice,
    ) -> Resolved<Option<SummaryConnection>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let period = find_period(reading, &whose, end_date.0).await?;
        let known_at = position(reading, known_at).await?;
        let settings = whose.seller.settings.clone();
        let end = settings.instants(&period).1;
        let key = |period| statement_of(&whose, known_at, period);
        let (this, last) = futures_util::try_join!(
            reading.statement(key(period)),
            reading.statement(key(settings.previous(period))),
        )?;
        let details = |statement: &Statement| -> Vec<_> {
            statement.lines.iter().map(|line| summary_detail(line, end)).collect()
        };
        let too_large = |_| Problem::internal();
        let rows = summarize(&details(&this), &details(&last)).map_err(too_large)?;
        let rows = match grouping {
            Grouping::Product => rows,
            Grouping::Customer => {
                let customers = total_by_customer(&rows).map_err(too_large)?.into_iter();
                customers.map(billing::SummaryRow::from).collect()
            }
        };
        let rows = rows.into_iter().map(|row| {
            let place = (
                row.customer_name.clone(),
                row.customer.0,
                row.sku.clone(),
                row.summary.clone(),
                row.billable,
                row.amount.currency.code().to_owned(),
            );
            (place, Self(row, grouping))
        });
        cut(rows.collect(), slice)
    }
}

/// The code of a period that there is not.
const NO_SUCH_PERIOD: &str = "no_such_period";
/// How many periods are named instead of one that there is not.
const NEAREST: usize = 3;

/// The period that ends on a date, of those of the caller's scope, by the calendar of the seller who is meant.
pub(super) async fn find_period(
    reading: &Reading,
    whose: &Whose,
    end: NaiveDate,
) -> Resolved<Period> {
    let (scope, settings) = (reading.scope(), &whose.seller.settings);
    let periods = ledger::periods(reading.app.database(), &scope, settings, reading.now).await?;
    if let Some(period) = periods.iter().find(|period| period.end == end) {
        return Ok(*period);
    }
    let mut nearest = periods;
    nearest.sort_by_key(|period| (period.end - end).abs());
    let mut nearest: Vec<_> = nearest.iter().take(NEAREST).map(Period::label).collect();
    nearest.sort();
    let detail = format!("No period ends on {end}. The nearest end on {}.", nearest.join(", "));
    Err(Problem { code: NO_SUCH_PERIOD, detail, ..Problem::not_found() })
}

/// The books that periods are in.
async fn books_of(reading: &Reading, whose: &Whose) -> Resolved<Option<Arc<BooksView>>> {
    let (database, everywhere) = (reading.app.database(), Scope::catalogue());
    Ok(finder::find(database, &everywhere, &whose.seller.id.to_string()).await?)
}

/// The period that goes on now.
fn open_period(reading: &Reading, whose: &Whose) -> Period {
    let settings = &whose.seller.settings;
    settings.period_containing(settings.local_date(reading.now))
}

pub(super) async fn position(
    reading: &Reading,
    known_at: Option<KnownAt>,
) -> Resolved<Option<u64>> {
    match known_at {
        None => Ok(None),
        Some(known_at) => Ok(Some(known_at.position(reading).await?)),
    }
}
