//! No mistake beside a rename deletes what was to be renamed, in the revision that brings it and in those after it; and no team's
//! mistakes keep what another removes.

use super::neighbours::{app_of, settings, team};
use jiff::Timestamp;

use super::*;
use crate::model::ResourceMemory;

pub(super) type All = BTreeMap<String, String>;

/// What the daemon remembers, of apps that all live: the file that each was declared in, and what it has.
#[derive(Clone)]
pub(super) struct Past {
    pub(super) base: Context,
    files: BTreeMap<ResourceId, Arc<str>>,
    known: BTreeMap<ResourceId, ResourceMemory>,
}

impl Past {
    pub(super) fn of(all: &All, base: Context) -> Self {
        let mut past = Self { base, files: BTreeMap::new(), known: BTreeMap::new() };
        let first = past.compile(all);
        assert!(!first.has_errors(), "{}", rendered(&first));
        past.accept(&first);
        past
    }

    pub(super) fn compile(&self, all: &All) -> Compiled {
        let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        Compiler::default().compile(&files(&pairs), &self.context())
    }

    pub(super) fn context(&self) -> Context {
        let mut declared: BTreeMap<Arc<str>, BTreeSet<ResourceId>> = BTreeMap::new();
        for (id, file) in &self.files {
            declared.entry(Arc::clone(file)).or_default().insert(id.clone());
        }
        let declared = declared.into_iter().map(|(file, ids)| (file, Arc::new(ids))).collect();
        let claims = self.known.iter().filter(|(_, known)| known.was_there());
        let claims = claims.map(|(id, known)| (id.clone(), known.has())).collect();
        Context { declared, claims, ..self.base.clone() }
    }

    pub(super) fn accept(&mut self, compiled: &Compiled) {
        let (desired, before) = (&compiled.desired, self.known.clone());
        let mut files: BTreeMap<ResourceId, Arc<str>> = BTreeMap::new();
        for (path, ids) in compiled.declared.iter() {
            files.extend(ids.iter().map(|id| (id.clone(), Arc::clone(path))));
        }
        for (id, file) in &self.files {
            match (files.contains_key(id), desired.held.contains_key(id)) {
                (false, true) => drop(files.insert(id.clone(), Arc::clone(file))),
                (false, false) => {
                    if let Some(known) = self.known.get_mut(id) {
                        known.drop_declaration(Timestamp::UNIX_EPOCH);
                    }
                }
                _ => {}
            }
        }
        for (id, file) in &files {
            self.known.entry(id.clone()).or_default().declare(file, Timestamp::UNIX_EPOCH);
        }
        self.files = files;
        let apart = desired.keeps_teams_apart();
        let had = |id: &ResourceId, old: &ResourceId| before.get(id).is_some_and(|it| it.claims.was.contains(old));
        let was = |old: &ResourceId| before.get(old).is_some_and(ResourceMemory::was_there);
        for (id, it) in &desired.resources {
            let claims = Claims::of(it, apart).of_what_was(|old| had(id, old) || was(old));
            let claims = claims.with_names(id, |id| before.get(id).map(|it| &it.claims));
            let known = self.known.entry(id.clone()).or_default();
            known.claim(claims);
            known.places.insert(it.spec.provider.clone(), None);
        }
    }
}

impl Past {
    /// What was renamed is remembered no more by the name that it had.
    pub(super) fn forget(&mut self, app: &str) {
        self.known.remove(&id(app));
    }

    /// What is not declared any more lives no more.
    pub(super) fn is_gone(&mut self, app: &str) {
        if let Some(known) = self.known.get_mut(&id(app)) {
            known.places.clear();
        }
    }

    /// What is declared with another port lives on that by now, and is to stay there.
    pub(super) fn has_arrived(&mut self, app: &str) {
        if let Some(known) = self.known.get_mut(&id(app)) {
            known.ports.clear();
        }
    }

    /// Whatever of this app is to happen has: it has arrived where it is declared, or is gone.
    pub(super) fn settle(&mut self, app: &str) {
        match self.files.contains_key(&id(app)) {
            true => self.has_arrived(app),
            false => self.is_gone(app),
        }
    }
}

/// Whether what lives of this app, stamped as this team's, would be deleted.
pub(super) fn goes(compiled: &Compiled, app: &str, team: &str) -> bool {
    let (desired, app) = (&compiled.desired, id(app));
    let renamed = desired.resources.values().any(|resource| resource.was.contains(&app));
    let stays = desired.resources.contains_key(&app) || desired.held.contains_key(&app) || renamed;
    !stays && desired.undeletable.why(&name(team)).is_none()
}

/// Team a's `shop` and `other`, b's `base`, in files as given.
pub(super) fn repository(files: &[(&str, &[String])]) -> All {
    let files = files.iter().map(|(path, documents)| ((*path).to_owned(), documents.join("---\n")));
    let top = [("codeops.yaml", REPOSITORY.to_owned()), ("teams/a.yaml", team("a")), ("teams/b.yaml", team("b"))];
    top.into_iter().map(|(path, text)| (path.to_owned(), text)).chain(files).collect()
}

pub(super) fn plain(name: &str) -> String {
    app_of("a", name, "", "")
}

pub(super) fn alone() -> Context {
    Context { environment: Some(name("prod")), ..Context::default() }
}

pub(super) fn apart(all: &All) -> Past {
    Past::of(all, settings())
}

/// Holds that `shop` stays in this revision, in the next look at it, and after another commit; gives what was said.
#[track_caller]
fn stays(past: &Past, all: &All) -> String {
    let mut past = past.clone();
    let first = past.compile(all);
    assert!(first.has_errors(), "no mistake: {all:#?}");
    let mut all = all.clone();
    for look in ["as it comes", "after a restart", "with another commit"] {
        let compiled = past.compile(&all);
        assert!(!goes(&compiled, "shop", "a"), "{look}: {all:#?}\n{}", rendered(&compiled));
        past.accept(&compiled);
        all.insert("apps/b/base.yaml".to_owned(), app_of("b", "base", "", "  replicas: 2\n"));
    }
    rendered(&first) + &format!("{:?}", first.desired.held)
}

pub(super) fn with(all: &All, changes: &[(&str, Option<&str>)]) -> All {
    let mut all = all.clone();
    for (path, text) in changes {
        match text {
            Some(text) => drop(all.insert((*path).to_owned(), (*text).to_owned())),
            None => drop(all.remove(*path)),
        }
    }
    all
}

pub(super) fn each_alone() -> All {
    repository(&[
        ("apps/a/a_store.yaml", &[plain("store")]),
        ("apps/a/shop.yaml", &[plain("shop")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "")]),
    ])
}

#[test]
fn a_rename_to_a_name_that_is_declared_already_deletes_nothing() {
    let all = each_alone();
    let renamed = app_of("a", "store", ", was: [shop]", "");
    for past in [Past::of(&all, alone()), apart(&all)] {
        let said = stays(&past, &with(&all, &[("apps/a/shop.yaml", Some(&renamed))]));
        assert!(said.contains("App `store` is declared twice"), "{said}");
        stays(&past, &with(&all, &[("apps/a/shop.yaml", None), ("apps/a/a.yaml", Some(&renamed))]));
        // Nor does a name that became another's by a slip.
        stays(&past, &with(&all, &[("apps/a/shop.yaml", Some(&plain("store")))]));
    }
}

#[test]
fn a_mistyped_former_name_deletes_nothing_wherever_it_stands() {
    let all = repository(&[
        ("apps/a/all.yaml", &[plain("shop"), plain("other")]),
        ("apps/a/two.yaml", &[plain("two")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "")]),
    ]);
    let (alone, apart) = (Past::of(&all, alone()), apart(&all));
    for typo in ["wass: [shop]", "was: shop", "was: [Shop]", "was: [shop], adopt: maybe", "was: [other]"] {
        let store = app_of("a", "store", &format!(", {typo}"), "");
        let (first, last) = (format!("{store}---\n{}", plain("other")), format!("{}---\n{store}", plain("other")));
        let behind = format!("{}---\n{store}---\n{}", plain("other"), plain("more"));
        for past in [&alone, &apart] {
            for text in [&first, &last, &behind] {
                stays(past, &with(&all, &[("apps/a/all.yaml", Some(text))]));
            }
            let moved = [("apps/a/store.yaml", Some(&*store)), ("apps/a/all.yaml", Some(&plain("other")))];
            let said = stays(past, &with(&all, &moved));
            let named = said.contains("no longer declared, and not deleted: a mistake may hide");
            assert!(named || typo.starts_with("was: [shop]"), "{said}");
        }
    }
    for elsewhere in ["was: [shop]\n", "spec:\n  was: [shop]\n", "metadata: {was: [shop]}\n"] {
        let store = plain("store");
        let text = match elsewhere.split_once('\n') {
            Some(("spec:", more)) => format!("{store}{more}"),
            _ => format!("{store}{elsewhere}"),
        };
        for past in [&alone, &apart] {
            let moved = [("apps/a/store.yaml", Some(&*text)), ("apps/a/all.yaml", Some(&plain("other")))];
            stays(past, &with(&all, &moved));
        }
    }
}

#[test]
fn a_path_that_was_handed_to_another_team_deletes_nothing_by_its_mistake() {
    let all = each_alone();
    let mut past = apart(&all);
    let teams = &mut past.base.teams;
    teams.get_mut(&name("a")).expect("a").paths = vec!["teams/a.yaml".to_owned(), "apps/a/a_*".to_owned()];
    teams.get_mut(&name("b")).expect("b").paths.push("apps/a/shop.yaml".to_owned());
    for text in ["name: [shop\n", &app_of("b", "store", ", wass: [shop]", ""), "kind: App\nmetadata: {name: shop"] {
        stays(&past, &with(&all, &[("apps/a/shop.yaml", Some(text))]));
    }
    // Nor by what is no mistake: who has the path now may not remove what its team had there.
    for text in [Some(&*app_of("b", "cart", "", "")), None] {
        let mut past = past.clone();
        let mut all = with(&all, &[("apps/a/shop.yaml", text)]);
        for look in ["as it comes", "after a restart", "with another commit"] {
            let compiled = past.compile(&all);
            let why =
                compiled.desired.held.get(&id("shop")).unwrap_or_else(|| panic!("{look}: {:?}", compiled.desired));
            assert!(why.contains("it is the team `a`'s, whose `apps/a/shop.yaml` was"), "{why}");
            past.accept(&compiled);
            all.insert("apps/b/base.yaml".to_owned(), app_of("b", "base", "", "  replicas: 2\n"));
        }
        all.insert("apps/a/a_shop.yaml".to_owned(), plain("shop"));
        past.accept(&past.clone().compile(&all));
        all.remove("apps/a/a_shop.yaml");
        assert!(goes(&past.compile(&all), "shop", "a"), "its team removes it where it may");
    }
}

#[test]
fn what_is_held_for_what_it_refers_to_keeps_its_former_names() {
    let mut all = each_alone();
    all.remove("apps/a/a_store.yaml");
    let store =
        |team: &str, metadata: &str, spec: &str| app_of(team, "store", &format!(", was: [shop]{metadata}"), spec);
    let texts = [
        store("aa", "", ""),
        store("b", "", ""),
        store("a", "", "  provider: nowhere\n"),
        store("a", "", "  secrets: {KEY: none}\n"),
        store("a", "", "  after: [app/nothing]\n"),
        store("a", "", "  after: [app/store]\n"),
        store("a", "", "").replace(", team: a", ""),
        store("a", "", "").replace("kind: App", "kind: Playbook"),
        store("a", "", "").replace("kind: App", "kind: Service"),
        store("a", "", "").replace("kind: App", "kind: Team"),
    ];
    for base in [alone(), settings()] {
        let mut past = Past::of(&all, base);
        past.base.secrets = Some(BTreeMap::new());
        let local = ProviderFacts { word: "process", commands: true, images: false, host_ports: true };
        past.base.providers = Some([(name("local"), local)].into());
        for text in &texts {
            for path in ["apps/a/shop.yaml", "apps/a/store.yaml", "apps/store.yaml"] {
                if past.base.teams.is_empty() && text.contains("team: b,") {
                    continue;
                }
                // In nobody's file only what an app's document says in so many words counts.
                let is_said = text.contains("team: a,") && text.contains("kind: App");
                if path == "apps/store.yaml" && !is_said && !past.base.teams.is_empty() {
                    continue;
                }
                let all = with(&all, &[("apps/a/shop.yaml", None)]);
                stays(&past, &with(&all, &[(path, Some(text))]));
            }
        }
    }
    // What all resolve through counts as well.
    let broken = REPOSITORY.replace("defaults", "defualts");
    let text = store("a", "", "");
    let changes = [("codeops.yaml", Some(&*broken)), ("apps/a/shop.yaml", Some(&text))];
    stays(&apart(&all), &with(&all, &changes));
    stays(&Past::of(&all, alone()), &with(&all, &changes));
}

#[test]
fn a_team_that_the_settings_no_longer_name_loses_nothing_by_a_mistake() {
    let mut all = each_alone();
    all.remove("apps/a/a_store.yaml");
    let mut past = apart(&all);
    let own = past.base.teams.remove(&name("a")).expect("a");
    past.base.teams.insert(name("c"), own);
    let store = app_of("c", "store", ", wass: [shop]", "");
    let changes =
        [("apps/a/shop.yaml", None), ("apps/a/store.yaml", Some(&*store)), ("teams/c.yaml", Some(&*team("c")))];
    stays(&past, &with(&all, &changes));
}

#[test]
fn a_mistake_in_the_spec_of_what_was_there_keeps_nothing_else() {
    let base = repository(&[
        ("apps/a/all.yaml", &[plain("one"), plain("two")]),
        ("apps/a/shop.yaml", &[plain("shop")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "")]),
    ]);
    let patch = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: one}\nspec: {replicas: 2}\n";
    let overlaid = with(&base, &[("environments/prod/apps/a/one.yaml", Some(patch))]);
    for all in [&base, &overlaid] {
        for past in [Past::of(all, alone()), apart(all)] {
            for typo in ["  replcas: 2\n", "  port: x\n", "  env: {A: [}\n", "  after: [app/nothing]\n"] {
                let text = format!("{}---\n{}", app_of("a", "one", "", typo), plain("two"));
                let all = with(all, &[("apps/a/all.yaml", Some(&text)), ("apps/a/shop.yaml", None)]);
                let compiled = past.compile(&all);
                assert!(compiled.desired.held.contains_key(&id("one")), "{}", rendered(&compiled));
                assert!(goes(&compiled, "shop", "a"), "{typo}: {:?}", compiled.desired);
            }
            let bad = patch.replace("replicas: 2", "replicas: many");
            let changes = [("environments/prod/apps/a/one.yaml", Some(&*bad)), ("apps/a/shop.yaml", None)];
            let compiled = past.compile(&with(all, &changes));
            assert!(goes(&compiled, "shop", "a"), "{}", rendered(&compiled));
        }
    }
}

#[test]
fn a_good_rename_goes_its_way_beside_a_mistake() {
    let all = each_alone();
    let mut past = Past::of(&all, alone());
    let renamed = app_of("a", "market", ", was: [shop]", "");
    let wrong = app_of("a", "new", ", wass: [old]", "");
    let changes = [("apps/a/shop.yaml", Some(&*renamed)), ("apps/a/new.yaml", Some(&*wrong))];
    let compiled = past.compile(&with(&all, &changes));
    assert!(compiled.desired.resources.contains_key(&id("market")), "{}", rendered(&compiled));
    assert!(!compiled.desired.held.contains_key(&id("shop")));
    // Once it is mended, what is gone goes.
    let gone = with(&all, &[("apps/a/shop.yaml", None), ("apps/a/new.yaml", Some(&wrong))]);
    let kept = past.compile(&gone);
    assert!(kept.desired.held.contains_key(&id("shop")), "it is kept up: {:?}", kept.desired.held);
    past.accept(&kept);
    assert!(goes(&past.compile(&with(&gone, &[("apps/a/new.yaml", Some(&plain("new")))])), "shop", "a"));
}

/// Whoever removes an app and leaves its overlay behind is told so, and has removed it.
#[test]
fn an_overlay_of_what_is_gone_keeps_nothing() {
    let patch = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop}\nspec: {replicas: 2}\n";
    let base = with(&each_alone(), &[("environments/prod/apps/a/shop.yaml", Some(patch))]);
    for past in [Past::of(&base, alone()), apart(&base)] {
        let compiled = past.compile(&with(&base, &[("apps/a/shop.yaml", None)]));
        assert!(rendered(&compiled).contains("there is no App `shop` for this overlay to change"));
        assert!(goes(&compiled, "shop", "a"), "{:?}", compiled.desired);
        // What was put there in its place is none.
        let moved = with(
            &each_alone(),
            &[("apps/a/shop.yaml", None), ("environments/prod/apps/a/shop.yaml", Some(&plain("shop")))],
        );
        stays(&Past { base: past.base.clone(), ..Past::of(&each_alone(), past.base.clone()) }, &moved);
        // One that says a former name may be half of a rename.
        let renamed = patch.replace("{name: shop}", "{name: market, was: [shop]}");
        let changes = [("environments/prod/apps/a/shop.yaml", Some(&*renamed)), ("apps/a/shop.yaml", None)];
        assert!(!goes(&past.compile(&with(&base, &changes)), "shop", "a"));
    }
}
