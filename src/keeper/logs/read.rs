//! The reading end: the newest lines, then new ones as they come, also across a rotation.
//!
//! A reader holds a few lines at a time, however many it asked for: what it has not taken yet stays in the files.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::{CURRENT, FOLDER, LINE, parse};
use crate::port::{LogLine, LogQuery, LogStream};

/// How soon a new line is seen.
const LOOK: Duration = Duration::from_millis(200);
/// More rotated files than a keeper ever keeps.
const MOST_FILES: u32 = 64;
/// Instance, time and stream stand before the text of a line.
const LONGEST: u64 = LINE as u64 * 3 + 256;
/// Bytes of a file after which a reader hands on what it has.
const AT_ONCE: usize = 64 << 10;

/// The log lines of the app whose folder is `dir`: the newest `query.tail` ones, oldest first, then, with `query.follow`,
/// all that come. An app that never wrote has none.
pub fn read(dir: &Path, query: LogQuery) -> LogStream {
    let folder = dir.join(FOLDER);
    let start = stream::once(async move { apart(move || Reading::begin(&folder, query)).await });
    start
        .flat_map(|reading| match reading {
            Some(reading) => stream::unfold(reading, Reading::next).flat_map(stream::iter).boxed(),
            None => stream::empty().boxed(),
        })
        .boxed()
}

/// Does what waits for a disk off the threads that serve others.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()?.ok()
}

/// What is yet to be read.
struct Reading {
    /// The file that is written to.
    current: PathBuf,
    query: LogQuery,
    /// Oldest first; the last is the newest, which goes on where it is followed.
    parts: VecDeque<Part>,
}

/// An open file, what of it is yet to be read, and what of its last line has come so far.
#[derive(Default)]
struct Part {
    file: Option<BufReader<File>>,
    /// Bytes up to its end as it was; without, whatever comes.
    left: Option<u64>,
    partial: Vec<u8>,
}

/// What a look into the files gave.
enum Found {
    Lines(Vec<LogLine>),
    Nothing,
    End,
}

impl Reading {
    /// Opens the files that hold the newest lines, each where the first of these begins.
    fn begin(folder: &Path, query: LogQuery) -> io::Result<Self> {
        let current = folder.join(CURRENT);
        let (newest, found) = Part::open(&current, &query, query.tail)?;
        let (mut parts, mut missing) = (VecDeque::from([newest]), query.tail.saturating_sub(found));
        for older in 1..MOST_FILES {
            if missing == 0 {
                break;
            }
            let (part, found) = Part::open(&folder.join(format!("{CURRENT}.{older}")), &query, missing)?;
            if part.file.is_none() {
                break;
            }
            missing = missing.saturating_sub(found);
            parts.push_front(part);
        }
        if let Some(newest) = parts.back_mut().filter(|_| query.follow) {
            newest.left = None;
        }
        Ok(Self { current, query, parts })
    }

    /// Some lines more, once there are any.
    async fn next(mut self) -> Option<(Vec<LogLine>, Self)> {
        loop {
            let (reading, found) = apart(move || self.look().map(|found| (self, found))).await?;
            self = reading;
            match found {
                Found::Lines(lines) => return Some((lines, self)),
                Found::Nothing => tokio::time::sleep(LOOK).await,
                Found::End => return None,
            }
        }
    }

    fn look(&mut self) -> io::Result<Found> {
        while let Some(part) = self.parts.front_mut() {
            let follows = part.left.is_none();
            // What came before the rotation is still read from the old file.
            let rotated = follows && part.is_rotated(&self.current);
            let lines = part.some(&self.query)?;
            if !lines.is_empty() {
                return Ok(Found::Lines(lines));
            }
            match (follows, rotated) {
                (false, _) => drop(self.parts.pop_front()),
                (true, true) => *part = Part { file: open(&self.current)?, ..Part::default() },
                (true, false) => return Ok(Found::Nothing),
            }
        }
        Ok(Found::End)
    }
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Part {
    /// The last `most` lines of a file that match, as far as it has whole lines, and how many these are.
    fn open(path: &Path, query: &LogQuery, most: usize) -> io::Result<(Self, usize)> {
        let mut part = Self { file: open(path)?, ..Self::default() };
        let (mut at, mut begins) = (0, VecDeque::new());
        while let Some((line, bytes)) = part.line()? {
            if matching(&line, query).is_some() {
                begins.push_back(at);
            }
            at += bytes;
            if begins.len() > most {
                begins.pop_front();
            }
        }
        let begin = begins.front().copied().unwrap_or(at);
        if let Some(file) = &mut part.file {
            file.seek(SeekFrom::Start(begin))?;
        }
        Ok((Self { file: part.file, left: Some(at - begin), partial: Vec::new() }, begins.len()))
    }

    /// Whole lines that match, of [`AT_ONCE`] bytes or a few more; none at the end of what there is.
    fn some(&mut self, query: &LogQuery) -> io::Result<Vec<LogLine>> {
        let (mut lines, mut taken) = (Vec::new(), 0);
        while taken < AT_ONCE || lines.is_empty() {
            let Some((line, _)) = self.line()? else { break };
            taken += line.len();
            lines.extend(matching(&line, query));
        }
        Ok(lines)
    }

    /// The next whole line, and how many bytes of the file it is.
    fn line(&mut self) -> io::Result<Option<(Vec<u8>, u64)>> {
        let Some(file) = self.file.as_mut().filter(|_| self.left != Some(0)) else { return Ok(None) };
        file.by_ref().take(LONGEST).read_until(b'\n', &mut self.partial)?;
        let bytes = self.partial.len() as u64;
        if !self.partial.ends_with(b"\n") && bytes < LONGEST {
            return Ok(None);
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        Ok(Some((std::mem::take(&mut self.partial), bytes)))
    }

    /// Whether the file that `path` names is another one than the open one.
    fn is_rotated(&self, path: &Path) -> bool {
        let inode = |meta: io::Result<std::fs::Metadata>| meta.ok().map(|meta| meta.ino());
        let named = inode(std::fs::metadata(path));
        let mine = self.file.as_ref().and_then(|file| inode(file.get_ref().metadata()));
        named.is_some() && named != mine
    }
}

/// The line, if it is one and of the instance that is asked for.
fn matching(line: &[u8], query: &LogQuery) -> Option<LogLine> {
    let line = parse(String::from_utf8_lossy(line).trim_end_matches('\n'))?;
    query.instance.as_ref().is_none_or(|only| *only == line.instance).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use jiff::Timestamp;

    use super::super::format;
    use super::*;

    fn lines(instance: &str, numbers: std::ops::Range<usize>) -> String {
        let at = Timestamp::from_second(1_800_000_000).expect("in range");
        numbers.fold(String::new(), |mut text, number| {
            text.write_str(&format(at, instance, "stdout", &format!("{number} {}", "x".repeat(100)))).expect("memory");
            text
        })
    }

    /// An app's folder of three files of a thousand lines each.
    fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join(FOLDER);
        std::fs::create_dir(&folder).expect("made");
        for (file, from) in [("app.log.2", 0), ("app.log.1", 1_000), (CURRENT, 2_000)] {
            std::fs::write(folder.join(file), lines("a-1", from..from + 1_000)).expect("written");
        }
        dir
    }

    fn query(tail: usize, follow: bool) -> LogQuery {
        LogQuery { instance: None, tail, follow }
    }

    async fn numbers(dir: &Path, tail: usize) -> Vec<usize> {
        let number = |line: LogLine| line.line.split(' ').next().and_then(|number| number.parse::<usize>().ok());
        read(dir, query(tail, false)).map(|line| number(line).expect("a number")).collect().await
    }

    #[tokio::test]
    async fn the_newest_lines_come_in_order_from_as_many_files_as_they_are_in() {
        let dir = written();
        for tail in [1, 999, 1_000, 1_001, 2_500] {
            assert_eq!(numbers(dir.path(), tail).await, Vec::from_iter(3_000 - tail..3_000), "{tail}");
        }
        assert_eq!(numbers(dir.path(), 0).await, [0_usize; 0]);
        assert_eq!(numbers(dir.path(), 9_000).await.len(), 3_000);
        // Half a line is none yet, and what came of another instance is not asked for.
        let current = dir.path().join(FOLDER).join(CURRENT);
        std::fs::write(&current, lines("b-1", 0..9) + "2027-01").expect("written");
        let only = LogQuery { instance: Some("a-1".to_owned().try_into().expect("an id")), ..query(3, false) };
        assert_eq!(read(dir.path(), only).count().await, 3);
    }

    #[test]
    fn a_reader_holds_a_few_lines_however_many_it_asked_for() {
        let dir = written();
        let mut reading = Reading::begin(&dir.path().join(FOLDER), query(10_000, false)).expect("read");
        let (mut looks, mut all) = (0, 0);
        while let Found::Lines(lines) = reading.look().expect("read") {
            let bytes: usize = lines.iter().map(|line| line.line.len()).sum();
            assert!(bytes <= AT_ONCE + LINE, "{bytes} bytes at once");
            (looks, all) = (looks + 1, all + lines.len());
        }
        assert!(all == 3_000 && looks > 3, "{all} lines in {looks} looks");
    }

    #[tokio::test]
    async fn what_is_followed_goes_on_where_the_newest_lines_end_and_across_a_rotation() {
        let dir = written();
        let folder = dir.path().join(FOLDER);
        let mut followed = read(dir.path(), query(2, true)).map(|line| line.line[..4].to_owned());
        assert_eq!(followed.by_ref().take(2).collect::<Vec<_>>().await, ["2998", "2999"]);
        std::fs::rename(folder.join(CURRENT), folder.join("app.log.1")).expect("rotated");
        std::fs::write(folder.join(CURRENT), lines("a-1", 3_000..3_002)).expect("written");
        assert_eq!(followed.take(2).collect::<Vec<_>>().await, ["3000", "3001"]);
    }
}
