//! Amazon Bedrock.

use std::env;
use std::sync::Arc;

use agentprovision_core::clock::{Clock, SystemClock};
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::{Error, Result};
use http::Uri;
use secrecy::SecretString;

use super::Provider;
use crate::catalog::Catalog;
use crate::clip;
use crate::endpoint::Endpoint;
use crate::http_model::HttpModel;
use crate::http_vectors::HttpEmbedder;
use crate::sigv4::{AwsKeySource, AwsKeys, SigV4};
use crate::wire::bedrock_converse::BedrockConverse;
use crate::wire::titan_embed::TitanEmbed;

const SERVICE: &str = "bedrock";

/// How a request proves who asks.
#[derive(Clone, Debug)]
enum Proof {
    /// A signature with AWS keys.
    Keys(Arc<dyn AwsKeySource>),
    /// A Bedrock API key, sent as it is.
    Bearer(SecretString),
}

/// The models of Amazon Bedrock in one region, under the name `bedrock`. A model is named by its id, the id of an
/// inference profile, or an ARN.
#[derive(Clone, Debug)]
pub struct Bedrock {
    region: String,
    endpoint: Endpoint,
    proof: Proof,
    clock: Arc<dyn Clock>,
    dialect: BedrockConverse,
}

impl Bedrock {
    /// Bedrock in `region` (`us-east-1`) with AWS keys: [`AwsKeys`], or a source that renews them.
    ///
    /// # Errors
    /// `invalid_input` when the region is no name of one.
    pub fn new(region: &str, keys: Arc<dyn AwsKeySource>) -> Result<Self> {
        Self::build(region, Proof::Keys(keys))
    }

    /// Bedrock in `region` with a Bedrock API key instead of AWS keys.
    ///
    /// # Errors
    /// `invalid_input` as [`Bedrock::new`], and when the key is empty or cannot stand in a header.
    pub fn with_api_key(region: &str, key: SecretString) -> Result<Self> {
        Self::build(region, Proof::Bearer(key))
    }

    /// Bedrock with what the environment says, as AWS's own libraries read it: the region in `AWS_REGION` or
    /// `AWS_DEFAULT_REGION`; the API key in `AWS_BEARER_TOKEN_BEDROCK`, and otherwise the keys in `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and, for temporary ones, `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// `invalid_input` when one of them is not set, and as [`Bedrock::new`].
    pub fn from_env() -> Result<Self> {
        let read = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let need = |name: &str| {
            read(name).ok_or_else(|| Error::invalid(format!("the environment variable `{name}` is not set")))
        };
        let region = read("AWS_REGION").map_or_else(|| need("AWS_DEFAULT_REGION"), Ok)?;
        if let Some(key) = read("AWS_BEARER_TOKEN_BEDROCK") {
            return Self::with_api_key(&region, key.into());
        }
        let keys = AwsKeys::new(need("AWS_ACCESS_KEY_ID")?, need("AWS_SECRET_ACCESS_KEY")?.into());
        let keys = match read("AWS_SESSION_TOKEN") {
            Some(token) => keys.with_session_token(token.into()),
            None => keys,
        };
        Self::new(&region, Arc::new(keys))
    }

    /// The same provider at another base URL, such as that of a VPC endpoint; signed for the same region.
    ///
    /// # Errors
    /// `invalid_input` when the URL is not an absolute one without user, query and fragment.
    pub fn at(self, base_url: &str) -> Result<Self> {
        Ok(Self { endpoint: endpoint(base_url, &self.proof)?, ..self })
    }

    /// The same provider with another clock for its signatures.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same provider with other options of the dialect.
    #[must_use]
    pub fn dialect(self, dialect: BedrockConverse) -> Self {
        Self { dialect, ..self }
    }

    fn build(region: &str, proof: Proof) -> Result<Self> {
        let region = region.trim();
        let named =
            region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if region.is_empty() || !named {
            return Err(Error::invalid(format!("`{}` is no name of an AWS region", clip(region))));
        }
        // The Chinese partition has a domain of its own.
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        Ok(Self {
            region: region.to_owned(),
            endpoint: endpoint(&format!("https://bedrock-runtime.{region}.{domain}"), &proof)?,
            proof,
            clock: Arc::new(SystemClock::default()),
            dialect: BedrockConverse::new(),
        })
    }

    /// The endpoint with its credential.
    fn proven(&self) -> Endpoint {
        match &self.proof {
            Proof::Bearer(_) => self.endpoint.clone(),
            Proof::Keys(keys) => {
                let signer = SigV4::new(Arc::clone(keys), &self.region, SERVICE);
                self.endpoint.clone().with_credential(Arc::new(signer.with_clock(Arc::clone(&self.clock))))
            }
        }
    }
}

fn endpoint(base_url: &str, proof: &Proof) -> Result<Endpoint> {
    let endpoint = Endpoint::new("bedrock", base_url)?;
    match proof {
        Proof::Bearer(key) => endpoint.with_key(key.clone()),
        Proof::Keys(_) => Ok(endpoint),
    }
}

impl Provider for Bedrock {
    fn name(&self) -> &str {
        self.endpoint.provider()
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
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpModel::new(info, self.proven(), Arc::new(self.dialect.clone()), transport)))
    }

    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpEmbedder::new(info, self.proven(), Arc::new(TitanEmbed::new()), transport)))
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    #[test]
    fn a_region_has_its_address_and_what_is_none_is_refused() {
        let keys = || Arc::new(AwsKeys::new("id", "secret".into()));
        let url = |region| Bedrock::new(region, keys()).unwrap().base_urls()[0].to_string();
        assert_eq!(url(" us-east-1 "), "https://bedrock-runtime.us-east-1.amazonaws.com/");
        assert_eq!(url("cn-north-1"), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/");
        for bad in ["", "a.b/c", "us east", "US-EAST-1"] {
            assert!(Bedrock::new(bad, keys()).unwrap_err().is(ErrorKind::InvalidInput), "{bad}");
        }
        assert!(Bedrock::with_api_key("us-east-1", " ".into()).is_err());
        assert!(Bedrock::new("us-east-1", keys()).unwrap().at("ftp://h").is_err());
    }
}
