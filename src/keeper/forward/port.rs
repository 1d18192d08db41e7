//! The stable port: bound as the app's spec says, changed without a gap, tried again while another process holds it, and
//! given up where it is another app's by now.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{AppSpec, FieldDrift, Protocol};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::claim::{Claim, waiting};
use super::clients::Clients;
use super::http::{self, Forwarder};
use super::prompt::Prompt;
use super::rotation::Rotation;
use super::tcp;
use crate::base::complain;
use crate::keeper::descriptors;
use crate::keeper::table::Table;
use crate::keeper::tasks::Tasks;

/// How soon a port that is held is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long to wait when no descriptor is left to accept with.
const EXHAUSTED: Duration = Duration::from_millis(50);
const BACKLOG: u32 = 1024;
const NOTE: &str = "port";

/// What the port should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::keeper) struct Stable {
    /// The app's name, for answers.
    pub(in crate::keeper) app: Arc<str>,
    /// Where.
    pub(in crate::keeper) address: SocketAddr,
    /// How.
    pub(in crate::keeper) protocol: Protocol,
}

impl Stable {
    /// What `spec` says, if it has a port.
    pub(in crate::keeper) fn of(app: &str, spec: &AppSpec) -> Option<Self> {
        let port = spec.port?;
        Some(Self { app: app.into(), address: (spec.bind, port.number).into(), protocol: port.protocol })
    }
}

/// Everything one app's port needs.
struct Owner {
    table: Arc<Table>,
    rotation: Arc<Rotation>,
    connections: Arc<Tasks>,
    clients: Arc<Clients>,
    /// Connections to instances; they end with the requests on them.
    instances: Arc<Tasks>,
    closing: CancellationToken,
    listener: Option<TcpListener>,
    bound: Option<Stable>,
    failed: bool,
    /// That it waits for a port, said to whoever holds that.
    claim: Option<Claim>,
}

/// Owns the port until `closing` is cancelled. Then connections finish what is in flight, at most `patience`, and the
/// listener, still open, is given back.
pub(in crate::keeper) async fn own(
    table: Arc<Table>,
    rotation: Arc<Rotation>,
    mut wish: watch::Receiver<Option<Stable>>,
    inherited: Option<TcpListener>,
    closing: CancellationToken,
    patience: Duration,
) -> Option<TcpListener> {
    let mut owner = Owner {
        table,
        rotation,
        connections: Arc::default(),
        clients: Clients::new(descriptors::clients()),
        instances: Arc::default(),
        closing: closing.clone(),
        listener: inherited,
        bound: None,
        failed: false,
        claim: None,
    };
    let wanted = wish.borrow_and_update().clone();
    owner.follow(wanted);
    loop {
        tokio::select! {
            accepted = accept(owner.listener.as_ref(), &owner.clients) => match accepted {
                Ok((stream, peer)) => owner.serve(stream, peer),
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
            changed = wish.changed() => {
                if changed.is_err() { break }
                let wanted = wish.borrow_and_update().clone();
                owner.follow(wanted);
            }
            () = given(owner.claim.as_ref()) => {
                let wanted = wish.borrow().clone();
                owner.follow(wanted);
            }
            () = tokio::time::sleep(AGAIN), if owner.failed => {
                let wanted = wish.borrow().clone();
                owner.follow(wanted);
            }
            () = closing.cancelled() => break,
        }
    }
    if !owner.connections.drain(patience).await {
        let seconds = patience.as_secs();
        complain(format_args!(
            "codeops keeper: requests and upgraded connections that did not end within {seconds} s were cut"
        ));
    }
    owner.instances.drain(Duration::ZERO).await;
    owner.listener
}

async fn accept(listener: Option<&TcpListener>, clients: &Clients) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => {
            clients.room().await;
            listener.accept().await
        }
        None => std::future::pending().await,
    }
}

async fn given(claim: Option<&Claim>) {
    match claim {
        Some(claim) => claim.given().await,
        None => std::future::pending().await,
    }
}

impl Owner {
    /// Binds what is wanted before it lets go of what was, unless somebody waits for that.
    fn follow(&mut self, wanted: Option<Stable>) {
        let here = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let Some(wanted) = wanted else {
            self.bound = None;
            self.let_go(here);
            return self.report(None, None);
        };
        if here == Some(wanted.address) {
            self.bound = Some(wanted);
            return self.report(here, None);
        }
        // On another address of the same machine its own listener is in its way.
        if here.is_some_and(|here| here.port() == wanted.address.port()) {
            self.listener = None;
        }
        match bind(wanted.address) {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(wanted.address);
                self.bound = Some(wanted);
                self.let_go(here);
                self.listener = Some(listener);
                self.report(Some(address), None);
            }
            Err(error) => {
                self.wait_for(&wanted, &error);
                let here = self.keep(here);
                self.report(here, Some(&(wanted, error)));
            }
        }
    }

    /// Closes the port that it had, and tells who waits for it.
    fn let_go(&mut self, port: Option<SocketAddr>) {
        self.listener = None;
        drop(port.and_then(|port| waiting(port.port())));
    }

    fn wait_for(&mut self, wanted: &Stable, error: &io::Error) {
        let port = wanted.address.port();
        if error.kind() == io::ErrorKind::AddrInUse && self.claim.as_ref().is_none_or(|claim| claim.port != port) {
            // Where another one waits for it too, it is tried again all the same.
            self.claim = Claim::new(port).ok();
        }
    }

    /// Keeps the port that it had, which it is to have no longer, until another one waits for that; where it listens now.
    fn keep(&mut self, here: Option<SocketAddr>) -> Option<SocketAddr> {
        let here = here?;
        if self.listener.is_none() {
            self.listener = bind(here).ok();
        } else if let Some(waiting) = waiting(here.port()) {
            (self.listener, self.bound) = (None, None);
            drop(waiting);
        }
        self.listener.as_ref().map(|_| here)
    }

    fn report(&mut self, address: Option<SocketAddr>, failure: Option<&(Stable, io::Error)>) {
        let (mut notes, mut drift) = (Vec::new(), Vec::new());
        if let Some((wanted, error)) = failure {
            let port = wanted.address.port();
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => format!("port {port} is held by another process"),
                _ => format!("cannot listen on {}: {error}", wanted.address),
            };
            let found = address.map_or(serde_json::Value::Null, |address| address.port().into());
            let (field, waits) = ("port.number".to_owned(), Some(why.clone()));
            drift.push(FieldDrift { field, expected: port.into(), found, waits });
            notes.push(why);
        }
        self.failed = failure.is_some();
        if failure.is_none() {
            self.claim = None;
        }
        let address = address.map(|address| address.to_string());
        let same = self.table.read(|all| {
            all.volatile.address == address
                && all.volatile.drift == drift
                && all.volatile.notes.get(NOTE).map_or(&[][..], Vec::as_slice) == notes
        });
        if !same {
            self.table.note(|volatile| {
                volatile.address = address;
                volatile.drift = drift;
                volatile.notes.insert(NOTE.to_owned(), notes);
            });
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(bound) = &self.bound else { return };
        let stream = Prompt::new(stream);
        let (rotation, client) = (self.rotation.clone(), self.clients.take_in());
        match bound.protocol {
            Protocol::Http => {
                let forwarder = Forwarder { app: bound.app.clone(), rotation, tasks: self.instances.clone(), client };
                self.connections.spawn(http::serve(forwarder, stream, peer, self.closing.clone()));
            }
            Protocol::Tcp => self.connections.spawn(tcp::serve(rotation, stream, client.busy())),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
