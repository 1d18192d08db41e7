//! The reading end: the newest lines, then new ones as they come, also across a rotation.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
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

/// The log lines of the app whose folder is `dir`: the newest `query.tail` ones, oldest first, then, with `query.follow`,
/// all that come. An app that never wrote has none.
pub fn read(dir: &Path, query: LogQuery) -> LogStream {
    let folder = dir.join(FOLDER);
    let follow = query.follow;
    let start = stream::once(async move {
        let kept = query.clone();
        // Files of some megabytes; off the threads that serve others.
        let read =
            tokio::task::spawn_blocking(move || tail(&folder, &kept).map(|(lines, at)| (folder, lines, at))).await;
        (query, read.ok().and_then(Result::ok))
    });
    start
        .flat_map(move |(query, read)| {
            let Some((folder, lines, position)) = read else { return stream::empty().boxed() };
            let first = stream::iter(lines);
            match follow {
                true => first.chain(following(folder.join(CURRENT), query, position)).boxed(),
                false => first.boxed(),
            }
        })
        .boxed()
}

/// An open file and what of its last line has come so far.
struct Position {
    file: Option<BufReader<File>>,
    partial: Vec<u8>,
}

fn tail(folder: &Path, query: &LogQuery) -> io::Result<(VecDeque<LogLine>, Position)> {
    let mut position = Position { file: open(&folder.join(CURRENT))?, partial: Vec::new() };
    let mut newest: VecDeque<LogLine> = VecDeque::new();
    position.lines(query, query.tail, &mut newest)?;
    let mut older = 1;
    while newest.len() < query.tail && older < MOST_FILES {
        let Some(file) = open(&folder.join(format!("{CURRENT}.{older}")))? else { break };
        let mut lines = VecDeque::new();
        Position { file: Some(file), partial: Vec::new() }.lines(query, query.tail - newest.len(), &mut lines)?;
        for line in lines.into_iter().rev() {
            newest.push_front(line);
        }
        older += 1;
    }
    Ok((newest, position))
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Position {
    /// Takes whole lines to the end of the file, keeping the last `most` that match.
    fn lines(&mut self, query: &LogQuery, most: usize, into: &mut VecDeque<LogLine>) -> io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        loop {
            file.by_ref().take(LONGEST).read_until(b'\n', &mut self.partial)?;
            let whole = self.partial.ends_with(b"\n") || self.partial.len() as u64 >= LONGEST;
            if !whole {
                return Ok(());
            }
            let line = parse(String::from_utf8_lossy(&self.partial).trim_end_matches('\n'));
            self.partial.clear();
            if let Some(line) = line.filter(|line| query.instance.as_ref().is_none_or(|only| *only == line.instance)) {
                into.push_back(line);
                if into.len() > most {
                    into.pop_front();
                }
            }
        }
    }

    /// Whether the file that `path` names is another one than the open one.
    fn is_rotated(&self, path: &Path) -> bool {
        let inode = |meta: io::Result<std::fs::Metadata>| meta.ok().map(|meta| meta.ino());
        let named = inode(std::fs::metadata(path));
        let mine = self.file.as_ref().and_then(|file| inode(file.get_ref().metadata()));
        named.is_some() && named != mine
    }
}

fn following(path: PathBuf, query: LogQuery, position: Position) -> impl stream::Stream<Item = LogLine> + Send {
    stream::unfold((path, query, position, VecDeque::new()), async |(path, query, mut position, mut ready)| {
        loop {
            if let Some(line) = ready.pop_front() {
                return Some((line, (path, query, position, ready)));
            }
            let rotated = position.is_rotated(&path);
            // What came before the rotation is still read from the old file.
            position.lines(&query, usize::MAX, &mut ready).ok()?;
            if rotated {
                position = Position { file: open(&path).ok()?, partial: Vec::new() };
                continue;
            }
            if ready.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        }
    })
}
