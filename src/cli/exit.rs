//! Exit codes, and the page of help that lists them.

use std::process::ExitCode;

/// Printed below `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done: valid, planned, applied, everything fine
  1  failed, or not fine: mistakes in manifests, a step that failed, a broken audit trail, an act not proven, a
     playbook's test that failed, an alert that reaches no playbook and no person; `status`: somebody has to look,
     also at manifests in force that hold mistakes, and at a page that nobody has accepted
  2  the command itself is wrong; with --detailed-exitcode (`plan`, `playbook replay`): there are changes
  3  `apply`: something is held until a commit releases it
  4  no daemon answers at the address asked

Every flag can be given as the variable shown beside it; a flag outweighs its variable, which outweighs the settings file.
CODEOPS_LOG (or RUST_LOG) chooses what is logged, such as `info` or `codeops=debug`.";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is as it should be.
    Fine,
    /// It failed, or what was asked about is not fine.
    Failed,
    /// There are changes: the same number as clap's for a wrong command line, as Terraform has it.
    Changes,
    /// Something is held until a commit.
    Held,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Changes => 2,
            Exit::Held => 3,
        })
    }
}

/// An error that ends with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Coded {
    /// One sentence, or a few.
    pub(crate) message: String,
    /// 1 to 125.
    pub(crate) code: u8,
}

impl Coded {
    /// The command cannot be understood or its input cannot be read at all.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { message: message.into(), code: 2 }.into()
    }

    /// No daemon answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> anyhow::Error {
        Self { message: message.into(), code: 4 }.into()
    }
}
