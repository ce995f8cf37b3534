//! Provisioning to many at once.

use std::collections::BTreeMap;

use domain::approval::Asking;
use domain::bulk::{Bulk, BulkCommand};
use domain::organization::{Kind, Organization};
use domain::permission::Permission;
use domain::text::Address;
use domain::user::User;
use domain::{CommandId, Faults, Invalid, OrganizationId, Refusal, UserId};
use projections::views::{Holder, RequestStatus, RequestView};
use serde::Deserialize;
use utoipa::ToSchema;

use super::definition::InputDocument;
use super::subscriptions::{Part, Provision, provision_part};
use super::{approvals, optional_reason, requests, users};
use crate::error::Stop;
use crate::resource::RequestResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Most users that one command provisions something to.
pub const BULK_MAX: usize = 1_000;

/// A service for many users of a customer, with the same settings.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvisionToMany {
    /// The users: their ids or logins, up to 1,000.
    pub users: Vec<String>,
    /// The service's key.
    pub service: String,
    /// The plan's key.
    pub plan: String,
    /// Units for each, 1 to 1,000,000; 1 where it is left out.
    pub quantity: Option<i64>,
    /// The instance's name, for a service that one holder can have many of.
    pub instance: Option<String>,
    /// What is filled in: a value for each of the service's inputs.
    #[serde(default)]
    pub properties: BTreeMap<String, InputDocument>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_at: Option<String>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// What one user is to have.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it stands in what was sent: a JSON pointer, such as `/users/3` or `/lines/4`.
    pub at: String,
    /// For people: `Line 4`; none where the pointer says enough.
    pub line: Option<usize>,
    /// His id or login.
    pub user: String,
    /// What.
    pub wish: Provision,
}

/// What many users are to have.
#[derive(Clone, Debug)]
pub struct Many {
    /// Each of them.
    pub items: Vec<Item>,
    /// Kept with the event of the whole.
    pub reason: Option<String>,
}

impl From<ProvisionToMany> for Many {
    fn from(body: ProvisionToMany) -> Self {
        let wish = Provision {
            service: body.service,
            plan: body.plan,
            quantity: body.quantity,
            instance: body.instance,
            properties: body.properties,
            effective_at: body.effective_at,
            reason: body.reason.clone(),
        };
        let items = body.users.into_iter().enumerate().map(|(place, user)| Item {
            at: format!("/users/{place}"),
            line: None,
            user,
            wish: wish.clone(),
        });
        Self { items: items.collect(), reason: body.reason }
    }
}

/// Provisions to each, or to nobody where one of them cannot have it: then everything that is wrong is told.
pub(crate) fn provision(
    unit: &mut Unit<'_>,
    customer: &str,
    body: Input<Many>,
) -> Result<Reply, Stop> {
    let customer: OrganizationId = customer.parse().map_err(|_| Refusal::not_found())?;
    let state = unit.load::<Organization>(customer);
    let founded = state.founded()?;
    if founded.kind != Kind::Customer {
        return Err(Refusal::not_found().into());
    }
    let path = founded.path.clone();
    unit.permit(Permission::AssignToUsers, &path)?;
    let Many { items, reason } = unit.take(body)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, reason.as_deref());
    faults.ensure(!items.is_empty(), "/users", "empty", "Name at least one user.");
    let too_many = format!("There can be {BULK_MAX} at once; there are {}.", items.len());
    faults.ensure(items.len() <= BULK_MAX, "/users", "too_many", &too_many);
    faults.check()?;

    let request = unit.command_id();
    let mut faults = Faults::default();
    let mut holders = Vec::new();
    for item in &items {
        let found = faults.take(
            &item.at,
            find(unit, customer, &item.user)?.ok_or_else(|| {
                item.say("unknown_user", "The customer has no such user: this is an id or a login.")
            }),
        );
        holders.push(found);
    }
    unit.because(None, reason);
    unit.begin::<Bulk>(request);
    unit.execute::<Bulk>(request, &path, BulkCommand::Ask(request))?;
    for (item, holder) in items.into_iter().zip(holders) {
        let Some(holder) = holder else { continue };
        let part = Part { id: CommandId(unit.id()), of: request };
        let (wish, said) = (Ok(item.wish.clone()), Some((&item.wish).into()));
        let outcome = approvals::ask_first(unit, Asking::Provision, said, Some(part), |unit| {
            provision_part(unit, Holder::User(holder), wish, Some(part))
        });
        match outcome {
            // Who has it already has no part in it.
            Ok(_) => {}
            Err(Stop::Refused(refusal)) => item.note(&refusal, &mut faults),
            Err(stop) => return Err(stop),
        }
    }
    faults.check()?;
    unit.because(None, None);
    requests::settle(unit, request)?;
    let view = unit.view::<RequestView>(&request.to_string()).ok_or_else(Refusal::not_found)?;
    let resource = RequestResource::new(&view, None, unit.now());
    let location = format!("/requests/{request}");
    Ok(match view.status {
        RequestStatus::Completed => Reply::created_unversioned(location, &resource),
        _ => Reply::accepted(location, &resource),
    })
}

impl Item {
    fn say(&self, code: &'static str, detail: &str) -> Invalid {
        match self.line {
            Some(line) => Invalid::new(code, format!("Line {line}: {detail}")),
            None => Invalid::new(code, detail),
        }
    }

    /// Notes why one cannot have it.
    fn note(&self, refusal: &Refusal, faults: &mut Faults) {
        if refusal.faults.is_empty() {
            let Invalid { code, detail } = self.say(refusal.code, &refusal.detail);
            faults.add(&self.at, code, detail);
        }
        for fault in &refusal.faults {
            let Invalid { code, detail } = self.say(fault.code, &fault.detail);
            faults.add(&format!("{}{}", self.at, fault.pointer), code, detail);
        }
    }
}

/// The customer's user of that id or login.
fn find(unit: &mut Unit<'_>, customer: OrganizationId, text: &str) -> Result<Option<UserId>, Stop> {
    let id = match text.trim().parse::<UserId>() {
        Ok(id) => Some(id),
        Err(_) => match Address::parse(text.trim()) {
            Ok(login) => users::by_login(unit, &login)?,
            Err(_) => None,
        },
    };
    let Some(id) = id else { return Ok(None) };
    let is_theirs = unit.load::<User>(id).known().is_ok_and(|user| user.organization == customer);
    Ok(Some(id).filter(|_| is_theirs))
}
