//! One command's work: what it read, what it decided.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::authority::{Authority, Begin, Known, Place};
use domain::event::{Actor, Event, Recorded};
use domain::lifecycle::Status;
use domain::organization::{Contact, Organization, Purpose};
use domain::permission::Permission;
use domain::role::RoleRef;
use domain::seal::{Identity, PersonKey, RANDOM_BYTES, Sealed, Vault};
use domain::user::Person;
use domain::{
    Bug, CommandId, OrganizationId, Refusal, ServiceKey, SubjectId, TenantPath, UserId, planted,
};
use eventstore::SealedSlot;
use projections::views::moving_tables;
use projections::views::{
    AccessView, Holder, HoldingView, OrganizationView, PermissionView, RoleView, ServiceView,
    SubscriptionView,
};
use projections::{BELOW, Below, View, Wants, list_below};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::cache::{self, KeptReply, Layer};
use crate::error::Stop;
use crate::state::{Held, State};
use crate::{Ambient, Input};

/// On whose behalf a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Who asks.
    pub actor: Actor,
    /// As whom, when impersonating.
    pub on_behalf_of: Option<UserId>,
}

impl Caller {
    /// Atrium itself: installation and jobs. It may do everything.
    pub const SYSTEM: Self = Self { actor: Actor::System, on_behalf_of: None };

    /// A person.
    #[must_use]
    pub fn user(id: UserId) -> Self {
        Self { actor: Actor::User(id), on_behalf_of: None }
    }

    /// A person who acts as another one.
    #[must_use]
    pub fn impersonating(real: UserId, user: UserId) -> Self {
        Self { actor: Actor::User(real), on_behalf_of: Some(user) }
    }

    /// As whom the command runs; none: Atrium itself.
    #[must_use]
    pub fn acts_as(&self) -> Option<UserId> {
        match (self.on_behalf_of, self.actor) {
            (Some(user), _) | (None, Actor::User(user)) => Some(user),
            (None, Actor::System) => None,
        }
    }
}

/// What a unit stands on.
pub(crate) struct Ground<'a> {
    /// Known things, the newest first.
    pub layers: &'a [&'a Layer],
    /// The position of the next event.
    pub next_position: u64,
    /// The batch's time.
    pub now: DateTime<Utc>,
    /// Ids and randomness.
    pub ambient: &'a dyn Ambient,
    /// Seals persons' keys.
    pub vault: &'a Vault,
}

impl<'a> Ground<'a> {
    fn known(&self) -> impl Iterator<Item = &'a Layer> {
        self.layers.iter().copied()
    }
}

impl Below for Ground<'_> {
    fn document<V: View>(&self, key: &str) -> Option<Option<Arc<V>>> {
        cache::document::<V>(self.known(), key).cloned()
    }

    fn keys_at<V: View>(&self, path: &TenantPath, wants: &mut Wants) -> BTreeSet<String> {
        let list = list_below::<V>(path);
        let stored = self.known().find_map(|layer| layer.lists.get(&list));
        if stored.is_none() {
            wants.add(BELOW, &list);
        }
        let known = self.known().flat_map(|layer| V::of(&layer.views).keys_at(path));
        stored.into_iter().flatten().cloned().chain(known).collect()
    }
}

/// One command's work. It reads through an overlay that holds what the commands before it in the
/// batch decided; its own writes are buffered. A refusal leaves nothing behind.
///
/// What it reads and nothing is known of, it takes to be absent, and notes as wanted: then it was a
/// rehearsal. The writer loads what was wanted and runs the batch again. (Going on, instead of
/// stopping at the first thing that is missing, finds nearly all of them in one round.)
pub(crate) struct Unit<'a> {
    ground: Ground<'a>,
    caller: Caller,
    command_id: CommandId,
    /// What the request is called that is asked for now, where that is not the command.
    request: Option<CommandId>,
    /// Ids that were made.
    ids: Cell<u32>,
    /// How often randomness was taken.
    randoms: Cell<u32>,
    effective_at: DateTime<Utc>,
    /// The first moment of a date, and the date, where one was meant.
    date: Option<(DateTime<Utc>, NaiveDate)>,
    reason: Option<String>,
    top: Layer,
    events: Vec<Recorded>,
    sealed: Vec<Arc<Vec<SealedSlot>>>,
    wants: Wants,
    /// What the caller may do, once that was asked.
    authority: Option<Arc<Authority>>,
}

/// How far a unit was.
pub(crate) struct Mark {
    top: Layer,
    events: usize,
    effective_at: DateTime<Utc>,
    date: Option<(DateTime<Utc>, NaiveDate)>,
    reason: Option<String>,
}

/// What a unit leaves behind.
pub(crate) struct Decided {
    pub layer: Layer,
    pub events: Vec<Recorded>,
    /// Entries of a closed period that are kept with the events.
    pub sealed: Vec<Arc<Vec<SealedSlot>>>,
}

/// The table under which streams are wanted; no view is called that.
pub(crate) const STREAMS: &str = "event";
/// The table under which kept answers are wanted.
pub(crate) const REPLIES: &str = "reply";
/// The table under which persons' keys are wanted.
pub(crate) const PERSON_KEYS: &str = eventstore::PERSON_KEYS;
/// The name under which it is wanted which subscriptions somebody has; no table is called that.
pub(crate) const HELD: &str = "held";
/// The name under which it is wanted which subscriptions of a service run at a tenant and those below it:
/// `service path`.
pub(crate) const RUNNING: &str = "running";

impl<'a> Unit<'a> {
    pub(crate) fn new(ground: Ground<'a>, caller: Caller) -> Self {
        Self {
            caller,
            command_id: CommandId(ground.ambient.id_at(ground.next_position, 0)),
            request: None,
            ids: Cell::new(1),
            randoms: Cell::new(0),
            effective_at: ground.now,
            date: None,
            reason: None,
            top: Layer::default(),
            events: Vec::new(),
            sealed: Vec::new(),
            wants: Wants::default(),
            authority: None,
            ground,
        }
    }

    pub(crate) fn decided(self) -> Decided {
        Decided { layer: self.top, events: self.events, sealed: self.sealed }
    }

    /// Keeps entries of a closed period, with the events that tell of them.
    pub(crate) fn keep_entries(&mut self, slots: Arc<Vec<SealedSlot>>) {
        self.sealed.push(slots);
    }

    /// The position of the last event before what is decided now.
    #[must_use]
    pub(crate) fn last_position(&self) -> u64 {
        self.ground.next_position - 1 + self.events.len() as u64
    }

    /// What it read that nothing is known of.
    pub(crate) fn wants(&mut self) -> Wants {
        std::mem::take(&mut self.wants)
    }

    /// The time of this batch; also when the command's events are recorded.
    #[must_use]
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.ground.now
    }

    /// Names this command, and the request that it starts.
    #[must_use]
    pub(crate) fn command_id(&self) -> CommandId {
        self.request.unwrap_or(self.command_id)
    }

    /// A new id.
    #[must_use]
    pub(crate) fn id(&self) -> Uuid {
        let nth = self.ids.get();
        self.ids.set(nth + 1);
        self.ground.ambient.id_at(self.ground.next_position, nth)
    }

    /// Who asks.
    #[must_use]
    pub(crate) fn caller(&self) -> Caller {
        self.caller
    }

    /// From when on what follows is true in the business, and why. Without it: from now on.
    pub(crate) fn because(&mut self, effective_at: Option<DateTime<Utc>>, reason: Option<String>) {
        self.effective_at = effective_at.unwrap_or(self.ground.now);
        self.reason = reason;
    }

    /// Notes that a moment is the first of a date at the customer's seller, and that the date is meant: what is true from that
    /// moment on is true at each seller from its own midnight on.
    pub(crate) fn means(&mut self, moment: DateTime<Utc>, date: Option<NaiveDate>) {
        self.date = date.map(|date| (moment, date));
    }

    /// Why what is decided now is done, where somebody said so.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<&String> {
        self.reason.as_ref()
    }

    /// When what is decided now becomes true in the business.
    #[must_use]
    pub(crate) fn effective_at(&self) -> DateTime<Utc> {
        self.effective_at
    }

    /// How far it is, so that it can be brought back to here.
    #[must_use]
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            top: self.top.clone(),
            events: self.events.len(),
            effective_at: self.effective_at,
            date: self.date,
            reason: self.reason.clone(),
        }
    }

    /// Forgets all that was decided since then.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        let Mark { top, events, effective_at, date, reason } = mark;
        self.events.truncate(events);
        (self.top, self.effective_at, self.date, self.reason) = (top, effective_at, date, reason);
    }

    /// What was decided since then.
    pub(crate) fn decided_since(&self, mark: &Mark) -> &[Recorded] {
        &self.events[mark.events..]
    }

    /// Does something as somebody else asked for it, with what he may do now, under the name that his request has. A
    /// refusal leaves nothing of it behind.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn on_behalf<T>(
        &mut self,
        caller: Caller,
        request: CommandId,
        act: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let mark = self.mark();
        let own = (self.caller, self.authority.take(), self.request.replace(request));
        self.caller = caller;
        let done = act(self);
        (self.caller, self.authority, self.request) = own;
        if done.is_err() {
            self.back_to(mark);
        }
        done
    }

    /// Whether anything has been decided.
    #[must_use]
    pub(crate) fn has_decided(&self) -> bool {
        !self.events.is_empty()
    }

    /// The body, once the caller is known to be permitted.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take<T>(&self, input: Input<T>) -> Result<T, Stop> {
        input.map_err(Stop::from)
    }

    /// A decider as its stream tells; the default where it has none.
    pub(crate) fn load<D: Held>(&mut self, id: impl Display) -> Arc<D> {
        self.state::<D>(&stream::<D>(id)).decider
    }

    /// The version of a decider's stream.
    pub(crate) fn version<D: Held>(&mut self, id: impl Display) -> u64 {
        self.state::<D>(&stream::<D>(id)).version
    }

    /// Refuses an edit of another version than the caller has seen (`If-Match`).
    ///
    /// # Errors
    /// [`Reason::Stale`](domain::Reason::Stale).
    pub(crate) fn expect_version<D: Held>(
        &mut self,
        id: impl Display,
        seen: Option<u64>,
    ) -> Result<(), Stop> {
        let version = self.version::<D>(id);
        if seen.is_some_and(|seen| seen != version) && !planted(Bug::VersionNotChecked) {
            return Err(Refusal {
                reason: domain::Reason::Stale,
                code: "stale_version",
                detail: format!(
                    "It has been changed since you read it; it is at version {version} now."
                ),
                faults: Vec::new(),
                lacking: None,
            }
            .into());
        }
        Ok(())
    }

    /// Says that a stream has no events, as its id has just been made.
    pub(crate) fn begin<D: Held>(&mut self, id: impl Display) {
        D::of_mut(&mut self.top.states).insert(stream::<D>(id), State::default());
    }

    fn state<D: Held>(&mut self, stream: &str) -> State<D> {
        let own = D::of(&self.top.states).get(stream);
        match own.or_else(|| cache::state::<D>(self.ground.known(), stream)) {
            Some(state) => state.clone(),
            None => {
                self.wants.add(STREAMS, stream);
                State::default()
            }
        }
    }

    /// A document, if it is there, as it is after what has been decided so far.
    pub(crate) fn view<V: View>(&mut self, key: &str) -> Option<Arc<V>> {
        let own = V::of(&self.top.views).get(key);
        match own.or_else(|| cache::document::<V>(self.ground.known(), key)) {
            Some(document) => document.clone(),
            None => {
                self.wants.add(V::TABLE, key);
                None
            }
        }
    }

    /// The answer that was given under an idempotency key.
    pub(crate) fn kept_reply(&mut self, key: &str) -> Option<KeptReply> {
        match cache::reply(self.ground.known(), key) {
            Some(kept) => kept.clone(),
            None => {
                self.wants.add(REPLIES, key);
                None
            }
        }
    }

    /// Random bytes.
    fn random(&self) -> [u8; RANDOM_BYTES] {
        let nth = self.randoms.get();
        self.randoms.set(nth + 1);
        self.ground.ambient.random_at(self.ground.next_position, nth)
    }

    /// Seals persons' keys, and hashes logins.
    pub(crate) fn vault(&self) -> &Vault {
        self.ground.vault
    }

    /// Seals somebody who has no key yet: makes one.
    pub(crate) fn seal_anew(&mut self, id: UserId, person: &Person) -> Identity {
        let key = self.new_key(id);
        self.identity(&key, id, person)
    }

    /// Seals somebody under the key that he has. (Who was stored in clear so far has none.)
    pub(crate) fn seal(&mut self, id: UserId, person: &Person) -> Identity {
        let key = self.person_key(id).unwrap_or_else(|| self.new_key(id));
        self.identity(&key, id, person)
    }

    /// Seals how an organisation is reached, under the key of whomever it named before. Nobody is stored as he
    /// is.
    pub(crate) fn seal_contact(
        &mut self,
        id: OrganizationId,
        contact: Contact,
        is_first: bool,
    ) -> Sealed<Contact> {
        if contact == Contact::default() {
            return Sealed::default();
        }
        let known = if is_first { None } else { self.person_key(id) };
        let key = known.unwrap_or_else(|| self.new_key(id));
        match planted(Bug::PersonInClear) {
            true => Sealed::Clear(Box::new(contact)),
            false => key.seal(id, &contact, self.random()),
        }
    }

    fn new_key(&mut self, whose: impl Into<SubjectId>) -> PersonKey {
        let subject = whose.into();
        let key = PersonKey::new(self.random());
        let sealed = self.ground.vault.seal_key(subject, &key, self.random());
        self.top.keys.insert(subject, Some(sealed.into()));
        key
    }

    fn identity(&self, key: &PersonKey, id: UserId, person: &Person) -> Identity {
        Identity {
            login: self.ground.vault.login(&person.login),
            sealed: match planted(Bug::PersonInClear) {
                true => Sealed::Clear(Box::new(person.clone())),
                false => key.seal(id, person, self.random()),
            },
            purpose: Purpose::default(),
        }
    }

    /// Who somebody is.
    ///
    /// # Errors
    /// Not found where his key is not there.
    pub(crate) fn open<T: Clone + DeserializeOwned>(
        &mut self,
        whose: impl Into<SubjectId>,
        sealed: &Sealed<T>,
    ) -> Result<T, Stop> {
        let subject = whose.into();
        if let Sealed::Clear(person) = sealed {
            return Ok(person.as_ref().clone());
        }
        let key = self.person_key(subject).ok_or_else(Refusal::not_found)?;
        let person = key.unseal(subject, sealed);
        Ok(person.expect("what is in the log was sealed under the key that is kept for it"))
    }

    /// Takes a person's key away: nobody can read any more what was sealed under it.
    pub(crate) fn take_key_away(&mut self, whose: impl Into<SubjectId>) {
        self.top.keys.insert(whose.into(), None);
    }

    fn person_key(&mut self, whose: impl Into<SubjectId>) -> Option<PersonKey> {
        let subject = whose.into();
        let own = self.top.keys.get(&subject);
        match own.or_else(|| cache::person_key(self.ground.known(), subject)) {
            Some(sealed) => sealed.as_ref().map(|sealed| {
                let opened = self.ground.vault.open_key(subject, sealed);
                opened
                    .expect("the master key is that of the database, which is checked at the start")
            }),
            None => {
                self.wants.add(PERSON_KEYS, &subject.to_string());
                None
            }
        }
    }

    /// What a user has or had, as it is after what has been decided so far.
    pub(crate) fn held_by(&mut self, id: UserId) -> Vec<Arc<SubscriptionView>> {
        self.held_by_holder(Holder::User(id))
    }

    /// What somebody himself has or had, as it is after what has been decided so far.
    pub(crate) fn held_by_holder(&mut self, holder: Holder) -> Vec<Arc<SubscriptionView>> {
        let is_his = |view: &SubscriptionView| view.holder == holder;
        self.listed(HELD, &holder.id().to_string(), is_his)
    }

    /// All documents of a view that a tenant and those below it have, as they are after what has been decided
    /// so far.
    pub(crate) fn below<V: View>(&mut self, path: &TenantPath) -> Vec<Arc<V>> {
        let is_below = |view: &V| view.index().path.starts_with(path.as_str());
        self.listed(BELOW, &list_below::<V>(path), is_below)
    }

    /// About how many documents go along when an organisation moves.
    pub(crate) fn moving(&mut self, path: &TenantPath) -> usize {
        let mut count = 0;
        for table in moving_tables() {
            let list = format!("{table} {path}");
            match self.ground.known().find_map(|layer| layer.lists.get(&list)) {
                Some(stored) => count += stored.len(),
                None => self.wants.add(BELOW, &list),
            }
        }
        count
    }

    /// The keys of the subscriptions of a service that run, now or later, at a tenant and those below it, in their order;
    /// where there are more than can be changed at once, only some.
    pub(crate) fn running(&mut self, path: &TenantPath, service: &ServiceKey) -> BTreeSet<String> {
        let now = self.now().timestamp_micros();
        let runs = |view: &SubscriptionView| {
            view.service == *service && path.contains(&view.path) && view.index().until > now
        };
        self.keys_listed(RUNNING, &format!("{service} {path}"), runs)
    }

    /// The documents of a list.
    fn listed<V: View>(
        &mut self,
        list: &'static str,
        of: &str,
        belongs: impl Fn(&V) -> bool,
    ) -> Vec<Arc<V>> {
        let keys = self.keys_listed(list, of, &belongs);
        let found = keys.iter().filter_map(|key| self.view::<V>(key));
        // What the database lists may have gone elsewhere since.
        found.filter(|view| belongs(view)).collect()
    }

    /// The keys of a list: those that it has in the database, and those of documents that are known to belong to it.
    fn keys_listed<V: View>(
        &mut self,
        list: &'static str,
        of: &str,
        belongs: impl Fn(&V) -> bool,
    ) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        match self.ground.known().find_map(|layer| layer.lists.get(of)) {
            Some(stored) => keys.extend(stored.iter().cloned()),
            None => self.wants.add(list, of),
        }
        for layer in self.ground.known().chain([&self.top]) {
            let known = V::of(&layer.views).iter().filter(|(_, view)| belongs(view));
            keys.extend(known.map(|(key, _)| key.clone()));
        }
        keys
    }

    /// What the caller may do, as it is now; the caller and every organisation above are in use. Where he acts as
    /// somebody else, that holds of both.
    ///
    /// # Errors
    /// [`Stop::Unauthenticated`] where he is nobody, or not any more.
    pub(crate) fn authority(&mut self) -> Result<Option<Arc<Authority>>, Stop> {
        let Actor::User(actor) = self.caller.actor else {
            return Ok(None);
        };
        if let Some(known) = &self.authority {
            return Ok(Some(known.clone()));
        }
        let own = self.authority_of(actor)?;
        let authority = match self.caller.on_behalf_of {
            None => own,
            Some(user) => {
                let other = self.authority_of(user)?;
                if !own.may_act_as(&other) {
                    return Err(Stop::Unauthenticated);
                }
                other.exercised_by(own)
            }
        };
        let authority = self.authority.insert(Arc::new(authority));
        Ok(Some(authority.clone()))
    }

    /// What a user may do; he and every organisation above are in use.
    fn authority_of(&mut self, user: UserId) -> Result<Authority, Stop> {
        let access = self.view::<AccessView>(&user.to_string()).ok_or(Stop::Unauthenticated)?;
        if access.status != Status::Active {
            return Err(Stop::Unauthenticated);
        }
        let organizations = self.above(access.organization);
        let is_whole = organizations.first().is_some_and(|first| first.parent.is_none());
        let in_use = organizations.iter().all(|it| it.status == Status::Active);
        if !is_whole || !(in_use || planted(Bug::DisabledGoesOn)) {
            return Err(Stop::Unauthenticated);
        }
        let mut known = Known::new(access.path.clone(), places(&organizations));
        Ok(self.follow(&mut known, &access.roles, Begin::Given))
    }

    /// An organisation and those above it, the provider first; as far as they are there.
    fn above(&mut self, organization: OrganizationId) -> Vec<Arc<OrganizationView>> {
        let mut all = Vec::new();
        let mut next = Some(organization);
        while let Some(view) = next.and_then(|id| self.view::<OrganizationView>(&id.to_string())) {
            next = view.parent;
            all.push(view);
        }
        all.reverse();
        all
    }

    /// What roles can be followed through, for people of an organisation.
    ///
    /// # Errors
    /// Not found where there is no such organisation.
    pub(crate) fn roles_at(&mut self, organization: OrganizationId) -> Result<Known, Stop> {
        let organizations = self.above(organization);
        let path = organizations.last().ok_or_else(Refusal::not_found)?.path.clone();
        Ok(Known::new(path, places(&organizations)))
    }

    /// What roles permit, with whatever has to be looked up for that.
    pub(crate) fn follow(
        &mut self,
        known: &mut Known,
        roles: &[RoleRef],
        begin: Begin,
    ) -> Authority {
        loop {
            let needs = match known.authority(roles, begin) {
                Ok(authority) => return authority,
                Err(needs) => needs,
            };
            for id in needs.roles {
                let view = self.view::<RoleView>(&id.to_string());
                known.add_role(id, view.and_then(|view| view.made()));
            }
            for service in needs.services {
                let view = self.view::<ServiceView>(service.as_str());
                let published = view.as_ref().and_then(|view| view.published.as_ref());
                let roles = published.map_or(&[][..], |it| &it.roles);
                known.add_service(service, roles, published.map_or(&[], |it| &it.permissions));
            }
            for key in needs.permissions {
                let view = self.view::<PermissionView>(key.as_str());
                known.add_permission(key, view.is_some_and(|view| !view.withdrawn));
            }
        }
    }

    /// Lets the caller do something to a tenant, or says why not.
    ///
    /// # Errors
    /// See [`Authority::permit`].
    pub(crate) fn permit(
        &mut self,
        permission: Permission,
        target: &TenantPath,
    ) -> Result<(), Stop> {
        let Some(authority) = self.authority()? else { return Ok(()) };
        let holding = match authority.asks_for_services(&permission.into()) {
            true => self.view::<HoldingView>(target.as_str()),
            false => None,
        };
        let now = self.now();
        let held = |service: &_| holding.as_ref().is_some_and(|it| it.holds(service, now));
        Ok(authority.permit(permission, target, held)?)
    }

    /// Lets the caller say what a tenant pays, or says why not: nobody says what his own organisation pays.
    ///
    /// # Errors
    /// See [`Authority::permit_to_sell`].
    pub(crate) fn permit_to_sell(
        &mut self,
        permission: Permission,
        target: &TenantPath,
    ) -> Result<(), Stop> {
        match self.authority()? {
            Some(authority) => Ok(authority.permit_to_sell(permission, target, |_| false)?),
            None => Ok(()),
        }
    }

    /// Lets the caller do something that concerns no single tenant, or says why not.
    ///
    /// # Errors
    /// See [`Authority::require`].
    pub(crate) fn require(&mut self, permission: Permission) -> Result<(), Stop> {
        match self.authority()? {
            Some(authority) => self.permit(permission, &authority.path),
            None => Ok(()),
        }
    }

    /// Whether the caller holds a permission.
    ///
    /// # Errors
    /// See [`Unit::authority`].
    pub(crate) fn holds(&mut self, permission: Permission) -> Result<bool, Stop> {
        Ok(self.authority()?.is_none_or(|authority| authority.holds(permission)))
    }

    /// Whether the caller is of the provider, or Atrium itself.
    ///
    /// # Errors
    /// See [`Unit::authority`].
    pub(crate) fn is_of_provider(&mut self) -> Result<bool, Stop> {
        Ok(self.authority()?.is_none_or(|authority| authority.path == TenantPath::provider()))
    }

    /// The path of an organisation that the caller can see.
    ///
    /// # Errors
    /// Not found where there is none, or the id is none.
    pub(crate) fn path_of(&mut self, organization: &str) -> Result<TenantPath, Stop> {
        let id =
            organization.parse::<domain::OrganizationId>().map_err(|_| Refusal::not_found())?;
        Ok(self.load::<Organization>(id).founded()?.path.clone())
    }

    /// The position of the event that is decided next.
    pub(crate) fn next_position(&self) -> u64 {
        self.ground.next_position + self.events.len() as u64
    }

    /// Has a decider decide, and takes in what it decided.
    ///
    /// # Errors
    /// The decider's refusal.
    pub(crate) fn execute<D: Held>(
        &mut self,
        id: impl Display,
        path: &TenantPath,
        command: D::Command,
    ) -> Result<(), Stop> {
        let name = stream::<D>(id);
        let before = self.state::<D>(&name);
        let facts = before.decider.decide(command, self.effective_at)?;
        if facts.is_empty() {
            return Ok(());
        }
        let mut state = before;
        for fact in facts {
            let decider = Arc::unwrap_or_clone(std::mem::take(&mut state.decider));
            state.decider = Arc::new(decider.evolve(&fact, self.effective_at));
            state.version += 1;
            let event = self.recorded(&name, state.version, path, fact.into());
            if !(planted(Bug::FoldSkipped) && self.events.len() == 1) {
                self.top.views.fold(&event, &self.ground, &mut self.wants);
            }
            self.events.push(event);
        }
        D::of_mut(&mut self.top.states).insert(name, state);
        Ok(())
    }

    fn recorded(&self, stream: &str, version: u64, path: &TenantPath, event: Event) -> Recorded {
        Recorded {
            position: self.next_position(),
            stream: stream.to_owned(),
            version,
            path: path.clone(),
            effective_at: self.effective_at,
            effective_date: self.date.filter(|it| it.0 == self.effective_at).map(|it| it.1),
            recorded_at: self.ground.now,
            actor: self.caller.actor,
            on_behalf_of: self.caller.on_behalf_of,
            reason: self.reason.clone(),
            command_id: self.command_id,
            correlation: self.command_id,
            // Within a command, each fact follows from the one before it.
            cause: self.events.last().map(|event| event.position),
            event,
        }
    }
}

/// Organisations as roles are followed through them.
fn places(organizations: &[Arc<OrganizationView>]) -> Vec<Place> {
    let place = |view: &Arc<OrganizationView>| Place {
        id: view.id,
        kind: view.kind,
        given: view.given.clone(),
    };
    organizations.iter().map(place).collect()
}

/// The stream of a decider.
pub(crate) fn stream<D: Held>(id: impl Display) -> String {
    format!("{}-{id}", D::CATEGORY)
}
