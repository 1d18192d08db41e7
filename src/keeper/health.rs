//! One look at whether an instance works: by http, tcp or command. What follows from it is the supervisor's affair.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{AppSpec, HealthCheck, Period, Probe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::descriptors::is_want;
use super::logs::Said;
use super::process::Launching;
use super::tasks::Tasks;
use super::wire::Confidential;
use crate::launch::Orders;

/// The most of an answer that is read after its status.
const MOST_DRAINED: u64 = 64 << 10;
/// How long an app may take to end its answer once it has told its status: one that keeps the connection open all the same
/// must not slow its checks down.
const DRAIN: Duration = Duration::from_millis(200);

/// A health check, or what stands for one that is not declared.
pub(super) struct Check {
    /// `None`: there is nothing to ask.
    pub(super) probe: Option<Probe>,
    /// Between two looks.
    pub(super) interval: Period,
    /// Of one look.
    pub(super) timeout: Period,
    /// Until the first success.
    pub(super) start_timeout: Period,
    /// In a row, before it counts.
    pub(super) failures: u32,
}

/// Why a look found no working instance.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It does not work, in one sentence.
    Unwell(String),
    /// It could not be asked: this machine has run out of something. Says nothing of the instance.
    NotAsked(String),
}

impl Failed {
    /// After an error in asking.
    fn asking(error: &io::Error, why: String) -> Self {
        if is_want(error) { Self::NotAsked(why) } else { Self::Unwell(why) }
    }
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Unwell(why)
    }
}

/// The check of a spec.
pub(super) fn check_of(spec: &AppSpec) -> Check {
    match spec.health.clone() {
        Some(HealthCheck { probe, interval, timeout, start_timeout, failures }) => {
            Check { probe: Some(probe), interval, timeout, start_timeout, failures }
        }
        None => Check {
            probe: spec.port.map(|_| Probe::Tcp),
            interval: Period::from_secs(2),
            timeout: Period::from_secs(1),
            start_timeout: Period::from_secs(60),
            failures: 3,
        },
    }
}

/// `GET path` on the instance's port; 200 to 399 is well.
///
/// # Errors
/// In one sentence.
pub(super) async fn http(address: SocketAddr, path: &str, timeout: Duration) -> Result<(), Failed> {
    let asked = format!("GET http://{address}{path}");
    let (status, rest) = match tokio::time::timeout(timeout, status(address, path)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return Err(Failed::asking(&error, format!("{asked}: {error}"))),
        Err(_) => return Err(format!("{asked} did not answer within {timeout:?}").into()),
    };
    // The status has been told; how the rest comes changes nothing about it.
    let _ = tokio::time::timeout(timeout.min(DRAIN), drain(rest)).await;
    match status {
        200..=399 => Ok(()),
        status => Err(format!("{asked} answered {status}").into()),
    }
}

/// Reads what follows the status to its end, or to the most that is read: an end that was not read would reach the app as a
/// reset connection.
async fn drain(stream: TcpStream) -> io::Result<u64> {
    tokio::io::copy(&mut stream.take(MOST_DRAINED), &mut tokio::io::sink()).await
}

async fn status(address: SocketAddr, path: &str) -> io::Result<(u16, TcpStream)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: codeops\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200` is all that counts.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let text = std::str::from_utf8(&head).unwrap_or_default();
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
    Ok((status, stream))
}

/// The instance's port accepts a connection.
///
/// # Errors
/// In one sentence.
pub(super) async fn tcp(address: SocketAddr, timeout: Duration) -> Result<(), Failed> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failed::asking(&error, format!("connecting to {address}: {error}"))),
        Err(_) => Err(format!("{address} did not accept a connection within {timeout:?}").into()),
    }
}

/// The command exits 0. It is killed with its group when its time is up, or when this is dropped.
///
/// # Errors
/// In one sentence, with the last lines that it wrote, without `secrets`; no argument is shown.
pub(super) async fn command(
    orders: &Orders,
    secrets: &Confidential,
    timeout: Duration,
    reapers: &Arc<Tasks>,
) -> Result<(), Failed> {
    let program = orders.command.first().map_or("", String::as_str);
    let start = || {
        let (said, out) = Said::new(orders.user.as_ref().map(|user| user.uid))?;
        let err = out.try_clone()?;
        Ok((Launching::new(out.into(), err.into(), reapers)?.go(orders)?, said))
    };
    let failed =
        |error: io::Error| Failed::asking(&error, format!("the health command {program} cannot be started: {error}"));
    let (process, mut said) = start().map_err(failed)?;
    let why = match said.beside(process.within(timeout)).await {
        Some(exit) if exit.is_success() => return Ok(()),
        Some(exit) => format!("the health command {program} {exit}"),
        None => format!("the health command {program} did not end within {timeout:?}"),
    };
    Err(said.last(secrets).told(why).into())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// An app that answers `body` once; whether the answer was read to its end.
    async fn asked(head: &str, body: usize) -> (Result<(), Failed>, io::Result<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {body}\r\n\r\n{}", "x".repeat(body));
        let app = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            // It may have heard enough before the end.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            // A connection that is closed with something unread in it is reset.
            stream.read(&mut request).await
        };
        tokio::join!(http(address, "/healthz", Duration::from_secs(10)), app)
    }

    #[tokio::test]
    async fn a_body_is_read_so_that_the_app_sees_no_reset() {
        for body in [0, 1, 5_000, 60_000] {
            let (result, end) = asked("200 OK", body).await;
            assert_eq!(result, Ok(()), "{body}");
            assert_eq!(end.ok(), Some(0), "{body}: the app saw a reset");
        }
        let (result, _) = asked("503 Service Unavailable", 100).await;
        assert!(matches!(result, Err(Failed::Unwell(why)) if why.ends_with("answered 503")));
    }

    #[test]
    fn want_of_descriptors_says_nothing_of_the_app() {
        use rustix::io::Errno;
        for want in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(matches!(Failed::asking(&want.into(), String::new()), Failed::NotAsked(_)), "{want}");
        }
        assert!(matches!(Failed::asking(&Errno::CONNREFUSED.into(), String::new()), Failed::Unwell(_)));
    }

    #[tokio::test]
    async fn a_body_without_end_neither_fails_nor_hangs_a_check() {
        let (result, _) = asked("200 OK", 100_000).await;
        assert_eq!(result, Ok(()));
    }
}
