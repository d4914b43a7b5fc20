//! Providers: one file each, over a dialect.

#[cfg(feature = "anthropic")]
mod anthropic;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "openai")]
mod openai_compatible;

#[cfg(feature = "anthropic")]
pub use anthropic::Anthropic;
#[cfg(feature = "openai")]
pub use openai::OpenAi;
#[cfg(feature = "openai")]
pub use openai_compatible::OpenAiCompatible;

use std::fmt;
use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::ChatModel;
use http::Uri;

use crate::catalog::Catalog;

/// A service that serves models.
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The name it is registered under, without a slash; the catalogue and `provider/model` use it.
    fn name(&self) -> &str;

    /// The URLs it talks to, for the transport's list of allowed hosts.
    fn base_urls(&self) -> Vec<Uri>;

    /// The model the provider calls `model`; what `catalog` knows about it goes into its
    /// [`ModelInfo`](agentprovision_core::model::ModelInfo). The provider is not asked whether it exists.
    ///
    /// # Errors
    /// `invalid_input` when the name cannot be one of a model.
    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>>;
}
