//! A reader of what an archive unpacks to that counts every byte, also those that become no file: headers, padding, and what is
//! skipped. Knows no archive format.

use std::error::Error;
use std::io::{self, Read};

use super::{ArtifactError, Progress};

/// Ends with an error after so many bytes, and when nobody wants them any more.
pub(super) struct Bounded<'p, R> {
    inner: R,
    left: u64,
    progress: &'p Progress,
}

impl<'p, R> Bounded<'p, R> {
    pub(super) fn new(inner: R, most: u64, progress: &'p Progress) -> Self {
        Self { inner, left: most, progress }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_given_up() {
            return Err(io::Error::other(ArtifactError::Transient("nobody wants the artifact any more".to_owned())));
        }
        let count = self.inner.read(buffer)?;
        self.progress.unpacks(count as u64);
        let too_much = || ArtifactError::Refused("the artifact unpacks to far more than it may".to_owned());
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(too_much()))?;
        Ok(count)
    }
}

/// The error with which a [`Bounded`] ended, whatever was put around it by those who read from it.
pub(super) fn ended(error: &io::Error) -> Option<ArtifactError> {
    let mut next: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = next {
        if let Some(ended) = error.downcast_ref::<ArtifactError>() {
            return Some(ended.clone());
        }
        // An I/O error tells the source of what it carries, and not what it carries.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = carried.map(|inner| inner as _).or_else(|| error.source());
    }
    None
}
