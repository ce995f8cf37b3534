//! What the decider decides.

use std::slice::from_ref;

use uuid::Uuid;

use super::*;
use crate::billing::{Overridden, Setting};
use crate::decider::testing::{given, november};
use crate::effective::{Input, OverrideAt, resolve};
use crate::overrides::{Overriding, Source};
use crate::property::{Kind, Property, Scope};
use crate::service::Level;
use crate::service::tests::backup;
use crate::text::Code;
use crate::{OrganizationId, PropertyKey, ServiceKey, SubscriptionId};

const NAMES: CommandId = CommandId(Uuid::from_u128(9));

fn request(plan: &str, quantity: u32) -> Request {
    let service = ServiceKey::parse("mailbox").unwrap();
    let customer = OrganizationId(Uuid::from_u128(30));
    Request {
        customer: RequestCustomer {
            code: Code::parse("AAN").unwrap(),
            id: customer,
            name: "Aanimals Inc".to_owned(),
            number: 30,
        },
        dated: false,
        id: NAMES,
        instance: None,
        parent: None,
        plan: RequestPlan {
            key: PlanKey::parse(plan).unwrap(),
            name: plan.to_owned(),
            properties: vec![],
            sku: plan.to_owned(),
        },
        properties: vec![],
        quantity,
        shadowed: vec![],
        subscription: SubscriptionId::of_slot(customer.0, &service, None),
        service: RequestService {
            key: service,
            level: Level::Customer,
            name: "Mailbox".to_owned(),
            process: Process::Immediate,
            version: 1,
        },
        user: None,
        waits_for: None,
    }
}

fn provisioned(plan: &str, quantity: u32) -> SubscriptionEvent {
    SubscriptionEvent::Provisioned {
        plan: PlanKey::parse(plan).unwrap(),
        quantity,
        request: NAMES,
        values: Values::new(),
    }
}

fn changed(plan: &str, quantity: u32) -> SubscriptionEvent {
    SubscriptionEvent::Changed {
        plan: PlanKey::parse(plan).unwrap(),
        quantity,
        request: NAMES,
        values: Values::new(),
    }
}

fn deprovisioned() -> SubscriptionEvent {
    SubscriptionEvent::Deprovisioned { request: NAMES }
}

fn removal_requested() -> SubscriptionEvent {
    SubscriptionEvent::DeprovisionRequested { parent: None, request: NAMES, waits: false }
}

/// It was taken away.
fn removed(day: u32) -> [(u32, SubscriptionEvent); 2] {
    [(day, removal_requested()), (day, deprovisioned())]
}

/// One fact after the other.
fn told<const N: usize>(parts: [&[(u32, SubscriptionEvent)]; N]) -> Vec<(u32, SubscriptionEvent)> {
    parts.concat()
}

fn asking(process: Process) -> Asked {
    Asked { dated: false, parent: None, process, request: NAMES, waits: false }
}

fn deprovision() -> SubscriptionCommand {
    SubscriptionCommand::Deprovision(asking(Process::Immediate))
}

#[test]
fn what_is_provisioned_is_requested_started_and_there() {
    given::<Subscription>([]).when(1, SubscriptionCommand::Provision(request("a", 2))).then([
        SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 2)) },
        SubscriptionEvent::ProvisionStarted { request: NAMES },
        provisioned("a", 2),
    ]);
}

#[test]
fn a_mailbox_is_billed_once_however_often_it_is_asked_for() {
    given::<Subscription>([(1, provisioned("a", 2))])
        .when(2, SubscriptionCommand::Provision(request("a", 2)))
        .then_nothing();
    given::<Subscription>([(1, provisioned("a", 2))])
        .when(2, SubscriptionCommand::Change(request("a", 2)))
        .then_nothing();
}

#[test]
fn provisioning_does_not_change_what_is_held() {
    for other in [request("b", 2), request("a", 3)] {
        given::<Subscription>([(1, provisioned("a", 2))])
            .when(2, SubscriptionCommand::Provision(other))
            .then_refused("already_provisioned");
    }
}

#[test]
fn a_change_is_requested_started_and_made() {
    for (plan, quantity) in [("b", 2), ("a", 3)] {
        let wish = request(plan, quantity);
        given::<Subscription>([(1, provisioned("a", 2))])
            .when(2, SubscriptionCommand::Change(wish.clone()))
            .then([
                SubscriptionEvent::ChangeRequested { request: Box::new(wish) },
                SubscriptionEvent::ChangeStarted { request: NAMES },
                changed(plan, quantity),
            ]);
    }
}

#[test]
fn what_is_not_held_cannot_be_changed_or_taken_away() {
    let change = SubscriptionCommand::Change(request("a", 1));
    given::<Subscription>([]).when(1, change.clone()).then_refused("not_provisioned");
    given::<Subscription>([]).when(1, deprovision()).then_refused("not_provisioned");
    given::<Subscription>(told([&[(1, provisioned("a", 1))], &removed(2)]))
        .when(3, change)
        .then_refused("not_provisioned");
}

#[test]
fn what_is_held_and_what_is_to_begin_has_to_be_ended() {
    let history = |facts: &[(u32, SubscriptionEvent)]| {
        let facts = facts.iter().cloned();
        facts.fold(Subscription::default(), |it, (day, fact)| it.evolve(&fact, november(day)))
    };
    assert!(history(&[]).ends_from(november(5)).is_empty());
    let held = [(1, provisioned("a", 1)), (9, changed("b", 1))];
    assert_eq!(history(&held).ends_from(november(5)), [november(5)]);
    let to_come = told([&[(9, provisioned("a", 1)), (9, changed("b", 1))], &removed(12)]);
    assert_eq!(history(&to_come).ends_from(november(5)), [november(9)]);
    let both = told([&[(1, provisioned("a", 1))], &removed(7), &[(9, provisioned("a", 2))]]);
    assert_eq!(history(&both).ends_from(november(5)), [november(5), november(9)]);
    assert_eq!(history(&both).ends_from(november(8)), [november(9)]);
}

#[test]
fn a_new_version_of_a_service_that_changes_no_value_asks_for_nothing() {
    let asked = SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 1)) };
    given::<Subscription>([(1, asked), (1, provisioned("a", 1))])
        .when(2, SubscriptionCommand::TakeOver(request("a", 1)))
        .then_nothing();
}

#[test]
fn taking_away_twice_is_one_fact() {
    given::<Subscription>([(1, provisioned("a", 1))]).when(2, deprovision()).then([
        removal_requested(),
        SubscriptionEvent::DeprovisionStarted { request: NAMES },
        deprovisioned(),
    ]);
    given::<Subscription>(told([&[(1, provisioned("a", 1))], &removed(3)]))
        .when(3, deprovision())
        .then_nothing();
}

#[test]
fn what_changed_nothing_ended_nothing() {
    given::<Subscription>([(1, changed("a", 1))])
        .when(2, deprovision())
        .then_refused("not_provisioned");
}

#[test]
fn a_wish_is_judged_by_what_is_held_at_its_moment() {
    let history = || {
        let facts = [(5, provisioned("a", 1)), (10, changed("b", 1))];
        given::<Subscription>(told([&facts, &removed(20)]))
    };
    history().when(4, deprovision()).then_refused("not_provisioned");
    history().when(9, SubscriptionCommand::Provision(request("a", 1))).then_nothing();
    history()
        .when(10, SubscriptionCommand::Provision(request("a", 1)))
        .then_refused("already_provisioned");
    history().when(21, deprovision()).then_nothing();
    given::<Subscription>(told([&[(5, provisioned("a", 1))], &removed(20)]))
        .when(25, SubscriptionCommand::Provision(request("a", 1)))
        .then([
            SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 1)) },
            SubscriptionEvent::ProvisionStarted { request: NAMES },
            provisioned("a", 1),
        ]);
}

#[test]
fn only_outcomes_bill() {
    let plan = || PlanKey::parse("a").unwrap();
    let billed = [
        (provisioned("a", 2), Change::Provisioned { plan: plan(), quantity: 2 }),
        (changed("a", 3), Change::Changed { plan: plan(), quantity: 3 }),
        (removal_requested(), Change::Deprovisioned),
    ];
    for (event, change) in billed {
        assert_eq!(event.change(), Some(change));
    }
    let asked = || Box::new(request("a", 2));
    for event in [
        SubscriptionEvent::ProvisionRequested { request: asked() },
        SubscriptionEvent::ProvisionStarted { request: NAMES },
        SubscriptionEvent::ChangeRequested { request: asked() },
        SubscriptionEvent::ChangeStarted { request: NAMES },
        SubscriptionEvent::DeprovisionStarted { request: NAMES },
        deprovisioned(),
        SubscriptionEvent::SuspendRequested { dated: false, request: NAMES },
        SubscriptionEvent::SuspendStarted { request: NAMES },
        SubscriptionEvent::Suspended { request: NAMES },
        SubscriptionEvent::ResumeRequested { dated: false, request: NAMES },
        SubscriptionEvent::ResumeStarted { request: NAMES },
        SubscriptionEvent::Resumed { request: NAMES },
        SubscriptionEvent::RequestFailed { detail: "No disk.".to_owned(), request: NAMES },
        SubscriptionEvent::RequestRetried { request: NAMES },
        SubscriptionEvent::RequestCancelled { request: NAMES },
        SubscriptionEvent::RequestReset { request: NAMES },
    ] {
        assert_eq!(event.change(), None, "{event:?}");
        let state = Subscription::default().evolve(&event, november(1));
        assert_eq!(state.held_at(november(1)), None, "{event:?}");
    }
}

#[test]
fn an_outcome_can_be_true_at_another_moment_where_the_order_stays() {
    let other = CommandId(uuid::Uuid::from_u128(77));
    let supersede = |request| SubscriptionCommand::Supersede { position: 3, request };
    let requested = || SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 1)) };
    let removed =
        SubscriptionEvent::DeprovisionRequested { parent: None, request: other, waits: false };
    let history = || {
        [
            (10, requested()),
            (10, SubscriptionEvent::ProvisionStarted { request: NAMES }),
            (10, provisioned("a", 1)),
            (20, removed.clone()),
            (20, SubscriptionEvent::DeprovisionStarted { request: other }),
            (20, SubscriptionEvent::Deprovisioned { request: other }),
        ]
    };
    let superseded = |fact: SubscriptionEvent, was| SubscriptionEvent::Superseded {
        fact: Box::new(fact),
        position: 3,
        was_at: november(was),
    };
    let begun = superseded(provisioned("a", 1), 10);
    let gone = superseded(removed.clone(), 20);
    let of = || given::<Subscription>(history());
    of().when(12, supersede(NAMES)).then([begun.clone()]);
    of().when(10, supersede(NAMES)).then_nothing();
    of().when(25, supersede(other)).then([gone.clone()]);
    // It cannot begin when it is over, or be over before it begins; at one moment, what is told later is later.
    of().when(20, supersede(NAMES)).then_refused("order_would_change");
    of().when(9, supersede(other)).then_refused("order_would_change");
    of().when(10, supersede(other)).then([gone.clone()]);
    of().when(12, supersede(CommandId(uuid::Uuid::from_u128(99)))).then_refused("no_fact");
    given::<Subscription>([(10, requested())])
        .when(12, supersede(NAMES))
        .then_refused("not_finished");

    let state = history().into_iter().chain([(12, begun), (25, gone)]);
    let state = state
        .fold(Subscription::default(), |state, (day, event)| state.evolve(&event, november(day)));
    let held = |day| state.held_at(november(day)).is_some();
    assert_eq!([11, 12, 24, 25].map(held), [false, true, true, false]);
    assert!(state.asked_at(november(11)).is_none() && state.asked_at(november(12)).is_some());
}

#[test]
fn what_was_asked_and_filled_in_stays_in_the_order_of_when_it_counts() {
    let other = CommandId(uuid::Uuid::from_u128(77));
    let change = Request { id: other, ..filling_in("zoe") };
    let changed = SubscriptionEvent::Changed {
        plan: PlanKey::parse("a").unwrap(),
        quantity: 1,
        request: other,
        values: Values::new(),
    };
    let begun = SubscriptionEvent::Superseded {
        fact: Box::new(provisioned("a", 1)),
        position: 3,
        was_at: november(10),
    };
    let state = [
        (10, SubscriptionEvent::ProvisionRequested { request: Box::new(filling_in("ann")) }),
        (10, SubscriptionEvent::ProvisionStarted { request: NAMES }),
        (10, provisioned("a", 1)),
        (20, SubscriptionEvent::ChangeRequested { request: Box::new(change) }),
        (20, SubscriptionEvent::ChangeStarted { request: other }),
        (20, changed),
        (12, begun),
    ];
    let state = state
        .into_iter()
        .fold(Subscription::default(), |state, (day, event)| state.evolve(&event, november(day)));
    let asked = |day| state.asked_at(november(day)).map(|it| it.id);
    assert_eq!([11, 12, 19, 20].map(asked), [None, Some(NAMES), Some(NAMES), Some(other)]);
    let name = |day| state.inputs_at(november(day)).first().map(|input| input.value.as_str());
    assert_eq!([11, 12, 19, 20].map(name), [None, Some("ann"), Some("ann"), Some("zoe")]);
}

#[test]
fn it_is_told_from_when_on_requests_said_something_else() {
    let changed = changed("b", 1);
    let state = [
        (10, SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 1)) }),
        (10, provisioned("a", 1)),
        (20, SubscriptionEvent::ChangeRequested { request: Box::new(request("b", 1)) }),
        (20, changed),
    ];
    let state = state
        .into_iter()
        .fold(Subscription::default(), |state, (day, event)| state.evolve(&event, november(day)));
    let between =
        |after, until| state.asked_between(november(after), november(until)).collect::<Vec<_>>();
    assert_eq!(between(9, 30), [november(10), november(20)]);
    assert_eq!(between(10, 20), [november(20)]);
    assert_eq!(between(9, 19), [november(10)]);
    assert!(between(20, 30).is_empty());
}

#[test]
fn whoever_goes_on_with_a_request_does_what_was_asked_for() {
    let verbs = |story: &Story, day| {
        let standing = story.state.standing_at(november(day));
        [Act::Ask(Verb::Suspend), Act::Retry, Act::Cancel, Act::Reset]
            .map(|it| standing.verb_of(it))
    };
    // Of nothing, the first thing that can be asked for.
    let nothing = Story::default();
    assert_eq!(
        verbs(&nothing, 9),
        [Verb::Suspend, Verb::Provision, Verb::Provision, Verb::Provision]
    );
    let changing = held().on(5, reported(Verb::Change, 2)).on(5, start(2));
    assert_eq!(verbs(&changing, 5), [Verb::Suspend, Verb::Change, Verb::Change, Verb::Change]);
    // What is to come can be taken back.
    let leaving = held().on(10, SubscriptionCommand::Deprovision(asking(Process::Immediate)));
    assert_eq!(verbs(&leaving, 9)[2], Verb::Deprovision);
}

#[test]
fn why_something_cannot_be_done_is_told_and_also_that_it_is_so_already() {
    let standing = held();
    let ready = |act| standing.state.standing_at(november(standing.day)).ready(act).why_not();
    assert_eq!(ready(Act::Ask(Verb::Change)), None);
    for act in [Act::Ask(Verb::Resume), Act::Retry] {
        assert!(ready(act).is_some_and(|why| !why.code.is_empty()), "{act:?}");
    }
}

#[test]
fn every_act_has_a_name_of_its_own() {
    let names = Act::ALL.map(Act::name);
    let of_verbs = ["provision", "change", "suspend", "resume", "deprovision"];
    assert_eq!(names[..5], of_verbs);
    assert_eq!(names[5..], ["retry", "cancel", "reset"]);
}

#[test]
fn of_rests_that_are_over_the_last_is_kept() {
    let mut rests = Suspensions::default();
    for (position, day) in (1..).zip([3, 5, 7]) {
        rests.take_in(&SubscriptionEvent::Suspended { request: NAMES }, november(day), position);
    }
    let days =
        |rests: &Suspensions| rests.all().iter().map(|it| it.effective_at).collect::<Vec<_>>();
    let mut kept = rests.clone();
    kept.forget_before(november(2));
    assert_eq!(kept, rests);
    kept.forget_before(november(5));
    assert_eq!(days(&kept), [5, 7].map(november));
    kept.forget_before(november(9));
    assert_eq!(days(&kept), [november(7)]);
}

#[test]
fn what_rested_can_have_rested_from_another_moment_on() {
    let other = CommandId(uuid::Uuid::from_u128(77));
    let rested = || SubscriptionEvent::Suspended { request: other };
    let history = [
        (10, SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 1)) }),
        (10, SubscriptionEvent::ProvisionStarted { request: NAMES }),
        (10, provisioned("a", 1)),
        (15, SubscriptionEvent::SuspendRequested { dated: false, request: other }),
        (15, SubscriptionEvent::SuspendStarted { request: other }),
        (15, rested()),
    ];
    let fact = SubscriptionEvent::Superseded {
        fact: Box::new(rested()),
        position: 6,
        was_at: november(15),
    };
    given::<Subscription>(history.clone())
        .when(12, SubscriptionCommand::Supersede { position: 6, request: other })
        .then([fact.clone()]);
    let state = history.into_iter().chain([(12, fact)]);
    let state = state
        .fold(Subscription::default(), |state, (day, event)| state.evolve(&event, november(day)));
    let rests = |day| state.standing_at(november(day)).suspended;
    assert_eq!([11, 12, 16].map(rests), [false, true, true]);
}

#[test]
fn what_drives_a_price_is_said_by_the_fact_that_it_holds() {
    let property = |key: &str, value: &str, priced, hidden| ResolvedProperty {
        hidden,
        key: PropertyKey::parse(key).unwrap(),
        overridden_by: None,
        priced,
        since: None,
        source: None,
        value: value.to_owned(),
    };
    let mut request = request("a", 1);
    request.plan.properties = vec![property("Storage", "3 TB", true, false)];
    request.properties = vec![
        property("Region", "de", false, false),
        property("Secret", "5", true, true),
        property("Users", "12", true, false),
    ];
    let said = [("Storage", "3 TB"), ("Users", "12")];
    let values: Values =
        said.map(|(key, value)| (PropertyKey::parse(key).unwrap(), value.to_owned())).into();
    let (plan, id) = (request.plan.key.clone(), request.id);
    let done = SubscriptionEvent::Provisioned { plan, quantity: 1, request: id, values };
    let started = SubscriptionEvent::ProvisionStarted { request: id };
    let asked = |request: &Request| SubscriptionEvent::ProvisionRequested {
        request: Box::new(request.clone()),
    };
    given::<Subscription>([]).when(1, SubscriptionCommand::Provision(request.clone())).then([
        asked(&request),
        started.clone(),
        done.clone(),
    ]);
    // Also where somebody reports that it is done.
    request.service.process = Process::Reported;
    given::<Subscription>([(1, asked(&request)), (2, started)])
        .when(3, SubscriptionCommand::Complete(id))
        .then([done]);
}

/// A request with something filled in.
fn filling_in(name: &str) -> Request {
    let input = ResolvedProperty {
        hidden: false,
        key: PropertyKey::parse("Name").unwrap(),
        overridden_by: None,
        priced: false,
        since: None,
        source: Some(Source::Input),
        value: name.to_owned(),
    };
    Request { properties: vec![input], ..request("a", 1) }
}

#[test]
fn what_is_hidden_is_gone_from_all_that_a_request_says() {
    let seen = filling_in("ann").properties;
    let hidden = ResolvedProperty { hidden: true, ..seen[0].clone() };
    let all = || vec![hidden.clone(), seen[0].clone()];
    let mut of = request("a", 1);
    (of.plan.properties, of.properties, of.shadowed) = (all(), all(), all());
    let of = of.without_hidden();
    assert_eq!([&of.plan.properties, &of.properties, &of.shadowed], [&seen, &seen, &seen]);
}

#[test]
fn a_request_made_anew_is_one_of_its_own_that_waits_for_nobody() {
    let (parent, waits_for) = (Some(NAMES), Some(NAMES));
    let asked = Request { dated: true, parent, waits_for, ..request("a", 1) };
    let id = CommandId(Uuid::from_u128(7));
    assert_eq!(asked.overridden_by(id, &[]), Request { id, ..request("a", 1) });
}

#[test]
fn what_is_set_above_holds_instead_of_what_was_filled_in_until_it_is_set_no_more() {
    let organization = OrganizationId(Uuid::from_u128(30));
    let mut definition = backup();
    let bandwidth = definition.properties[0].key.clone();
    let name = &filling_in("ann").properties[0].key;
    definition.properties.push(Property {
        kind: Kind::Input,
        scope: Scope::Service,
        ..Property::of_plan(name.clone(), "Name")
    });
    let set = [(name, "bob"), (&bandwidth, "1 GB")].map(|(key, value)| Overriding {
        overridden: Overridden::Property {
            hidden: false,
            key: key.clone(),
            locked: true,
            setting: Setting::Set { to: None, value: value.to_owned() },
        },
        plan: None,
        service: definition.key.clone(),
    });
    let from = november(1);
    let at = |overriding| OverrideAt { depth: 1, from, organization, overriding, position: 1 };
    let anew = |request: &Request, overrides: &[OverrideAt<'_>]| {
        let inputs = [Input { from, key: name, value: "ann" }];
        let plan = Some(&definition.plans[0]);
        let resolved = resolve(&definition, plan, overrides, &inputs, from);
        request.overridden_by(NAMES, &resolved)
    };
    let values = |of: &[ResolvedProperty]| {
        let value = |it: &ResolvedProperty| (it.value.clone(), it.overridden_by);
        of.iter().map(value).collect::<Vec<_>>()
    };
    let (ann, by) = (("ann".to_owned(), None), Some(organization));

    // What the plan says now and did not say then is none of its business.
    let asked = anew(&filling_in("ann"), &[]);
    assert_eq!(asked, filling_in("ann"));
    let locked = anew(&asked, &[at(&set[0]), at(&set[1])]);
    assert_eq!(values(&locked.properties), [("bob".to_owned(), by)]);
    assert_eq!(values(&locked.plan.properties), [("1 GB".to_owned(), by)]);
    assert_eq!(values(&locked.shadowed), from_ref(&ann));
    assert_eq!(anew(&locked, &[at(&set[0]), at(&set[1])]), locked);
    let unlocked = anew(&locked, &[]);
    assert_eq!(values(&unlocked.properties), [ann]);
    assert_eq!(values(&unlocked.plan.properties), [("100 GB".to_owned(), None)]);
    assert_eq!(values(&unlocked.shadowed), []);
}

#[test]
fn the_same_filled_in_again_is_nothing_and_other_things_are_a_change() {
    let held = || {
        let asked = |name| Box::new(filling_in(name));
        given::<Subscription>([
            (1, SubscriptionEvent::ProvisionRequested { request: asked("ann") }),
            (1, provisioned("a", 1)),
            (9, SubscriptionEvent::ChangeRequested { request: asked("zoe") }),
            (9, changed("a", 1)),
        ])
    };
    held().when(5, SubscriptionCommand::Provision(filling_in("ann"))).then_nothing();
    held().when(5, SubscriptionCommand::Change(filling_in("ann"))).then_nothing();
    held().when(9, SubscriptionCommand::Change(filling_in("zoe"))).then_nothing();
    for other in [filling_in("zoe"), request("a", 1)] {
        held()
            .when(5, SubscriptionCommand::Provision(other.clone()))
            .then_refused("already_provisioned");
        held().when(5, SubscriptionCommand::Change(other.clone())).then([
            SubscriptionEvent::ChangeRequested { request: Box::new(other) },
            SubscriptionEvent::ChangeStarted { request: NAMES },
            changed("a", 1),
        ]);
    }
}

#[test]
fn what_is_filled_in_is_so_from_its_day_whenever_it_was_recorded() {
    let mut state = Subscription::default();
    let mut made = 0;
    let mut make = |state: Subscription, request: Request, day: u32| {
        made += 1;
        let id = CommandId(Uuid::from_u128(made));
        let asked =
            SubscriptionEvent::ChangeRequested { request: Box::new(Request { id, ..request }) };
        let plan = PlanKey::parse("a").unwrap();
        let state = state.evolve(&asked, november(day));
        let open = state.inputs_at(november(30)).to_vec();
        let done =
            SubscriptionEvent::Changed { plan, quantity: 1, request: id, values: Values::new() };
        (state.evolve(&done, november(day)), open)
    };
    for (request, day) in [
        (request("a", 1), 1),
        (filling_in("zoe"), 20),
        (filling_in("ann"), 10),
        (filling_in("eve"), 10),
        (request("a", 1), 25),
    ] {
        let before = state.inputs_at(november(30)).to_vec();
        let open;
        (state, open) = make(state, request, day);
        assert_eq!(open, before, "only what is done counts");
    }
    let names = |day| {
        let inputs = state.inputs_at(november(day)).iter();
        inputs.map(|input| input.value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!([names(1), names(9), names(25)], [[""; 0]; 3]);
    assert_eq!([names(10), names(19), names(20), names(24)], [["eve"], ["eve"], ["zoe"], ["zoe"]]);
}

#[test]
fn the_latest_request_is_remembered() {
    let asked = SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 2)) };
    let changed = SubscriptionEvent::ChangeRequested { request: Box::new(request("b", 2)) };
    let state = Subscription::default().evolve(&asked, november(1));
    assert_eq!(state.request, Some(request("a", 2)));
    assert_eq!(state.evolve(&changed, november(2)).request, Some(request("b", 2)));
}

/// A request whose work is done outside, with an id of its own.
fn reported(verb: Verb, id: u128) -> SubscriptionCommand {
    let request = CommandId(Uuid::from_u128(id));
    let asked = Asked { request, ..asking(Process::Reported) };
    let built = |plan| {
        let mut built = Request { id: request, ..self::request(plan, 1) };
        built.service.process = Process::Reported;
        built
    };
    match verb {
        Verb::Provision => SubscriptionCommand::Provision(built("a")),
        Verb::Change => SubscriptionCommand::Change(built("b")),
        Verb::Suspend => SubscriptionCommand::Suspend(asked),
        Verb::Resume => SubscriptionCommand::Resume(asked),
        Verb::Deprovision => SubscriptionCommand::Deprovision(asked),
    }
}

/// A subscription that a story is told about, a day for each sentence; every sentence has to be granted.
#[derive(Clone, Default)]
struct Story {
    state: Subscription,
    day: u32,
}

impl Story {
    fn on(mut self, day: u32, command: SubscriptionCommand) -> Self {
        let facts = self.state.decide(command, november(day)).expect("granted");
        for fact in facts {
            self.state = self.state.evolve(&fact, november(day));
        }
        self.day = self.day.max(day);
        self
    }

    fn then(self, command: SubscriptionCommand) -> Self {
        let day = self.day + 1;
        self.on(day, command)
    }

    fn refused(&self, day: u32, command: SubscriptionCommand) -> &'static str {
        self.state.decide(command, november(day)).expect_err("refused").code
    }

    fn status(&self) -> Status {
        self.state.standing_at(november(self.day)).status()
    }

    fn held_on(&self, day: u32) -> Option<&str> {
        self.state.held_at(november(day)).map(|held| held.plan.as_str())
    }
}

fn start(id: u128) -> SubscriptionCommand {
    SubscriptionCommand::Start(CommandId(Uuid::from_u128(id)))
}

fn complete(id: u128) -> SubscriptionCommand {
    SubscriptionCommand::Complete(CommandId(Uuid::from_u128(id)))
}

fn fail(id: u128) -> SubscriptionCommand {
    let request = CommandId(Uuid::from_u128(id));
    SubscriptionCommand::Fail { request, detail: "No disk.".to_owned() }
}

/// Provisioned by request 1, on the third.
fn held() -> Story {
    Story::default().on(1, reported(Verb::Provision, 1)).then(start(1)).then(complete(1))
}

#[test]
fn what_is_reported_is_asked_for_and_what_comes_of_it_is_reported() {
    let story = Story::default().on(1, reported(Verb::Provision, 1));
    assert_eq!((story.status(), story.held_on(1)), (Status::Requested, None));
    let story = story.then(start(1));
    assert_eq!((story.status(), story.held_on(2)), (Status::InProgress, None));
    let story = story.then(complete(1));
    assert_eq!(story.status(), Status::Provisioned);
    assert_eq!((story.held_on(2), story.held_on(3)), (None, Some("a")), "from completion");
    assert_eq!(story.state.unfinished(), []);
}

#[test]
fn a_report_that_is_repeated_says_nothing_new() {
    let story = Story::default().on(1, reported(Verb::Provision, 1)).then(start(1));
    assert_eq!(story.state.decide(start(1), november(3)), Ok(vec![]));
    let story = story.then(complete(1));
    assert_eq!(story.state.decide(complete(1), november(4)), Ok(vec![]));
    assert_eq!(story.refused(4, start(1)), "not_open");
    let failed = Story::default().on(1, reported(Verb::Provision, 1)).then(fail(1));
    assert_eq!(failed.state.decide(fail(1), november(3)), Ok(vec![]));
    assert_eq!([failed.refused(3, start(1)), failed.refused(3, complete(1))], ["failed"; 2]);
}

#[test]
fn a_failed_provisioning_is_asked_again_or_given_up() {
    let failed = Story::default().on(1, reported(Verb::Provision, 1)).then(start(1)).then(fail(1));
    assert_eq!((failed.status(), failed.held_on(9)), (Status::Failed, None));
    assert_eq!(failed.refused(4, reported(Verb::Provision, 2)), "request_failed");
    let again = failed.clone().then(SubscriptionCommand::Retry);
    assert_eq!(again.status(), Status::Requested);
    let done = again.then(start(1)).then(complete(1));
    assert_eq!((done.status(), done.held_on(6)), (Status::Provisioned, Some("a")));
    let given_up = failed.then(SubscriptionCommand::Reset);
    assert_eq!((given_up.status(), given_up.state.unfinished().len()), (Status::NotProvisioned, 0));
    given_up.then(reported(Verb::Provision, 2));
}

#[test]
fn a_failed_change_leaves_the_old_plan() {
    let asked = held().on(5, reported(Verb::Change, 2));
    assert_eq!(asked.status(), Status::Pending);
    let failed = asked.clone().on(6, start(2)).on(7, fail(2));
    assert_eq!((failed.status(), failed.held_on(9)), (Status::Failed, Some("a")));
    let given_up = failed.on(8, SubscriptionCommand::Reset);
    assert_eq!((given_up.status(), given_up.held_on(9)), (Status::Provisioned, Some("a")));
    let done = asked.on(6, start(2)).on(7, complete(2));
    assert_eq!((done.held_on(6), done.held_on(7)), (Some("a"), Some("b")));
}

#[test]
fn taking_away_ends_what_is_held_when_it_is_accepted_and_stays_so_when_it_fails() {
    let asked = held().on(5, reported(Verb::Deprovision, 2));
    assert_eq!(
        (asked.status(), asked.held_on(4), asked.held_on(5)),
        (Status::Requested, Some("a"), None)
    );
    let failed = asked.clone().on(6, start(2)).on(7, fail(2));
    assert_eq!((failed.status(), failed.held_on(9)), (Status::Failed, None));
    let done = failed.clone().on(8, SubscriptionCommand::Retry).on(9, start(2)).on(10, complete(2));
    assert_eq!((done.status(), done.held_on(5)), (Status::NotProvisioned, None));
    for undone in
        [asked.on(6, SubscriptionCommand::Cancel(None)), failed.on(8, SubscriptionCommand::Reset)]
    {
        assert_eq!(undone.status(), Status::Provisioned);
        assert_eq!(undone.held_on(5), Some("a"), "it is as if it had never been asked");
    }
}

#[test]
fn what_is_suspended_is_held_and_goes_on_when_it_is_resumed() {
    let suspended = held().on(4, SubscriptionCommand::Suspend(asking(Process::Immediate)));
    assert_eq!((suspended.status(), suspended.held_on(4)), (Status::Suspended, Some("a")));
    let again = SubscriptionCommand::Suspend(asking(Process::Immediate));
    assert_eq!(suspended.state.decide(again, november(5)), Ok(vec![]));
    let resumed = suspended.clone().on(5, SubscriptionCommand::Resume(asking(Process::Immediate)));
    assert_eq!(resumed.status(), Status::Provisioned);
    assert!(resumed.state.standing_at(november(4)).suspended);
    // Whoever has it anew has it afresh.
    let gone = suspended.on(6, SubscriptionCommand::Deprovision(asking(Process::Immediate)));
    let anew = gone.on(7, SubscriptionCommand::Provision(request("a", 1)));
    assert_eq!(anew.status(), Status::Provisioned);
}

#[test]
fn a_request_of_a_later_day_waits_for_it_and_can_be_cancelled_until_then() {
    // Asked on the third, for the tenth.
    let asked = held().on(10, SubscriptionCommand::Change(request("b", 1)));
    let cancel = || SubscriptionCommand::Cancel(Some(NAMES));
    assert_eq!((asked.held_on(9), asked.held_on(10)), (Some("a"), Some("b")));
    assert_eq!(asked.state.standing_at(november(9)).cancellable.map(|it| it.request), Some(NAMES));
    for command in [cancel(), SubscriptionCommand::Cancel(None)] {
        let cancelled = asked.clone().on(9, command);
        assert_eq!((cancelled.held_on(10), cancelled.held_on(30)), (Some("a"), Some("a")));
    }
    assert_eq!(asked.refused(10, cancel()), "begun");
    assert_eq!(asked.refused(10, SubscriptionCommand::Cancel(None)), "nothing_to_cancel");

    let reported = held().on(10, reported(Verb::Change, 2));
    assert_eq!(reported.state.standing_at(november(9)).status(), Status::Provisioned);
    assert_eq!(reported.refused(9, start(2)), "not_due");
    assert_eq!(reported.held_on(30), Some("a"), "no completion, no money");
    assert_eq!(reported.clone().on(10, start(2)).on(11, complete(2)).held_on(11), Some("b"));
    assert_eq!(reported.on(9, SubscriptionCommand::Cancel(None)).state.unfinished(), []);
}

#[test]
fn what_was_asked_for_a_day_is_true_from_then_whenever_it_is_done() {
    let SubscriptionCommand::Provision(asked) = reported(Verb::Provision, 1) else {
        unreachable!()
    };
    for (dated, moment) in [(true, november(5)), (false, november(9))] {
        let asked = SubscriptionCommand::Provision(Request { dated, ..asked.clone() });
        let story = Story::default().on(5, asked).on(6, start(1));
        let request = CommandId(Uuid::from_u128(1));
        assert_eq!(story.state.outcome_at(request, november(9)), Some(moment), "{dated}");
        assert_eq!(story.on(9, complete(1)).state.outcome_at(request, november(9)), None);
    }
}

#[test]
fn one_request_after_the_other() {
    let open = held().on(5, reported(Verb::Change, 2));
    for verb in [Verb::Change, Verb::Suspend, Verb::Resume, Verb::Deprovision, Verb::Provision] {
        // The same wish as the open one is no other.
        if verb != Verb::Change {
            assert_eq!(open.refused(6, reported(verb, 3)), "request_open", "{verb:?}");
        }
    }
    assert_eq!(open.state.decide(reported(Verb::Change, 3), november(6)), Ok(vec![]));
    // What is to come later does not stand in the way of what is to be before it, but the other way round.
    let later = held().on(20, reported(Verb::Deprovision, 2));
    assert_eq!(later.refused(21, reported(Verb::Change, 3)), "request_open");
    let both = later.on(6, reported(Verb::Change, 3));
    assert_eq!(both.refused(20, start(2)), "not_its_turn");
    let done = both.on(7, start(3)).on(8, complete(3));
    assert_eq!(done.on(20, start(2)).on(21, complete(2)).status(), Status::NotProvisioned);
}

#[test]
fn what_is_gone_is_not_changed_any_more() {
    let asked = held().on(20, reported(Verb::Change, 2));
    let gone = asked.on(6, SubscriptionCommand::Deprovision(asking(Process::Immediate)));
    assert_eq!(gone.refused(20, start(2)), "not_provisioned");
    assert_eq!(gone.on(20, SubscriptionCommand::Cancel(None)).state.unfinished(), []);
}

/// Every status, with a story that leads to it.
fn statuses() -> [(&'static str, Story); 10] {
    let suspended = held().on(4, SubscriptionCommand::Suspend(asking(Process::Immediate)));
    let removal = held().on(5, reported(Verb::Deprovision, 2));
    let change = held().on(5, reported(Verb::Change, 2));
    [
        ("nothing", Story { day: 1, ..Story::default() }),
        ("asked for", Story::default().on(1, reported(Verb::Provision, 1))),
        ("in progress", Story::default().on(1, reported(Verb::Provision, 1)).then(start(1))),
        ("failed", Story::default().on(1, reported(Verb::Provision, 1)).then(fail(1))),
        ("held", held()),
        ("pending", change.clone()),
        ("changing", change.then(start(2))),
        ("suspended", suspended),
        ("to be removed", removal.clone()),
        ("removed", removal.then(start(2)).then(complete(2))),
    ]
}

#[test]
fn every_verb_in_every_status() {
    // In the order of `Act::ALL`: provision, change, suspend, resume, deprovision, retry, cancel, reset.
    const TABLE: [(&str, Status, [&str; 8]); 10] = [
        ("nothing", Status::NotProvisioned, ["go", "-", "-", "-", "-", "-", "-", "-"]),
        ("asked for", Status::Requested, ["-", "-", "-", "-", "-", "-", "go", "-"]),
        ("in progress", Status::InProgress, ["-", "-", "-", "-", "-", "-", "-", "go"]),
        ("failed", Status::Failed, ["-", "-", "-", "-", "-", "go", "-", "go"]),
        ("held", Status::Provisioned, ["-", "go", "go", "=", "go", "-", "-", "-"]),
        ("pending", Status::Pending, ["-", "-", "-", "-", "-", "-", "go", "-"]),
        ("changing", Status::InProgress, ["-", "-", "-", "-", "-", "-", "-", "go"]),
        ("suspended", Status::Suspended, ["-", "go", "=", "go", "go", "-", "-", "-"]),
        ("to be removed", Status::Requested, ["-", "-", "-", "-", "-", "-", "go", "-"]),
        ("removed", Status::NotProvisioned, ["go", "-", "-", "-", "=", "-", "-", "-"]),
    ];
    for ((name, story), (same, status, expected)) in statuses().into_iter().zip(TABLE) {
        assert_eq!((name, story.status()), (same, status));
        for (act, expected) in Act::ALL.into_iter().zip(expected) {
            let now = november(story.day);
            let ready = story.state.standing_at(now).ready(act);
            let told = match &ready {
                Ready::Go => "go",
                Ready::Already(_) => "=",
                Ready::No(_) => "-",
            };
            assert_eq!(told, expected, "{name}: {}", act.name());
            // The command says the same, of other settings than those that are asked for already.
            let command = match act {
                Act::Ask(Verb::Provision) => SubscriptionCommand::Provision(request("c", 9)),
                Act::Ask(Verb::Change) => SubscriptionCommand::Change(request("c", 9)),
                Act::Ask(verb) => reported(verb, 8),
                Act::Retry => SubscriptionCommand::Retry,
                Act::Cancel => SubscriptionCommand::Cancel(None),
                Act::Reset => SubscriptionCommand::Reset,
            };
            match (story.state.decide(command, now), ready) {
                (Ok(facts), Ready::Go) => assert!(!facts.is_empty()),
                (Ok(facts), Ready::Already(_)) => assert_eq!(facts, []),
                (Err(refusal), Ready::No(why)) => assert_eq!(refusal, why),
                (decided, ready) => panic!("{name}: {}: {decided:?}, {ready:?}", act.name()),
            }
        }
    }
}

#[test]
fn what_waits_for_another_request_is_begun_once_that_is_done() {
    let waits_for = Some(CommandId(Uuid::from_u128(77)));
    let SubscriptionCommand::Provision(asked) = reported(Verb::Provision, 1) else {
        unreachable!()
    };
    for process in [Process::Immediate, Process::Reported] {
        let mut asked = Request { waits_for, ..asked.clone() };
        asked.service.process = process;
        let story = Story::default().on(1, SubscriptionCommand::Provision(asked));
        assert_eq!(story.status(), Status::Requested);
        assert_eq!(story.refused(2, start(1)), "waits");
        let request = CommandId(Uuid::from_u128(1));
        let release = SubscriptionCommand::Release { process, request };
        let released = story.clone().then(release.clone());
        assert_eq!(released.state.decide(release.clone(), november(3)), Ok(vec![]));
        let done = match process {
            Process::Immediate => released,
            Process::Reported => released.then(start(1)).then(complete(1)),
        };
        assert_eq!(done.status(), Status::Provisioned);
        // Where that fails, so does this; once it is done after all, this has to be asked again.
        let failed = story.then(fail(1)).then(release);
        assert_eq!((failed.status(), failed.held_on(9)), (Status::Failed, None));
        let again = failed.then(SubscriptionCommand::Retry).then(start(1)).then(complete(1));
        assert_eq!(again.status(), Status::Provisioned);
    }
}

#[test]
fn a_removal_that_waits_for_others_has_ended_what_is_charged_already() {
    let asked = Asked { waits: true, ..asking(Process::Immediate) };
    let story = Story::default()
        .on(1, SubscriptionCommand::Provision(request("a", 1)))
        .on(5, SubscriptionCommand::Deprovision(asked));
    assert_eq!((story.status(), story.held_on(5)), (Status::Requested, None));
    let release = SubscriptionCommand::Release { process: Process::Immediate, request: NAMES };
    assert_eq!(story.then(release).status(), Status::NotProvisioned);
}
