//! The status machine of subscriptions against a model that keeps nothing but lists and goes through them anew for
//! every question.

#![expect(clippy::unwrap_used, reason = "what is drawn here fits, or the test fails")]

use chrono::{DateTime, TimeDelta, Utc};
use domain::service::{Level, Process};
use domain::subscription::{
    Act, Asked, Ready, Request, RequestCustomer, RequestPlan, RequestService, Status, Subscription,
    SubscriptionCommand, Verb,
};
use domain::text::Code;
use domain::{CommandId, Decider, OrganizationId, PlanKey, ServiceKey, SubscriptionId};
use proptest::prelude::*;
use uuid::Uuid;

const PLANS: [&str; 3] = ["a", "b", "c"];
/// How far ahead somebody asks, in days.
const AHEAD: u32 = 5;

fn moment(day: u32) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(day.into())
}

fn id(number: u32) -> CommandId {
    CommandId(Uuid::from_u128(number.into()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask {
        verb: Verb,
        plan: usize,
        ahead: u32,
        reported: bool,
    },
    /// About the request that was made so many requests ago.
    Start(u32),
    Complete(u32),
    Fail(u32),
    CancelThat(u32),
    Cancel,
    Retry,
    Reset,
}

fn verbs() -> impl Strategy<Value = Verb> {
    prop::sample::select(vec![
        Verb::Provision,
        Verb::Provision,
        Verb::Change,
        Verb::Suspend,
        Verb::Resume,
        Verb::Deprovision,
    ])
}

/// Each with the days that pass before it.
fn steps() -> impl Strategy<Value = Vec<(u32, Step)>> {
    let ahead = prop_oneof![3 => Just(0), 1 => 1..=AHEAD];
    let ask = (verbs(), 0..PLANS.len(), ahead, any::<bool>());
    let step = prop_oneof![
        6 => ask.prop_map(|(verb, plan, ahead, reported)| Step::Ask { verb, plan, ahead, reported }),
        4 => (0..3_u32).prop_map(Step::Start),
        4 => (0..3_u32).prop_map(Step::Complete),
        2 => (0..3_u32).prop_map(Step::Fail),
        1 => (0..3_u32).prop_map(Step::CancelThat),
        1 => Just(Step::Cancel),
        1 => Just(Step::Retry),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec((0..2_u32, step), 1..40)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Requested,
    InProgress,
    Failed,
}

#[derive(Clone, Debug)]
struct Open {
    id: u32,
    verb: Verb,
    plan: usize,
    day: u32,
    /// Asked for a day of its own.
    dated: bool,
    progress: Progress,
}

/// What something did, and from which day.
#[derive(Clone, Debug)]
struct Effect {
    id: u32,
    day: u32,
    verb: Verb,
    plan: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    plan: Option<usize>,
    rests: bool,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Done,
    Nothing,
    Refused,
}

#[derive(Clone, Debug, Default)]
struct Model {
    /// In the order of recording.
    effects: Vec<Effect>,
    /// In the order of asking.
    open: Vec<Open>,
    completed: Option<u32>,
}

impl Model {
    fn held(&self, day: u32) -> Held {
        let mut effects: Vec<_> = self.effects.iter().filter(|it| it.day <= day).collect();
        effects.sort_by_key(|it| it.day);
        effects.into_iter().fold(Held::default(), |held, it| match (it.verb, held.plan) {
            (Verb::Provision, None) => Held { plan: Some(it.plan), rests: false },
            (Verb::Provision | Verb::Change, Some(_)) => Held { plan: Some(it.plan), ..held },
            (Verb::Suspend, Some(_)) => Held { rests: true, ..held },
            (Verb::Resume, Some(_)) => Held { rests: false, ..held },
            (Verb::Deprovision, _) => Held::default(),
            (_, None) => held,
        })
    }

    fn was_ended(&self, day: u32) -> bool {
        self.effects.iter().any(|it| it.day <= day && it.verb == Verb::Deprovision)
    }

    fn in_the_way(&self, day: u32) -> Option<&Open> {
        let theirs = |it: &&Open| it.progress != Progress::Requested || it.day <= day;
        let mut open: Vec<_> = self.open.iter().filter(theirs).collect();
        open.sort_by_key(|it| it.day);
        open.first().copied()
    }

    fn withdraw(&mut self, id: u32) {
        self.open.retain(|it| it.id != id);
        self.effects.retain(|it| it.id != id);
    }

    /// Those that have not begun.
    fn waiting(&self, now: u32) -> Vec<u32> {
        let is_open = |id: u32| self.open.iter().any(|it| it.id == id);
        let open = self.open.iter().filter(|it| it.progress == Progress::Requested);
        let done = self.effects.iter().filter(|it| it.day > now && !is_open(it.id));
        open.map(|it| it.id).chain(done.map(|it| it.id)).collect()
    }

    fn ask(&mut self, now: u32, id: u32, step: Step) -> Came {
        let Step::Ask { verb, plan, ahead, reported } = step else { unreachable!() };
        let day = now + ahead;
        let held = self.held(day);
        if let Some(open) = self.in_the_way(day) {
            let same = open.verb == verb && open.plan == plan && open.progress != Progress::Failed;
            let has_plan = matches!(verb, Verb::Provision | Verb::Change);
            return if same && has_plan { Came::Nothing } else { Came::Refused };
        }
        match (verb, held.plan) {
            (Verb::Provision | Verb::Change, Some(own)) if own == plan => return Came::Nothing,
            (Verb::Provision, Some(_)) => return Came::Refused,
            (Verb::Deprovision, None) if self.was_ended(day) => return Came::Nothing,
            (Verb::Change | Verb::Suspend | Verb::Resume | Verb::Deprovision, None) => {
                return Came::Refused;
            }
            (Verb::Suspend, _) if held.rests => return Came::Nothing,
            (Verb::Resume, _) if !held.rests => return Came::Nothing,
            _ => {}
        }
        if verb == Verb::Deprovision || !reported {
            self.effects.push(Effect { id, day, verb, plan });
        }
        if reported {
            let (dated, progress) = (ahead > 0, Progress::Requested);
            self.open.push(Open { id, verb, plan, day, dated, progress });
        } else {
            self.completed = Some(id);
        }
        Came::Done
    }

    fn step(&mut self, now: u32, made: u32, step: Step) -> Came {
        let that = |ago: u32| made.saturating_sub(ago);
        match step {
            Step::Ask { .. } => self.ask(now, made + 1, step),
            Step::Start(ago) | Step::Complete(ago) | Step::Fail(ago) => {
                let id = that(ago);
                if self.completed == Some(id) && matches!(step, Step::Complete(_)) {
                    return Came::Nothing;
                }
                let first = self.in_the_way(now).map(|it| it.id);
                let held = self.held(now).plan.is_some();
                let open = self.open.iter_mut().find(|it| it.id == id);
                let Some(open) = open.filter(|it| it.day <= now && first == Some(it.id)) else {
                    return Came::Refused;
                };
                match (step, open.progress) {
                    (Step::Start(_), Progress::InProgress) | (Step::Fail(_), Progress::Failed) => {
                        return Came::Nothing;
                    }
                    (Step::Start(_), Progress::Requested) => {
                        let is_about_something =
                            matches!(open.verb, Verb::Provision | Verb::Deprovision);
                        if !(held || is_about_something) {
                            return Came::Refused;
                        }
                        open.progress = Progress::InProgress;
                    }
                    (Step::Fail(_), _) => open.progress = Progress::Failed,
                    (Step::Complete(_), Progress::InProgress) => {
                        let open = open.clone();
                        self.open.retain(|it| it.id != id);
                        self.completed = Some(id);
                        if open.verb != Verb::Deprovision {
                            let day = if open.dated { open.day } else { now };
                            let (verb, plan) = (open.verb, open.plan);
                            self.effects.push(Effect { id, day, verb, plan });
                        }
                    }
                    _ => return Came::Refused,
                }
                Came::Done
            }
            Step::CancelThat(ago) => {
                let id = that(ago);
                if !self.waiting(now).contains(&id) {
                    return Came::Refused;
                }
                self.withdraw(id);
                Came::Done
            }
            Step::Cancel => {
                let first = self.in_the_way(now).filter(|it| it.progress == Progress::Requested);
                // Ids are in the order of asking.
                let Some(id) = first.map(|it| it.id).or(self.waiting(now).into_iter().max()) else {
                    return Came::Refused;
                };
                self.withdraw(id);
                Came::Done
            }
            Step::Retry => {
                let first = self.in_the_way(now).map(|it| it.id);
                let open = self.open.iter_mut().find(|it| Some(it.id) == first);
                match open.filter(|it| it.progress == Progress::Failed) {
                    None => Came::Refused,
                    Some(open) => {
                        open.progress = Progress::Requested;
                        Came::Done
                    }
                }
            }
            Step::Reset => {
                let first = self.in_the_way(now);
                match first.filter(|it| it.progress != Progress::Requested).map(|it| it.id) {
                    None => Came::Refused,
                    Some(id) => {
                        self.withdraw(id);
                        Came::Done
                    }
                }
            }
        }
    }

    fn status(&self, day: u32) -> Status {
        let held = self.held(day);
        match self.in_the_way(day) {
            Some(open) => match open.progress {
                Progress::Failed => Status::Failed,
                Progress::InProgress => Status::InProgress,
                Progress::Requested if open.verb == Verb::Change => Status::Pending,
                Progress::Requested => Status::Requested,
            },
            None if held.rests => Status::Suspended,
            None if held.plan.is_some() => Status::Provisioned,
            None => Status::NotProvisioned,
        }
    }
}

fn request(number: u32, plan: usize, process: Process, dated: bool) -> Request {
    let service = ServiceKey::parse("mailbox").unwrap();
    let customer = OrganizationId(Uuid::from_u128(30));
    let plan = PlanKey::parse(PLANS[plan]).unwrap();
    Request {
        customer: RequestCustomer {
            code: Code::parse("AAN").unwrap(),
            id: customer,
            name: "Aanimals Inc".to_owned(),
            number: 30,
        },
        dated: dated && process == Process::Reported,
        id: id(number),
        instance: None,
        parent: None,
        plan: RequestPlan {
            name: plan.to_string(),
            properties: vec![],
            sku: plan.to_string(),
            key: plan,
        },
        properties: vec![],
        quantity: 1,
        shadowed: vec![],
        subscription: SubscriptionId::of_slot(customer.0, &service, None),
        service: RequestService {
            key: service,
            level: Level::Customer,
            name: "Mailbox".to_owned(),
            process,
            version: 1,
        },
        user: None,
        waits_for: None,
    }
}

/// The command, and the moment that it is for.
fn command(
    state: &Subscription,
    now: u32,
    made: u32,
    step: Step,
) -> (SubscriptionCommand, DateTime<Utc>) {
    let that = |ago: u32| id(made.saturating_sub(ago));
    let now_is = moment(now);
    match step {
        Step::Ask { verb, plan, ahead, reported } => {
            let process = if reported { Process::Reported } else { Process::Immediate };
            let dated = ahead > 0;
            let built = || request(made + 1, plan, process, dated);
            let asked = Asked { dated, parent: None, process, request: id(made + 1), waits: false };
            let command = match verb {
                Verb::Provision => SubscriptionCommand::Provision(built()),
                Verb::Change => SubscriptionCommand::Change(built()),
                Verb::Suspend => SubscriptionCommand::Suspend(asked),
                Verb::Resume => SubscriptionCommand::Resume(asked),
                Verb::Deprovision => SubscriptionCommand::Deprovision(asked),
            };
            (command, moment(now + ahead))
        }
        Step::Start(ago) => (SubscriptionCommand::Start(that(ago)), now_is),
        Step::Complete(ago) => {
            let from = state.outcome_at(that(ago), now_is).unwrap_or(now_is);
            (SubscriptionCommand::Complete(that(ago)), from)
        }
        Step::Fail(ago) => {
            let detail = "No disk.".to_owned();
            (SubscriptionCommand::Fail { request: that(ago), detail }, now_is)
        }
        Step::CancelThat(ago) => (SubscriptionCommand::Cancel(Some(that(ago))), now_is),
        Step::Cancel => (SubscriptionCommand::Cancel(None), now_is),
        Step::Retry => (SubscriptionCommand::Retry, now_is),
        Step::Reset => (SubscriptionCommand::Reset, now_is),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_stands_as_the_model_says(steps in steps()) {
        let mut state = Subscription::default();
        let (mut model, mut now, mut made) = (Model::default(), 0, 0);
        for (days, step) in steps {
            now += days;
            let (command, from) = command(&state, now, made, step);
            let act = match step {
                Step::Ask { verb, ahead: 0, .. } => Some(Act::Ask(verb)),
                Step::Retry => Some(Act::Retry),
                Step::Cancel => Some(Act::Cancel),
                Step::Reset => Some(Act::Reset),
                _ => None,
            };
            let ready = act.map(|act| state.standing_at(moment(now)).ready(act));
            let decided = state.decide(command, from);
            let expected = model.step(now, made, step);
            let came = match &decided {
                Ok(facts) if facts.is_empty() => Came::Nothing,
                Ok(_) => Came::Done,
                Err(_) => Came::Refused,
            };
            prop_assert_eq!(came, expected, "{:?} on day {}", step, now);
            // Whoever was told that it is possible was told the truth.
            match ready {
                Some(Ready::Go) => prop_assert_ne!(came, Came::Refused, "{:?}", step),
                Some(Ready::Already(_)) => prop_assert_eq!(came, Came::Nothing, "{:?}", step),
                Some(Ready::No(_)) => prop_assert_ne!(came, Came::Done, "{:?}", step),
                None => {}
            }
            if matches!(step, Step::Ask { .. }) {
                made += 1;
            }
            for fact in decided.unwrap_or_default() {
                state = state.evolve(&fact, from);
            }
            for day in 0..=now + AHEAD {
                let held = state.held_at(moment(day)).map(|it| it.plan.as_str().to_owned());
                let expected = model.held(day);
                prop_assert_eq!(held, expected.plan.map(|plan| PLANS[plan].to_owned()));
                let standing = state.standing_at(moment(day));
                prop_assert_eq!(standing.suspended, expected.rests, "day {}", day);
                if day >= now {
                    prop_assert_eq!(standing.status(), model.status(day), "day {}", day);
                }
            }
        }
    }
}
