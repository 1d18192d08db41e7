//! A connection to a mail server on which that says no more than it may: lettre reads a line to its end, however long it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::Error;
#[expect(deprecated, reason = "nothing else makes TLS over a stream of ours")]
use lettre::transport::smtp::client::AsyncNetworkStream;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, Tls};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a server may say on one connection, in bytes: certificates, and some answers of 100 KB at most.
const MOST: usize = 256 << 10;

/// Greets the server over this stream, which is made private as `tls` says.
pub(super) async fn greet(stream: TcpStream, tls: &Tls) -> Result<AsyncSmtpConnection, Error> {
    let hello = ClientId::Domain("codeops.invalid".to_owned());
    let bounded = Box::new(Bounded { stream, left: MOST });
    let stream: Box<dyn AsyncTokioStream> = match tls {
        Tls::Wrapper(parameters) => {
            let mut whole = private(bounded);
            whole.0.upgrade_tls(parameters.clone()).await?;
            Box::new(whole)
        }
        _ => bounded,
    };
    let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &hello).await?;
    match tls {
        Tls::Opportunistic(parameters) if connection.can_starttls() => {
            connection.starttls(parameters.clone(), &hello).await?;
        }
        Tls::Required(parameters) => connection.starttls(parameters.clone(), &hello).await?,
        _ => {}
    }
    Ok(connection)
}

#[expect(deprecated, reason = "nothing else makes TLS over a stream of ours")]
fn private(stream: Box<Bounded>) -> Private {
    Private(AsyncNetworkStream::use_existing_tokio1(stream))
}

/// Ends with an error once more was read than may be.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let Some(left) = self.left.checked_sub(into.filled().len() - before) else {
            into.set_filled(before);
            let why = format!("it said more than {} KiB", MOST >> 10);
            return Poll::Ready(Err(io::Error::other(why)));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

/// TLS from the first byte.
#[derive(Debug)]
#[expect(deprecated, reason = "nothing else makes TLS over a stream of ours")]
struct Private(AsyncNetworkStream);

impl AsyncRead for Private {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = Pin::new(&mut self.0);
        let read = ready!(futures_util::io::AsyncRead::poll_read(inner, cx, into.initialize_unfilled()))?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Private {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        futures_util::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_util::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_util::io::AsyncWrite::poll_close(Pin::new(&mut self.0), cx)
    }
}

impl AsyncTokioStream for Private {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}
