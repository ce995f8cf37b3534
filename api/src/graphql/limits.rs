//! What a document may cost, told before anything of it is carried out.
//!
//! The library bounds complexity, recursion and directives of a field. It follows every fragment
//! each time it is spread, so that a short document can keep it busy for years: the bounds here are
//! checked first, and each fragment is measured once.

use std::collections::HashMap;
use std::ops::AddAssign;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Pos, Positioned, ServerError};
use axum::http::StatusCode;
use projections::finder::LIST_MAX;

use crate::problem::Problem;

/// Nodes of a page where the caller does not say.
pub(crate) const PAGE: usize = 50;
/// Most nodes of a page.
pub(crate) const PAGE_MAX: usize = LIST_MAX;
/// Longest document, in bytes.
const DOCUMENT_MAX_BYTES: usize = 16 * 1024;
/// Most names, numbers, texts and signs of a document.
const TOKENS_MAX: usize = 4_000;
/// Most brackets within each other in a document.
const BRACKETS_MAX: usize = 48;
/// Most fields within each other, fragments in place.
const DEPTH_MAX: usize = 12;
/// Most fields and fragments, fragments in place.
const SELECTIONS_MAX: usize = 1_000;
/// Most aliases, fragments in place.
const ALIASES_MAX: usize = 30;
/// Most directives, fragments in place.
const DIRECTIVES_MAX: usize = 30;
/// Most directives of one field.
pub(super) const DIRECTIVES_PER_FIELD_MAX: usize = 10;
/// Most selections within each other, fragments and introspection included.
pub(super) const RECURSION_MAX: usize = 32;
/// Most lists of fields within each other when the schema is asked about itself.
const INTROSPECTION_LISTS_MAX: usize = 2;
/// Most that all fields may cost together: each one, times the sizes of the pages it is in.
pub(super) const COMPLEXITY_MAX: usize = 20_000;
/// What a field costs for which bills are computed.
pub(crate) const STATEMENT_COST: usize = 50;
/// What a field costs for which commands are tried: each keeps a connection of its own for that.
pub(crate) const REHEARSAL_COST: usize = 4_000;

/// What the properties of a holder cost: as much as a page of them.
pub(crate) const PROPERTIES_COST: usize = PAGE;

/// Where costs stop growing, so that no sum of them overflows.
const COST_END: usize = 1_000_000;

/// What a page of a list costs, at `each` for a node.
pub(crate) fn page_cost(first: Option<i32>, last: Option<i32>, each: usize) -> usize {
    let size = first.or(last).map_or(PAGE, |size| usize::try_from(size).unwrap_or(0));
    size.max(1).saturating_mul(each.max(1)).saturating_add(1).min(COST_END)
}

/// The message of the library where a document costs more than [`COMPLEXITY_MAX`].
const TOO_COMPLEX: &str = "Query is too complex.";

/// A document that is not carried out, and why.
fn refusal(code: &'static str, message: impl Into<String>, at: Option<Pos>) -> Problem {
    problem(code, vec![ServerError::new(message, at)])
}

fn problem(code: &'static str, mut errors: Vec<ServerError>) -> Problem {
    for error in &mut errors {
        error.extensions.get_or_insert_default().set("code", code);
    }
    let detail = match errors.as_slice() {
        [one] => one.message.clone(),
        several => format!("{} things are wrong with the document; see errors.", several.len()),
    };
    Problem { graphql: errors.into(), ..Problem::new(StatusCode::BAD_REQUEST, code, detail) }
}

/// What the library found before it carried anything out.
pub(super) fn invalid(mut errors: Vec<ServerError>) -> Problem {
    errors.dedup();
    if errors.iter().any(|error| error.message == TOO_COMPLEX) {
        let message = format!(
            "This costs more than {COMPLEXITY_MAX}: each field counts, times the sizes of the \
             pages it is in. Ask for smaller pages (first, last) or fewer fields."
        );
        return refusal("query_too_complex", message, None);
    }
    problem("graphql_validation_failed", errors)
}

/// A variable is needed and not there.
pub(super) fn undefined_variable(name: &Name, at: Pos) -> Problem {
    let message = format!("The variable ${name} is missing.");
    refusal("graphql_validation_failed", message, Some(at))
}

/// Who may ask the schema about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Introspection {
    /// Developers.
    Allowed,
    /// Everybody else.
    Refused,
}

/// A document within the bounds.
///
/// # Errors
/// What does not parse, or which bound it goes beyond.
pub(super) fn parse(
    text: &str,
    introspection: Introspection,
) -> Result<ExecutableDocument, Problem> {
    if text.len() > DOCUMENT_MAX_BYTES {
        let message = format!("A document has at most {DOCUMENT_MAX_BYTES} bytes.");
        return Err(refusal("query_too_long", message, None));
    }
    check_tokens(text)?;
    let document = parse_query(text).map_err(|error| {
        let error = ServerError::from(error);
        // Before the last line the parser draws the place, which `locations` tells.
        let reason = error.message.lines().last().unwrap_or_default();
        let reason = reason.trim_start_matches([' ', '=']).trim_end_matches('.');
        let message = format!("This is no GraphQL: {reason}.");
        let at = error.locations.first().copied();
        refusal("graphql_parse_failed", message, at)
    })?;
    let mut measure =
        Measure { document: &document, fragments: HashMap::new(), introspection, level: 0 };
    let mut whole = Extent::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        whole += measure.set(&operation.selection_set.node)?;
        let of_variables = operation.variable_definitions.iter();
        let of_variables = of_variables.map(|variable| variable.node.directives.len());
        whole.directives += operation.directives.len() + of_variables.sum::<usize>();
    }
    for (size, most, code, what) in [
        (whole.depth, DEPTH_MAX, "query_too_deep", "fields within each other"),
        (
            whole.selections,
            SELECTIONS_MAX,
            "too_many_fields",
            "fields and fragments, with fragments in their places",
        ),
        (whole.aliases, ALIASES_MAX, "too_many_aliases", "aliases, with fragments in their places"),
        (
            whole.directives,
            DIRECTIVES_MAX,
            "too_many_directives",
            "directives, with fragments in their places",
        ),
    ] {
        if size > most {
            return Err(refusal(code, format!("A document has at most {most} {what}."), None));
        }
    }
    Ok(document)
}

/// Counts what a parser would see, without parsing: it works as deep as the brackets go.
fn check_tokens(text: &str) -> Result<(), Problem> {
    let (mut tokens, mut brackets) = (0, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | ',' | '\t' | '\r' | '\n' | '\u{feff}' => {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            '#' => {
                rest = &rest[rest.find(['\r', '\n']).unwrap_or(rest.len())..];
                continue;
            }
            '"' => text_length(rest),
            first if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            first => {
                match first {
                    '{' | '[' | '(' => brackets += 1,
                    '}' | ']' | ')' => brackets = brackets.saturating_sub(1),
                    _ => {}
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
        tokens += 1;
        if tokens > TOKENS_MAX {
            let message = format!("A document has at most {TOKENS_MAX} names, values and signs.");
            return Err(refusal("too_many_tokens", message, None));
        }
        if brackets > BRACKETS_MAX {
            let message =
                format!("A document has at most {BRACKETS_MAX} brackets within each other.");
            return Err(refusal("query_too_deep", message, None));
        }
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// How long the text value is that a part of a document begins with, in bytes.
fn text_length(rest: &str) -> usize {
    let (quotes, multiline) =
        if rest.starts_with("\"\"\"") { ("\"\"\"", true) } else { ("\"", false) };
    let mut at = quotes.len();
    while let Some(next) = rest[at..].chars().next() {
        let ends_badly = !multiline && matches!(next, '\r' | '\n');
        if rest[at..].starts_with(quotes) || ends_badly {
            return at + quotes.len().min(rest.len() - at);
        }
        let escaped = if next == '\\' { rest[at + 1..].chars().next() } else { None };
        at += next.len_utf8() + escaped.map_or(0, char::len_utf8);
    }
    rest.len()
}

/// How large a part of a document is.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    depth: usize,
    selections: usize,
    aliases: usize,
    directives: usize,
    /// Lists of the schema's parts within each other.
    lists: usize,
}

/// Side by side.
impl AddAssign for Extent {
    fn add_assign(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.lists = self.lists.max(other.lists);
        // A fragment can double what the one before it doubled.
        self.selections = self.selections.saturating_add(other.selections);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
    }
}

/// Measures a document.
struct Measure<'a> {
    document: &'a ExecutableDocument,
    /// What is known of each fragment; nothing while it is being measured.
    fragments: HashMap<&'a Name, Option<Extent>>,
    introspection: Introspection,
    /// How many selections there are around the one that is being measured.
    level: usize,
}

impl<'a> Measure<'a> {
    fn set(&mut self, set: &'a SelectionSet) -> Result<Extent, Problem> {
        let mut whole = Extent::default();
        self.level += 1;
        if self.level > RECURSION_MAX {
            let message = format!("At most {RECURSION_MAX} selections within each other.");
            return Err(refusal("query_too_deep", message, None));
        }
        for selection in &set.items {
            whole.selections = whole.selections.saturating_add(1);
            whole += match &selection.node {
                Selection::Field(field) => self.field(field)?,
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name;
                    let mut extent = match self.document.fragments.get(&name.node) {
                        Some(fragment) => self.fragment(&name.node, fragment, name.pos)?,
                        // Validation says so.
                        None => Extent::default(),
                    };
                    extent.directives =
                        extent.directives.saturating_add(spread.node.directives.len());
                    extent
                }
                Selection::InlineFragment(inline) => {
                    let mut extent = self.set(&inline.node.selection_set.node)?;
                    extent.directives =
                        extent.directives.saturating_add(inline.node.directives.len());
                    extent
                }
            };
        }
        self.level -= 1;
        Ok(whole)
    }

    fn fragment(
        &mut self,
        name: &'a Name,
        fragment: &'a Positioned<FragmentDefinition>,
        at: Pos,
    ) -> Result<Extent, Problem> {
        match self.fragments.get(name) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => {
                let message = format!("The fragment {name} spreads itself.");
                return Err(refusal("graphql_validation_failed", message, Some(at)));
            }
            None => {}
        }
        self.fragments.insert(name, None);
        let mut extent = self.set(&fragment.node.selection_set.node)?;
        extent.directives = extent.directives.saturating_add(fragment.node.directives.len());
        self.fragments.insert(name, Some(extent));
        Ok(extent)
    }

    fn field(&mut self, field: &'a Positioned<Field>) -> Result<Extent, Problem> {
        let mut extent = self.set(&field.node.selection_set.node)?;
        extent.aliases = extent.aliases.saturating_add(field.node.alias.is_some().into());
        extent.directives = extent.directives.saturating_add(field.node.directives.len());
        match field.node.name.node.as_str() {
            "__schema" | "__type" => {
                if self.introspection == Introspection::Refused {
                    let message = "The schema describes itself only to developers: those with the \
                                   permission tokens.hold.";
                    return Err(refusal("introspection_disabled", message, Some(field.pos)));
                }
                if extent.lists > INTROSPECTION_LISTS_MAX {
                    let message = format!(
                        "At most {INTROSPECTION_LISTS_MAX} lists of the schema's parts within each \
                         other."
                    );
                    return Err(refusal("query_too_deep", message, Some(field.pos)));
                }
                // The usual questions about a schema go deeper than those about data.
                extent.depth = 1;
                extent.lists = 0;
            }
            "fields" | "inputFields" | "interfaces" | "possibleTypes" => {
                extent.depth += 1;
                extent.lists += 1;
            }
            _ => extent.depth += 1,
        }
        Ok(extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> &'static str {
        parse(text, Introspection::Refused).unwrap_err().code
    }

    fn nested(depth: usize) -> String {
        format!("{}{}", "{a".repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn a_document_within_the_bounds_is_parsed() {
        let text = "# a comment with { brackets\nquery Q($n: Int = 5) { a: viewer { ...F } } \
                    fragment F on Viewer { user { id(x: \"\\\"{[(\", y: \"\"\"{ \\\"\"\" }\"\"\") } }";
        assert!(parse(text, Introspection::Refused).is_ok());
        assert!(parse(&nested(DEPTH_MAX), Introspection::Refused).is_ok());
    }

    #[test]
    fn each_bound_is_told_by_its_code() {
        let directives = "@skip(if:false)".repeat(DIRECTIVES_MAX + 1);
        let aliases: String = (0..=ALIASES_MAX).map(|n| format!("a{n}:viewer ")).collect();
        for (text, code) in [
            (format!("{{ a(b: \"{}\") }}", "x".repeat(DOCUMENT_MAX_BYTES)), "query_too_long"),
            (format!("{{ {} }}", "a ".repeat(TOKENS_MAX)), "too_many_tokens"),
            (nested(DEPTH_MAX + 1), "query_too_deep"),
            (nested(5_000), "query_too_deep"),
            (format!("{{ a(b: {} }}", "[".repeat(5_000)), "query_too_deep"),
            (format!("{{ {} }}", "a ".repeat(SELECTIONS_MAX + 1)), "too_many_fields"),
            (format!("{{ {aliases} }}"), "too_many_aliases"),
            (format!("{{ a {directives} }}"), "too_many_directives"),
            (format!("query {directives} {{ a }}"), "too_many_directives"),
            ("{ __schema { types { name } } }".to_owned(), "introspection_disabled"),
            (
                "{ ...F } fragment F on Query { __type(name: \"Query\") { name } }".to_owned(),
                "introspection_disabled",
            ),
            ("{ a".to_owned(), "graphql_parse_failed"),
            ("".to_owned(), "graphql_parse_failed"),
        ] {
            assert_eq!(refused(&text), code, "{}", &text[..text.len().min(60)]);
        }
    }

    #[test]
    fn fragments_that_multiply_are_measured_and_not_followed() {
        let mut bomb = "{ ...F0 }".to_owned();
        for level in 0..25 {
            let next = format!("...F{} ", level + 1).repeat(10);
            bomb.push_str(&format!(" fragment F{level} on Query {{ {next} }}"));
        }
        for end in ["", " fragment F25 on Query { a: b @x }", " fragment F25 on Query { ...G }"] {
            assert_eq!(refused(&format!("{bomb}{end}")), "too_many_fields");
        }
        let chain: String =
            (0..300).map(|n| format!("fragment F{n} on Query {{...F{}}}", n + 1)).collect();
        assert_eq!(refused(&format!("{{ ...F0 }} {chain}")), "query_too_deep");
        let cycle = "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }";
        assert_eq!(refused(cycle), "graphql_validation_failed");
    }

    #[test]
    fn developers_may_ask_the_schema_about_itself_but_not_in_circles() {
        let types = |inner: &str| format!("{{ __schema {{ types {{ fields {{ {inner} }} }} }} }}");
        let of_type = |depth: usize| {
            format!("name {} name {}", "type { ofType {".repeat(depth), "} }".repeat(depth))
        };
        let usual = types(&of_type(6));
        assert!(parse(&usual, Introspection::Allowed).is_ok());
        let circles = types("type { fields { type { fields { name } } } }");
        assert_eq!(parse(&circles, Introspection::Allowed).unwrap_err().code, "query_too_deep");
        assert!(parse("{ __typename }", Introspection::Refused).is_ok());
    }

    #[test]
    fn costs_do_not_overflow() {
        assert_eq!(page_cost(Some(10), None, 3), 31);
        assert_eq!(page_cost(None, Some(20), 2), 41);
        assert_eq!(page_cost(None, None, 0), PAGE + 1);
        assert_eq!(page_cost(Some(-5), None, 7), 8);
        assert_eq!(page_cost(Some(i32::MAX), None, usize::MAX), COST_END);
    }

    #[test]
    fn a_parse_error_says_what_was_expected_and_where() {
        let problem = parse("{ a( }", Introspection::Refused).unwrap_err();
        let error = &problem.graphql[0];
        assert!(error.message.starts_with("This is no GraphQL: expected "), "{}", error.message);
        assert_eq!(error.locations, [Pos { line: 1, column: 6 }]);
    }
}
