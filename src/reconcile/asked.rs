//! Since when others ask for the name of what is one team's: what is remembered of that, so that a removal which may be meant to
//! hand something over waits for a word, and one whose name somebody asked for in vain does not. Of each resource it is one word,
//! and only once nobody declares it: whatever others write costs nothing of what is declared.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::desired::{Asks, Compiled};
use codeops_core::model::{Asked, Memory, ResourceId, TeamName};

/// Since when others ask for what a revision does not declare, or cannot describe, where that is other than remembered. Who comes to
/// ask for it in the revision that takes it away, or later, may be meant to have it; who asked before asks in vain.
pub(super) fn asked(compiled: &Compiled, gone: &BTreeSet<ResourceId>, memory: &Memory) -> BTreeMap<ResourceId, Asked> {
    let since = |(id, by): (&ResourceId, &BTreeMap<TeamName, Asks>)| {
        let before = memory.resources.get(id)?.claims.asked.as_ref();
        if matches!(before, Some(Asked::By(team)) if by.contains_key(team)) {
            return None;
        }
        let now = match by.iter().find(|(_, asks)| asks.begun) {
            Some((team, _)) => Asked::By(team.clone()),
            None if before.is_none() && gone.contains(id) => Asked::Before,
            None => return None,
        };
        Some((id.clone(), now))
    };
    compiled.desired.wanted.all().filter_map(since).collect()
}

#[cfg(test)]
mod tests {
    use codeops_core::config::TeamSettings;
    use codeops_core::desired::{Compiler, Context, File, Files};
    use jiff::Timestamp;

    use super::super::acceptance;
    use super::*;
    use crate::journal::{Entry, Record, Seq, fold};

    const HEAD: &str = "apiVersion: codeops/v1\n";

    fn id(text: &str) -> ResourceId {
        text.parse().expect("an id")
    }

    fn app(name: &str, team: &str, more: &str) -> String {
        format!(
            "{HEAD}kind: App\nmetadata: {{name: {name}, team: {team}{more}}}\nspec: {{provider: local, run: {{command: [./x]}}}}\n"
        )
    }

    /// A daemon that accepts one revision after the other, of two teams.
    struct Daemon {
        compiler: Compiler,
        memory: Memory,
        files: BTreeMap<String, String>,
        accepted: u64,
    }

    impl Daemon {
        fn new() -> Self {
            let team = |name: &str| format!("{HEAD}kind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
            let top = [format!("{HEAD}kind: Repository\nmetadata: {{name: ops}}\nspec: {{}}\n"), team("a"), team("b")];
            let files = [("codeops.yaml".to_owned(), top.join("---\n"))].into();
            Self { compiler: Compiler::default(), memory: Memory::default(), files, accepted: 0 }
        }

        fn compile(&mut self) -> Compiled {
            let paths = |name: &str| TeamSettings { paths: vec![format!("{name}/**")], ..TeamSettings::default() };
            let name = |text: &str| text.parse().expect("a name");
            let context = Context {
                teams: ["a", "b"].map(|text| (name(text), paths(text))).into(),
                declared: acceptance::declared(&self.memory),
                claims: acceptance::claims(&self.memory),
                ..Context::default()
            };
            let file = |text: &String| File::new(text.as_str(), text.as_bytes());
            let files: Files = self.files.iter().map(|(path, text)| (path.as_str().into(), file(text))).collect();
            self.compiler.compile(&files, &context)
        }

        /// Writes these files, removes those without a text, and accepts the revision; what is written down of that.
        fn push(&mut self, files: &[(&str, Option<String>)]) -> Record {
            for (path, text) in files {
                match text {
                    Some(text) => drop(self.files.insert((*path).to_owned(), text.clone())),
                    None => drop(self.files.remove(*path)),
                }
            }
            let compiled = self.compile();
            self.accepted += 1;
            let revision = format!("{:040x}", self.accepted).parse().expect("a revision");
            let record = acceptance::accepted(&revision, &compiled, &[], &self.memory).expect("it is accepted");
            fold(
                &mut self.memory,
                &Entry { seq: Seq(self.accepted), at: Timestamp::UNIX_EPOCH, record: record.clone() },
            );
            // What lives is remembered, also once nobody declares it.
            for it in self.memory.resources.values_mut() {
                it.failures = 1;
            }
            record
        }

        /// The next daemon: its compiler has seen what is in force.
        fn restart(&mut self) {
            self.compiler = Compiler::default();
            self.compile();
        }

        fn asked(&self, text: &str) -> Option<Asked> {
            self.memory.resources.get(&id(text)).and_then(|it| it.claims.asked.clone())
        }
    }

    #[test]
    fn what_an_older_daemon_wrote_of_who_asked_is_read() {
        let older = serde_json::json!({"team": "a", "wanted_by": ["b/squat.yaml"]});
        let claims: codeops_core::model::Claims = serde_json::from_value(older).expect("it is read");
        assert_eq!((claims.team.map(|team| team.to_string()), claims.asked), (Some("a".to_owned()), None));
    }

    fn by_b() -> Option<Asked> {
        Some(Asked::By("b".parse().expect("a name")))
    }

    #[test]
    fn what_others_ask_for_costs_the_journal_nothing_of_what_is_declared() {
        const APPS: usize = 100;
        let mut daemon = Daemon::new();
        let of_a: Vec<String> = (0..APPS).map(|n| app(&format!("a{n}"), "a", "")).collect();
        daemon.push(&[("a/many.yaml", Some(of_a.join("---\n")))]);
        let before = daemon.memory.resources.clone();
        let names: Vec<String> = (0..APPS).map(|n| format!("a{n}")).collect();
        let was = format!(", was: [{}]", names.join(", "));
        let path = |folder: &str, n: usize| format!("b/{folder}/{}/{n}.yaml", "p".repeat(200));
        let own: usize = (0..200).map(|n| path("one", n).len() + 100).sum();
        let squat = |n: usize| app(&format!("a{}", n % APPS), "b", &was);
        for (folder, former) in [("one", "none"), ("two", "one")] {
            for n in 0..200 {
                daemon.files.remove(&path(former, n));
                let text = if n % 2 == 0 { app(&format!("b{n}"), "b", &was) } else { squat(n) };
                daemon.files.insert(path(folder, n), text);
            }
            let record = daemon.push(&[]);
            let bytes = serde_json::to_vec(&record).expect("it is written").len();
            assert!(bytes < own, "{bytes} bytes, and {own} of where b's own stand");
            let Record::RevisionAccepted { claims, asked, .. } = record else { panic!("{record:?}") };
            assert_eq!((claims.len(), asked.len()), (0, 0));
            assert!(before.iter().all(|(id, it)| daemon.memory.resources[id] == *it));
        }
        // Once they are taken away it is a word for each.
        let record = daemon.push(&[("a/many.yaml", None)]);
        let bytes = serde_json::to_vec(&record).expect("it is written").len();
        assert!(bytes < 100 * APPS, "{bytes} bytes");
        assert!((0..APPS).all(|n| daemon.asked(&format!("app/a{n}")) == Some(Asked::Before)));
    }

    #[test]
    fn who_asks_in_vain_is_told_from_who_begins_to_when_it_is_taken_away() {
        let shop = |team: &str| Some(app("shop", team, ""));
        // Asked for all the while, by its name or a former one, also over a restart.
        for text in [app("shop", "b", ""), app("thief", "b", ", was: [shop]")] {
            for restarts in [false, true] {
                let mut daemon = Daemon::new();
                daemon.push(&[("a/shop.yaml", shop("a"))]);
                daemon.push(&[("b/squat.yaml", Some(text.clone()))]);
                assert_eq!(daemon.asked("app/shop"), None);
                if restarts {
                    daemon.restart();
                }
                daemon.push(&[("a/shop.yaml", None)]);
                assert_eq!(daemon.asked("app/shop"), Some(Asked::Before));
                // What is declared again is asked for anew.
                daemon.push(&[("a/shop.yaml", shop("a"))]);
                assert_eq!(daemon.asked("app/shop"), None);
            }
        }
        // Moved to where it is another's, beside who asks in vain or not.
        for squatted in [false, true] {
            let mut daemon = Daemon::new();
            daemon.push(&[("a/shop.yaml", shop("a"))]);
            daemon.push(&[
                ("b/x.yaml", Some(app("x", "b", ""))),
                ("b/squat.yaml", squatted.then(|| app("shop", "b", ""))),
            ]);
            daemon.push(&[("a/shop.yaml", None), ("b/moved.yaml", shop("a"))]);
            assert_eq!(daemon.asked("app/shop"), by_b());
            // And it stays so, whatever comes.
            daemon.push(&[("b/x.yaml", None)]);
            daemon.restart();
            daemon.push(&[("b/y.yaml", Some(app("y", "b", "")))]);
            assert_eq!(daemon.asked("app/shop"), by_b());
        }
        // The same renamed as well, by its own team's word in a file that it may not claim.
        let mut daemon = Daemon::new();
        daemon.push(&[("a/shop.yaml", shop("a"))]);
        daemon.push(&[("a/shop.yaml", None), ("b/market.yaml", Some(app("market", "a", ", was: [shop]")))]);
        assert_eq!(daemon.asked("app/shop"), by_b());
        // Handed over in two steps, of which the first has a mistake.
        let mut daemon = Daemon::new();
        daemon.push(&[("a/shop.yaml", shop("a"))]);
        daemon.push(&[("a/shop.yaml", shop("a").map(|text| text + "what: is this\n")), ("b/shop.yaml", shop("b"))]);
        daemon.push(&[("a/shop.yaml", None)]);
        assert_eq!(daemon.asked("app/shop"), by_b());
        // Asked for only once it is taken away.
        let mut daemon = Daemon::new();
        daemon.push(&[("a/shop.yaml", shop("a"))]);
        daemon.push(&[("a/shop.yaml", None)]);
        daemon.push(&[("b/shop.yaml", shop("b"))]);
        assert_eq!(daemon.asked("app/shop"), by_b());
    }
}
