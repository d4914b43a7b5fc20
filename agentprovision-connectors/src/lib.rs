//! Connectors, integrations, OAuth and webhooks of AgentProvision.
//!
//! A [`Connector`] is a value that describes a service: where it is, how a request proves who asks, and its operations. One
//! description of an operation ([`OperationSpec`]) is a Rust method, a model's tool, an MCP tool and a REST operation, with one
//! permission, one meter, one audit record and one set of limits. Start with [`operation`], then [`builtin`].

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod answer;
pub mod auth;
#[cfg(any(feature = "serve", feature = "webhooks"))]
mod body;
pub mod builtin;
pub mod call;
mod catalog;
pub mod connector;
mod date;
#[cfg(feature = "emulator")]
pub mod emulator;
mod exchange;
pub mod handler;
mod integrations;
pub mod layers;
pub mod mapping;
mod multipart;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod operation;
pub mod paging;
pub mod param;
pub mod quota;
mod renew;
pub mod request;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "_tls")]
mod tls;
mod tools;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use catalog::{AuthInfo, ConnectorDetails, ConnectorInfo, Connectors, FieldInfo, OperationInfo};
pub use connector::{Catalog, Connector};
pub use integrations::{
    Authorization, CallOptions, Changes, IntegrationUpdate, Integrations, IntegrationsParts, NewIntegration,
    TestResult, Watermark,
};
pub use operation::{Operation, OperationSpec};
pub use tools::OperationTool;
