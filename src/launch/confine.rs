//! Walls around a program: Landlock, raised by the launcher just before the program takes its place. What is not opened
//! here is shut, whoever owns it. It decides nothing about users and limits.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};

/// The newest kernel interface whose walls are known here; older kernels give what they have.
const NEWEST: ABI = ABI::V6;
/// What programs need of the machine, to read and to run.
const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt"];
/// What programs need of the devices: to read, and to write.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What a program may touch of the disk; of the network it may listen on no TCP port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Folders it may read and run from, beside those of the system.
    pub read: Vec<PathBuf>,
    /// Folders it may write in.
    pub write: Vec<PathBuf>,
}

impl Walls {
    /// Whether this kernel can raise them.
    pub fn can_be_raised() -> bool {
        let fs = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        fs.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
    }

    /// Raises them around this process, for good. Needs no privileges but that new ones were given up.
    ///
    /// # Errors
    /// The kernel has no Landlock, or a folder cannot be opened.
    pub(super) fn raise(&self) -> io::Result<()> {
        let status = self.ruleset().and_then(RulesetCreated::restrict_self).map_err(io::Error::other)?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no Landlock to confine it with: boot it with `lsm=landlock,…`",
            )),
            _ => Ok(()),
        }
    }

    fn ruleset(&self) -> Result<RulesetCreated, landlock::RulesetError> {
        let read = AccessFs::from_read(NEWEST);
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::BindTcp)?
            .scope(BitFlags::from(Scope::AbstractUnixSocket) | Scope::Signal)?
            .create()?;
        for folder in SYSTEM.iter().map(Path::new).chain(self.read.iter().map(PathBuf::as_path)) {
            ruleset = open(ruleset, folder, read)?;
        }
        for device in DEVICES {
            ruleset = open(ruleset, Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
        }
        for folder in &self.write {
            ruleset = open(ruleset, folder, AccessFs::from_all(NEWEST) & !make_devices())?;
        }
        // Of its own process it may know what every program knows.
        open(ruleset, Path::new("/proc"), AccessFs::ReadFile | AccessFs::ReadDir)
    }
}

/// What no script needs to make.
fn make_devices() -> BitFlags<AccessFs> {
    AccessFs::MakeChar | AccessFs::MakeBlock
}

/// What is not there cannot be opened, and need not be.
fn open(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => ruleset.add_rule(PathBeneath::new(fd, access)),
        Err(_) => Ok(ruleset),
    }
}
