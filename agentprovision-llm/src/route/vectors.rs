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

use super::ask::Ask;
use super::chat::too_slow;
use super::plan::Needs;
use super::record::Recorder;

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

macro_rules! vectors {
    ($ask:ident, $routed:ident, $model:ident, $method:ident, $lookup:ident, $request:ident, $answer:ident) => {
        #[derive(Debug)]
        pub(crate) struct $ask<'a> {
            pub(crate) env: &'a Env,
            pub(crate) ctx: &'a Context,
            pub(crate) request: &'a $request,
            pub(crate) limit: Duration,
        }

        #[async_trait]
        impl Ask for $ask<'_> {
            type Model = dyn $model;
            type Answer = $answer;

            async fn ask(
                &self,
                model: &dyn $model,
                info: &ModelInfo,
                recorder: Recorder,
                limit: Duration,
            ) -> Result<$answer> {
                let mut request = self.request.clone();
                request.model.clone_from(&info.name);
                let asked = model.$method(self.ctx, request);
                match self.env.timeout(limit, asked).await {
                    Some(Ok(answer)) => {
                        recorder.answered(answer.usage, 0);
                        Ok(answer)
                    }
                    Some(Err(error)) => {
                        recorder.failed(&error);
                        Err(error)
                    }
                    None => {
                        recorder.given_up(&too_slow(), limit, self.limit);
                        Err(too_slow())
                    }
                }
            }

            fn limit(&self) -> Duration {
                self.limit
            }

            fn hedges(&self) -> bool {
                false
            }
        }

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

            async fn $method(&self, ctx: &Context, mut request: $request) -> Result<$answer> {
                request.model.clone_from(&self.name);
                self.core.$method(ctx, &request).await
            }
        }
    };
}

vectors!(Embed, RoutedEmbedder, EmbeddingModel, embed, embedding, EmbedRequest, EmbedResponse);
vectors!(Rerank, RoutedReranker, RerankModel, rerank, rerank, RerankRequest, RerankResponse);
