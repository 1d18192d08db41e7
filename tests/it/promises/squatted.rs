//! A team's manifest under another's names: what that other renames, removes or has held goes its way, and stays hidden.

use codeops_core::model::{Health, Sync};

use super::owners::{of, teams, wrong};
use crate::support::flow::{app, id};

const FOUR: [&str; 4] = ["one", "two", "three", "four"];

#[tokio::test(start_paused = true)]
async fn a_rename_keeps_what_was_under_the_old_name() {
    for restarts in [false, true] {
        let mut flow = teams().await;
        let before = flow.instances("web");
        flow.commit(&[("b/web.yaml", &of("b", &app("web", "theirs")))]).await;
        flow.settle().await;
        if restarts {
            flow.restart().await;
            flow.settle().await;
        }
        flow.commit(&[("a/web.yaml", &of("a", &app("web", "v1").replace("{name: web", "{was: [web], name: site")))])
            .await;
        flow.settle().await;
        assert_eq!(flow.status("site"), (Sync::Synced, Health::Healthy), "{}", flow.why("site"));
        assert_eq!(flow.instances("site"), before, "it is the same app");
        assert!(!flow.effects().iter().any(|effect| effect.contains("delete")), "{:?}", flow.effects());
        assert!(wrong(&flow).iter().all(|it| it.starts_with("b/")), "{:?}", wrong(&flow));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_not_let_go_by_who_declares_it_and_does_not_any_more() {
    let mut flow = teams().await;
    let all: Vec<(String, String)> =
        FOUR.iter().map(|name| (format!("a/{name}.yaml"), of("a", &app(name, "v1")))).collect();
    let files: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    let gone: Vec<(&str, &str)> = files.iter().map(|(path, _)| (*path, "")).collect();
    flow.commit(&gone).await;
    flow.settle().await;
    let hold = flow.hold();
    let were = of("b", &app("thief", "theirs")).replace("{name: thief", "{was: [one, two], name: thief");
    for count in [4, 2, 0] {
        let theirs: Vec<String> = FOUR[..count].iter().map(|name| of("b", &app(name, "theirs"))).collect();
        flow.commit(&[("b/dup.yaml", &theirs.join("---\n")), ("b/were.yaml", if count == 2 { &were } else { "" })])
            .await;
        flow.settle().await;
        assert_eq!(flow.hold(), hold, "its trailer stays what was reviewed");
        for name in FOUR {
            assert!(flow.live(name).is_some(), "{name} with {count} of b's");
            assert_eq!(flow.view(name).team.as_ref().map(|team| team.as_str()), Some("a"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_name_in_vain_keeps_nobody_from_giving_it_up() {
    let mut flow = teams().await;
    flow.commit(&[("a/one.yaml", &of("a", &app("one", "v1"))), ("a/two.yaml", &of("a", &app("two", "v1")))]).await;
    flow.settle().await;
    flow.commit(&[("b/one.yaml", &of("b", &app("one", "theirs")))]).await;
    flow.settle().await;
    flow.commit(&[("a/one.yaml", "")]).await;
    flow.settle().await;
    assert!(
        flow.board()
            .resources
            .get(&id("one"))
            .is_none_or(|view| view.team.as_ref().is_none_or(|team| team.as_str() == "b"))
    );
    assert!(flow.effects().iter().any(|effect| effect.contains("delete")), "{:?}", flow.effects());
    // At once with what it takes down: that could be meant to be handed over.
    flow.commit(&[("a/two.yaml", ""), ("b/two.yaml", &of("b", &app("two", "theirs")))]).await;
    flow.settle().await;
    assert_eq!(flow.status("two").0, Sync::Held);
    assert!(
        flow.why("two").contains("b/two.yaml") && flow.why("two").contains("`teams.a.allow`"),
        "{}",
        flow.why("two")
    );
    let hold = flow.hold();
    flow.commit_with(&[("a/note.yaml", "# it may go\n")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert!(
        flow.live("two").is_none_or(|live| live.stamp.is_some_and(|stamp| stamp.team.as_str() == "b")),
        "{}",
        flow.why("two")
    );
    flow.check();
}
