//! The place of one resource among others: what it waits for on the left, what waits for it on the right.

use std::fmt::Write;

use codeops_core::model::ResourceId;

use crate::port::{Board, ResourceView};
use crate::web::escape::html;
use crate::web::words::Mark;

const BOX: usize = 190;
const TALL: usize = 36;
const GAP: usize = 14;
const STEP: usize = 250;
/// More neighbours than this are counted in words.
const MOST: usize = 8;

/// The graph; `None` when it stands alone.
pub(in crate::web) fn graph(board: &Board, view: &ResourceView) -> Option<String> {
    if view.depends_on.is_empty() && view.used_by.is_empty() {
        return None;
    }
    let rows = view.depends_on.len().min(MOST + 1).max(view.used_by.len().min(MOST + 1)).max(1);
    let height = rows * (TALL + GAP) + GAP;
    let width = STEP * 2 + BOX + 2;
    let label = html(&describe(view));
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"{label}\"><title>{label}</title>"
    );
    let middle = height / 2;
    side(&mut svg, board, &view.depends_on, 1, height, |svg, y| edge(svg, BOX + 1, y, STEP + 1, middle));
    side(&mut svg, board, &view.used_by, STEP * 2 + 1, height, |svg, y| {
        edge(svg, STEP + BOX + 1, middle, STEP * 2 + 1, y);
    });
    node(&mut svg, board, &view.id, STEP + 1, middle, "node here");
    Some(svg + "</svg>")
}

fn describe(view: &ResourceView) -> String {
    let list = |ids: &[ResourceId]| match ids {
        [] => "nothing".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    format!("{} depends on {}; used by {}", view.id, list(&view.depends_on), list(&view.used_by))
}

fn side(
    svg: &mut String,
    board: &Board,
    ids: &[ResourceId],
    x: usize,
    height: usize,
    edge: impl Fn(&mut String, usize),
) {
    let shown = ids.len().min(MOST);
    let rows = shown + usize::from(ids.len() > MOST);
    let top = (height - rows * (TALL + GAP) + GAP) / 2;
    for (row, id) in ids.iter().take(shown).enumerate() {
        let y = top + row * (TALL + GAP) + TALL / 2;
        edge(svg, y);
        node(svg, board, id, x, y, "node");
    }
    if ids.len() > shown {
        let y = top + shown * (TALL + GAP) + TALL / 2 + 5;
        let _ = write!(svg, "<text x=\"{}\" y=\"{y}\">and {} more</text>", x + 12, ids.len() - shown);
    }
}

fn edge(svg: &mut String, x1: usize, y1: usize, x2: usize, y2: usize) {
    let bend = (x1 + x2) / 2;
    let _ = write!(svg, "<path class=\"edge\" d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\"/>");
}

fn node(svg: &mut String, board: &Board, id: &ResourceId, x: usize, y: usize, class: &str) {
    let mark = board.resources.get(id).map_or(Mark::Unknown, |view| Mark::of(view));
    let (kind, name) = (id.kind.plural(), &id.name);
    let text: String = id.to_string().chars().take(22).collect();
    let _ = write!(
        svg,
        "<a href=\"/{kind}/{name}\"><title>{id}: {word}</title><rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{BOX}\" \
         height=\"{TALL}\" rx=\"8\"/><use class=\"mark {mark}\" href=\"#m-{mark}\" x=\"{mx}\" y=\"{my}\" width=\"14\" height=\"14\"/>\
         <text x=\"{tx}\" y=\"{ty}\">{text}</text></a>",
        word = mark.word(),
        mark = mark.class(),
        top = y - TALL / 2,
        mx = x + 12,
        my = y - 7,
        tx = x + 34,
        ty = y + 5,
        text = html(&text),
    );
}
