//! What several rooms need of disk, kernel and bytes, once: private files, random bytes, percent-encoding, which
//! files a team may name. It knows no room and keeps no state.

mod egress;
mod file;
mod give;
mod percent;
mod pieces;
mod remove;
pub mod request;
mod sealed;

pub use codeops_core::config::Egress;
pub use egress::{allows_file, file_refusal};
pub use file::{replace, write_private};
pub use give::give_folder;
pub use percent::percent_decoded;
pub use pieces::{Pieces, pieces};
pub use remove::remove_folder;
pub use sealed::Sealed;

use std::io::{self, Write as _};

/// A line on standard error. That it cannot be written, on a full disk or to a terminal that is closed, ends nothing.
pub fn complain(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Bytes from the kernel. Up to 256 it never gives fewer, and once the machine is up it never fails.
///
/// # Errors
/// The kernel has no random bytes, or gave fewer than asked for.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if got == N { Ok(bytes) } else { Err(io::Error::other("the system gave too few random bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
