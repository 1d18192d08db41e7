//! Alerts beside schedules: however many runs are due at one time, an alert that comes meanwhile is answered first, and each team
//! has its turn.

use codeops::journal::{Log as _, Record};
use codeops_core::model::{RunCause, RunEvent};

use super::alerts::{APP_DOWN, begin_with, firing};
use crate::support::flow::Flow;

const MANY: usize = 60;

/// A playbook that runs every minute.
fn scheduled(name: &str, team: &str) -> String {
    format!(
        "---\napiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: {team}}}\nspec:\n  \
         on: {{schedule: \"* * * * *\"}}\n  steps: [{{name: rest, wait: {{for: 20s}}}}, {{name: again, wait: {{for: 20s}}}}]\n"
    )
}

/// What was written, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Wrote {
    Alert,
    /// A step of the run that answers it.
    Answer,
    /// A run that was due opened, or another step of one; and which playbook's.
    Due(String),
}

fn wrote(flow: &Flow, since: usize) -> Vec<Wrote> {
    let mut due = std::collections::BTreeMap::new();
    let mut all = Vec::new();
    for (at, entry) in flow.log.entries().iter().enumerate() {
        let wrote = match &entry.record {
            Record::Alerts { .. } => Some(Wrote::Alert),
            Record::Run { run, event: RunEvent::Opened { playbook, cause: RunCause::Schedule { .. }, .. }, .. } => {
                due.insert(*run, playbook.name.to_string());
                Some(Wrote::Due(playbook.name.to_string()))
            }
            Record::Run { event: RunEvent::Opened { .. }, .. } => None,
            Record::Run { run, .. } => Some(due.get(run).map_or(Wrote::Answer, |name| Wrote::Due(name.clone()))),
            _ => None,
        };
        all.extend(wrote.filter(|_| at >= since));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn an_alert_waits_for_no_more_than_a_few_of_many_runs_that_are_due() {
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], APP_DOWN).await;
    let other = "---\napiVersion: codeops/v1\nkind: Team\nmetadata: {name: busy}\nspec: {}\n";
    let busy: String = (0..MANY).map(|n| scheduled(&format!("b-{n:02}"), "busy")).collect();
    let own = scheduled("z-own", "core");
    flow.commit(&[("busy.yaml", &(other.to_owned() + &busy)), ("own.yaml", &own)]).await;
    flow.elapse(90).await;
    // From here on a write takes its time, as one to a disk does.
    flow.log.set_slow();
    let since = flow.log.entries().len();
    let mut tail = flow.log.tail();
    let meanwhile = async {
        // When some of them have begun, and when they go on after their first rest.
        loop {
            let entry = tail.recv().await.expect("entries");
            if matches!(&entry.record, Record::Run { .. }) {
                break flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
            }
        }
    };
    tokio::join!(flow.elapse(61), meanwhile);
    let wrote = wrote(&flow, since);
    let alert = wrote.iter().position(|it| *it == Wrote::Alert).expect("it was told of");
    let answer = wrote.iter().position(|it| *it == Wrote::Answer).expect("it is answered");
    assert!(answer > alert && answer - alert <= 32, "{} others came before: {wrote:#?}", answer - alert);
    let due: Vec<_> = wrote.iter().filter(|it| matches!(it, Wrote::Due(_))).collect();
    assert!(due.len() > MANY, "all had their turn: {}", due.len());
    let own = due.iter().position(|it| **it == Wrote::Due("z-own".to_owned())).expect("it ran");
    assert!(own < 8, "{own} others of one team came before the other team's: {due:#?}");
    flow.check();
}
