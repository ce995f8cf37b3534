//! The published description of the API (`docs/openapi.json`): what the tests are derived from.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Map, Value};

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let text = std::fs::read(file).expect("docs/openapi.json is there");
    serde_json::from_slice(&text).expect("docs/openapi.json is JSON")
});

/// A route that is published.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Its query parameters, with their schemas.
    pub(crate) parameters: Vec<(String, Value)>,
    /// The schema of its body, if it takes one.
    pub(crate) body: Option<&'static Map<String, Value>>,
}

impl Route {
    /// The schemas of the body's fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static String, &'static Value)> {
        let fields = self.body.and_then(|body| body.get("properties")?.as_object());
        fields.into_iter().flatten()
    }

    /// The fields that the body must have.
    pub(crate) fn required(&self) -> impl Iterator<Item = &'static str> {
        let required = self.body.and_then(|body| body.get("required")?.as_array());
        required.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// A schema, where it is only named.
pub(crate) fn resolved(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(name) => DESCRIPTION.pointer(name.trim_start_matches('#')).expect("it is described"),
        None => match schema["oneOf"].as_array() {
            // May also be null.
            Some(choices) => choices.iter().map(resolved).find(|it| it["type"] != "null"),
            None => None,
        }
        .unwrap_or(schema),
    }
}

/// Whether a list is a value of it.
pub(crate) fn takes_list(schema: &'static Value) -> bool {
    let schema = resolved(schema);
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.chain([schema]).any(|choice| choice["type"].to_string().contains("array"))
}

/// Every route.
pub(crate) fn routes() -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for (path, methods) in DESCRIPTION["paths"].as_object().context("paths")? {
        for (method, operation) in methods.as_object().context("methods")? {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let of_query = parameters.filter(|parameter| parameter["in"] == "query");
            let named = of_query.filter_map(|parameter| {
                Some((parameter["name"].as_str()?.to_owned(), parameter["schema"].clone()))
            });
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            routes.push(Route {
                method: method.to_uppercase().parse()?,
                path: path.clone(),
                parameters: named.collect(),
                body: resolved(body).as_object(),
            });
        }
    }
    ensure!(routes.len() > 40, "{routes:?}");
    Ok(routes)
}
