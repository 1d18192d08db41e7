//! What happened, on one axis: a lane a category, so that cause and effect stand beside each other. Times are parts of whatever
//! width there is, and shapes and letters keep their size, so that all of it is seen on the narrowest screen.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use crate::journal::Category;
use crate::web::escape::html;
use crate::web::event::Event;
use crate::web::redact::{as_is, end, part_of};
use crate::web::words::{Mark, span};

/// Between the words of the lanes and their rails, which begin at 0.
const GAP: f64 = 14.0;
const LANE: f64 = 26.0;
const SHAPE: f64 = 13.0;

/// The timeline of some events, newest first; `None` when there are none.
pub(in crate::web) fn timeline(events: &[Event], now: Timestamp) -> Option<String> {
    let oldest = events.last()?.at;
    let lanes: Vec<_> =
        Category::ALL.into_iter().filter(|category| events.iter().any(|event| event.category == *category)).collect();
    let reach = now.duration_since(oldest).max(SignedDuration::from_mins(1));
    let height = f64::from(u32::try_from(lanes.len()).unwrap_or(0)) * LANE + 26.0;
    let label = format!("{} events in the last {}, by kind", events.len(), span(reach));
    let mut svg = format!(
        "<svg class=\"timeline\" height=\"{height}\" role=\"img\" aria-label=\"{label}\"><title>{label}</title>"
    );
    for (row, category) in lanes.iter().enumerate() {
        let y = f64::from(u32::try_from(row).unwrap_or(0)) * LANE + LANE / 2.0;
        let _ = write!(
            svg,
            "<text class=\"lane\" x=\"-{GAP}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line class=\"rail\" x1=\"0\" y1=\"{y}\" x2=\"100%\" y2=\"{y}\"/><g transform=\"translate({:.1} {:.1})\">",
            y + 4.0,
            category.word(),
            -SHAPE / 2.0,
            y - SHAPE / 2.0
        );
        let of_lane = events.iter().filter(|event| event.category == *category);
        for event in of_lane.rev() {
            shape(&mut svg, event, percent(event.at, oldest, reach));
        }
        svg.push_str("</g>");
    }
    axis(&mut svg, reach, height);
    Some(svg + "</svg>")
}

fn percent(at: Timestamp, oldest: Timestamp, reach: SignedDuration) -> f64 {
    let part = at.duration_since(oldest).as_secs_f64() / reach.as_secs_f64();
    part.clamp(0.0, 1.0) * 100.0
}

fn shape(svg: &mut String, event: &Event, percent: f64) {
    let mark = event.mark.map_or("plain", Mark::class);
    let about = event.resource.as_ref().map(|id| format!("{}{id}: {}", as_is(), end())).unwrap_or_default();
    let title = format!("{} {about}{}", event.at.strftime("%H:%M:%S"), html(&event.text));
    let _ = write!(
        svg,
        "<use class=\"mark {mark}\" href=\"#m-{mark}\" x=\"{percent:.2}%\" width=\"{SHAPE}\" height=\"{SHAPE}\"><title>{}{title}{}</title></use>",
        part_of(&event.team),
        end()
    );
}

fn axis(svg: &mut String, reach: SignedDuration, height: f64) {
    let y = height - 6.0;
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"0\" y=\"{y}\">{} ago</text><text class=\"tick\" x=\"50%\" y=\"{y}\" text-anchor=\"middle\">{} ago</text>\
         <text class=\"tick\" x=\"100%\" y=\"{y}\" text-anchor=\"end\">now</text>",
        span(reach),
        span(reach / 2)
    );
}
