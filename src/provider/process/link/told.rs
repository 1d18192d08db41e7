//! What is said of a keeper that is not there, and of what cannot be said to one.

use super::{App, View};
use crate::keeper::frame::FrameError;
use crate::keeper::wire::Failure;

impl App {
    /// Whether it is unknown for another reason than before.
    pub(super) fn is_news(&self, why: &str) -> bool {
        !matches!(&*self.view.borrow(), View::Unknown(before) if before == why)
    }

    /// What it means that its keeper had ended.
    pub(super) fn befell(&self, before: u32) -> String {
        let has_port = matches!(&*self.view.borrow(), View::Known(state) if state.live().address.is_some());
        let port = if has_port { "until then its port answered nobody; " } else { "" };
        format!("its keeper, process {before}, had ended and was started again: {port}its instances do not end with it")
    }
}

/// The answer to a request that no frame holds.
pub(super) fn too_long(error: &FrameError) -> Failure {
    Failure::Reject(format!(
        "its keeper cannot be told of it: {error}; `env` with its variables filled in, `secrets` and commands are too large \
         together: let the program read what is large from a file"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::frame::MAX;

    #[test]
    fn what_fits_no_frame_is_refused_for_good() {
        let refused = too_long(&FrameError::TooLong(MAX + 1));
        assert!(matches!(&refused, Failure::Reject(why) if why.contains("1048577 bytes")), "{refused}");
    }
}
