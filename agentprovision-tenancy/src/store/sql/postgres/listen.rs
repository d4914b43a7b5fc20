//! Hearing of runs that other processes made ready, and of metadata that they changed.

use std::sync::Weak;

use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};

use super::pool::Pool;
use super::settings;
use crate::store::sql::SqlStore;

/// A run is ready.
const READY: &str = "agentprovision_ready";
/// Metadata changed.
const CHANGED: &str = "agentprovision_changed";

/// Listens on a connection of its own until the store is gone or closed. Behind a pooler that gives each transaction
/// another connection nothing can be heard; there, and while the connection is away, everybody goes by their polls.
pub(in crate::store::sql) fn start(pool: &Pool, store: Weak<SqlStore>) {
    let settings = pool.settings().clone();
    if !settings.prepared {
        return;
    }
    let ended = pool.ended();
    pool.runtime().spawn(async move {
        let listen = async {
            loop {
                let options = settings.options.clone().application_name("agentprovision listen");
                let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
                let heard: Result<(), sqlx::Error> = async {
                    let mut listener = PgListener::connect_with(&own).await?;
                    listener.listen_all([READY, CHANGED]).await?;
                    let mut said = None;
                    loop {
                        // What was said while the connection was not there is not heard: look at everything.
                        let all = said.is_none();
                        let channel = said.as_ref().map(PgNotification::channel);
                        let Some(store) = store.upgrade() else { return Ok(()) };
                        if all || channel == Some(READY) {
                            store.ready.notify_waiters();
                        }
                        if all || channel == Some(CHANGED) {
                            store.told.send_modify(|told| *told += 1);
                        }
                        drop(store);
                        // `None` when the connection broke and was made anew.
                        said = listener.try_recv().await?;
                    }
                }
                .await;
                match heard {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(?error, "nothing is heard of other processes"),
                }
                settings
                    .env
                    .sleep(settings::waits(settings.connect_timeout).last().unwrap_or_default())
                    .await;
            }
        };
        tokio::select! {
            () = listen => {}
            () = ended => {}
        }
    });
}
