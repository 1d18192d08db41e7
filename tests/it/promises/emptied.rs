//! A commit that empties the repository: what it removes is held, and who would be called about it is still there.

use codeops_core::model::{Health, RunState, Sync};

use super::alerts::{begin, firing, only_run};
use crate::support::flow::{Flow, path};

/// All but `codeops.yaml`, removed.
fn everything() -> Vec<(String, String)> {
    let own = ["team.yaml", "people.yaml", "playbook.yaml", "scripts/look.sh"].map(str::to_owned);
    own.into_iter().chain([path("shop"), path("other")]).map(|path| (path, String::new())).collect()
}

async fn emptied(flow: &mut Flow) {
    begin(flow, &["shop", "other"]).await;
    let files = everything();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    assert_eq!(flow.status("shop"), (Sync::Held, Health::Healthy));
}

#[tokio::test(start_paused = true)]
async fn who_is_called_stays_until_the_removals_are_released() {
    for restarts in [false, true] {
        let mut flow = Flow::new().await;
        emptied(&mut flow).await;
        let hold = flow.board().holds[0].clone();
        assert!(hold.why.contains("stays until then: AlertRoute/routing, EscalationPolicy/people"), "{}", hold.why);
        if restarts {
            for _ in 0..2 {
                flow.restart().await;
                flow.settle().await;
            }
        }
        flow.tell(vec![firing(&flow, "DiskFull", "elsewhere")]).await;
        flow.elapse(30).await;
        assert_eq!(flow.outside.count("webhook"), 1, "paging goes on, {restarts}");
        assert_eq!(only_run(&flow).await.state(), RunState::Paged);

        flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", hold.id.as_str())]).await;
        flow.settle().await;
        assert_eq!((flow.live("shop"), flow.board().holds.len()), (None, 0));
        let response = flow.board().desired.as_ref().expect("a revision").response.clone();
        assert_eq!((response.policies.len(), response.playbooks.len()), (0, 0), "with them it went");
        flow.restart().await;
        flow.settle().await;
        assert!(flow.board().desired.as_ref().expect("a revision").response.receivers.is_empty());
        flow.check();
    }
}

#[tokio::test(start_paused = true)]
async fn the_fallback_of_the_settings_stays_whatever_is_released() {
    let mut flow = Flow::stopped(&["local"]);
    flow.rules.fallback = "people".parse().ok();
    flow.start().await;
    emptied(&mut flow).await;
    let hold = flow.hold();
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.live("shop"), None);
    let told = |it: &codeops_core::desired::Diagnostic| it.message.contains("`people` is deleted and stays as it was");
    assert!(flow.board().diagnostics.iter().any(told), "{:?}", flow.board().diagnostics);
    flow.tell(vec![firing(&flow, "DiskFull", "elsewhere")]).await;
    flow.elapse(30).await;
    assert_eq!((only_run(&flow).await.state(), flow.outside.count("webhook")), (RunState::Paged, 1));
}

/// Where nothing is held what is deleted goes at once, and nothing is said of it.
#[tokio::test(start_paused = true)]
async fn what_is_deleted_alone_goes_at_once() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "other"]).await;
    flow.commit(&[("playbook.yaml", "")]).await;
    flow.settle().await;
    assert!(flow.board().desired.as_ref().expect("a revision").response.playbooks.is_empty());
    let kept = |record: &codeops::journal::Record| matches!(record, codeops::journal::Record::Kept { .. });
    assert!(!flow.log.entries().iter().any(|entry| kept(&entry.record)));
}
