//! Lists: a page at a time, with an opaque cursor.

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use projections::finder::{Cursor, LIST_MAX, Page, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::call::json_response;
use crate::problem::Problem;

/// Entries of a page where the caller does not say.
const LIMIT: usize = 50;

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// At most so many, up to 500; 50 where it is left out.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// Behind this cursor, which the page before gave as `next`.
    pub after: Option<String>,
}

impl ListParameters {
    /// The query for it.
    ///
    /// # Errors
    /// 400 where a parameter is none.
    pub fn query(&self) -> Result<Query, Problem> {
        let after = self.after.as_deref().map(|text| {
            decode_cursor(text)
                .ok_or_else(|| Problem::bad_parameter("after", "This cursor is none of ours."))
        });
        Ok(Query {
            limit: limit(self.limit.as_deref())?,
            after: after.transpose()?,
            ..Query::default()
        })
    }
}

/// Which part of a list, as of when.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PastListParameters {
    /// At most so many, up to 500; 50 where it is left out.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// Behind this cursor, which the page before gave as `next`.
    pub after: Option<String>,
    /// What was held at this moment of the business, an RFC 3339 time, or a date (its midnight where the customer's seller
    /// is); now where it is left out.
    pub as_of: Option<String>,
    /// As it was known at this position or RFC 3339 time; now where it is left out.
    pub known_at: Option<String>,
}

/// As of when.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PastParameters {
    /// As it was at this moment of the business, an RFC 3339 time, or a date (its midnight where the customer's seller is);
    /// now where it is left out.
    pub as_of: Option<String>,
    /// As it was known at this position or RFC 3339 time; now where it is left out.
    pub known_at: Option<String>,
}

/// A limit within its bounds.
///
/// # Errors
/// 400 where it is none.
pub fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
    limit.ok_or_else(|| {
        Problem::bad_parameter("limit", format!("The limit is a number from 1 to {LIST_MAX}."))
    })
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListResource<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where the next page begins (`after`); none on the last.
    pub next: Option<String>,
}

/// A page as it is sent.
pub fn page<V, T: Serialize>(page: &Page<V>, resource: impl Fn(&V) -> T) -> Response {
    let next = page.items.last().filter(|_| page.more).map(|(cursor, _)| encode_cursor(cursor));
    let data = page.items.iter().map(|(_, view)| resource(view)).collect();
    let json = serde_json::to_string(&ListResource { data, next });
    json_response(StatusCode::OK, json.expect("resources have text keys only"))
}

/// A cursor as callers see it: opaque.
#[must_use]
pub fn encode_cursor(cursor: &Cursor) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).expect("a cursor has a JSON form"))
}

/// A cursor that we have given.
#[must_use]
pub fn decode_cursor(text: &str) -> Option<Cursor> {
    let cursor: Cursor = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    // None of ours has a NUL, and PostgreSQL refuses to be asked for one.
    (!cursor.sort.contains('\0') && !cursor.key.contains('\0')).then_some(cursor)
}
