//! Calls of operations, typed and in their JSON form, and lists read to their end.

use std::sync::Arc;

use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Context;
use agentprovision_core::id::IntegrationId;
use agentprovision_core::integration::Integration;
use agentprovision_core::{Error, ErrorKind, Result};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{CallOptions, FRESH, Integrations, credentials_refused};
use crate::call::{Call, Traffic};
use crate::connector::{Compiled, Connector, violations};
use crate::operation::{Idempotency, Operation, PAGE, Page as Listed, read};
use crate::renew::is_refused;

impl Integrations {
    /// A record for calls, read at most a second ago.
    pub(super) async fn for_call(&self, ctx: &Context, id: IntegrationId) -> Result<Arc<Integration>> {
        let now = self.env().monotonic();
        if let Some((at, integration)) = self.0.read.get(&(ctx.tenant(), id))
            && now.saturating_sub(at) < FRESH
        {
            return Ok(integration);
        }
        let integration = Arc::new(self.0.store.get(ctx, id).await?);
        self.0.read.insert((ctx.tenant(), id), (now, integration.clone()));
        Ok(integration)
    }

    pub(super) fn prepare(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        operation: &Arc<Compiled>,
        integration: Arc<Integration>,
        input: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Call> {
        let spec = &operation.spec;
        let input = Value::Object(input);
        if let Some(problems) = violations(&operation.input, &input) {
            return Err(Error::invalid(format!(
                "the input of `{}.{}`: {problems}",
                connector.name, spec.name
            )));
        }
        let Value::Object(input) = input else { return Err(Error::internal("an object is one")) };
        self.unchecked(ctx, connector, operation, integration, input, options)
    }

    /// A call whose input nobody has looked at.
    pub(super) fn unchecked(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        operation: &Arc<Compiled>,
        integration: Arc<Integration>,
        input: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Call> {
        let (env, spec) = (self.env(), &operation.spec);
        let limit = options.timeout.map_or(spec.timeout, |timeout| timeout.min(spec.timeout));
        let limit = ctx.deadline().map_or(limit, |deadline| deadline.since(env.now()).min(limit));
        let named = options.idempotency_key.is_some();
        let key = match options.idempotency_key {
            Some(key) if !(1..=255).contains(&key.len()) => {
                return Err(Error::invalid("an idempotency key has 1 to 255 bytes"));
            }
            Some(key) => Some(Arc::from(key)),
            // So that a repeat of this very call is told.
            None if matches!(spec.idempotency, Idempotency::Key(_)) => {
                Some(Arc::from(hex::encode(env.random::<16>())))
            }
            None => None,
        };
        Ok(Call {
            ctx: ctx.clone(),
            integration,
            connector: connector.clone(),
            operation: operation.clone(),
            input: Arc::new(input),
            key,
            deadline: env.monotonic().saturating_add(limit),
            run: options.run,
            agent: options.agent.or_else(|| ctx.agent()),
            named,
            candidate: None,
            traffic: Arc::new(Traffic::default()),
            exchange: self.0.exchange.clone(),
        })
    }

    /// Calls an operation of an integration, in its JSON form.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:invoke`, `not_found` without `integrations:read` too, and for an unknown
    /// operation; `invalid_input`, naming the field, for input that does not match the schema; `conflict` for an integration
    /// that cannot be used; `blocked`, `rate_limited`, `unavailable`, `deadline_exceeded`; `provider_error` for a vendor that
    /// fails, or whose answer is not what its description says; `uncertain` where it may have been carried out.
    pub async fn invoke(
        &self,
        ctx: &Context,
        id: IntegrationId,
        operation: &str,
        input: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Value> {
        self.0.access.context(ctx)?;
        let integration = self.for_call(ctx, id).await?;
        let connector = self.0.catalog.get(&integration.connector)?;
        self.carry_out(ctx, connector, integration.clone(), operation, input, options).await
    }

    /// As [`Integrations::invoke`], of an integration that has to be of this connector.
    pub(crate) async fn invoke_of(
        &self,
        ctx: &Context,
        id: IntegrationId,
        connector: &Arc<Connector>,
        operation: &str,
        input: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Value> {
        self.0.access.context(ctx)?;
        let integration = self.for_call(ctx, id).await?;
        if integration.connector != connector.name {
            return Err(Error::invalid(format!("the integration is none of `{}`", connector.name)));
        }
        self.carry_out(ctx, connector, integration, operation, input, options).await
    }

    async fn carry_out(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        integration: Arc<Integration>,
        operation: &str,
        input: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Value> {
        let id = integration.id;
        let prepared = connector
            .operation(operation)
            .and_then(|operation| self.prepare(ctx, connector, operation, integration, input, options));
        let call = match prepared {
            Ok(call) => call,
            // What is wrong with it is for those who may make it.
            Err(error) => {
                let (invoke, seen) = (Permission::INTEGRATIONS_INVOKE, Permission::INTEGRATIONS_READ);
                self.0.access.change(ctx, invoke, seen, Resource::one("integrations", id)).await?;
                return Err(error);
            }
        };
        let answer = self.0.stack.invoke(&call).await;
        if let Err(error) = &answer
            && (credentials_refused(error) || is_refused(error))
        {
            self.0.read.invalidate(&(ctx.tenant(), id));
            self.0.exchange.forget(ctx, id);
            if is_refused(error) {
                self.needs_reconnect(ctx, id, error).await;
            }
        }
        Ok(answer?.value)
    }

    /// Calls a typed operation of an integration.
    ///
    /// # Errors
    /// As [`Integrations::invoke`].
    pub async fn call<O: Operation>(&self, ctx: &Context, id: IntegrationId, input: &O) -> Result<O::Output> {
        self.call_with(ctx, id, input, CallOptions::default()).await
    }

    /// As [`Integrations::call`], with options.
    ///
    /// # Errors
    /// As [`Integrations::invoke`].
    pub async fn call_with<O: Operation>(
        &self,
        ctx: &Context,
        id: IntegrationId,
        input: &O,
        options: CallOptions,
    ) -> Result<O::Output> {
        let value = self.invoke(ctx, id, O::NAME, fields(input)?, options).await?;
        read(value).map_err(crate::answer::unexpected)
    }

    /// All items of a list, page after page. A failure ends the stream, and nothing is skipped.
    ///
    /// # Errors
    /// The items', as [`Integrations::invoke`].
    pub fn pages<O, T>(&self, ctx: &Context, id: IntegrationId, input: &O) -> BoxStream<'static, Result<T>>
    where
        O: Operation<Output = Listed<T>>,
        T: serde::de::DeserializeOwned + Send + 'static,
        Listed<T>: Serialize + serde::de::DeserializeOwned + JsonSchema,
    {
        let (this, ctx) = (self.clone(), ctx.clone());
        let first = fields(input).map(|fields| (fields, 0));
        let pages = stream::unfold(Some(first), move |at| {
            let (this, ctx) = (this.clone(), ctx.clone());
            async move {
                let (mut input, empty) = match at? {
                    Ok(place) => place,
                    Err(error) => return Some((Err(error), None)),
                };
                let asked = this.invoke(&ctx, id, O::NAME, input.clone(), CallOptions::default()).await;
                let page: Listed<T> =
                    match asked.and_then(|value| read(value).map_err(crate::answer::unexpected)) {
                        Ok(page) => page,
                        Err(error) => return Some((Err(error), None)),
                    };
                let empty = if page.items.is_empty() { empty + 1 } else { 0 };
                if page.next.is_some() && empty > EMPTY_PAGES {
                    return Some((Err(endless()), None));
                }
                let next = page.next.map(|next| {
                    input.insert(PAGE.to_owned(), Value::String(next));
                    Ok((input, empty))
                });
                Some((Ok(page.items), next))
            }
        });
        pages
            .flat_map(|page| {
                let items: Vec<Result<T>> = match page {
                    Ok(items) => items.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                };
                stream::iter(items)
            })
            .boxed()
    }
}

/// Pages without items in a row that are followed.
pub(super) const EMPTY_PAGES: u32 = 10;

pub(super) fn endless() -> Error {
    let message =
        format!("the vendor's list does not end: more than {EMPTY_PAGES} pages in a row have no items");
    Error::new(ErrorKind::ProviderError, message).with_context("reason", "paging")
}

/// The fields of a typed input; those that are absent are left out.
pub(super) fn fields<O: Operation>(input: &O) -> Result<Map<String, Value>> {
    let value = serde_json::to_value(input)
        .map_err(|error| Error::invalid("the input has no JSON form").with_source(error))?;
    match value {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            Ok(fields)
        }
        _ => Err(Error::invalid("an input is an object")),
    }
}
