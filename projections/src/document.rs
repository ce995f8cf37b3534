//! Views: documents that are folded from events.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::TenantPath;
use domain::event::Recorded;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::views::Views;

/// A document folded from events; what queries read, and what commands may trust.
pub trait View: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The table that keeps it. Its rows can be thrown away and folded again.
    const TABLE: &'static str;
    /// The columns of each index, beside that on the key.
    const INDEXES: &'static [&'static str];
    /// Whether [`Index::sort`] begins with the path. Then one index keeps the list's order, and a scope is
    /// one stretch of it.
    const SORTS_BY_TENANT: bool = false;
    /// Whether a document's path, owner and [`Index::sort`] never change.
    const SORT_STAYS: bool = Self::SORTS_BY_TENANT;
    /// How many characters of the owner's id the key begins with: what belongs to somebody is then found
    /// by the key. 0: it is not.
    const OWNER_IN_KEY: usize = 0;
    /// Whether what it shows can be deleted, and is then left out of lists.
    const CAN_BE_DELETED: bool = false;

    /// The documents that an event changes.
    fn touched(event: &Recorded) -> Vec<Touch>;

    /// The document after the event. Pure and total: history cannot be refused. What is there stays.
    #[must_use]
    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self>;

    /// What is filtered and sorted on.
    fn index(&self) -> Index;

    /// Whether its documents go along when the organisation whose they are goes to another place in the tree.
    const MOVES: bool = false;

    /// Takes a document along to another place in the tree.
    fn relocate(&mut self, _to: &TenantPath) {}

    /// Its documents among those of all views.
    fn of(views: &Views) -> &Documents<Self>;

    /// Its documents among those of all views, to change them.
    fn of_mut(views: &mut Views) -> &mut Documents<Self>;
}

/// One document that an event changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The document's key.
    pub key: String,
    /// Whether the event makes it: then nobody needs to look for it first.
    pub fresh: bool,
}

impl Touch {
    /// A document that the event makes.
    #[must_use]
    pub fn fresh(key: impl ToString) -> Self {
        Self { key: key.to_string(), fresh: true }
    }

    /// A document that may be there already.
    #[must_use]
    pub fn existing(key: impl ToString) -> Self {
        Self { key: key.to_string(), fresh: false }
    }

    /// The document about a stream's own subject, which the stream's first event makes.
    #[must_use]
    pub fn own(key: impl ToString, event: &Recorded) -> Self {
        Self { key: key.to_string(), fresh: event.version == 1 }
    }
}

/// The few columns beside a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Whose it is: every finder compares it with the caller's scope.
    pub path: String,
    /// What it belongs to: a user's organisation, a subscription's holder.
    pub owner: String,
    /// What sort of thing it is: an organisation's kind, a subscription's service.
    pub kind: String,
    /// What lists are sorted by.
    pub sort: String,
    /// From when it matters, in microseconds since 1970.
    pub since: i64,
    /// Until when it matters (exclusive), in microseconds since 1970.
    pub until: i64,
}

/// Documents of one view, by key. `None` is known not to be there.
#[derive(Clone, Debug)]
pub struct Documents<V>(HashMap<String, Known<V>>);

#[derive(Clone, Debug)]
struct Known<V> {
    document: Option<Arc<V>>,
    /// Whether this layer made it: no row has it yet.
    is_new: bool,
    /// Whether it went to another place in the tree: its row's path and sort have to follow.
    has_moved: bool,
    /// The document as it is to be stored, where that was made already.
    written: Option<Box<Written>>,
}

/// A document as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// What is filtered and sorted on.
    pub(crate) index: Index,
    /// The document itself.
    pub(crate) json: Vec<u8>,
}

impl Written {
    pub(crate) fn new<V: View>(document: &V) -> Self {
        let json = serde_json::to_vec(document).expect("views have a JSON form");
        Self { index: document.index(), json }
    }
}

/// A document that is to be written, by its key.
pub(crate) type ToWrite<'a, V> = (&'a String, &'a Arc<V>, Option<Box<Written>>);

impl<V> Default for Documents<V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<V> Documents<V> {
    /// What is known of a document; nothing where it was not looked for.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Option<Arc<V>>> {
        self.0.get(key).map(|known| &known.document)
    }

    /// Keeps a document as it was found, or that there is none.
    pub fn put(&mut self, key: String, document: Option<Arc<V>>) {
        let known = Known { document, is_new: false, has_moved: false, written: None };
        self.0.insert(key, known);
    }

    /// Forgets a document.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Takes over what `newer` knows.
    pub fn absorb(&mut self, newer: Self) {
        if self.0.is_empty() {
            self.0 = newer.0;
            return;
        }
        for (key, newer) in newer.0 {
            match self.0.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(newer);
                }
                // What this layer made is new to the database, however often it changed since.
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    (known.document, known.written) = (newer.document, newer.written);
                    known.has_moved |= newer.has_moved;
                }
            }
        }
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<V>)> {
        self.0.iter().filter_map(|(key, known)| Some((key, known.document.as_ref()?)))
    }

    /// Those that are there: those that no row has yet, those that have changed, and those that went to another place
    /// in the tree; each in the order of their keys, in which a table takes them best.
    pub(crate) fn take_changes(&mut self) -> [Vec<ToWrite<'_, V>>; 3] {
        let mut documents = [Vec::new(), Vec::new(), Vec::new()];
        for (key, known) in &mut self.0 {
            if let Some(document) = &known.document {
                let place = match known {
                    Known { is_new: true, .. } => 0,
                    Known { has_moved: false, .. } => 1,
                    Known { .. } => 2,
                };
                documents[place].push((key, document, known.written.take()));
            }
        }
        documents.iter_mut().for_each(|all| all.sort_unstable_by_key(|(key, ..)| *key));
        documents
    }
}

impl<V: View> Documents<V> {
    /// Makes their stored forms in advance.
    pub(crate) fn write_down(&mut self) {
        for known in self.0.values_mut() {
            if let (Some(document), None) = (&known.document, &known.written) {
                known.written = Some(Box::new(Written::new(document.as_ref())));
            }
        }
    }
}

impl<V: View> Documents<V> {
    /// The keys of those of a tenant and of those below it.
    pub fn keys_at(&self, path: &TenantPath) -> impl Iterator<Item = String> {
        let is_there =
            |(_, view): &(&String, &Arc<V>)| view.index().path.starts_with(path.as_str());
        self.iter().filter(is_there).map(|(key, _)| key.clone())
    }

    /// Forgets those of a tenant and of those below it.
    pub(crate) fn forget_at(&mut self, path: &TenantPath) {
        let gone: Vec<_> = self.keys_at(path).collect();
        gone.iter().for_each(|key| self.forget(key));
    }
}

/// Documents that lie below the layer that is being changed.
pub trait Below {
    /// What is known of a document; nothing where it has to be loaded first.
    fn document<V: View>(&self, key: &str) -> Option<Option<Arc<V>>>;

    /// The keys of all documents of a tenant and of those below it, and perhaps of some that were theirs. Where they
    /// have to be listed first, that is noted in `wants`.
    fn keys_at<V: View>(&self, path: &TenantPath, wants: &mut Wants) -> BTreeSet<String>;
}

/// The list under which it is wanted which documents a tenant and those below it have: `table path`.
pub const BELOW: &str = "below";

/// A name for one such list.
#[must_use]
pub fn list_below<V: View>(path: &TenantPath) -> String {
    format!("{} {path}", V::TABLE)
}

/// Takes the documents of a tenant and of those below it along to another place, in the layer `top`.
pub(crate) fn relocate<V: View>(
    from: &TenantPath,
    to: &TenantPath,
    top: &mut Views,
    below: &impl Below,
    wants: &mut Wants,
) {
    if !V::MOVES {
        return;
    }
    let mut keys = below.keys_at::<V>(from, wants);
    keys.extend(V::of(top).keys_at(from));
    for key in keys {
        let mut is_there = false;
        fold_with::<V>(&Touch::existing(&key), top, below, wants, |before| {
            let mut view = before?;
            let place = TenantPath::parse(&view.index().path);
            if let Some(place) = place.and_then(|place| place.relocated(from, to)) {
                view.relocate(&place);
                is_there = true;
            }
            Some(view)
        });
        if is_there && let Some(known) = V::of_mut(top).0.get_mut(&key) {
            known.has_moved = true;
        }
    }
}

/// What has to be loaded before a fold or a decision can go on: keys, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants(pub BTreeMap<&'static str, BTreeSet<String>>);

impl Wants {
    /// Notes one more.
    pub fn add(&mut self, table: &'static str, key: &str) {
        self.0.entry(table).or_default().insert(key.to_owned());
    }

    /// Notes all of `other`.
    pub fn absorb(&mut self, other: Self) {
        for (table, keys) in other.0 {
            self.0.entry(table).or_default().extend(keys);
        }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Folds an event into one view's documents of the layer `top`. A document that nothing is known of
/// is taken to be absent, and noted in `wants`.
pub(crate) fn fold<V: View>(
    event: &Recorded,
    top: &mut Views,
    below: &impl Below,
    wants: &mut Wants,
) {
    for touch in V::touched(event) {
        fold_with::<V>(&touch, top, below, wants, |before| V::evolve(before, event));
    }
}

/// Folds something into one document of the layer `top`.
pub(crate) fn fold_with<V: View>(
    touch: &Touch,
    top: &mut Views,
    below: &impl Below,
    wants: &mut Wants,
    evolve: impl FnOnce(Option<V>) -> Option<V>,
) {
    if let Some(known) = V::of_mut(top).0.get_mut(&touch.key) {
        // Taken out, so that it is changed and not copied.
        let before = known.document.take().map(Arc::unwrap_or_clone);
        known.document = evolve(before).map(Arc::new);
        known.written = None;
        return;
    }
    let before = if touch.fresh { Some(None) } else { below.document::<V>(&touch.key) };
    let before = before.unwrap_or_else(|| {
        wants.add(V::TABLE, &touch.key);
        None
    });
    let is_new = before.is_none();
    let document = evolve(before.map(Arc::unwrap_or_clone)).map(Arc::new);
    let known = Known { document, is_new, has_moved: false, written: None };
    V::of_mut(top).0.insert(touch.key.clone(), known);
}
