//! `audit verify`: recomputes the hash chain, and compares it with a head that was exported before.
//!
//! The chain alone shows an entry that was changed, taken out or moved. That the newest ones are gone, or that all was
//! written anew, only a head that is kept elsewhere can show.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rusqlite::{Connection, Row};

use super::audit_chain::{Hash, Link, genesis, next};
use super::history::number;
use super::schema::quick_check;
use super::table::{self, Mark, Sql};
use super::{Archive, StoreError};
use crate::journal::{Record, Seq};

/// The end of the chain at some moment. As text `SEQ:HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last entry; 0 when there is none yet.
    pub seq: Seq,
    /// Its hash.
    pub hash: [u8; 32],
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The first entry there is; earlier ones were removed as retention says. `None` when there is none at all.
    pub first: Option<Seq>,
    /// How many entries were checked.
    pub entries: u64,
    /// The end of the chain, to be kept elsewhere and given to the next verification.
    pub head: Head,
    /// Whether an exported head was found in the chain.
    pub against_export: bool,
}

/// The chain does not hold, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry is not what was written.
    #[error("entry {0} was changed after it was written, or one before it was replaced; compare with a backup")]
    Changed(u64),
    /// Entries are missing.
    #[error("entries {from} to {to} are missing; compare with a backup")]
    Missing {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// The store says where its chain ends or begins, but that is not there.
    #[error("the store's own note of the chain's {0} is missing or does not fit the entries; compare with a backup")]
    Mark(&'static str),
    /// The exported head is not in the chain.
    #[error("the exported head {exported} is not in the chain, whose end is {found}: it was cut short or written anew")]
    NotInChain {
        /// What was exported.
        exported: Head,
        /// The chain's end.
        found: Head,
    },
    /// The exported head is older than what is kept.
    #[error(
        "the exported head {exported} is older than the first entry kept, {first}: export heads more often than entries are removed"
    )]
    TooOld {
        /// What was exported.
        exported: Head,
        /// The first entry there is.
        first: u64,
    },
}

/// The end of the chain as the store has it now: export it, keep it elsewhere.
pub fn head(state_dir: &Path) -> Result<Head, AuditError> {
    Archive::open(state_dir)?.head()?.ok_or(AuditError::Mark("end"))
}

/// Recomputes the whole chain, from where retention left it, and looks for `exported` in it. Works beside a daemon.
pub fn verify(state_dir: &Path, exported: Option<Head>) -> Result<Verified, AuditError> {
    let archive = Archive::open(state_dir)?;
    if let Some(what) = archive.ask(quick_check)? {
        return Err(StoreError::Damaged { file: super::folder::database(state_dir), what }.into());
    }
    // One transaction: everything is as of one moment, though a daemon may be writing.
    archive.ask(|db| {
        let transaction = db.unchecked_transaction()?;
        walk(&transaction, exported)
    })?
}

/// The outer result is whether the rows can be read, the inner one whether they are right.
fn walk(db: &Connection, exported: Option<Head>) -> Sql<Result<Verified, AuditError>> {
    let Some(anchor) = table::mark(db, "anchor")? else { return Ok(Err(AuditError::Mark("beginning"))) };
    let Some(end) = table::mark(db, "head")? else { return Ok(Err(AuditError::Mark("end"))) };
    let store: String = table::fact(db, "store")?.unwrap_or_default();
    if anchor.seq == 0 && anchor.hash != genesis(&store) {
        return Ok(Err(AuditError::Mark("beginning")));
    }
    let mut chain = Chain { at: anchor, exported, met: exported.is_some_and(|head| head == Head::from(anchor)) };
    let mut statement =
        db.prepare("SELECT seq, at, v, body, hash, category, resource, run FROM entries ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Err(wrong) = chain.take(row)? {
            return Ok(Err(wrong));
        }
    }
    Ok(chain.close(&anchor, &end))
}

/// The walk along the chain.
struct Chain {
    at: Mark,
    exported: Option<Head>,
    met: bool,
}

impl Chain {
    fn take(&mut self, row: &Row<'_>) -> Sql<Result<(), AuditError>> {
        let (seq, hash): (i64, Hash) = (row.get(0)?, row.get(4)?);
        let body: String = row.get(3)?;
        if seq != self.at.seq + 1 {
            let (from, to) = ((self.at.seq + 1).unsigned_abs(), (seq - 1).unsigned_abs());
            return Ok(Err(AuditError::Missing { from, to }));
        }
        let link = Link { seq, at: row.get(1)?, v: row.get(2)?, body: &body };
        let indexed = Indexed { category: row.get(5)?, resource: row.get(6)?, run: row.get(7)? };
        if next(&self.at.hash, &link) != hash || !indexed.says_what(&body) {
            return Ok(Err(AuditError::Changed(seq.unsigned_abs())));
        }
        self.at = Mark { seq, hash };
        self.met |= self.exported == Some(Head::from(self.at));
        Ok(Ok(()))
    }

    fn close(self, anchor: &Mark, end: &Mark) -> Result<Verified, AuditError> {
        if self.at.seq < end.seq {
            let (from, to) = ((self.at.seq + 1).unsigned_abs(), end.seq.unsigned_abs());
            return Err(AuditError::Missing { from, to });
        }
        if self.at != *end {
            return Err(AuditError::Mark("end"));
        }
        let found = Head::from(self.at);
        if let Some(exported) = self.exported.filter(|_| !self.met) {
            let first = (anchor.seq + 1).unsigned_abs();
            return Err(if exported.seq.0 < anchor.seq.unsigned_abs() {
                AuditError::TooOld { exported, first }
            } else {
                AuditError::NotInChain { exported, found }
            });
        }
        let entries = (self.at.seq - anchor.seq).unsigned_abs();
        let first = (entries > 0).then(|| Seq((anchor.seq + 1).unsigned_abs()));
        Ok(Verified { first, entries, head: found, against_export: self.met })
    }
}

/// The columns that filters use.
struct Indexed {
    category: String,
    resource: Option<String>,
    run: Option<i64>,
}

impl Indexed {
    /// Whether they say the same as the text that the hash covers.
    fn says_what(&self, body: &str) -> bool {
        serde_json::from_str::<Record>(body).is_ok_and(|record| {
            record.category().word() == self.category
                && record.resource().map(ToString::to_string) == self.resource
                && record.run().map(number) == self.run
        })
    }
}

impl From<Mark> for Head {
    fn from(mark: Mark) -> Self {
        Self { seq: Seq(mark.seq.unsigned_abs()), hash: mark.hash }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.seq.0, hex::encode(self.hash)))
    }
}

/// Not the text of a [`Head`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an exported head: expected SEQ:HEX, a number and 64 hex digits, as `audit verify` prints it")]
pub struct InvalidHead(String);

impl FromStr for Head {
    type Err = InvalidHead;
    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let invalid = || InvalidHead(text.chars().take(100).collect());
        let (seq, hash) = text.trim().split_once(':').ok_or_else(invalid)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes).map_err(|_| invalid())?;
        Ok(Self { seq: Seq(seq.parse().map_err(|_| invalid())?), hash: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_exported_head_reads_back_as_it_was(seq: u64, hash: [u8; 32]) {
            let head = Head { seq: Seq(seq), hash };
            prop_assert_eq!(head.to_string().parse::<Head>(), Ok(head));
            prop_assert_eq!(format!(" {head}\n").parse::<Head>(), Ok(head));
        }

        #[test]
        fn any_other_text_is_refused_with_what_was_expected(text in "\\PC{0,120}|[0-9]{0,21}:[0-9a-f]{0,66}") {
            if let Err(error) = text.parse::<Head>() {
                prop_assert!(error.to_string().contains("SEQ:HEX"));
            } else {
                prop_assert_eq!(text.trim().rsplit(':').next().map(str::len), Some(64));
            }
        }
    }
}
