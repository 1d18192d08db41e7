//! What the linker is told: to write down where the program has addresses of its own in the short form. A running daemon keeps that
//! list in memory, and without it is smaller by a megabyte. It changes nothing else, and nothing where the system is older.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by the environment; the rules are for what is built"
)]

use std::env;
use std::process::Command;

/// The first glibc whose loader reads that form.
const READS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    let is_here = env::var("HOST").is_ok_and(|host| host == target) && target.ends_with("-linux-gnu");
    if is_here && glibc().is_some_and(|version| version >= READS) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library, for which the program is linked.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
