//! Failing disks of receivers. Each is mounted in its own mount namespace, so that it
//! disappears with the process.

use std::path::Path;

use harness::spec::ServiceSpec;

use super::shape::Disk;

/// Mounts a file system with room for a few seconds of scrapes.
const FULL: &str = r#"mount -t tmpfs -o size=96k tmpfs "$0" && exec "$@""#;
/// Mounts a file system whose device is smaller than the file system says. Writes reach the
/// page cache and succeed. `fdatasync` fails once the device is full.
const FAILING_SYNC: &str = r#"mount -t tmpfs -o size=160k tmpfs "$0" &&
truncate -s 8m "$0/image" && mkfs.ext2 -q -F -N 32 "$0/image" >&2 && mkdir "$0/disk" &&
mount -o loop "$0/image" "$0/disk" && exec "$@""#;

/// Gives a receiver this disk for its outbox, mounted below `folder`.
pub(crate) fn mount(disk: Disk, spec: ServiceSpec, folder: &Path) -> ServiceSpec {
    let spill = folder.join("spill");
    let (script, directory) = match disk {
        Disk::None => return spec,
        Disk::Good => (None, spill.clone()),
        Disk::Full => (Some(FULL), spill.clone()),
        Disk::FailingSync => (Some(FAILING_SYNC), spill.join("disk")),
    };
    let mut spec = spec
        .flag(format!("--outbox.spill-dir={}", directory.display()))
        .flag("--outbox.spill-after=1");
    if let Some(script) = script {
        let script = format!("mkdir -p \"$0\" && {script}");
        let spill = spill.display().to_string();
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, &spill];
        spec.wrapper = wrapper.map(str::to_owned).into();
    }
    spec
}
