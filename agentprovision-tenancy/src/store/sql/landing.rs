//! What a commit of a run writes: rows of its journal, contents, usage, and where the run stands then.

use agentprovision_core::Result;

use super::conn::TenantTx;
use super::multi::{JOURNAL, PAYLOADS, USAGE};
#[cfg(feature = "store-postgres")]
use super::postgres::columns::{Kind, columns};
#[cfg(feature = "store-postgres")]
use super::value::Dialect;
use super::value::{Value, tenant_sql};

/// Moves the record of a run on; an absent value leaves a column as it is.
macro_rules! move_on {
    () => {
        "UPDATE runs SET seq = $3, head = $4, updated_at = $5, status = coalesce($6, status), \
         totals = coalesce($7, totals), output = coalesce($8, output), error = coalesce($9, error), \
         finished_at = coalesce($10, finished_at) WHERE tenant_id = $1 AND id = $2"
    };
}

/// The values of rows behind their tenant, one row after the other.
#[derive(Debug)]
pub(super) struct Landing {
    /// Of the run's record: its id, number of rows, head, time, status, totals, output, error, time of its end.
    pub(super) moved: Vec<Value>,
    pub(super) journal: Vec<Value>,
    pub(super) payloads: Vec<Value>,
    pub(super) usage: Vec<Value>,
}

impl Landing {
    /// Writes all of it; where the database takes columns of rows, in one statement.
    pub(super) async fn write(self, tx: &mut TenantTx<'_>) -> Result<()> {
        #[cfg(feature = "store-postgres")]
        if tx.dialect() == Dialect::Postgres {
            return self.at_once(tx).await;
        }
        tx.multi(&JOURNAL, self.journal).await?;
        tx.multi(&PAYLOADS, self.payloads).await?;
        tx.multi(&USAGE, self.usage).await?;
        tx.execute(tenant_sql!(move_on!()), self.moved).await.map(drop)
    }

    #[cfg(feature = "store-postgres")]
    async fn at_once(self, tx: &mut TenantTx<'_>) -> Result<()> {
        use Kind::{Bytes, Id, Int, Text};
        let sql = tenant_sql!(concat!(
            "WITH steps AS (INSERT INTO journal (tenant_id, run_id, seq, body, hash) \
             SELECT $1::uuid, n.* FROM unnest($11::uuid[], $12::bigint[], $13::bytea[], $14::bytea[]) AS n), \
             contents AS (INSERT INTO payloads (tenant_id, run_id, hash, bytes) \
             SELECT $1::uuid, n.* FROM unnest($15::uuid[], $16::bytea[], $17::bytea[]) AS n \
             ON CONFLICT (tenant_id, run_id, hash) DO NOTHING), \
             measured AS (INSERT INTO usage_events \
             (tenant_id, id, meter, quantity, at, user_id, agent_id, run_id, model, cost) \
             SELECT $1::uuid, n.* FROM unnest($18::uuid[], $19::text[], $20::bigint[], $21::bigint[], \
             $22::uuid[], $23::uuid[], $24::uuid[], $25::text[], $26::bigint[]) AS n \
             ON CONFLICT (tenant_id, id) DO NOTHING) ",
            move_on!()
        ));
        let mut rows = columns(&[Id, Int, Bytes, Bytes], self.journal);
        rows.extend(columns(&[Id, Bytes, Bytes], self.payloads));
        rows.extend(columns(&[Id, Text, Int, Int, Id, Id, Id, Text, Int], self.usage));
        tx.execute_columns(sql, self.moved, rows).await.map(drop)
    }
}
