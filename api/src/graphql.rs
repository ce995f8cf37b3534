//! The read API (api.md, section 5): one address, one document, one answer.

mod activity;
mod adjustment;
mod approval;
mod bridge;
mod connection;
mod effective;
mod event;
mod id;
mod ledger;
mod limits;
mod margin;
mod offer;
mod organization;
mod overriding;
mod preview;
mod pricing;
mod query;
mod reading;
mod rehearsal;
mod role;
mod rulebook;
mod scalar;
mod service;
mod shape;
mod subscription;
mod user;

use std::sync::OnceLock;

use async_graphql::{EmptyMutation, EmptySubscription, Schema, SchemaBuilder, Variables};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use domain::Fault;
use domain::permission::Permission;
use serde_json::{Map, Value};

use crate::app::App;
use crate::auth::Principal;
use crate::body;
use crate::problem::Problem;
use crate::rest::call::{is_json, read_body};
use crate::rest::{Answer, json_response};
use limits::Introspection;
use reading::Reading;
use shape::Shape;

pub use query::Query;

/// What can be asked for, and how it is answered.
pub type ReadSchema = Schema<Query, EmptyMutation, EmptySubscription>;

/// The routes, for serving.
pub fn router() -> Router<App> {
    Router::new().route("/graphql", post(answer))
}

/// The schema as developers see it; `docs/schema.graphql` has it.
#[must_use]
pub fn schema() -> ReadSchema {
    bounded().finish()
}

fn bounded() -> SchemaBuilder<Query, EmptyMutation, EmptySubscription> {
    Schema::build(Query, EmptyMutation, EmptySubscription)
        .limit_complexity(limits::COMPLEXITY_MAX)
        .limit_recursive_depth(limits::RECURSION_MAX)
        .limit_directives(limits::DIRECTIVES_PER_FIELD_MAX)
}

/// The schema for a caller: only developers are helped to explore it.
fn schema_for(introspection: Introspection) -> &'static ReadSchema {
    static OPEN: OnceLock<ReadSchema> = OnceLock::new();
    static CLOSED: OnceLock<ReadSchema> = OnceLock::new();
    match introspection {
        Introspection::Allowed => OPEN.get_or_init(schema),
        Introspection::Refused => {
            CLOSED.get_or_init(|| bounded().disable_introspection().disable_suggestions().finish())
        }
    }
}

/// A document with what belongs to it.
#[derive(Debug)]
struct Question {
    query: String,
    operation_name: Option<String>,
    variables: Map<String, Value>,
}

async fn answer(State(app): State<App>, principal: Principal, request: Request) -> Answer {
    if !is_json(request.headers()) {
        return Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let question = Question::read(&read_body(request.into_body()).await?)?;
    let _turn = app.turn().await;
    let response = execute(app.clone(), principal, question).await?;
    let json = serde_json::to_string(&response).expect("answers have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Answers a question; refuses one that does not parse, does not fit the schema or goes beyond the
/// limits.
async fn execute(
    app: App,
    principal: Principal,
    question: Question,
) -> Result<async_graphql::Response, Problem> {
    let introspection = match principal.holds(Permission::HoldTokens) {
        true => Introspection::Allowed,
        false => Introspection::Refused,
    };
    let document = limits::parse(&question.query, introspection)?;
    let variables = Variables::from_json(Value::Object(question.variables));
    let name = question.operation_name.as_deref();
    shape::check_variables(&document, name, &variables)?;
    let shape = Shape::of(&document, name);
    let (reading, loads) = Reading::new(app, principal);
    let mut request =
        async_graphql::Request::new(question.query).variables(variables).data(reading);
    request.operation_name = question.operation_name;
    request.set_parsed_query(document);
    let mut response = loads.serve(schema_for(introspection).execute(request)).await;
    let nothing_was_done = response.data == async_graphql::Value::Null
        && !response.errors.is_empty()
        && response.errors.iter().all(|error| error.path.is_empty());
    if nothing_was_done {
        return Err(limits::invalid(response.errors));
    }
    shape.give(&mut response);
    for error in &mut response.errors {
        // A value that a scalar does not take is noticed only when its field is reached.
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", "bad_parameter");
        }
    }
    Ok(response)
}

impl Question {
    /// What was sent, or all that is wrong with its form.
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let (value, mut faults) = body::read(body).map_err(|error| {
            Problem::malformed(format!("The body is not the JSON that is wanted: {error}."))
        })?;
        let Value::Object(mut fields) = value else {
            return Err(Problem::malformed("The body is an object with the field `query`."));
        };
        let mut wrong = |field: &str, code, detail: &str| {
            let (pointer, detail) =
                (format!("/{}", domain::pointer_token(field)), detail.to_owned());
            faults.push(Fault { pointer, code, detail });
        };
        let query = match fields.remove("query") {
            Some(Value::String(query)) => query,
            None => {
                wrong("query", "missing", "This field is missing.");
                String::new()
            }
            Some(_) => {
                wrong("query", "wrong_type", "This must be a text.");
                String::new()
            }
        };
        let operation_name = match fields.remove("operationName") {
            Some(Value::String(name)) => Some(name),
            None | Some(Value::Null) => None,
            Some(_) => {
                wrong("operationName", "wrong_type", "This must be a text.");
                None
            }
        };
        let mut object = |name: &str| match fields.remove(name) {
            Some(Value::Object(object)) => object,
            None | Some(Value::Null) => Map::new(),
            Some(_) => {
                wrong(name, "wrong_type", "This must be an object.");
                Map::new()
            }
        };
        let (variables, _) = (object("variables"), object("extensions"));
        for field in fields.keys() {
            wrong(field, "unknown_field", "There is no such field.");
        }
        if faults.is_empty() {
            return Ok(Self { query, operation_name, variables });
        }
        let detail = match faults.as_slice() {
            [one] => one.detail.clone(),
            several => format!("{} fields are not acceptable; see errors.", several.len()),
        };
        Err(Problem { errors: faults, ..Problem::malformed(detail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_this_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.graphql");
        let schema = schema().sdl();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        let published = std::fs::read_to_string(file).unwrap_or_default();
        assert!(published == schema, "run `UPDATE_DOCS=1 cargo test` and look at the difference");
    }
}
