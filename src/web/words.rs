//! The words and marks that pages and JSON share: how things stand, in one sentence; times, relative and absolute.

use std::fmt;

use codeops_core::model::{AlertState, Health, InstanceHealth, InstanceState, RunState, Sync};
use jiff::Timestamp;
use serde::Serialize;

use super::response::Standing;
use crate::port::{Board, Overall, ResourceView};

/// How something stands, in the order of [`Board::overall`]: shown by a shape and a word, and by a colour for those who see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// Fewer work than declared.
    Degraded,
    /// Only a commit helps.
    Held,
    /// It cannot be told.
    Unknown,
    /// On its way.
    Progressing,
    /// Nothing is done, as declared.
    Suspended,
    /// As it should be.
    Fine,
}

impl Mark {
    /// Its class and the name of its shape.
    pub(super) fn class(self) -> &'static str {
        match self {
            Mark::Degraded => "degraded",
            Mark::Held => "held",
            Mark::Unknown => "unknown",
            Mark::Progressing => "progressing",
            Mark::Suspended => "suspended",
            Mark::Fine => "fine",
        }
    }

    /// Its word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Mark::Degraded => "Degraded",
            Mark::Held => "Held",
            Mark::Unknown => "Unknown",
            Mark::Progressing => "Progressing",
            Mark::Suspended => "Suspended",
            Mark::Fine => "Healthy",
        }
    }

    pub(super) fn of(view: &ResourceView) -> Self {
        match (view.sync, view.health) {
            (Sync::Held, _) => Mark::Held,
            (_, Health::Degraded) => Mark::Degraded,
            (Sync::Suspended, Health::Unknown) => Mark::Unknown,
            (Sync::Suspended, _) => Mark::Suspended,
            _ if view.stuck => Mark::Degraded,
            (Sync::Unknown, _) | (_, Health::Unknown) => Mark::Unknown,
            (Sync::Synced, Health::Healthy) => Mark::Fine,
            _ => Mark::Progressing,
        }
    }

    pub(super) fn of_instance(state: InstanceState, health: InstanceHealth) -> Self {
        match (state, health) {
            (_, InstanceHealth::CrashLoop | InstanceHealth::Unhealthy) => Mark::Degraded,
            (InstanceState::Running, InstanceHealth::Healthy) => Mark::Fine,
            _ => Mark::Progressing,
        }
    }

    pub(super) fn of_revision(state: &str) -> Self {
        match state {
            "applied" => Mark::Fine,
            "partial" => Mark::Held,
            "failed" => Mark::Degraded,
            _ => Mark::Progressing,
        }
    }

    pub(super) fn of_alert(state: AlertState) -> Self {
        match state {
            AlertState::Firing => Mark::Degraded,
            AlertState::Resolved => Mark::Fine,
            AlertState::Silenced => Mark::Suspended,
            AlertState::Expired | AlertState::Unknown => Mark::Unknown,
        }
    }

    pub(super) fn of_run(state: RunState) -> Self {
        match state {
            RunState::Running | RunState::Waiting => Mark::Progressing,
            RunState::Resolved | RunState::Replaced => Mark::Fine,
            RunState::Paged => Mark::Held,
            RunState::Failed => Mark::Degraded,
            RunState::Skipped | RunState::Cancelled => Mark::Suspended,
        }
    }

    /// The whole board in one mark: the worst there is.
    pub(super) fn overall(board: &Board, standing: &Standing) -> Self {
        let overall = board.overall();
        let counts = [
            (
                Mark::Degraded,
                overall.degraded
                    + overall.stuck
                    + usize::from(board.broken.is_some())
                    + standing.alone
                    + standing.pages,
            ),
            (Mark::Degraded, standing.silent + standing.full + standing.failing),
            (Mark::Held, overall.held + board.holds.len() + board.blocks().len()),
            (Mark::Unknown, overall.unknown + usize::from(!board.ready)),
            (Mark::Progressing, overall.progressing + standing.answered),
        ];
        counts.into_iter().find(|(_, count)| *count > 0).map_or(Mark::Fine, |(mark, _)| mark)
    }
}

/// Markup: templates pass it through `|safe`, as they do [`Ago`].
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class();
        write!(f, "<svg class=\"mark {class}\" aria-hidden=\"true\"><use href=\"#m-{class}\"/></svg>")
    }
}

/// "Is everything fine?", answered in words.
pub(super) fn headline(board: &Board, standing: &Standing) -> String {
    let text = of_resources(board);
    let quiet = standing.quiet;
    let firing = match standing.answered + standing.alone + quiet {
        0 => None,
        1 if quiet == 1 => Some("1 alert fires, kept quiet".to_owned()),
        1 => Some("1 alert fires".to_owned()),
        many if quiet == 0 => Some(format!("{many} alerts fire")),
        many if quiet == many => Some(format!("{many} alerts fire, all kept quiet")),
        many => Some(format!("{many} alerts fire, {quiet} of them kept quiet")),
    };
    let calls = (standing.pages > 0).then(|| format!("{} not accepted yet", plural(standing.pages, "page")));
    let unheard = (standing.unheard > 0).then(|| format!("{} reached nobody", plural(standing.unheard, "alert")));
    let silent = (standing.silent > 0).then(|| format!("{} silent", plural(standing.silent, "receiver")));
    let full = (standing.full > 0).then(|| format!("{} full", plural(standing.full, "receiver")));
    let failing = match standing.failing {
        0 => None,
        1 => Some("1 scheduled playbook fails".to_owned()),
        many => Some(format!("{many} scheduled playbooks fail")),
    };
    let latched = (standing.latched > 0).then(|| format!("{} latched", standing.latched));
    let blocks = board.blocks().into_iter().map(str::to_owned);
    std::iter::once(text)
        .chain(blocks)
        .chain(firing)
        .chain(unheard)
        .chain(calls)
        .chain(silent)
        .chain(full)
        .chain(failing)
        .chain(latched)
        .collect::<Vec<_>>()
        .join("; ")
}

fn of_resources(board: &Board) -> String {
    if let Some(why) = &board.broken {
        return format!("Not ready: {why}");
    }
    if !board.ready {
        return "Looking for the first time".to_owned();
    }
    let overall = board.overall();
    if overall.total == 0 {
        return "Nothing is declared yet".to_owned();
    }
    let troubles = troubles(&overall, board);
    if !troubles.is_empty() {
        return format!("{} of {}", troubles.join(", "), overall.total);
    }
    let mut text = format!("{} of {} in sync and healthy", overall.fine, overall.total);
    if overall.suspended > 0 {
        text.push_str(&format!(", {} suspended", overall.suspended));
    }
    if !board.holds.is_empty() {
        text.push_str(&format!(", {} held", plural(board.holds.len(), "change set")));
    }
    text
}

fn troubles(overall: &Overall, board: &Board) -> Vec<String> {
    let ill = |sync: Sync| {
        let all = board.resources.values();
        all.filter(|view| view.sync == sync && view.health == Health::Degraded).count()
    };
    let degraded = match ill(Sync::Suspended) {
        0 => "degraded".to_owned(),
        all if all == overall.degraded => "degraded and suspended".to_owned(),
        some => format!("degraded ({some} of them suspended)"),
    };
    let held = match ill(Sync::Held) {
        0 => "held".to_owned(),
        ill if ill == overall.held => "held and degraded".to_owned(),
        ill => format!("held ({ill} of them degraded)"),
    };
    let counts = [
        (overall.degraded, degraded.as_str()),
        (overall.stuck, "stuck"),
        (overall.held, held.as_str()),
        (overall.unknown, "unknown"),
        (overall.progressing, "in progress"),
    ];
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect()
}

/// `1 commit`, `2 commits`.
pub(super) fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Why the page should not be taken at its word, if so.
pub(super) fn stale(board: &Board, now: Timestamp, after: std::time::Duration) -> Option<String> {
    let at = board.fresh_at?;
    let age = now.duration_since(at);
    let limit = jiff::SignedDuration::try_from(after).unwrap_or(jiff::SignedDuration::MAX);
    (age > limit).then(|| format!("Live state was last observed {} ago; what follows may no longer be so.", span(age)))
}

/// A length of time for people: `12 s`, `3 min`, `2 h`, `4 d`.
pub(super) fn span(duration: jiff::SignedDuration) -> String {
    let secs = duration.as_secs().abs();
    match secs {
        0..=99 => format!("{secs} s"),
        100..=5_999 => format!("{} min", secs / 60),
        6_000..=172_799 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// How long something took, for people: `12 ms`, `1.2 s`, `40 s`, `3 min`.
pub(super) fn took(duration: jiff::SignedDuration) -> String {
    match duration.as_millis() {
        millis @ ..1_000 => format!("{} ms", millis.max(0)),
        1_000..10_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ => span(duration),
    }
}

/// A time as seen from now, with the absolute one beside it: markup.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ago {
    at: Timestamp,
    now: Timestamp,
    word: bool,
}

impl Ago {
    /// `12 s ago`, `in 40 s`.
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now, word: true }
    }

    /// `12 s`.
    pub(super) fn age(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now, word: false }
    }
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.now.duration_since(self.at);
        let span = span(age);
        let text = match (self.word, age.is_negative()) {
            (true, false) => format!("{span} ago"),
            (true, true) => format!("in {span}"),
            (false, _) => span,
        };
        let absolute = self.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let style = if self.word { "ago" } else { "age" };
        write!(f, "<time datetime=\"{:.3}\" title=\"{absolute}\" data-time=\"{style}\">{text}</time>", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::SourceView;
    use jiff::SignedDuration;

    #[test]
    fn spans_read_well() {
        let texts: Vec<String> =
            [0, 99, 100, 7_000, 200_000].iter().map(|secs| span(SignedDuration::from_secs(*secs))).collect();
        assert_eq!(texts, ["0 s", "99 s", "1 min", "1 h", "2 d"]);
    }

    #[test]
    fn an_empty_board_says_so() {
        let nothing = Standing::default();
        assert_eq!(headline(&Board::default(), &nothing), "Looking for the first time");
        assert_eq!(headline(&Board { ready: true, ..Board::default() }, &nothing), "Nothing is declared yet");
    }

    #[test]
    fn what_keeps_commits_from_taking_effect_is_never_shown_as_fine() {
        let nothing = Standing::default();
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(600).unwrap());
        let fine = Board { ready: true, fresh_at: Some(late), ..Board::default() };
        assert_eq!(Mark::overall(&fine, &nothing), Mark::Fine);
        let mut blocked = vec![
            Board { freeze: Some("a bad night".to_owned()), ..fine.clone() },
            Board { observe_only: Some("`mode: observe`".to_owned()), ..fine.clone() },
        ];
        for source in [
            SourceView { held: Some("not signed".to_owned()), ..SourceView::default() },
            SourceView { error: Some("no route".to_owned()), fetched_at: Some(early), ..SourceView::default() },
        ] {
            blocked.push(Board { source, ..fine.clone() });
        }
        for board in blocked {
            assert_eq!(Mark::overall(&board, &nothing), Mark::Held, "{board:?}");
            let words = board.blocks().join("; ");
            assert_eq!(headline(&board, &nothing), format!("Nothing is declared yet; {words}"));
        }
        let source = SourceView { error: Some("no route".to_owned()), fetched_at: Some(late), ..SourceView::default() };
        assert_eq!(Mark::overall(&Board { source, ..fine }, &nothing), Mark::Fine, "once is no news");
    }
}
