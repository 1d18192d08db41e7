//! Runs that are only thought through.

use std::collections::BTreeMap;

use super::super::{Scene, Simulated, World, evidence, preview, simulate};
use super::{ON, at, compiled, name, playbook};
use crate::model::{Given, GivenAlert, Labels, Period, RunState, Rung, StepOutcome};

fn thought_through(spec: &str, given: &Given) -> Simulated {
    in_scene(spec, given, simulate)
}

fn in_scene<T>(spec: &str, given: &Given, what: impl Fn(&Scene<'_>) -> T) -> T {
    let desired = compiled(&playbook("p", spec));
    let (teams, reach) = (BTreeMap::new(), BTreeMap::new());
    let world = World {
        response: &desired.response,
        resources: &desired.resources,
        reach: &reach,
        teams: &teams,
        fallback: None,
        resolve_delay: Period::from_secs(60),
    };
    let playbook = &desired.response.playbooks[&name("p")];
    what(&Scene { world: &world, playbook, policy: None, given, now: at(0), rung: Rung::Steps })
}

fn alert(app: &str) -> Given {
    let labels: Labels = [("alertname", "AppDown"), ("app", app)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    Given { alert: Some(GivenAlert { labels, annotations: Labels::new() }), ..Given::default() }
}

#[test]
fn time_jumps_and_the_end_is_the_live_one() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart, retry: {{attempts: 3, backoff: 10s}}}}]");
    let found = thought_through(&spec, &alert("shop"));
    let steps: Vec<String> = found.steps().iter().map(ToString::to_string).collect();
    assert_eq!((steps.join(" "), found.state), ("restart proof replace proof call".to_owned(), RunState::Paged));
    assert!(found.took.as_secs() > 400, "both proofs were waited for: {:?}", found.took);
    let helped = Given { resolved_after: Some(name("restart")), ..alert("shop") };
    assert_eq!(thought_through(&spec, &helped).state, RunState::Resolved);
    let broken = BTreeMap::from([(name("restart"), StepOutcome::Failed { error: "no".to_owned() })]);
    let found = thought_through(&spec, &Given { steps: broken, ..alert("shop") });
    assert_eq!(found.begun.iter().filter(|begun| begun.name == name("restart")).count(), 3);
    assert_eq!(found.steps()[1], name("replace"));
    let told = evidence(found.run.as_ref().unwrap(), None, "", &[], "").1;
    assert!(
        told.contains(" restart (action, 3 attempts): failed: no\n") && told.contains(" replace (action): done\n"),
        "{told}"
    );
    let over = thought_through(&spec, &Given { is_over: true, ..alert("shop") });
    assert_eq!((over.steps(), over.state), (vec![name("proof")], RunState::Resolved), "what works again is left alone");
}

#[test]
fn what_does_not_match_is_skipped_and_an_unknown_app_is_as_given() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let mut other = alert("shop");
    other.alert.as_mut().expect("an alert").labels.insert("alertname".to_owned(), "Else".to_owned());
    assert_eq!(thought_through(&spec, &other).state, RunState::Skipped);
    assert_eq!(thought_through(&spec, &alert("elsewhere")).steps()[0], name("restart"));
    // A name that can be none only pages.
    let found = thought_through(&spec, &alert("No Name"));
    assert_eq!((found.steps(), found.state), (vec![name("call")], RunState::Paged));
}

#[test]
fn a_preview_fills_in_what_is_known() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: look, script: scripts/look.sh, if: alert.labels.app == 'shop'}}\n    - {{name: scale, action: app.scale, with: {{replicas: '{{{{ steps.look.output.n }}}}'}}, if: steps.look.output.n > 1}}"
    );
    let (run, steps) = in_scene(&spec, &alert("shop"), |scene| preview(scene).expect("a run"));
    assert_eq!(steps[0].when, Some(Ok(true)));
    assert!(matches!(steps[1].when, Some(Err(_))) && steps[1].order.is_err());
    assert_eq!(steps.len(), run.playbook.steps.len() + run.playbook.otherwise.as_ref().map_or(0, Vec::len));
}
