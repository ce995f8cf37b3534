//! Lists as Relay connections: a page at a time, from either end.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use async_graphql::connection::{Connection, CursorType as _, Edge, OpaqueCursor};
use async_graphql::{Context, Enum, InputObject, Object, OutputType, SimpleObject, TypeName};
use projections::View;
use projections::finder::{self, Cursor, End, Page, Query, Scope};
use projections::past::{self, Past};
use projections::views::SubscriptionView;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{PAGE, PAGE_MAX};
use super::reading::{Reading, Resolved, reading};
use crate::problem::Problem;
use crate::travel;

/// Which part of a list, as it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// So many from its beginning.
    pub(crate) first: Option<i32>,
    /// Behind this cursor.
    pub(crate) after: Option<String>,
    /// So many from its end.
    pub(crate) last: Option<i32>,
    /// Before this cursor.
    pub(crate) before: Option<String>,
}

/// Which part of a list, understood.
#[derive(Clone, Debug)]
pub(crate) struct Window<C> {
    pub(crate) after: Option<C>,
    pub(crate) before: Option<C>,
    pub(crate) limit: usize,
    pub(crate) end: End,
}

impl Slice {
    /// What was asked for, within the bounds.
    ///
    /// # Errors
    /// `bad_parameter`.
    pub(crate) fn window<C: Serialize + DeserializeOwned>(&self) -> Resolved<Window<C>> {
        let size = |name, size: i32| {
            usize::try_from(size).ok().filter(|size| *size <= PAGE_MAX).ok_or_else(|| {
                Problem::bad_parameter(name, format!("{name} is a number from 0 to {PAGE_MAX}."))
            })
        };
        let (limit, end) = match (self.first, self.last) {
            (None, None) => (PAGE, End::First),
            (Some(first), None) => (size("first", first)?, End::First),
            (None, Some(last)) => (size("last", last)?, End::Last),
            (Some(_), Some(_)) => {
                let detail = "Ask for the first or for the last, not for both.";
                return Err(Problem::bad_parameter("last", detail));
            }
        };
        Ok(Window {
            after: decode("after", self.after.as_deref())?,
            before: decode("before", self.before.as_deref())?,
            limit,
            end,
        })
    }
}

/// Longest cursor, in bytes.
const CURSOR_MAX_BYTES: usize = 4_096;

fn decode<C: Serialize + DeserializeOwned>(name: &str, text: Option<&str>) -> Resolved<Option<C>> {
    let Some(text) = text else { return Ok(None) };
    let known = Some(text).filter(|text| text.len() <= CURSOR_MAX_BYTES);
    let cursor = known.and_then(|text| OpaqueCursor::decode_cursor(text).ok());
    let none_of_ours = || Problem::bad_parameter(name, "This cursor is none of ours.");
    cursor.map(|cursor| Some(cursor.0)).ok_or_else(none_of_ours)
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
pub(crate) enum OrderField {
    /// By name, upper and lower case alike.
    #[default]
    Name,
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
pub(crate) enum OrderDirection {
    /// The smallest first.
    #[default]
    Asc,
    /// The largest first.
    Desc,
}

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, InputObject)]
pub(crate) struct Order {
    /// By what.
    #[graphql(default)]
    pub(crate) field: OrderField,
    /// Which way.
    #[graphql(default)]
    pub(crate) direction: OrderDirection,
}

impl Order {
    /// By what is kept, this way.
    pub(crate) fn way(direction: OrderDirection) -> Self {
        Self { direction, ..Self::default() }
    }

    fn is_descending(order: Option<Self>) -> bool {
        order.is_some_and(|order| order.direction == OrderDirection::Desc)
    }
}

/// A list of views.
pub(crate) type ViewConnection<V, N> = Connection<OpaqueCursor<Cursor>, N, Counted<V>>;

/// How many nodes the whole list has; counted only where somebody asks.
pub(crate) struct Counted<V> {
    scope: Scope,
    query: Query,
    /// Where it is known without asking.
    known: Option<u64>,
    /// Whether nobody can say it but by looking at all of them.
    is_unknown: bool,
    of: PhantomData<fn() -> V>,
}

/// Its field is part of the connection, so that callers never see this name.
impl<V: View> TypeName for Counted<V> {
    fn type_name() -> Cow<'static, str> {
        format!("Counted_{}", V::TABLE).into()
    }
}

#[Object(name_type)]
impl<V: View> Counted<V> {
    /// How many nodes there are altogether; null where the list is as of another moment.
    async fn total_count(&self, context: &Context<'_>) -> Resolved<Option<u64>> {
        let reading = reading(context);
        if self.is_unknown {
            return Ok(None);
        }
        if let Some(known) = self.known {
            return Ok(Some(known));
        }
        let of_owner = Query { owner: self.query.owner.clone(), ..Query::default() };
        match &self.query.owner {
            // Of many owners in one statement.
            Some(owner) if self.query == of_owner && self.scope == reading.scope() => {
                reading.count_of::<V>(owner).await.map(Some)
            }
            _ => {
                let database = reading.app.database();
                Ok(Some(finder::count::<V>(database, &self.scope, &self.query).await?))
            }
        }
    }
}

/// How many nodes the whole list has.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(crate) struct Known {
    /// How many nodes there are altogether.
    pub(crate) total_count: usize,
}

/// A page of a list, sorted as it is kept or the other way round.
pub(crate) async fn list<V: View, N: OutputType + From<Arc<V>>>(
    reading: &Reading,
    scope: Scope,
    query: Query,
    order: Option<Order>,
    slice: &Slice,
) -> Resolved<Option<ViewConnection<V, N>>> {
    let window = slice.window::<Cursor>()?;
    check(&window)?;
    let descends = Order::is_descending(order);
    let cut = if descends { turned(&window) } else { window.clone() };
    let cut = Query {
        after: cut.after,
        before: cut.before,
        limit: cut.limit,
        end: cut.end,
        ..query.clone()
    };
    let mut page = finder::list::<V>(reading.app.database(), &scope, &cut).await?;
    if descends {
        page.items.reverse();
    }
    let counted = Counted { scope, query, known: None, is_unknown: false, of: PhantomData };
    Ok(Some(connection(&page, &window, counted)))
}

/// A page of what belongs to somebody; pages of many owners are loaded together.
pub(crate) async fn list_of<V: View, N: OutputType + From<Arc<V>>>(
    reading: &Reading,
    owner: impl ToString,
    slice: &Slice,
) -> Resolved<Option<ViewConnection<V, N>>> {
    let window = slice.window::<Cursor>()?;
    check(&window)?;
    let owner = owner.to_string();
    let cut = Query {
        after: window.after.clone(),
        before: window.before.clone(),
        limit: window.limit,
        end: window.end,
        ..Query::default()
    };
    let page = reading.page_of::<V>(&owner, cut).await?;
    let query = Query { owner: Some(owner), ..Query::default() };
    let counted =
        Counted { scope: reading.scope(), query, known: None, is_unknown: false, of: PhantomData };
    Ok(Some(connection(&page, &window, counted)))
}

/// A page of a list that is in memory as a whole, in its order: each document with where it stands, or standing
/// the other way round.
pub(crate) fn list_in_memory<V: View, N: OutputType + From<Arc<V>>>(
    reading: &Reading,
    items: Vec<(Cursor, Arc<V>)>,
    direction: OrderDirection,
    slice: &Slice,
) -> Resolved<Option<ViewConnection<V, N>>> {
    let window = slice.window::<Cursor>()?;
    let is_descending = direction == OrderDirection::Desc;
    let cut = if is_descending { turned(&window) } else { window.clone() };
    let known = Some(items.len() as u64);
    let place = |cursor: &Cursor| (cursor.sort.clone(), cursor.key.clone());
    let (after, before) = (cut.after.as_ref().map(place), cut.before.as_ref().map(place));
    let inside = |(cursor, _): &(Cursor, Arc<V>)| {
        let here = place(cursor);
        after.as_ref().is_none_or(|after| here > *after)
            && before.as_ref().is_none_or(|before| here < *before)
    };
    let mut items: Vec<_> = items.into_iter().filter(inside).collect();
    let more = items.len() > cut.limit;
    match cut.end {
        End::First => items.truncate(cut.limit),
        End::Last => {
            items.drain(..items.len().saturating_sub(cut.limit));
        }
    }
    if is_descending {
        items.reverse();
    }
    let (scope, query) = (reading.scope(), Query::default());
    let counted = Counted { scope, query, known, is_unknown: false, of: PhantomData };
    Ok(Some(connection(&Page { items, more }, &window, counted)))
}

/// A cursor goes into a statement: databases do not take every character.
pub(crate) fn check(window: &Window<Cursor>) -> Resolved<()> {
    for (name, cursor) in [("after", &window.after), ("before", &window.before)] {
        if cursor.as_ref().is_some_and(|it| it.sort.contains('\0') || it.key.contains('\0')) {
            return Err(Problem::bad_parameter(name, "This cursor is none of ours."));
        }
    }
    Ok(())
}

/// The same part of the list as seen from its other end.
pub(crate) fn turned<C: Clone>(window: &Window<C>) -> Window<C> {
    Window {
        after: window.before.clone(),
        before: window.after.clone(),
        limit: window.limit,
        end: match window.end {
            End::First => End::Last,
            End::Last => End::First,
        },
    }
}

/// A page of what somebody held then, or of all that was held then in a scope.
pub(crate) async fn list_of_past<N: OutputType + From<Arc<Past>>>(
    reading: &Reading,
    scope: Scope,
    query: Query,
    then: past::Then,
    slice: &Slice,
) -> Resolved<Option<ViewConnection<SubscriptionView, N>>> {
    let window = slice.window::<Cursor>()?;
    check(&window)?;
    let cut = Query {
        after: window.after.clone(),
        before: window.before.clone(),
        limit: window.limit,
        end: window.end,
        ..query.clone()
    };
    let of_owner = Query { owner: query.owner.clone(), ..Query::default() };
    let page = match &query.owner {
        // Of many owners in one statement.
        Some(owner) if query == of_owner && scope == reading.scope() => {
            reading.past_of(owner, Query { owner: None, ..cut }, then).await?
        }
        _ => past::list(reading.app.database(), &scope, &cut, then).await?.map(Arc::new),
    };
    let page = page.ok_or_else(travel::too_much_between)?;
    let counted = Counted { scope, query, known: None, is_unknown: true, of: PhantomData };
    Ok(Some(connection(&page, &window, counted)))
}

fn connection<V: View, T, N: OutputType + From<Arc<T>>>(
    page: &Page<T>,
    window: &Window<Cursor>,
    counted: Counted<V>,
) -> ViewConnection<V, N> {
    let (has_previous, has_next) = has_more(window, page.more);
    let mut connection = Connection::with_additional_fields(has_previous, has_next, counted);
    connection.edges.extend(
        page.items
            .iter()
            .map(|(cursor, view)| Edge::new(OpaqueCursor(cursor.clone()), N::from(view.clone()))),
    );
    connection
}

/// Whether there is something before and behind a page: what lies beyond the end that the page was
/// taken from is known, what lies beyond the other one follows from its cursor.
pub(crate) fn has_more<C>(window: &Window<C>, more: bool) -> (bool, bool) {
    match window.end {
        End::First => (window.after.is_some(), more),
        End::Last => (more, window.before.is_some()),
    }
}

/// A list that is computed as a whole, each node with its cursor; cursors grow along it.
pub(crate) fn cut<C: Ord + Serialize + DeserializeOwned + Send + Sync, N: OutputType>(
    items: Vec<(C, N)>,
    slice: &Slice,
) -> Resolved<Option<Connection<OpaqueCursor<C>, N, Known>>> {
    let window = slice.window::<C>()?;
    let total_count = items.len();
    let inside = |cursor: &C| {
        window.after.as_ref().is_none_or(|after| cursor > after)
            && window.before.as_ref().is_none_or(|before| cursor < before)
    };
    let mut inner: Vec<_> = items.into_iter().filter(|(cursor, _)| inside(cursor)).collect();
    let more = inner.len() > window.limit;
    match window.end {
        End::First => inner.truncate(window.limit),
        End::Last => {
            inner.drain(..inner.len().saturating_sub(window.limit));
        }
    }
    let (has_previous, has_next) = has_more(&window, more);
    let known = Known { total_count };
    let mut connection = Connection::with_additional_fields(has_previous, has_next, known);
    let edges = inner.into_iter().map(|(cursor, node)| Edge::new(OpaqueCursor(cursor), node));
    connection.edges.extend(edges);
    Ok(Some(connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(first: Option<i32>, last: Option<i32>) -> Slice {
        Slice { first, last, ..Slice::default() }
    }

    fn numbers(slice: &Slice) -> (Vec<i32>, bool, bool) {
        let items = (0..10).map(|number| (number, number)).collect();
        let connection = cut::<i32, i32>(items, slice).unwrap().unwrap();
        let nodes = connection.edges.iter().map(|edge| edge.node).collect();
        (nodes, connection.has_previous_page, connection.has_next_page)
    }

    #[test]
    fn a_page_is_cut_from_either_end() {
        assert_eq!(numbers(&slice(Some(3), None)), (vec![0, 1, 2], false, true));
        assert_eq!(numbers(&slice(None, Some(2))), (vec![8, 9], true, false));
        let cursor = |number: i32| Some(OpaqueCursor(number).encode_cursor());
        let behind = Slice { after: cursor(7), ..slice(Some(5), None) };
        assert_eq!(numbers(&behind), (vec![8, 9], true, false));
        let between = Slice { after: cursor(2), before: cursor(6), ..slice(None, Some(2)) };
        assert_eq!(numbers(&between), (vec![4, 5], true, true));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let after = |text: &str| Slice { after: Some(text.to_owned()), ..Slice::default() };
        for bad in [
            slice(Some(-1), None),
            slice(Some(501), None),
            slice(None, Some(i32::MIN)),
            slice(Some(1), Some(1)),
            after("x"),
            after(&"A".repeat(10_000)),
        ] {
            let problem = bad.window::<i32>().unwrap_err();
            assert_eq!(problem.code, "bad_parameter", "{bad:?}");
        }
        assert_eq!(slice(None, None).window::<i32>().unwrap().limit, PAGE);
        assert_eq!(slice(Some(500), None).window::<i32>().unwrap().limit, 500);
    }
}
