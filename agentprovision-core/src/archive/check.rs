//! What must hold between the values of an archive, beyond what their columns say.

use super::{Header, Table, Value};
use crate::audit::Checkpoint;
use crate::audit::merkle::{self, CompactRange};
use crate::error::{Error, Result};
use crate::event::PlatformEvent;

/// Goes over the rows in their order: the audit log must be the one its head says, and events must be the tenant's own.
#[derive(Default)]
pub(super) struct Checks {
    log: CompactRange,
    tenants: u64,
}

impl Checks {
    pub(super) fn row(&mut self, header: &Header, table: &Table, values: &[Value]) -> Result<()> {
        let value = |name: &str| {
            table.columns.iter().zip(values).find(|(column, _)| column.name == name).map(|(_, value)| value)
        };
        match table.name {
            "tenants" => {
                self.tenants += 1;
                match value("state") {
                    Some(Value::Text(state)) if state == header.state.name() => Ok(()),
                    _ => Err(Error::corrupt("the tenant is not in the state the archive says")),
                }
            }
            "audit_log" => {
                let (Some(Value::Int(seq)), Some(Value::Bytes(leaf)), Some(Value::Bytes(bytes))) =
                    (value("seq"), value("leaf"), value("bytes"))
                else {
                    return Err(Error::corrupt("a record of the archived audit log cannot be read"));
                };
                let leaf = merkle::TreeHash::try_from(leaf.as_slice())?;
                // Of a record that was erased the leaf is left.
                let own = bytes.is_empty() || merkle::leaf_hash(bytes) == leaf;
                if u64::try_from(*seq) != Ok(self.log.size()) || !own {
                    return Err(Error::corrupt(format!(
                        "record {} of the archived audit log does not verify",
                        self.log.size()
                    )));
                }
                self.log.append(leaf);
                Ok(())
            }
            "audit_heads" => match value("head") {
                Some(Value::Bytes(head)) if *head == self.log.to_bytes() => Ok(()),
                _ => Err(Error::corrupt("the archived audit log does not have its head")),
            },
            "events" | "outbox" => {
                let event = match value("bytes") {
                    Some(Value::Bytes(bytes)) => serde_json::from_slice::<PlatformEvent>(bytes).ok(),
                    _ => None,
                };
                match event {
                    Some(event) if event.tenantid == header.tenant => Ok(()),
                    Some(_) => Err(Error::corrupt("an archived event belongs to another tenant")),
                    None => Err(Error::corrupt("an archived event cannot be read")),
                }
            }
            _ => Ok(()),
        }
    }

    pub(super) fn end(&self, header: &Header) -> Result<()> {
        if self.tenants != 1 {
            return Err(Error::corrupt("the archive does not hold the row of one tenant"));
        }
        if (Checkpoint { size: self.log.size(), root: self.log.root() }) != header.audit {
            return Err(Error::corrupt("the archived audit log does not have the root the archive says"));
        }
        Ok(())
    }
}
