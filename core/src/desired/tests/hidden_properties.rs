//! Whatever the one mistake is and wherever it stands, a rename with it deletes nothing; and whatever a team gets wrong, another's
//! removals go their way.

use proptest::prelude::*;
use proptest::sample::select;

use super::hidden::{Past, alone, apart, each_alone, goes, plain, repository};
use super::neighbours::{app_of, settings};
use super::*;

/// Where the document that renames stands.
#[derive(Debug, Clone, Copy)]
enum Stands {
    There,
    InAFileOfItsOwn,
    Before,
    Behind,
    Elsewhere,
}

/// The one mistake.
#[derive(Debug, Clone)]
enum Mistake {
    /// A character of the document is gone, given twice, or has become another.
    Typo(prop::sample::Index, &'static str),
    /// The same in the document beside it.
    Beside(prop::sample::Index, &'static str),
    /// Its name is another's.
    Name,
    /// Its team is another's, or nobody's.
    Team(&'static str),
    /// Its kind is another.
    Kind(&'static str),
    /// Where it is parted from another.
    NotParted,
    /// More lines at its end.
    More(&'static str),
    /// An overlay of it.
    Overlay(&'static str),
}

fn mistake() -> impl Strategy<Value = Mistake> {
    let character =
        select(&["", "", "x", "X", "{", "[", "]", "}", "\"", "'", ":", "-", "\t", " ", "\n", ",", "&", "*", "|"][..]);
    prop_oneof![
        12 => (any::<prop::sample::Index>(), character.clone()).prop_map(|(at, text)| Mistake::Typo(at, text)),
        6 => (any::<prop::sample::Index>(), character).prop_map(|(at, text)| Mistake::Beside(at, text)),
        1 => Just(Mistake::Name),
        1 => select(&["b", "aa", "A", "[a]"][..]).prop_map(Mistake::Team),
        1 => select(&["Team", "Playbook", "Service", "Repository", "app"][..]).prop_map(Mistake::Kind),
        1 => Just(Mistake::NotParted),
        1 => select(&["was: [shop]\n", "  was: [shop]\n", "  port: x\n", "  after: [app/x]\n", "spec: {}\n"][..])
            .prop_map(Mistake::More),
        1 => select(&["{replicas: x}", "{was: [shop]}", "[", "{run: null}"][..]).prop_map(Mistake::Overlay),
    ]
}

/// The document that makes `store` of `shop`, in lines or not.
fn renaming(in_lines: bool, was: bool) -> String {
    let was = |text: &'static str| if was { text } else { "" };
    let metadata = match in_lines {
        true => format!("metadata:\n  name: store\n  team: a\n{}", was("  was:\n    - shop\n")),
        false => format!("metadata: {{name: store, team: a{}}}\n", was(", was: [shop]")),
    };
    format!(
        "apiVersion: codeops/v1\nkind: App\n{metadata}spec:\n  run:\n    command: [./x, \"--all\"]\n  replicas: 2\n"
    )
}

fn typed(text: &str, at: prop::sample::Index, with: &str) -> String {
    let at = at.index(text.len());
    format!("{}{with}{}", &text[..at], &text[at + 1..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rename_with_one_mistake_never_deletes(
        stands in select(&[Stands::There, Stands::InAFileOfItsOwn, Stands::Before, Stands::Behind, Stands::Elsewhere][..]),
        mistake in mistake(),
        (in_lines, together, overlaid, keeps_apart) in any::<(bool, bool, bool, bool)>(),
    ) {
        let (shop, other) = (plain("shop"), plain("other"));
        let files: &[(&str, &[String])] = match together {
            true => &[("apps/a/m.yaml", &[shop, other])],
            false => &[("apps/a/m.yaml", &[shop]), ("apps/a/other.yaml", &[other])],
        };
        let mut all = repository(files);
        all.insert("apps/b/base.yaml".to_owned(), app_of("b", "base", "", ""));
        if overlaid {
            let patch = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop}\nspec: {replicas: 3}\n";
            all.insert("environments/prod/apps/a/s.yaml".to_owned(), patch.to_owned());
        }
        let mut past = Past::of(&all, if keeps_apart { settings() } else { alone() });
        let (mut text, mut other) = (renaming(in_lines, true), plain("other"));
        let mut parted = "---\n";
        match &mistake {
            Mistake::Typo(at, with) => text = typed(&text, *at, with),
            Mistake::Beside(at, with) => other = typed(&other, *at, with),
            Mistake::Name => text = text.replace("store", "other"),
            Mistake::Team(team) => text = text.replace("team: a", &format!("team: {team}")),
            Mistake::Kind(kind) => text = text.replace("App", kind),
            Mistake::NotParted => parted = "",
            Mistake::More(more) if more.contains("was") => text = renaming(in_lines, false) + more,
            Mistake::More(more) => text += more,
            Mistake::Overlay(spec) => {
                let patch = format!("apiVersion: codeops/v1\nkind: App\nmetadata: {{name: store}}\nspec: {spec}\n");
                all.insert("environments/prod/apps/a/s.yaml".to_owned(), patch);
            }
        }
        if overlaid && !matches!(mistake, Mistake::Overlay(_)) {
            let patch = all.remove("environments/prod/apps/a/s.yaml").expect("it is there").replace("shop", "store");
            all.insert("environments/prod/apps/a/s.yaml".to_owned(), patch);
        }
        all.remove("apps/a/other.yaml");
        let with: [(&str, String); 2] = match stands {
            Stands::There => [("apps/a/m.yaml", text), ("apps/a/other.yaml", other)],
            Stands::InAFileOfItsOwn => [("apps/a/store.yaml", text), ("apps/a/m.yaml", other)],
            Stands::Before => [("apps/a/m.yaml", format!("{text}{parted}{other}")), ("apps/a/n.yaml", String::new())],
            Stands::Behind => [("apps/a/other.yaml", format!("{other}{parted}{text}")), ("apps/a/m.yaml", String::new())],
            Stands::Elsewhere => [("apps/a/x/y.yaml", text), ("apps/a/other.yaml", other)],
        };
        if !matches!(stands, Stands::There | Stands::Before) {
            all.remove("apps/a/m.yaml");
        }
        all.extend(with.into_iter().map(|(path, text)| (path.to_owned(), text)));
        for look in 0..3 {
            let compiled = past.compile(&all);
            if !compiled.has_errors() {
                break;
            }
            prop_assert!(!goes(&compiled, "shop", "a"), "{look}: {:#?}\n{}\n{:?}", all, rendered(&compiled), compiled.desired.undeletable);
            past.accept(&compiled);
            all.insert("apps/b/base.yaml".to_owned(), app_of("b", "base", "", "  replicas: 2\n"));
        }
    }

    #[test]
    fn whatever_a_team_gets_wrong_keeps_nothing_that_another_removes(
        written in proptest::collection::vec((select(&["apps/b/a.yaml", "apps/b/base.yaml", "apps/b/z.yaml"][..]), any::<bool>(), mistake()), 1..4),
    ) {
        let mut all = each_alone();
        let mut past = apart(&all);
        past.base.teams.insert(name("all"), TeamSettings { paths: vec!["**".to_owned()], ..TeamSettings::default() });
        all.remove("apps/a/shop.yaml");
        for (path, in_lines, mistake) in written {
            let mut text = renaming(in_lines, true).replace("team: a", "team: b");
            match mistake {
                Mistake::Typo(at, with) => text = typed(&text, at, with),
                Mistake::Team(team) => text = text.replace("team: b", &format!("team: {}", team.replace('b', "a"))),
                Mistake::Kind(kind) => text = text.replace("App", kind),
                Mistake::More(more) => text += more,
                _ => {}
            }
            let before = all.remove(path).map(|text| text + "---\n").unwrap_or_default();
            all.insert(path.to_owned(), before + &text);
        }
        for _ in 0..2 {
            let compiled = past.compile(&all);
            prop_assert!(goes(&compiled, "shop", "a"), "{:#?}\n{}\n{:?}", all, rendered(&compiled), compiled.desired);
            past.accept(&compiled);
        }
    }

    #[test]
    fn whatever_a_team_wrote_before_keeps_nothing_that_another_removes_or_renames(
        written in proptest::collection::vec(theirs(), 1..4),
        accepted_first in any::<bool>(),
        renames in any::<bool>(),
    ) {
        let mut all = each_alone();
        let mut past = apart(&all);
        for (path, text) in written {
            let before = all.remove(path).map(|text| text + "---\n").unwrap_or_default();
            all.insert(path.to_owned(), before + &text);
        }
        if accepted_first {
            for _ in 0..2 {
                past.accept(&past.clone().compile(&all));
            }
        }
        all.remove("apps/a/shop.yaml");
        // What it asks for may be another's; that hides nothing.
        all.insert("apps/a/fresh.yaml".to_owned(), app_of("a", "fresh", "", "  port: 8080\n"));
        if renames {
            all.insert("apps/a/market.yaml".to_owned(), app_of("a", "market", ", was: [shop]", ""));
        }
        for look in 0..2 {
            let compiled = past.compile(&all);
            let said = || format!("{look}: {all:#?}\n{}\n{:?}", rendered(&compiled), compiled.desired);
            if renames {
                prop_assert!(compiled.desired.resources.contains_key(&id("market")), "{}", said());
                prop_assert!(!compiled.desired.held.contains_key(&id("shop")), "{}", said());
            } else {
                prop_assert!(goes(&compiled, "shop", "a"), "{}", said());
            }
            past.accept(&compiled);
        }
    }
}

/// A document of team b's in one of its files: of what is another's or nobody's, with a mistake or without.
fn theirs() -> impl Strategy<Value = (&'static str, String)> {
    let path = select(&["apps/b/a.yaml", "apps/b/base.yaml", "apps/b/z.yaml", "environments/prod/apps/b/z.yaml"][..]);
    // What is nobody's goes to whoever names it: that a team takes by right.
    let by_right = (select(&["shop", "store", "mine"][..]), select(&[", team: b", ""][..]));
    let others = (select(&["shop", "store", "fresh", "market"][..]), select(&[", team: a", ", team: nobody"][..]));
    let named = prop_oneof![by_right, others];
    let was =
        select(&["", "", ", was: [shop]", ", was: [fresh]", ", was: [market]", ", was: [mine]", ", wass: [shop]"][..]);
    let spec = select(
        &["", "", "  port: 8080\n", "  replicas: x\n", "  after: [app/shop]\n", "  more: [\n", "---\nkind: App\n"][..],
    );
    (path, named, was, spec).prop_map(|(path, (name, team), was, spec)| {
        let run = if path.starts_with("environments") { "  replicas: 2\n" } else { "  run: {command: [./x]}\n" };
        let head = "apiVersion: codeops/v1\nkind: App\n";
        (path, format!("{head}metadata: {{name: {name}{team}{was}}}\nspec:\n{run}{spec}"))
    })
}
