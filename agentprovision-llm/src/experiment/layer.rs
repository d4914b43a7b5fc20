//! The layer that sends requests to the models of their arms.

use std::fmt;
use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::context::Context;
use agentprovision_core::model::{ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo, RouteHints};
use async_trait::async_trait;
use tower::Layer;

use super::assign::Experiment;
use crate::clip;
use crate::layers::refuse;

type Resolve = dyn Fn(&str) -> Result<Arc<dyn ChatModel>> + Send + Sync;

/// Replaces the model a request names by the one of its arm.
///
/// The unit is the request's affinity key, and where there is none the id of the user; so a session stays with its arm,
/// and a user does. The arm is noted among the request's tags as `experiment.<name>`, for everything further in; such a
/// tag of the caller's own is taken away. A request that takes no part, and one of a control arm, goes to the wrapped
/// model. A model that cannot be resolved is an error and never silently another arm, which would falsify the result.
#[derive(Clone)]
pub struct ExperimentLayer {
    experiments: Arc<[Experiment]>,
    resolve: Arc<Resolve>,
}

impl fmt::Debug for ExperimentLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExperimentLayer").field("experiments", &self.experiments).finish_non_exhaustive()
    }
}

impl ExperimentLayer {
    /// These experiments, and how a name becomes a model, usually
    /// [`ModelResolver::resolve`](agentprovision_core::model::ModelResolver::resolve).
    ///
    /// # Errors
    /// `invalid_input` with every problem of every experiment: also an arm whose model does not resolve, two experiments
    /// of one name, and two on one model.
    pub fn new(
        experiments: impl IntoIterator<Item = Experiment>,
        resolve: impl Fn(&str) -> Result<Arc<dyn ChatModel>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let experiments: Arc<[Experiment]> = experiments.into_iter().collect();
        let mut problems = Vec::new();
        for (place, experiment) in experiments.iter().enumerate() {
            let at = format!("experiments[{place}]");
            let mut own = Vec::new();
            experiment.problems(&mut own);
            for (arm, model) in experiment.arms.iter().map(|arm| &arm.model).enumerate() {
                if let Some(Err(error)) =
                    model.as_ref().filter(|model| !model.is_empty()).map(|name| resolve(name))
                {
                    own.push(format!("`arms[{arm}].model`: {error}"));
                }
            }
            let before = || experiments.iter().take(place);
            if before().any(|other| other.name == experiment.name) {
                own.push(format!("`name`: there are two experiments named `{}`", clip(&experiment.name)));
            }
            if before().any(|other| other.model == experiment.model) {
                own.push(format!("`model`: there are two experiments on `{}`", clip(&experiment.model)));
            }
            // The path of a problem begins after its first backtick.
            problems.extend(own.iter().map(|problem| format!("`{at}.{}", problem.trim_start_matches('`'))));
        }
        refuse("the experiments", &problems)?;
        Ok(Self { experiments, resolve: Arc::new(resolve) })
    }
}

impl Layer<Arc<dyn ChatModel>> for ExperimentLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Experimenting { inner, layer: self.clone() })
    }
}

#[derive(Debug)]
struct Experimenting {
    inner: Arc<dyn ChatModel>,
    layer: ExperimentLayer,
}

impl Experimenting {
    /// The model that answers, and the request as it is told.
    fn assign(&self, ctx: &Context, mut request: ChatRequest) -> Result<(Arc<dyn ChatModel>, ChatRequest)> {
        for experiment in self.layer.experiments.iter() {
            request.route.tags.remove(&tag(experiment));
        }
        let experiment = self.layer.experiments.iter().find(|experiment| experiment.model == request.model);
        let Some(experiment) = experiment else {
            return Ok((Arc::clone(&self.inner), request));
        };
        let arm = match &request.route.affinity {
            Some(unit) => experiment.assign(unit),
            None => experiment.assign(&ctx.principal().user().to_string()),
        };
        let Some(arm) = arm else {
            return Ok((Arc::clone(&self.inner), request));
        };
        request.route.tags.insert(tag(experiment), arm.name.clone());
        let Some(name) = &arm.model else {
            return Ok((Arc::clone(&self.inner), request));
        };
        let model = (self.layer.resolve)(name)?;
        request.model.clone_from(name);
        Ok((model, request))
    }
}

fn tag(experiment: &Experiment) -> String {
    format!("experiment.{}", experiment.name)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Experimenting {
    /// What the wrapped model is; an arm's model may be another.
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    /// Those of every arm: which one it is shows only with the request.
    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        let own = |experiment: &&Experiment| experiment.model == self.inner.info().name;
        let arms = self.layer.experiments.iter().filter(own).flat_map(|experiment| &experiment.arms);
        let others = arms.filter_map(|arm| (self.layer.resolve)(arm.model.as_deref()?).ok());
        let mut all = self.inner.answerers(ctx, route);
        all.extend(others.flat_map(|model| model.answerers(ctx, route)));
        all
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let (model, request) = self.assign(ctx, request)?;
        model.complete(ctx, request).await
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let (model, request) = self.assign(ctx, request)?;
        model.stream(ctx, request).await
    }
}
