//! Budgets and rate limits: what they promise, by the names of the mistakes they are there to prevent.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these functions are called by tests only"
)]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::Backend;
use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::id::{ApiKeyId, ReservationId, TenantId, UserId};
use agentprovision_core::memory_store::MemoryDb;
use agentprovision_core::model::{
    Attempt, AttemptEnd, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest,
    EmbedResponse, EmbeddingModel, FinishReason, Message, ModelInfo, ModelPrice, ModelResolver, PriceSheet,
    PriceVariant, RerankModel, RerankRequest, RerankResponse, ServiceTier, Usage,
};
use agentprovision_core::money::{NanoUsd, PicoUsd};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::usage::{
    BudgetKey, BudgetState, Demand, Dimension as StoreDimension, QuotaGate, Reservation,
};
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry, Timestamp};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::layers::{BudgetConfig, BudgetLayer, RateLimitConfig, RateLimitLayer};
use agentprovision_llm::limit::{
    Amounts, Balance, Buckets, Dimension, Hold, HoldId, Ledger, Limit, MemoryLedger, Rate, Scope,
    StoreLedger, Window, Zone,
};
use agentprovision_llm::route::{Router, RoutingConfig, input_tokens};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tower::Layer;

mod budget;
mod kit;
mod ledger;
mod rate;
mod settle;
mod store;

const TTL: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// 2026-03-01T00:00:00Z, a Sunday.
const START: i64 = 1_772_323_200_000_000;

async fn within<T>(future: impl Future<Output = T>) -> T {
    Env::default().timeout(Duration::from_secs(30), future).await.expect("the test hangs")
}

fn seed() -> u64 {
    let seed = std::env::var("AGENTPROVISION_SEED")
        .map_or(0, |seed| seed.parse().expect("AGENTPROVISION_SEED is a number"));
    println!("AGENTPROVISION_SEED={seed}");
    seed
}

struct Draw(Env);

impl Draw {
    fn below(&self, end: u64) -> u64 {
        u64::from_le_bytes(self.0.random()) % end
    }
}

struct World {
    clock: ManualClock,
    env: Env,
    tenant: TenantId,
}

fn world() -> World {
    let clock = ManualClock::new(Timestamp::from_micros(START));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(seed())));
    World { clock, tenant: env.id(), env }
}

impl World {
    fn user(&self, user: UserId) -> Context {
        self.context(self.tenant, user, None)
    }

    fn context(&self, tenant: TenantId, user: UserId, key: Option<ApiKeyId>) -> Context {
        let identity = Identity {
            tenant,
            principal: Principal::User(user),
            scopes: PermissionSet::EMPTY,
            expires: None,
            key,
        };
        let issuer = ContextIssuer::new(self.env.clone());
        issuer.context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
    }

    fn ctx(&self) -> Context {
        self.user(self.env.id())
    }

    fn ledger(&self) -> Arc<MemoryLedger> {
        Arc::new(MemoryLedger::new(self.env.clone()))
    }
}

fn limit(scope: Scope, dimension: Dimension, window: Window, most: u64) -> Limit {
    Limit { scope, dimension, window, zone: Zone::UTC, most }
}

fn requests(window: Window, most: u64) -> Limit {
    limit(Scope::Tenant, Dimension::Requests, window, most)
}

fn input(amount: u64) -> Amounts {
    Amounts { requests: 1, input_tokens: amount, ..Amounts::default() }
}

fn taken(balance: Balance) -> u64 {
    balance.spent + balance.reserved
}

#[track_caller]
fn refused<T: fmt::Debug>(result: Result<T>, dimension: Dimension, window: Window) -> Error {
    let error = result.expect_err("it was let through");
    assert_eq!(error.kind(), ErrorKind::BudgetExceeded, "{error:?}");
    assert!(error.context().contains(&("dimension", dimension.name().to_owned())), "{error:?}");
    assert!(error.context().contains(&("window", window.name().to_owned())), "{error:?}");
    error
}

fn hello() -> ChatRequest {
    ChatRequest::new("m", vec![Message::user("hello")])
}

fn talks() -> ScriptedModel {
    ScriptedModel::from_fn("m", |_| Reply::text("hello to you"))
}

#[derive(Debug)]
struct Vectors(ModelInfo, Option<u64>);

#[async_trait]
impl EmbeddingModel for Vectors {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, _: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let usage = self.1.map(|input| Usage { input_tokens: Some(input), ..Usage::default() });
        Ok(EmbedResponse { vectors: vec![vec![1.0]; request.inputs.len()], model: None, usage })
    }
}
