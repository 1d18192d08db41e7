//! Whether a change of one file brings a mistake that was not there: what a bot writes nobody looks at before it is pushed.
//! It reads that file alone, and so finds what is wrong in itself, not what is missing elsewhere.

use std::sync::Arc;

use super::{Compiler, Context, File, Files, Severity};

/// The first mistake that a file has as it is `after` a change and had not `before`, in one line.
pub fn spoils(path: &str, before: &[u8], after: &[u8]) -> Option<String> {
    let mut known = mistakes(path, before);
    mistakes(path, after).into_iter().find_map(|mistake| match known.iter().position(|it| *it == mistake) {
        Some(at) => {
            known.swap_remove(at);
            None
        }
        None => Some(mistake),
    })
}

fn mistakes(path: &str, bytes: &[u8]) -> Vec<String> {
    let files = Files::from([(Arc::from(path), File::new("", bytes))]);
    let compiled = Compiler::default().compile(&files, &Context::default());
    let errors = compiled.diagnostics.into_iter().filter(|it| it.severity == Severity::Error);
    errors.map(|it| it.message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let shop = |replicas: &str, team: &str| {
            format!(
                "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: shop{team}}}\nspec:\n  run: {{command: [./x]}}\n  replicas: {replicas}\n"
            )
        };
        let change = |before: &str, after: &str| spoils("apps/shop.yaml", before.as_bytes(), after.as_bytes());
        let good = shop("2", ", team: web");
        assert_eq!(
            change(&good, &shop("3", ", team: web")),
            None,
            "what it names elsewhere is not there before either"
        );
        let why = change(&good, &shop("abc", ", team: web")).expect("no number");
        assert!(why.contains("abc"), "{why}");
        assert_eq!(change(&shop("2", ""), &shop("3", "")), None, "a mistake that was there is not its doing");
        assert!(change(&good, "\u{0}").is_some());
        assert_eq!(spoils("notes/list.txt", b"a", b"\x00"), None, "what is no manifest has no mistakes");
    }
}
