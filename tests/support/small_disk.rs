//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A small file system of memory, gone when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of this size, over a folder; `None` where nothing can be mounted.
    pub(crate) fn new(folder: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=1777");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs", folder.to_str()?];
        as_root("mount", &arguments).then(|| Self(folder.to_owned()))
    }

    /// Gives it another size.
    pub(crate) fn resize(folder: &Path, size: &str) {
        assert!(as_root("mount", &["-o", &format!("remount,size={size}"), folder.to_str().expect("text")]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root("umount", &["--lazy", self.0.to_str().expect("text")]);
    }
}

/// Directly, else by a `sudo` that asks for no password, as machines of CI have it.
fn as_root(program: &str, arguments: &[&str]) -> bool {
    run(program, arguments) || run("sudo", &[&["-n", program], arguments].concat())
}

/// Whether a program does what it should.
#[expect(clippy::disallowed_methods, reason = "a test makes a disk that is small, or one that fails")]
pub(crate) fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
