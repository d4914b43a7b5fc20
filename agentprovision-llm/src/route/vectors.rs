//! Embedding and rerank through the router: the same rules as for conversations.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    EmbedRequest, EmbedResponse, EmbeddingModel, ModelInfo, RerankModel, RerankRequest, RerankResponse,
    RouteHints,
};
use agentprovision_core::{Env, Result};
use async_trait::async_trait;

use super::ask::{Ask, recorded};
use super::plan::Needs;
use super::record::Recorder;
use crate::wire::{Category, ProviderError};

/// What texts need: a place for the longest of them, and the price of all.
pub(crate) fn needs<'a>(texts: impl Iterator<Item = &'a str>) -> Needs {
    let (bytes, longest) = texts.fold((0, 0), |(all, most), text| (all + text.len(), most.max(text.len())));
    Needs {
        input_tokens: (bytes as u64).div_ceil(3),
        at_once: (longest as u64).div_ceil(3),
        max_tokens: Some(0),
        ..Needs::default()
    }
}

/// The next batch of the texts of a request, as large as the model that is asked takes it.
#[derive(Debug)]
pub(crate) struct Embed<'a> {
    pub(crate) env: &'a Env,
    pub(crate) ctx: &'a Context,
    /// Without its texts.
    pub(crate) request: &'a EmbedRequest,
    pub(crate) texts: &'a [String],
    pub(crate) limit: Duration,
}

#[async_trait]
impl Ask for Embed<'_> {
    type Model = dyn EmbeddingModel;
    type Answer = EmbedResponse;

    async fn ask(
        &self,
        model: &dyn EmbeddingModel,
        info: &ModelInfo,
        mut recorder: Recorder,
        limit: Duration,
    ) -> Result<EmbedResponse> {
        let mut request = self.request.clone();
        request.model.clone_from(&info.name);
        request.inputs = self.texts.iter().take(model.largest_batch().max(1)).cloned().collect();
        recorder.sends(needs(request.inputs.iter().map(String::as_str)).input_tokens);
        let texts = request.inputs.len();
        let asked = async {
            let answer = model.embed(self.ctx, request).await?;
            if answer.vectors.len() != texts {
                let words = format!("{} vectors for {texts} texts", answer.vectors.len());
                let mut error = ProviderError::new(Category::Malformed, words);
                error.usage = answer.usage.map(Box::new);
                return Err(error.into());
            }
            Ok((answer.usage, 0, answer))
        };
        recorded(self.env, recorder, limit, self.limit, asked).await
    }

    fn limit(&self) -> Duration {
        self.limit
    }
}

#[derive(Debug)]
pub(crate) struct Rerank<'a> {
    pub(crate) env: &'a Env,
    pub(crate) ctx: &'a Context,
    pub(crate) request: &'a RerankRequest,
    pub(crate) limit: Duration,
}

#[async_trait]
impl Ask for Rerank<'_> {
    type Model = dyn RerankModel;
    type Answer = RerankResponse;

    async fn ask(
        &self,
        model: &dyn RerankModel,
        info: &ModelInfo,
        recorder: Recorder,
        limit: Duration,
    ) -> Result<RerankResponse> {
        let mut request = self.request.clone();
        request.model.clone_from(&info.name);
        let asked = async {
            let answer = model.rerank(self.ctx, request).await?;
            Ok((answer.usage, 0, answer))
        };
        recorded(self.env, recorder, limit, self.limit, asked).await
    }

    fn limit(&self) -> Duration {
        self.limit
    }
}

macro_rules! routed {
    ($routed:ident, $model:ident, $method:ident, $lookup:ident, $request:ident, $answer:ident $(, $forward:item)?) => {
        #[derive(Debug)]
        pub(crate) struct $routed {
            pub(crate) core: Arc<super::core::Core>,
            pub(crate) info: Arc<ModelInfo>,
            pub(crate) name: String,
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl $model for $routed {
            fn info(&self) -> &ModelInfo {
                &self.info
            }

            fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
                self.core.answerers(ctx, &self.name, route, &|name| self.core.registry.$lookup(name))
            }

            $($forward)?

            async fn $method(&self, ctx: &Context, mut request: $request) -> Result<$answer> {
                request.model.clone_from(&self.name);
                self.core.$method(ctx, request).await
            }
        }
    };
}

routed!(
    RoutedEmbedder,
    EmbeddingModel,
    embed,
    embedding,
    EmbedRequest,
    EmbedResponse,
    // The router makes the batches: each is a request of its own, with attempts of its own.
    fn largest_batch(&self) -> usize {
        usize::MAX
    }
);
routed!(RoutedReranker, RerankModel, rerank, rerank, RerankRequest, RerankResponse);
