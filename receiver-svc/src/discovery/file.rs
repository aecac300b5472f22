//! `file_sd_configs`: target groups in files, re-read when they change.

mod pattern;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
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

/// Reads the files at once, when their folders change, and at every refresh
/// interval. The interval covers file systems without change events. A file of more than
/// `max_bytes` is not read.
pub(super) async fn run(
    config: FileConfig,
    max_bytes: usize,
    groups: TargetGroups,
    metrics: DiscoveryMetrics,
) {
    let (sender, mut events) = mpsc::channel(1);
    let mut watcher = watcher(sender);
    let mut refresh = refresh(config.refresh_interval);
    let mut unreadable = metrics.unreadable_files();
    // Number of groups that each file had when it was last read.
    let mut counts: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut known_failures = Vec::new();
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
        let mut failures = Vec::new();
        for path in &found {
            let file = path.clone();
            match tokio::task::spawn_blocking(move || read(&file, max_bytes)).await {
                Ok(Ok(read_groups)) => {
                    let count = read_groups.len();
                    let before = counts.insert(path.clone(), count).unwrap_or(0);
                    groups.update(read_groups);
                    // A file that has become shorter loses its last groups.
                    groups.update((count..before).map(|i| empty(path, i)));
                }
                Ok(Err(error)) => {
                    metrics.failed("file");
                    let error = error.to_string();
                    // Not at each refresh: the log may be in a watched folder, so that each
                    // line would cause the next one.
                    if !known_failures.contains(&error) {
                        warn!(%error, "Reading a target file failed, keeping its last targets");
                    }
                    failures.push(error);
                }
                Err(panicked) => warn!(%panicked, "Reading a target file panicked"),
            }
        }
        counts.retain(|path, count| {
            let exists = found.contains(path);
            if !exists {
                groups.update((0..*count).map(|i| empty(path, i)));
            }
            exists
        });
        unreadable.set(failures.len());
        let failure = (!failures.is_empty()).then(|| failures.join("; "));
        match failure {
            // Targets of the last configuration stay for a while if no file can be read.
            Some(failure) if counts.is_empty() => groups.failed(failure),
            failure => groups.reported(failure),
        }
        known_failures = failures;
    }
}

/// Returns the source of a group: its file and its place in it.
fn source(path: &Path, i: usize) -> String {
    format!("{}:{i}", path.display())
}

/// Returns a group without targets, which removes its source.
fn empty(path: &Path, i: usize) -> TargetGroup {
    TargetGroup {
        source: source(path, i),
        ..TargetGroup::default()
    }
}

/// Returns the existing files that match the patterns of a configuration.
pub(crate) fn target_files(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let patterns = files
        .iter()
        .map(|file| pattern::of_go(&file.to_string_lossy()));
    patterns
        .filter_map(|pattern| glob::glob(&pattern).ok())
        .flat_map(|paths| paths.filter_map(Result::ok))
        .collect()
}

fn read(
    path: &Path,
    max_bytes: usize,
) -> Result<Vec<TargetGroup>, Box<dyn std::error::Error + Send + Sync>> {
    let failed = |error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    let limit = max_bytes as u64;
    let taken = file.take(limit.saturating_add(1)).read_to_end(&mut content);
    if taken.map_err(failed)? > max_bytes {
        return Err(format!(
            "{}: larger than {max_bytes} bytes, split the file or raise --discovery.max-list-bytes",
            path.display()
        )
        .into());
    }
    let mut groups = parse_target_groups(&content, path)?;
    drop(content);
    for (i, group) in groups.iter_mut().enumerate() {
        let mut labels = std::mem::take(&mut group.labels).to_builder();
        labels.set(FILEPATH, path.to_string_lossy());
        group.labels = labels.build();
        group.source = source(path, i);
    }
    Ok(groups)
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
