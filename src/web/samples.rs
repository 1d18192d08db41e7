//! A short history of what instances use, for the small plots: a bounded ring an instance, kept in memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{InstanceId, ResourceId, Scope};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::Web;
use crate::port::{Board, Observer, Stat};

/// Points kept an instance: ten minutes at the default interval.
const POINTS: usize = 60;
/// A provider that does not answer in this time is left out of this round.
const PATIENCE: Duration = Duration::from_secs(5);

/// One moment of one instance; small, since there are many.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: u32,
    cpu_milli: u32,
    memory_kib: u32,
    /// Thousandths of a request a second; `u32::MAX` where the provider does not see requests.
    request_rate: u32,
    restarts: u32,
}

#[derive(Debug, Default)]
struct Ring {
    last: Option<(Timestamp, u64, Option<u64>)>,
    points: VecDeque<Point>,
}

/// The rings of all instances.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<ResourceId, BTreeMap<InstanceId, Ring>>);

/// One point, as served and drawn.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Shown {
    pub(super) at: Timestamp,
    /// Processors in use, 1.0 being one of them.
    pub(super) cpu: f64,
    pub(super) memory_bytes: u64,
    /// Requests a second, where the provider sees them.
    pub(super) requests: Option<f64>,
    pub(super) restarts: u32,
}

impl Point {
    fn shown(self) -> Shown {
        Shown {
            at: Timestamp::from_second(i64::from(self.at)).unwrap_or(Timestamp::UNIX_EPOCH),
            cpu: f64::from(self.cpu_milli) / 1_000.0,
            memory_bytes: u64::from(self.memory_kib) * 1_024,
            requests: (self.request_rate != u32::MAX).then(|| f64::from(self.request_rate) / 1_000.0),
            restarts: self.restarts,
        }
    }
}

impl Samples {
    /// The points of a resource's instances, oldest first.
    pub(super) fn of(&self, id: &ResourceId) -> BTreeMap<InstanceId, Vec<Shown>> {
        let rings = self.0.get(id).into_iter().flatten();
        rings.map(|(id, ring)| (id.clone(), ring.points.iter().map(|point| point.shown()).collect())).collect()
    }

    fn add(&mut self, stat: Stat, restarts: u32) {
        let ring = self.0.entry(stat.id).or_default().entry(stat.instance).or_default();
        let requests = stat.requests;
        let Some((at, cpu, before)) = ring.last.replace((stat.at, stat.cpu_micros, requests)) else { return };
        let micros = u64::try_from(stat.at.duration_since(at).as_micros()).unwrap_or(0);
        if micros == 0 {
            return;
        }
        // A process that started anew counts from zero again: that interval shows nothing used.
        let used = stat.cpu_micros.saturating_sub(cpu).saturating_mul(1_000) / micros;
        let rate =
            requests.zip(before).map(|(now, was)| now.saturating_sub(was).saturating_mul(1_000_000_000) / micros);
        if ring.points.len() == POINTS {
            ring.points.pop_front();
        }
        ring.points.push_back(Point {
            at: u32::try_from(stat.at.as_second()).unwrap_or(u32::MAX),
            cpu_milli: clamp(used),
            memory_kib: clamp(stat.memory_bytes / 1_024),
            request_rate: rate.map_or(u32::MAX, |rate| clamp(rate).min(u32::MAX - 1)),
            restarts,
        });
    }

    /// Forgets instances not seen for `keep`.
    fn forget(&mut self, now: Timestamp, keep: jiff::SignedDuration) {
        self.0.retain(|_, rings| {
            rings.retain(|_, ring| ring.last.is_some_and(|(at, ..)| now.duration_since(at) < keep));
            !rings.is_empty()
        });
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Samples until cancelled.
pub(super) async fn run(web: Arc<Web>) {
    let mut ticks = tokio::time::interval(web.page.config.limits.sample);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = web.cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let rounds = join_all(web.page.observers.values().map(|observer| ask(observer.as_ref()))).await;
        let (board, now) = (web.board(), web.now());
        let mut samples = web.samples();
        for stat in rounds.into_iter().flatten() {
            let restarts = restarts(&board, &stat);
            samples.add(stat, restarts);
        }
        samples.forget(now, jiff::SignedDuration::from_mins(10));
    }
}

async fn ask(observer: &dyn Observer) -> Vec<Stat> {
    match tokio::time::timeout(PATIENCE, observer.stats(&Scope::All)).await {
        Ok(Ok(stats)) => stats,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a provider gave no stats");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

fn restarts(board: &Board, stat: &Stat) -> u32 {
    let live = board.resources.get(&stat.id).and_then(|view| view.live.as_ref());
    let instance = live.and_then(|live| live.instances.iter().find(|instance| instance.id == stat.instance));
    instance.map_or(0, |instance| instance.restarts)
}
