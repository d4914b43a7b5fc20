//! What callers say to a run while it is under way.

use serde::{Deserialize, Serialize};

use super::PayloadHash;
use crate::id::{ApprovalId, UserId};

/// Something said to a run. Kept by the store until the run has journaled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Signal {
    /// The run shall end.
    Cancel {
        /// Who says so.
        by: UserId,
    },
    /// A person's answer to an approval.
    Approval {
        /// The approval.
        approval: ApprovalId,
        /// The arguments the person saw; an answer to others counts for nothing.
        args_hash: PayloadHash,
        /// Whether the call may go ahead.
        approved: bool,
        /// Who answers.
        by: UserId,
    },
}
