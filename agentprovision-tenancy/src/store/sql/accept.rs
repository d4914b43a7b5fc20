//! Keeping deliveries: those that come at the same time go into few statements.
//!
//! The statement that keeps them asks for their tenants and endpoints too, and answers what is there under each key
//! afterwards. Which delivery is new is told by the id that is there then.

use std::collections::HashMap;
use std::hash::Hash;

use agentprovision_core::id::{DeliveryId, EndpointId};
use agentprovision_core::webhook::{Accepted, NewDelivery};
use agentprovision_core::{Error, Result};

use super::conn::TenantTx;
#[cfg(feature = "store-sqlite")]
use super::multi::Multi;
#[cfg(feature = "store-postgres")]
use super::value::timed;
use super::value::{Row, Value, tenant_sql, values};
use super::{effects, endpoints, residence, tenants};

/// What a delivery does to the one that is there under its key, and what is there then.
macro_rules! counted {
    () => {
        " ON CONFLICT (tenant_id, endpoint_id, key) DO UPDATE SET \
         repeats = deliveries.repeats + CASE WHEN deliveries.digest = excluded.digest THEN 1 ELSE 0 END, \
         conflicts = deliveries.conflicts + CASE WHEN deliveries.digest = excluded.digest THEN 0 ELSE 1 END, \
         conflict_digest = CASE WHEN deliveries.digest = excluded.digest THEN deliveries.conflict_digest \
         ELSE excluded.digest END "
    };
}

/// What is there under a key, once deliveries with it are kept.
struct Kept {
    id: DeliveryId,
    digest: [u8; 32],
    /// Whether it came with one of them, which has not asked yet.
    new: bool,
}

impl Kept {
    /// What became of a delivery with the key.
    fn of(&mut self, delivery: &NewDelivery) -> Accepted {
        let same = self.digest == delivery.digest;
        if same && self.id == delivery.id && std::mem::take(&mut self.new) {
            Accepted::New
        } else if same {
            Accepted::Again
        } else {
            Accepted::Conflict
        }
    }
}

/// Notes what a statement says is there. Of a key that came more than once it says so each time.
fn note<K: Eq + Hash>(all: &mut HashMap<K, Kept>, key: K, row: &mut Row) -> Result<()> {
    let (id, digest, new): (_, _, bool) = (row.next()?, row.next()?, row.next()?);
    all.entry(key).or_insert(Kept { id, digest, new: false }).new |= new;
    Ok(())
}

/// The values of a delivery behind its tenant.
fn row(delivery: NewDelivery) -> Vec<Value> {
    let NewDelivery { id, endpoint, key, digest, kind, headers, body, received_at } = delivery;
    values![endpoint, id, key, digest, kind, headers, received_at, body]
}

/// Whether the tenant takes deliveries, and here.
async fn takes(tx: &mut TenantTx<'_>) -> Result<()> {
    residence::at_home(tx).await?;
    effects::active(tenants::state_beside(tx).await?)
}

#[cfg(feature = "store-sqlite")]
pub(super) use of_a_file::Accept;
#[cfg(all(test, feature = "store-sqlite"))]
pub(super) use of_a_file::KEEP;

/// On a file: deliveries of all tenants, by its one writer.
#[cfg(feature = "store-sqlite")]
mod of_a_file {
    use std::collections::hash_map::Entry;

    use agentprovision_core::id::TenantId;

    use super::super::conn::SystemTx;
    use super::super::writer::Merge;
    use super::*;

    /// Why a delivery for an endpoint was not kept.
    async fn refusal(tx: &mut TenantTx<'_>, endpoint: EndpointId) -> Error {
        if let Err(refusal) = takes(tx).await {
            return refusal;
        }
        let sql = tenant_sql!(
            "SELECT 1 FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2 AND state = 'active'"
        );
        match tx.exists(sql, values![endpoint]).await {
            Ok(true) => Error::conflict("the id of the delivery is another one's"),
            Ok(false) => endpoints::missing(),
            Err(error) => error,
        }
    }

    /// Keeps deliveries of active tenants' endpoints, or counts that they were there. The rows that are given come first: a
    /// key that came twice is whose it was first.
    pub(in super::super) static KEEP: Multi = Multi::new(
        "WITH n (tenant_id, endpoint_id, id, key, digest, kind, headers, received_at, body) AS (VALUES ",
        9,
        concat!(
            ") INSERT INTO deliveries (tenant_id, id, endpoint_id, key, digest, kind, headers, received_at, repeats, \
             conflicts, body) SELECT n.tenant_id, n.id, n.endpoint_id, n.key, n.digest, n.kind, n.headers, \
             n.received_at, 0, 0, n.body \
             FROM n CROSS JOIN tenants t ON t.tenant_id = n.tenant_id \
             CROSS JOIN webhook_endpoints e ON e.tenant_id = n.tenant_id AND e.id = n.endpoint_id \
             WHERE t.state = 'active' AND e.state = 'active' AND NOT EXISTS \
             (SELECT 1 FROM residences r WHERE r.tenant_id = n.tenant_id AND r.state <> 'home')",
            counted!(),
            "ON CONFLICT (tenant_id, id) DO NOTHING \
             RETURNING tenant_id, endpoint_id, key, id, digest, repeats + conflicts = 0"
        ),
    )
    .padded();

    /// Makes deliveries wait for whoever works on them.
    static WAIT: Multi = Multi::new(
        "WITH n (tenant_id, delivery_id, ready_at) AS (VALUES ",
        3,
        ") INSERT INTO delivery_work (tenant_id, delivery_id, state, ready_at, epoch, attempts, runs) \
         SELECT tenant_id, delivery_id, 'pending', ready_at, 0, 0, '[]' FROM n WHERE tenant_id IS NOT NULL",
    )
    .padded();

    /// A delivery that waits for the writer.
    #[derive(Debug)]
    pub(in super::super) struct Accept {
        pub(in super::super) tenant: TenantId,
        pub(in super::super) delivery: NewDelivery,
    }

    impl Merge for Accept {
        type Answer = Accepted;

        /// Those beside its body, and about as many more as that is larger than they are.
        fn rows(&self) -> usize {
            2 + self.delivery.body.len() / 16_384
        }

        async fn write(tx: &mut SystemTx<'_>, accepts: &[Self]) -> Result<Vec<Result<Accepted>>> {
            let mut rows = Vec::with_capacity(accepts.len() * KEEP.width());
            for Accept { tenant, delivery } in accepts {
                rows.push(Value::from(*tenant));
                rows.append(&mut row(delivery.clone()));
            }
            let mut kept = HashMap::new();
            for mut row in KEEP.rows(tx.conn, rows).await? {
                let key: (TenantId, EndpointId, String) = (row.next()?, row.next()?, row.next()?);
                note(&mut kept, key, &mut row)?;
            }
            let (now, mut waiting) = (tx.env.now(), Vec::new());
            let mut refusals: HashMap<(TenantId, EndpointId), Error> = HashMap::new();
            let mut results = Vec::with_capacity(accepts.len());
            for Accept { tenant, delivery } in accepts {
                let key = (*tenant, delivery.endpoint, delivery.key.clone());
                results.push(match kept.get_mut(&key).map(|kept| kept.of(delivery)) {
                    Some(Accepted::New) => {
                        waiting.extend(values![*tenant, delivery.id, now]);
                        Ok(Accepted::New)
                    }
                    Some(accepted) => Ok(accepted),
                    None => {
                        let place = (*tenant, delivery.endpoint);
                        Err(match refusals.entry(place) {
                            Entry::Occupied(known) => known.get().clone(),
                            Entry::Vacant(unknown) => {
                                let mut tx = tx.tenant(*tenant);
                                unknown.insert(refusal(&mut tx, delivery.endpoint).await).clone()
                            }
                        })
                    }
                });
            }
            WAIT.execute(tx.conn, waiting).await?;
            Ok(results)
        }
    }
}

/// The result where one delivery was given.
#[cfg(feature = "store-postgres")]
pub(super) fn only(mut results: Vec<Result<Accepted>>) -> Result<Accepted> {
    results.pop().unwrap_or_else(|| Err(Error::internal("the delivery has no result")))
}

/// Keeps deliveries of the transaction's tenant, no two of which have an endpoint and a key in common.
///
/// # Errors
/// What holds for all of them; nothing is kept then.
#[cfg(feature = "store-postgres")]
pub(super) async fn keep(tx: &mut TenantTx<'_>, deliveries: &[NewDelivery]) -> Result<Vec<Result<Accepted>>> {
    use super::postgres::columns::Kind::{Bytes, Id, Int, Text};
    use super::postgres::columns::columns;
    // Asking for the tenant is planned with the statement, once, and not with every transaction.
    tx.unasked();
    let sql = tenant_sql!(concat!(
        "WITH kept AS (INSERT INTO deliveries (tenant_id, id, endpoint_id, key, digest, kind, headers, received_at, \
         repeats, conflicts, body) SELECT e.tenant_id, n.id, e.id, n.key, n.digest, n.kind, n.headers, n.received_at, \
         0, 0, n.body FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::text[], $8::text[], \
         $9::bigint[], $10::bytea[]) AS n (endpoint_id, id, key, digest, kind, headers, received_at, body) \
         JOIN webhook_endpoints e ON e.tenant_id = $1 AND e.id = n.endpoint_id AND e.state = 'active' \
         WHERE EXISTS (SELECT 1 FROM tenants t WHERE t.tenant_id = $1 AND t.state = 'active') \
         AND NOT EXISTS (SELECT 1 FROM residences r WHERE r.tenant_id = $1 AND r.state <> 'home')",
        counted!(),
        "RETURNING endpoint_id, key, id, digest, repeats + conflicts = 0 AS new), \
         waits AS (INSERT INTO delivery_work (tenant_id, delivery_id, state, ready_at, epoch, attempts, runs) \
         SELECT $1::uuid, id, 'pending', ",
        timed!(postgres "$2" now),
        ", 0, 0, '[]' FROM kept WHERE new) SELECT endpoint_id, key, id, digest, new FROM kept"
    ));
    let rows = deliveries.iter().cloned().flat_map(row).collect();
    let rows = columns(&[Id, Id, Text, Bytes, Text, Text, Int, Bytes], rows);
    let mut kept = HashMap::new();
    for mut row in tx.rows_of_columns(sql, values![tx.env.now()], rows).await? {
        let key: (EndpointId, String) = (row.next()?, row.next()?);
        note(&mut kept, key, &mut row)?;
    }
    if kept.len() < deliveries.len() {
        takes(tx).await?;
    }
    let accepted = |delivery: &NewDelivery| {
        let there = kept.get_mut(&(delivery.endpoint, delivery.key.clone()));
        there.map(|kept| kept.of(delivery)).ok_or_else(endpoints::missing)
    };
    Ok(deliveries.iter().map(accepted).collect())
}
