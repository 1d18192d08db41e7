//! How a process came to its end, whose doing that was, and what the table says of it until the next start. Only an end of its
//! own says anything of the template: a machine that has no port, no room or no process left has tried nothing of it.

use std::io;
use std::time::Duration;

use codeops_core::model::{InstanceHealth, InstanceState, STARTED_AGAIN};

use tokio::time::sleep;

use super::{Supervisor, set_health};
use crate::keeper::holder::Held;
use crate::keeper::ports;
use crate::keeper::process::Exit;
use crate::keeper::table::Durable;

/// How often, and how far apart, it is looked whether a port is really another's.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(5);

/// Why a process is over.
pub(super) enum Over {
    /// By its own doing.
    Own(String),
    /// By something that says nothing of it.
    Lost(String),
    /// It never began, for the machine would not let it: that says nothing of it either.
    Refused(String),
}

/// The machine does not let it begin.
pub(super) fn refused(error: &io::Error) -> Over {
    Over::Refused(format!("cannot be started: {error}"))
}

impl Supervisor {
    /// How it ended, and that it was its memory, where the kernel says so.
    pub(super) async fn told(&self, exit: &Exit) -> Over {
        if let Some(port) = self.reserved.as_ref().map(|reserved| reserved.port)
            && self.has_lost(port).await
        {
            return Over::Lost(format!("{exit} while port {port} was held by another process"));
        }
        let limit = self.record().ok().and_then(|record| record.resource.spec.resources.memory);
        match (limit, exit) {
            (Some(limit), Exit::Signal(_) | Exit::Unknown) if self.group.memory_kills() > self.memory_kills => {
                Over::Own(format!("used more than its memory limit of {limit} and was killed"))
            }
            (Some(limit), Exit::Code(_)) if !exit.is_success() && self.group.memory_kills() > self.memory_kills => {
                let part =
                    format!("{exit} after a part of it was killed for using more than its memory limit of {limit}");
                Over::Own(part)
            }
            (_, Exit::Unknown) => Over::Lost(exit.to_string()),
            _ => Over::Own(exit.to_string()),
        }
    }

    /// Whether somebody else has the port of a process that is over. What never listened has left nothing there itself; what
    /// did may leave a socket whose last holder is about to be gone, and looks like another's until then.
    async fn has_lost(&self, port: u16) -> bool {
        for _ in 0..LOOKS {
            match self.backend.held() {
                Held::Other => sleep(LOOK).await,
                Held::Nobody => return !self.backend.has_listened() && !ports::is_free(port, true),
                Held::Own => return false,
            }
        }
        true
    }

    pub(super) async fn ended(&self, over: &Over, wait: Duration) {
        let health = match over {
            _ if self.streak.is_loop() => InstanceHealth::CrashLoop,
            // It does not run, and that is shown; what does not run has failed nothing.
            Over::Refused(_) if !wait.is_zero() => InstanceHealth::Unhealthy,
            Over::Lost(_) if self.losses.is_loop() => InstanceHealth::Unhealthy,
            Over::Own(_) | Over::Lost(_) | Over::Refused(_) => InstanceHealth::Starting,
        };
        let ended = |durable: &mut Durable| {
            let Some(record) = durable.instances.get_mut(&self.id) else { return };
            record.process = None;
            let instance = &mut record.instance;
            (instance.pid, instance.started_at, instance.on_trial) = (None, None, false);
            let why = match over {
                Over::Own(why) => {
                    instance.restarts = instance.restarts.saturating_add(1);
                    why
                }
                Over::Lost(why) => {
                    instance.losses = instance.losses.saturating_add(1);
                    why
                }
                Over::Refused(why) => why,
            };
            if instance.state == InstanceState::Running {
                instance.state = InstanceState::Backoff;
            }
            set_health(instance, health);
            instance.why = Some(match wait {
                Duration::ZERO => why.clone(),
                wait => format!("{why}{STARTED_AGAIN}{} s", wait.as_secs()),
            });
        };
        self.keeper.table.update(ended).await;
    }
}
