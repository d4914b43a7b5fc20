//! What a caller says about a tenant, and the rules for it.

use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Env, Result, text};
use serde_json::{Map, Value};

/// The most bytes of settings, as JSON text.
const MAX_SETTINGS: usize = 64 << 10;

/// A tenant to be made.
///
/// ```
/// # use agentprovision_tenancy::tenant::NewTenant;
/// let acme = NewTenant::new("acme", "acme.example").plan("team").region("eu");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewTenant {
    /// The name, 1 to 255 characters.
    pub name: String,
    /// The domain, unique among tenants.
    pub domain: Option<String>,
    /// The plan, 1 to 255 characters.
    pub plan: Option<String>,
    /// Where the tenant's data must stay, 1 to 255 characters; it cannot be changed later.
    pub region: Option<String>,
    /// Settings of the host, at most 64 KiB as JSON.
    pub settings: Map<String, Value>,
}

impl NewTenant {
    /// A tenant with this name and domain.
    pub fn new(name: impl Into<String>, domain: impl Into<String>) -> Self {
        Self { domain: Some(domain.into()), ..Self::without_domain(name) }
    }

    /// A tenant with this name and no domain.
    pub fn without_domain(name: impl Into<String>) -> Self {
        Self { name: name.into(), domain: None, plan: None, region: None, settings: Map::new() }
    }

    /// The same tenant on a plan.
    #[must_use]
    pub fn plan(mut self, plan: impl Into<String>) -> Self {
        self.plan = Some(plan.into());
        self
    }

    /// The same tenant in a region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The same tenant with these settings.
    #[must_use]
    pub fn settings(mut self, settings: Map<String, Value>) -> Self {
        self.settings = settings;
        self
    }

    pub(crate) fn into_tenant(self, env: &Env) -> Result<Tenant> {
        let now = env.now();
        Ok(Tenant {
            name: text::name("name", &self.name)?,
            domain: self.domain.map(|domain| text::domain(&domain)).transpose()?,
            state: TenantState::Active,
            plan: self.plan.map(|plan| text::name("plan", &plan)).transpose()?,
            region: self.region.map(|region| text::name("region", &region)).transpose()?,
            settings: settings(self.settings)?,
            id: env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        })
    }
}

/// A change of a tenant: what is set is replaced, the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TenantUpdate {
    /// The new name.
    pub name: Option<String>,
    /// The new plan; `Some(None)` for no plan.
    pub plan: Option<Option<String>>,
    /// The new settings, instead of all the old ones.
    pub settings: Option<Map<String, Value>>,
}

impl TenantUpdate {
    /// A change of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same change with a new name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same change to a plan.
    #[must_use]
    pub fn plan(mut self, plan: impl Into<String>) -> Self {
        self.plan = Some(Some(plan.into()));
        self
    }

    /// The same change to no plan.
    #[must_use]
    pub fn without_plan(mut self) -> Self {
        self.plan = Some(None);
        self
    }

    /// The same change with new settings, instead of all the old ones.
    #[must_use]
    pub fn settings(mut self, settings: Map<String, Value>) -> Self {
        self.settings = Some(settings);
        self
    }

    pub(crate) fn apply(self, mut tenant: Tenant) -> Result<Tenant> {
        if let Some(name) = self.name {
            tenant.name = text::name("name", &name)?;
        }
        if let Some(plan) = self.plan {
            tenant.plan = plan.map(|plan| text::name("plan", &plan)).transpose()?;
        }
        if let Some(new) = self.settings {
            tenant.settings = settings(new)?;
        }
        Ok(tenant)
    }
}

fn settings(settings: Map<String, Value>) -> Result<Map<String, Value>> {
    text::json("settings", &Value::Object(settings.clone()), MAX_SETTINGS)?;
    Ok(settings)
}
