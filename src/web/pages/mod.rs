//! The pages: each handler gathers what its template shows. The templates are complete without JavaScript.

mod lists;
mod overview;
mod resource;
mod response;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;

pub(super) use lists::{events, holds, revision, revisions};
pub(super) use overview::overview;
pub(super) use resource::resource;
pub(super) use response::{alerts, run, runs};

use super::Web;
use super::problem::Problem;
use super::response::Standing;
use super::words::{Ago, Mark, headline, span, stale};
use crate::port::Board;

/// What every page has around its content.
struct Shell {
    board: Arc<Board>,
    now: Timestamp,
    version: String,
    /// The path of the navigation's entry that is shown.
    here: &'static str,
    title: String,
    mark: Mark,
    headline: String,
    stale: Option<String>,
    /// Why the settings' file cannot be used, if so.
    settings: Option<String>,
}

impl Shell {
    fn new(web: &Web, here: &'static str, title: impl Into<String>) -> Self {
        let (board, now, standing) = (web.board(), web.now(), Standing::of(&web.page.journal, web.now()));
        Self {
            mark: Mark::overall(&board, &standing),
            headline: headline(&board, &standing),
            stale: stale(&board, now, web.page.config.stale_after),
            settings: web.page.settings.error(),
            version: web.page.config.version.clone(),
            title: title.into(),
            board,
            now,
            here,
        }
    }

    fn ago(&self, at: &Timestamp) -> Ago {
        Ago::new(*at, self.now)
    }

    fn age(&self, at: &Timestamp) -> Ago {
        Ago::age(*at, self.now)
    }

    /// How long a full pass takes.
    fn pass(&self) -> String {
        format!("{:.1} ms", f64::from(u32::try_from(self.board.pass_micros).unwrap_or(u32::MAX)) / 1_000.0)
    }

    /// When something goes on by itself; a time that has passed says nothing.
    fn next(&self, at: &Option<Timestamp>) -> Option<String> {
        let wait = at.as_ref()?.duration_since(self.now);
        (!wait.is_negative()).then(|| format!("next look in {}", span(wait)))
    }

    /// The repository's URL, if it is one that a browser may follow.
    fn link(&self) -> Option<&str> {
        let url = self.board.source.url.as_str();
        (url.starts_with("https://") || url.starts_with("http://")).then_some(url)
    }
}

fn page(template: &impl Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the page could not be rendered: {error}"))
    })?;
    Ok(Html(html).into_response())
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    shell: Option<Shell>,
    problem: &'a Problem,
}

/// A problem for a person; keeps the headers that its status needs.
pub(super) fn problem(web: &Web, problem: &Problem, headers: &HeaderMap) -> Response {
    let known = !matches!(problem.status, 401 | 405 | 413 | 421);
    // Who may not look sees nothing of what there is, not even whether it is well.
    let shell = known.then(|| Shell::new(web, "", problem.title.clone()));
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let Ok(html) = (ProblemPage { shell, problem }).render() else {
        return (status, problem.detail.clone()).into_response();
    };
    let mut response = (status, Html(html)).into_response();
    for name in [header::ALLOW, header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    problem.keep(&mut response);
    response
}

/// The mark of the whole as the tab's icon; the same shapes as on the page.
pub(super) async fn favicon(Path(file): Path<String>, State(_): State<Arc<Web>>) -> Result<Response, Problem> {
    let name = file.strip_suffix(".svg").unwrap_or(&file);
    let (colour, shape) = match name {
        "fine" => ("#1a7f4b", "<path d='m10 16.5 4 4 8.5-9'/>"),
        "progressing" => ("#2f6feb", "<path d='M9 12l7-5 7 5M9 20l7-5 7 5'/>"),
        "held" => ("#9a6700", "<path d='M12 10v12M20 10v12'/>"),
        "degraded" => ("#c9252d", "<path d='M16 8v10M16 23v.5'/>"),
        "unknown" => ("#6b7280", "<path d='M12 12a4 4 0 1 1 5.5 3.7c-1 .5-1.5 1.3-1.5 2.3M16 23v.5'/>"),
        _ => return Err(Problem::not_found("there is no such picture")),
    };
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='9' fill='{colour}'/>\
         <g fill='none' stroke='#fff' stroke-width='3.4' stroke-linecap='round' stroke-linejoin='round'>{shape}</g></svg>"
    );
    Ok(([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=60")], svg).into_response())
}
