//! Every kind of manifest as it is written: each field with its place. It looks at one document, never at another.

pub(super) mod app;
pub(super) mod app_parts;
pub(super) mod header;
pub(super) mod people;
pub(super) mod people_channels;
pub(super) mod playbook;
pub(super) mod playbook_does;
pub(super) mod playbook_http;
pub(super) mod playbook_steps;
pub(super) mod playbook_test;
pub(super) mod response;
pub(super) mod routing;
pub(super) mod texts;
pub(super) mod variables;
