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
