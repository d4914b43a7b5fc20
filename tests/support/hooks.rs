//! Webhooks over the stores of a platform, taken over HTTP on the loopback, and vendors that send to them.

use std::sync::Arc;

use agentprovision::access::{Access, Principals};
use agentprovision::authz::ContextAuthorizer;
use agentprovision::backend::Stores;
use agentprovision::connectors::webhook::{Receiver, Webhooks, WebhooksParts};
use agentprovision::http::{HttpTransport, ReqwestOptions, ReqwestTransport};
use agentprovision::id::{TenantId, UserId};
use agentprovision::prelude::*;
use agentprovision::tenancy::secret::SealedSecrets;
use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::desk;

/// Contexts as the platform makes them.
#[derive(Debug)]
struct Owners(Platform);

#[async_trait]
impl Principals for Owners {
    async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context> {
        self.0.context(tenant, user).await
    }
}

/// Webhooks of a platform, over its stores.
pub(crate) fn webhooks(platform: &Platform, stores: &Stores) -> Webhooks {
    let env = platform.env().clone();
    Webhooks::new(WebhooksParts {
        store: stores.endpoints.clone(),
        inbox: stores.inbox.clone(),
        secrets: Arc::new(SealedSecrets::new(stores.secrets.clone(), desk::keys(), env)),
        access: Access::new(platform.issuer().clone(), Arc::new(ContextAuthorizer)),
        principals: Arc::new(Owners(platform.clone())),
        runs: platform.runs().clone(),
    })
}

/// Serves a receiver; the URL is that under which endpoints are by their addresses.
pub(crate) async fn serve(receiver: Receiver) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route_service("/hooks/{address}", receiver);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Somebody who sends webhooks.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<ReqwestTransport>);

impl Sender {
    pub(crate) fn new() -> Self {
        Self(Arc::new(ReqwestTransport::new(&ReqwestOptions::default()).unwrap()))
    }

    /// Sends a delivery; the status and the text of the answer, where one came.
    pub(crate) async fn send(&self, url: &str, headers: &HeaderMap, body: &Bytes) -> Result<(u16, String)> {
        self.0.allow(&url.parse().unwrap())?;
        let mut request = Request::post(url).body(body.clone()).unwrap();
        *request.headers_mut() = headers.clone();
        let answer = self.0.send(request).await?;
        let status = answer.status().as_u16();
        let text: Vec<Bytes> = answer.into_body().try_collect().await?;
        Ok((status, String::from_utf8(text.concat()).unwrap()))
    }
}
