//! What a user would notice of compiling: mistakes as they are shown, resources, what is held.

use std::sync::Arc;

use super::*;

fn files(pairs: &[(&str, &str)]) -> Files {
    pairs
        .iter()
        .map(|(path, text)| {
            let content = crate::model::Digest::of(&serde_json::json!(text)).to_string();
            (Arc::from(*path), File { content: content.into(), bytes: text.as_bytes().into() })
        })
        .collect()
}

const REPOSITORY: &str =
    "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\nspec: {defaults: {provider: local}}\n";
const TEAM: &str =
    "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: payments}\nspec: {members: [payments@acme.example]}\n";

fn compile(pairs: &[(&str, &str)]) -> Compiled {
    compile_in(pairs, &Context::default())
}

fn compile_in(pairs: &[(&str, &str)], context: &Context) -> Compiled {
    let mut all = vec![("codeops.yaml", REPOSITORY), ("teams/payments.yaml", TEAM)];
    all.retain(|(path, _)| !pairs.iter().any(|(other, _)| other == path));
    all.extend_from_slice(pairs);
    Compiler::default().compile(&files(&all), context)
}

#[test]
fn smoke() {
    let app = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop, team: payments}\nspec:\n  run: {command: [./shop, --port, $PORT]}\n  port: 8080\n  replicsa: 2\n  health: {http: healthz, interval: 2x}\n  env: {DEBUG: true, PORT: 1, V: 1.10}\n";
    let out = compile(&[("apps/shop.yaml", app)]);
    for d in &out.diagnostics {
        println!("{}\n", d.render(false));
    }
    println!("{:?}", out.desired);
}
