//! What a user would notice of compiling: mistakes as they are shown, resources, what is held.

mod allowed;
mod amended;
mod answering;
mod answering_properties;
mod astray;
mod bounds;
mod checked;
mod contested;
mod costs;
mod deleted;
mod digests;
mod given;
mod hidden;
mod hidden_properties;
mod kept;
mod levelled;
mod mistakes;
mod names;
mod neighbours;
mod owned;
mod ports;
mod promises;
mod properties;
mod response;
mod rights;
mod rivals;
mod schemas;
mod settings;
mod strangers;
mod taking_place;
mod tree_of_all;

use std::sync::Arc;

use super::*;

fn files(pairs: &[(&str, &str)]) -> Files {
    pairs
        .iter()
        .map(|(path, text)| {
            let content = crate::model::Digest::of(&serde_json::json!(text)).to_string();
            (Arc::from(*path), File::new(content, text.as_bytes()))
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

/// An app of the team payments with these lines of spec, indented by two.
fn app(name: &str, spec: &str) -> String {
    format!("apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: payments}}\nspec:\n{spec}")
}

fn id(name: &str) -> ResourceId {
    ResourceId::app(name.parse().expect("a name"))
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// All diagnostics as people read them.
fn rendered(compiled: &Compiled) -> String {
    let all: Vec<String> = compiled.diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect();
    all.join("\n\n")
}
