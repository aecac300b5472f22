//! `file_sd_configs`: target groups in files, read again when they change.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mesh::config::discovery::{FileConfig, TargetGroup, parse_target_groups};
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{MetadataKind, ModifyKind},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{DiscoveryMetrics, Groups, refresh};

const FILEPATH: &str = "__meta_filepath";
/// Bytes of a file; far more than any list of targets needs.
const MAX_FILE: u64 = 64 << 20;

/// Reads the files at once, when their folders change, and every refresh interval:
/// not every file system tells of changes.
pub(super) async fn run(config: FileConfig, groups: Groups, metrics: DiscoveryMetrics) {
    let (sender, mut events) = mpsc::channel(1);
    let mut watcher = watcher(sender);
    let mut refresh = refresh(config.refresh_interval);
    let mut sources = BTreeSet::new();
    loop {
        tokio::select! {
            _ = refresh.tick() => {}
            Some(()) = events.recv() => {}
        }
        // Each time: a folder may have come, or come back.
        if let Some(watcher) = &mut watcher {
            watch(watcher, &config);
        }
        let found = paths(&config.files);
        let mut failure = None;
        for path in &found {
            let path = path.clone();
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok((read_groups, path))) => {
                    sources.extend(read_groups.iter().map(|g| (path.clone(), g.source.clone())));
                    let kept: BTreeSet<_> = read_groups.iter().map(|g| g.source.clone()).collect();
                    // A file that has become shorter loses its last groups.
                    let gone = sources
                        .iter()
                        .filter(|(p, s)| *p == path && !kept.contains(s));
                    groups.learn(gone.map(|(_, source)| empty(source)).collect::<Vec<_>>());
                    groups.learn(read_groups);
                }
                Ok(Err(error)) => {
                    metrics.failed("file");
                    failure = Some(error.to_string());
                    warn!(%error, "Target file not read, its last targets stay");
                }
                Err(panicked) => warn!(%panicked, "Target file not read"),
            }
        }
        let gone = sources.iter().filter(|(path, _)| !found.contains(path));
        groups.learn(gone.map(|(_, source)| empty(source)).collect::<Vec<_>>());
        match failure {
            None => groups.told(),
            Some(failure) => groups.failed(failure),
        }
    }
}

fn empty(source: &str) -> TargetGroup {
    TargetGroup {
        source: source.to_owned(),
        ..TargetGroup::default()
    }
}

/// The files that patterns of a configuration stand for.
pub(crate) fn paths(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    // Go takes two stars for one, and the crate for something else.
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
            "{}: {size} bytes, expected {MAX_FILE} at most",
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

/// Tells of changes; `None` where that cannot be done, and then the refresh
/// interval has to do.
fn watcher(changed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // An event is waiting already where the channel is full. Reading a file and
        // changing its mode are events too, and must not make us read it again.
        let of_contents = |kind: EventKind| {
            let metadata = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
            !kind.is_access() && kind != metadata
        };
        if event.is_ok_and(|event| of_contents(event.kind)) {
            let _ = changed.try_send(());
        }
    };
    notify::recommended_watcher(tell)
        .inspect_err(|error| warn!(%error, "Target files not watched"))
        .ok()
}

/// Watches the folders of the files.
fn watch(watcher: &mut RecommendedWatcher, config: &FileConfig) {
    let folders: BTreeSet<_> = config
        .files
        .iter()
        .filter_map(|file| file.parent())
        .collect();
    for folder in folders {
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            debug!(folder = %folder.display(), %error, "Target files not watched");
        }
    }
}
