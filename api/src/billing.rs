//! The billing API (api.md, section 2): compatible with existing integrations, flat and unpaged.

pub mod bridge;
mod entries;
mod export;
mod format;
pub mod margins;
pub mod taxes;
mod whose;
mod workbook;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use domain::OrganizationId;
use domain::billing::{
    Action, BillingSettings, Class, Detail, Entry, Kind, Period, Reason, SummaryRow, explain,
    sentence, summarize, total_by_customer,
};
use domain::permission::Permission;
use domain::service::Level;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use projections::finder::{self, Query, Scope};
use projections::ledger::{self, Line, Question, Seller, Side, Statement};
use projections::views::OrganizationView;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::bridge::{BRIDGE, BridgeResource};
use self::entries::{ENTRIES, FOCUS, FocusResource};
pub use self::entries::{EntryResource, exchange_text};
use self::export::{Column, Row, Rows, Table, control_headers};
use self::format::Format;
use self::margins::{MARGINS, MarginResource, Terms};
use self::taxes::{TAX, TaxResource, Taxed};
pub(crate) use self::whose::{Whose, Wish};
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;
use crate::rest::{Answer, Parameters, Path, Reader, json_response, limit};

/// Everything under `data`, as existing integrations want it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Data<T> {
    data: T,
}

/// What can be asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingParameters {
    /// All billing periods, ascending, the open one included.
    end_dates: Vec<EndDate>,
    /// The customers that the caller may see, by name.
    customers: Vec<CustomerName>,
}

/// A billing period.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndDate {
    /// Its name: its last date.
    label: String,
}

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerName {
    /// Its number.
    id: u32,
    /// Its name.
    name: String,
}

/// What narrows a bill down.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BillParameters {
    /// Only what is, or is not, billable; both where it is left out.
    #[param(value_type = Option<bool>)]
    billable: Option<String>,
    /// One row for each customer (summary only).
    #[param(value_type = Option<bool>)]
    aggregate_by_customer: Option<String>,
    /// Only this customer, by its number or its id.
    customer_id: Option<String>,
    /// As it was known at this position or RFC 3339 time.
    known_at: Option<String>,
    /// What this seller bills, by its number or its id, and by whose calendar; the caller's own organisation where it is
    /// left out, and for a customer what it buys.
    seller_id: Option<String>,
    /// What this reseller or customer buys, by its number or its id.
    buyer_id: Option<String>,
    /// `json`, `csv`, `xlsx`, `jsonl`, or for entries `focus`; or else what is accepted. An address may end in it, too:
    /// `.csv`, `.xlsx` or `.jsonl`.
    format: Option<String>,
    /// At most so many rows; all where it is left out.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// Rows to pass over, as the answer before said in `next`.
    #[param(value_type = Option<u64>)]
    after: Option<String>,
}

/// Where to look for an entry, and as of when.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntryParameters {
    /// Only this customer's, by its number or its id: it is found sooner then.
    customer_id: Option<String>,
    /// As it was known at this position or RFC 3339 time.
    known_at: Option<String>,
    /// What this seller bills, by its number or its id; the caller's own organisation where it is left out, and for a
    /// customer what it buys.
    seller_id: Option<String>,
    /// What this reseller or customer buys, by its number or its id.
    buyer_id: Option<String>,
}

impl From<EntryParameters> for BillParameters {
    fn from(parameters: EntryParameters) -> Self {
        let EntryParameters { buyer_id, customer_id, known_at, seller_id } = parameters;
        Self { buyer_id, customer_id, known_at, seller_id, ..Self::default() }
    }
}

/// A row of the summary: what one customer has of one thing.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SummaryResource {
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    customer_account_code: Option<String>,
    /// None where the row is for the whole customer.
    product_sku: Option<String>,
    billable: bool,
    summary_grouping: Option<String>,
    last_month_count: i64,
    difference: i64,
    this_month_count: i64,
    currency: String,
    /// A decimal text, such as `66.67`.
    amount: String,
    last_month_amount: String,
    /// Detail rows of this period behind the row.
    result_count: u64,
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
const SUMMARY: Table = Table {
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
const DETAIL: Table = Table {
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

/// Lists the billing periods and the customers that the caller may see.
#[utoipa::path(get, path = "/api/Billing/parameters", tag = "Billing",
    responses((status = 200, body = Data<BillingParameters>)))]
pub async fn parameters(State(app): State<App>, reader: Reader) -> Answer {
    let principal = &reader.0;
    principal.require(Permission::ViewBilling)?;
    let scope = principal.scope();
    let Whose { seller, .. } = Whose::find(&app, &scope, Wish::default()).await?;
    let periods = ledger::periods(app.database(), &scope, &seller.settings, app.now()).await?;
    let customers = organizations(&app, &scope, "customer").await?.into_iter();
    let customers =
        customers.map(|it| CustomerName { id: it.number, name: it.details.name.clone() }).collect();
    let end_dates = periods.iter().map(|period| EndDate { label: period.label() }).collect();
    Ok(data(&BillingParameters { end_dates, customers }))
}

/// The summary of a billing period: a row for each customer, SKU and summary grouping.
#[utoipa::path(get, path = "/api/Billing/{endDate}", tag = "Billing",
    params(("endDate" = String, Path), BillParameters),
    responses((status = 200, body = Data<Vec<SummaryResource>>)))]
pub async fn summary(State(app): State<App>, asked: Asked) -> Answer {
    let wanted = asked.understood(&app, Format::OF_TABLES).await?;
    let period = wanted.period.label();
    let bill = Bill::load(&app, wanted).await?;
    let (this, last) = (bill.details(1), bill.details(0));
    let too_large = |_| Problem::internal();
    let rows = summarize(&this, &last).map_err(too_large)?;
    let customers = bill.customers();
    let is_whole = bill.filter.aggregate_by_customer;
    let rows = if is_whole {
        let totals = total_by_customer(&rows).map_err(too_large)?;
        totals.into_iter().map(SummaryRow::from).collect()
    } else {
        rows
    };
    let resource = |row: SummaryRow| {
        let details = &customers[&row.customer_number].details;
        Row {
            amount: row.amount,
            resource: SummaryResource {
                customer_id: row.customer_number,
                customer_code: details.code.as_str().to_owned(),
                customer_name: row.customer_name,
                customer_account_code: details.billing_identifier.clone(),
                product_sku: (!is_whole).then_some(row.sku),
                billable: row.billable,
                summary_grouping: (!is_whole).then_some(row.summary),
                last_month_count: row.last_count,
                difference: row.difference,
                this_month_count: row.count,
                currency: row.amount.currency.code().to_owned(),
                amount: row.amount.to_string(),
                last_month_amount: row.last_amount.to_string(),
                result_count: row.result_count,
            },
        }
    };
    let rows: Vec<_> = rows.into_iter().map(resource).collect();
    let filter = bill.filter.clone();
    filter.give(&SUMMARY, &period, stream::iter([Ok(rows)]).boxed()).await
}

/// The detail of a billing period: a row for each billable element.
#[utoipa::path(get, path = "/api/Billing/{endDate}/detail", tag = "Billing",
    params(("endDate" = String, Path), BillParameters),
    responses((status = 200, body = Data<Vec<DetailResource>>)))]
pub async fn detail(State(app): State<App>, asked: Asked) -> Answer {
    let wanted = asked.understood(&app, Format::OF_TABLES).await?;
    let (filter, period) = (wanted.filter.clone(), wanted.period.label());
    let rows = rows(&app, &wanted, |line: &Line| DetailResource::from(line)).await?;
    filter.give(&DETAIL, &period, rows).await
}

/// The entries of a billing period as the ledger has them: with all that they were computed from, and why. As `focus`, by
/// the FinOps Open Cost and Usage Specification 1.2; that has no place for what it comes to, which stands in the headers
/// `atrium-rows`, `atrium-totals` and `atrium-sha256`.
#[utoipa::path(get, path = "/api/Billing/{endDate}/entries", tag = "Billing",
    params(("endDate" = String, Path), BillParameters),
    responses((status = 200, body = Data<Vec<EntryResource>>)))]
pub async fn entries(State(app): State<App>, asked: Asked) -> Answer {
    let readers = asked.principal.clone();
    let mut wanted = asked.understood(&app, Format::OF_ENTRIES).await?;
    let (filter, period) = (wanted.filter.clone(), wanted.period);
    if filter.format != Format::Focus {
        let rows = rows(&app, &wanted, |line: &Line| EntryResource::from(line)).await?;
        return filter.give(&ENTRIES, &period.label(), rows).await;
    }
    // What it comes to is told before it is sent, so it is read twice: both times as it is known now.
    if wanted.question.known_at.is_none() {
        wanted.question.known_at = Some(app.log().head().await?.position);
    }
    let sellers = Arc::new(sellers(&app, &readers).await?);
    let focus = || {
        let sellers = sellers.clone();
        move |line: &Line| FocusResource::new(line, &period, &sellers)
    };
    let (first, again) = (rows(&app, &wanted, focus()).await?, rows(&app, &wanted, focus()).await?);
    let mut answer = filter.give(&FOCUS, &period.label(), again).await?;
    control_headers(&mut answer, &FOCUS, filter.narrow(first)).await?;
    Ok(answer)
}

/// The way from the last period's total to this one's, by cause: what is new, removed, of another plan, quantity or price,
/// on other days, or set right. It sums up exactly. With `aggregateByCustomer=true` one for each customer.
#[utoipa::path(get, path = "/api/Billing/{endDate}/bridge", tag = "Billing",
    params(("endDate" = String, Path), BillParameters),
    responses((status = 200, body = Data<Vec<BridgeResource>>)))]
pub async fn bridge(State(app): State<App>, asked: Asked) -> Answer {
    let wanted = asked.understood(&app, Format::OF_TABLES).await?;
    let period = wanted.period.label();
    let bill = Bill::load(&app, wanted).await?;
    let too_large = |_| Problem::internal();
    let [last, this] = [0, 1].map(|place| bill.lines(&bill.statements[place]).collect::<Vec<_>>());
    let rows = if bill.filter.aggregate_by_customer {
        let mut customers: Vec<_> = bill.customers().into_values().collect();
        customers.sort_by_cached_key(|it| (it.details.name.to_lowercase(), it.number));
        let mut parts = HashMap::<u32, [Vec<&Line>; 2]>::new();
        for (place, lines) in [&last, &this].into_iter().enumerate() {
            for line in lines {
                parts.entry(line.customer.number).or_default()[place].push(line);
            }
        }
        let mut rows = Vec::new();
        for customer in customers {
            let Some([last, this]) = parts.remove(&customer.number) else { continue };
            let ways = bridge::ways(last, this).map_err(too_large)?;
            rows.extend(bridge::rows(Some(customer), ways));
        }
        rows
    } else {
        bridge::rows(None, bridge::ways(last, this).map_err(too_large)?)
    };
    let filter = bill.filter.clone();
    filter.give(&BRIDGE, &period, stream::iter([Ok(rows)]).boxed()).await
}

/// What a seller earns in a billing period: a row for each customer and product, with what it bills, what it pays itself in its
/// own currency, commissions, and what is left.
#[utoipa::path(get, path = "/api/Billing/{endDate}/margins", tag = "Billing",
    params(("endDate" = String, Path), BillParameters),
    responses((status = 200, body = Data<Vec<MarginResource>>)))]
pub async fn margins(State(app): State<App>, asked: Asked) -> Answer {
    let wanted = asked.understood(&app, Format::OF_TABLES).await?;
    let Wanted { filter, period, question, seller } = wanted;
    let Side::Sells(id) = question.side else {
        let detail = "Who buys earns nothing by it; ask for a seller's margins.";
        return Err(Problem::bad_parameter("sellerId", detail));
    };
    let (database, persons) = (app.database(), app.persons());
    let bought = Question { side: Side::Buys(id), ..question.clone() };
    let periods = [period];
    let (mut sells, mut buys) = futures_util::try_join!(
        ledger::statements(database, persons, &question, &periods),
        ledger::statements(database, persons, &bought, &periods),
    )?;
    let rates = ledger::rates(database, &seller, period.end, question.known_at).await?;
    let buys_itself = seller.path.parent().is_some();
    let currency = seller.settings.currency;
    let terms = Terms { currency, end: period.end, rates, buys: buys_itself };
    let (sells, buys) = (sells.remove(0).lines, buys.remove(0).lines);
    let rows = margins::rows(&sells, &buys, &terms).map_err(|_| Problem::internal())?;
    filter.give(&MARGINS, &period.label(), stream::iter([Ok(rows)]).boxed()).await
}

/// Why an entry is what it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplanationResource {
    /// It.
    entry: EntryResource,
    /// For the customer.
    sentence: String,
    /// From the amount to days, prices and those that lost, facts and people: of each `what` it is, its `value`, and
    /// `because`, what it follows from.
    #[schema(value_type = Object)]
    reason: Reason,
}

/// Explains an entry of a billing period.
#[utoipa::path(get, path = "/api/Billing/{endDate}/entries/{entryId}", tag = "Billing",
    params(("endDate" = String, Path), ("entryId" = String, Path), EntryParameters),
    responses((status = 200, body = Data<ExplanationResource>)))]
pub async fn explanation(
    State(app): State<App>,
    reader: Reader,
    Path((end_date, entry_id)): Path<(String, String)>,
    parameters: Parameters<EntryParameters>,
) -> Answer {
    let (parameters, as_json) =
        (parameters.map(Into::into), (&HeaderMap::new(), &[Format::Json][..]));
    let wanted = Wanted::parse(&app, &reader.0, &end_date, parameters, as_json).await?;
    let explained = move |line: &Line| {
        (line.entry.entry_id == entry_id).then(|| ExplanationResource {
            entry: EntryResource::from(line),
            sentence: sentence(&line.entry, &line.line_description, &line.actor_name),
            reason: explain(&line.entry),
        })
    };
    let mut rows = rows(&app, &wanted, explained).await?;
    while let Some(some) = rows.try_next().await? {
        if let Some(found) = some.into_iter().find_map(|row| row.resource) {
            return Ok(data(&found));
        }
    }
    Err(Problem::not_found())
}

/// The tax of a billing period: for each buyer, category and rate, on what the lines come to together, rounded once. Where the
/// seller has said no rate, tax is computed elsewhere, and there is none here. It is computed from the lines as they are, of a
/// closed period as they are sealed, with the rates that were known then.
#[utoipa::path(get, path = "/api/Billing/{endDate}/tax", tag = "Billing",
    params(("endDate" = String, Path), BillParameters),
    responses((status = 200, body = Data<Vec<TaxResource>>)))]
pub async fn tax(State(app): State<App>, asked: Asked) -> Answer {
    let wanted = asked.understood(&app, Format::OF_TABLES).await?;
    let (filter, period) = (wanted.filter.clone(), wanted.period.label());
    let Wanted { question, period: wanted_period, .. } = &wanted;
    let periods = [*wanted_period];
    let mut parts = ledger::Parts::begin(app.database(), app.persons(), question, &periods).await?;
    let mut taxed = Taxed::default();
    while let Some(part) = parts.next().await? {
        let lines = part.iter().flat_map(|statement| &statement.lines);
        taxed.add(lines.filter(|line| filter.wants(line)));
    }
    let rows = taxed.rows().map_err(|_| Problem::internal())?;
    filter.give(&TAX, &period, stream::iter([Ok(rows)]).boxed()).await
}

/// All organisations of a kind in a scope, in the order of lists.
async fn organizations(
    app: &App,
    scope: &Scope,
    kind: &str,
) -> Result<Vec<Arc<OrganizationView>>, Problem> {
    let mut all = Vec::new();
    let kind = Some(kind.to_owned());
    let mut query = Query { kind, limit: finder::LIST_MAX, ..Query::default() };
    loop {
        let page = finder::list::<OrganizationView>(app.database(), scope, &query).await?;
        query.after = page.items.last().map(|(cursor, _)| cursor.clone());
        all.extend(page.items.into_iter().map(|(_, organization)| organization));
        if !page.more {
            return Ok(all);
        }
    }
}

/// Those that bill, by name, as far as the reader sees them.
async fn sellers(
    app: &App,
    principal: &Principal,
) -> Result<BTreeMap<OrganizationId, String>, Problem> {
    let mut sellers = BTreeMap::new();
    for kind in ["provider", "reseller"] {
        let found = organizations(app, &principal.scope(), kind).await?.into_iter();
        sellers.extend(found.map(|it| (it.id, it.details.name.clone())));
    }
    Ok(sellers)
}

/// The lines that are wanted, some customers' at a time: however many there are, those of few customers are in memory.
async fn rows<T: Send + 'static>(
    app: &App,
    wanted: &Wanted,
    resource: impl Fn(&Line) -> T + Send + 'static,
) -> Result<Rows<T>, Problem> {
    let Wanted { filter, period, question, .. } = wanted;
    let parts = ledger::Parts::begin(app.database(), app.persons(), question, &[*period]).await?;
    let filter = filter.clone();
    let chunks =
        stream::try_unfold((parts, resource, filter), async |(mut parts, resource, filter)| {
            let Some(part) = parts.next().await? else { return Ok(None) };
            let lines = part.iter().flat_map(|statement| &statement.lines);
            let lines = lines.filter(|line| filter.wants(line));
            let rows: Vec<_> = lines
                .map(|line| Row { resource: resource(line), amount: line.entry.amount })
                .collect();
            Ok(Some((rows, (parts, resource, filter))))
        });
    Ok(chunks.boxed())
}

impl From<&Line> for DetailResource {
    fn from(line: &Line) -> Self {
        let entry = &line.entry;
        let waiver = entry.waiver.as_ref();
        Self {
            customer_id: line.customer.number,
            customer_code: line.customer.details.code.as_str().to_owned(),
            customer_name: line.customer.details.name.clone(),
            customer_account_code: line.customer.details.billing_identifier.clone(),
            user_id: line.user.as_ref().map(|user| user.id.0),
            user_name: line.user_name.clone(),
            service_name: line.service_name.clone(),
            plan_name: line.plan_name.clone(),
            instance_name: line.instance.clone(),
            product_sku: line.sku.clone(),
            sku_type: level_name(line.level),
            billable: entry.is_billable(),
            non_billable_reason: waiver.map(|waiver| waiver.reason.clone()),
            waived_amount: waiver.map(|waiver| waiver.amount.to_string()),
            tax_category: line.tax_category.as_ref().map(ToString::to_string),
            tax_percent: line.tax_percent.map(|percent| percent.to_string()),
            line_description: line.line_description.clone(),
            summary_grouping: line.summary_description.clone(),
            action: action_name(entry.action),
            actioned_date: entry.effective_at,
            actioned_by: line.actor_name.clone(),
            quantity: entry.quantity,
            days: entry.days,
            period_days: entry.period_days,
            unit_price: entry.unit_price.decimal.clone(),
            currency: entry.amount.currency.code().to_owned(),
            amount: entry.amount.to_string(),
            entry_id: entry.entry_id.clone(),
            class: class_name(entry.class),
            component: entry.component.to_string(),
            measured: measured(entry),
            measured_unit: entry.measured.as_ref().and_then(|it| it.unit.clone()),
            kind: kind_name(entry.kind),
            booked_period: entry.booked_end(),
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

fn level_name(level: Level) -> &'static str {
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

fn class_name(class: Class) -> &'static str {
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

/// The parameters, understood.
#[derive(Clone, Debug)]
struct Filter {
    format: Format,
    billable: Option<bool>,
    aggregate_by_customer: bool,
    limit: Option<usize>,
    after: usize,
}

impl Filter {
    fn parse(parameters: &BillParameters, format: Format) -> Result<Self, Problem> {
        let boolean = |name: &str, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(Problem::bad_parameter(name, "This is true or false.")),
        };
        let limit = parameters.limit.as_deref().map(|text| limit(Some(text))).transpose()?;
        let after = parameters.after.as_deref().map(|text| {
            text.parse().map_err(|_| Problem::bad_parameter("after", "This is a number of rows."))
        });
        let aggregate = parameters.aggregate_by_customer.as_deref();
        Ok(Self {
            format,
            billable: boolean("billable", parameters.billable.as_deref())?,
            aggregate_by_customer: boolean("aggregateByCustomer", aggregate)?.unwrap_or(false),
            limit,
            after: after.transpose()?.unwrap_or(0),
        })
    }

    /// Whether a line is asked for.
    fn wants(&self, line: &Line) -> bool {
        self.billable.is_none_or(|billable| line.entry.is_billable() == billable)
    }

    /// The rows in the form that was asked for.
    async fn give<T: Serialize + Send + 'static>(
        &self,
        table: &'static Table,
        period: &str,
        rows: Rows<T>,
    ) -> Answer {
        match (self.format, self.limit) {
            (Format::Json, Some(limit)) => self.page(limit, rows).await,
            _ => export::answer(self.format, table, period, self.narrow(rows)).await,
        }
    }

    /// All rows, or the part that was asked for.
    fn narrow<T: Send + 'static>(&self, rows: Rows<T>) -> Rows<T> {
        let wanted = (rows, self.after, self.limit.unwrap_or(usize::MAX));
        let chunks = stream::try_unfold(wanted, async |(mut rows, skip, left)| {
            if left == 0 {
                return Ok(None);
            }
            let Some(mut some) = rows.try_next().await? else { return Ok(None) };
            let skipped = some.len().min(skip);
            some.drain(..skipped);
            some.truncate(left);
            let left = left - some.len();
            Ok(Some((some, (rows, skip - skipped, left))))
        });
        chunks.boxed()
    }

    /// The part that was asked for, with where the next begins.
    async fn page<T: Serialize>(&self, limit: usize, mut rows: Rows<T>) -> Answer {
        let until = self.after.saturating_add(limit);
        let mut page = Vec::new();
        let mut seen = 0_usize;
        // One more than is given, so that it is known whether there are more.
        while seen <= until {
            let Some(some) = rows.try_next().await? else { break };
            for row in some {
                if (self.after..until).contains(&seen) {
                    page.push(row.resource);
                }
                seen += 1;
            }
        }
        let next = (seen > until).then(|| until.to_string());
        let body = serde_json::json!({ "data": page, "next": next });
        Ok(json_response(StatusCode::OK, body.to_string()))
    }
}

/// Which bill is asked for.
struct Wanted {
    filter: Filter,
    period: Period,
    question: Question,
    seller: Arc<Seller>,
}

/// A bill that somebody asks for, as it came.
pub struct Asked {
    principal: Principal,
    end_date: String,
    headers: HeaderMap,
    parameters: Parameters<BillParameters>,
}

impl FromRequestParts<App> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Reader(principal) = Reader::from_request_parts(parts, app).await?;
        let Path(end_date) = Path::from_request_parts(parts, app).await?;
        let headers = parts.headers.clone();
        let Ok(parameters) = Parameters::from_request_parts(parts, app).await;
        Ok(Self { principal, end_date, headers, parameters })
    }
}

impl Asked {
    async fn understood(self, app: &App, offered: &[Format]) -> Result<Wanted, Problem> {
        let Self { principal, end_date, headers, parameters } = self;
        Wanted::parse(app, &principal, &end_date, parameters, (&headers, offered)).await
    }
}

impl Wanted {
    async fn parse(
        app: &App,
        principal: &Principal,
        end_date: &str,
        parameters: Parameters<BillParameters>,
        (headers, offered): (&HeaderMap, &[Format]),
    ) -> Result<Self, Problem> {
        principal.require(Permission::ViewBilling)?;
        let parameters = parameters.take()?;
        let format = Format::wanted(parameters.format.as_deref(), headers, offered)?;
        let filter = Filter::parse(&parameters, format)?;
        let Whose { scope, side, seller } = whose(app, principal, &parameters).await?;
        let period = find_period(app, &principal.scope(), &seller.settings, end_date).await?;
        let known_at = match parameters.known_at.as_deref() {
            None => None,
            Some(text) => Some(known_at(app, text).await?),
        };
        Ok(Self { filter, period, question: Question { scope, known_at, side }, seller })
    }
}

/// The lines of a period and of the one before it, of those customers that were asked for.
struct Bill {
    filter: Filter,
    /// The last period's and this period's.
    statements: Vec<Statement>,
    /// The first moment after this period.
    end: DateTime<Utc>,
}

impl Bill {
    async fn load(app: &App, wanted: Wanted) -> Result<Self, Problem> {
        let Wanted { filter, period, question, seller } = wanted;
        let settings = &seller.settings;
        let periods = [settings.previous(period), period];
        let (database, persons) = (app.database(), app.persons());
        let statements = ledger::statements(database, persons, &question, &periods).await?;
        let end = settings.instants(&period).1;
        Ok(Self { filter, statements, end })
    }

    /// The lines that were asked for.
    fn lines<'a>(&'a self, statement: &'a Statement) -> impl Iterator<Item = &'a Line> {
        statement.lines.iter().filter(|line| self.filter.wants(line))
    }

    /// What the summary needs of the lines of a statement.
    fn details(&self, statement: usize) -> Vec<Detail> {
        let lines = self.lines(&self.statements[statement]);
        lines.map(|line| summary_detail(line, self.end)).collect()
    }

    /// The customers that lines have, by their numbers.
    fn customers(&self) -> HashMap<u32, &OrganizationView> {
        let lines = self.statements.iter().flat_map(|statement| &statement.lines);
        lines.map(|line| (line.customer.number, line.customer.as_ref())).collect()
    }
}

/// What the summary of a period that ends at `end` needs of a line: of one of the period before, too, by the stock code
/// that is in force then.
#[must_use]
pub fn summary_detail(line: &Line, end: DateTime<Utc>) -> Detail {
    Detail {
        amount: line.entry.amount,
        billable: line.entry.is_billable(),
        count_after: line.entry.count_after.into(),
        count_before: line.entry.count_before.into(),
        customer: line.customer.id,
        customer_name: line.customer.details.name.clone(),
        customer_number: line.customer.number,
        sku: line.sku_before(end).to_owned(),
        summary: line.summary_description.clone(),
    }
}

fn data<T: Serialize>(data: &T) -> Response {
    let json = serde_json::to_string(&Data { data }).expect("resources have text keys only");
    json_response(StatusCode::OK, json)
}

/// The date that a period is named by; none where the text is none as it is written.
pub(crate) fn end_date_of(text: &str) -> Option<NaiveDate> {
    text.parse().ok().filter(|_| text.len() == 10)
}

pub(crate) fn malformed_end_date() -> Problem {
    Problem::malformed("A period is named by its last date, such as 2019-10-31.")
}

/// The period of this name.
///
/// # Errors
/// 400 where it is no date; 404, with the nearest ones, where no period of the scope ends on it.
async fn find_period(
    app: &App,
    scope: &Scope,
    settings: &BillingSettings,
    end_date: &str,
) -> Result<Period, Problem> {
    let date = end_date_of(end_date).ok_or_else(malformed_end_date)?;
    let periods = ledger::periods(app.database(), scope, settings, app.now()).await?;
    if let Some(period) = periods.iter().find(|period| period.end == date) {
        return Ok(*period);
    }
    let mut nearest = periods;
    nearest.sort_by_key(|period| (period.end - date).abs());
    let mut nearest: Vec<_> = nearest.iter().take(3).map(Period::label).collect();
    nearest.sort();
    let detail = format!("No period ends on {date}. The nearest end on {}.", nearest.join(", "));
    Err(Problem::new(StatusCode::NOT_FOUND, "no_such_period", detail))
}

/// Whose charges are asked for.
async fn whose(
    app: &App,
    principal: &Principal,
    parameters: &BillParameters,
) -> Result<Whose, Problem> {
    let own = principal.scope();
    let mut found = [None, None, None];
    let BillParameters { seller_id, customer_id, buyer_id, .. } = parameters;
    for (found, wanted) in found.iter_mut().zip([seller_id, customer_id, buyer_id]) {
        if let Some(wanted) = wanted {
            let organization = find_organization(app, &own, wanted).await?;
            *found = Some(organization.ok_or_else(Problem::not_found)?);
        }
    }
    let [seller, customer, buyer] = found;
    Whose::find(app, &own, Wish { seller, customer, buyer }).await
}

/// An organisation by its number or its id.
pub(crate) async fn find_organization(
    app: &App,
    scope: &Scope,
    wanted: &str,
) -> Result<Option<std::sync::Arc<OrganizationView>>, Problem> {
    match wanted.parse::<u32>() {
        Ok(number) => Ok(finder::find_by_number(app.database(), scope, number).await?),
        Err(_) => Ok(finder::find(app.database(), scope, wanted).await?),
    }
}

/// A position, written as such or as a time.
async fn known_at(app: &App, text: &str) -> Result<u64, Problem> {
    if let Ok(position) = text.parse() {
        return Ok(position);
    }
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
        let detail = "This is a position or a time such as 2019-11-30T10:00:00Z.";
        Problem::bad_parameter("knownAt", detail)
    })?;
    Ok(app.log().position_at(time.timestamp_micros()).await?)
}
