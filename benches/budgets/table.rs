//! Rows, and the one table they make; and how figures of a noisy machine are told: by the best and the median.

use std::time::Duration;

/// One figure against its budget.
pub(crate) struct Row {
    /// What was measured.
    what: String,
    /// The budget as it is told, and whether the figure keeps it; none for figures that are only told.
    budget: Option<(String, bool)>,
    measured: String,
    chapter: &'static str,
}

impl Row {
    /// A time that must not be longer; `all` are the single measurements, of which the median counts.
    pub(crate) fn time(chapter: &'static str, what: &str, most: Duration, all: &[Duration]) -> Self {
        let (best, median) = (quantile(all, 0.0), quantile(all, 0.5));
        let measured = format!("{} (best {}, of {})", told(median), told(best), all.len());
        Self { what: what.to_owned(), budget: Some((format!("≤ {}", told(most)), median <= most)), measured, chapter }
    }

    /// As [`Row::time`], but the 99th percentile counts.
    pub(crate) fn p99(chapter: &'static str, what: &str, most: Duration, all: &[Duration]) -> Self {
        let (median, p99) = (quantile(all, 0.5), quantile(all, 0.99));
        let measured = format!("{} (median {}, of {})", told(p99), told(median), all.len());
        Self {
            what: what.to_owned(), budget: Some((format!("p99 ≤ {}", told(most)), p99 <= most)), measured, chapter
        }
    }

    /// Memory that must not be more, in KiB.
    pub(crate) fn memory(chapter: &'static str, what: &str, most_mib: u64, all_kib: &[u64]) -> Self {
        let most = all_kib.iter().max().copied().unwrap_or_default();
        let measured = format!("{:.1} MiB", most as f64 / 1024.0);
        let measured = if all_kib.len() > 1 { format!("{measured} (largest of {})", all_kib.len()) } else { measured };
        let met = most <= most_mib * 1024 && !all_kib.is_empty();
        Self { what: what.to_owned(), budget: Some((format!("≤ {most_mib} MiB"), met)), measured, chapter }
    }

    /// A share that must not be less, in percent.
    pub(crate) fn share(chapter: &'static str, what: &str, least: f64, percent: f64, how: &str) -> Self {
        let budget = Some((format!("≥ {least:.0} %"), percent >= least));
        Self { what: what.to_owned(), budget, measured: format!("{percent:.0} % ({how})"), chapter }
    }

    /// A figure without a budget.
    pub(crate) fn told(chapter: &'static str, what: &str, measured: String) -> Self {
        Self { what: what.to_owned(), budget: None, measured, chapter }
    }

    /// Whether the budget is kept, where there is one.
    pub(crate) fn met(&self) -> Option<bool> {
        self.budget.as_ref().map(|(_, met)| *met)
    }
}

/// Prints all rows as a Markdown table, which a terminal shows well enough.
pub(crate) fn print(rows: &[Row]) {
    println!("| what | budget | measured | met | `cargo bench --profile perf --bench budgets --` |");
    println!("|---|---|---|---|---|");
    for row in rows {
        let (budget, met) = match &row.budget {
            Some((budget, true)) => (budget.as_str(), "yes"),
            Some((budget, false)) => (budget.as_str(), "**no**"),
            None => ("", ""),
        };
        println!("| {} | {budget} | {} | {met} | `{}` |", row.what, row.measured, row.chapter);
    }
}

/// The smallest for 0, the median for 0.5, the nearest rank for others.
pub(crate) fn quantile(all: &[Duration], share: f64) -> Duration {
    let mut sorted = all.to_vec();
    sorted.sort();
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(Duration::MAX)
}

fn told(time: Duration) -> String {
    match time.as_secs_f64() {
        _ if time == Duration::MAX => "never".to_owned(),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.1} ms", s * 1e3),
    }
}
