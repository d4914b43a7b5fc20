//! [`SessionStore`] in memory.

use async_trait::async_trait;

use super::{MemoryDb, TenantData, page};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::page::{Cursor, Page, PageRequest};
use crate::run::{SessionRecord, SessionStore};

impl TenantData {
    pub(super) fn session(&self, id: SessionId) -> Result<&SessionRecord> {
        self.sessions.get(&id).ok_or_else(|| Error::not_found("no such session"))
    }
}

#[async_trait]
impl SessionStore for MemoryDb {
    async fn open(&self, ctx: &Context, session: SessionRecord, effects: Effects) -> Result<()> {
        MemoryDb::open(self)?.change_in(ctx.tenant(), effects, |data| {
            if data.sessions.contains_key(&session.id) {
                return Err(Error::already_exists("the session exists"));
            }
            data.agent(session.agent)?;
            Ok(move |data: &mut TenantData| {
                data.sessions.insert(session.id, session);
            })
        })
    }

    async fn get(&self, ctx: &Context, id: SessionId) -> Result<SessionRecord> {
        MemoryDb::open(self)?.of(ctx.tenant()).session(id).cloned()
    }

    async fn list(&self, ctx: &Context, request: PageRequest) -> Result<Page<SessionRecord>> {
        let position =
            |session: &SessionRecord| Cursor { created: session.created_at, id: session.id.uuid() };
        page(MemoryDb::open(self)?.of(ctx.tenant()).sessions.values(), request, position)
    }
}
