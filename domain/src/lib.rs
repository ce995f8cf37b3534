//! Atrium's domain: what is sold, to whom, and what it costs. Pure: no clock, no randomness, no I/O,
//! and so nothing that fails but a wish that has to be refused.

pub mod approval;
pub mod authority;
pub mod billing;
pub mod billing_calendar;
pub mod bulk;
pub mod custom_fields;
pub mod decider;
pub mod effective;
pub mod event;
mod ids;
pub mod lifecycle;
pub mod money;
pub mod offer;
pub mod organization;
pub mod overrides;
mod path;
pub mod permission;
mod planted;
pub mod pricing;
pub mod property;
mod refusal;
pub mod role;
pub mod seal;
pub mod service;
pub mod subscription;
pub mod text;
pub mod upcast;
pub mod usage;
pub mod user;

pub use decider::Decider;
pub use ids::{
    CommandId, MeterKey, OrganizationId, PermissionKey, PlanKey, PropertyKey, RoleId, RoleKey,
    RuleKey, ServiceKey, SubjectId, SubscriptionId, TaxCategory, TokenId, UserId,
};
pub use path::TenantPath;
pub use planted::{Bug, planted};
pub use refusal::{Fault, Faults, Invalid, Lacking, Reason, Refusal, RoleLacking, pointer_token};
