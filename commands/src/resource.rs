//! Resources as the REST API shows them: what commands answer, and what `GET` gives.

mod approval;
mod books;
mod rulebook;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{BillingSettings, Overridden, PriceOverride, RuleChange, Setting};
use domain::event::Actor;
use domain::lifecycle::Status;
use domain::offer::{Offer, Plans};
use domain::organization::{Contact, Kind};
use domain::overrides::Overriding;
use domain::permission::{AnyPermission, Permission};
use domain::role::{DefaultRole, RoleRef, ServicePermission, ServiceRole};
use domain::seal::{Identity, Sealed};
use domain::service::{Definition, Plan};
use domain::subscription::{Act, Standing, Verb};
use domain::user::{Credential, ERASED, Person};
use domain::{OrganizationId, ServiceKey, UserId};
use projections::past::Past;
use projections::views::{
    Holder, OrganizationView, OverrideView, PermissionView, RequestView, RoleView, Scheduled,
    ServiceView, SubscriptionView, UserView,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use approval::{
    ApprovalFailureResource, ApprovalPolicyResource, ApprovalResource, ApprovalStepResource,
    ApprovedResource,
};

pub use rulebook::{
    ConditionResource, PatternResource, PatternsResource, RuleResource, RulesResource,
    TaxRateResource, TaxRatesResource,
};

pub use books::{PeriodResource, PeriodState, RerateResource, user_of};

use crate::usecase::definition::DefinitionDocument;

/// A provider, reseller or customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationResource {
    /// Its id.
    pub id: Uuid,
    /// The `id` of the billing API.
    pub number: u32,
    /// `provider`, `reseller` or `customer`.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Short and unique.
    pub code: String,
    /// Unique account code in the accounting system.
    pub billing_identifier: Option<String>,
    /// `standard`, `test` or `demo`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub purpose: domain::organization::Purpose,
    /// How to reach it.
    #[schema(value_type = BTreeMap<String, String>)]
    pub contact: Contact,
    /// What your own systems keep of it.
    pub custom_fields: BTreeMap<String, String>,
    /// The seller above.
    pub parent_id: Option<Uuid>,
    /// The seller who bills it: the one above, where nothing else was said.
    pub billed_by: Option<Uuid>,
    /// `active`, `disabled`, `deprovisioned` or `deleted`.
    #[schema(value_type = String)]
    pub status: Status,
    /// When it was founded.
    pub created_at: DateTime<Utc>,
    /// When it was deleted, where it is.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Its `ETag`.
    pub version: u64,
}

/// The same as commands answer it and answers are kept: with the contact sealed. Whoever shows it opens it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedOrganizationResource {
    /// All but the contact.
    #[serde(flatten)]
    pub organization: OrganizationResource,
    /// How to reach it.
    pub sealed_contact: Sealed<Contact>,
}

impl SealedOrganizationResource {
    /// As it is shown, with the contact.
    #[must_use]
    pub fn show(self, contact: Contact) -> OrganizationResource {
        OrganizationResource { contact, ..self.organization }
    }
}

impl From<&OrganizationView> for SealedOrganizationResource {
    fn from(view: &OrganizationView) -> Self {
        let organization = OrganizationResource {
            id: view.id.0,
            number: view.number,
            kind: view.kind,
            name: view.details.name.clone(),
            code: view.details.code.as_str().to_owned(),
            billing_identifier: view.details.billing_identifier.clone(),
            purpose: view.details.purpose,
            contact: Contact::default(),
            custom_fields: view.details.custom_fields.all().clone(),
            parent_id: view.parent.map(|id| id.0),
            billed_by: view.seller().map(|id| id.0),
            status: view.status,
            created_at: view.created_at,
            deleted_at: view.deleted_at,
            version: view.version,
        };
        Self { organization, sealed_contact: view.details.contact.clone() }
    }
}

/// A person who belongs to an organisation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserResource {
    /// The user's id.
    pub id: Uuid,
    /// Whose user.
    pub organization_id: Uuid,
    /// First name; `Erased` of somebody who was erased.
    pub first_name: String,
    /// Last name; `user` of somebody who was erased.
    pub last_name: String,
    /// Mail address; none of somebody who was erased.
    pub email: Option<String>,
    /// Unique name to sign in with; none of somebody who was erased.
    pub login: Option<String>,
    /// Where in the organisation.
    pub department: Option<String>,
    /// Where in the world.
    pub location: Option<String>,
    /// What your own systems keep of the user.
    pub custom_fields: BTreeMap<String, String>,
    /// What he may do: default roles by name, custom ones by id, those of services as `crm:agent`.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<RoleRef>,
    /// Who his manager is. He stays named when he is not in use any more, and is passed over then.
    pub manager_id: Option<Uuid>,
    /// `standard`, `test` or `demo`; none of somebody who was erased.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub purpose: Option<domain::organization::Purpose>,
    /// `active`, `disabled`, `deprovisioned` or `deleted`.
    #[schema(value_type = String)]
    pub status: Status,
    /// When he was added.
    pub created_at: DateTime<Utc>,
    /// When he was erased.
    pub erased_at: Option<DateTime<Utc>>,
    /// When he was deleted, where he is.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The `ETag`.
    pub version: u64,
}

/// The same as commands answer it and answers are kept: with the person sealed. Whoever shows it opens it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedUserResource {
    /// The user's id.
    pub id: UserId,
    /// Whose user.
    pub organization_id: OrganizationId,
    /// Who it is; none: he was erased.
    pub person: Option<Identity>,
    /// What he may do.
    pub roles: Vec<RoleRef>,
    /// Who his manager is.
    #[serde(default)]
    pub manager: Option<UserId>,
    /// Whether he may sign in.
    pub status: Status,
    /// When he was added.
    pub created_at: DateTime<Utc>,
    /// When he was erased.
    pub erased_at: Option<DateTime<Utc>>,
    /// When he was deleted, where he is.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The `ETag`.
    pub version: u64,
}

impl From<&UserView> for SealedUserResource {
    fn from(view: &UserView) -> Self {
        Self {
            id: view.id,
            organization_id: view.organization,
            person: view.person.clone(),
            roles: view.roles.clone(),
            manager: view.manager,
            status: view.status,
            created_at: view.created_at,
            erased_at: view.erased_at,
            deleted_at: view.deleted_at,
            version: view.version,
        }
    }
}

impl SealedUserResource {
    /// As it is shown, with the person; none where nobody can open it any more.
    #[must_use]
    pub fn show(self, person: Option<Person>) -> UserResource {
        let (erased_first, erased_last) = ERASED.split_once(' ').unwrap_or((ERASED, ""));
        let person = person.as_ref();
        let text = |of: fn(&Person) -> String| person.map(of);
        UserResource {
            id: self.id.0,
            organization_id: self.organization_id.0,
            first_name: text(|it| it.first_name.clone()).unwrap_or(erased_first.to_owned()),
            last_name: text(|it| it.last_name.clone()).unwrap_or(erased_last.to_owned()),
            email: text(|it| it.email.to_string()),
            login: text(|it| it.login.to_string()),
            department: person.and_then(|it| it.department.clone()),
            location: person.and_then(|it| it.location.clone()),
            custom_fields: person.map(|it| it.custom_fields.all().clone()).unwrap_or_default(),
            roles: self.roles,
            manager_id: self.manager.map(|id| id.0),
            purpose: self.person.as_ref().map(|person| person.purpose),
            status: self.status,
            created_at: self.created_at,
            erased_at: self.erased_at,
            deleted_at: self.deleted_at,
            version: self.version,
        }
    }
}

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenResource {
    /// Names it.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

impl From<&Credential> for TokenResource {
    fn from(credential: &Credential) -> Self {
        Self {
            id: credential.id.0,
            name: credential.name.clone(),
            created_at: credential.created_at,
            expires_at: credential.expires_at,
        }
    }
}

/// Where a role comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RoleKind {
    /// It is part of Atrium: it cannot be edited, only copied.
    Default,
    /// An organisation made it.
    Custom,
    /// A service brings it; it acts on the customers that hold the service.
    Service,
}

/// A set of permissions and of other roles.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleResource {
    /// What names it where roles are given: a default role's name, a custom role's id, `crm:agent` of a service.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// `default`, `custom` or `service`.
    #[schema(value_type = String)]
    pub kind: RoleKind,
    /// Who made it.
    pub organization_id: Option<Uuid>,
    /// The service that brings it.
    pub service: Option<String>,
    /// What its holder may do, apart from what comes with the roles that it includes. A custom permission that
    /// was withdrawn stays named, and nobody holds it.
    pub permissions: Vec<String>,
    /// Roles that are a part of it.
    pub includes: Vec<String>,
    /// The role that it was copied from.
    pub copied_from: Option<String>,
    /// The `ETag`; 1 for what cannot be edited here.
    pub version: u64,
}

impl From<&RoleView> for RoleResource {
    fn from(view: &RoleView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.content.name.clone(),
            description: view.content.description.clone(),
            kind: RoleKind::Custom,
            organization_id: Some(view.organization.0),
            service: None,
            permissions: view.content.permissions.iter().map(ToString::to_string).collect(),
            includes: view.content.includes.iter().map(ToString::to_string).collect(),
            copied_from: view.copied_from.as_ref().map(ToString::to_string),
            version: view.version,
        }
    }
}

impl From<DefaultRole> for RoleResource {
    fn from(role: DefaultRole) -> Self {
        Self {
            id: role.name().to_owned(),
            name: role.name().to_owned(),
            description: role.description().to_owned(),
            kind: RoleKind::Default,
            organization_id: None,
            service: None,
            permissions: role.permissions().iter().map(|it| it.name().to_owned()).collect(),
            includes: vec![],
            copied_from: None,
            version: 1,
        }
    }
}

impl RoleResource {
    /// A role that a service brings.
    #[must_use]
    pub fn of_service(service: &ServiceKey, role: &ServiceRole) -> Self {
        let named = |key: &domain::RoleKey| RoleRef::OfService(service.clone(), key.clone());
        Self {
            id: named(&role.key).to_string(),
            name: role.name.clone(),
            description: String::new(),
            kind: RoleKind::Service,
            organization_id: None,
            service: Some(service.to_string()),
            permissions: role.permissions.iter().map(ToString::to_string).collect(),
            includes: role.includes.iter().map(|key| named(key).to_string()).collect(),
            copied_from: None,
            version: 1,
        }
    }
}

/// A permission: what a role can hold.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionResource {
    /// Names it.
    pub key: String,
    /// As people read it.
    pub name: String,
    /// What it lets somebody do.
    pub description: String,
    /// Whether the provider or a service declared it; otherwise Atrium itself asks for it.
    pub custom: bool,
    /// The service that declares it.
    pub service: Option<String>,
}

impl From<&PermissionView> for PermissionResource {
    fn from(view: &PermissionView) -> Self {
        Self {
            key: view.declaration.key.to_string(),
            name: view.declaration.name.clone(),
            description: view.declaration.description.clone(),
            custom: true,
            service: None,
        }
    }
}

impl From<Permission> for PermissionResource {
    fn from(permission: Permission) -> Self {
        Self {
            key: permission.name().to_owned(),
            name: permission.name().to_owned(),
            description: permission.description().to_owned(),
            custom: false,
            service: None,
        }
    }
}

impl PermissionResource {
    /// A permission that a service declares.
    #[must_use]
    pub fn of_service(service: &ServiceKey, permission: &ServicePermission) -> Self {
        Self {
            key: AnyPermission::OfService(service.clone(), permission.key.clone()).to_string(),
            name: permission.name.clone(),
            description: String::new(),
            custom: true,
            service: Some(service.to_string()),
        }
    }
}

/// A service: what is sold and what is being edited.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceResource {
    /// Names it.
    pub key: String,
    /// Of what is sold: 1, 2, 3, ...; 0 before the first publication.
    pub published_version: u32,
    /// What is sold.
    pub published: Option<DefinitionDocument>,
    /// What is being edited.
    pub draft: Option<DefinitionDocument>,
    /// The `ETag`.
    pub version: u64,
}

impl ServiceResource {
    /// As those see it who publish services.
    #[must_use]
    pub fn whole(view: &ServiceView) -> Self {
        let draft = view.draft.as_ref().map(DefinitionDocument::from);
        let published = view.published.as_ref().map(DefinitionDocument::from);
        Self::of(view, published, draft)
    }

    /// As everybody else sees it: no draft, nothing hidden.
    #[must_use]
    pub fn shown(view: &ServiceView) -> Self {
        let published = view.published.as_ref();
        let published = published.map(|it| DefinitionDocument::from(&it.clone().without_hidden()));
        Self::of(view, published, None)
    }

    fn of(
        view: &ServiceView,
        published: Option<DefinitionDocument>,
        draft: Option<DefinitionDocument>,
    ) -> Self {
        Self {
            key: view.key.to_string(),
            published_version: view.published_version,
            published,
            draft,
            version: view.version,
        }
    }
}

/// A service held by a customer or a user.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionResource {
    /// Names it. The same holder, service and instance name have the same id again later.
    pub id: Uuid,
    /// The customer who holds it, or whose user does.
    pub customer_id: Uuid,
    /// The user who holds it, for a user service.
    pub user_id: Option<Uuid>,
    /// The service's key.
    pub service: String,
    /// The instance's name, where the service has many.
    pub instance: Option<String>,
    /// `NotProvisioned`, `Requested`, `InProgress`, `Provisioned`, `Failed`, `Pending` (other settings were asked for
    /// and are not applied yet) or `Suspended`.
    #[schema(value_type = String)]
    pub status: projections::views::SubscriptionStatus,
    /// The plan held.
    pub plan: Option<String>,
    /// Units held.
    pub quantity: Option<u32>,
    /// What is still to come, by date. Left out where it is shown as of another moment: it is not known of the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Vec<ScheduledResource>>,
    /// The latest request; as of another moment the one that said what was held then, if anything was.
    pub request_id: Option<Uuid>,
    /// Whether something that was asked for here waits for approval. Left out in the answers to commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_pending: Option<bool>,
    /// What the caller may do with it now, and why not the rest. Left out in the answers to commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub possible_actions: Option<Vec<PossibleAction>>,
    /// The `ETag`. Left out where it is shown as of another moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The moment of the business that it is shown as of, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// The position up to which it was known then, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_at: Option<u64>,
}

/// Something that can be done to a subscription, or why it cannot.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PossibleAction {
    /// `provision`, `change`, `suspend`, `resume`, `deprovision`, `retry`, `cancel` or `reset`.
    #[schema(value_type = String)]
    pub action: &'static str,
    /// Whether the caller may do it now.
    pub possible: bool,
    /// Every reason why not.
    pub reasons: Vec<WhyNot>,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyNot {
    /// For programs: the code of the answer to the command.
    pub code: String,
    /// For people.
    pub detail: String,
}

impl PossibleAction {
    /// What can be done to what stands so, but for permissions.
    ///
    /// `unfit` is why its holder cannot hold anything now, if that is so.
    #[must_use]
    pub fn new(standing: &Standing<'_>, act: Act, unfit: Option<&WhyNot>) -> Self {
        let why_not = standing.ready(act).why_not();
        let mut reasons: Vec<_> =
            why_not.map(|it| WhyNot::new(it.code, &it.detail)).into_iter().collect();
        if matches!(act, Act::Ask(Verb::Provision | Verb::Change)) {
            reasons.extend(unfit.cloned());
        }
        Self { action: act.name(), possible: reasons.is_empty(), reasons }
    }

    /// The same for somebody who may not do it.
    #[must_use]
    pub fn without_permission(mut self, why_not: WhyNot) -> Self {
        self.possible = false;
        self.reasons.push(why_not);
        self
    }
}

impl WhyNot {
    /// A reason.
    #[must_use]
    pub fn new(code: &str, detail: &str) -> Self {
        Self { code: code.to_owned(), detail: detail.to_owned() }
    }
}

/// A change that is still to come.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledResource {
    /// When.
    pub effective_at: DateTime<Utc>,
    /// What was asked: `provision`, `change`, `suspend`, `resume` or `deprovision`.
    #[schema(value_type = String)]
    pub verb: Verb,
    /// The request, which can be cancelled until then.
    pub request_id: Option<Uuid>,
    /// The plan held from then on; none where nothing is, or where it stays as it is.
    pub plan: Option<String>,
    /// Units held from then on.
    pub quantity: Option<u32>,
}

impl From<Scheduled> for ScheduledResource {
    fn from(scheduled: Scheduled) -> Self {
        let (plan, quantity) = scheduled.wish.unzip();
        Self {
            effective_at: scheduled.effective_at,
            verb: scheduled.verb,
            request_id: scheduled.request.map(|request| request.0),
            plan: plan.map(|plan| plan.to_string()),
            quantity,
        }
    }
}

impl SubscriptionResource {
    /// As it is at a moment.
    #[must_use]
    pub fn new(view: &SubscriptionView, now: DateTime<Utc>) -> Self {
        let held = view.held_at(now);
        let scheduled = view.scheduled(now).into_iter().map(ScheduledResource::from);
        Self {
            id: view.id.0,
            customer_id: view.customer.0,
            user_id: match view.holder {
                Holder::User(id) => Some(id.0),
                Holder::Customer(_) => None,
            },
            service: view.service.to_string(),
            instance: view.instance.clone(),
            status: view.status_at(now),
            plan: held.as_ref().map(|held| held.plan.to_string()),
            quantity: held.map(|held| held.quantity),
            scheduled: Some(scheduled.collect()),
            request_id: Some(view.request.0),
            approval_pending: None,
            possible_actions: None,
            version: Some(view.version),
            as_of: None,
            known_at: None,
        }
    }

    /// As it was.
    #[must_use]
    pub fn of_past(past: &Past) -> Self {
        let held = past.held.as_ref();
        Self {
            status: past.status(),
            plan: held.map(|held| held.plan.to_string()),
            quantity: held.map(|held| held.quantity),
            scheduled: None,
            request_id: held.and_then(|held| Some(held.request?.0)),
            version: None,
            as_of: Some(past.then.as_of),
            known_at: past.then.known_at,
            ..Self::new(&past.view, past.then.as_of)
        }
    }
}

/// A request and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestResource {
    /// Names it.
    pub id: Uuid,
    /// `provision`, `change`, `suspend`, `resume` or `deprovision`.
    #[schema(value_type = String)]
    pub verb: Verb,
    /// `Requested`, `InProgress`, `Completed`, `Failed`, `Cancelled` or `Scheduled` (its day is to come).
    #[schema(value_type = String)]
    pub status: projections::views::RequestStatus,
    /// Why it failed, where it did.
    pub detail: Option<String>,
    /// Of which subscription; none where it is for many, each of which is a part of it.
    pub subscription_id: Option<Uuid>,
    /// Whether it waits for another request: the customer's, or those of its users.
    pub waits: bool,
    /// The request that it is a part of.
    pub parent_id: Option<Uuid>,
    /// Its parts, in the order of asking. In the answers to commands, and in those who are parts themselves, empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sub_requests: Vec<SubRequestResource>,
    /// Of its parts, the ids of those that have to be approved first, whatever came of it:
    /// `/api/v2/requests/{id}` shows it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Uuid>,
    /// Everything it was built from; none where it says nothing about plans, and in the answers to commands. Its
    /// user's `person` is none if he was erased.
    #[schema(value_type = Option<Object>)]
    pub ingredients: Option<serde_json::Value>,
    /// Who asked: `user:<id>` or `system`.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// When it is to be true in the business.
    pub effective_at: DateTime<Utc>,
    /// When work began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub completed_at: Option<DateTime<Utc>>,
}

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubRequestResource {
    /// Names it.
    pub id: Uuid,
    /// How far it is, as of a request.
    #[schema(value_type = String)]
    pub status: projections::views::RequestStatus,
    /// Why it failed, where it did.
    pub detail: Option<String>,
    /// Of which subscription.
    pub subscription_id: Option<Uuid>,
}

impl SubRequestResource {
    /// As it is at a moment.
    #[must_use]
    pub fn new(view: &RequestView, now: DateTime<Utc>) -> Self {
        Self {
            id: view.id.0,
            status: view.status_at(now),
            detail: view.detail.clone(),
            subscription_id: view.subscription.map(|id| id.0),
        }
    }
}

impl RequestResource {
    /// A request, and what it was built from, with the person opened.
    #[must_use]
    pub fn new(
        view: &RequestView,
        ingredients: Option<serde_json::Value>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: view.id.0,
            verb: view.verb,
            status: view.status_at(now),
            detail: view.detail.clone(),
            subscription_id: view.subscription.map(|id| id.0),
            waits: view.waits,
            parent_id: view.parent.map(|parent| parent.0),
            sub_requests: Vec::new(),
            approvals: view.approvals.iter().map(|id| id.0).collect(),
            ingredients,
            requested_by: view.requested_by.to_string(),
            reason: view.reason.clone(),
            requested_at: view.requested_at,
            effective_at: view.effective_at,
            started_at: view.started_at.filter(|at| *at <= now),
            completed_at: view.completed_at.filter(|at| *at <= now),
        }
    }
}

/// How a seller bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingSettingsResource {
    /// The seller.
    pub organization_id: Uuid,
    /// ISO 4217.
    pub currency: String,
    /// The zone in which its days begin, by its IANA name.
    pub time_zone: String,
    /// Which periods there are, at first: `calendar_month`, `fixed_day(d)` or `days_before_month_end(n)`.
    pub calendar: String,
    /// Other calendars, each from a date on.
    pub changes: Vec<CalendarChangeResource>,
}

/// Another calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalendarChangeResource {
    /// Which periods there are from then on.
    pub calendar: String,
    /// The first date that it is about.
    pub effective_from: NaiveDate,
}

impl BillingSettingsResource {
    /// The settings of a seller.
    #[must_use]
    pub fn new(seller: OrganizationId, settings: &BillingSettings) -> Self {
        let change = |change: &RuleChange| CalendarChangeResource {
            calendar: change.rule.to_string(),
            effective_from: change.from,
        };
        Self {
            organization_id: seller.0,
            currency: settings.currency.code().to_owned(),
            time_zone: settings.zone.name().to_owned(),
            calendar: settings.rule.to_string(),
            changes: settings.rule_changes.iter().map(change).collect(),
        }
    }
}

/// How it stands with a service at an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferResource {
    /// Where.
    pub organization_id: Uuid,
    /// The service's key.
    pub service: String,
    /// The service's name.
    pub name: String,
    /// The keys of the plans that can be had here now, in the service's order. Empty: none of them.
    pub plans: Vec<String>,
    /// Whether it is offered here by name; otherwise it comes from what was rolled out above, if it comes at all.
    pub is_own: bool,
    /// Whether it was withdrawn here.
    pub is_withdrawn: bool,
    /// Whether it is offered from here to all below.
    pub is_rolled_out: bool,
}

impl OfferResource {
    /// The resource of what is said here about a service, and of the plans that reach the organisation.
    #[must_use]
    pub fn new(
        organization: OrganizationId,
        service: &Definition,
        offer: Option<&Offer>,
        reaching: Option<&Plans>,
    ) -> Self {
        let reaches = |plan: &&Plan| {
            !plan.retired && reaching.is_some_and(|reaching| reaching.contain(&plan.key))
        };
        Self {
            organization_id: organization.0,
            service: service.key.to_string(),
            name: service.name.clone(),
            plans: service.plans.iter().filter(reaches).map(|plan| plan.key.to_string()).collect(),
            is_own: offer.is_some_and(|offer| offer.own.is_some()),
            is_withdrawn: offer.is_some_and(|offer| offer.is_withdrawn),
            is_rolled_out: offer.is_some_and(|offer| offer.below.is_some()),
        }
    }
}

/// A price or property that an organisation sets otherwise, or clears.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideResource {
    /// For whom, and all below.
    pub organization_id: Uuid,
    /// Of which service.
    pub service: String,
    /// Of which plan; none: of every plan.
    pub plan: Option<String>,
    /// The component whose price it is; none: the plan's own price, or a property.
    pub component: Option<String>,
    /// The property; none: a price.
    pub property: Option<String>,
    /// The property's value.
    pub value: Option<String>,
    /// The price in minor units.
    pub price_minor: Option<i64>,
    /// The percentage on the price.
    pub percent: Option<String>,
    /// Whether only those who publish services see which property it is and what its value is.
    pub hidden: bool,
    /// Whether nobody below can set another value.
    pub locked: bool,
    /// Whether it ends those before it.
    pub cleared: bool,
    /// From when.
    pub effective_from: DateTime<Utc>,
    /// Until when.
    pub effective_to: Option<DateTime<Utc>>,
    /// Why.
    pub reason: Option<String>,
    /// Who did it.
    pub actor: String,
}

impl From<&OverrideView> for OverrideResource {
    fn from(view: &OverrideView) -> Self {
        let reason = view.reason.clone();
        Self::new(view.organization, &view.overriding, view.effective_from, reason, view.actor)
    }
}

impl OverrideResource {
    fn set_price(&mut self, setting: &Setting<PriceOverride>) {
        match setting {
            Setting::Cleared => self.cleared = true,
            Setting::Set { to, value } => {
                self.effective_to = *to;
                match value {
                    PriceOverride::Amount(minor) => self.price_minor = Some(*minor),
                    PriceOverride::Percent(percent) => self.percent = Some(percent.to_string()),
                }
            }
        }
    }

    /// The resource of an override.
    #[must_use]
    pub fn new(
        organization: OrganizationId,
        overriding: &Overriding,
        effective_from: DateTime<Utc>,
        reason: Option<String>,
        actor: Actor,
    ) -> Self {
        let mut resource = Self {
            organization_id: organization.0,
            service: overriding.service.to_string(),
            plan: overriding.plan.as_ref().map(ToString::to_string),
            component: None,
            property: None,
            value: None,
            price_minor: None,
            percent: None,
            hidden: false,
            locked: false,
            cleared: false,
            effective_from,
            effective_to: None,
            reason,
            actor: actor.to_string(),
        };
        match &overriding.overridden {
            Overridden::Price(setting) => resource.set_price(setting),
            Overridden::Component { key, setting } => {
                resource.component = Some(key.to_string());
                resource.set_price(setting);
            }
            Overridden::Property { hidden, key, locked, setting } => {
                resource.hidden = *hidden;
                resource.locked = *locked;
                resource.property = Some(key.to_string());
                match setting {
                    Setting::Cleared => resource.cleared = true,
                    Setting::Set { to, value } => {
                        resource.effective_to = *to;
                        resource.value = Some(value.clone());
                    }
                }
            }
        }
        resource
    }

    /// As those see it who do not publish services.
    #[must_use]
    pub fn without_hidden(mut self) -> Self {
        if self.hidden {
            self.property = None;
            self.value = None;
        }
        self
    }
}
