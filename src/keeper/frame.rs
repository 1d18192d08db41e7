//! Frames: four bytes of big-endian length, then that many bytes of JSON, at most [`MAX`]. The keeper's and the daemon's
//! side share it; it knows nothing of what is said.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most bytes of JSON in one frame.
pub const MAX: usize = 1 << 20;

/// Why bytes are not a frame, or a value cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX`].
    #[error("a frame of {0} bytes is longer than the {MAX} that the wire allows")]
    TooLong(usize),
    /// Not the JSON of the message that was expected, which may be secret: no part of it is shown.
    #[error(
        "a frame is not a message of this wire (line {line}, column {column}); the other side may be of another version"
    )]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

impl From<serde_json::Error> for FrameError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed { line: error.line(), column: error.column() }
    }
}

/// One message as a frame.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > MAX {
        return Err(FrameError::TooLong(length));
    }
    let prefix = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?;
    frame[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame)
}

/// The first message in `bytes` and how many bytes it took; `None` while more bytes are needed.
///
/// # Errors
/// [`FrameError`]; nothing that follows can then be trusted.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, FrameError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = checked_length(*prefix)?;
    match rest.get(..length) {
        Some(body) => Ok(Some((serde_json::from_slice(body)?, 4 + length))),
        None => Ok(None),
    }
}

/// Reads one message; `None` when the other side hung up between two.
///
/// # Errors
/// [`FrameError`]. Not safe to cancel halfway: the rest of the stream is then garbage.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let length = checked_length(prefix)?;
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Writes one message.
///
/// # Errors
/// [`FrameError`].
pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    to.write_all(&encode(message)?).await?;
    Ok(to.flush().await?)
}

fn checked_length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use codeops_core::model::{Digest, Key, Secret};
    use proptest::prelude::*;

    use super::*;
    use crate::keeper::wire::{Confidential, FromKeeper, Hello, Request, ToKeeper};

    fn messages() -> impl Strategy<Value = ToKeeper> {
        let hello = (proptest::collection::vec(any::<u16>(), 0..4), any::<u64>())
            .prop_map(|(versions, epoch)| ToKeeper::Hello(Hello { versions, epoch }));
        let secrets = (any::<u64>(), proptest::collection::btree_map(".*", ".*", 0..4)).prop_map(|(id, plain)| {
            let secrets = Confidential(plain.into_iter().map(|(name, value)| (name, Secret::new(value))).collect());
            let template = Digest::of(&serde_json::json!(id));
            ToKeeper::Request { id, epoch: id / 2, request: Box::new(Request::Secrets { template, secrets }) }
        });
        let delete = (any::<u64>(), ".*").prop_map(|(id, key)| ToKeeper::Request {
            id,
            epoch: id,
            request: Box::new(Request::Delete { key: Key(key) }),
        });
        prop_oneof![hello, secrets, delete]
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard_in_order_however_it_is_cut(
            said in proptest::collection::vec(messages(), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes: Vec<u8> = said.iter().flat_map(|message| encode(message).expect("short")).collect();
            let (mut rest, mut heard) = (&bytes[..], Vec::new());
            while let Some((message, used)) = decode::<ToKeeper>(rest).expect("well formed") {
                heard.push(message);
                rest = &rest[used..];
            }
            prop_assert_eq!(&heard, &said);
            if !bytes.is_empty() {
                // A part of a stream is never taken for something else than its whole frames.
                let part = &bytes[..cut.index(bytes.len())];
                let mut at = 0;
                while let Some((message, used)) = decode::<ToKeeper>(&part[at..]).expect("well formed") {
                    prop_assert!(said.contains(&message));
                    at += used;
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_read_too_far(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, used))) = decode::<ToKeeper>(&bytes) {
                prop_assert!(used <= bytes.len());
            }
            let _ = decode::<FromKeeper>(&bytes);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        assert!(matches!(decode::<ToKeeper>(&[0xff, 0xff, 0xff, 0xff]), Err(FrameError::TooLong(_))));
        let delete = Request::Delete { key: Key("x".repeat(MAX)) };
        let long = ToKeeper::Request { id: 1, epoch: 1, request: Box::new(delete) };
        assert!(matches!(encode(&long), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn a_broken_message_is_not_quoted() {
        let body = br#"{"request":{"id":1,"epoch":1,"request":{"secrets":{"template":"hunter2"}}}}"#;
        let mut frame = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        let error = decode::<ToKeeper>(&frame).expect_err("no digest");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
