//! Compiling 10,000 manifests: all of them, then one changed. Prints milliseconds; run with `--profile perf`.

use std::sync::Arc;

use codeops_core::desired::{Compiler, Context, File, Files, order};

const MANY: usize = 10_000;

fn file(text: String) -> File {
    File { content: text.clone().into(), bytes: text.into_bytes().into() }
}

fn app(i: usize, replicas: usize) -> File {
    let after = if i.is_multiple_of(10) { String::new() } else { format!("\n  after: [app/a{}]", i - 1) };
    file(format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a{i}, team: payments}}\nspec:\n  provider: local\n  run:\n    command: [./shop, --port, $PORT]\n  replicas: {replicas}\n  port: {{number: {}, protocol: http}}\n  bind: 127.0.{}.1\n  env:\n    LOG: info\n    NAME: a{i}\n  resources: {{cpu: \"0.5\", memory: 256MiB}}\n  health: {{http: /healthz, interval: 2s, timeout: 1s, startTimeout: 60s}}\n  rollout: {{strategy: rolling, surge: 1, unavailable: 0, bake: 2m, onFailure: rollback}}{after}\n",
        1_000 + i % 50_000,
        i / 50_000,
    ))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn timed<T>(what: &str, rounds: usize, mut run: impl FnMut(usize) -> T) -> Option<T> {
    let mut best = f64::MAX;
    let mut out = None;
    for round in 0..rounds {
        let start = std::time::Instant::now();
        out = Some(run(round));
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{what:<40} {:>8.1} ms, best of {rounds}", best * 1_000.0);
    out
}

fn main() {
    let mut files = Files::new();
    let head = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {defaults: {provider: local}}\n---\napiVersion: codeops/v1\nkind: Team\nmetadata: {name: payments}\nspec: {}\n";
    files.insert(Arc::from("codeops.yaml"), file(head.to_owned()));
    files.extend((0..MANY).map(|i| (Arc::from(format!("apps/a{i}.yaml")), app(i, 2))));
    let context = Context::default();
    let mut compiler = Compiler::default();
    let all = timed("10,000 manifests, all new", 5, |_| {
        compiler = Compiler::default();
        compiler.compile(&files, &context)
    });
    let all = all.unwrap_or_default();
    for diagnostic in all.diagnostics.iter().take(3) {
        println!("{}", diagnostic.render(false));
    }
    assert_eq!(all.desired.resources.len(), MANY, "all are good");
    let one = timed("10,000 manifests, one changed", 20, |round| {
        files.insert(Arc::from("apps/a77.yaml"), app(77, 3 + round));
        compiler.compile(&files, &context)
    });
    let one = one.unwrap_or_default();
    assert_eq!(one.desired.resources.len(), MANY, "all are good");
    timed("their order", 5, |_| order(&one.desired.resources));
}
