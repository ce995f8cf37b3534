//! The shape of an answer: the fields of the document in its order, and `null` for what failed.
//!
//! The library puts the fields of an object in the order in which they were done, and leaves out those
//! that failed. Clients rely on the specification (GraphQL, sections 6.4.4 and 7.2.2).

use std::collections::HashMap;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, PathSegment, Response, Value, Variables};

use super::limits::undefined_variable;
use crate::problem::Problem;

/// The fields that were asked for of an object, in order, each with those of what it gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape(IndexMap<Name, Shape>);

/// The operation of a document that is meant; none where validation will say that there is none.
fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(&operation.node),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map(|operation| &operation.node)
        }
        (DocumentOperations::Multiple(operations), None) => {
            operations.values().next().map(|operation| &operation.node)
        }
    }
}

/// Every variable that cannot be left out is there.
///
/// # Errors
/// The first that is not.
pub(super) fn check_variables(
    document: &ExecutableDocument,
    name: Option<&str>,
    variables: &Variables,
) -> Result<(), Problem> {
    let definitions = operation(document, name).map(|it| it.variable_definitions.as_slice());
    for definition in definitions.unwrap_or_default() {
        let variable = &definition.node;
        let needed = !variable.var_type.node.nullable && variable.default_value.is_none();
        if needed && variables.get(&variable.name.node).is_none_or(|it| *it == Value::Null) {
            return Err(undefined_variable(&variable.name.node, definition.pos));
        }
    }
    Ok(())
}

impl Shape {
    /// The shape that a document within the limits asks for.
    pub(super) fn of(document: &ExecutableDocument, name: Option<&str>) -> Self {
        let mut shape = Self::default();
        if let Some(operation) = operation(document, name) {
            shape.add(document, &operation.selection_set.node);
        }
        shape
    }

    fn add(&mut self, document: &ExecutableDocument, set: &SelectionSet) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.clone();
                    let shape = self.0.entry(key).or_default();
                    shape.add(document, &field.node.selection_set.node);
                }
                Selection::InlineFragment(inline) => {
                    self.add(document, &inline.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node)
                    {
                        self.add(document, &fragment.node.selection_set.node);
                    }
                }
            }
        }
    }

    /// Gives an answer this shape.
    pub(super) fn give(&self, response: &mut Response) {
        if response.data == Value::Null {
            // Every field failed, or was skipped.
            response.data = Value::Object(IndexMap::new());
        }
        for error in &response.errors {
            note_failure(&mut response.data, &error.path);
        }
        self.arrange(&mut response.data);
    }

    fn arrange(&self, value: &mut Value) {
        match value {
            Value::List(items) => items.iter_mut().for_each(|item| self.arrange(item)),
            // What no fields are asked of stays as it is: it is one value.
            Value::Object(fields) if !self.0.is_empty() => {
                let places = self.places(fields);
                if !places.is_sorted() {
                    let places: HashMap<_, _> = fields.keys().cloned().zip(places).collect();
                    fields.sort_by_key(|key, _| places[key]);
                }
                for (key, value) in fields {
                    if let Some(shape) = self.0.get(key) {
                        shape.arrange(value);
                    }
                }
            }
            _ => {}
        }
    }

    /// Where each field should stand.
    fn places(&self, fields: &IndexMap<Name, Value>) -> Vec<usize> {
        fields.keys().map(|key| self.0.get_index_of(key).unwrap_or(usize::MAX)).collect()
    }
}

/// Puts `null` where something failed, which the fields around it can do without.
fn note_failure(value: &mut Value, path: &[PathSegment]) {
    match (path, value) {
        ([PathSegment::Field(name), rest @ ..], value) => {
            if *value == Value::Null {
                // All fields of this object failed.
                *value = Value::Object(IndexMap::new());
            }
            if let Value::Object(fields) = value {
                note_failure(fields.entry(Name::new(name)).or_insert(Value::Null), rest);
            }
        }
        ([PathSegment::Index(index), rest @ ..], Value::List(items)) => {
            if let Some(item) = items.get_mut(*index) {
                note_failure(item, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::{ServerError, value};

    use super::*;

    #[test]
    fn fields_stand_in_the_order_of_the_document_and_failed_ones_are_null() {
        let document = parse_query(
            "{ z ...F a: list { y x } list { w } failed { deep } } \
             fragment F on Query { b json list { v w u } }",
        );
        let mut response = Response::new(value!({
            "json": { "q": 1, "p": 2 },
            "list": [{ "u": 1, "v": 2, "w": 3 }, null],
            "b": 1,
            "a": [{ "x": 1, "y": 2 }],
            "z": 1,
        }));
        let failed =
            |path: &[PathSegment]| ServerError::new("failed", None).with_path(path.to_vec());
        let field = |name: &str| PathSegment::Field(name.to_owned());
        response.errors = vec![
            failed(&[field("failed")]),
            failed(&[field("list"), PathSegment::Index(1), field("u")]),
        ];
        Shape::of(&document.unwrap(), None).give(&mut response);
        assert_eq!(
            serde_json::to_string(&response.data).unwrap(),
            r#"{"z":1,"b":1,"json":{"q":1,"p":2},"list":[{"v":2,"w":3,"u":1},{"u":null}],"#
                .to_owned()
                + r#""a":[{"y":2,"x":1}],"failed":null}"#
        );
    }

    #[test]
    fn an_answer_of_failures_only_has_its_fields() {
        let document = parse_query("{ b a }").unwrap();
        let mut response = Response::new(Value::Null);
        response.errors = ["a", "b"]
            .map(|name| {
                let path = vec![PathSegment::Field(name.to_owned())];
                ServerError::new("failed", None).with_path(path)
            })
            .to_vec();
        Shape::of(&document, None).give(&mut response);
        let json = serde_json::to_string(&response.data).unwrap();
        assert_eq!(json, r#"{"b":null,"a":null}"#);
    }

    #[test]
    fn a_variable_that_is_needed_must_be_there() {
        let document = parse_query("query Q($a: Int!, $b: Int, $c: Int! = 1) { x }").unwrap();
        let check = |json| check_variables(&document, Some("Q"), &Variables::from_json(json));
        assert!(check(serde_json::json!({ "a": 1 })).is_ok());
        for bad in [serde_json::json!({}), serde_json::json!({ "a": null })] {
            assert_eq!(check(bad).unwrap_err().code, "graphql_validation_failed");
        }
    }
}
