//! What is in a database.

use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::session::{Session, told};
use super::sql;
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operations;

/// The most tables that are listed.
const MOST: i64 = 1000;

records! {
    /// A table, or what can be asked like one.
    TableName {
        /// The schema.
        schema: String,
        /// The name.
        name: String,
        /// `table`, `view`, `materialized_view` or `foreign_table`.
        kind: String,
        /// What somebody has written about it.
        comment: Option<String>,
        /// About how many rows it has, where the server has counted them.
        estimated_rows: Option<i64>,
    }

    /// Tables.
    TableNames {
        /// The tables, by schema and name.
        tables: Vec<TableName>,
        /// Whether there are more than these.
        truncated: bool,
    }

    /// A column of a table.
    TableColumn {
        /// The name.
        name: String,
        /// The type, as `character varying(20)`.
        #[serde(rename = "type")]
        kind: String,
        /// Whether it can be null.
        nullable: bool,
        /// The expression of its default.
        default: Option<String>,
        /// What somebody has written about it.
        comment: Option<String>,
    }

    /// A key of a table, or another constraint.
    TableKey {
        /// The name.
        name: String,
        /// `primary`, `unique`, `foreign`, `check` or `other`.
        kind: String,
        /// Its columns.
        columns: Vec<String>,
        /// All of it, as `FOREIGN KEY (customer) REFERENCES customers(id)`.
        definition: String,
    }

    /// A table.
    Table {
        /// The schema.
        schema: String,
        /// The name.
        name: String,
        /// The columns, in their order.
        columns: Vec<TableColumn>,
        /// Its keys and other constraints, the primary key first.
        keys: Vec<TableKey>,
    }
}

operations! {
    /// Lists the tables and views that the account may read.
    ListTables "tables.list" get("") => TableNames [.handler(runs::<ListTables>())] {
        /// Only those of this schema; all but the system's own where absent.
        schema: Option<String>,
    }
    /// Gets the columns and keys of a table or view.
    GetTable "tables.get" get("") => Table [.handler(runs::<GetTable>())] {
        /// The name.
        name: String,
        /// The schema; `public` where absent.
        schema: Option<String>,
    }
}

#[async_trait]
impl Run for ListTables {
    async fn run(self, call: &Call) -> Result<TableNames> {
        call.count_request(0);
        let session = Session::open(call, false).await?;
        let found = session.client.query(sql::TABLES, &[&self.schema, &(MOST + 1)]).await.map_err(told)?;
        let mut tables = Vec::with_capacity(found.len());
        for row in &found {
            tables.push(TableName {
                schema: row.try_get(0).map_err(told)?,
                name: row.try_get(1).map_err(told)?,
                kind: row.try_get(2).map_err(told)?,
                comment: row.try_get(3).map_err(told)?,
                estimated_rows: row.try_get(4).map_err(told)?,
            });
        }
        session.close().await;
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let truncated = tables.len() > most;
        tables.truncate(most);
        Ok(TableNames { tables, truncated })
    }
}

#[async_trait]
impl Run for GetTable {
    async fn run(self, call: &Call) -> Result<Table> {
        call.count_request(0);
        let session = Session::open(call, false).await?;
        let schema = self.schema.unwrap_or_else(|| "public".to_owned());
        let found = session.client.query(sql::COLUMNS, &[&schema, &self.name]).await.map_err(told)?;
        if found.is_empty() {
            let name: String = self.name.chars().take(64).collect();
            return Err(Error::not_found(format!("there is no table `{name}` that the account may read")));
        }
        let mut columns = Vec::with_capacity(found.len());
        for row in &found {
            columns.push(TableColumn {
                name: row.try_get(0).map_err(told)?,
                kind: row.try_get(1).map_err(told)?,
                nullable: row.try_get(2).map_err(told)?,
                default: row.try_get(3).map_err(told)?,
                comment: row.try_get(4).map_err(told)?,
            });
        }
        let found = session.client.query(sql::KEYS, &[&schema, &self.name]).await.map_err(told)?;
        let mut keys = Vec::with_capacity(found.len());
        for row in &found {
            keys.push(TableKey {
                name: row.try_get(0).map_err(told)?,
                kind: row.try_get(1).map_err(told)?,
                columns: row.try_get(2).map_err(told)?,
                definition: row.try_get(3).map_err(told)?,
            });
        }
        session.close().await;
        Ok(Table { schema, name: self.name, columns, keys })
    }
}
