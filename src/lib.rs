#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod config;
mod decode;
#[cfg(feature = "gateway")]
mod gateway;
mod integrations;
mod operations;
mod platform;
pub mod prelude;
mod providers;
mod store;
mod webhooks;
#[cfg(feature = "wire")]
pub mod wire;

pub use builder::PlatformBuilder;
pub use config::{BackupConfig, EngineConfig, PlatformConfig, RoleConfig};
pub use integrations::{ConnectorsConfig, NetworkConfig, OAuthAppConfig};
pub use operations::{OPERATIONS, Operation, Scope};
pub use platform::Platform;
pub use providers::{
    AzureProvider, BedrockProvider, CompatibleProvider, KeyedProvider, ProviderConfig, ServerProvider,
};
#[cfg(feature = "store-postgres")]
pub use store::Enlisted;
pub use store::Store;
pub use webhooks::WebhooksConfig;

pub use agentprovision_connectors as connectors;
pub use agentprovision_core::{
    Clock, Context, ContextIssuer, Effects, Entropy, Env, Error, ErrorKind, MemoryDb, OperatorContext,
    Result, Retry, Timestamp, access, agent, archive, audit, authz, backend, backup, canonical, changes,
    clock, context, effect, error, event, http, id, idempotency, identity, integration, maintenance,
    memory_store, model, money, page, run, secret, tenant, text, tool, usage, webhook,
};
pub use agentprovision_llm as llm;
pub use agentprovision_tenancy as tenancy;

/// For tests of your own agents: a scripted model, the manual clock, fault points.
#[cfg(feature = "testing")]
pub use agentprovision_core::testing;

/// One public conformance suite per contract, for backends of your own.
#[cfg(feature = "conformance")]
pub use agentprovision_core::conformance;
