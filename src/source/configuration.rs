//! Git's configuration of the system and of the daemon's user: nothing here goes by it, and git2 reads it all the same whenever it
//! opens a mirror. A mistake there, or a home that may not be entered, is told as what it is, and no mirror is damaged by it.

use super::SourceError;

/// Whether it can be read.
pub(super) fn readable() -> Result<(), SourceError> {
    git2::Config::open_default().map(drop).map_err(|error| {
        SourceError(format!(
            "Git's configuration of the system or of the daemon's user cannot be read, and no mirror can be opened without: {}; \
             correct it, or start codeops with HOME and XDG_CONFIG_HOME set to a folder of its own",
            super::text::clean(error.message(), 300)
        ))
    })
}
