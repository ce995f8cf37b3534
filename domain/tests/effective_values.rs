//! Effective values against an independent, naive resolver, over random trees of overrides; and how long
//! resolving takes is measured by a benchmark, not here.

use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::{DayPolicy, Overridden, Setting, Suspended};
use domain::effective::{Input, Level, OverrideAt, resolve};
use domain::overrides::Overriding;
use domain::property::{Property, Scope};
use domain::service::{self, Definition, Instancing, Plan};
use domain::{OrganizationId, PlanKey, PropertyKey, ServiceKey};
use proptest::prelude::*;
use uuid::Uuid;

/// Levels of organisations above the holder, who is the last.
const DEPTH: usize = 6;
const PROPERTIES: [&str; 3] = ["Quota", "Region", "Speed"];
const PLANS: [&str; 2] = ["a", "b"];

fn day(day: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(18_000 + day)
}

fn key(text: &str) -> PropertyKey {
    PropertyKey::parse(text).expect("a key")
}

fn plan_key(text: &str) -> PlanKey {
    PlanKey::parse(text).expect("a key")
}

fn organization(depth: usize) -> OrganizationId {
    OrganizationId(Uuid::from_u128(depth as u128 + 1))
}

/// Quota has a default and is the plan's, Region has a default, Speed is said by nobody.
fn definition() -> Definition {
    let property = |text: &str, scope, default: Option<&str>| Property {
        default: default.map(str::to_owned),
        scope,
        ..Property::of_plan(key(text), text)
    };
    let plan = |text: &str| Plan {
        components: vec![],
        day_policy: DayPolicy::Daily,
        key: plan_key(text),
        level: None,
        name: text.to_owned(),
        price: None,
        properties: [(key("Quota"), format!("plan {text}"))].into(),
        retired: false,
        sku: text.to_owned(),
        suspended: Suspended::Billed,
        tax_category: None,
    };
    Definition {
        category: String::new(),
        description: String::new(),
        icon: None,
        instancing: Instancing::Single,
        key: ServiceKey::parse("backup").expect("a key"),
        level: service::Level::Customer,
        line_description: None,
        max_instances: None,
        meters: vec![],
        name: "Backup".to_owned(),
        permissions: vec![],
        plans: PLANS.map(plan).to_vec(),
        process: service::Process::Immediate,
        properties: vec![
            property("Quota", Scope::Plan, Some("default")),
            property("Region", Scope::Customer, Some("default")),
            property("Speed", Scope::Customer, None),
        ],
        roles: vec![],
        summary_description: None,
        validations: vec![],
    }
}

/// An override as a test writes it down.
#[derive(Clone, Debug)]
struct Written {
    depth: usize,
    from: i64,
    /// None: a clear.
    value: Option<String>,
    locked: bool,
    plan: Option<&'static str>,
    property: &'static str,
    to: Option<i64>,
}

fn written() -> impl Strategy<Value = Written> {
    (
        0..DEPTH,
        0_i64..20,
        proptest::option::weighted(0.8, "[a-z]{1,3}"),
        prop::bool::weighted(0.15),
        proptest::option::of(prop::sample::select(PLANS.to_vec())),
        prop::sample::select(PROPERTIES.to_vec()),
        proptest::option::weighted(0.3, 1_i64..10),
    )
        .prop_map(|(depth, from, value, locked, plan, property, days)| Written {
            depth,
            from,
            value,
            locked,
            plan,
            property,
            to: days.map(|days| from + days),
        })
}

/// The rule as service-model.md says it, looked up one level after the other.
fn naive(
    all: &[Written],
    without: Option<usize>,
    property: &str,
    plan: &str,
    input: Option<&str>,
    moment: i64,
) -> Option<String> {
    let in_force = |place: usize| {
        let it = &all[place];
        let about_this = it.property == property && it.plan.is_none_or(|of| of == plan);
        let cleared_later = all.iter().enumerate().any(|(later, other)| {
            later > place
                && other.value.is_none()
                && other.from <= moment
                && (other.depth, other.plan, other.property) == (it.depth, it.plan, it.property)
        });
        Some(place) != without
            && it.value.is_some()
            && about_this
            && it.from <= moment
            && it.to.is_none_or(|to| to > moment)
            && !cleared_later
    };
    let at = |depth: usize| {
        let here = (0..all.len()).filter(|place| all[*place].depth == depth && in_force(*place));
        here.max_by_key(|place| (all[*place].plan.is_some(), all[*place].from, *place))
    };
    let locked_at = |depth: usize| {
        let mut here = (0..all.len()).filter(|place| all[*place].depth == depth);
        here.any(|place| in_force(place) && all[place].locked)
    };
    let mut value = match property {
        "Quota" => Some(format!("plan {plan}")),
        "Region" => Some("default".to_owned()),
        _ => None,
    };
    for depth in 0..DEPTH {
        if let Some(place) = at(depth) {
            value.clone_from(&all[place].value);
        }
        if locked_at(depth) {
            return value;
        }
    }
    input.map(str::to_owned).or(value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn every_value_and_every_value_without_is_as_the_rule_says(
        all in prop::collection::vec(written(), 0..40),
        plan in prop::sample::select(PLANS.to_vec()),
        input in proptest::option::of(("[A-Z]{1,3}", 0_i64..25)),
        moment in 0_i64..25,
    ) {
        let definition = definition();
        let service = definition.key.clone();
        let overriding: Vec<_> = all
            .iter()
            .map(|it| Overriding {
                overridden: Overridden::Property {
                    hidden: false,
                    key: key(it.property),
                    locked: it.locked,
                    setting: match &it.value {
                        None => Setting::Cleared,
                        Some(value) => {
                            Setting::Set { to: it.to.map(day), value: value.clone() }
                        }
                    },
                },
                plan: it.plan.map(plan_key),
                service: service.clone(),
            })
            .collect();
        let overrides: Vec<_> = all
            .iter()
            .zip(&overriding)
            .zip(1..)
            .map(|((it, overriding), position)| OverrideAt {
                depth: it.depth,
                from: day(it.from),
                organization: organization(it.depth),
                overriding,
                position,
            })
            .collect();
        let region = key("Region");
        let inputs: Vec<_> = input
            .iter()
            .map(|(value, from)| Input { from: day(*from), key: &region, value })
            .collect();
        let held = definition.plan(&plan_key(plan));
        let resolved = resolve(&definition, held, &overrides, &inputs, day(moment));
        prop_assert_eq!(resolved.len(), PROPERTIES.len());
        for effective in &resolved {
            let name = effective.property.key.as_str();
            let filled_in = input.as_ref().filter(|(_, from)| name == "Region" && *from <= moment);
            let input = filled_in.map(|(value, _)| value.as_str());
            let expected = naive(&all, None, name, plan, input, moment);
            prop_assert_eq!(effective.value(), expected.as_deref(), "{}", name);
            for candidate in effective.winner().into_iter().chain(effective.losers()) {
                let Level::Organization { depth, id } = candidate.level else { continue };
                prop_assert_eq!(id, organization(depth));
                let place = usize::try_from(candidate.position).unwrap() - 1;
                prop_assert_eq!(all[place].depth, depth);
                let expected = naive(&all, Some(place), name, plan, input, moment);
                let without = effective.without(candidate).map(|it| it.value);
                prop_assert_eq!(without, expected.as_deref(), "{} without {}", name, place);
            }
        }
    }
}

#[test]
fn a_lock_keeps_those_below_from_setting_another_value_and_says_so() {
    let definition = definition();
    let set = |value: &str, locked| Overriding {
        overridden: Overridden::Property {
            hidden: false,
            key: key("Speed"),
            locked,
            setting: Setting::Set { to: None, value: value.to_owned() },
        },
        plan: None,
        service: definition.key.clone(),
    };
    let (above, below) = (set("slow", true), set("fast", false));
    let at = |depth, overriding, position| OverrideAt {
        depth,
        from: day(0),
        organization: organization(depth),
        overriding,
        position,
    };
    let resolved = resolve(&definition, None, &[at(1, &above, 1), at(3, &below, 2)], &[], day(1));
    let speed = &resolved[2];
    assert_eq!(speed.value(), Some("slow"));
    assert_eq!(speed.losers().len(), 1);
    let level = |depth| Level::Organization { depth, id: organization(depth) };
    assert!(speed.lock_above(level(2)).is_some());
    assert!(speed.lock_above(level(1)).is_none(), "who locks it can change it");
    let without = speed.without(speed.winner().unwrap()).unwrap();
    assert_eq!(without.value, "fast");
}
