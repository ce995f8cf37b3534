//! Which bill is asked for, and in what form.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use chrono::NaiveDate;
use domain::billing::{BillingSettings, Period};
use domain::permission::Permission;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use projections::finder::{self, Scope};
use projections::ledger::{self, Line, Question, Seller};
use projections::views::OrganizationView;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::export::{self, Rows, Table};
use super::format::Format;
use super::whose::{Whose, Wish};
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;
use crate::rest::{Answer, Parameters, Path, Reader, json_response, limit};
use crate::travel::Then;

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
    /// As if only that counted which was true by this RFC 3339 time, or date (its midnight where the seller is), and what
    /// was held then went on: what was to come is left out, and of a closed period all that was learned after its close.
    as_of: Option<String>,
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
    /// As if only that counted which was true by this RFC 3339 time, or date (its midnight where the seller is), and what
    /// was held then went on.
    as_of: Option<String>,
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
        let EntryParameters { as_of, buyer_id, customer_id, known_at, seller_id } = parameters;
        Self { as_of, buyer_id, customer_id, known_at, seller_id, ..Self::default() }
    }
}

/// The parameters, understood.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) format: Format,
    pub(super) billable: Option<bool>,
    pub(super) aggregate_by_customer: bool,
    pub(super) limit: Option<usize>,
    pub(super) after: usize,
    /// As it was asked for.
    pub(super) then: Then,
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
            then: Then::default(),
        })
    }

    /// Whether a line is asked for.
    pub(super) fn wants(&self, line: &Line) -> bool {
        self.billable.is_none_or(|billable| line.entry.is_billable() == billable)
    }

    /// The rows in the form that was asked for.
    pub(super) async fn give<T: Serialize + Send + 'static>(
        &self,
        table: &'static Table,
        period: &str,
        rows: Rows<T>,
    ) -> Answer {
        match (self.format, self.limit) {
            (Format::Json, Some(limit)) => self.page(limit, rows).await,
            _ => {
                let asked = (period, self.then);
                export::answer(self.format, table, asked, self.narrow(rows)).await
            }
        }
    }

    /// All rows, or the part that was asked for.
    pub(super) fn narrow<T: Send + 'static>(&self, rows: Rows<T>) -> Rows<T> {
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
pub(super) struct Wanted {
    pub(super) filter: Filter,
    pub(super) period: Period,
    pub(super) question: Question,
    pub(super) seller: Arc<Seller>,
}

/// A bill that somebody asks for, as it came.
pub struct Asked {
    pub(super) principal: Principal,
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
    pub(super) async fn understood(self, app: &App, offered: &[Format]) -> Result<Wanted, Problem> {
        let Self { principal, end_date, headers, parameters } = self;
        Wanted::parse(app, &principal, &end_date, parameters, (&headers, offered)).await
    }
}

impl Wanted {
    pub(super) async fn parse(
        app: &App,
        principal: &Principal,
        end_date: &str,
        parameters: Parameters<BillParameters>,
        (headers, offered): (&HeaderMap, &[Format]),
    ) -> Result<Self, Problem> {
        principal.require(Permission::ViewBilling)?;
        let parameters = parameters.take()?;
        let format = Format::wanted(parameters.format.as_deref(), headers, offered)?;
        let mut filter = Filter::parse(&parameters, format)?;
        let Whose { scope, side, seller } = whose(app, principal, &parameters).await?;
        let period = find_period(app, &principal.scope(), &seller.settings, end_date).await?;
        let then = (parameters.as_of.as_deref(), parameters.known_at.as_deref());
        let then = Then::parse(app, then, &seller.settings).await?;
        let Then { as_of, known_at } = then;
        filter.then = then;
        Ok(Self { filter, period, question: Question { scope, as_of, known_at, side }, seller })
    }
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
