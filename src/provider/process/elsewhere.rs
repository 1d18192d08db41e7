//! A folder that lies elsewhere than where it was made: a copy of that one, or that one moved. Nobody can tell which, and what
//! a copy's keepers knew of belongs to the other daemon's: they would start it again in the other one's data. So none is
//! started until a commit accepts the folder as a system of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use codeops_core::model::{ProviderName, SystemId};

use super::{Environment, Shared};
use crate::journal::SharedMemory;

/// Where a folder was made, and who knows whether it was accepted where it lies.
pub(super) struct Elsewhere {
    from: PathBuf,
    provider: ProviderName,
    memory: Option<Arc<SharedMemory>>,
    accepted: AtomicBool,
}

impl Elsewhere {
    /// For the provider that was made in `from`.
    pub(super) fn new(from: PathBuf, provider: &ProviderName, environment: &Environment) -> Self {
        let memory = environment.memory.clone();
        Self { from, provider: provider.clone(), memory, accepted: AtomicBool::new(false) }
    }

    /// The folder of an app where all was made.
    pub(super) fn app(&self, name: &str) -> PathBuf {
        self.from.join("apps").join(name)
    }

    /// Whether the journal remembers `system` as this provider's: it does once a commit said so.
    fn is_accepted(&self, system: &SystemId) -> bool {
        if !self.accepted.load(Ordering::Relaxed) {
            let remembered = self.memory.as_ref().is_some_and(|memory| {
                let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
                memory.systems.get(&self.provider) == Some(system)
            });
            self.accepted.store(remembered, Ordering::Relaxed);
        }
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Whether keepers are started and what is written of apps is brought up to date.
    pub(super) fn may_start(&self) -> bool {
        self.starts && self.elsewhere.as_ref().is_none_or(|elsewhere| elsewhere.is_accepted(&self.system))
    }

    /// Why no keeper is started for the app in the folder `name`, if none is.
    pub(super) fn bars(&self, name: &str) -> Option<String> {
        if !self.may_start()
            && let Some(Elsewhere { from, .. }) = &self.elsewhere
        {
            return Some(format!(
                "no keeper is started for {name}: {} was made in {}, so it was moved or is a copy, and may be accepted once nothing of \
                 what it was made from runs or is started again",
                self.home.root.display(),
                from.display(),
            ));
        }
        (!self.starts).then(|| format!("no keeper runs for {name}; the daemon starts one"))
    }
}
