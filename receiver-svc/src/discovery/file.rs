//! `file_sd_configs`: target groups in files, re-read when they change.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mesh_model::{
    config::discovery::{FileConfig, TargetGroup},
    config_file::parse_target_groups,
};
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{MetadataKind, ModifyKind},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{DiscoveryMetrics, TargetGroups, refresh};

const FILEPATH: &str = "__meta_filepath";
/// Maximum size of a target file (64 MiB).
const MAX_FILE: u64 = 64 << 20;

/// Reads the files at once, when their folders change, and at every refresh
/// interval. The interval covers file systems without change events.
pub(super) async fn run(config: FileConfig, groups: TargetGroups, metrics: DiscoveryMetrics) {
    let (sender, mut events) = mpsc::channel(1);
    let mut watcher = watcher(sender);
    let mut refresh = refresh(config.refresh_interval);
    let mut sources = BTreeSet::new();
    loop {
        tokio::select! {
            _ = refresh.tick() => {}
            Some(()) = events.recv() => {}
        }
        // On every refresh, since a folder can be created or recreated.
        if let Some(watcher) = &mut watcher {
            watch(watcher, &config);
        }
        let found = target_files(&config.files);
        let mut failure = None;
        for path in &found {
            let path = path.clone();
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok((read_groups, path))) => {
                    sources.extend(read_groups.iter().map(|g| (path.clone(), g.source.clone())));
                    let current: BTreeSet<_> =
                        read_groups.iter().map(|g| g.source.clone()).collect();
                    // A file that has become shorter loses its last groups.
                    let removed = sources
                        .iter()
                        .filter(|(p, s)| *p == path && !current.contains(s));
                    groups.update(removed.map(|(_, source)| empty(source)).collect::<Vec<_>>());
                    groups.update(read_groups);
                }
                Ok(Err(error)) => {
                    metrics.failed("file");
                    failure = Some(error.to_string());
                    warn!(%error, "Reading a target file failed, keeping its last targets");
                }
                Err(panicked) => warn!(%panicked, "Reading a target file panicked"),
            }
        }
        let removed = sources.iter().filter(|(path, _)| !found.contains(path));
        groups.update(removed.map(|(_, source)| empty(source)).collect::<Vec<_>>());
        match failure {
            None => groups.mark_synced(),
            Some(failure) => groups.failed(failure),
        }
    }
}

/// Returns a group without targets, which removes its source.
fn empty(source: &str) -> TargetGroup {
    TargetGroup {
        source: source.to_owned(),
        ..TargetGroup::default()
    }
}

/// Returns the existing files that match the patterns of a configuration.
pub(crate) fn target_files(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    // Go treats `**` as `*`; the glob crate treats it as a recursive wildcard.
    let patterns = files
        .iter()
        .map(|file| file.to_string_lossy().replace("**", "*"));
    patterns
        .filter_map(|pattern| glob::glob(&pattern).ok())
        .flat_map(|paths| paths.filter_map(Result::ok))
        .collect()
}

fn read(
    path: &Path,
) -> Result<(Vec<TargetGroup>, PathBuf), Box<dyn std::error::Error + Send + Sync>> {
    let failed = |error| format!("{}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(format!(
            "{}: {size} bytes, expected at most {MAX_FILE}",
            path.display()
        )
        .into());
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut groups = parse_target_groups(&text, path)?;
    for (i, group) in groups.iter_mut().enumerate() {
        let mut labels = group.labels.to_builder();
        labels.set(FILEPATH, path.to_string_lossy());
        group.labels = labels.build();
        group.source = format!("{}:{i}", path.display());
    }
    Ok((groups, path.to_owned()))
}

/// Watches for file changes. Returns `None` if the platform has no file events;
/// the caller then polls at the refresh interval.
fn watcher(changed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let notify = move |event: notify::Result<notify::Event>| {
        // A full channel already has a pending event. Access and metadata events must
        // not trigger a re-read, since reading a file causes them.
        let changes_content = |kind: EventKind| {
            let metadata = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
            !kind.is_access() && kind != metadata
        };
        if event.is_ok_and(|event| changes_content(event.kind)) {
            let _ = changed.try_send(());
        }
    };
    notify::recommended_watcher(notify)
        .inspect_err(|error| warn!(%error, "Watching target files failed, polling instead"))
        .ok()
}

/// Watches the folders of the configured files.
fn watch(watcher: &mut RecommendedWatcher, config: &FileConfig) {
    let folders: BTreeSet<_> = config
        .files
        .iter()
        .filter_map(|file| file.parent())
        .collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            debug!(folder = %folder.display(), %error, "Watching a folder of target files failed");
        }
    }
}
