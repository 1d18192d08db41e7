//! Why a store cannot be opened or read, with what to do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A store cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be made, read or locked.
    #[error("the state folder cannot be used (`--state DIR` names another): {path}")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another daemon has it.
    #[error("another codeops, process {pid}, is using {folder}; stop it first, or give this one another state folder")]
    Locked {
        /// The process, or `unknown`.
        pid: String,
        /// The folder.
        folder: PathBuf,
    },
    /// There is no store in the folder.
    #[error("there is no journal in {folder}; give the state folder of the daemon, the one that `codeops run` uses")]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A later codeops wrote it.
    #[error(
        "{file} was written by a newer codeops (format {found}; this one knows up to {known}): use that version, older ones would damage it"
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// The format found.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// It is damaged.
    #[error(
        "{file} is damaged ({what}); move {file} and the files beside it that begin with its name away, then start \
         codeops again: it rebuilds from the stamps on live objects, and the damaged file can still be read for its events"
    )]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// SQLite says no.
    #[error("{file} cannot be used: {what}{}", .advice.said())]
    Database {
        /// The database.
        file: PathBuf,
        /// What SQLite says.
        what: String,
        /// What to do about it.
        advice: Advice,
    },
}

/// What helps a store that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing that is known.
    Unknown,
    /// Room on the disk.
    FreeSpace,
}

impl Advice {
    fn words(self) -> Option<&'static str> {
        match self {
            Advice::Unknown => None,
            Advice::FreeSpace => Some("free disk space"),
        }
    }

    /// After what is wrong. A daemon waits for it and goes on by itself, whatever it was at.
    fn said(self) -> String {
        self.words().map(|words| format!("; {words}")).unwrap_or_default()
    }
}

impl StoreError {
    /// The same of a store in use: a daemon needs nobody to start it again.
    pub(super) fn while_running(&self) -> String {
        match self {
            Self::Database { .. } => {
                format!("{self}; the daemon begins anew by itself after a minute, and again until it can write")
            }
            other => other.to_string(),
        }
    }

    /// What SQLite said about `file`, told apart by whether the file is damaged.
    pub(super) fn sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let file = file.to_owned();
        if matches!(error, rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)) {
            return Self::Damaged { file, what: format!("a row cannot be understood: {error}") };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { file, what: error.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Database { file, what: error.to_string(), advice: Advice::FreeSpace },
            _ => Self::Database { file, what: error.to_string(), advice: Advice::Unknown },
        }
    }
}
