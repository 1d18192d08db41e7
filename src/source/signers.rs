//! Who may sign commits: an `allowed_signers` file as `ssh-keygen(1)` describes it, and the check of one signature.
//!
//! SSH signatures only (ed25519 and ecdsa-p256, also from security keys). Pure: bytes come in, a principal or a reason goes out.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use codeops_core::config::SignerSettings;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::public::KeyData;
use ssh_key::{PublicKey, SshSig};

use super::SourceError;
use super::text::clean;

/// The namespace git signs in.
const NAMESPACE: &str = "git";
/// More is not an `allowed_signers` file.
const FILE_BYTES: u64 = 1 << 20;

/// The file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers(Vec<Signer>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signer {
    principal: String,
    key: KeyData,
    namespaces: Option<Vec<String>>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Signers {
    /// Reads the file named in the settings.
    ///
    /// # Errors
    /// It cannot be read, is too big, or a line is not understood: nobody is trusted by guessing.
    pub(super) fn read(settings: &SignerSettings) -> Result<Self, SourceError> {
        let fail = |why: String| SourceError(format!("repository.signers: `{}`: {why}", settings.file));
        let mut text = String::new();
        fs::File::open(Path::new(&settings.file))
            .and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| fail(format!("{error}; give a readable allowed_signers file")))?;
        if text.len() as u64 > FILE_BYTES {
            return Err(fail("it is bigger than 1 MiB".to_owned()));
        }
        Self::parse(&text).map_err(fail)
    }

    /// Reads the text of an `allowed_signers` file. Times without `Z` are taken as UTC.
    ///
    /// # Errors
    /// The first line that is not understood, by number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut signers = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            signers.push(parse_line(line).map_err(|why| format!("line {}: {why}", number + 1))?);
        }
        if signers.is_empty() {
            return Err("it names no signer: add a line such as `alice@acme.example ssh-ed25519 AAAA…`".to_owned());
        }
        Ok(Self(signers))
    }

    /// The principal whose key made this signature over these bytes, or why it does not count. `at` is when the commit
    /// says it was made; keys are valid or not at that time, as in git itself.
    pub fn verify(&self, signature: &[u8], signed: &[u8], at: Timestamp) -> Result<String, String> {
        let armor = signature.trim_ascii_start();
        if armor.starts_with(b"-----BEGIN PGP") {
            return Err("is signed with GPG, and only SSH signatures are verified".to_owned());
        }
        if !armor.starts_with(b"-----BEGIN SSH SIGNATURE") {
            return Err("carries a signature that is not an SSH signature".to_owned());
        }
        let signature = SshSig::from_pem(signature).map_err(|_| "carries an SSH signature that cannot be read")?;
        let key = signature.public_key();
        let known: Vec<&Signer> = self.0.iter().filter(|signer| signer.key == *key).collect();
        if known.is_empty() {
            let fingerprint = key.fingerprint(ssh_key::HashAlg::Sha256);
            return Err(format!("is signed with the key {fingerprint}, which repository.signers does not name"));
        }
        PublicKey::from(key.clone())
            .verify(NAMESPACE, signed, &signature)
            .map_err(|_| "carries a signature that does not fit its content")?;
        known
            .iter()
            .find(|signer| signer.counts(at))
            .map(|signer| signer.principal.clone())
            .ok_or_else(|| format!("is signed by {} with a key not valid for git at that time", known[0].principal))
    }
}

impl Signer {
    fn counts(&self, at: Timestamp) -> bool {
        let space = self.namespaces.as_ref().is_none_or(|spaces| spaces.iter().any(|space| matches_git(space)));
        space && self.after.is_none_or(|after| at >= after) && self.before.is_none_or(|before| at < before)
    }
}

/// Whether a namespace pattern covers `git`; `*` is the only wildcard that is understood.
fn matches_git(pattern: &str) -> bool {
    pattern == NAMESPACE || pattern == "*"
}

fn parse_line(line: &str) -> Result<Signer, String> {
    let (principals, rest) = word(line)?;
    let (first, after_first) = word(rest)?;
    let mut signer = Signer {
        principal: clean(principals.trim_matches('"'), 200),
        key: KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([0; 32])),
        namespaces: None,
        after: None,
        before: None,
    };
    let mut rest = rest;
    if !is_key_type(first) {
        options(first, &mut signer)?;
        rest = after_first;
    }
    let mut parts = rest.split_whitespace();
    let (Some(kind), Some(base64)) = (parts.next(), parts.next()) else {
        return Err("expected `principals [options] keytype base64-key`".to_owned());
    };
    let key = PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|error| format!("the key: {error}"))?;
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(_)) => {}
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {}
        _ => return Err(format!("keys of type {kind} are not verified: use ed25519 or ecdsa-sha2-nistp256")),
    }
    signer.key = key.key_data().clone();
    Ok(signer)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start))
}

/// The first word, which may hold quoted white space, and what follows.
fn word(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return Ok((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    Err("expected `principals [options] keytype base64-key`".to_owned())
}

fn options(text: &str, signer: &mut Signer) -> Result<(), String> {
    for option in split_unquoted(text) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => signer.namespaces = Some(value.split(',').map(|space| space.trim().to_owned()).collect()),
            "valid-after" => signer.after = Some(time(value)?),
            "valid-before" => signer.before = Some(time(value)?),
            "cert-authority" => return Err("certificates are not verified: name the keys themselves".to_owned()),
            other => return Err(format!("unknown option `{}`", clean(other, 40))),
        }
    }
    Ok(())
}

fn split_unquoted(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without `Z`.
fn time(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let whole = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        _ => digits.to_owned(),
    };
    DateTime::strptime("%Y%m%d%H%M%S", &whole)
        .and_then(|at| at.to_zoned(TimeZone::UTC))
        .map(|zoned| zoned.timestamp())
        .map_err(|_| format!("`{}` is not a time such as 20261120 or 20261120083000Z", clean(text, 40)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    /// Over `testing`, in the namespace `example`, by [`KEY`].
    const FOREIGN_NAMESPACE: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgsz6u836i33yqAQ3v3qNOJB9l8b
UppPQ+0UMn9cVKq2IAAAAHZXhhbXBsZQAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQy
NTUxOQAAAEBPEav+tMGNnox4MuzM7rlHyVBajCn8B0kAyiOWwPKprNsG3i6X+voz/WCSik
/FowYwqhgCABUJSvRX3AERVBUP
-----END SSH SIGNATURE-----
";

    #[test]
    fn the_file_is_read_as_ssh_keygen_does() {
        let text = format!(
            "# who\n\nalice@acme.example,ally {KEY} laptop\nbob namespaces=\"git,file\",valid-after=\"20260101\",valid-before=\"202701010000Z\" {KEY}\n"
        );
        let signers = Signers::parse(&text).expect("good");
        assert_eq!(signers.0.len(), 2);
        let bob = &signers.0[1];
        assert!(bob.counts("2026-06-01T00:00:00Z".parse().expect("a time")));
        assert!(!bob.counts("2025-06-01T00:00:00Z".parse().expect("a time")));
        assert!(!bob.counts("2027-01-01T00:00:00Z".parse().expect("a time")));
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error_with_its_number() {
        for line in ["alice", "alice ssh-ed25519 AAAA", &format!("ca cert-authority {KEY}"), &format!("a magic {KEY}")]
        {
            let error = Signers::parse(&format!("# first\n{line}\n")).expect_err(line);
            assert!(error.starts_with("line 2: "), "{error}");
        }
        assert!(Signers::parse("# nobody\n").is_err());
    }

    #[test]
    fn a_signature_made_for_something_else_does_not_count() {
        let signers = Signers::parse(&format!("alice {KEY}")).expect("good");
        let error =
            signers.verify(FOREIGN_NAMESPACE.as_bytes(), b"testing", Timestamp::UNIX_EPOCH).expect_err("foreign");
        assert!(error.contains("does not fit"), "{error}");
        let error = signers.verify(b"-----BEGIN PGP SIGNATURE-----", b"x", Timestamp::UNIX_EPOCH).expect_err("gpg");
        assert!(error.contains("GPG"), "{error}");
    }

    proptest! {
        #[test]
        fn junk_is_refused_and_never_panics(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Signers::parse(&text);
            let signers = Signers::parse(&format!("alice {KEY}")).expect("good");
            let mut armored = b"-----BEGIN SSH SIGNATURE-----\n".to_vec();
            armored.extend(&bytes);
            prop_assert!(signers.verify(&armored, b"x", Timestamp::UNIX_EPOCH).is_err());
            prop_assert!(signers.verify(&bytes, b"x", Timestamp::UNIX_EPOCH).is_err());
        }
    }
}
