//! Which model is better: sticky A/B tests, shadow traffic and comparisons side by side.
//!
//! - [`Experiment`] assigns units (a session, a user) to arms by hash, and [`ExperimentLayer`] sends each request to the
//!   model of its arm.
//! - [`ShadowLayer`](crate::layers::ShadowLayer) sends a copy of some requests to another model, and nobody who waits for
//!   the main answer notices.
//! - [`compare`] asks several models the same and says which to take, and why.
//!
//! ```
//! use std::sync::Arc;
//! use agentprovision_core::model::{ChatModel, ChatRequest, Message};
//! use agentprovision_core::testing::{Reply, ScriptedModel};
//! use agentprovision_llm::experiment::{CompareOptions, Contender, ExactMatch, compare};
//!
//! # async fn example(ctx: &agentprovision_core::Context) -> agentprovision_core::Result<()> {
//! let right: Arc<dyn ChatModel> = Arc::new(ScriptedModel::new("right", [Reply::text("4")]));
//! let wrong: Arc<dyn ChatModel> = Arc::new(ScriptedModel::new("wrong", [Reply::text("5")]));
//! let request = ChatRequest::new("", vec![Message::user("What is two and two?")]);
//! let options = CompareOptions::default().scorer(ExactMatch::new("4"));
//! let contenders = [Contender::new("right", right), Contender::new("wrong", wrong)];
//! let comparison = compare(ctx, &contenders, &request, &options).await?;
//! println!("{comparison}"); // a table; as JSON with serde_json
//! assert_eq!(comparison.recommendation.unwrap().model, "right");
//! # Ok(())
//! # }
//! ```

mod answer;
mod assign;
mod compare;
mod layer;
mod recommend;
mod score;
mod table;

pub use answer::Answer;
pub(crate) use answer::{measure, spent};
pub(crate) use assign::draw;
pub use assign::{Arm, Experiment, WHOLE};
pub use compare::{CompareOptions, Compared, Comparison, Contender, Failure, Trial, compare};
pub use layer::ExperimentLayer;
pub use recommend::Recommendation;
pub use score::{Contains, ExactMatch, Judge, MatchesSchema, NumericTolerance, Pattern, Score, Scorer};
