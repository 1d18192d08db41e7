//! What a file declares, by its heads alone: of one that was there before nothing else is asked.

use std::collections::BTreeSet;

use super::file::{Class, class};
use crate::desired::kinds::header::{Head, head};
use crate::desired::text::read::Reader;
use crate::desired::text::yaml;
use crate::model::ResourceId;

/// What a file of this path and text declares, or as an overlay changes; `None` where that cannot be known.
pub fn declared_in(path: &str, bytes: &[u8]) -> Option<BTreeSet<ResourceId>> {
    if !matches!(class(path), Class::Manifest | Class::Overlay(_)) {
        return Some(BTreeSet::new());
    }
    let mut ids = BTreeSet::new();
    for raw in yaml::documents(std::str::from_utf8(bytes).ok()?) {
        let root = raw.root.filter(|_| raw.error.is_none())?;
        match head(&root, &mut Reader::new(Vec::new())) {
            Head::Known { header, .. } => ids.extend(header.kind.resource(&header.name.value)),
            Head::NotBuilt => {}
            Head::Nameless { .. } | Head::Unknown => return None,
        }
    }
    Some(ids)
}
