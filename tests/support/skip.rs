//! Skips a test, with a printed reason, where a machine cannot do what it needs. In CI every part is installed, so there that
//! is a failure.

/// See the module.
pub(crate) fn skip(why: &str) {
    #[expect(clippy::disallowed_methods, reason = "how CI says that it is CI")]
    let in_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
    assert!(!in_ci, "skipped in CI: {why}");
    codeops::base::complain(format_args!("skipped: {why}"));
}
