//! The control socket: who may connect, one conversation a connection, state pushed after every change.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::client::{SOCKET, binary_id};
use super::frame::{self, FrameError};
use super::requests::handle;
use super::run::Keeper;
use super::tasks::Tasks;
use super::wire::{FromKeeper, Hello, ToKeeper, VERSION, Welcome};
use crate::base::complain;

/// How often it is looked whether the socket is still there.
const LOOK: Duration = Duration::from_secs(2);
/// Replies that may wait for a slow reader before its requests do.
const REPLIES: usize = 16;

/// The control socket, and which file it is.
pub(super) struct Socket {
    listener: UnixListener,
    file: (u64, u64),
}

/// Binds the socket in the working directory, 0600; the folder is closed to others before that.
///
/// # Errors
/// When it cannot be bound.
pub(super) fn bind() -> io::Result<Socket> {
    match fs::remove_file(SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            let listener = UnixListener::bind(SOCKET)?;
            fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o600))?;
            Ok(Socket { listener, file: file()? })
        }
    }
}

fn file() -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(SOCKET)?;
    Ok((meta.dev(), meta.ino()))
}

/// Serves until `closing` is cancelled. A socket that somebody took away is made again: nobody could reach this keeper, and
/// no other one comes while it holds the folder.
pub(super) async fn serve(keeper: Arc<Keeper>, mut socket: Socket, closing: CancellationToken) {
    let talks = Tasks::default();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tokio::select! {
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if may_talk(&stream) => {
                    talks.spawn(talk(keeper.clone(), stream, closing.clone()));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            _ = look.tick() => if file().ok() != Some(socket.file) {
                match bind() {
                    Ok(again) => (socket, told) = (again, false),
                    Err(error) if !told => {
                        complain(format_args!("codeops keeper: {SOCKET} is gone and cannot be made again: {error}"));
                        told = true;
                    }
                    Err(_) => {}
                }
            },
            () = closing.cancelled() => break,
        }
    }
    talks.drain(Duration::from_secs(1)).await;
}

fn may_talk(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// One conversation. Errors end it: there is nobody else to tell.
async fn talk(keeper: Arc<Keeper>, stream: UnixStream, closing: CancellationToken) {
    let (mut read, mut write) = stream.into_split();
    let Ok(Some(ToKeeper::Hello(hello))) = frame::read(&mut read).await else { return };
    let changes = keeper.table.watch();
    let greeting = match greet(&keeper, &hello).await {
        Ok(welcome) => FromKeeper::Welcome(Box::new(welcome)),
        Err(why) => FromKeeper::Refused { why },
    };
    let refused = matches!(greeting, FromKeeper::Refused { .. });
    if frame::write(&mut write, &greeting).await.is_err() || refused {
        return;
    }
    let (replies, waiting) = mpsc::channel(REPLIES);
    tokio::select! {
        heard = listen(&keeper, &mut read, replies) => drop(heard),
        told = tell(&keeper, &mut write, waiting, changes, &closing) => drop(told),
    }
    drop(write.shutdown().await);
}

async fn greet(keeper: &Keeper, hello: &Hello) -> Result<Welcome, String> {
    if !hello.versions.contains(&VERSION) {
        return Err(format!(
            "it speaks version {VERSION} of the keeper's wire and the daemon {:?}; run a codeops release between the two",
            hello.versions
        ));
    }
    // An older one is welcome too: it may look, and its state says who was here.
    let _ = keeper.table.admit(hello.epoch).await;
    if let Ok(here) = std::env::current_dir() {
        keeper.table.lies_in(None, &here);
    }
    Ok(Welcome {
        version: VERSION,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        binary: binary_id("/proc/self/exe".as_ref()).unwrap_or_default(),
        pid: std::process::id(),
        state: keeper.table.state(),
    })
}

async fn listen(
    keeper: &Arc<Keeper>,
    read: &mut OwnedReadHalf,
    replies: mpsc::Sender<FromKeeper>,
) -> Result<(), FrameError> {
    while let Some(message) = frame::read(read).await? {
        let ToKeeper::Request { id, epoch, request } = message else { return Ok(()) };
        let result = handle(keeper, epoch, *request).await;
        if replies.send(FromKeeper::Reply { id, result }).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends replies as they come and the newest state after a change; a state that shows what a request did goes before its
/// reply. A slow reader gets fewer states, never old ones.
async fn tell(
    keeper: &Keeper,
    write: &mut OwnedWriteHalf,
    mut replies: mpsc::Receiver<FromKeeper>,
    mut changes: watch::Receiver<u64>,
    closing: &CancellationToken,
) -> Result<(), FrameError> {
    loop {
        let message = tokio::select! {
            biased;
            reply = replies.recv() => match reply {
                Some(reply) => {
                    if changes.has_changed().unwrap_or(false) {
                        changes.mark_unchanged();
                        frame::write(write, &FromKeeper::State(Box::new(keeper.table.state()))).await?;
                    }
                    reply
                }
                None => return Ok(()),
            },
            changed = changes.changed() => match changed {
                Ok(()) => FromKeeper::State(Box::new(keeper.table.state())),
                Err(_) => return Ok(()),
            },
            () = closing.cancelled() => return Ok(()),
        };
        frame::write(write, &message).await?;
    }
}
