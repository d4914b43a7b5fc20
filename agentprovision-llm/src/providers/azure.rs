//! OpenAI's models, and others, on Azure.

use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::{Error, Result};
use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::hosted::{required, variable};
use super::{OpenAiCompatible, Provider};
use crate::catalog::Catalog;
use crate::clip;
use crate::credential::Credential;
use crate::endpoint::{Endpoint, is_segment};
use crate::wire::openai_chat::{OpenAiChat, TokenLimitField};
use crate::wire::openai_responses::OpenAiResponses;

const NAME: &str = "azure";

/// Azure, under the name `azure`. A model is called by the name of its deployment.
///
/// Requests go to the v1 API, `/openai/v1`, unless [`Azure::api_version`] asks for the API of deployments.
#[derive(Clone, Debug)]
pub struct Azure {
    resource: String,
    /// The resource's address with the credential.
    endpoint: Endpoint,
    api_version: Option<String>,
    token_limit: TokenLimitField,
    responses: bool,
    proof: Proof,
}

#[derive(Clone, Debug)]
enum Proof {
    Key(SecretString),
    Credential(Arc<dyn Credential>),
}

impl Azure {
    /// The resource at `https://NAME.openai.azure.com` or `https://NAME.services.ai.azure.com` with one of its keys, sent
    /// in the header `api-key`.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header, or the URL is not an absolute one without user,
    /// query and fragment.
    pub fn new(resource: &str, key: SecretString) -> Result<Self> {
        if key.expose_secret().trim().is_empty() {
            return Err(Error::invalid("the key of provider `azure` is empty"));
        }
        Self::with(resource, Proof::Key(key))
    }

    /// The resource with another proof of who asks, such as one that brings tokens of Microsoft Entra ID.
    ///
    /// # Errors
    /// `invalid_input` when the URL is not an absolute one without user, query and fragment.
    pub fn with_credential(resource: &str, credential: Arc<dyn Credential>) -> Result<Self> {
        Self::with(resource, Proof::Credential(credential))
    }

    /// The resource at `AZURE_OPENAI_ENDPOINT` with the key in `AZURE_OPENAI_API_KEY`, in the API of deployments where
    /// `OPENAI_API_VERSION` is set.
    ///
    /// # Errors
    /// `invalid_input` when one of the first two is not set, and as [`Azure::new`] and [`Azure::api_version`].
    pub fn from_env() -> Result<Self> {
        let azure = Self::new(&required("AZURE_OPENAI_ENDPOINT")?, required("AZURE_OPENAI_API_KEY")?.into())?;
        match variable("OPENAI_API_VERSION") {
            Some(version) => azure.api_version(&version),
            None => Ok(azure),
        }
    }

    fn with(resource: &str, proof: Proof) -> Result<Self> {
        // The addresses that Azure shows often have the path of an API already.
        let resource = resource.trim_end_matches('/');
        let resource = resource.strip_suffix("/v1").unwrap_or(resource);
        let resource = resource.strip_suffix("/openai").unwrap_or(resource);
        let endpoint = prove(Endpoint::new(NAME, resource)?, &proof)?;
        Ok(Self {
            resource: resource.to_owned(),
            endpoint,
            api_version: None,
            token_limit: TokenLimitField::MaxCompletionTokens,
            responses: false,
            proof,
        })
    }

    /// The same resource in the API of deployments, `/openai/deployments/NAME`, of this version, such as `2024-10-21`.
    ///
    /// # Errors
    /// `invalid_input` when the version has characters other than letters, digits, `-`, `.`, `_` and `~`.
    pub fn api_version(mut self, version: &str) -> Result<Self> {
        self.endpoint.clone().with_query("api-version", version)?;
        self.api_version = Some(version.to_owned());
        Ok(self)
    }

    /// The same resource with another field for the token limit, which models of other makers than OpenAI may need.
    #[must_use]
    pub fn token_limit(self, token_limit: TokenLimitField) -> Self {
        Self { token_limit, ..self }
    }

    /// The same resource in the responses format, in which reasoning goes on between the turns of a conversation.
    #[must_use]
    pub fn responses(self) -> Self {
        Self { responses: true, ..self }
    }

    /// The server for one deployment: only in the API of deployments its name is part of the address.
    fn server(&self, deployment: &str, responses: bool) -> Result<OpenAiCompatible> {
        let resource = &self.resource;
        let base_url = match &self.api_version {
            None => format!("{resource}/openai/v1"),
            Some(_) if responses => format!("{resource}/openai"),
            Some(_) if is_segment(deployment) => format!("{resource}/openai/deployments/{deployment}"),
            Some(_) => {
                return Err(Error::invalid(format!("`{}` is no name of a deployment", clip(deployment))));
            }
        };
        let server = OpenAiCompatible::new(NAME, &base_url)?.endpoint(|endpoint| {
            let endpoint = prove(endpoint, &self.proof)?;
            match &self.api_version {
                Some(version) => endpoint.with_query("api-version", version),
                None => Ok(endpoint),
            }
        })?;
        Ok(if responses {
            server.dialect(OpenAiResponses::new().with_issuer(NAME))
        } else {
            server.dialect(OpenAiChat::new().with_token_limit(self.token_limit))
        })
    }
}

fn prove(endpoint: Endpoint, proof: &Proof) -> Result<Endpoint> {
    match proof {
        Proof::Key(key) => endpoint.with_header("api-key", key.expose_secret().trim()),
        Proof::Credential(credential) => Ok(endpoint.with_credential(Arc::clone(credential))),
    }
}

impl Provider for Azure {
    fn name(&self) -> &str {
        NAME
    }

    fn base_urls(&self) -> Vec<Uri> {
        vec![self.endpoint.base_url().clone()]
    }

    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>> {
        self.server(model, self.responses)?.model(model, transport, catalog)
    }

    fn embedder(
        &self,
        deployment: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        self.server(deployment, false)?.embedder(deployment, transport, catalog)
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}
