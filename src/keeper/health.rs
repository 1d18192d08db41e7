//! One look at whether an instance works: by http, tcp or command. What follows from it is the supervisor's affair.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{AppSpec, HealthCheck, Period, Probe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::Launching;
use super::tasks::Tasks;
use crate::launch::Orders;

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
pub(super) async fn http(address: SocketAddr, path: &str, timeout: Duration) -> Result<(), String> {
    let asked = format!("GET http://{address}{path}");
    match tokio::time::timeout(timeout, status(address, path)).await {
        Ok(Ok(200..=399)) => Ok(()),
        Ok(Ok(status)) => Err(format!("{asked} answered {status}")),
        Ok(Err(error)) => Err(format!("{asked}: {error}")),
        Err(_) => Err(format!("{asked} did not answer within {timeout:?}")),
    }
}

async fn status(address: SocketAddr, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: codeops\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200` is all that counts.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let text = std::str::from_utf8(&head).unwrap_or_default();
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)?.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// The instance's port accepts a connection.
///
/// # Errors
/// In one sentence.
pub(super) async fn tcp(address: SocketAddr, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("connecting to {address}: {error}")),
        Err(_) => Err(format!("{address} did not accept a connection within {timeout:?}")),
    }
}

/// The command exits 0. It is killed with its group when its time is up, or when this is dropped.
///
/// # Errors
/// In one sentence; no argument is shown.
pub(super) async fn command(orders: &Orders, timeout: Duration, reapers: &Arc<Tasks>) -> Result<(), String> {
    let program = orders.command.first().map_or("", String::as_str);
    let null = || std::fs::OpenOptions::new().write(true).open("/dev/null");
    let started = null().and_then(|out| Launching::new(out, null()?, reapers)?.go(orders));
    let process = started.map_err(|error| format!("the health command {program} cannot be started: {error}"))?;
    match process.within(timeout).await {
        Some(exit) if exit.is_success() => Ok(()),
        Some(exit) => Err(format!("the health command {program} {exit}")),
        None => Err(format!("the health command {program} did not end within {timeout:?}")),
    }
}
