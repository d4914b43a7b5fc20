//! Embedding and rerank models over HTTP.

use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{
    EmbedRequest, EmbedResponse, EmbeddingModel, ModelInfo, RerankModel, RerankRequest, RerankResponse, Usage,
};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use http::{HeaderMap, StatusCode};

use crate::endpoint::Endpoint;
use crate::route::provider_error;
use crate::target::Target;
use crate::wire::embed::EmbedDialect;
use crate::wire::fit::fit;
use crate::wire::rerank::RerankDialect;
use crate::wire::{Category, ProviderError};

/// An embedding model of one provider, over HTTP. The `model` of a request is replaced by the name at the provider.
#[derive(Clone, Debug)]
pub struct HttpEmbedder {
    target: Target,
    dialect: Arc<dyn EmbedDialect>,
}

impl HttpEmbedder {
    /// A model that is called what `info` calls it, here and at its provider.
    pub fn new(
        info: ModelInfo,
        endpoint: Endpoint,
        dialect: Arc<dyn EmbedDialect>,
        transport: Arc<dyn HttpTransport>,
    ) -> Self {
        Self { target: Target::new(info, endpoint, transport), dialect }
    }

    /// The vectors of at most one batch.
    async fn batch(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let wire = self.dialect.encode(request)?;
        let classify = |status: StatusCode, headers: &HeaderMap, body: &[u8]| {
            self.dialect.classify(status, headers, body)
        };
        let (head, body) = self.target.whole(wire, &classify).await?;
        let answer = self.dialect.decode(head.status, &head.headers, &body);
        answer.and_then(|answer| counted(answer, request)).map_err(|error| self.target.failed(error))
    }
}

/// The answer, if it has one vector for each text and every vector has the length that was asked for.
fn counted(answer: EmbedResponse, request: &EmbedRequest) -> Result<EmbedResponse, ProviderError> {
    let malformed = |words: String| {
        let mut error = ProviderError::new(Category::Malformed, words);
        error.usage = answer.usage.map(Box::new);
        Err(error)
    };
    let (vectors, texts) = (answer.vectors.len(), request.inputs.len());
    if vectors != texts {
        return malformed(format!("{vectors} vectors for {texts} texts"));
    }
    if let Some(asked) = request.dimensions
        && let Some(other) = answer.vectors.iter().map(Vec::len).find(|length| *length != asked as usize)
    {
        return malformed(format!("a vector of {other} numbers where {asked} were asked for"));
    }
    let length = answer.vectors.first().map(Vec::len);
    if answer.vectors.iter().any(|vector| Some(vector.len()) != length) {
        return malformed("vectors of different lengths in one answer".into());
    }
    Ok(answer)
}

#[async_trait]
impl EmbeddingModel for HttpEmbedder {
    fn info(&self) -> &ModelInfo {
        &self.target.info
    }

    fn largest_batch(&self) -> usize {
        self.dialect.largest_batch().max(1)
    }

    async fn embed(&self, _ctx: &Context, mut request: EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.is_empty() {
            return Err(Error::invalid("a request for vectors needs at least one text"));
        }
        if request.inputs.iter().any(String::is_empty) {
            return Err(Error::invalid("an empty text has no vector"));
        }
        if request.dimensions == Some(0) {
            return Err(Error::invalid("a vector needs at least one dimension"));
        }
        request.model.clone_from(&self.target.wire_name);
        request.extra = fit(request.extra_format.take(), self.dialect.format(), request.extra)?;
        let inputs = std::mem::take(&mut request.inputs);
        let mut whole: Option<EmbedResponse> = None;
        for batch in inputs.chunks(self.largest_batch()) {
            request.inputs = batch.to_vec();
            let part = self.batch(&request).await;
            whole = Some(match whole {
                None => part?,
                Some(so_far) => {
                    let paid = so_far.usage;
                    part.and_then(|part| joined(so_far, part)).map_err(|error| also_paid(error, paid))?
                }
            });
        }
        whole.ok_or_else(|| Error::internal("no batch of texts was sent"))
    }
}

/// The vectors of two batches.
///
/// # Errors
/// `provider_error` when they are of different lengths.
pub(crate) fn joined(mut first: EmbedResponse, second: EmbedResponse) -> Result<EmbedResponse> {
    let length = |answer: &EmbedResponse| answer.vectors.first().map(Vec::len);
    if length(&first) != length(&second) {
        let words = "vectors of different lengths in one answer";
        let mut error = ProviderError::new(Category::Malformed, words);
        error.usage = second.usage.map(Box::new);
        return Err(error.into());
    }
    first.usage = sum(first.usage, second.usage);
    first.vectors.extend(second.vectors);
    Ok(first)
}

/// The error of a batch, with what was paid for those before it.
fn also_paid(error: Error, paid: Option<Usage>) -> Error {
    let Some(said) = provider_error(&error).filter(|_| paid.is_some()) else { return error };
    let mut said = said.clone();
    let usage = match said.usage.take() {
        Some(usage) => sum(paid, Some(*usage)),
        None => paid,
    };
    said.usage = usage.map(Box::new);
    error.with_source(said)
}

/// The counts of two batches. A count one of them lacks is unknown for both.
fn sum(first: Option<Usage>, second: Option<Usage>) -> Option<Usage> {
    let (first, second) = (first?, second?);
    let add = |of: fn(&Usage) -> Option<u64>| Some(of(&first)?.saturating_add(of(&second)?));
    Some(Usage {
        input_tokens: add(|usage| usage.input_tokens),
        cache_read_tokens: add(|usage| usage.cache_read_tokens),
        cache_write_tokens: add(|usage| usage.cache_write_tokens),
        cache_write_1h_tokens: add(|usage| usage.cache_write_1h_tokens),
        output_tokens: add(|usage| usage.output_tokens),
        reasoning_tokens: add(|usage| usage.reasoning_tokens),
        billed_input_tokens: add(|usage| usage.billed_input_tokens),
        billed_output_tokens: add(|usage| usage.billed_output_tokens),
        search_units: add(|usage| usage.search_units),
        service_tier: first.plus(second).service_tier,
    })
}

/// A rerank model of one provider, over HTTP. The `model` of a request is replaced by the name at the provider.
#[derive(Clone, Debug)]
pub struct HttpReranker {
    target: Target,
    dialect: Arc<dyn RerankDialect>,
}

impl HttpReranker {
    /// A model that is called what `info` calls it, here and at its provider.
    pub fn new(
        info: ModelInfo,
        endpoint: Endpoint,
        dialect: Arc<dyn RerankDialect>,
        transport: Arc<dyn HttpTransport>,
    ) -> Self {
        Self { target: Target::new(info, endpoint, transport), dialect }
    }
}

#[async_trait]
impl RerankModel for HttpReranker {
    fn info(&self) -> &ModelInfo {
        &self.target.info
    }

    async fn rerank(&self, _ctx: &Context, mut request: RerankRequest) -> Result<RerankResponse> {
        if request.query.is_empty() {
            return Err(Error::invalid("documents cannot be sorted by an empty query"));
        }
        if request.documents.is_empty() {
            return Err(Error::invalid("a request to sort documents needs at least one"));
        }
        if request.top_n == Some(0) {
            return Err(Error::invalid("at least one document must be asked for"));
        }
        request.model.clone_from(&self.target.wire_name);
        let wire = self.dialect.encode(&request)?;
        let classify = |status: StatusCode, headers: &HeaderMap, body: &[u8]| {
            self.dialect.classify(status, headers, body)
        };
        let (head, body) = self.target.whole(wire, &classify).await?;
        let answer = self.dialect.decode(head.status, &head.headers, &body);
        answer.and_then(|answer| sorted(answer, &request)).map_err(|error| self.target.failed(error))
    }
}

/// The answer with the best first, if it names every document at most once and no other.
fn sorted(mut answer: RerankResponse, request: &RerankRequest) -> Result<RerankResponse, ProviderError> {
    let malformed = |words| Err(ProviderError::new(Category::Malformed, words));
    let mut seen = vec![false; request.documents.len()];
    for ranked in &answer.results {
        match seen.get_mut(ranked.index) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return malformed(format!("the document {} comes twice", ranked.index)),
            None => return malformed(format!("there is no document {}", ranked.index)),
        }
    }
    answer.results.sort_by(|one, other| other.score.total_cmp(&one.score));
    let most = request.top_n.map_or(usize::MAX, |top| usize::try_from(top).unwrap_or(usize::MAX));
    answer.results.truncate(most);
    Ok(answer)
}
