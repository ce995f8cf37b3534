//! Folds of the views with a memory that is easy to get wrong: lists of events to a document, no
//! database.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use domain::billing::{Change, Timeline, Values};
use domain::custom_fields::CustomFields;
use domain::event::{Actor, Event, Recorded};
use domain::lifecycle::Status;
use domain::organization::{Details, Kind, OrganizationEvent, Purpose};
use domain::role::DefaultRole;
use domain::seal::{Identity, LoginHash, Sealed};
use domain::service::{Level, Process};
use domain::subscription::{
    Request, RequestCustomer, RequestPlan, RequestService, SubscriptionEvent,
};
use domain::text::{Address, Code};
use domain::user::{Credential, Person, Proof, SESSIONS_MAX, UserEvent};
use domain::{
    CommandId, OrganizationId, PlanKey, ServiceKey, SubscriptionId, TenantPath, TokenId, UserId,
};
use projections::views::{
    AccessView, ActivityView, NameView, OrganizationView, RequestStatus, RequestView,
    SubscriptionStatus, SubscriptionView, UserView, code_key, login_key,
};
use projections::{Below, View, Views, Wants, ledger};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

fn day(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_546_300_800, 0).expect("1 January 2019") + Duration::days(number)
}

/// A log, as long as a test needs it, and the day on which it is recorded.
#[derive(Default)]
struct Events(Vec<Recorded>, i64);

/// A day after all others: everything has happened.
const LATER: i64 = 10_000;

impl Events {
    fn record(&mut self, stream: &str, effective_at: DateTime<Utc>, event: Event) {
        let position = self.0.len() as u64 + 1;
        let own = self.0.iter().filter(|earlier| earlier.stream == stream).count() as u64;
        let command_id = CommandId(Uuid::from_u128(position.into()));
        self.0.push(Recorded {
            effective_date: None,
            position,
            stream: stream.to_owned(),
            version: own + 1,
            path: TenantPath::provider().child(2),
            effective_at,
            recorded_at: day(self.1) + Duration::minutes(position.cast_signed()),
            actor: Actor::System,
            on_behalf_of: None,
            reason: None,
            command_id,
            correlation: command_id,
            cause: None,
            event,
        });
    }

    /// The document of a key, where there is one.
    fn document<V: View>(&self, key: &str) -> Option<V> {
        self.0.iter().fold(None, |before, event| {
            let touched = V::touched(event).iter().any(|touch| touch.key == key);
            if touched { V::evolve(before, event) } else { before }
        })
    }
}

const SLOT: u128 = 77;

fn slot() -> String {
    format!("subscription-{}", Uuid::from_u128(SLOT))
}

fn plan(key: &str) -> PlanKey {
    PlanKey::parse(key).expect("a key")
}

fn request(id: u128, key: &str, quantity: u32) -> Box<Request> {
    Box::new(Request {
        customer: RequestCustomer {
            code: Code::proposed("Zoo", None),
            id: OrganizationId(Uuid::from_u128(2)),
            name: "Zoo".to_owned(),
            number: 2,
        },
        dated: false,
        id: CommandId(Uuid::from_u128(id)),
        instance: None,
        parent: None,
        plan: RequestPlan {
            key: plan(key),
            name: key.to_owned(),
            properties: Vec::new(),
            sku: key.to_owned(),
        },
        properties: vec![],
        shadowed: vec![],
        quantity,
        service: RequestService {
            key: ServiceKey::parse("backup").expect("a key"),
            level: Level::Customer,
            name: "Backup".to_owned(),
            process: Process::Immediate,
            version: 1,
        },
        subscription: SubscriptionId(Uuid::from_u128(SLOT)),
        user: None,
        waits_for: None,
    })
}

impl Events {
    fn slot_fact(&mut self, at: DateTime<Utc>, change: Change) {
        let id = CommandId(Uuid::from_u128(1_000 + self.0.len() as u128));
        let event = match change {
            Change::Provisioned { plan, quantity } => SubscriptionEvent::Provisioned {
                plan,
                quantity,
                request: id,
                values: Values::new(),
            },
            Change::Changed { plan, quantity } => {
                SubscriptionEvent::Changed { plan, quantity, request: id, values: Values::new() }
            }
            Change::Deprovisioned => {
                let requested = removal_requested(id);
                self.record(&slot(), at, requested.into());
                SubscriptionEvent::Deprovisioned { request: id }
            }
        };
        self.record(&slot(), at, event.into());
    }

    fn requested(&mut self, at: DateTime<Utc>) {
        let request = request(5, "basic", 1);
        self.record(&slot(), at, SubscriptionEvent::ProvisionRequested { request }.into());
    }

    fn slot(&self) -> SubscriptionView {
        self.document(&Uuid::from_u128(SLOT).to_string()).expect("it was asked for")
    }

    fn timeline(&self) -> Timeline {
        Timeline::new(self.0.iter().filter_map(ledger::fact))
    }
}

fn removal_requested(request: CommandId) -> SubscriptionEvent {
    SubscriptionEvent::DeprovisionRequested { parent: None, request, waits: false }
}

fn provisioned(key: &str) -> Change {
    Change::Provisioned { plan: plan(key), quantity: 1 }
}

fn changed(key: &str) -> Change {
    Change::Changed { plan: plan(key), quantity: 1 }
}

fn held(view: &SubscriptionView, at: DateTime<Utc>) -> Option<String> {
    view.held_at(at).map(|held| held.plan.to_string())
}

#[test]
fn a_request_goes_from_asked_for_to_completed() {
    let mut events = Events::default();
    events.requested(day(3));
    let id = CommandId(Uuid::from_u128(5));
    let status = |events: &Events| {
        let slot = events.slot();
        let request: RequestView = events.document(&id.to_string()).expect("asked for");
        let open = slot.desk.all().len();
        (request.status, open, slot.status_at(day(2)), slot.status_at(day(3)))
    };
    use SubscriptionStatus as S;
    let asked = (RequestStatus::Requested, 1, S::NotProvisioned, S::Requested);
    assert_eq!(status(&events), asked, "its day is to come on the second");
    let started = SubscriptionEvent::ProvisionStarted { request: id };
    events.record(&slot(), day(3), started.into());
    assert_eq!(status(&events), (RequestStatus::InProgress, 1, S::InProgress, S::InProgress));
    let done = SubscriptionEvent::Provisioned {
        plan: plan("basic"),
        quantity: 1,
        request: id,
        values: Values::new(),
    };
    events.record(&slot(), day(3), done.into());
    let now = (RequestStatus::Completed, 0, S::NotProvisioned, S::Provisioned);
    assert_eq!(status(&events), now);
    let request: RequestView = events.document(&id.to_string()).expect("asked for");
    let times = (request.requested_at, request.started_at, request.completed_at);
    let minute = day(0) + Duration::minutes(1);
    assert_eq!(times, (minute, Some(day(3)), Some(day(3))), "it is scheduled until its day");
    assert_eq!(request.status_at(day(2)), RequestStatus::Scheduled);
}

#[test]
fn a_backdated_fact_takes_its_place_among_the_others() {
    let mut events = Events::default();
    events.requested(day(10));
    events.slot_fact(day(10), provisioned("a"));
    events.slot_fact(day(30), changed("b"));
    events.slot_fact(day(20), Change::Deprovisioned);
    let view = events.slot();
    let plans: Vec<_> = [9, 10, 19, 20, 30, 99].map(|n| held(&view, day(n))).into();
    let a = Some("a".to_owned());
    // A change of what is no longer held has no effect.
    assert_eq!(plans, [None, a.clone(), a, None, None, None]);
    assert_eq!(view.since, Some(day(10)));
    assert_eq!(view.version, 5);
    // Provisioned again from before the change: now the change changes that.
    events.slot_fact(day(25), provisioned("c"));
    let view = events.slot();
    let plans: Vec<_> = [24, 25, 30].map(|n| held(&view, day(n))).into();
    assert_eq!(plans, [None, Some("c".to_owned()), Some("b".to_owned())]);
    // And before everything.
    events.slot_fact(day(5), provisioned("d"));
    let view = events.slot();
    assert_eq!((view.since, held(&view, day(6))), (Some(day(5)), Some("d".to_owned())));
    assert_eq!(view.scheduled_after(day(24)).count(), 2);
}

/// Facts that the document keeps at most, whatever the history: one of them while its request is open.
const KEPT_MAX: usize = 36;

#[test]
fn a_long_history_is_forgotten_but_not_what_is_held() {
    let mut events = Events(Vec::new(), LATER);
    events.requested(day(1));
    events.slot_fact(day(1), provisioned("a"));
    for n in 2..200 {
        events.slot_fact(day(n), changed(&format!("p{n}")));
        let view = events.slot();
        assert!(view.facts.len() <= KEPT_MAX, "{} facts are kept", view.facts.len());
        assert_eq!(held(&view, day(n)), Some(format!("p{n}")));
        assert_eq!(view.since, Some(day(1)));
    }
    // What was taken away long ago is taken away, however often it was changed on paper since.
    events.slot_fact(day(3), Change::Deprovisioned);
    assert_eq!(held(&events.slot(), day(500)), None);
    // And provisioned again after that: all the changes hold again.
    events.slot_fact(day(4), provisioned("b"));
    assert_eq!(held(&events.slot(), day(500)), Some("p199".to_owned()));
}

/// Whatever arrives in whatever order, the document says of its latest times what the ledger says.
#[test]
fn what_is_held_is_what_the_ledger_says_whatever_the_order_of_arrival() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut events = Events(Vec::new(), LATER);
        events.requested(day(0));
        let days = rng.random_range(2..200);
        for _ in 0..rng.random_range(1..120) {
            let at = day(rng.random_range(0..days));
            let key = format!("p{}", events.0.len());
            let change = match rng.random_range(0..10) {
                0 => Change::Deprovisioned,
                1 => provisioned(&key),
                _ => changed(&key),
            };
            events.slot_fact(at, change);
        }
        let (view, timeline) = (events.slot(), events.timeline());
        assert!(view.facts.len() <= KEPT_MAX, "seed {seed}: {} are kept", view.facts.len());
        let facts = timeline.facts();
        // The document answers for the time of its last 32 facts.
        let from = facts[facts.len().saturating_sub(32)].effective_at;
        for n in 0..=days {
            let at = day(n);
            if at >= from {
                let said = timeline.state_at(at).map(|held| held.plan.to_string());
                assert_eq!(held(&view, at), said, "seed {seed}, day {n}");
            }
        }
        let first_held = facts
            .iter()
            .find(|fact| fact.change != Change::Deprovisioned)
            .map(|fact| fact.effective_at);
        assert_eq!(view.since, first_held, "seed {seed}");
        // The columns that billing selects by leave nothing out.
        let index = view.index();
        for n in 0..=days {
            let micros = day(n).timestamp_micros();
            if timeline.state_at(day(n)).is_some() {
                assert!(index.since <= micros && micros < index.until, "seed {seed}, day {n}");
            }
        }
    }
}

/// Nothing is below the layer that is folded.
struct Nothing;

impl Below for Nothing {
    fn document<V: View>(&self, _: &str) -> Option<Option<Arc<V>>> {
        Some(None)
    }

    fn keys_at<V: View>(&self, _: &TenantPath, _: &mut Wants) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

#[test]
fn a_holding_counts_who_holds_whatever_the_order_of_arrival() {
    let mut rng = StdRng::seed_from_u64(11);
    let backup = ServiceKey::parse("backup").expect("a key");
    let (mut held, mut free) = (0, 0);
    for _ in 0..300 {
        let (mut events, mut views, mut wants) =
            (Events::default(), Views::default(), Wants::default());
        let slots = [1, 2, 3].map(|slot| format!("subscription-{}", Uuid::from_u128(slot)));
        for number in 0..24 {
            let stream = &slots[number % 3];
            let id = CommandId(Uuid::from_u128(1_000 + number as u128));
            let now = day(0) + Duration::minutes(number as i64);
            let at = now + Duration::minutes(rng.random_range(-12..12));
            let event = match rng.random_range(0..8) {
                _ if number < 3 => {
                    SubscriptionEvent::ProvisionRequested { request: request(5, "basic", 1) }
                }
                0..3 => SubscriptionEvent::Provisioned {
                    plan: plan("basic"),
                    quantity: 1,
                    request: id,
                    values: Values::new(),
                },
                3 => SubscriptionEvent::Changed {
                    plan: plan("plus"),
                    quantity: 2,
                    request: id,
                    values: Values::new(),
                },
                4 => {
                    let last = events.0.iter().rev().find(|event| event.stream == *stream);
                    let Some(Event::Subscription(last)) = last.map(|it| &it.event) else {
                        continue;
                    };
                    SubscriptionEvent::RequestReset { request: last.request() }
                }
                5 => {
                    let mut own = events.0.iter().filter(|event| event.stream == *stream);
                    let is_fact = |event: &&Recorded| projections::ledger::fact(event).is_some();
                    let Some(old) = own.rfind(is_fact) else { continue };
                    let Event::Subscription(said) = &old.event else { continue };
                    let fact = match said {
                        SubscriptionEvent::Superseded { fact, .. } => fact.clone(),
                        said => Box::new(said.clone()),
                    };
                    let (position, was_at) = (old.position, old.effective_at);
                    SubscriptionEvent::Superseded { fact, position, was_at }
                }
                _ => removal_requested(id),
            };
            events.record(stream, at, event.into());
            let event = events.0.last().expect("just recorded");
            views.fold(event, &Nothing, &mut wants);
            for minutes in [0, 3, 7, 30] {
                let moment = event.recorded_at + Duration::minutes(minutes);
                let mut known = views.subscriptions.iter();
                let expected = known.any(|(_, slot)| slot.held_at(moment).is_some());
                let holding = views.holdings.iter().next();
                let told = holding.is_some_and(|(_, view)| view.holds(&backup, moment));
                assert_eq!(told, expected, "{number} at {moment}: {:?}", events.0);
                *(if expected { &mut held } else { &mut free }) += 1;
            }
        }
        assert!(wants.is_empty());
        let (_, holding) = views.holdings.iter().next().expect("something was held");
        let count = holding.services.get(&backup);
        assert!(count.is_none_or(|count| count.changes.len() <= 24), "{count:?}");
    }
    assert!(held > 1_000 && free > 1_000, "{held} {free}");
}

const ANN: u128 = 7;

fn credential(id: u128, from: i64, until: i64) -> Credential {
    Credential {
        created_at: day(from),
        expires_at: day(until),
        id: TokenId(Uuid::from_u128(id)),
        name: "session".to_owned(),
        proof: Proof(format!("{id}")),
    }
}

fn person(login: &str) -> Person {
    let login = || Address::parse(login).expect("an address");
    Person::new("Ann", "Lee", login(), login())
}

fn edited(login: &str) -> UserEvent {
    UserEvent::Edited { person: Identity::in_clear(person(login)) }
}

impl Events {
    fn user(&mut self, id: u128, event: UserEvent) {
        self.record(&format!("user-{}", Uuid::from_u128(id)), day(0), event.into());
    }

    fn user_created(&mut self, id: u128, login: &str) {
        let organization = OrganizationId(Uuid::from_u128(2));
        let created = UserEvent::Created {
            id: UserId(Uuid::from_u128(id)),
            organization,
            person: Identity::in_clear(person(login)),
            roles: vec![DefaultRole::CustomerAdministrator.into()],
        };
        self.user(id, created);
    }

    fn access(&self) -> AccessView {
        self.document(&Uuid::from_u128(ANN).to_string()).expect("she was added")
    }
}

fn ids(credentials: &[Credential]) -> Vec<u128> {
    credentials.iter().map(|it| it.id.0.as_u128()).collect()
}

#[test]
fn a_session_ends_by_itself_by_signing_out_and_by_a_new_password() {
    let mut events = Events::default();
    events.user_created(ANN, "ann@example.com");
    events.user(ANN, UserEvent::SignedIn(credential(1, 1, 3)));
    events.user(ANN, UserEvent::SignedIn(credential(2, 2, 9)));
    assert_eq!(ids(&events.access().sessions), [1, 2]);
    // The first has expired by the time of the third.
    events.user(ANN, UserEvent::SignedIn(credential(3, 3, 9)));
    assert_eq!(ids(&events.access().sessions), [2, 3]);
    events.user(ANN, UserEvent::SignedOut { id: TokenId(Uuid::from_u128(2)) });
    events.user(ANN, UserEvent::SignedOut { id: TokenId(Uuid::from_u128(2)) });
    assert_eq!(ids(&events.access().sessions), [3]);
    events.user(ANN, UserEvent::TokenCreated(credential(8, 3, 99)));
    events.user(ANN, UserEvent::PasswordSet { proof: Proof("new".to_owned()) });
    let access = events.access();
    // Tokens are for programs: a new password leaves them.
    assert_eq!((access.sessions.len(), ids(&access.tokens)), (0, vec![8]));
    assert_eq!(access.password, Some(Proof("new".to_owned())));
    events.user(ANN, UserEvent::TokenDeleted { id: TokenId(Uuid::from_u128(8)) });
    assert_eq!(events.access().tokens, []);
}

#[test]
fn sessions_are_bounded_and_the_oldest_goes() {
    let mut events = Events::default();
    events.user_created(ANN, "ann@example.com");
    for id in 1..=SESSIONS_MAX as u128 + 5 {
        events.user(ANN, UserEvent::SignedIn(credential(id, 1, 99)));
    }
    let sessions = ids(&events.access().sessions);
    assert_eq!(sessions, (6..=SESSIONS_MAX as u128 + 5).collect::<Vec<_>>());
}

#[test]
fn signing_in_changes_what_a_user_signs_in_with_and_not_how_people_see_him() {
    let mut events = Events::default();
    events.user_created(ANN, "ann@example.com");
    let key = Uuid::from_u128(ANN).to_string();
    let before: UserView = events.document(&key).expect("she was added");
    events.user(ANN, UserEvent::SignedIn(credential(1, 1, 9)));
    events.user(ANN, UserEvent::TokenCreated(credential(2, 1, 9)));
    assert_eq!(events.document::<UserView>(&key), Some(before));
    events.user(ANN, UserEvent::Disabled {});
    events.user(ANN, UserEvent::RolesAssigned { roles: vec![] });
    let (view, access): (UserView, _) = (events.document(&key).unwrap(), events.access());
    assert_eq!((view.status, view.version, view.roles.len()), (Status::Disabled, 5, 0));
    assert_eq!((access.status, access.roles.len()), (Status::Disabled, 0));
    // His password is never among what people see.
    assert!(!serde_json::to_string(&view).unwrap().contains("proof"));
}

#[test]
fn who_is_erased_is_nobody_and_signs_in_with_nothing() {
    let mut events = Events::default();
    events.user_created(ANN, "ann@example.com");
    events.user(ANN, UserEvent::PasswordSet { proof: Proof("secret".to_owned()) });
    events.user(ANN, UserEvent::SignedIn(credential(1, 1, 9)));
    events.user(ANN, UserEvent::TokenCreated(credential(2, 1, 9)));
    let key = Uuid::from_u128(ANN).to_string();
    let before: UserView = events.document(&key).expect("she was added");
    events.user(ANN, UserEvent::Erased {});
    let view: UserView = events.document(&key).expect("she stays in the list");
    assert_eq!((&view.person, view.status, view.roles.len()), (&None, Status::Disabled, 0));
    assert!(view.erased_at.is_some() && before.erased_at.is_none());
    // Lists and bills find her where she was.
    assert_eq!(view.index().sort, before.index().sort);
    assert_eq!((view.index().kind, before.index().kind), ("erased".to_owned(), "clear".to_owned()));
    assert!(!serde_json::to_string(&view).unwrap().contains("ann@example.com"));
    let access = events.access();
    assert_eq!((access.password, access.status), (None, Status::Disabled));
    assert_eq!((access.tokens.len(), access.sessions.len(), access.roles.len()), (0, 0, 0));
}

#[test]
fn a_name_belongs_to_whom_took_it_last() {
    let mut events = Events::default();
    let (ann, ben) = (Uuid::from_u128(ANN), Uuid::from_u128(8));
    let login =
        |text: &str| login_key(&LoginHash::in_clear(&Address::parse(text).expect("an address")));
    let owner = |events: &Events, text: &str| {
        events.document::<NameView>(&login(text)).map(|view| view.owner)
    };
    events.user_created(ANN, "Ann@Example.com");
    assert_eq!(owner(&events, "ann@example.COM"), Some(ann));
    // She gives it up; it stays hers by this view, and her own stream says that it is free.
    events.user(ANN, edited("ann.lee@example.com"));
    assert_eq!(owner(&events, "ann@example.com"), Some(ann));
    assert_eq!(owner(&events, "ann.lee@example.com"), Some(ann));
    events.user_created(8, "ann@example.com");
    assert_eq!(owner(&events, "ann@example.com"), Some(ben));
    // Being disabled gives nothing up.
    events.user(8, UserEvent::Disabled {});
    assert_eq!(owner(&events, "ann@example.com"), Some(ben));
    // He gives it up, and she takes it back.
    events.user(8, edited("ben@example.com"));
    events.user(ANN, edited("ann@example.com"));
    assert_eq!(owner(&events, "ann@example.com"), Some(ann));
    assert_eq!(owner(&events, "ben@example.com"), Some(ben));
}

fn details(name: &str, code: &str) -> Details {
    Details {
        billing_identifier: None,
        code: Code::parse(code).expect("a code"),
        contact: Sealed::default(),
        custom_fields: CustomFields::default(),
        name: name.to_owned(),
        purpose: Purpose::Standard,
    }
}

impl Events {
    fn organization(&mut self, id: u128, event: OrganizationEvent) {
        self.record(&format!("organization-{}", Uuid::from_u128(id)), day(0), event.into());
    }

    fn founded(&mut self, id: u128, code: &str) {
        self.organization(
            id,
            OrganizationEvent::Created {
                details: details("Zoo", code),
                id: OrganizationId(Uuid::from_u128(id)),
                kind: Kind::Customer,
                number: 2,
                parent: Some(OrganizationId(Uuid::from_u128(1))),
                path: TenantPath::provider().child(2),
            },
        );
    }
}

#[test]
fn a_code_that_was_given_up_can_be_taken_over() {
    let mut events = Events::default();
    let owner = |events: &Events, code: &str| {
        let key = code_key(&Code::parse(code).expect("a code"));
        events.document::<NameView>(&key).map(|view| view.owner.as_u128())
    };
    events.founded(2, "ZOO");
    events.organization(2, OrganizationEvent::Edited { details: details("Zoo", "ARK") });
    events.founded(3, "ZOO");
    assert_eq!((owner(&events, "ZOO"), owner(&events, "ARK")), (Some(3), Some(2)));
    // Renaming the one who gave it up does not take it back.
    events.organization(2, OrganizationEvent::Edited { details: details("Ark", "ARK") });
    assert_eq!(owner(&events, "ZOO"), Some(3));
}

#[test]
fn an_organisation_counts_the_users_that_were_ever_added() {
    let mut events = Events::default();
    events.founded(2, "ZOO");
    events.user_created(7, "ann@example.com");
    events.user_created(8, "ben@example.com");
    events.user(8, UserEvent::Disabled {});
    events.organization(2, OrganizationEvent::Disabled {});
    let view: OrganizationView =
        events.document(&Uuid::from_u128(2).to_string()).expect("it was founded");
    // Users are no events of its stream: its version, and so its ETag, stays.
    assert_eq!((view.users_added, view.version, view.status), (2, 2, Status::Disabled));
}

#[test]
fn a_days_activity_counts_its_events_and_knows_where_they_are() {
    let mut events = Events::default();
    events.founded(2, "ZOO");
    events.user_created(7, "ann@example.com");
    events.user_created(8, "ben@example.com");
    let view: ActivityView = events.document("/1/2/2019-01-01").expect("something happened");
    assert_eq!((view.first, view.last), (1, 3));
    assert_eq!(view.counts.get("user"), Some(&2));
    assert_eq!(view.counts.get("organization"), Some(&1));
}
