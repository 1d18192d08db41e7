//! What instances use, read from their control groups or from `/proc`.

use std::fs;

use codeops_core::model::InstanceId;

use super::family::tree;
use super::process::stat_field;
use super::run::Keeper;
use super::wire::Usage;
use crate::launch::cgroup::Group;
use crate::port::{Clock as _, SystemClock};

/// Of every instance that runs.
pub(super) fn read(keeper: &Keeper) -> Vec<Usage> {
    let running: Vec<(InstanceId, u32, Group)> = keeper.table.read(|all| {
        let records = all.durable.instances.iter();
        records
            .filter_map(|(id, record)| Some((id.clone(), record.process.as_ref()?.pid, record.group.clone())))
            .collect()
    });
    running.into_iter().map(|(id, pid, group)| usage(keeper, id, pid, &group)).collect()
}

fn usage(keeper: &Keeper, id: InstanceId, pid: u32, group: &Group) -> Usage {
    let (mut cpu_micros, mut memory_bytes) = (0, 0);
    for pid in tree(pid) {
        let (cpu, memory) = of_process(pid);
        cpu_micros += cpu;
        memory_bytes += memory;
    }
    let backend = keeper.rotation.get(&id);
    let has_port = keeper.table.read(|all| all.volatile.address.is_some());
    Usage {
        instance: id,
        at: SystemClock.now(),
        cpu_micros: group.cpu_micros().unwrap_or(cpu_micros),
        memory_bytes: group.memory().unwrap_or(memory_bytes),
        requests: backend.filter(|_| has_port).map(|backend| backend.requests()),
    }
}

/// Microseconds of processor time, with that of children it waited for, and bytes of memory.
fn of_process(pid: u32) -> (u64, u64) {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks: u64 = (14..=17).filter_map(|field| stat_field(&line, field)).sum();
    let pages = stat_field(&line, 24).unwrap_or(0);
    let page = rustix::param::page_size() as u64;
    (ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1), pages.saturating_mul(page))
}
