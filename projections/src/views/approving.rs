//! Who has to approve what: policies of organisations.

use domain::approval::Policy;
use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::{OrganizationId, ServiceKey, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// What an organisation says about one service, or about all that it says nothing else of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalPolicyView {
    /// Who set it.
    pub organization: OrganizationId,
    /// That organisation's place in the tree.
    pub path: TenantPath,
    /// Which service; none: all that have no policy of their own.
    pub service: Option<ServiceKey>,
    /// Who has to approve what; none: it was cleared.
    pub policy: Option<Policy>,
}

impl ApprovalPolicyView {
    /// The kind of those that are in force.
    pub const SET: &'static str = "set";
}

/// What an event says about a policy.
fn said(event: &Recorded) -> Option<(&Option<ServiceKey>, Option<&Policy>)> {
    match &event.event {
        Event::Organization(OrganizationEvent::ApprovalsSet { policy, service }) => {
            Some((service, Some(policy)))
        }
        Event::Organization(OrganizationEvent::ApprovalsCleared { service }) => {
            Some((service, None))
        }
        _ => None,
    }
}

impl View for ApprovalPolicyView {
    const TABLE: &'static str = "view_approval_policy";
    const INDEXES: &'static [&'static str] = &["owner, sort, key"];
    const SORT_STAYS: bool = true;
    const MOVES: bool = true;
    held_in!(approval_policies);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (said(event), event.stream.split_once('-')) {
            (Some((service, _)), Some((_, id))) => {
                let service = service.as_ref().map_or("*", ServiceKey::as_str);
                vec![Touch::existing(format_args!("{id}/{service}"))]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Some((service, policy)) = said(event) else {
            return before;
        };
        let organization = event.stream.split_once('-')?.1.parse().ok()?;
        let (path, service, policy) = (event.path.clone(), service.clone(), policy.cloned());
        Some(Self { organization, path, service, policy })
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            kind: if self.policy.is_some() { Self::SET } else { "cleared" }.to_owned(),
            sort: self.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Index::default()
        }
    }
}
