//! `status`: is everything fine? One line, then what is not.

use serde_json::Value;

use super::{Client, short, text};
use crate::cli::args::StatusArgs;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable};
use crate::cli::{block_on, client};

/// Ends with 1 where something needs a person: held, degraded, unknown, or a revision that cannot be followed.
pub(crate) fn status(args: &StatusArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    if args.live {
        block_on(client.answers("healthz"))?;
        output.text("alive\n")?;
        return Ok(Exit::Fine);
    }
    let (status, resources) = block_on(async {
        let status = client.json("api/v1/status", &[]).await?;
        let resources = client.json("api/v1/resources", &[]).await?;
        Ok((status, resources))
    })?;
    let fine = is_fine(&status, &resources);
    output.value(&status, || page(&status, &resources, fine, output))?;
    Ok(if fine { Exit::Fine } else { Exit::Failed })
}

fn items(resources: &Value) -> &[Value] {
    resources.get("resources").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a resource is on its way or there: nobody has to look.
fn needs_nobody(resource: &Value) -> bool {
    let sync = matches!(text(resource, &["sync"]), "Synced" | "OutOfSync" | "Suspended");
    let health = matches!(text(resource, &["health"]), "Healthy" | "Progressing");
    sync && (health || text(resource, &["sync"]) == "Suspended")
}

fn is_fine(status: &Value, resources: &Value) -> bool {
    let quiet =
        ["broken", "observe_only", "freeze", "settings_error"].iter().all(|key| text(status, &[key]).is_empty())
            && ["error", "held"].iter().all(|key| text(status, &["source", key]).is_empty());
    quiet && items(resources).iter().all(needs_nobody)
}

fn page(status: &Value, resources: &Value, fine: bool, output: &Output) -> String {
    let style = if fine { Style::Good } else { Style::Bad };
    let headline = match text(status, &["headline"]) {
        "" => counted(items(resources)),
        headline => headline.to_owned(),
    };
    let mut page = format!("{}\n", output.paint(style, printable(&headline)));
    let revision = status.get("revision").unwrap_or(&Value::Null);
    if let Some(id) = revision.as_str().or(revision.get("id").and_then(Value::as_str)) {
        let (owner, subject) = (text(status, &["owner"]), printable(text(revision, &["subject"])));
        page += &format!("{owner} at {} {subject}\n", output.paint(Style::Accent, short(id)));
    }
    for (label, path) in [
        ("not ready", &["broken"] as &[&str]),
        ("only observing", &["observe_only"]),
        ("frozen", &["freeze"]),
        ("settings", &["settings_error"]),
        ("repository", &["source", "error"]),
        ("repository", &["source", "held"]),
    ] {
        if !text(status, path).is_empty() {
            let why = printable(text(status, path));
            // A freeze's sentence begins with its label.
            let why = why.strip_prefix(label).map_or(&*why, str::trim_start);
            page += &format!("{}: {}\n", output.paint(Style::Bad, label), why);
        }
    }
    let odd: Vec<Value> = items(resources)
        .iter()
        .filter(|r| text(r, &["sync"]) != "Synced" || text(r, &["health"]) != "Healthy")
        .cloned()
        .collect();
    if !odd.is_empty() {
        page += "\n";
        page += &client::get::rows(&odd, output);
    }
    page
}

fn counted(resources: &[Value]) -> String {
    let fine = resources.iter().filter(|r| text(r, &["sync"]) == "Synced" && text(r, &["health"]) == "Healthy").count();
    format!("{fine} of {} in sync and healthy", resources.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fine_means_that_nobody_has_to_look() {
        let resources = |sync: &str, health: &str| json!({"resources": [{"sync": sync, "health": health}]});
        let status = json!({"source": {"error": null}});
        assert!(is_fine(&status, &resources("Synced", "Healthy")));
        assert!(is_fine(&status, &resources("OutOfSync", "Progressing")));
        assert!(!is_fine(&status, &resources("Held", "Healthy")));
        assert!(!is_fine(&status, &resources("Synced", "Degraded")));
        assert!(!is_fine(&json!({"source": {"error": "no route"}}), &resources("Synced", "Healthy")));
    }
}
