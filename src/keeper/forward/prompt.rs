//! A connection that acknowledges what it has read at once. Whoever writes a head and then a body, and lets the second wait until
//! the first is acknowledged, would wait for 40 ms at each message: a connection that is used again acknowledges late.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// See above.
#[derive(Debug)]
pub(super) struct Prompt {
    stream: TcpStream,
    /// Whether something was read that may not be acknowledged.
    owes: bool,
}

impl Prompt {
    /// Of a stream; what it writes waits for nothing, too. Where either cannot be set nothing breaks.
    pub(super) fn new(stream: TcpStream) -> Self {
        drop(stream.set_nodelay(true));
        Self { stream, owes: false }
    }
}

impl AsyncRead for Prompt {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() && std::mem::take(&mut self.owes) {
            // It holds until the next answer is sent, so it is asked for each time that more is waited for.
            drop(self.stream.set_quickack(true));
        }
        ready!(read)?;
        self.owes |= buffer.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_read_is_acknowledged_before_more_is_waited_for_on_a_connection_that_is_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut here, (mut there, _)) = (Prompt::new(here.expect("connected")), there.expect("accepted"));
        let mut bytes = [0; 4];
        for _request in 0..20 {
            here.write_all(b"head").await.expect("sent");
            there.read_exact(&mut bytes).await.expect("received");
            there.write_all(b"head").await.expect("sent");
            here.read_exact(&mut bytes).await.expect("received");
            let waits = std::future::poll_fn(|cx| {
                let mut more = [0; 4];
                Poll::Ready(Pin::new(&mut here).poll_read(cx, &mut ReadBuf::new(&mut more)).is_pending())
            });
            assert!(waits.await, "the body waits for the head's acknowledgement");
            assert!(here.stream.quickack().expect("known"));
        }
    }
}
