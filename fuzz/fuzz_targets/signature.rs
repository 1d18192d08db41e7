//! One input as an `allowed_signers` file and as a signature. Used by the fuzz target and by the tests.

/// A key whose private half nobody has at hand.
const KEY: &str = "ada ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// What bytes from outside must come to: an answer, and never a signer.
pub(crate) fn never_signed(input: &[u8]) {
    let _ = codeops::source::Signers::parse(&String::from_utf8_lossy(input));
    let signers = codeops::source::Signers::parse(KEY).expect("the key is good");
    assert!(signers.verify(input, b"a commit that nobody signed", jiff::Timestamp::UNIX_EPOCH).is_err());
    let _ = codeops::source::trailers(&String::from_utf8_lossy(input));
}
