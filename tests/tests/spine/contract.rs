//! The same random history gives the same log, the same answers and the same views, whether it is
//! carried out in memory, on SQLite or on PostgreSQL, one by one or in batches, by a writer that
//! remembers or by one that has just been started.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use atrium_tests::history::{History, Step, hush_asked_panics};
use atrium_tests::laws;
use atrium_tests::world::{TestAmbient, TestDatabase, vault};
use commands::{Committed, Error, MemoryWriter, Writer, WriterSettings};
use domain::event::{Event, KINDS, Recorded};
use domain::organization::OrganizationEvent;
use domain::seal::{Identity, PersonKey, Sealed};
use domain::subscription::SubscriptionEvent;
use domain::user::UserEvent;
use domain::{SubjectId, TenantPath};
use eventstore::{Chain, Database, Engine, Log};
use projections::views::{
    AccessView, ActivityView, AdjustmentView, ApprovalPolicyView, ApprovalView, AskedView,
    BackdatedView, BooksView, CalendarView, CommitmentView, FormerView, HoldingView, NameView,
    NumberView, OfferView, OrganizationView, OverrideView, PermissionView, PriceView, RateView,
    RequestView, RetentionView, RoleView, RulebookView, ServiceView, SubscriptionView, TABLES,
    UsageView, UserView,
};
use projections::{Below, View, Views, Wants};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::setting::at_once;

/// Steps of a history.
const STEPS: usize = 36;
/// Histories where `ATRIUM_SEEDS` does not say how many.
const SEEDS: u64 = 3;

fn seeds() -> impl Iterator<Item = u64> {
    let wished = std::env::var("ATRIUM_SEEDS").ok().and_then(|text| text.parse().ok());
    1..=wished.unwrap_or(SEEDS)
}

/// What came of a history.
#[derive(Debug, PartialEq)]
struct Trace {
    /// Each answer, in the order of the questions.
    answers: Vec<String>,
    /// Each event's bytes.
    log: Vec<String>,
    /// The same with the persons in it opened; those who were erased stand as they are sealed.
    opened: Vec<String>,
    /// The hash of the last event.
    hash: eventstore::Hash,
}

/// The keys that persons are sealed under.
type PersonKeys = HashMap<SubjectId, PersonKey>;

fn open_keys(sealed: impl IntoIterator<Item = (SubjectId, Vec<u8>)>) -> PersonKeys {
    let opened = sealed.into_iter().map(|(subject, sealed)| {
        let key = vault().open_key(subject, &sealed).expect("this vault has sealed it");
        (subject, key)
    });
    opened.collect()
}

/// A person in clear.
fn opened<T: Clone + DeserializeOwned>(
    whose: impl Into<SubjectId>,
    sealed: &Sealed<T>,
    keys: &PersonKeys,
) -> Sealed<T> {
    let subject = whose.into();
    match keys.get(&subject) {
        None => Sealed::Text("erased".to_owned()),
        Some(key) => {
            let person = key.unseal(subject, sealed).expect("it was sealed under this key");
            Sealed::Clear(Box::new(person))
        }
    }
}

/// An event with its person in clear; what is sealed depends on ids, which differ from one way to another. Of
/// those who were erased nobody can say more than that something is sealed.
fn with_person_opened(event: &Recorded, keys: &PersonKeys) -> Recorded {
    let mut in_clear = event.clone();
    if let Some((organization, sealed)) = event.contact() {
        let Event::Organization(
            OrganizationEvent::Created { details, .. } | OrganizationEvent::Edited { details },
        ) = &mut in_clear.event
        else {
            panic!("there is no contact in {event:?}");
        };
        details.contact = opened(organization, sealed, keys);
    }
    let Some((user, sealed)) = event.person() else { return in_clear };
    let sealed = opened(user, sealed, keys);
    match &mut in_clear.event {
        Event::User(UserEvent::Created { person, .. } | UserEvent::Edited { person }) => {
            *person = Identity { sealed, ..person.clone() };
        }
        Event::Subscription(
            SubscriptionEvent::ProvisionRequested { request }
            | SubscriptionEvent::ChangeRequested { request },
        ) => request.user.as_mut().expect("it has a person").person = sealed,
        other => panic!("there is nobody in {other:?}"),
    }
    in_clear
}

/// Takes what is sealed out of an answer: it is compared where it stands in the log.
fn without_sealed(answer: &str) -> String {
    ["\"sealed\":\"", "\"sealedContact\":\""].iter().fold(answer.to_owned(), |answer, field| {
        let mut parts = answer.split(field);
        let mut written = parts.next().unwrap_or_default().to_owned();
        written.extend(parts.filter_map(|part| part.split_once('"')).map(|(_, after)| after));
        written
    })
}

fn write_answer(answer: &Result<Committed, Error>) -> String {
    match answer {
        Ok(Committed { reply, replayed }) => {
            let outcome = (reply.outcome, &reply.location, reply.version, replayed);
            format!("{outcome:?} {}", reply.body)
        }
        Err(error) => format!("{error:?}"),
    }
}

fn written(event: &Recorded) -> String {
    String::from_utf8(event.to_stored().body).expect("stored events are text")
}

/// Carries a history out in memory.
fn in_memory(seed: u64) -> (Trace, Vec<Recorded>, Vec<Result<Committed, Error>>) {
    let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
    let mut writer = MemoryWriter::new(vault(), ambient.clone());
    let mut history = History::new(seed);
    let mut all = Vec::new();
    for _ in 0..STEPS {
        let step = history.step();
        ambient.set(&step.now.to_rfc3339());
        let answers: Vec<_> = step.submissions.iter().map(|it| writer.submit(it)).collect();
        history.learn(&step, &answers);
        all.extend(answers);
    }
    let events = writer.events().to_vec();
    let mut chain = Chain(eventstore::GENESIS);
    for event in &events {
        chain.extend(&event.to_stored().body);
    }
    let sealed = writer.person_keys().map(|(user, sealed)| (user, sealed.to_vec()));
    let keys = open_keys(sealed);
    let trace = Trace {
        answers: all.iter().map(write_answer).collect(),
        log: events.iter().map(written).collect(),
        opened: events.iter().map(|event| written(&with_person_opened(event, &keys))).collect(),
        hash: chain.0,
    };
    (trace, events, all)
}

/// How a history is carried out on a database.
#[derive(Clone, Copy, Debug)]
struct Way {
    engine: Engine,
    /// Commands that are committed together, at most.
    batch: usize,
    /// Whether the writer is started again before each step, and so remembers nothing.
    forgetful: bool,
}

async fn on_a_database(seed: u64, way: Way) -> Result<Trace> {
    let place = TestDatabase::new(way.engine).await?;
    let database = place.open().await?;
    let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
    let start = || {
        let settings = WriterSettings { batch_commands: way.batch, ..WriterSettings::default() };
        Writer::start(database.clone(), vault(), ambient.clone(), settings, Box::new(|_| ()))
    };
    let (mut writer, mut thread) = start().await?;
    let mut history = History::new(seed);
    let mut written = Vec::new();
    for _ in 0..STEPS {
        let step = history.step();
        ambient.set(&step.now.to_rfc3339());
        if way.forgetful {
            drop(writer);
            thread.join().expect("the writer ends");
            (writer, thread) = start().await?;
        }
        let answers = ask(&writer, &step).await;
        history.learn(&step, &answers);
        written.extend(answers.iter().map(write_answer));
    }
    let log = Log::new(database.clone());
    let stored = log.read(0, u64::MAX, eventstore::READ_MAX).await?;
    let events = stored.iter().map(eventstore::Stored::decode).collect::<Result<Vec<_>, _>>()?;
    views_are_folded_from(&database, &events).await?;
    laws::check(&database).await?;
    let rows = database.fetch("select subject_id, sealed from person_key", &[]).await?;
    let sealed = rows.iter().map(|row| Ok((row.text(0)?.parse()?, row.bytes(1)?.to_vec())));
    let keys = open_keys(sealed.collect::<Result<Vec<_>>>()?);
    let opened = events.iter().map(|event| self::written(&with_person_opened(event, &keys)));
    let (opened, hash) = (opened.collect(), log.head().await?.hash);
    let log = stored.into_iter().map(|it| String::from_utf8(it.body)).collect::<Result<_, _>>()?;
    Ok(Trace { answers: written, log, opened, hash })
}

async fn ask(writer: &Writer, step: &Step) -> Vec<Result<Committed, Error>> {
    at_once(writer, step.submissions.iter().cloned()).await
}

/// A row of a view, with all that is filtered and sorted on.
type Line = (String, [String; 4], [i64; 2], String);

/// Folds a view from the log, one event after the other and one document at a time.
fn fold<V: View>(events: &[Recorded]) -> BTreeSet<Line> {
    let mut documents = BTreeMap::<String, V>::new();
    for event in events {
        if let Event::Organization(OrganizationEvent::Moved { from, path, .. }) = &event.event
            && V::MOVES
        {
            for document in documents.values_mut() {
                let place = TenantPath::parse(&document.index().path);
                if let Some(place) = place.and_then(|place| place.relocated(from, path)) {
                    document.relocate(&place);
                }
            }
        }
        for touch in V::touched(event) {
            let before = documents.remove(&touch.key);
            assert!(!(touch.fresh && before.is_some()), "{} is there already", touch.key);
            documents.extend(V::evolve(before, event).map(|after| (touch.key, after)));
        }
    }
    documents.iter().map(|(key, document)| line(key, document)).collect()
}

fn line<V: View>(key: &str, document: &V) -> Line {
    let index = document.index();
    let text = serde_json::to_string(document).expect("views have a JSON form");
    let columns = [index.path, index.owner, index.kind, index.sort];
    (key.to_owned(), columns, [index.since, index.until], text)
}

/// The same of the one view whose fold looks at another's document: all are folded together.
fn holdings(events: &[Recorded]) -> BTreeSet<Line> {
    let mut views = Views::default();
    for event in events {
        views.fold(event, &Nothing, &mut Wants::default());
    }
    views.holdings.iter().map(|(key, document)| line(key, document.as_ref())).collect()
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

/// Every table that queries read has exactly the rows that its pure fold gives.
async fn views_are_folded_from(database: &Database, events: &[Recorded]) -> Result<()> {
    let folds: [(&str, BTreeSet<Line>); 28] = [
        (AccessView::TABLE, fold::<AccessView>(events)),
        (ActivityView::TABLE, fold::<ActivityView>(events)),
        (AdjustmentView::TABLE, fold::<AdjustmentView>(events)),
        (ApprovalPolicyView::TABLE, fold::<ApprovalPolicyView>(events)),
        (ApprovalView::TABLE, fold::<ApprovalView>(events)),
        (AskedView::TABLE, fold::<AskedView>(events)),
        (BackdatedView::TABLE, fold::<BackdatedView>(events)),
        (BooksView::TABLE, fold::<BooksView>(events)),
        (CalendarView::TABLE, fold::<CalendarView>(events)),
        (CommitmentView::TABLE, fold::<CommitmentView>(events)),
        (FormerView::TABLE, fold::<FormerView>(events)),
        (HoldingView::TABLE, holdings(events)),
        (NameView::TABLE, fold::<NameView>(events)),
        (NumberView::TABLE, fold::<NumberView>(events)),
        (OfferView::TABLE, fold::<OfferView>(events)),
        (OrganizationView::TABLE, fold::<OrganizationView>(events)),
        (OverrideView::TABLE, fold::<OverrideView>(events)),
        (PermissionView::TABLE, fold::<PermissionView>(events)),
        (PriceView::TABLE, fold::<PriceView>(events)),
        (RateView::TABLE, fold::<RateView>(events)),
        (RequestView::TABLE, fold::<RequestView>(events)),
        (RetentionView::TABLE, fold::<RetentionView>(events)),
        (RoleView::TABLE, fold::<RoleView>(events)),
        (RulebookView::TABLE, fold::<RulebookView>(events)),
        (ServiceView::TABLE, fold::<ServiceView>(events)),
        (SubscriptionView::TABLE, fold::<SubscriptionView>(events)),
        (UsageView::TABLE, fold::<UsageView>(events)),
        (UserView::TABLE, fold::<UserView>(events)),
    ];
    assert_eq!(folds.len(), TABLES.len(), "a view is missing from this test");
    for (table, expected) in folds {
        let sql =
            format!("select key, path, owner, kind, sort, since, until, document from {table}");
        let mut there = BTreeSet::new();
        for row in database.fetch(&sql, &[]).await? {
            let text = |column| row.text(column).map(str::to_owned);
            let document = String::from_utf8(row.bytes(7)?.to_vec())?;
            there.insert((
                text(0)?,
                [text(1)?, text(2)?, text(3)?, text(4)?],
                [row.int(5)?, row.int(6)?],
                document,
            ));
        }
        let missing: Vec<_> = expected.difference(&there).collect();
        let surplus: Vec<_> = there.difference(&expected).collect();
        ensure!(
            missing.is_empty() && surplus.is_empty(),
            "{table} has not {missing:?}, but {surplus:?}"
        );
    }
    Ok(())
}

/// Ids are made anew whenever a batch is decided again, so they differ from one way to another.
/// This gives each the name of its first appearance in the log.
#[derive(Default)]
struct Ids(HashMap<Uuid, usize>);

impl Ids {
    fn rename(&mut self, text: &str, is_log: bool) -> String {
        const LENGTH: usize = 36;
        let mut renamed = String::new();
        let mut rest = text;
        while let Some(dash) = rest.find('-') {
            let begin = dash.checked_sub(8).filter(|begin| rest.is_char_boundary(*begin));
            let found = begin.and_then(|begin| {
                let id = rest.get(begin..begin + LENGTH)?;
                Uuid::try_parse(id).ok().map(|id| (begin, id))
            });
            let Some((begin, id)) = found else {
                renamed.push_str(&rest[..=dash]);
                rest = &rest[dash + 1..];
                continue;
            };
            renamed.push_str(&rest[..begin]);
            let next = self.0.len();
            match self.0.get(&id) {
                Some(name) => renamed.push_str(&format!("<{name}>")),
                None if is_log => {
                    self.0.insert(id, next);
                    renamed.push_str(&format!("<{next}>"));
                }
                None => renamed.push_str(&id.to_string()),
            }
            rest = &rest[begin + LENGTH..];
        }
        renamed + rest
    }
}

/// The same trace, with names for ids, and without what depends on them: the hash, and what is sealed.
fn renamed(trace: &Trace) -> Trace {
    let mut ids = Ids::default();
    let opened: Vec<_> = trace.opened.iter().map(|body| ids.rename(body, true)).collect();
    let answers = trace.answers.iter().map(|answer| without_sealed(answer));
    let answers = answers.map(|answer| ids.rename(&answer, false)).collect();
    Trace { answers, log: Vec::new(), opened, hash: eventstore::GENESIS }
}

fn assert_same(seed: u64, way: &str, ours: &Trace, theirs: &Trace) {
    for (number, (ours, theirs)) in ours.answers.iter().zip(&theirs.answers).enumerate() {
        assert_eq!(ours, theirs, "seed {seed}, {way}: answer {number} differs");
    }
    let lines = |trace: &Trace| [trace.opened.clone(), trace.log.clone()].concat();
    for (number, (ours, theirs)) in lines(ours).iter().zip(&lines(theirs)).enumerate() {
        assert_eq!(ours, theirs, "seed {seed}, {way}: position {} differs", number + 1);
    }
    assert_eq!(ours, theirs, "seed {seed}, {way}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_gives_the_same_log_answers_and_views_whatever_carries_it_out() -> Result<()> {
    hush_asked_panics();
    for seed in seeds() {
        let model = renamed(&in_memory(seed).0);
        let mut one_by_one = Vec::new();
        for engine in super::setting::BOTH {
            for way in [
                Way { engine, batch: 1, forgetful: false },
                Way { engine, batch: 512, forgetful: false },
                Way { engine, batch: 3, forgetful: true },
            ] {
                let told = format!("{way:?}");
                let trace = on_a_database(seed, way)
                    .await
                    .with_context(|| format!("seed {seed}, {told}"))?;
                assert_same(seed, &told, &model, &renamed(&trace));
                if way.batch == 1 {
                    one_by_one.push(trace);
                }
            }
        }
        // One by one, both databases make the same ids: then every byte and hash is the same.
        assert_same(seed, "byte by byte", &one_by_one[0], &one_by_one[1]);
    }
    Ok(())
}

/// A history that only ever is refused proves nothing.
#[test]
fn the_histories_have_facts_of_every_kind_and_refusals_of_many() {
    hush_asked_panics();
    let mut kinds = BTreeSet::new();
    let mut refusals = BTreeSet::new();
    let (mut granted, mut asked, mut replayed) = (0, 0, 0);
    // The in-memory writer is quick: more of them than are run on databases, and as many as what is rare takes.
    // A period is closed by rating what a database has (`spine/closing.rs`), and what is superseded is looked up in its log
    // (`http/late.rs`).
    let elsewhere = |kind: &str| kind.starts_with("books.") || kind == "subscription.superseded";
    let drawn = || KINDS.iter().filter(|kind| !elsewhere(kind));
    for seed in 1..=60 * SEEDS {
        if seed > 12 * SEEDS && drawn().all(|kind| kinds.contains(*kind)) {
            break;
        }
        let (_, events, answers) = in_memory(seed);
        kinds.extend(events.iter().map(|event| event.to_stored().kind));
        asked += answers.len();
        for answer in answers {
            match answer {
                Ok(committed) => {
                    granted += 1;
                    replayed += usize::from(committed.replayed);
                }
                Err(Error::Refused(refusal)) => {
                    refusals.insert(refusal.code.to_owned());
                    refusals.extend(refusal.faults.iter().map(|fault| fault.code.to_owned()));
                }
                Err(error) => {
                    refusals.insert(error.to_string());
                }
            }
        }
    }
    let missing: Vec<_> = drawn().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "no history has {missing:?}");
    for error in [Error::Unauthenticated, Error::KeyReused, Error::Panicked] {
        assert!(refusals.contains(&error.to_string()), "nobody was told: {error}");
    }
    for code in [
        "already_provisioned",
        "forbidden",
        "malformed",
        "name_taken",
        "not_a_customer",
        "not_found",
        "not_provisioned",
        "organization_disabled",
        "provider_stays",
        "stale_version",
        "user_disabled",
    ] {
        assert!(refusals.contains(code), "nothing was refused with {code}, only: {refusals:?}");
    }
    assert!(replayed > 3, "{replayed} answers were given again");
    assert!(granted * 5 > asked, "only {granted} of {asked} were granted");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    hush_asked_panics();
    assert_eq!(in_memory(7).0, in_memory(7).0);
}

#[test]
fn recorded_times_never_go_back_though_the_clock_does() {
    let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
    let mut writer = MemoryWriter::new(vault(), ambient.clone());
    let mut history = History::new(1);
    for day in ["2019-01-05", "2019-01-03", "2019-01-04"] {
        ambient.set(&format!("{day}T00:00:00Z"));
        let step = history.step();
        let answers: Vec<_> = step.submissions.iter().map(|it| writer.submit(it)).collect();
        history.learn(&step, &answers);
    }
    let days: BTreeSet<_> = writer.events().iter().map(|it| it.recorded_at.date_naive()).collect();
    assert_eq!(days.len(), 1);
}
