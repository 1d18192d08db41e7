//! A manifest on its way through resolving: its parts, its sources, and whether and why it is held.

use std::sync::Arc;

use crate::model::{Place, ResourceId};

use crate::desired::files::file::ParsedFile;
use crate::desired::kinds::app::AppManifest;
use crate::desired::kinds::header::Header;
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::mistakes::Mistakes;
use crate::desired::text::tree::{Source, Span};

/// One app, its overlay merged in.
#[derive(Debug)]
pub(crate) struct Unit {
    pub id: ResourceId,
    pub header: Header,
    /// Where the manifest begins.
    pub begin: Span,
    pub app: Arc<AppManifest>,
    pub base: Arc<ParsedFile>,
    /// The overlay's file.
    pub overlay: Option<Arc<ParsedFile>>,
    /// Why it keeps what it has; `None` while all is well.
    pub held: Option<String>,
}

impl Unit {
    /// Notes a mistake at a span of the manifest or, by its layer, of the overlay, and holds the resource.
    pub(crate) fn error(&mut self, found: &mut Mistakes, span: Span, message: String, help: Option<String>) {
        if self.held.is_some() && !found.takes(&self.source(span).path) {
            return;
        }
        let diagnostic = Diagnostic::error(self.source(span), span, message, help);
        self.hold(diagnostic.why());
        found.push(diagnostic);
    }

    /// Notes what is no mistake and worth a word, at a span like [`Unit::error`]'s; it holds nothing.
    pub(crate) fn warning(&self, found: &mut Mistakes, span: Span, message: String, help: Option<String>) {
        let told = Diagnostic::error(self.source(span), span, message, help);
        found.push(Diagnostic { severity: Severity::Warning, ..told });
    }

    /// Holds the resource; the first reason stays.
    pub(crate) fn hold(&mut self, why: String) {
        self.held.get_or_insert(why);
    }

    /// The place of a span.
    pub(crate) fn place(&self, span: Span) -> Place {
        self.source(span).place(span)
    }

    /// Whether a span is at `place`; the same as comparing with [`Unit::place`], without making one.
    pub(crate) fn stands_at(&self, span: Span, place: &Place) -> bool {
        (place.line, place.column) == (span.line, span.column) && *place.file == *self.source(span).path
    }

    fn source(&self, span: Span) -> &Source {
        source(&self.base, self.overlay.as_deref(), span)
    }
}

/// The file that a span of a manifest with its overlay merged in stands in.
pub(crate) fn source<'m>(base: &'m ParsedFile, overlay: Option<&'m ParsedFile>, span: Span) -> &'m Source {
    match overlay {
        Some(overlay) if span.layer == 1 => &overlay.source,
        _ => &base.source,
    }
}
