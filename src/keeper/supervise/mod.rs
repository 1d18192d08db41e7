//! One instance's life, from its first start until its last process is gone: start, watch, start again, stop. One task an
//! instance; what it learns goes to the table, whether it takes requests goes to the rotation.

mod look;
mod over;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{AppSpec, Instance, InstanceHealth, InstanceId, InstanceState, Protocol};
use rustix::process::{Signal, geteuid};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::keeper::allowed::Allowed;
use crate::keeper::backoff::Streak;
use crate::keeper::family::{self, Family};
use crate::keeper::forward::Backend;
use crate::keeper::health::check_of;
use crate::keeper::holder::{Held, Holder};
use crate::keeper::instance::{command, environment, orders, wants_port};
use crate::keeper::logs::{Capture, Ends, LastLines, Veil, capture};
use crate::keeper::ports::Reserved;
use crate::keeper::process::{Bound, Identity, Launching, Process, signal_named};
use crate::keeper::run::{FIFOS, Keeper};
use crate::keeper::table::{All, Durable, Record};
use crate::launch::Orders;
use crate::launch::cgroup::{self, Group};
use crate::port::{Clock as _, SystemClock};

use over::{Over, refused};

/// How soon it is looked anew whether the settings allow what they did not.
const ALLOWED_AGAIN: Duration = Duration::from_secs(1);

/// Lives one instance. Ends when the instance is gone for good; dropped earlier, the process goes on by itself.
pub(super) async fn live(keeper: Arc<Keeper>, id: InstanceId, stop: CancellationToken) {
    let Some(record) = keeper.table.read(|all| all.durable.instances.get(&id).cloned()) else { return };
    let backend = Arc::new(Backend::new(id.clone(), record.instance.port));
    keeper.rotation.add(backend.clone());
    let (streak, group, last) = (Streak::default(), Group::default(), LastLines::default());
    let (losses, reserved) = (Streak::default(), None);
    let mut supervisor =
        Supervisor { keeper, id, backend, stop, streak, losses, reserved, group, memory_kills: 0, last };
    supervisor.run(record).await;
}

struct Supervisor {
    keeper: Arc<Keeper>,
    id: InstanceId,
    backend: Arc<Backend>,
    stop: CancellationToken,
    /// The ends of its own doing.
    streak: Streak,
    /// The other ones.
    losses: Streak,
    /// The port of its present process, or of its last.
    reserved: Option<Reserved>,
    group: Group,
    /// What its group had counted before its present process.
    memory_kills: u64,
    /// What its present process wrote last.
    last: LastLines,
}

impl Supervisor {
    async fn run(&mut self, record: Record) {
        let user = record.setting.user.as_ref().map(|user| user.uid);
        let pipes = Capture::new(FIFOS.as_ref(), &self.id, user);
        let mut captures = JoinSet::new();
        let (done, (ends, ended)) = (CancellationToken::new(), Ends::new());
        let receivers = pipes.as_ref().map_err(io::Error::kind).and_then(|p| p.receivers().map_err(|e| e.kind()));
        if let Ok(receivers) = receivers {
            let veil = Veil::following(&self.keeper.table, &record.instance.template, record.needs_secrets);
            let (logs, last) = (self.keeper.logs.clone(), self.last.clone());
            captures.spawn(capture(receivers, self.id.clone(), veil, logs, last, ended, done.clone()));
        }
        match &pipes {
            Ok(pipes) => self.cycle(&record, pipes, &ends).await,
            Err(error) => self.failed(format!("its output cannot be taken: {error}")).await,
        }
        if pipes.is_err() {
            self.stop.cancelled().await;
        }
        self.kill_rest();
        done.cancel();
        while captures.join_next().await.is_some() {}
        if let Ok(pipes) = pipes {
            pipes.remove();
        }
        self.group.remove();
        self.keeper.forget(&self.id).await;
    }

    /// Processes, one after the other, until the instance is to stop.
    async fn cycle(&mut self, record: &Record, pipes: &Capture, ends: &Ends) {
        let mut adopted = self.adopt(record).await;
        loop {
            let process = match adopted.take() {
                Some(process) => Ok(process),
                None if self.stop.is_cancelled() => return,
                None => self.start(pipes).await,
            };
            let begun = Instant::now();
            let over = match process {
                Ok(process) => match self.watch(&process, begun).await {
                    Some(over) => over,
                    None => return self.end(&process).await,
                },
                Err(over) => over,
            };
            self.backend.set_ready(false);
            // A machine that goes down ends all at once: what ends with its keeper says nothing of itself.
            tokio::task::yield_now().await;
            if self.keeper.leaves() {
                return std::future::pending().await;
            }
            self.kill_rest();
            // Also where nothing is told of it: the next process begins a line of its own.
            ends.told().await;
            let over = match over {
                Over::Own(why) => Over::Own(self.last.told(why)),
                other => other,
            };
            // What says nothing of it makes no loop of it.
            let streak = if matches!(over, Over::Own(_)) { &mut self.streak } else { &mut self.losses };
            let wait = streak.ended(begun.elapsed());
            self.ended(&over, wait).await;
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn adopt(&mut self, record: &Record) -> Option<Process> {
        self.group = record.group.clone();
        self.memory_kills = self.group.memory_kills();
        let identity = record.process.as_ref()?;
        let adopted = Process::adopt(identity);
        self.reserved = record.instance.port.map(Reserved::of);
        self.hold(record.instance.pid, record.instance.port, record);
        match &adopted {
            // What passed its check before is taken to pass it still: the port is back at once.
            Some(_) => self.backend.set_ready(
                (record.instance.health == InstanceHealth::Healthy || record.instance.on_trial)
                    && record.instance.state == InstanceState::Running
                    && self.backend.held() != Held::Other,
            ),
            None => {
                self.kill_rest();
                let with = if identity.is_of_this_boot() { "while no keeper watched" } else { "with its machine" };
                self.change(|instance| {
                    instance.losses = instance.losses.saturating_add(1);
                    instance.why = Some(format!("its process ended {with}"));
                    (instance.pid, instance.started_at, instance.on_trial) = (None, None, false);
                    set_health(instance, InstanceHealth::Starting);
                })
                .await;
            }
        }
        adopted
    }

    fn record(&self) -> Result<Record, String> {
        let record = self.keeper.table.read(|all| all.durable.instances.get(&self.id).cloned());
        record.ok_or_else(|| "its record is gone".to_owned())
    }

    fn spec(&self) -> Option<AppSpec> {
        let spec = |all: &All| Some(all.durable.spec_of(all.durable.instances.get(&self.id)?).clone());
        self.keeper.table.read(spec)
    }

    async fn start(&mut self, pipes: &Capture) -> Result<Process, Over> {
        self.last.clear();
        if let Ok(here) = std::env::current_dir() {
            self.keeper.table.lies_in(None, &here);
        }
        let record = self.record().map_err(Over::Own)?;
        self.may_start(&record).await.map_err(Over::Own)?;
        let cgroup = record.setting.cgroup.as_ref().map(|path| format!("{path}/{}", self.id));
        let own_user = record.setting.user.as_ref().is_some_and(|user| user.uid != geteuid().as_raw());
        let (group, notes) = cgroup::prepare(cgroup.as_deref(), &record.resource.spec.resources, own_user);
        self.group = group;
        self.memory_kills = self.group.memory_kills();
        self.keeper.table.note(|volatile| volatile.notes.insert(self.id.to_string(), notes));
        let port = self.port(&record)?;
        let orders = command(&record.resource.spec).and_then(|command| self.orders(&record, command, port));
        let orders = orders.map_err(Over::Own)?;
        let [out, err] = pipes.ends().map_err(|error| refused(&error))?;
        let launching = Launching::new(out, err, &self.keeper.tasks).map_err(|error| refused(&error))?;
        // Written before the program is let go: whatever happens to this keeper, the next one knows of it.
        let written = self.written(launching.identity().clone(), port).await;
        written.map_err(|error| Over::Refused(format!("is not started: {error}")))?;
        self.hold(Some(launching.identity().pid), port, &record);
        launching.go(&orders).map(Bound::unbind).map_err(|error| refused(&error))
    }

    /// From now on the port has to be that of the process `pid` or its family.
    fn hold(&self, pid: Option<u32>, port: Option<u16>, record: &Record) {
        let user = record.setting.user.as_ref().map(|user| user.uid);
        let family = |first| Family { first, id: self.id.clone(), group: self.group.clone() };
        self.backend.set_holder(pid.zip(port).map(|(pid, port)| Holder::new(family(pid), user, port)));
    }

    /// Writes down the process that is about to become the program.
    async fn written(&self, identity: Identity, port: Option<u16>) -> io::Result<()> {
        let looping = self.streak.is_loop();
        let begins = |durable: &mut Durable| {
            let Some(record) = durable.instances.get_mut(&self.id) else { return };
            record.instance.pid = Some(identity.pid);
            record.instance.port = port;
            record.instance.started_at = Some(SystemClock.now());
            if record.instance.state == InstanceState::Backoff {
                record.instance.state = InstanceState::Running;
            }
            if !looping {
                set_health(&mut record.instance, InstanceHealth::Starting);
            }
            record.process = Some(identity);
            record.group = self.group.clone();
        };
        self.keeper.table.record(begins).await
    }

    fn port(&mut self, record: &Record) -> Result<Option<u16>, Over> {
        if !wants_port(&record.resource.spec) {
            return Ok(None);
        }
        let reserved = Reserved::new(record.instance.port);
        let reserved = reserved.map_err(|error| Over::Refused(format!("finds no port free: {error}")))?;
        let port = self.reserved.insert(reserved).port;
        self.backend.set_port(port);
        Ok(Some(port))
    }

    fn orders(&self, record: &Record, command: &[String], port: Option<u16>) -> Result<Orders, String> {
        let secrets = self.keeper.table.read(|all| all.volatile.secrets.get(&record.instance.template).cloned());
        let env = environment(&self.id, &record.resource, &record.setting, port)?;
        let mut orders = orders(command, env, &secrets.unwrap_or_default(), &record.setting)?;
        orders.cgroups = self.group.joins();
        Ok(orders)
    }

    /// What keeps it from being started, if anything does: what the settings do not allow any more, or secrets that only the
    /// daemon can send again.
    async fn barred(&self, record: &Record) -> Option<String> {
        let epoch = self.keeper.table.read(|all| all.durable.epoch);
        // No request waits for a disk.
        let allowed = spawn_blocking(move || Allowed::now(epoch)).await.ok().flatten();
        self.keeper.table.read(|all| {
            let (team, spec) = (all.durable.team_of(&record.resource), &record.resource.spec);
            let forbidden = allowed.and_then(|allowed| allowed.forbids(team, record.setting.user.as_ref(), spec));
            let there = !record.needs_secrets || all.volatile.secrets.contains_key(&record.instance.template);
            let lost = || "waits for its secrets, which the daemon sends when it connects".to_owned();
            forbidden.or_else(|| (!there).then(lost))
        })
    }

    /// Waits until nothing keeps it from being started. It counts as a start that takes its time.
    async fn may_start(&self, record: &Record) -> Result<(), String> {
        let mut changes = self.keeper.table.watch();
        let late = self.spec().map(|spec| check_of(&spec).start_timeout.as_duration()).unwrap_or_default();
        let mut late = pin!(sleep(late));
        let (mut is_late, mut told) = (false, None);
        loop {
            changes.mark_unchanged();
            let Some(why) = self.barred(record).await else { return Ok(()) };
            if told.as_ref() != Some(&why) {
                told = Some(why.clone());
                self.change(|instance| (instance.state, instance.why) = (InstanceState::Backoff, Some(why))).await;
            }
            tokio::select! {
                () = &mut late, if !is_late => {
                    is_late = true;
                    self.change(|instance| set_health(instance, InstanceHealth::Unhealthy)).await;
                }
                changed = changes.changed() => changed.map_err(|_| "the keeper ends".to_owned())?,
                () = sleep(ALLOWED_AGAIN) => {}
                () = self.stop.cancelled() => return Err("stopped before it was started".to_owned()),
            }
        }
    }

    /// How the process ended, or `None` when it is to stop.
    async fn watch(&self, process: &Process, begun: Instant) -> Option<Over> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            exit = process.ended() => Some(self.told(&exit).await),
            why = self.look(begun) => {
                self.backend.set_ready(false);
                // Not unwell: another port is all that it needs.
                let looping = self.streak.is_loop();
                self.change(|instance| {
                    if !looping {
                        set_health(instance, InstanceHealth::Starting);
                    }
                    (instance.on_trial, instance.why) = (false, Some(why.clone()));
                })
                .await;
                if let Some(spec) = self.spec() {
                    self.quit(process, &spec).await;
                }
                Some(Over::Lost(why))
            }
        }
    }

    /// Out of rotation, drained, asked, killed.
    async fn end(&self, process: &Process) {
        self.backend.set_ready(false);
        self.change(|instance| instance.state = InstanceState::Stopping).await;
        let Some(spec) = self.spec() else { return process.signal(Signal::KILL) };
        let grace = spec.stop.grace.as_duration();
        tokio::select! {
            _ = process.ended() => return,
            drained = timeout(grace, self.backend.idle()) => {
                if drained.is_err() {
                    self.cut(&spec, grace).await;
                }
            }
        }
        self.quit(process, &spec).await;
    }

    /// Asked, killed.
    async fn quit(&self, process: &Process, spec: &AppSpec) {
        process.signal(signal_named(&spec.stop.signal));
        if timeout(spec.stop.grace.as_duration(), process.ended()).await.is_err() {
            process.signal(Signal::KILL);
            self.kill_rest();
            process.ended().await;
        }
    }

    async fn cut(&self, spec: &AppSpec, grace: Duration) {
        let what = match spec.port.map(|port| port.protocol) {
            Some(Protocol::Http) => "requests",
            _ => "connections",
        };
        let line = format!("codeops: {what} that did not end within {} ms of the stop were cut", grace.as_millis());
        self.keeper.logs.append(self.id.as_str(), "stderr", std::iter::once(line.as_str()));
        self.change(|instance| instance.why = Some(line["codeops: ".len()..].to_owned())).await;
        self.backend.cut.cancel();
    }

    /// Kills what outlived its first process, in its group or orphaned.
    fn kill_rest(&self) {
        self.group.kill();
        family::kill_orphans(Some(&self.id));
    }

    async fn change(&self, change: impl FnOnce(&mut Instance)) {
        let change = |durable: &mut Durable| {
            if let Some(record) = durable.instances.get_mut(&self.id) {
                change(&mut record.instance);
            }
        };
        self.keeper.table.update(change).await;
    }
}

fn set_health(instance: &mut Instance, health: InstanceHealth) {
    if instance.health != health {
        instance.health = health;
        instance.health_since = SystemClock.now();
    }
}
