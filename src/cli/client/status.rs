//! `status`: is everything fine? One line, then what is not.

use serde_json::Value;

use super::{Client, runs, short, text};
use crate::cli::args::StatusArgs;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable};
use crate::cli::{block_on, client};

/// Mistakes, and holds, told one by one.
const SHOWN: usize = 5;

/// Ends with 1 where something needs a person: held, degraded, stuck, unknown, a revision that cannot be followed or holds mistakes, a
/// page that nobody has accepted, an alert that reached nobody, a receiver that is silent or full, a scheduled playbook that fails.
pub(crate) fn status(args: &StatusArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    if args.live {
        block_on(client.answers("healthz"))?;
        output.text("alive\n")?;
        return Ok(Exit::Fine);
    }
    let (status, resources, pages, holds) = block_on(async {
        let status = client.json("api/v1/status", &[]).await?;
        let resources = client.json("api/v1/resources", &[]).await?;
        let pages = if calls(&status) > 0 { client.json("api/v1/pages", &[]).await? } else { Value::Null };
        let holds = client.json("api/v1/holds", &[]).await?;
        Ok((status, resources, pages, holds))
    })?;
    let fine = is_fine(&status, &resources) && runs::items(&holds, "items").is_empty();
    output.value(&status, || page(&status, &resources, &(pages, holds), fine, output))?;
    Ok(if fine { Exit::Fine } else { Exit::Failed })
}

fn items(resources: &Value) -> &[Value] {
    resources.get("resources").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a resource is on its way or there: nobody has to look. What is suspended may not be there yet.
fn needs_nobody(resource: &Value) -> bool {
    let stuck = resource.get("stuck").and_then(Value::as_bool).unwrap_or_default();
    let well = match (text(resource, &["sync"]), text(resource, &["health"])) {
        ("Synced" | "OutOfSync" | "Suspended", "Healthy" | "Progressing") => true,
        (sync, health) => sync == "Suspended" && health == "Missing",
    };
    well && !stuck
}

/// How many calls to people nobody has accepted.
fn calls(status: &Value) -> u64 {
    status.get("pages_open").and_then(Value::as_u64).unwrap_or_default()
}

/// The mistakes in the manifests of the revision, warnings left out.
fn mistakes(status: &Value) -> impl Iterator<Item = &Value> {
    runs::items(status, "diagnostics").iter().filter(|it| text(it, &["severity"]) == "error")
}

fn is_fine(status: &Value, resources: &Value) -> bool {
    let quiet =
        ["broken", "observe_only", "freeze", "settings_error"].iter().all(|key| text(status, &[key]).is_empty())
            && ["error", "held"].iter().all(|key| text(status, &["source", key]).is_empty());
    let unheard = status.get("alerts_unheard").and_then(Value::as_u64).unwrap_or_default();
    let none = |key: &str| runs::items(status, key).is_empty();
    let well = quiet
        && none("receivers")
        && none("failing")
        && calls(status) == 0
        && unheard == 0
        && mistakes(status).next().is_none();
    well && items(resources).iter().all(needs_nobody)
}

fn page(status: &Value, resources: &Value, (pages, holds): &(Value, Value), fine: bool, output: &Output) -> String {
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
            let mut lines = text(status, path).lines().map(printable);
            let why = lines.next().unwrap_or_default();
            // A freeze's sentence begins with its label.
            let why = why.strip_prefix(label).map_or(&*why, str::trim_start);
            page += &format!("{}: {}\n", output.paint(Style::Bad, label), why);
            // Mistakes in settings are shown as `validate` shows those in manifests.
            page.extend(lines.map(|line| format!("  {line}\n")));
        }
    }
    let unheard = runs::items(status, "unheard").iter().map(unheard);
    let receivers = runs::items(status, "receivers").iter().map(receiver);
    let failing = runs::items(status, "failing").iter().map(failing);
    let told = mistakes(status).take(SHOWN).map(mistake).chain(unheard).chain(receivers).chain(failing);
    let told = told.chain(unaccepted(pages)).chain(held(holds, resources));
    for (label, why) in told {
        page += &format!("{}: {}\n", output.paint(Style::Bad, label), printable(&why.replace('\n', " ")));
    }
    for latch in runs::items(status, "latched") {
        page += &format!("{}: {}\n", output.paint(Style::Busy, "latched"), printable(&super::latched(latch)));
    }
    let more = mistakes(status).count().saturating_sub(SHOWN);
    if more > 0 {
        page += &format!("{more} more mistakes: `codeops validate` shows them\n");
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

/// Where a manifest is broken, and how.
fn mistake(found: &Value) -> (&'static str, String) {
    let at = |field: &str| found.pointer(&format!("/place/{field}")).map(ToString::to_string).unwrap_or_default();
    let file = text(found, &["place", "file"]);
    ("manifest", format!("{file}:{}:{}: {}", at("line"), at("column"), text(found, &["message"])))
}

/// An alert that reached nobody, and where it is said why.
fn unheard(alert: &Value) -> (&'static str, String) {
    let (name, run) = (text(alert, &["name"]), text(alert, &["run"]));
    let why = match (run, text(alert, &["why"])) {
        ("", why) => why.to_owned(),
        (run, _) => format!("`codeops runs {run}` says why"),
    };
    ("reached nobody", format!("alert {name}: {why}"))
}

/// A receiver that somebody has to look at.
fn receiver(trouble: &Value) -> (&'static str, String) {
    let label = if text(trouble, &["what"]) == "silent" { "silent" } else { "full" };
    (label, format!("receiver {}: {}", text(trouble, &["receiver"]), text(trouble, &["why"])))
}

/// A scheduled playbook that fails, since when and how often.
fn failing(it: &Value) -> (&'static str, String) {
    let times = match it.get("times").and_then(Value::as_u64).unwrap_or_default() {
        0 | 1 => "once".to_owned(),
        many => format!("{many} times"),
    };
    let (playbook, since, run) = (text(it, &["playbook"]), text(it, &["since"]), text(it, &["run"]));
    ("failing", format!("scheduled playbook {playbook}, {times} since {since}: `codeops runs {run}` says why"))
}

/// Which pages nobody has accepted, and why.
fn unaccepted(pages: &Value) -> impl Iterator<Item = (&'static str, String)> {
    let open = runs::items(pages, "items").iter().filter(|page| text(page, &["state"]) == "open");
    open.map(|page| {
        let tries = runs::items(page, "tries").iter().filter(|tried| !text(tried, &["error"]).is_empty());
        let each: Vec<String> =
            tries.map(|tried| format!("{}: {}", text(tried, &["to"]), text(tried, &["error"]))).collect();
        let (id, title, why) = (text(page, &["id"]), text(page, &["title"]), each.join("; "));
        let why = if why.is_empty() { "no answer yet".to_owned() } else { why };
        ("not accepted", format!("page {id}, {title}: {why}"))
    })
}

/// What is held and no resource says itself, with what releases it.
fn held(holds: &Value, resources: &Value) -> Vec<(&'static str, String)> {
    let said = |trailer: &str| items(resources).iter().any(|resource| text(resource, &["why"]).contains(trailer));
    let silent = runs::items(holds, "items").iter().filter(|hold| !said(text(hold, &["trailer"])));
    let each = silent.map(|hold| {
        let (why, trailer) = (text(hold, &["why"]), text(hold, &["trailer"]));
        (
            "held",
            if why.contains(trailer) {
                why.to_owned()
            } else {
                format!("{why}; a commit with `{trailer}` releases it")
            },
        )
    });
    each.take(SHOWN).collect()
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
    fn mistakes_in_settings_stand_on_lines_of_their_own() {
        let error =
            "daemon.yaml holds mistakes\nerror: unknown field `pol`\n --> daemon.yaml:2:3\n  |\n2 |   pol: 30s\n";
        let status = json!({"settings_error": error});
        let output = Output::plain();
        let text = page(&status, &Value::Null, &Default::default(), false, &output);
        let told = "settings: daemon.yaml holds mistakes\n  error: unknown field `pol`\n   --> daemon.yaml:2:3\n    |\n  2 |   pol: 30s\n";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn fine_means_that_nobody_has_to_look() {
        let resources = |sync: &str, health: &str| json!({"resources": [{"sync": sync, "health": health}]});
        let status = json!({"source": {"error": null}});
        assert!(is_fine(&status, &resources("Synced", "Healthy")));
        assert!(is_fine(&status, &resources("OutOfSync", "Progressing")));
        assert!(!is_fine(&status, &resources("Held", "Healthy")));
        assert!(!is_fine(&status, &resources("Synced", "Degraded")));
        assert!(
            is_fine(&status, &resources("Suspended", "Healthy"))
                && is_fine(&status, &resources("Suspended", "Missing"))
        );
        assert!(!is_fine(&status, &resources("Suspended", "Degraded")), "nothing is done about it, and it is down");
        assert!(!is_fine(&status, &resources("Suspended", "Unknown")));
        assert!(!is_fine(&json!({"source": {"error": "no route"}}), &resources("Synced", "Healthy")));
        assert!(!is_fine(&json!({"pages_open": 1}), &resources("Synced", "Healthy")));
        assert!(!is_fine(&json!({"alerts_unheard": 1}), &resources("Synced", "Healthy")));
        let silent = json!({"receivers": [{"receiver": "am", "what": "silent", "why": "its Watchdog is missed"}]});
        assert!(!is_fine(&silent, &resources("Synced", "Healthy")));
        let it = json!({"playbook": "nightly", "since": "2026-11-20T03:00:02Z", "times": 3, "run": "r9"});
        let failing = json!({"failing": [it]});
        assert!(!is_fine(&failing, &resources("Synced", "Healthy")));
        let text = page(&failing, &Value::Null, &Default::default(), false, &Output::plain());
        let told =
            "failing: scheduled playbook nightly, 3 times since 2026-11-20T03:00:02Z: `codeops runs r9` says why";
        assert!(text.contains(told), "{text}");
        let found = |severity: &str| json!({"diagnostics": [{"severity": severity}]});
        assert!(!is_fine(&found("error"), &resources("Synced", "Healthy")));
        assert!(is_fine(&found("warning"), &resources("Synced", "Healthy")));
    }

    #[test]
    fn what_is_held_is_told_with_what_releases_it_unless_a_resource_says_so() {
        let hold = json!({"why": "the state folder was moved", "trailer": "Codeops-Allow: 83de91986205"});
        let holds = (Value::Null, json!({"items": [hold], "next": null}));
        let of = |resources: &Value| page(&json!({}), resources, &holds, false, &Output::plain());
        let text = of(&json!({"resources": [{"sync": "Synced", "health": "Healthy"}]}));
        let told = "held: the state folder was moved; a commit with `Codeops-Allow: 83de91986205` releases it";
        assert!(text.contains(told), "{text}");
        let why = "held: a commit with Codeops-Allow: 83de91986205 releases it";
        let text = of(&json!({"resources": [{"id": "app/shop", "sync": "Held", "health": "Healthy", "why": why}]}));
        assert_eq!(text.matches("83de91986205").count(), 1, "{text}");
    }
}
