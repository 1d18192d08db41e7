//! What instances write: taken from their FIFOs, put line by line into files that are rotated by size, read back by whoever
//! may see the folder. The files are the only thing that writer and reader share.

mod capture;
mod last;
mod read;
mod said;
mod veil;
mod write;

pub(super) use capture::{Capture, Ends, capture};
pub(super) use last::{LastLines, without_last_lines};
pub use read::read;
pub(super) use said::Said;
pub(super) use veil::Veil;
pub(super) use write::{LogFiles, LogLimits};

use codeops_core::model::InstanceId;
use jiff::Timestamp;

use crate::port::LogLine;

/// The folder below the app's.
pub(super) const FOLDER: &str = "logs";
/// The file that is written to; older ones end in `.1` (the newest) and up.
pub(super) const CURRENT: &str = "app.log";
/// The longest line that is kept whole; a longer one is cut into several.
pub(super) const LINE: usize = 16 * 1024;

/// One line as it stands in the files: time, instance, stream, text.
fn format(at: Timestamp, instance: &str, stream: &str, line: &str) -> String {
    format!("{at:.6} {instance} {stream} {line}\n")
}

/// The reverse of [`format`]; `None` for what is no such line, such as one that a crash cut short.
fn parse(text: &str) -> Option<LogLine> {
    let mut parts = text.splitn(4, ' ');
    let at = parts.next()?.parse().ok()?;
    let instance = InstanceId::try_from(parts.next()?.to_owned()).ok()?;
    let stream = match parts.next()? {
        "stdout" => "stdout",
        "stderr" => "stderr",
        _ => return None,
    };
    Some(LogLine { at, instance, stream, line: parts.next().unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        let at = Timestamp::from_second(1_800_000_000).expect("in range");
        let line = parse(format(at, "9f86d081-1", "stderr", "a  b ").trim_end_matches('\n')).expect("a line");
        assert_eq!(
            (line.at, line.instance.as_str(), line.stream, line.line.as_str()),
            (at, "9f86d081-1", "stderr", "a  b ")
        );
        assert_eq!(parse("half a li"), None);
    }
}
