//! Columns that line up.

use super::output::{Output, Style};

/// One cell: its text and how it is stressed.
pub(crate) type Cell = (String, Style);

/// A cell without stress.
pub(crate) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Style::Plain)
}

/// Lays rows out under their heads. The last column is never padded, so that long reasons wrap as the terminal likes.
pub(crate) fn table(output: &Output, heads: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        cells.chain(heads.get(column).map(|head| head.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = line(output, &widths, heads.iter().map(|head| ((*head).to_owned(), Style::Dim)));
    for row in rows {
        text += &line(output, &widths, row.iter().cloned());
    }
    text
}

fn line(output: &Output, widths: &[usize], cells: impl ExactSizeIterator<Item = Cell>) -> String {
    let last = cells.len().saturating_sub(1);
    let mut text = String::new();
    for (column, (cell, style)) in cells.enumerate() {
        let gap = widths.get(column).map_or(0, |width| width.saturating_sub(cell.chars().count()));
        text += &output.paint(style, cell);
        if column != last {
            text += &" ".repeat(gap + 2);
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}
