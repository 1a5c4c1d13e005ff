//! What a client may do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A client's rank; each may do what the ones before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Looks only.
    Reader,
    /// Starts, stops and restarts units.
    Operator,
    /// Everything: changes what runs, runs commands in containers, reboots.
    Admin,
}

impl Role {
    /// All of them, lowest first.
    pub const ALL: [Role; 3] = [Role::Reader, Role::Operator, Role::Admin];

    /// The word in certificates, options and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role that an organisation name of a certificate's subject gives:
    /// `orlop:admin` and so on. Anything else gives none.
    pub fn from_organization(organization: &str) -> Option<Role> {
        let word = organization.strip_prefix("orlop:")?;
        Role::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// The organisation name that gives this role.
    pub fn organization(self) -> String {
        format!("orlop:{}", self.as_str())
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
