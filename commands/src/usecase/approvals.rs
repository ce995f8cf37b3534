//! Approvals: asking first, answering, and carrying out what was approved.

pub(crate) mod chain;
pub mod policies;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Duration;
use domain::approval::{
    Answering, Approval, ApprovalCommand, Asked, Asking, Failure, Progress, Requester, Status,
    Wish, WishedProperty,
};
use domain::event::{Actor, Event};
use domain::organization::Organization;
use domain::permission::Permission;
use domain::service::{Definition, Service};
use domain::subscription::Subscription;
use domain::{
    CommandId, Fault, OrganizationId, PropertyKey, Reason, Refusal, ServiceKey, SubscriptionId,
    TenantPath, UserId,
};
use projections::views::{AccessView, ApprovalView, AskedView, Holder};

use super::definition::{InputDocument, ValueDocument};
use super::organizations::Because;
use super::subscriptions::{
    self, ChangeSubscription, Deprovision, Part, Provision, provision_part,
};
use super::{lineage, requests, take_reason};
use crate::error::Stop;
use crate::resource::ApprovalResource;
use crate::unit::{Mark, Unit};
use crate::{Caller, Input, Reply};

/// What the body of a wish says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    effective_at: Option<String>,
    instance: Option<String>,
    plan: Option<String>,
    properties: BTreeMap<String, InputDocument>,
    quantity: Option<i64>,
    reason: Option<String>,
}

impl From<&Provision> for Said {
    fn from(body: &Provision) -> Self {
        Self {
            effective_at: body.effective_at.clone(),
            instance: body.instance.clone(),
            plan: Some(body.plan.clone()),
            properties: body.properties.clone(),
            quantity: body.quantity,
            reason: body.reason.clone(),
        }
    }
}

impl From<&ChangeSubscription> for Said {
    fn from(body: &ChangeSubscription) -> Self {
        Self {
            effective_at: body.effective_at.clone(),
            instance: None,
            plan: body.plan.clone(),
            properties: body.properties.clone(),
            quantity: body.quantity,
            reason: body.reason.clone(),
        }
    }
}

impl From<&Deprovision> for Said {
    fn from(body: &Deprovision) -> Self {
        let (effective_at, reason) = (body.effective_at.clone(), body.reason.clone());
        Self { effective_at, reason, ..Self::default() }
    }
}

impl Said {
    /// All that was asked.
    fn wish(self, asking: Asking, about: About, definition: Option<&Definition>) -> Wish {
        let is_hidden = |key: &str| {
            let property = PropertyKey::parse(key);
            let property = property.and_then(|key| definition?.property(&key));
            property.is_some_and(|property| property.hidden)
        };
        let properties = self.properties.iter().map(|(key, value)| WishedProperty {
            hidden: is_hidden(key),
            key: key.clone(),
            value: serde_json::to_value(value.value()).expect("values have a JSON form"),
        });
        Wish {
            asking,
            customer: about.customer,
            effective_at: self.effective_at,
            instance: self.instance,
            plan: self.plan,
            properties: properties.collect(),
            quantity: self.quantity,
            reason: self.reason,
            service: about.service,
            subscription: about.subscription,
            user: about.user,
        }
    }
}

/// The body of a wish again, as it was sent.
fn properties_of(wish: &Wish) -> BTreeMap<String, InputDocument> {
    let input =
        |value: &serde_json::Value| match serde_json::from_value::<ValueDocument>(value.clone()) {
            Ok(value) => InputDocument::Value(value),
            // It is null: everything else was one when it was sent.
            Err(_) => InputDocument::Nothing,
        };
    wish.properties.iter().map(|it| (it.key.clone(), input(&it.value))).collect()
}

/// Has the ordinary use case do what was wished.
fn carry_out(unit: &mut Unit<'_>, asked: &Asked) -> Result<Reply, Stop> {
    let wish = &asked.wish;
    let (effective_at, reason) = (wish.effective_at.clone(), wish.reason.clone());
    let properties = properties_of(wish);
    let id = wish.subscription.to_string();
    match wish.asking {
        Asking::Provision => {
            let body = Ok(Provision {
                service: wish.service.to_string(),
                plan: wish.plan.clone().unwrap_or_default(),
                quantity: wish.quantity,
                instance: wish.instance.clone(),
                properties,
                effective_at,
                reason,
            });
            let holder = match wish.user {
                Some(user) => Holder::User(user),
                None => Holder::Customer(wish.customer),
            };
            let part = asked.part_of.map(|of| Part { id: asked.id, of });
            provision_part(unit, holder, body, part)
        }
        Asking::Change => {
            let (plan, quantity) = (wish.plan.clone(), wish.quantity);
            let body = ChangeSubscription { plan, quantity, properties, effective_at, reason };
            subscriptions::change(unit, &id, Ok(body))
        }
        Asking::Deprovision => {
            subscriptions::deprovision(unit, &id, Ok(Deprovision { effective_at, reason }))
        }
    }
}

/// What a wish is about.
struct About {
    subscription: SubscriptionId,
    service: ServiceKey,
    customer: OrganizationId,
    user: Option<UserId>,
}

impl About {
    /// The first slot that something has been decided about since then.
    fn decided(unit: &mut Unit<'_>, since: &Mark) -> Option<Self> {
        let mut decided = unit.decided_since(since).iter();
        let first = decided.find(|it| matches!(it.event, Event::Subscription(_)))?;
        let subscription: SubscriptionId = first.stream.split_once('-')?.1.parse().ok()?;
        let request = unit.load::<Subscription>(subscription).request.clone()?;
        Some(Self {
            subscription,
            service: request.service.key,
            customer: request.customer.id,
            user: request.user.map(|user| user.id),
        })
    }
}

/// Has a wish granted, or sends it to those who have to approve it first.
///
/// It is granted on trial before anybody is asked: what is refused, or true already, needs nobody's approval. A part
/// of a request for many is asked by itself.
pub(crate) fn ask_first(
    unit: &mut Unit<'_>,
    asking: Asking,
    said: Option<Said>,
    part: Option<Part>,
    grant: impl FnOnce(&mut Unit<'_>) -> Result<Reply, Stop>,
) -> Result<Reply, Stop> {
    let before = unit.mark();
    let granted = grant(unit)?;
    // Atrium itself asks nobody.
    let (Some(requester), Some(said)) = (requester(unit.caller()), said) else {
        return Ok(granted);
    };
    let Some(about) = About::decided(unit, &before) else { return Ok(granted) };
    let chain = lineage(unit, about.customer)?;
    let policies = chain::policies(unit, &chain, &about.service, asking);
    if policies.is_empty() {
        return Ok(granted);
    }
    unit.back_to(before);

    let path = unit.load::<Organization>(about.customer).founded()?.path.clone();
    let published = unit.load::<Service>(&about.service).published.clone();
    let definition = published.as_ref().map(|(_, definition)| definition.as_ref());
    let wish = said.wish(asking, about, definition);
    if let Some(waiting) = waiting(unit, wish.subscription) {
        let same = Wish { reason: wish.reason.clone(), ..waiting.progress.asked.wish.clone() };
        if same == wish {
            return accepted(unit, waiting.id);
        }
        let detail = format!(
            "Something else that was asked for here waits for approval; withdraw that first \
             (POST /api/v2/requests/{}/withdraw).",
            waiting.id
        );
        return Err(Refusal::conflict("approval_pending", detail).into());
    }
    let steps = chain::steps(unit, &policies, &wish, &requester, &path)?;
    let least = |hours: fn(&domain::approval::Policy) -> u32| {
        policies.iter().map(|(_, policy)| hours(policy)).min().unwrap_or_default()
    };
    let asked = Asked {
        expires_at: unit.now() + Duration::hours(i64::from(least(|it| it.expires_after_hours))),
        id: part.map_or_else(|| unit.command_id(), |part| part.id),
        part_of: part.map(|part| part.of),
        remind_after_hours: least(|it| it.remind_after_hours),
        requester,
        steps,
        wish,
    };
    let id = asked.id;
    unit.because(None, asked.wish.reason.clone());
    unit.begin::<Approval>(id);
    unit.execute::<Approval>(id, &path, ApprovalCommand::Ask(Box::new(asked)))?;
    accepted(unit, id)
}

/// Who asks.
fn requester(caller: Caller) -> Option<Requester> {
    let Actor::User(actor) = caller.actor else { return None };
    Some(match caller.on_behalf_of {
        None => Requester { impersonator: None, user: actor },
        Some(user) => Requester { impersonator: Some(actor), user },
    })
}

/// As whom it was asked.
fn caller(requester: Requester) -> Caller {
    match requester.impersonator {
        None => Caller::user(requester.user),
        Some(real) => Caller::impersonating(real, requester.user),
    }
}

/// What waits for approval about a slot.
fn waiting(unit: &mut Unit<'_>, slot: SubscriptionId) -> Option<Arc<ApprovalView>> {
    let asked = unit.view::<AskedView>(&slot.to_string())?;
    let approval = unit.view::<ApprovalView>(&asked.approval.to_string())?;
    (approval.progress.status == Status::Waiting).then_some(approval)
}

/// Something that was asked, and its customer's place in the tree: for whoever sees that.
fn find(unit: &mut Unit<'_>, id: &str) -> Result<(CommandId, Progress, TenantPath), Stop> {
    let id: CommandId = id.parse().map_err(|_| Refusal::not_found())?;
    let progress = unit.load::<Approval>(id).progress()?.clone();
    let path = unit.load::<Organization>(progress.asked.wish.customer).founded()?.path.clone();
    let mine = unit.authority()?;
    if mine.is_some_and(|mine| !mine.path.contains(&path)) {
        return Err(Refusal::not_found().into());
    }
    Ok((id, progress, path))
}

/// Who answers: the caller, as he is now.
fn answering(unit: &mut Unit<'_>) -> Result<Answering, Stop> {
    let Some(requester) = requester(unit.caller()) else {
        let detail = "People approve and reject; Atrium itself does not.";
        return Err(Refusal::forbidden(detail).into());
    };
    let access = unit.view::<AccessView>(&requester.user.to_string());
    let access = access.ok_or(Stop::Unauthenticated)?;
    Ok(Answering {
        user: requester.user,
        impersonator: requester.impersonator,
        organization: access.organization,
        roles: access.roles.clone(),
    })
}

/// Whether he is let in; whether he asks himself is for who is let in, and comes after the body.
fn ensure_may_answer(progress: &Progress, answering: &Answering) -> Result<(), Stop> {
    match progress.ensure_asked(answering) {
        Err(refusal) if refusal.reason == Reason::Forbidden => Err(refusal.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(crate) fn approve(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, progress, path) = find(unit, id)?;
    let answering = answering(unit)?;
    ensure_may_answer(&progress, &answering)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason.clone());
    unit.execute::<Approval>(id, &path, ApprovalCommand::Approve(answering))?;
    let progress = unit.load::<Approval>(id).progress()?.clone();
    if progress.status == Status::Waiting && progress.step().is_none() {
        let asked = &progress.asked;
        let as_asked = caller(asked.requester);
        let done = unit.on_behalf(as_asked, id, |unit| carry_out(unit, asked));
        let outcome = match done {
            Ok(_) => ApprovalCommand::Grant,
            Err(stop) => ApprovalCommand::Fail(failure(stop)),
        };
        unit.because(None, reason);
        unit.execute::<Approval>(id, &path, outcome)?;
    }
    done(unit, id, progress.asked.part_of)
}

/// Why it cannot be done any more, in the words of the refusal.
fn failure(stop: Stop) -> Failure {
    match stop {
        Stop::Refused(refusal) => {
            // Properties may be hidden from those who read this.
            let is_of_property = |fault: &&Fault| fault.pointer.starts_with("/properties/");
            let (properties, others): (Vec<_>, Vec<_>) =
                refusal.faults.iter().partition(is_of_property);
            let mut said: Vec<_> = others.iter().map(|fault| fault.detail.as_str()).collect();
            if !properties.is_empty() {
                said.push("What is filled in does not fit any more.");
            }
            let detail = if said.is_empty() { refusal.detail.clone() } else { said.join(" ") };
            Failure { code: refusal.code.to_owned(), detail }
        }
        Stop::Unauthenticated => Failure {
            code: "requester_not_active".to_owned(),
            detail: "Who asked for it, or an organisation above, is not in use any more."
                .to_owned(),
        },
    }
}

pub(crate) fn reject(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, progress, path) = find(unit, id)?;
    let answering = answering(unit)?;
    ensure_may_answer(&progress, &answering)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    unit.execute::<Approval>(id, &path, ApprovalCommand::Reject(answering))?;
    done(unit, id, progress.asked.part_of)
}

pub(crate) fn withdraw(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, progress, path) = find(unit, id)?;
    let by = requester(unit.caller()).unwrap_or(progress.asked.requester);
    progress.ensure_requester(&by)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    unit.execute::<Approval>(id, &path, ApprovalCommand::Withdraw(by))?;
    done(unit, id, progress.asked.part_of)
}

/// Does what is due about something that waits: reminds, or rejects what nobody has answered.
pub(crate) fn due(unit: &mut Unit<'_>, id: CommandId) -> Result<Reply, Stop> {
    if unit.caller().actor != Actor::System {
        return Err(Refusal::forbidden("Only Atrium itself does what is due.").into());
    }
    let (id, progress, path) = find(unit, &id.to_string())?;
    unit.because(None, None);
    unit.execute::<Approval>(id, &path, ApprovalCommand::Due)?;
    if let Some(many) = progress.asked.part_of {
        requests::settle(unit, many)?;
    }
    Ok(Reply::nothing())
}

fn resource(unit: &mut Unit<'_>, id: CommandId) -> Result<ApprovalResource, Stop> {
    let sees_hidden = unit.holds(Permission::PublishServices)?;
    let view = unit.view::<ApprovalView>(&id.to_string()).ok_or_else(Refusal::not_found)?;
    Ok(match sees_hidden {
        true => ApprovalResource::whole(&view),
        false => ApprovalResource::shown(&view),
    })
}

fn accepted(unit: &mut Unit<'_>, id: CommandId) -> Result<Reply, Stop> {
    let resource = resource(unit, id)?;
    Ok(Reply::accepted(format!("/requests/{id}"), &resource))
}

/// Shows what came of it. A request for many may have waited for just that.
fn done(unit: &mut Unit<'_>, id: CommandId, part_of: Option<CommandId>) -> Result<Reply, Stop> {
    if let Some(many) = part_of {
        requests::settle(unit, many)?;
    }
    let resource = resource(unit, id)?;
    Ok(Reply::done(&resource, resource.version))
}
