//! Grafana's webhook: an Alertmanager's, called version 1, with fields of its own that are passed over.

use super::alertmanager::parse_version;
use super::{Malformed, Parsed};

pub(super) fn parse(body: &[u8]) -> Result<Parsed, Malformed> {
    parse_version(body, "1", "the body is not a Grafana webhook of version 1")
}
