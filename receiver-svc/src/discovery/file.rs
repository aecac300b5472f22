//! `file_sd_configs`: target groups in files, read again when they change.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mesh::config::discovery::{FileConfig, TargetGroup, parse_target_groups};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::warn;

use super::{DiscoveryMetrics, Groups, refresh};

const FILEPATH: &str = "__meta_filepath";

/// Reads the files at once, when their folders change, and every refresh interval:
/// not every file system tells of changes.
pub(super) async fn run(config: FileConfig, groups: Groups, metrics: DiscoveryMetrics) {
    let (sender, mut events) = mpsc::channel(1);
    // Kept alive: it stops watching when it is dropped.
    let _watcher = watch(&config, sender);
    let mut refresh = refresh(config.refresh_interval);
    let mut sources = BTreeSet::new();
    loop {
        tokio::select! {
            _ = refresh.tick() => {}
            Some(()) = events.recv() => {}
        }
        let found = paths(&config);
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
                    groups.update(gone.map(|(_, source)| empty(source)).collect::<Vec<_>>());
                    groups.update(read_groups);
                }
                Ok(Err(error)) => {
                    metrics.failed("file");
                    warn!(%error, "Target file not read, its last targets stay");
                }
                Err(panicked) => warn!(%panicked, "Target file not read"),
            }
        }
        let gone = sources.iter().filter(|(path, _)| !found.contains(path));
        groups.update(gone.map(|(_, source)| empty(source)).collect::<Vec<_>>());
    }
}

fn empty(source: &str) -> TargetGroup {
    TargetGroup {
        source: source.to_owned(),
        ..TargetGroup::default()
    }
}

fn paths(config: &FileConfig) -> BTreeSet<PathBuf> {
    let patterns = config.files.iter().map(|pattern| pattern.to_string_lossy());
    patterns
        .filter_map(|pattern| glob::glob(&pattern).ok())
        .flat_map(|paths| paths.filter_map(Result::ok))
        .collect()
}

fn read(
    path: &Path,
) -> Result<(Vec<TargetGroup>, PathBuf), Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut groups = parse_target_groups(&text, path)?;
    for (i, group) in groups.iter_mut().enumerate() {
        let mut labels = group.labels.to_builder();
        labels.set(FILEPATH, path.to_string_lossy());
        group.labels = labels.build();
        group.source = format!("{}:{i}", path.display());
    }
    Ok((groups, path.to_owned()))
}

/// Watches the folders of the files; `None` where that cannot be done, and then
/// the refresh interval has to do.
fn watch(config: &FileConfig, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // An event is waiting already where the channel is full. Reading a file is
        // an event too, and must not make us read it again.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell)
        .inspect_err(|error| warn!(%error, "Target files not watched"))
        .ok()?;
    let folders: BTreeSet<_> = config
        .files
        .iter()
        .filter_map(|file| file.parent())
        .collect();
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            warn!(folder = %folder.display(), %error, "Target files not watched");
        }
    }
    Some(watcher)
}
