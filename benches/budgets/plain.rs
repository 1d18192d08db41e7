//! The least that a durable append costs: a plain file, one thread, one `fdatasync` for all that wait.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

/// A file that many append to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Plain {
    lines: mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>,
}

impl Plain {
    /// The file, and the thread that writes it until all its clones are dropped.
    pub(crate) fn create(path: &Path) -> (Self, JoinHandle<()>) {
        let mut file = File::create(path).unwrap();
        let (lines, mut queue) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(1024);
        let writer = std::thread::spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                let mut group = vec![first];
                while let Ok(next) = queue.try_recv() {
                    group.push(next);
                }
                let bytes: Vec<u8> = group.iter().flat_map(|(line, _)| line).copied().collect();
                file.write_all(&bytes).unwrap();
                file.sync_data().unwrap();
                for (_, reply) in group {
                    let _ = reply.send(());
                }
            }
        });
        (Self { lines }, writer)
    }

    /// Durable when it returns.
    pub(crate) async fn append(&self, line: Vec<u8>) {
        let (reply, answer) = oneshot::channel();
        self.lines.send((line, reply)).await.unwrap();
        answer.await.unwrap();
    }
}
