//! The shape of one alert that Alertmanager, Prometheus, Grafana and our own generic format share.

use std::collections::BTreeMap;

use codeops_core::model::{bounded_annotations, bounded_labels, web_url};
use jiff::Timestamp;
use serde::Deserialize;

use super::told::{State, Told};

/// One alert as it stands in a body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireAlert<S = String> {
    #[serde(default = "nothing")]
    pub(super) status: Option<S>,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

impl<S> WireAlert<S> {
    /// When it ended or is to end; Go's zero time is none.
    pub(super) fn ends_at(&self) -> Result<Option<Timestamp>, &'static str> {
        self.ends_at.as_deref().map_or(Ok(None), time)
    }

    /// What it tells when it is in this state.
    pub(super) fn tell(self, state: State) -> Result<Told, &'static str> {
        Ok(Told {
            starts_at: self.starts_at.as_deref().map_or(Ok(None), time)?,
            labels: bounded_labels(self.labels)?,
            annotations: bounded_annotations(self.annotations.unwrap_or_default()),
            url: self.generator_url.as_deref().and_then(web_url),
            identity: None,
            said_at: None,
            state,
        })
    }
}

impl WireAlert {
    /// What it tells by its own `status`; one without a status fires.
    pub(super) fn tell_by_status(self) -> Result<Told, &'static str> {
        let ended_at = self.ends_at()?;
        let state = match self.status.as_deref() {
            None | Some("firing") => State::Firing { expires_at: None },
            Some("resolved") => State::Resolved { ended_at },
            Some(_) => return Err("its status is neither `firing` nor `resolved`"),
        };
        self.tell(state)
    }
}

fn nothing<S>() -> Option<S> {
    None
}

/// Where the year 9999 begins: with it people mean never, and the calendar ends.
const NEVER: Timestamp = Timestamp::constant(253_370_764_800, 0);

/// Whether it is a time at which something can have begun or will end.
pub(super) fn is_meant(at: &Timestamp) -> bool {
    *at > Timestamp::UNIX_EPOCH && *at < NEVER
}

/// A time in RFC 3339; the zero time of Go, never, and nothing, are none.
pub(super) fn time(text: &str) -> Result<Option<Timestamp>, &'static str> {
    if text.is_empty() || text.starts_with("9999-") {
        return Ok(None);
    }
    let at: Timestamp = text.parse().map_err(|_| "a time in it is not RFC 3339")?;
    Ok(Some(at).filter(is_meant))
}
