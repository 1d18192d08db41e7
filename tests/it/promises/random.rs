//! Whatever happens in whatever order, once it stops live state is what the last commit says, or its last good, and no
//! intent is open.

use std::collections::BTreeMap;

use codeops::port::ResourceView;
use codeops_core::desired::Severity;
use codeops_core::model::{Health, Sync};
use proptest::prelude::*;

use crate::support::flow::{Flow, app_with, id, path};
use crate::support::memory_provider::Fault;

/// One thing that happens. Apps are named by number.
#[derive(Debug, Clone)]
enum Event {
    /// A commit sets an app to a version with so many replicas.
    Change(u8, &'static str, u8),
    /// A commit removes an app.
    Remove(u8),
    /// A commit breaks an app's manifest.
    Break(u8),
    /// A commit gives an app its other name.
    Rename(u8),
    /// An app alone is not answered for, from now on or until now.
    Mute(u8, bool),
    /// The daemon is killed and started again.
    Kill,
    /// The provider fails one call.
    Fail(Fault),
    /// The provider is away for so many seconds.
    Away(u8),
    /// The repository is away for so many seconds.
    Unfetched(u8),
    /// An app's instances vanish.
    Vanish(u8),
    /// Somebody edits an app by hand.
    Drift(u8),
    /// Seconds pass.
    Elapse(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let app = 0_u8..4;
    let version = prop::sample::select(vec!["v1", "v2", "v3", "v4", "bad-1", "bad-2", "sick-1", "slow-1"]);
    let fault = prop::sample::select(vec![Fault::Retry, Fault::LostBefore, Fault::LostAfter]);
    prop_oneof![
        6 => (app.clone(), version, 0_u8..3).prop_map(|(app, version, replicas)| Event::Change(app, version, replicas)),
        2 => app.clone().prop_map(Event::Remove),
        1 => app.clone().prop_map(Event::Break),
        2 => app.clone().prop_map(Event::Rename),
        2 => (app.clone(), any::<bool>()).prop_map(|(app, on)| Event::Mute(app, on)),
        3 => Just(Event::Kill),
        2 => fault.prop_map(Event::Fail),
        1 => (1_u8..60).prop_map(Event::Away),
        1 => (1_u8..60).prop_map(Event::Unfetched),
        2 => app.clone().prop_map(Event::Vanish),
        1 => app.prop_map(Event::Drift),
        4 => (1_u8..40).prop_map(Event::Elapse),
    ]
}

/// How an app is called now: each has two names and takes them by turns.
#[derive(Default)]
struct Names(BTreeMap<u8, Named>);

#[derive(Clone, Default)]
struct Named {
    other: bool,
    renamed: bool,
    /// The version and the replicas it was last declared with, if it is.
    declared: Option<(&'static str, u8)>,
}

impl Names {
    /// The first is declared from the start.
    fn new() -> Self {
        let first = Named { declared: Some(("v1", 1)), ..Named::default() };
        Self([(0, first)].into())
    }

    fn of(&mut self, app: u8) -> &mut Named {
        self.0.entry(app).or_default()
    }
}

impl Named {
    fn name(&self, app: u8) -> String {
        name(app, self.other)
    }

    /// Its manifest at this version; what it runs does not depend on its name.
    fn manifest(&self, app: u8, version: &str, replicas: u8) -> String {
        let was = if self.renamed { format!("was: [{}], ", name(app, !self.other)) } else { String::new() };
        let manifest = app_with(&self.name(app), version, &was, &format!("replicas: {replicas}, "));
        manifest.replace(&format!("./{}", self.name(app)), &format!("./{}", name(app, false)))
    }
}

fn name(app: u8, other: bool) -> String {
    format!("{}{app}", if other { 'q' } else { 'p' })
}

async fn happen(flow: &mut Flow, names: &mut Names, event: Event) {
    match event {
        Event::Change(app, version, replicas) => {
            let named = names.of(app);
            named.declared = Some((version, replicas));
            flow.commit(&[(&path(&named.name(app)), &named.manifest(app, version, replicas))]).await;
        }
        Event::Remove(app) => {
            let named = names.of(app);
            named.declared = None;
            named.renamed = false;
            flow.commit(&[(&path(&named.name(app)), "")]).await;
        }
        Event::Break(app) => {
            let broken = app_with(&names.of(app).name(app), "v1", "", "nonsense: 7, ");
            flow.commit(&[(&path(&names.of(app).name(app)), &broken)]).await;
        }
        Event::Rename(app) => {
            let named = names.of(app);
            let Some((version, replicas)) = named.declared else { return };
            let before = path(&named.name(app));
            (named.other, named.renamed) = (!named.other, true);
            let manifest = named.manifest(app, version, replicas);
            flow.commit(&[(&before, ""), (&path(&named.name(app)), &manifest)]).await;
        }
        Event::Mute(app, on) => {
            let id = id(&names.of(app).name(app));
            flow.local().mute(&id, on.then_some("its keeper is stopped"));
        }
        Event::Kill => {
            flow.restart().await;
            flow.look();
        }
        Event::Fail(fault) => flow.local().fail_next(fault),
        Event::Away(seconds) => {
            flow.local().set_unreachable(Some("away"));
            flow.elapse(seconds.into()).await;
            flow.local().set_unreachable(None);
        }
        Event::Unfetched(seconds) => {
            flow.source.set_unreachable(Some("away"));
            flow.look();
            flow.elapse(seconds.into()).await;
            flow.source.set_unreachable(None);
        }
        Event::Vanish(app) => flow.local().edit(&id(&names.of(app).name(app)), |live| live.instances.clear()),
        Event::Drift(app) => flow.local().drift(&id(&names.of(app).name(app)), "port.number"),
        Event::Elapse(seconds) => flow.elapse(seconds.into()).await,
    }
}

/// The end: time passes, holds are released, and everything is looked at.
async fn end(flow: &mut Flow) {
    for app in 0..4 {
        for other in [false, true] {
            flow.local().mute(&id(&name(app, other)), None);
        }
    }
    for _ in 0..8 {
        flow.look();
        flow.settle().await;
        let moves =
            |view: &ResourceView| !matches!(view.sync, Sync::Synced | Sync::Held) || view.health == Health::Progressing;
        let moves = flow.board().resources.values().any(|view| moves(view));
        if !moves && flow.board().holds.is_empty() {
            return;
        }
        // The longest backoff.
        flow.elapse(300).await;
        let holds: Vec<String> = flow.board().holds.iter().map(|hold| hold.id.as_str().to_owned()).collect();
        let trailers: Vec<(&str, &str)> = holds.iter().map(|id| ("Codeops-Allow", id.as_str())).collect();
        if !trailers.is_empty() {
            flow.commit_with(&[("README.md", &holds.concat())], &trailers).await;
        }
    }
}

fn judge(flow: &Flow, events: &[Event]) {
    let board = flow.board();
    assert!(board.holds.is_empty() && board.observe_only.is_none(), "{events:?}: {:?}", board.holds);
    for (id, view) in &board.resources {
        let name = id.name.as_str();
        let told = || format!("{id} is {} {} ({:?}) after {events:?}", view.sync, view.health, view.why);
        let desired = view.desired.as_ref();
        if told().contains("stopped: ") || told().contains("both live: ") {
            continue; // A wide update stopped at its first failure; two of one name, of which a person must choose.
        }
        if told().contains("a mistake may hide what became of it")
            && board.diagnostics.iter().any(|mistake| mistake.severity == Severity::Error)
        {
            continue; // Another manifest is broken that was never good: nobody knows what it was to be.
        }
        match (view.sync, view.health) {
            (Sync::Synced, Health::Healthy) => {
                let desired = desired.expect("declared");
                let live = flow.live(name).expect("it lives");
                assert_eq!(live.stamp.as_ref().map(|stamp| &stamp.spec), Some(&desired.spec_digest), "{}", told());
                assert_eq!(live.instances.len(), desired.spec.replicas as usize, "{}", told());
                assert!(live.instances.iter().all(|i| i.template == desired.template_digest), "{}", told());
                assert!(live.drift.is_empty(), "{}", told());
            }
            // At its last good with a pin, or broken; or failed with nothing to go back to, and left.
            (Sync::Held, Health::Healthy) => {
                let live = flow.live(name).expect("it lives");
                let broken = board.diagnostics.iter().any(|mistake| format!("{mistake:?}").contains(&path(name)));
                assert!(broken || !view.pins.is_empty(), "{}", told());
                let good = view.last_good.as_ref().map(|good| &good.resource.template_digest);
                let at_good = live.instances.iter().all(|i| Some(&i.template) == good);
                assert!(good.is_none() || at_good, "{}", told());
            }
            (Sync::Held, Health::Degraded | Health::Missing) => assert!(
                view.last_good.is_none()
                    || view.last_good.as_ref().is_some_and(|g| view.pins.contains_key(&g.resource.template_digest)),
                "{}",
                told()
            ),
            _ => panic!("{}", told()),
        }
    }
    let declared = |name: &str| board.resources.contains_key(&id(name));
    for (app, other) in (0..4).flat_map(|app| [(app, false), (app, true)]) {
        let name = name(app, other);
        assert!(declared(&name) || flow.live(&name).is_none(), "{name} is declared nowhere: {events:?}");
    }
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_failing_app_can_be_scaled_to_zero() {
    let events = [Event::Change(1, "bad-1", 1), Event::Elapse(10), Event::Change(1, "bad-1", 0)];
    let mut flow = Flow::new().await;
    flow.begin(&[("p0", "v1")]).await;
    let mut names = Names::new();
    for event in events.clone() {
        happen(&mut flow, &mut names, event).await;
    }
    end(&mut flow).await;
    assert!(flow.instances("p1").is_empty());
    judge(&flow, &events);
}

#[tokio::test(start_paused = true)]
async fn instances_wanted_again_while_an_update_goes_in_waves() {
    use Event::Change;
    let events = [
        Change(1, "v1", 0),
        Change(2, "v1", 0),
        Event::Elapse(1),
        Change(2, "v1", 1),
        Change(0, "bad-1", 1),
        Change(1, "v1", 1),
        Change(0, "bad-2", 2),
    ];
    let mut flow = Flow::new().await;
    flow.begin(&[("p0", "v1")]).await;
    let mut names = Names::new();
    for event in events.clone() {
        happen(&mut flow, &mut names, event).await;
    }
    end(&mut flow).await;
    judge(&flow, &events);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_as_declared(events in prop::collection::vec(event(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(async {
            let mut flow = Flow::new().await;
            flow.begin(&[("p0", "v1")]).await;
            let mut names = Names::new();
            for event in events.clone() {
                happen(&mut flow, &mut names, event).await;
            }
            end(&mut flow).await;
            judge(&flow, &events);
        });
    }
}
