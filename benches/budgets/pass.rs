//! Processor time of a pass that finds nothing to do: everything is observed, the revision is looked at again, planned,
//! judged and shown, as happens at every resync interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codeops::port::{Actuator, SystemClock};
use codeops::provider::{self, Environment};
use codeops_core::model::ProviderName;

use super::daemon::{self, Place};
use super::house::{House, processor_time};
use super::memory_provider::MemoryProvider;
use super::start::sleeper;
use super::table::Row;

/// Full passes measured, one after the other.
const PASSES: u32 = 10;
const EVERY: Duration = Duration::from_secs(1);

pub(crate) fn measure() -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let memory = runtime.block_on(rounds(1_000, |_, _| {
        let provider: Arc<dyn Actuator> = MemoryProvider::new(Arc::new(SystemClock));
        BTreeMap::from([("local".parse().unwrap(), provider)])
    }));
    let real = runtime.block_on(rounds(100, processes));
    let most = Duration::from_millis(100);
    vec![
        Row::time("pass", "full pass, nothing to do, 1,000 resources, CPU", most, &memory),
        Row::time("pass", "… 100 real apps of the process provider, CPU", most, &real),
    ]
}

fn processes(place: &Place, epoch: u64) -> BTreeMap<ProviderName, Arc<dyn Actuator>> {
    let environment = Environment {
        state: place.state(),
        binary: place.binary(),
        teams: BTreeMap::new(),
        clock: Arc::new(SystemClock),
        vault: None,
        memory: None,
        epoch,
    };
    provider::build(&BTreeMap::new(), &environment).unwrap()
}

async fn rounds(
    count: usize,
    providers: impl FnOnce(&Place, u64) -> BTreeMap<ProviderName, Arc<dyn Actuator>>,
) -> Vec<Duration> {
    let apps = (0..count).map(|i| (format!("apps/a{i}.yaml"), sleeper(&format!("a{i}"))));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let mut house = House::start(&place, EVERY, |epoch| providers(&place, epoch)).await;
    house.until_fine(count).await;
    // The bake ends, and with it what was still to be written.
    tokio::time::sleep(Duration::from_secs(35)).await;
    let mut all = Vec::new();
    for _ in 0..PASSES {
        let before = processor_time();
        tokio::time::sleep(EVERY).await;
        all.push(processor_time().saturating_sub(before));
    }
    drop(house);
    daemon::end_all(&place.binary());
    all
}
