//! What people are told that they may do is what they can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use atrium_tests::history::{History, hush_asked_panics};
use atrium_tests::world::{TestAmbient, body, vault};
use chrono::{DateTime, Utc};
use commands::resource::PossibleAction;
use commands::{Caller, Command, Error, MemoryWriter, Submission};
use domain::event::Recorded;
use domain::subscription::{Act, Verb};
use domain::{Reason, TenantPath};
use projections::views::{Holder, OrganizationView, SubscriptionView, UserView};
use projections::{Below, View, Views, Wants};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;

const SEEDS: std::ops::Range<u64> = 0..12;
/// How far they go: to where requests are being worked on, to where some have failed, or on.
const STEPS: [usize; 3] = [30, 13, 14];
/// Things that are tried at the end of each history.
const TRIED: usize = 120;

struct Nothing;

impl Below for Nothing {
    fn document<V: View>(&self, _: &str) -> Option<Option<Arc<V>>> {
        Some(None)
    }

    fn keys_at<V: View>(&self, _: &TenantPath, _: &mut Wants) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

fn views(events: &[Recorded]) -> Views {
    let mut views = Views::default();
    events.iter().for_each(|event| views.fold(event, &Nothing, &mut Wants::default()));
    views
}

/// Why its holder cannot hold anything now.
fn unfit(views: &Views, slot: &SubscriptionView) -> Option<commands::resource::WhyNot> {
    let mut above = Vec::new();
    let mut next = Some(slot.customer);
    while let Some(view) =
        next.and_then(|id| OrganizationView::of(views).get(&id.to_string()).cloned().flatten())
    {
        next = view.parent;
        above.push(view);
    }
    let user = match slot.holder {
        Holder::User(id) => UserView::of(views).get(&id.to_string()).cloned().flatten(),
        Holder::Customer(_) => None,
    };
    api::actions::unfit(&above, user.as_deref())
}

/// A command that asks for it, with settings that nothing has.
fn command(slot: &SubscriptionView, act: Act, quantity: usize) -> Command {
    let id = slot.id.to_string();
    match act {
        Act::Ask(Verb::Provision) => {
            let mut sent = json!({
                "service": slot.service, "plan": "basic", "quantity": quantity, "instance": slot.instance,
            });
            if slot.service.as_str() == "desktop" && matches!(slot.holder, Holder::Customer(_)) {
                sent["plan"] = "base".into();
            }
            match slot.holder {
                Holder::Customer(id) => {
                    Command::ProvisionToCustomer { customer: id.to_string(), body: body(sent) }
                }
                Holder::User(id) => {
                    Command::ProvisionToUser { user: id.to_string(), body: body(sent) }
                }
            }
        }
        Act::Ask(Verb::Change) => {
            Command::ChangeSubscription { id, body: body(json!({ "quantity": quantity })) }
        }
        Act::Ask(Verb::Suspend) => Command::Suspend { id, body: body(json!({})) },
        Act::Ask(Verb::Resume) => Command::Resume { id, body: body(json!({})) },
        Act::Ask(Verb::Deprovision) => Command::Deprovision { id, body: body(json!({})) },
        Act::Retry => Command::RetryRequest { id, body: body(json!({})) },
        Act::Cancel => Command::CancelRequest { id, body: body(json!({})) },
        Act::Reset => Command::ResetRequest { id, body: body(json!({})) },
    }
}

#[test]
fn on_random_histories_what_is_said_to_be_possible_is_what_commands_do() {
    hush_asked_panics();
    // How often each came: possible or not, and done or not.
    let mut came = BTreeMap::<(&str, bool), usize>::new();
    for seed in SEEDS {
        let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
        let mut writer = MemoryWriter::new(vault(), ambient.clone());
        let mut history = History::new(seed);
        let mut now: DateTime<Utc> = "2019-01-01T00:00:00Z".parse().expect("a time");
        for _ in 0..STEPS[usize::try_from(seed).expect("a small number") % STEPS.len()] {
            let step = history.step();
            now = now.max(step.now);
            ambient.set(&step.now.to_rfc3339());
            let answers: Vec<_> = step.submissions.iter().map(|it| writer.submit(it)).collect();
            history.learn(&step, &answers);
        }
        ambient.set(&now.to_rfc3339());
        let mut rng = StdRng::seed_from_u64(seed);
        for tried in 0..TRIED {
            let known = views(writer.events());
            let mut slots: Vec<_> = SubscriptionView::of(&known).iter().collect();
            slots.sort_by_key(|(key, _)| key.to_string());
            let Some((_, slot)) = slots.choose(&mut rng) else { break };
            let act = *Act::ALL.choose(&mut rng).expect("there are some");
            let last = writer.events().last().map_or(now, |event| event.recorded_at);
            let standing = slot.standing_at(now.max(last));
            let told = PossibleAction::new(&standing, act, unfit(&known, slot).as_ref());
            let command = command(slot, act, 100 + tried);
            let submission = Submission { caller: Caller::SYSTEM, command, idempotency: None };
            let before = writer.events().len();
            let answer = writer.submit(&submission);
            let is_done = writer.events().len() > before;
            let context = format!("seed {seed}: {} {}: {told:?}, {answer:?}", act.name(), slot.id);
            *came.entry((act.name(), told.possible)).or_default() += 1;
            match answer {
                Ok(_) => assert_eq!(told.possible, is_done, "{context}"),
                // Settings, offers and others decide, too, once it is possible at all; and what is wrong with a
                // body is told before what is wrong with the state.
                Err(Error::Refused(refusal)) if refusal.reason == Reason::Invalid => {
                    assert!(matches!(act, Act::Ask(Verb::Provision | Verb::Change)), "{context}");
                }
                Err(Error::Refused(refusal)) => {
                    let others = ["customer_lacks", "too_many_instances", "work_in_progress"];
                    let codes = told.reasons.iter().map(|why| why.code.as_str());
                    let mut known = codes.chain(others);
                    assert!(known.any(|code| code == refusal.code), "{context}");
                }
                Err(error) => panic!("{context}: {error:?}"),
            }
        }
    }
    for act in Act::ALL {
        for possible in [false, true] {
            assert!(
                came.contains_key(&(act.name(), possible)),
                "{} {possible}: {came:?}",
                act.name()
            );
        }
    }
}
