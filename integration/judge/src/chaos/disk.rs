//! Disks that fail under a receiver, each in a mount namespace of its own, so that it
//! goes with the process.

use std::path::{Path, PathBuf};

use super::shape::Disk;

/// Mounts a file system that holds some seconds of what is scraped.
const FULL: &str = r#"mount -t tmpfs -o size=96k tmpfs "$0" && exec "$@""#;
/// Mounts a file system whose device has less room than it says: writes succeed, as
/// they only reach the page cache, and `fdatasync` fails once the room is used up.
const FAILING_SYNC: &str = r#"mount -t tmpfs -o size=160k tmpfs "$0" &&
truncate -s 8m "$0/image" && mkfs.ext2 -q -F -N 32 "$0/image" >&2 && mkdir "$0/disk" &&
mount -o loop "$0/image" "$0/disk" && exec "$@""#;

/// The command line of a receiver with this disk, in a folder of its own.
pub(crate) fn wrap(
    disk: Disk,
    program: &Path,
    mut arguments: Vec<String>,
    folder: &Path,
) -> (PathBuf, Vec<String>) {
    let spill = folder.join("spill");
    let (script, directory) = match disk {
        Disk::None => return (program.to_owned(), arguments),
        Disk::Good => (None, spill.clone()),
        Disk::Full => (Some(FULL), spill.clone()),
        Disk::FailingSync => (Some(FAILING_SYNC), spill.join("disk")),
    };
    arguments.extend([
        format!("--outbox.spill-dir={}", directory.display()),
        "--outbox.spill-after=1".to_owned(),
    ]);
    let Some(script) = script else {
        return (program.to_owned(), arguments);
    };
    let shell = [
        "--mount".to_owned(),
        "sh".to_owned(),
        "-c".to_owned(),
        format!("mkdir -p \"$0\" && {script}"),
        spill.display().to_string(),
        program.display().to_string(),
    ];
    (
        "unshare".into(),
        shell.into_iter().chain(arguments).collect(),
    )
}
