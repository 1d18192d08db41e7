//! What was a manifest and comes up where it is not read as one deletes nothing.

use super::hidden::{All, Past, alone, apart, each_alone, goes, plain, with};
use super::neighbours::app_of;
use super::*;

/// These files, with what is no file beside them.
fn tree(all: &All, elsewhere: &[(&str, &'static str)]) -> Files {
    let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut files = files(&pairs);
    files.extend(elsewhere.iter().map(|(path, what)| (Arc::from(*path), File::elsewhere(what))));
    files
}

/// Holds that `shop` stays when `now` comes after `before`, in the next commit, and after a restart; gives what was said.
#[track_caller]
fn stays(past: &Past, before: &Files, now: &Files) -> String {
    let mut past = past.clone();
    let mut compiler = Compiler::default();
    compiler.compile(before, &past.context());
    let mut now = now.clone();
    let mut said = String::new();
    for look in ["as it comes", "with another commit", "after a restart"] {
        if look == "after a restart" {
            compiler = Compiler::default();
        }
        let compiled = compiler.compile(&now, &past.context());
        assert!(!goes(&compiled, "shop", "a"), "{look}: {}", rendered(&compiled));
        said += &format!("{look}: {}\n{:?}\n", rendered(&compiled), compiled.desired.held);
        past.accept(&compiled);
        let more = [("apps/b/base.yaml".to_owned(), app_of("b", "base", "", "  replicas: 2\n"))].into();
        now.extend(tree(&more, &[]));
    }
    // What is taken away is gone.
    now.retain(|path, file| file.elsewhere.is_none() && !path.ends_with("ml~") && !path.contains("staging"));
    now.retain(|path, _| !["YAML", "ymal", "yam", "yamll", "YML"].iter().any(|ending| path.ends_with(ending)));
    let compiled = compiler.compile(&now, &past.context());
    assert!(goes(&compiled, "shop", "a"), "{}\n{:?}", rendered(&compiled), compiled.desired.held);
    said
}

#[test]
fn a_manifest_that_becomes_a_link_or_a_submodule_is_held() {
    let all = each_alone();
    let without = with(&all, &[("apps/a/shop.yaml", None)]);
    let emptied = with(&without, &[("apps/a/a_store.yaml", None)]);
    for past in [Past::of(&all, alone()), apart(&all)] {
        let before = tree(&all, &[]);
        for (now, path, what) in [
            (&without, "apps/a/shop.yaml", "a symbolic link"),
            (&without, "apps/a/shop.yaml", "a submodule"),
            (&without, "apps/a/shop", "a submodule"),
            (&emptied, "apps/a", "a submodule"),
            (&emptied, "apps", "a symbolic link"),
        ] {
            let said = stays(&past, &before, &tree(now, &[(path, what)]));
            let told = format!("{path}:1:1");
            assert!(said.contains(&told) && said.contains(&format!("this is {what}, which is not read")), "{said}");
            assert_eq!(said.matches("what stood there stays as it was").count(), 3, "{said}");
        }
        // One that was there before stands for nothing, and neither does one beside what is declared elsewhere.
        for path in ["apps/a/shop", "apps/a"] {
            let mut compiler = Compiler::default();
            compiler.compile(&tree(&all, &[(path, "a symbolic link")]), &past.context());
            let compiled = compiler.compile(&tree(&without, &[(path, "a symbolic link")]), &past.context());
            assert!(goes(&compiled, "shop", "a") && compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
        }
        for (path, text) in
            [("apps/a/other.yaml", plain("shop")), ("apps/a/other.yaml", app_of("a", "market", ", was: [shop]", ""))]
        {
            let moved = with(&without, &[(path, Some(&text))]);
            let mut compiler = Compiler::default();
            compiler.compile(&before, &past.context());
            let compiled = compiler.compile(&tree(&moved, &[("apps/a/shop.yaml", "a symbolic link")]), &past.context());
            assert!(compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
            assert!(compiled.desired.held.is_empty(), "{:?}", compiled.desired.held);
        }
    }
}

#[test]
fn a_manifest_whose_ending_is_misspelt_is_held() {
    let all = each_alone();
    for past in [Past::of(&all, alone()), apart(&all)] {
        let before = tree(&all, &[]);
        for ending in ["ymal", "YAML", "yam", "yamll", "yaml~", "YML"] {
            let path = format!("apps/a/shop.{ending}");
            let moved = with(&all, &[("apps/a/shop.yaml", None), (&path, Some(&plain("shop")))]);
            let said = stays(&past, &before, &tree(&moved, &[]));
            assert!(said.contains(&format!("{path}:1:1")) && said.contains("did you mean `shop.yaml`?"), "{said}");
        }
        // One that was there before stands for nothing, and what is called otherwise on purpose is taken away.
        let beside = with(&all, &[("apps/a/shop.ymal", Some("x"))]);
        let mut compiler = Compiler::default();
        assert!(!compiler.compile(&tree(&beside, &[]), &past.context()).has_errors());
        let compiled = compiler.compile(&tree(&with(&beside, &[("apps/a/shop.yaml", None)]), &[]), &past.context());
        assert!(goes(&compiled, "shop", "a") && !compiled.has_errors(), "{}", rendered(&compiled));
        for ending in ["xml", "bak", "off", "yaml.disabled", "ml", "toml"] {
            let path = format!("apps/a/shop.{ending}");
            let moved = with(&all, &[("apps/a/shop.yaml", None), (&path, Some(&plain("shop")))]);
            let compiled = past.compile(&moved);
            assert!(goes(&compiled, "shop", "a") && compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
        }
    }
}

/// What is moved, or renamed, and misspelt in one commit, or ends as a link, may be anything that was.
#[test]
fn a_manifest_that_is_moved_and_not_read_there_is_held() {
    let all = each_alone();
    let without = with(&all, &[("apps/a/shop.yaml", None)]);
    let renamed = app_of("a", "market", ", was: [shop]", "");
    for past in [Past::of(&all, alone()), apart(&all)] {
        let before = tree(&all, &[]);
        for (path, text) in [("apps/a/market.ymal", &renamed), ("apps/a/q/shop.ymal", &plain("shop"))] {
            let said = stays(&past, &before, &tree(&with(&without, &[(path, Some(text))]), &[]));
            assert!(said.contains(&format!("{path}:1:1")), "{said}");
        }
        let linked = ("apps/a/q/w.yaml", "a symbolic link");
        stays(&past, &before, &tree(&without, &[linked]));
        // One that has the name of no manifest took nothing's place.
        let mut compiler = Compiler::default();
        compiler.compile(&before, &past.context());
        let compiled = compiler.compile(&tree(&without, &[("apps/a/q/w", "a symbolic link")]), &past.context());
        assert!(goes(&compiled, "shop", "a"), "{}", rendered(&compiled));
    }
    // Nobody's mistake is in another's way.
    let past = apart(&all);
    let mut compiler = Compiler::default();
    compiler.compile(&tree(&all, &[]), &past.context());
    let beside = with(&without, &[("apps/b/market.ymal", Some(&renamed))]);
    let compiled = compiler.compile(&tree(&beside, &[]), &past.context());
    assert!(goes(&compiled, "shop", "a") && compiled.desired.wanted.is_empty(), "{}", rendered(&compiled));
}

#[test]
fn a_manifest_that_is_moved_into_another_environments_folder_is_held() {
    let all = each_alone();
    let without = with(&all, &[("apps/a/shop.yaml", None)]);
    for past in [Past::of(&all, alone()), apart(&all)] {
        let before = tree(&all, &[]);
        let renamed = app_of("a", "market", ", was: [shop]", "");
        for text in [&plain("shop"), &renamed] {
            let moved = with(&without, &[("environments/staging/a/shop.yaml", Some(text))]);
            let said = stays(&past, &before, &tree(&moved, &[]));
            assert!(said.contains("environments/staging/a/shop.yaml:3:18: this is not read here"), "{said}");
        }
        // An overlay that is left behind there keeps nothing.
        let patch = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop}\nspec: {replicas: 2}\n";
        let overlaid = |all: &All| with(all, &[("environments/staging/a/shop.yaml", Some(patch))]);
        let mut past = past.clone();
        past.accept(&past.clone().compile(&overlaid(&all)));
        let compiled = past.compile(&overlaid(&without));
        assert!(goes(&compiled, "shop", "a"), "{}", rendered(&compiled));
    }
    // In a file of another team it keeps nothing of this one's, but is asked about.
    let past = apart(&all);
    let mut compiler = Compiler::default();
    compiler.compile(&tree(&all, &[]), &past.context());
    let moved = with(&without, &[("environments/prod/apps/b/shop.yaml", Some(&plain("shop")))]);
    let compiled = compiler.compile(&tree(&moved, &[]), &past.context());
    assert!(goes(&compiled, "shop", "a"), "{}", rendered(&compiled));
    let asks = &compiled.desired.wanted.of(&id("shop")).expect("it is asked for")[&name("b")];
    assert!(asks.begun && asks.place.starts_with("environments/prod/apps/b/shop.yaml:"), "{asks:?}");
}

/// As `git revert` of a rename does it.
#[test]
fn a_rename_that_is_taken_back_without_a_word_deletes_nothing() {
    let all = each_alone();
    let market = with(&all, &[("apps/a/shop.yaml", Some(&app_of("a", "market", ", was: [shop]", "")))]);
    for base in [alone(), apart(&all).base] {
        let mut past = Past::of(&all, base);
        let renamed = past.compile(&market);
        assert!(!renamed.has_errors(), "{}", rendered(&renamed));
        past.accept(&renamed);
        let after = past.clone();
        let mut reverted = all.clone();
        for look in ["as it comes", "after a restart", "with another commit"] {
            let compiled = past.compile(&reverted);
            let held = &compiled.desired.held;
            assert!(held.contains_key(&id("market")) && held.contains_key(&id("shop")), "{look}: {held:?}");
            let told = rendered(&compiled);
            assert!(told.contains("`app/shop` became app/market, which is not declared any more"), "{told}");
            assert!(told.contains("with `was: [market]` it is renamed back"), "{told}");
            past.accept(&compiled);
            reverted.insert("apps/b/base.yaml".to_owned(), app_of("b", "base", "", "  replicas: 2\n"));
        }
        let back = app_of("a", "shop", ", was: [market]", "");
        let mended = past.compile(&with(&reverted, &[("apps/a/shop.yaml", Some(&back))]));
        assert!(!mended.has_errors() && mended.desired.held.is_empty(), "{}", rendered(&mended));
        assert_eq!(mended.desired.resources[&id("shop")].was, [id("market")]);
        // Removed in one commit, and made anew in the next, it is another.
        let gone = with(&market, &[("apps/a/shop.yaml", None)]);
        for mut past in [after, past] {
            let compiled = past.compile(&gone);
            assert!(goes(&compiled, "market", "a") && !compiled.has_errors(), "{}", rendered(&compiled));
            past.accept(&compiled);
            let anew = past.compile(&all);
            assert!(!anew.has_errors() && anew.desired.resources.contains_key(&id("shop")), "{}", rendered(&anew));
        }
    }
}

/// As `git revert` of more than one rename does it, be the later ones without the first name, or taken out again.
#[test]
fn renames_that_are_taken_back_together_delete_nothing() {
    let all = each_alone();
    let renamed = |name: &str, was: &str| with(&all, &[("apps/a/shop.yaml", Some(&app_of("a", name, was, "")))]);
    let chains: [&[All]; 4] = [
        &[renamed("store2", ", was: [shop]"), renamed("market", ", was: [store2]")],
        &[renamed("store2", ", was: [shop]"), renamed("market", ", was: [store2, shop]")],
        &[renamed("market", ", was: [shop]"), renamed("market", "")],
        &[
            renamed("store2", ", was: [shop]"),
            renamed("store2", ""),
            renamed("market", ", was: [store2]"),
            renamed("market", ""),
        ],
    ];
    for base in [alone(), apart(&all).base] {
        for chain in chains {
            let mut past = Past::of(&all, base.clone());
            for now in chain {
                let compiled = past.compile(now);
                assert!(!compiled.has_errors(), "{}", rendered(&compiled));
                past.accept(&compiled);
                past.forget("shop");
            }
            let compiled = past.compile(&all);
            assert!(compiled.desired.held.contains_key(&id("market")), "{}", rendered(&compiled));
            assert!(rendered(&compiled).contains("with `was: [market]` it is renamed back"), "{}", rendered(&compiled));
            past.accept(&compiled);
            let back = past.compile(&renamed("shop", ", was: [market]"));
            assert!(!back.has_errors() && back.desired.held.is_empty(), "{}", rendered(&back));
        }
    }
}

/// As `git revert` does it of what was handed over with a rename: it has no effect, and asks for what is removed.
#[test]
fn what_was_handed_over_with_a_rename_is_asked_for_when_that_is_taken_back() {
    let all = each_alone();
    let mut past = apart(&all);
    past.base.teams.get_mut(&name("a")).expect("a").allow = vec![name("b")];
    past.base.teams.get_mut(&name("b")).expect("b").allow.clear();
    let market = app_of("b", "market", ", was: [shop]", "");
    let handed = with(&all, &[("apps/a/shop.yaml", None), ("apps/b/market.yaml", Some(&market))]);
    let compiled = past.compile(&handed);
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    past.accept(&compiled);
    past.forget("shop");
    let compiled = past.compile(&all);
    assert!(rendered(&compiled).contains("`app/shop` is the former name of app/market"), "{}", rendered(&compiled));
    let asks = &compiled.desired.wanted.of(&id("market")).expect("it is asked for")[&name("a")];
    assert!(asks.begun && asks.place.starts_with("apps/a/shop.yaml:"), "{asks:?}");
    // While it is declared nobody asks for it.
    let compiled = past.compile(&with(&handed, &[("apps/a/shop.yaml", Some(&plain("shop")))]));
    assert!(compiled.desired.wanted.of(&id("market")).is_none());
}

/// What was declared again beside what was renamed has nothing to do with it any more.
#[test]
fn what_was_declared_again_before_keeps_nothing_of_what_is_removed() {
    let all = each_alone();
    let market = with(&all, &[("apps/a/market.yaml", Some(&app_of("a", "market", ", was: [shop]", "")))]);
    let mut past = Past::of(&all, alone());
    past.accept(&past.clone().compile(&with(&market, &[("apps/a/shop.yaml", None)])));
    let both = past.compile(&market);
    assert!(rendered(&both).contains("`app/shop` is still declared"), "{}", rendered(&both));
    past.accept(&both);
    let compiled = past.compile(&all);
    assert!(goes(&compiled, "market", "a") && !compiled.has_errors(), "{}", rendered(&compiled));
}
