//! The billing API (api.md, section 2): compatible with existing integrations, flat and unpaged.

mod asked;
pub mod bridge;
mod entries;
mod export;
mod format;
pub mod margins;
pub mod preview;
pub mod rehearsal;
mod rows;
pub mod taxes;
mod whose;
mod workbook;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::OrganizationId;
use domain::billing::{
    Detail, Reason, SummaryRow, explain, sentence, summarize, total_by_customer,
};
use domain::permission::Permission;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use projections::finder::{self, Query, Scope};
use projections::ledger::{self, Line, Question, Side, Statement};
use projections::views::OrganizationView;
use serde::Serialize;
use utoipa::ToSchema;

pub use self::asked::{Asked, BillParameters, EntryParameters};
use self::asked::{Filter, Wanted};
pub(crate) use self::asked::{end_date_of, find_organization, malformed_end_date};
use self::bridge::{BRIDGE, BridgeResource};
use self::entries::{ENTRIES, FOCUS, FocusResource};
pub use self::entries::{EntryResource, exchange_text};
use self::export::{Row, Rows, control_headers};
use self::format::Format;
use self::margins::{MARGINS, MarginResource, Terms};
use self::rows::{DETAIL, SUMMARY, class_name, level_name};
pub use self::rows::{DetailResource, SummaryResource, action_name, kind_name, measured, rule_ids};
use self::taxes::{TAX, TaxResource, Taxed};
pub(crate) use self::whose::{Whose, Wish, seller_of_list};
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;
use crate::rest::{Answer, Parameters, Path, Reader, json_response};

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
    let rows = rows(&app, &wanted, DetailResource::from).await?;
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
        let rows = rows(&app, &wanted, EntryResource::from).await?;
        return filter.give(&ENTRIES, &period.label(), rows).await;
    }
    // What it comes to is told before it is sent, so it is read twice: both times as it is known now.
    if wanted.question.known_at.is_none() {
        wanted.question.known_at = Some(app.log().head().await?.position);
    }
    let sellers = Arc::new(sellers(&app, &readers).await?);
    let focus = || {
        let sellers = sellers.clone();
        move |line: Line| FocusResource::new(&line, &period, &sellers)
    };
    let (first, again) = (rows(&app, &wanted, focus()).await?, rows(&app, &wanted, focus()).await?);
    let mut answer = filter.give(&FOCUS, &period.label(), again).await?;
    control_headers(&mut answer, (&FOCUS, filter.then), filter.narrow(first)).await?;
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
/// own currency, commissions, and what is left. The provider pays by the cost prices in its price book; of a closed period, by
/// what was known when it was closed.
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
    let known = (question.as_of, question.known_at);
    let terms = Terms::of(database, &seller, period.end, known).await?;
    let (sells, buys) = (sells.remove(0), buys.remove(0));
    let margins = margins::margins(&sells, &buys, &terms).map_err(|_| Problem::internal())?;
    let rows = margins::rows(margins);
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
    let explained = move |line: Line| {
        (line.entry.entry_id == entry_id).then(|| ExplanationResource {
            sentence: sentence(&line.entry, &line.line_description, &line.actor_name),
            reason: explain(&line.entry),
            entry: EntryResource::from(line),
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
    resource: impl Fn(Line) -> T + Send + 'static,
) -> Result<Rows<T>, Problem> {
    let Wanted { filter, period, question, .. } = wanted;
    let parts = ledger::Parts::begin(app.database(), app.persons(), question, &[*period]).await?;
    let filter = filter.clone();
    let chunks =
        stream::try_unfold((parts, resource, filter), async |(mut parts, resource, filter)| {
            let Some(part) = parts.next().await? else { return Ok(None) };
            let lines = part.into_iter().flat_map(|statement| statement.lines);
            let lines = lines.filter(|line| filter.wants(line));
            let row = |line: Line| Row { amount: line.entry.amount, resource: resource(line) };
            let rows: Vec<_> = lines.map(row).collect();
            Ok(Some((rows, (parts, resource, filter))))
        });
    Ok(chunks.boxed())
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
