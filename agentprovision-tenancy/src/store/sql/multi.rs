//! Statements over many rows at once.

use std::sync::OnceLock;

use agentprovision_core::Result;

use super::conn::Conn;
use super::value::{Dialect, Row, Value};

/// Sizes of one statement, as powers of two: up to 256 rows.
const SIZES: usize = 9;

/// A statement around a list of rows. Its text is made once for each power of two of rows, so that few texts are
/// prepared; for SQLite the places of values carry no numbers, because it looks a number up by going through all of them.
#[derive(Debug)]
pub(super) struct Multi {
    head: &'static str,
    width: usize,
    tail: &'static str,
    padded: bool,
    texts: [[OnceLock<String>; SIZES]; 2],
}

impl Multi {
    /// The text before the rows, the number of columns, the text behind them. The first column of a row is its tenant's
    /// id, or its log's.
    pub(super) const fn new(head: &'static str, width: usize, tail: &'static str) -> Self {
        let texts = [const { [const { OnceLock::new() }; SIZES] }; 2];
        Self { head, width, tail, padded: false, texts }
    }

    /// The same as one statement for all rows that fit, filled up with rows of nothing but absent values, which it has to
    /// pass over.
    #[cfg(feature = "store-sqlite")]
    pub(super) const fn padded(mut self) -> Self {
        self.padded = true;
        self
    }

    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// The text for two to the power of `power` rows.
    pub(super) fn text(&'static self, dialect: Dialect, power: usize) -> Option<&'static str> {
        let [sqlite, postgres] = &self.texts;
        let texts = match dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        };
        let text = texts.get(power)?.get_or_init(|| {
            let mut number = 0;
            let mut place = || {
                number += 1;
                if dialect == Dialect::Sqlite { "?".to_owned() } else { format!("${number}") }
            };
            let mut row = || format!("({})", (0..self.width).map(|_| place()).collect::<Vec<_>>().join(","));
            let rows: Vec<String> = (0..1 << power).map(|_| row()).collect();
            format!("{}{}{}", self.head, rows.join(","), self.tail)
        });
        Some(text)
    }

    /// The parts the rows are cut into: a text and its values.
    fn parts(&'static self, dialect: Dialect, values: Vec<Value>) -> Vec<(&'static str, Vec<Value>)> {
        let mut rows = values.len() / self.width;
        let mut values = values.into_iter();
        let mut parts = Vec::new();
        while rows > 0 {
            let power = if self.padded { rows.next_power_of_two().ilog2() } else { rows.ilog2() };
            let power = (power as usize).min(SIZES - 1);
            let Some(text) = self.text(dialect, power) else { break };
            let mut part: Vec<Value> = values.by_ref().take(self.width << power).collect();
            part.resize(self.width << power, Value::Null);
            parts.push((text, part));
            rows = rows.saturating_sub(1 << power);
        }
        parts
    }

    /// Runs the statement over the rows whose values stand one after the other.
    pub(super) async fn execute(&'static self, conn: &mut Conn, values: Vec<Value>) -> Result<u64> {
        let mut changed = 0;
        for (text, values) in self.parts(conn.dialect(), values) {
            changed += conn.execute(text, values).await?;
        }
        Ok(changed)
    }

    #[cfg_attr(not(feature = "store-sqlite"), expect(dead_code, reason = "the one writer's"))]
    pub(super) async fn rows(&'static self, conn: &mut Conn, values: Vec<Value>) -> Result<Vec<Row>> {
        let mut found = Vec::new();
        for (text, values) in self.parts(conn.dialect(), values) {
            found.extend(conn.rows(text, values).await?);
        }
        Ok(found)
    }
}

/// Rows of a journal.
pub(super) static JOURNAL: Multi =
    Multi::new("INSERT INTO journal (tenant_id, run_id, seq, body, hash) VALUES ", 5, "");
/// Payloads; one that is there stays.
pub(super) static PAYLOADS: Multi = Multi::new(
    "INSERT INTO payloads (tenant_id, run_id, hash, bytes) VALUES ",
    4,
    " ON CONFLICT (tenant_id, run_id, hash) DO NOTHING",
);
/// Usage; an event that is there stays.
pub(super) static USAGE: Multi = Multi::new(
    "INSERT INTO usage_events (tenant_id, id, meter, quantity, at, user_id, agent_id, run_id, model, cost) VALUES ",
    10,
    " ON CONFLICT (tenant_id, id) DO NOTHING",
);
/// Audit records on their way into a log.
pub(super) static AUDIT_PENDING: Multi =
    Multi::new("INSERT INTO audit_pending (log_id, bytes) VALUES ", 2, "");
/// Records of a log.
pub(super) static AUDIT_LOG: Multi =
    Multi::new("INSERT INTO audit_log (log_id, seq, leaf, bytes) VALUES ", 4, "");
/// Events that have no number yet.
pub(super) static OUTBOX: Multi = Multi::new("INSERT INTO outbox (tenant_id, bytes) VALUES ", 2, "");
/// Events with their numbers.
pub(super) static EVENTS: Multi =
    Multi::new("INSERT INTO events (tenant_id, seq, bytes, published) VALUES ", 4, "");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_powers_of_two() {
        for rows in [0, 1, 2, 3, 7, 255, 256, 257, 1023] {
            let parts = JOURNAL.parts(Dialect::Sqlite, vec![Value::Null; rows * 5]);
            assert_eq!(parts.iter().map(|(_, values)| values.len()).sum::<usize>(), rows * 5);
            for (text, values) in parts {
                assert_eq!(text.matches('?').count(), values.len());
                assert!((values.len() / 5).is_power_of_two());
            }
        }
    }

    #[cfg(feature = "store-sqlite")]
    #[test]
    fn padded_rows_are_filled_up() {
        static PADDED: Multi = Multi::new("VALUES ", 3, "").padded();
        for (rows, sizes) in
            [(0, &[][..]), (1, &[1]), (2, &[2]), (3, &[4]), (33, &[64]), (256, &[256]), (300, &[256, 64])]
        {
            let parts = PADDED.parts(Dialect::Sqlite, vec![Value::Int(7); rows * 3]);
            assert_eq!(parts.iter().map(|(_, values)| values.len() / 3).collect::<Vec<_>>(), sizes);
            let values: Vec<Value> = parts.into_iter().flat_map(|(_, values)| values).collect();
            assert!(values.iter().skip(rows * 3).all(|value| *value == Value::Null));
            assert!(values.iter().take(rows * 3).all(|value| *value == Value::Int(7)));
        }
    }
}
