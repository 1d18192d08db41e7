//! Whatever a team writes in its own paths, another renames, removes and moves what is its own as it likes.

use super::neighbours::{accepted, app_of, before, run, settings};
use super::*;

type All = BTreeMap<String, String>;

/// What team a has alone, and what is remembered of it.
fn first() -> (All, Compiled) {
    let mut all = before();
    all.retain(|path, _| path != "apps/a/back.yaml" && !path.starts_with("environments/"));
    let first = run(&all, &settings());
    assert!(!first.has_errors(), "{}", rendered(&first));
    (all, first)
}

fn squat() -> String {
    [app_of("b", "shop", "", "  port: 8080\n"), app_of("b", "thief", "", "  port: 8080\n")].join("---\n")
}

#[test]
fn a_name_that_another_team_asks_for_is_still_renamed() {
    let (mut all, first) = first();
    let after = app_of("a", "store", ", was: [shop]", "  port: 8080\n");
    all.insert("apps/a/shop.yaml".to_owned(), after.clone());
    let alone = run(&all, &accepted(&first));
    for squat in
        [squat(), squat().replace("name: shop, team: b", "name: shop"), "kind: App\nmetadata: {name: shop\n".to_owned()]
    {
        all.insert("apps/b/squat.yaml".to_owned(), squat);
        let compiled = run(&all, &accepted(&first));
        assert_eq!(
            compiled.desired.resources.get(&id("store")),
            alone.desired.resources.get(&id("store")),
            "{}",
            rendered(&compiled)
        );
        assert!(
            !compiled.desired.held.contains_key(&id("shop")) && !compiled.desired.resources.contains_key(&id("shop"))
        );
        assert!(!compiled.declared.values().any(|ids| ids.contains(&id("shop"))));
    }
}

#[test]
fn what_is_removed_is_nobodys_who_asks_for_it() {
    let (mut all, first) = first();
    all.remove("apps/a/shop.yaml");
    for whole in [true, false] {
        let text = if whole { app_of("b", "shop", "", "") } else { "kind: App\nmetadata: {name: shop\n".to_owned() };
        all.insert("apps/b/squat.yaml".to_owned(), text);
        let compiled = run(&all, &accepted(&first));
        let told = rendered(&compiled);
        assert!(
            !compiled.desired.held.contains_key(&id("shop")) && !compiled.desired.resources.contains_key(&id("shop"))
        );
        assert!(told.contains("App `shop` is the team `a`'s, and has no effect here"), "{told}");
        assert!(told.contains("`teams.a.allow`"), "{told}");
        let wanted = compiled.desired.wanted.of(&id("shop")).expect("b asks for it");
        assert!(wanted[&name("b")].place.starts_with("apps/b/squat.yaml:"), "{wanted:?}");
    }
    // With leave it goes over.
    all.insert("apps/b/squat.yaml".to_owned(), app_of("b", "shop", "", ""));
    let mut context = accepted(&first);
    context.teams.get_mut(&name("a")).expect("it is there").allow.push(name("b"));
    let compiled = run(&all, &context);
    assert_eq!(compiled.desired.resources[&id("shop")].team, name("b"), "{}", rendered(&compiled));
    assert!(compiled.desired.wanted.is_empty());
}

#[test]
fn a_rename_to_a_name_that_another_has_deletes_nothing() {
    let (mut all, _) = first();
    all.insert("apps/b/store.yaml".to_owned(), app_of("b", "store", "", ""));
    let before = run(&all, &settings());
    assert!(!before.has_errors(), "{}", rendered(&before));
    all.insert("apps/a/shop.yaml".to_owned(), app_of("a", "store", ", was: [shop]", "  port: 8080\n"));
    let compiled = run(&all, &accepted(&before));
    assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("shop")], "{}", rendered(&compiled));
    assert!(
        compiled.desired.held[&id("shop")].contains("App `store` is another manifest's"),
        "{:?}",
        compiled.desired.held
    );
    // One that is another's says nothing of what is a's.
    all.remove("apps/a/shop.yaml");
    all.insert("apps/a/own.yaml".to_owned(), app_of("a", "own", "", ""));
    all.insert("apps/b/own.yaml".to_owned(), app_of("b", "own", ", was: [shop]", ""));
    let mut remembers = accepted(&before);
    remembers.claims.insert(id("own"), Claims { team: Some(name("a")), ..Claims::default() });
    let compiled = run(&all, &remembers);
    assert!(compiled.desired.held.is_empty(), "{:?}", compiled.desired.held);
}

#[test]
fn a_path_that_the_settings_hand_to_another_team_deletes_nothing() {
    let (mut all, before) = first();
    for squatted in [false, true] {
        if squatted {
            all.insert("apps/b/squat.yaml".to_owned(), app_of("b", "shop", "", ""));
        }
        let mut context = accepted(&before);
        let handed = context.teams.get_mut(&name("a")).expect("it is there").paths.remove(1);
        context.teams.get_mut(&name("b")).expect("it is there").paths.push(handed);
        let compiled = run(&all, &context);
        let told = rendered(&compiled);
        assert!(compiled.desired.held[&id("shop")].contains("the team `a` may not claim"), "{told}");
        assert!(!compiled.desired.resources.contains_key(&id("shop")), "{told}");
    }
}

#[test]
fn who_asked_in_vain_is_known_by_the_file_so_that_what_moves_there_is_asked_about() {
    let (mut all, before) = first();
    all.insert("apps/b/a-squat.yaml".to_owned(), app_of("b", "shop", "", ""));
    let mut compiler = Compiler::default();
    let mut run = |all: &All| {
        let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        compiler.compile(&files(&pairs), &accepted(&before)).desired.wanted
    };
    assert!(run(&all).is_empty(), "what is declared is its team's, whoever asks");
    let text = all.remove("apps/a/shop.yaml").expect("it is there");
    let asks = |wanted: &Wanted| wanted.of(&id("shop")).expect("b asks for it")[&name("b")].clone();
    let removed = asks(&run(&all));
    assert!(!removed.begun && removed.place.starts_with("apps/b/a-squat.yaml:"), "{removed:?}");
    all.insert("apps/b/moved.yaml".to_owned(), text);
    let moved = asks(&run(&all));
    assert!(moved.begun && moved.place.starts_with("apps/b/moved.yaml:"), "{moved:?}");
}

/// Renamed and moved in one commit, where by a slip another team's files are: as what is only moved there, it waits for a word.
#[test]
fn a_rename_that_is_moved_into_another_teams_folder_is_asked_about() {
    let (all, before) = first();
    let market = |team: &str| app_of(team, "market", ", was: [shop]", "  port: 8080\n");
    // Also beside a name that is a's already, which has no effect there.
    let back = app_of("a", "back", ", was: [shop]", "");
    for text in [market("a"), market("aa"), market("b"), market("a").replace(", team: a", ""), back] {
        let mut all = all.clone();
        let shop = all.remove("apps/a/shop.yaml").expect("it is there");
        all.insert("apps/a/back.yaml".to_owned(), app_of("a", "back", "", ""));
        let mut compiler = Compiler::default();
        let mut run = |all: &All| {
            let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let mut context = accepted(&before);
            context.claims.insert(id("back"), Claims { team: Some(name("a")), ..Claims::default() });
            compiler.compile(&files(&pairs), &context)
        };
        let there = [("apps/a/shop.yaml".to_owned(), shop)];
        run(&all.clone().into_iter().chain(there).collect());
        all.insert("apps/b/market.yaml".to_owned(), text);
        let moved = run(&all);
        let told = rendered(&moved);
        assert!(!moved.desired.held.contains_key(&id("shop")), "b's file holds nothing of a's: {told}");
        let by = moved.desired.wanted.of(&id("shop")).unwrap_or_else(|| panic!("nobody asks: {told}"));
        let asks = by.values().next().expect("somebody");
        assert!(asks.begun && asks.place.starts_with("apps/b/market.yaml:"), "{by:?}");
        // The next revision begins nothing.
        all.insert("apps/b/base.yaml".to_owned(), app_of("b", "base", "", "  replicas: 2\n"));
        let next = run(&all);
        let asks = next.desired.wanted.of(&id("shop")).expect("it asks still").values().next().cloned();
        assert!(asks.is_some_and(|asks| !asks.begun), "{:?}", next.desired.wanted);
    }
}

#[test]
fn what_many_claim_as_a_former_name_is_told_in_a_few_words() {
    let (mut all, first) = first();
    let many: Vec<String> = (0..500).map(|n| app_of("b", &format!("b{n:03}"), ", was: [old]", "")).collect();
    all.insert("apps/b/many.yaml".to_owned(), many.join("---\n"));
    let compiled = run(&all, &accepted(&first));
    let told =
        compiled.diagnostics.iter().find(|it| it.message.contains("claimed as a former name")).expect("it is told");
    assert!(told.message.ends_with("and app/b007 and 492 more"), "{}", told.message);
    let most = (0..300).map(|n| format!("x{n}")).collect::<Vec<_>>().join(", ");
    all.insert("apps/b/many.yaml".to_owned(), app_of("b", "many", &format!(", was: [{most}]"), ""));
    let told = rendered(&run(&all, &accepted(&first)));
    assert!(told.contains("an app has at most 256 former names"), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_holds_nothing_that_its_writers_may_not_reach() {
    let (mut all, first) = first();
    all.remove("apps/a/shop.yaml");
    for path in ["environments/prod/apps/b/x.yaml", "apps/b/x.yaml"] {
        let mut context = accepted(&first);
        context.declared.insert(path.into(), Arc::new([id("shop")].into()));
        all.insert(path.to_owned(), "\u{0}\u{1}: [".to_owned());
        let compiled = run(&all, &context);
        // What stood in its file stays: the settings have handed that to others, and no mistake of theirs deletes it.
        let stood_there = path == "apps/b/x.yaml";
        assert_eq!(compiled.desired.held.contains_key(&id("shop")), stood_there, "{:?}", compiled.desired.held);
        assert_eq!(compiled.desired.undeletable.why(&name("a")), None);
        all.remove(path);
    }
}

#[test]
fn nor_is_it_theirs_who_say_that_they_were_it() {
    let (mut all, first) = first();
    let thief = app_of("b", "thief", ", was: [shop]", "");
    all.insert("apps/b/thief.yaml".to_owned(), thief);
    let beside = run(&all, &accepted(&first));
    assert_eq!(beside.desired.resources.get(&id("shop")), first.desired.resources.get(&id("shop")));
    let shop = all.remove("apps/a/shop.yaml").expect("it is there");
    let compiled = run(&all, &accepted(&first));
    let told = rendered(&compiled);
    assert!(told.contains("`app/shop` belongs to the team `a`, which `b` may not reach"), "{told}");
    assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("thief")], "{told}");
    let asks = &compiled.desired.wanted.of(&id("shop")).expect("b asks for it")[&name("b")];
    assert!(asks.place.starts_with("apps/b/thief.yaml:"), "{asks:?}");
    // And its team takes it back when it likes.
    let mut remembers = accepted(&compiled);
    remembers.claims.extend(accepted(&first).claims);
    all.insert("apps/a/shop.yaml".to_owned(), shop);
    let back = run(&all, &remembers);
    assert_eq!(
        back.desired.resources.get(&id("shop")),
        first.desired.resources.get(&id("shop")),
        "{}",
        rendered(&back)
    );
}

#[test]
fn a_port_moves_between_a_teams_own_apps_whoever_asks_for_it() {
    let (mut all, first) = first();
    all.insert("apps/b/squat.yaml".to_owned(), app_of("b", "thief", "", "  port: 8080\n"));
    all.insert("apps/a/shop.yaml".to_owned(), app_of("a", "shop", "", "  port: 8081\n"));
    all.insert("apps/a/new.yaml".to_owned(), app_of("a", "new", "", "  port: 8080\n"));
    let compiled = run(&all, &accepted(&first));
    assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("thief")], "{}", rendered(&compiled));
    assert!(rendered(&compiled).contains("port 8080 on 127.0.0.1 belongs to app/new"), "{}", rendered(&compiled));
}

#[test]
fn what_somebody_with_a_mistake_says_he_was_stays() {
    let (mut all, first) = first();
    for was in ["shop, base", "shop, nowhere"] {
        let after = app_of("a", "store", &format!(", was: [{was}]"), "  port: 8080\n");
        all.insert("apps/a/shop.yaml".to_owned(), after);
        let compiled = run(&all, &accepted(&first));
        if compiled.desired.held.contains_key(&id("store")) {
            assert!(compiled.desired.held.contains_key(&id("shop")), "{}", rendered(&compiled));
        } else {
            assert!(compiled.desired.resources.contains_key(&id("store")), "{}", rendered(&compiled));
        }
        assert_eq!(compiled.desired.held.contains_key(&id("store")), was == "shop, base");
    }
    // Not where it was another team's.
    all.remove("apps/a/shop.yaml");
    all.insert("apps/b/thief.yaml".to_owned(), app_of("b", "thief", ", was: [shop]", "  port: 70000\n"));
    let compiled = run(&all, &accepted(&first));
    assert!(compiled.desired.held.contains_key(&id("thief")) && !compiled.desired.held.contains_key(&id("shop")));
}
