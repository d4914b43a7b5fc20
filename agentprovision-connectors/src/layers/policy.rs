//! Whether a call may be made.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::integration::IntegrationState;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use tower::Layer;

use crate::call::{Answer, Call, Invoke};

/// What a policy says about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It may be made.
    Allow,
    /// It may not, and why, in words a tenant may read.
    Deny(Cow<'static, str>),
}

/// Decides about calls with everything that is known of them, beyond what permissions say: such as which channels an agent
/// may post to. An error of a policy denies.
#[async_trait]
pub trait CallPolicy: fmt::Debug + Send + Sync + 'static {
    /// Decides about a call.
    async fn decide(&self, call: &Call) -> Result<Verdict>;
}

/// Lets calls through that the caller may make: with the permission `integrations:invoke` on an integration that can be used,
/// and with the host's policies.
#[derive(Clone, Debug)]
pub struct PolicyLayer {
    access: Access,
    policies: Arc<[Arc<dyn CallPolicy>]>,
}

impl PolicyLayer {
    /// Checks by `access`, then by each of these policies.
    pub fn new(access: Access, policies: Vec<Arc<dyn CallPolicy>>) -> Self {
        Self { access, policies: policies.into() }
    }
}

#[derive(Debug)]
struct Checked {
    layer: PolicyLayer,
    inner: Arc<dyn Invoke>,
}

impl Layer<Arc<dyn Invoke>> for PolicyLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Checked { layer: self.clone(), inner })
    }
}

#[async_trait]
impl Invoke for Checked {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let resource = Resource::one("integrations", call.integration.id);
        let (invoke, read) = (Permission::INTEGRATIONS_INVOKE, Permission::INTEGRATIONS_READ);
        // Whoever changes credentials may try them: that was checked where they were given.
        if call.candidate.is_none() {
            self.layer.access.change(&call.ctx, invoke, read, resource).await?;
        }
        match call.integration.state {
            IntegrationState::Active => {}
            IntegrationState::NeedsReconnect => {
                return Err(Error::conflict("the integration has to be connected again")
                    .with_context("reason", "needs_reconnect"));
            }
            _ => {
                return Err(Error::conflict("the integration is disabled").with_context("reason", "disabled"));
            }
        }
        for policy in &*self.layer.policies {
            match policy.decide(call).await {
                Ok(Verdict::Allow) => {}
                Ok(Verdict::Deny(reason)) => return Err(Error::denied(reason)),
                Err(error) => {
                    tracing::warn!(?call, ?error, "a policy for calls failed");
                    return Err(
                        Error::denied("whether this is permitted could not be decided").with_source(error)
                    );
                }
            }
        }
        self.inner.invoke(call).await
    }
}
