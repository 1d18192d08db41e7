//! No keeper is started beside its twin: one that runs the same app of the same system in another folder, wherever that lies.
//! Every process is looked at for it, so it is done once for all that ask at a time.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use tokio::time::Instant;

use super::{Shared, held, off_thread};
use crate::keeper::twins::{self, Twin};

/// What the last look at all processes found.
#[derive(Debug, Default)]
pub(super) struct Twins {
    began: Option<Instant>,
    found: BTreeMap<OsString, Twin>,
}

impl Shared {
    /// Why no keeper may be started for the app in the folder `name` now, if it has a twin.
    pub(super) async fn twin_of(self: &Arc<Self>, name: &str) -> Option<String> {
        let (shared, app) = (Arc::clone(self), name.to_owned());
        let found = off_thread(move || Ok(shared.find_twin(&app))).await;
        match found {
            Ok(twin) => twin.map(|Twin { pid, folder }| {
                format!(
                    "no keeper is started for {name}: that of {}, process {pid}, still runs, and both would start its instances. End that \
                     process, and the daemon that starts it",
                    folder.display()
                )
            }),
            Err(error) => Some(format!("no keeper is started for {name}: it cannot be told who runs it: {error}")),
        }
    }

    fn find_twin(&self, name: &str) -> Option<Twin> {
        if let Some(twin) = Twin::copied_with(&self.home.app(name)) {
            return Some(twin);
        }
        let asked = Instant::now();
        let mut last = held(&self.twins);
        let known = last.found.get(OsStr::new(name)).and_then(|twin| twin.now(&self.home.root));
        if known.is_some() {
            return known;
        }
        // A look that began before may have been past one that has begun since.
        if last.began.is_none_or(|began| began < asked) {
            *last = Twins { began: Some(Instant::now()), found: twins::all(&self.home.root) };
        }
        last.found.get(OsStr::new(name)).cloned()
    }
}
