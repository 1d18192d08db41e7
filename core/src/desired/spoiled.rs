//! Whether a change of one file brings a mistake that was not there: what a bot writes nobody looks at before it is pushed.
//! It looks at all manifests, as `codeops validate` does without settings: what a change names may stand in another file.

use std::sync::Arc;

use super::{Compiler, Context, File, Files, Severity};

/// The first mistake that `files` have once `path` holds `after`, and had not before, in one line.
pub fn spoils(files: &Files, path: &str, after: &[u8]) -> Option<String> {
    let mut compiler = Compiler::default();
    let mut known = mistakes(&mut compiler, files);
    let mut changed = files.clone();
    // Other bytes have another content, and no hash is like this word.
    changed.insert(Arc::from(path), File::new("edited", after));
    mistakes(&mut compiler, &changed).into_iter().find_map(|(at, mistake)| {
        match known.iter().position(|it| *it == (Arc::clone(&at), mistake.clone())) {
            Some(place) => {
                known.swap_remove(place);
                None
            }
            None if *at == *path => Some(mistake),
            None => Some(format!("in `{at}`: {mistake}")),
        }
    })
}

/// Each with its file.
fn mistakes(compiler: &mut Compiler, files: &Files) -> Vec<(Arc<str>, String)> {
    let compiled = compiler.compile(files, &Context::default());
    let errors = compiled.diagnostics.into_iter().filter(|it| it.severity == Severity::Error);
    errors.map(|it| (it.place.file, it.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| (Arc::from(*path), File::new(*text, text.as_bytes()))).collect()
    }

    fn of(kind: &str, name: &str, spec: &str) -> String {
        format!("apiVersion: codeops/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}")
    }

    #[test]
    fn only_what_is_new_is_told() {
        let shop = |replicas: &str, team: &str| {
            format!(
                "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: shop{team}}}\nspec:\n  run: {{command: [./x]}}\n  replicas: {replicas}\n"
            )
        };
        let change = |before: &str, after: &str| {
            spoils(&files(&[("apps/shop.yaml", before)]), "apps/shop.yaml", after.as_bytes())
        };
        let good = shop("2", ", team: web");
        assert_eq!(change(&good, &shop("3", ", team: web")), None, "what was missing before is not its doing");
        let why = change(&good, &shop("abc", ", team: web")).expect("no number");
        assert!(why.contains("abc"), "{why}");
        assert_eq!(change(&shop("2", ""), &shop("3", "")), None, "a mistake that was there is not its doing");
        assert!(change(&good, "\u{0}").is_some());
        let notes = files(&[("notes/list.txt", "a")]);
        assert_eq!(spoils(&notes, "notes/list.txt", b"\x00"), None, "what is no manifest has no mistakes");
    }

    #[test]
    fn what_a_change_names_may_stand_in_another_file() {
        let app = |after: &str| of("App", "shop", &format!("  run: {{command: [./x]}}\n  after: [app/{after}]\n"));
        let alone = of("App", "shop", "  run: {command: [./x]}\n");
        let cache = of("App", "cache", "  run: {command: [./x]}\n");
        let all = files(&[("shop.yaml", &alone), ("cache.yaml", &cache)]);
        let change = |path: &str, text: &str| spoils(&all, path, text.as_bytes());
        assert_eq!(change("shop.yaml", &app("cache")), None);
        let why = change("shop.yaml", &app("cash")).expect("there is none");
        assert!(why.contains("cash"), "{why}");
        let named = files(&[("shop.yaml", &app("cache")), ("cache.yaml", &cache)]);
        let why = spoils(&named, "cache.yaml", cache.replace("name: cache", "name: cash").as_bytes());
        assert!(why.as_ref().is_some_and(|why| why.contains("shop.yaml")), "{why:?}");
    }
}
