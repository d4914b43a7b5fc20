//! What most programs need: `use agentprovision::prelude::*;`.

pub use crate::{Platform, PlatformBuilder, PlatformConfig};
pub use agentprovision_core::agent::{AgentSpec, Budget};
pub use agentprovision_core::identity::Role;
pub use agentprovision_core::page::PageRequest;
pub use agentprovision_core::run::{Answer, OnDisconnect, RunEventKind, RunInput, RunQuery, RunStatus};
pub use agentprovision_core::tool::{Approval, Effect, ToolCall, tool};
pub use agentprovision_core::usage::Period;
pub use agentprovision_core::{Context, Error, ErrorKind, OperatorContext, Result};
#[cfg(feature = "llm-openai")]
pub use agentprovision_llm::providers::{OpenAi, OpenAiCompatible};
pub use agentprovision_tenancy::identity::{NewUser, UserUpdate};
pub use agentprovision_tenancy::tenant::{NewTenant, TenantUpdate};
pub use futures_util::TryStreamExt;
