//! Every planted bug (`domain/src/planted.rs`) is made, and caught by the quickest test that can catch it. Which suites
//! catch which bugs, `scripts/planted` tells.
//!
//! A bug is chosen by an environment variable and for a whole process. So the tests that catch them are here, and this
//! program runs them again, each with its bug.

use std::process::{Command as Program, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use atrium_tests::history::hush_asked_panics;
use atrium_tests::http::{TestApp, answer};
use atrium_tests::laws;
use atrium_tests::simulation::{self, STEPS};
use atrium_tests::world::{Place, TestDatabase, World, at_once, body, vault};
use chrono::DateTime;
use commands::{Caller, Command, Error, Idempotency, Submission, Writer, WriterSettings};
use domain::authority::{self, Authority, Begin, Known};
use domain::billing::{Change, Fact, Timeline, Values};
use domain::lifecycle::Transition;
use domain::money::Ratio;
use domain::organization::Kind;
use domain::permission::Permission;
use domain::role::{DefaultRole, Made, RoleContent, RoleRef, ServiceRole};
use domain::{Bug, OrganizationId, PlanKey, RoleId, RoleKey, ServiceKey, TenantPath};
use eventstore::{Chain, Connection, Engine, GENESIS};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

#[path = "../../domain/tests/billing_cases.rs"]
mod billing_cases;
#[path = "../../domain/tests/chain.rs"]
mod chain;
#[path = "../../domain/tests/commitments.rs"]
mod commitments;

mod planted {
    mod ledger;
}

/// Seeds that are enough to catch what a simulation can.
const SEEDS: [u64; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22, 41, 44];

/// The test in this file that catches it.
fn caught_by(bug: Bug) -> &'static str {
    match bug {
        Bug::AcknowledgeBeforeCommit
        | Bug::UnknownIsNotDone
        | Bug::IdempotencyOutside
        | Bug::KeyWithoutCaller
        | Bug::ReplayWithoutComparing
        | Bug::RefusalUsesKey
        | Bug::CacheKeepsOthers
        | Bug::FoldSkipped
        | Bug::EventsSwapped
        | Bug::TimeGoesBack
        | Bug::RebuildForgetsLast
        | Bug::ScopeForgotten
        | Bug::PageOverlaps => "some_simulations_hold",
        Bug::MonthLength | Bug::EndDateInclusive | Bug::MidnightIsYesterday => "billing_cases::",
        Bug::EarlierRecordedWins => "of_two_facts_at_one_moment_the_later_recorded_holds",
        Bug::HoldingCountsTwice => "what_was_taken_away_is_held_no_more",
        Bug::CatchUpSkipsOne => "what_another_process_wrote_last_is_known",
        Bug::DisabledGoesOn => "who_belongs_to_a_disabled_organization_is_nobody",
        Bug::NormalForFull => "whoever_writes_waits_for_the_disk",
        Bug::PanicTakesNeighbours => "a_panic_takes_nothing_of_its_neighbours",
        Bug::UnusedKeyRemembered => "that_a_key_was_not_used_is_looked_up_every_time",
        Bug::HeadNotCompared => "a_refusal_is_judged_on_what_is_there_now",
        Bug::VersionNotChecked => "an_edit_of_another_version_is_refused",
        Bug::HashSkipsField | Bug::HashForgetsPast => "every_byte_of_history_counts",
        Bug::RebuildComparesNothing => "a_row_that_is_not_as_the_log_says_is_found",
        Bug::GateForgetsNothing => "who_is_disabled_is_not_let_in_any_more",
        Bug::RoleNotGiven => "a_role_that_was_not_given_is_not_in_force",
        Bug::ServiceRoleEverywhere => "a_services_role_does_nothing_where_the_service_is_not_held",
        Bug::GrantsWhatHeLacks => "nobody_grants_what_he_lacks",
        Bug::ImpersonatorUnbounded => "whoever_acts_as_another_stays_within_his_own_bounds",
        Bug::PersonInClear | Bug::ErasedKeyStays => "nothing_is_left_of_whom_was_erased",
        Bug::ScopeByText => "a_number_that_begins_like_another_is_another",
        Bug::HalfUp | Bug::FloatMoney => "amounts_are_rounded_exactly_and_away_from_zero",
        Bug::CutoffMissesLast | Bug::LatePriceReachesBack => {
            "a_closed_period_has_what_was_known_and_is_set_right_by_its_own_prices"
        }
        Bug::AgreeingIsReversed | Bug::ReversedTwice => {
            "what_was_set_right_is_set_right_again_as_far_as_it_differs"
        }
        Bug::EdgeSkipped => "each_seller_bills_the_next_and_closes_his_books",
        Bug::SubtreesSwapped => "each_leaf_has_a_proof_that_leads_to_the_root",
        Bug::AdjustmentReversedTwice => "what_was_taken_back_is_not_taken_back_again",
        Bug::CommissionReversed => "every_edge_and_commission_is_right_to_the_cent",
        Bug::FirstRuleSaysWhy => "of_several_rules_that_fit_the_last_says_why",
        Bug::RuleEndInclusive => "a_rule_ends_before_its_last_date",
        Bug::SharesRoundedDown => "every_case_of_commitments_holds_to_the_cent",
        Bug::WaivedIsLacking => "what_a_rule_waives_counts_as_charged",
        Bug::DateIsMoment | Bug::DateAtProvider => "a_date_is_midnight_at_each_seller",
        Bug::SupersededCounts | Bug::AsOfLeavesOutMoment => {
            "what_was_true_at_another_moment_is_billed_from_that_one_on"
        }
        Bug::TaxByLine => "tax_is_on_what_lines_come_to_together",
    }
}

#[test]
fn each_planted_bug_is_caught() -> Result<()> {
    if std::env::var_os("ATRIUM_PLANTED").is_some() {
        // By somebody else, to see who catches it: not to plant others on top.
        return Ok(());
    }
    let this = std::env::current_exe()?;
    let mut caught_by_none = Vec::new();
    for bug in Bug::ALL {
        let test = caught_by(*bug);
        let mut program = Program::new(&this);
        let program = program.arg(test).env("ATRIUM_PLANTED", bug.name());
        let output = program.stdin(Stdio::null()).output().context("this program runs")?;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("running 0 tests"), "there is no test {test}");
        if output.status.success() {
            caught_by_none.push(format!("{} ({test})", bug.name()));
        }
    }
    assert!(caught_by_none.is_empty(), "not caught: {}", caught_by_none.join(", "));
    Ok(())
}

#[test]
fn some_simulations_hold() -> Result<()> {
    hush_asked_panics();
    let scenario = fail::FailScenario::setup();
    for seed in SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = simulation::run(seed, Engine::Sqlite, STEPS);
        runtime.block_on(run).with_context(|| format!("seed {seed}"))?;
    }
    scenario.teardown();
    Ok(())
}

#[tokio::test]
async fn whoever_writes_waits_for_the_disk() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let place = TestDatabase::new(engine).await?;
        let mut connection = place.open().await?.writer_connection().await?;
        let (sql, expected) = match connection {
            Connection::Sqlite(_) => {
                ("select cast(synchronous as text) from pragma_synchronous", "2")
            }
            Connection::Postgres(_) => ("show synchronous_commit", "on"),
        };
        assert_eq!(connection.fetch(sql, &[]).await?[0].text(0)?, expected, "{engine:?}");
    }
    Ok(())
}

fn system(command: Command) -> Submission {
    Submission { caller: Caller::SYSTEM, command, idempotency: None }
}

fn create(provider: &str, name: &str) -> Submission {
    let sent = json!({ "name": name, "parentId": provider });
    system(Command::CreateOrganization { kind: Kind::Customer, body: body(sent) })
}

fn rename(id: &str, name: &str, if_match: Option<u64>) -> Submission {
    let (id, kind, body) = (id.to_owned(), Kind::Customer, body(json!({ "name": name })));
    system(Command::EditOrganization { id, kind, body, if_match })
}

/// A world with a customer: the provider's id, and the customer's.
async fn world() -> Result<(World, String, String)> {
    let world = World::new(Engine::Sqlite).await?;
    let sql = "select key from view_organization where kind = 'provider'";
    let provider = world.database.fetch(sql, &[]).await?[0].text(0)?.to_owned();
    let made = submit(&world.writer, create(&provider, "Zoo")).await?;
    let customer = made["id"].as_str().context("an id")?.to_owned();
    Ok((world, provider, customer))
}

async fn submit(writer: &Writer, submission: Submission) -> Result<Value> {
    let committed = writer.submit(submission).await.map_err(|error| anyhow!("{error:?}"))?;
    Ok(serde_json::from_str(committed.reply.body.get())?)
}

async fn another_writer(world: &World) -> Result<Writer> {
    let (database, ambient) = (world.place.open().await?, world.ambient.clone());
    let settings = WriterSettings::default();
    Ok(Writer::start(database, vault(), ambient, settings, Box::new(|_| ())).await?.0)
}

#[tokio::test]
async fn a_panic_takes_nothing_of_its_neighbours() -> Result<()> {
    hush_asked_panics();
    let (world, provider, _) = world().await?;
    let burst = [
        create(&provider, "before"),
        create(&provider, "before, too"),
        system(Command::PanicForTests),
        create(&provider, "after"),
    ];
    let wishes = burst.iter().cycle().take(40).cloned();
    let done = at_once(&world.writer, wishes).await.iter().filter(|it| it.is_ok()).count();
    assert_eq!(done, 30);
    let sql = "select count(*) from view_organization where kind = 'customer'";
    assert_eq!(world.database.fetch(sql, &[]).await?[0].int(0)?, 31);
    laws::check(&world.database).await
}

#[tokio::test]
async fn that_a_key_was_not_used_is_looked_up_every_time() -> Result<()> {
    let (world, _, customer) = world().await?;
    let other = another_writer(&world).await?;
    let under_key = |name: &str| {
        let idempotency = Idempotency { key: "my key".to_owned(), request: [1; 32] };
        Submission { idempotency: Some(idempotency), ..rename(&customer, name, None) }
    };
    // Refused here, and true already there, which makes no event.
    assert!(other.submit(under_key(" ")).await.is_err());
    world.writer.submit(under_key("Zoo")).await.map_err(|error| anyhow!("{error:?}"))?;
    let again = other.submit(under_key("Zoo")).await.map_err(|error| anyhow!("{error:?}"))?;
    assert!(again.replayed);
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_judged_on_what_is_there_now() -> Result<()> {
    let (world, provider, _) = world().await?;
    let other = another_writer(&world).await?;
    let administrator = Command::CreateUser {
        organization: provider.clone(),
        body: body(json!({
            "firstName": "Ann", "lastName": "Lee", "email": "ann@example.com",
            "roles": ["Provider Administrator"],
        })),
        password: None,
    };
    let ann = submit(&world.writer, system(administrator)).await?;
    let id = ann["id"].as_str().context("an id")?.to_owned();
    let as_ann = |name: &str| {
        let caller = Caller::user(id.parse().expect("an id"));
        Submission { caller, ..create(&provider, name) }
    };
    submit(&other, as_ann("by Ann")).await?;
    let because = || body(json!({}));
    let disable = system(Command::TransitionUser {
        step: Transition::Disable,
        id: id.clone(),
        body: because(),
    });
    submit(&world.writer, disable).await?;
    assert!(matches!(other.submit(as_ann("by nobody")).await, Err(Error::Unauthenticated)));
    submit(
        &world.writer,
        system(Command::TransitionUser {
            step: Transition::Enable,
            id: id.clone(),
            body: because(),
        }),
    )
    .await?;
    submit(&other, as_ann("by Ann again")).await?;
    Ok(())
}

#[tokio::test]
async fn an_edit_of_another_version_is_refused() -> Result<()> {
    let (world, _, customer) = world().await?;
    submit(&world.writer, rename(&customer, "Ark", Some(1))).await?;
    let stale = world.writer.submit(rename(&customer, "Pen", Some(1))).await;
    assert!(matches!(stale, Err(Error::Refused(refusal)) if refusal.code == "stale_version"));
    Ok(())
}

#[tokio::test]
async fn what_was_taken_away_is_held_no_more() -> Result<()> {
    let app = TestApp::new(Engine::Sqlite, "2019-11-11T10:00:00Z").await?;
    app.publish("backup").await?;
    let customer = app.customer("Zoo", None).await?;
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    let held = app.post(&path, json!({ "service": "backup", "plan": "BU001" })).await?;
    let id = held["id"].as_str().context("an id")?;
    app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), json!({})).await?;
    app.finish().await
}

#[tokio::test]
async fn what_another_process_wrote_last_is_known() -> Result<()> {
    let (world, _, customer) = world().await?;
    let other = another_writer(&world).await?;
    submit(&other, rename(&customer, "Ark", Some(1))).await?;
    submit(&world.writer, rename(&customer, "Pen", Some(2))).await?;
    submit(&other, rename(&customer, "Zoo", Some(3))).await?;
    laws::check(&world.database).await
}

/// The tests over HTTP look at more (`tests/tests/http/privacy.rs`).
#[tokio::test]
async fn nothing_is_left_of_whom_was_erased() -> Result<()> {
    let (world, _, customer) = world().await?;
    let zoe = Command::CreateUser {
        organization: customer,
        body: body(json!({
            "firstName": "Zoe", "lastName": "Quartermain", "email": "zoe@quartermain.test",
        })),
        password: None,
    };
    let zoe = submit(&world.writer, system(zoe)).await?;
    let id = zoe["id"].as_str().context("an id")?.to_owned();
    let keys = "select count(*) from person_key where subject_id = $1";
    let keys = async || world.database.fetch(keys, &[id.as_str().into()]).await?[0].int(0);
    assert_eq!(keys().await?, 1);
    let erase = Command::EraseUser { id: id.clone(), body: body(json!({})) };
    submit(&world.writer, system(erase)).await?;
    assert_eq!(keys().await?, 0);
    let Place::Folder(folder) = &world.place.place else { unreachable!("it is a SQLite file") };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?.to_ascii_lowercase();
        let is_there = bytes.windows(11).any(|part| part == b"quartermain");
        assert!(!is_there, "she stands in clear in {}", path.display());
    }
    laws::check(&world.database).await
}

#[tokio::test]
async fn who_belongs_to_a_disabled_organization_is_nobody() -> Result<()> {
    let (world, provider, _) = world().await?;
    let sent = json!({ "name": "East", "parentId": provider });
    let kind = Kind::Reseller;
    let found = system(Command::CreateOrganization { kind, body: body(sent) });
    let east = submit(&world.writer, found).await?;
    let id = east["id"].as_str().context("an id")?.to_owned();
    let ann = Command::CreateUser {
        organization: id.clone(),
        body: body(json!({
            "firstName": "Ann", "lastName": "Lee", "email": "ann@example.com",
            "roles": ["Reseller Administrator"],
        })),
        password: None,
    };
    let ann = submit(&world.writer, system(ann)).await?;
    let ann = ann["id"].as_str().context("an id")?.parse()?;
    let by_ann = || Submission { caller: Caller::user(ann), ..create(&id, "by Ann") };
    submit(&world.writer, by_ann()).await?;
    let disable = Command::TransitionOrganization {
        step: Transition::Disable,
        id: id.clone(),
        kind,
        body: body(json!({})),
    };
    submit(&world.writer, system(disable)).await?;
    let answer = world.writer.submit(by_ann()).await;
    assert!(matches!(answer, Err(Error::Unauthenticated)), "{answer:?}");
    Ok(())
}

#[test]
fn of_two_facts_at_one_moment_the_later_recorded_holds() {
    let moment = DateTime::UNIX_EPOCH;
    let plan = |key| PlanKey::parse(key).expect("a key");
    let fact = |position, change| {
        let actor = "Ann".to_owned();
        Fact {
            date: None,
            actor,
            change,
            effective_at: moment,
            position,
            reason: None,
            request: None,
            values: Values::new(),
        }
    };
    let facts = [
        fact(1, Change::Provisioned { plan: plan("basic"), quantity: 1 }),
        fact(2, Change::Changed { plan: plan("plus"), quantity: 2 }),
    ];
    let [first, second] = facts.clone();
    for timeline in [Timeline::new(facts), Timeline::new([second, first])] {
        let held = timeline.state_at(moment).expect("it is held");
        assert_eq!((held.plan.as_str(), held.quantity), ("plus", 2));
    }
}

#[test]
fn every_byte_of_history_counts() {
    let body =
        b"{\"actor\":\"user:1\",\"kind\":\"organization.created\",\"payload\":{\"name\":\"Zoo\"}}";
    let hash = |bodies: &[&[u8]]| {
        let mut chain = Chain(GENESIS);
        bodies.iter().for_each(|body| {
            chain.extend(body);
        });
        chain.0
    };
    let honest = hash(&[body, b"last"]);
    for at in 0..body.len() {
        let mut forged = body.to_vec();
        forged[at] ^= 1;
        assert_ne!(hash(&[&forged, b"last"]), honest, "byte {at}");
    }
    assert_ne!(hash(&[b"last"]), honest);
    assert_ne!(hash(&[b"last", body]), honest);
}

#[tokio::test]
async fn a_row_that_is_not_as_the_log_says_is_found() -> Result<()> {
    let (world, _, customer) = world().await?;
    let mut connection = world.database.writer_connection().await?;
    let forge = "update view_organization set sort = 'forged' where key = $1";
    connection.execute(forge, &[customer.as_str().into()]).await?;
    connection.close().await;
    let rebuilt = projections::rebuild(&world.database, |_| ()).await?;
    let keys: Vec<_> = rebuilt.differences.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, [customer.as_str()]);
    laws::check(&world.database).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_is_not_let_in_any_more() -> Result<()> {
    let app = TestApp::new(Engine::Sqlite, "2019-11-01T00:00:00Z").await?;
    let ask = || answer(app.request(&app.token, Method::GET, "/api/Billing/parameters"));
    ask().await?.expect(200)?;
    // By somebody else: nobody can disable himself.
    let (writer, thread) = Writer::start(
        app.database.clone(),
        vault(),
        app.ambient.clone(),
        WriterSettings::default(),
        Box::new(|_| ()),
    )
    .await?;
    let disable = Command::TransitionUser {
        step: Transition::Disable,
        id: app.administrator.clone(),
        body: body(json!({})),
    };
    submit(&writer, system(disable)).await?;
    drop(writer);
    tokio::task::spawn_blocking(move || thread.join()).await?.map_err(|_| anyhow!("a panic"))?;
    // Felt within a second.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    loop {
        let status = ask().await?.status.as_u16();
        if status == 401 {
            return Ok(());
        }
        assert!(tokio::time::Instant::now() < deadline, "he is still let in: {status}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

const ROLE: RoleId = RoleId(Uuid::from_u128(7));

fn help() -> (ServiceKey, RoleKey) {
    (ServiceKey::parse("help").expect("a key"), RoleKey::parse("agent").expect("a key"))
}

/// What somebody of a reseller may do with a role; the reseller was given these, which the provider made.
fn of_reseller(role: RoleRef, given: &[RoleId]) -> Authority {
    let place = |id, kind, given: &[RoleId]| authority::Place {
        id: OrganizationId(Uuid::from_u128(id)),
        kind,
        given: given.iter().copied().collect(),
    };
    let lineage = vec![place(1, Kind::Provider, &[]), place(2, Kind::Reseller, given)];
    let mut known = Known::new(TenantPath::provider().child(2), lineage);
    let permissions = [Permission::ViewBilling.into()].into();
    let content = RoleContent { permissions, ..RoleContent::default() };
    let organization = OrganizationId(Uuid::from_u128(1));
    known.add_role(ROLE, Some(Arc::new(Made { organization, content })));
    let (service, key) = help();
    let permissions = [Permission::ViewUsers.into()].into();
    let includes = [].into();
    let brought = ServiceRole { includes, key, name: "Agent".to_owned(), permissions };
    known.add_service(service, &[brought], &[]);
    known.authority(&[role], Begin::Given).expect("everything is known")
}

#[test]
fn a_role_that_was_not_given_is_not_in_force() {
    assert!(of_reseller(RoleRef::Custom(ROLE), &[ROLE]).holds(Permission::ViewBilling));
    assert!(!of_reseller(RoleRef::Custom(ROLE), &[]).holds(Permission::ViewBilling));
}

#[test]
fn a_services_role_does_nothing_where_the_service_is_not_held() {
    let (service, key) = help();
    let agent = of_reseller(RoleRef::OfService(service.clone(), key), &[]);
    assert!(agent.may(&Permission::ViewUsers.into(), |held| *held == service));
    assert!(!agent.may(&Permission::ViewUsers.into(), |_| false));
}

#[test]
fn nobody_grants_what_he_lacks() {
    let viewer = of_reseller(RoleRef::Custom(ROLE), &[ROLE]);
    let administrator = of_reseller(DefaultRole::ResellerAdministrator.into(), &[]);
    assert_eq!(administrator.lacks_of(&viewer), None);
    assert!(viewer.lacks_of(&administrator).is_some());
}

#[test]
fn whoever_acts_as_another_stays_within_his_own_bounds() {
    let viewer = of_reseller(RoleRef::Custom(ROLE), &[ROLE]);
    let administrator = of_reseller(DefaultRole::ResellerAdministrator.into(), &[]);
    let acting = administrator.exercised_by(viewer);
    assert!(acting.holds(Permission::ViewBilling) && !acting.holds(Permission::ManageUsers));
}

#[test]
fn a_number_that_begins_like_another_is_another() {
    let (three, thirty) = (TenantPath::provider().child(3), TenantPath::provider().child(30));
    assert!(!three.contains(&thirty));
    assert!(!(three.as_str()..&three.end()).contains(&thirty.as_str()));
}

#[test]
fn amounts_are_rounded_exactly_and_away_from_zero() {
    let rounded = |numerator, denominator| {
        Ratio::new(numerator, denominator).and_then(Ratio::round_half_away)
    };
    assert_eq!(rounded(5, 2), Some(3));
    assert_eq!(rounded(-5, 2), Some(-3));
    assert_eq!(rounded(-1, 2), Some(-1));
    // Beyond 53 bits a float has no halves, and not every whole number.
    assert_eq!(rounded(9_007_199_254_740_993, 1), Some(9_007_199_254_740_993));
    assert_eq!(rounded(4_503_599_627_370_497 * 3, 3), Some(4_503_599_627_370_497));
    assert_eq!(rounded(999_999_999_999_999_999, 100), Some(10_000_000_000_000_000));
}
