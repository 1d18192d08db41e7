//! Pages: whom a policy tells, when, and with what evidence. A page is sent again and again until a channel accepts it.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp, Unit, tz::TimeZone};
use serde_json::Value;

use crate::model::{
    Channel, Does, EscalationPolicySpec, Name, Notified, OnCallSpec, Page, Part, PlaybookStep, Response, Run, Rung,
    StepOutcome, StepRecord, StepRef, TeamName, is_ahead, wait_ends,
};

/// A page that nobody has accepted for so long goes to the fallback, too.
const UNACCEPTED: SignedDuration = SignedDuration::from_mins(5);
/// The longest wait between two sends to the same channel.
const LONGEST_MS: u64 = 300_000;
/// The most of one step's evidence that a page carries, in bytes, and of all.
const STEP_EVIDENCE: usize = 4 << 10;
const BODY: usize = 32 << 10;
/// The most of a page that tells of a run's other alerts, in bytes.
const OTHERS: usize = 8 << 10;
/// How a title ends: nothing helped; a run calls and goes on by itself; its steps call, and that is all they do.
const UNRESOLVED: &str = ": not resolved by code";
const GOES_ON: &str = ": a person is called, and code goes on";
const CALLED: &str = ": a person is called";

/// One channel that a policy tells, every name looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As the policy names it.
    pub notified: Notified,
    /// The receiver it comes to.
    pub receiver: Name,
    /// Whose secrets and egress it has.
    pub team: TeamName,
    /// The channel.
    pub channel: Channel,
    /// How long after the page was opened it is told.
    pub after: SignedDuration,
}

/// What is to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageNext {
    /// To these.
    Send(Vec<Told>),
    /// To nobody before this time.
    Wait(Timestamp),
    /// There is nobody to tell.
    Nobody,
    /// It is over.
    Over,
}

/// All that a policy tells now, in the order of its levels. Names that lead nowhere are left out: validation tells of them.
pub fn told(policy: &Name, response: &Response, now: Timestamp) -> Vec<Told> {
    let Some(policy) = response.policies.get(policy) else { return Vec::new() };
    levels(&policy.spec)
        .filter_map(|(notified, after)| {
            let receiver = match notified {
                Notified::Receiver(name) => name.clone(),
                Notified::OnCall(name) => on_call(&response.on_calls.get(name)?.spec, now)?,
            };
            let found = response.receivers.get(&receiver)?;
            let (team, channel) = (found.team.clone(), found.spec.clone());
            Some(Told { notified: notified.clone(), receiver, team, channel, after })
        })
        .collect()
}

/// All that a page tells now: whom its policy names, and whom the fallback names once nobody of those has accepted it for five
/// minutes, or at once where there is nobody else.
pub fn told_in_turn(policy: Option<&Name>, fallback: Option<&Name>, response: &Response, now: Timestamp) -> Vec<Told> {
    let mut all = policy.map(|policy| told(policy, response, now)).unwrap_or_default();
    let late = if all.is_empty() { SignedDuration::ZERO } else { UNACCEPTED };
    for told in fallback.map(|fallback| told(fallback, response, now)).unwrap_or_default() {
        if !all.iter().any(|other| other.notified == told.notified) {
            all.push(Told { after: told.after + late, ..told });
        }
    }
    all
}

/// Of those who may be told, in this order, the first policy that leads to anybody now.
pub fn first_that_leads<'a>(
    policies: impl IntoIterator<Item = &'a Name>,
    response: &Response,
    now: Timestamp,
) -> Option<&'a Name> {
    policies.into_iter().find(|policy| !told(policy, response, now).is_empty())
}

fn levels(policy: &EscalationPolicySpec) -> impl Iterator<Item = (&Notified, SignedDuration)> {
    let mut after = SignedDuration::ZERO;
    policy.levels.iter().enumerate().flat_map(move |(index, level)| {
        if index > 0 {
            after += SignedDuration::from_millis(i64::try_from(level.after.as_millis()).unwrap_or(i64::MAX));
        }
        let at = after;
        level.notify.iter().map(move |notified| (notified, at))
    })
}

/// The receiver whose turn it is.
fn on_call(spec: &OnCallSpec, now: Timestamp) -> Option<Name> {
    let taken_over = spec.overrides.iter().rev().find(|it| it.from <= now && now < it.until);
    if let Some(taken_over) = taken_over {
        return Some(taken_over.member.clone());
    }
    let every = i64::try_from(spec.every.as_millis()).ok().filter(|every| *every > 0)?;
    let day = SignedDuration::from_hours(24).as_millis();
    let turns = if i128::from(every) % day == 0 {
        // Whole days follow the local calendar, so that a turn changes at the same time of day all year.
        let zone = spec.timezone.as_deref().and_then(|name| jiff::tz::TimeZoneDatabase::bundled().get(name).ok());
        let zone = zone.unwrap_or(TimeZone::UTC);
        let (start, now) = (spec.start.to_zoned(zone.clone()), now.to_zoned(zone));
        let days = start.until((Unit::Day, &now)).ok()?.get_days();
        i64::from(days).div_euclid(i64::try_from(i128::from(every) / day).ok()?)
    } else {
        i64::try_from(now.duration_since(spec.start).as_millis()).ok()?.div_euclid(every)
    };
    let members = i64::try_from(spec.members.len()).ok().filter(|members| *members > 0)?;
    spec.members.get(usize::try_from(turns.rem_euclid(members)).ok()?).cloned()
}

/// What is to be sent now of a page that tells these. What did not arrive before `mended`, when the way to one of them was changed
/// last, says nothing of that way. Where the clock was set back since, nothing waits until it has caught up.
pub fn next_send(page: &Page, told: &[Told], mended: impl Fn(&Told) -> Timestamp, now: Timestamp) -> PageNext {
    if page.is_over() {
        return PageNext::Over;
    }
    if told.is_empty() {
        return PageNext::Nobody;
    }
    let due = |told: &Told| {
        let first = wait_ends(page.opened_at, told.after, now);
        let mended = Some(mended(told)).filter(|mended| !is_ahead(*mended, now));
        match page.tries.get(&told.notified) {
            None => first,
            // Whoever comes on call waits out nobody else's tries.
            Some(tried) if !tried.receivers.is_empty() && !tried.receivers.contains(&told.receiver) => first,
            Some(tried) if Some(tried.at) < mended => mended.map_or(first, |mended| mended.max(first)),
            Some(tried) => {
                let doubled = 1_000_u64.saturating_mul(1 << tried.failures.min(20)).min(LONGEST_MS);
                let wait = SignedDuration::from_millis(i64::try_from(doubled).unwrap_or(i64::MAX));
                wait_ends(tried.at, wait, now)
            }
        }
    };
    let now_due: Vec<Told> = told.iter().filter(|told| due(told) <= now).cloned().collect();
    match now_due.is_empty() {
        false => PageNext::Send(now_due),
        true => PageNext::Wait(told.iter().map(due).min().unwrap_or(Timestamp::MAX)),
    }
}

/// What a page says of a run: its title and its evidence, after `first` and before `others`, its other alerts. `at` is the step
/// that pages, where one does; `changes` is what changed since the target was last healthy, a line each.
pub fn evidence(run: &Run, at: Option<StepRef>, first: &str, changes: &[String], others: &str) -> (String, String) {
    let name = run.alert.pointer("/labels/alertname").and_then(|name| name.as_str());
    let what = name.map_or_else(|| format!("playbook {}", run.playbook.name), ToOwned::to_owned);
    let on = run.target.as_ref().map_or_else(|| named(run), |target| format!(" on {target}"));
    let follows = follows(run, at);
    let state = match at {
        _ if !follows.is_empty() => GOES_ON,
        Some(StepRef { part: Part::Steps, .. }) => CALLED,
        _ => UNRESOLVED,
    };
    let about: String = format!("{what}{on}").chars().take(200 - state.len()).collect();
    let title = format!("{about}{state}");
    let mut body = first.to_owned();
    let _ = write!(body, "Run {} of playbook {} (revision {}).", run.id, run.playbook.name, run.revision.short());
    body.push('\n');
    who_told(&run.alert, &mut body);
    for kind in ["labels", "annotations"] {
        for (key, value) in run.alert.get(kind).and_then(|it| it.as_object()).into_iter().flatten() {
            let _ = writeln!(body, "{key}: {}", value.as_str().unwrap_or_default());
        }
    }
    done(run, at, &mut body);
    if !follows.is_empty() {
        body.push_str("\nWhat follows, whoever answers:\n");
        for step in follows {
            let _ = writeln!(body, "- {} ({})", step.name, step.does.word());
        }
    }
    if !changes.is_empty() {
        body.push_str("\nWhat changed since it was last healthy:\n");
        for change in changes {
            let _ = writeln!(body, "- {change}");
        }
    }
    let others = cut(others.to_owned(), OTHERS);
    let mut body = cut(body, BODY - others.len());
    body.push_str(&others);
    (title, body)
}

/// What a page is about: its title without how it stood when somebody was called.
pub fn about(title: &str) -> &str {
    [UNRESOLVED, GOES_ON, CALLED].iter().find_map(|state| title.strip_suffix(state)).unwrap_or(title)
}

/// What a run does after the step that pages without waiting for who is called; nothing where it only calls more people.
fn follows(run: &Run, at: Option<StepRef>) -> Vec<&PlaybookStep> {
    let Some(at) = at.filter(|_| run.rung != Rung::Page) else { return Vec::new() };
    let list = match at.part {
        Part::Steps => run.playbook.steps.as_slice(),
        Part::Otherwise => run.playbook.otherwise.as_deref().unwrap_or_default(),
    };
    let after: Vec<_> = list.iter().skip(usize::try_from(at.index).map_or(usize::MAX, |index| index + 1)).collect();
    let tells = |step: &PlaybookStep| matches!(step.does, Does::Page { .. } | Does::Notify { .. });
    if after.iter().all(|step| tells(step)) { Vec::new() } else { after }
}

/// Since when its alert fires, who told of it, and where that shows it.
fn who_told(alert: &Value, body: &mut String) {
    let text = |name: &str| alert.get(name).and_then(Value::as_str);
    let began = text("startsAt").and_then(|at| at.parse::<Timestamp>().ok());
    if let (Some(began), Some(source), Some(receiver)) = (began, text("source"), text("receiver")) {
        let began = began.strftime("%Y-%m-%d %H:%M:%S UTC");
        let _ = writeln!(body, "The alert began at {began}; {source} told of it, by receiver {receiver}.");
    }
    if let Some(url) = text("url") {
        let _ = writeln!(body, "At its source: {url}");
    }
}

/// What was done before, and why it does not end with that.
fn done(run: &Run, at: Option<StepRef>, body: &mut String) {
    let tried = run.steps.iter().any(|record| record.attempts > 0 && Some(record.step) != at);
    let steps = run.steps.iter().any(|record| record.step.part == Part::Steps);
    let back = run.alert.get("takenBack").and_then(Value::as_str);
    match (&run.turned, back) {
        (Some((why, _)), Some(back)) if run.rung == Rung::Page && !tried => {
            let _ = writeln!(body, "\nWhat was done: {back}\nNothing else: {why}");
            return;
        }
        (_, Some(back)) => drop(writeln!(body, "\nBefore its steps: {back}")),
        _ => {}
    }
    match &run.turned {
        // What it passes over for the call says nothing but that.
        Some((why, _)) if run.rung == Rung::Page && !tried => {
            let _ = writeln!(body, "\nNothing was done: {why}");
            return;
        }
        Some((why, _)) if !steps && run.rung != Rung::Steps => {
            let _ = writeln!(body, "\nIts steps were left out: {why}");
        }
        _ => {}
    }
    body.push_str("\nWhat was done:\n");
    for record in &run.steps {
        step_line(run, record, body);
    }
    if run.steps.is_empty() {
        body.push_str("- nothing before this call\n");
    }
    if let Some((why, _)) = run.turned.as_ref().filter(|_| steps || run.rung == Rung::Steps) {
        let _ = writeln!(body, "Its steps did not end it: {why}");
    }
}

/// What the alert of a run without a target is about, as its labels name it.
fn named(run: &Run) -> String {
    let named = ["app", "service", "instance", "job", "host"].into_iter().find_map(|label| {
        let value = run.alert.pointer(&format!("/labels/{label}"))?.as_str()?;
        Some(format!(" on {label} {value}"))
    });
    named.unwrap_or_default()
}

fn step_line(run: &Run, record: &StepRecord, body: &mut String) {
    let Some(step) = run.step(record.step) else { return };
    let part = if record.step.part == Part::Otherwise { "otherwise " } else { "" };
    let how = match (&record.outcome, &record.skipped) {
        (_, Some(why)) => format!("skipped: {why}"),
        (Some(StepOutcome::Done { .. }), _) => "done".to_owned(),
        (Some(StepOutcome::Failed { error }), _) => format!("failed: {error}"),
        (Some(StepOutcome::Unknown { error }), _) => format!("not known: {error}"),
        (None, None) => "on".to_owned(),
    };
    let at = record.begun_at.strftime("%Y-%m-%d %H:%M:%S UTC");
    // What could not even begin has used its attempts up and made none.
    let again = record.attempts > 1 && record.tried_at.is_some_and(|tried| tried > record.begun_at);
    let times = if again { format!(", {} attempts", record.attempts) } else { String::new() };
    let _ = writeln!(body, "- {at} {part}{} ({}{times}): {how}", step.name, step.does.word());
    for line in cut(record.evidence.clone(), STEP_EVIDENCE).lines() {
        let _ = writeln!(body, "    {line}");
    }
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let most = most.saturating_sub('…'.len_utf8());
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
