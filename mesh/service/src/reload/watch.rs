//! Notices changes of the configuration file and of the files that it names.
//!
//! Kubernetes swaps a symbolic link when a ConfigMap changes, other tools write in place. So
//! the contents are compared, as [`mesh_base::watched_file`] does for secrets.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mesh_base::watched_file::fingerprint;
use mesh_model::{config_file::ScrapeConfigFiles, flags};

/// Flags of the watch.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// Interval at which the configuration file and the files of its scrape_config_files are
    /// compared with those in use; 0s for never.
    #[arg(
        long = "config.check-interval",
        env = "PROMESH_CONFIG_CHECK_INTERVAL",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "5s"
    )]
    pub config_check_interval: Duration,
}

/// Watch of a configuration file.
#[derive(Debug)]
pub struct ConfigWatch {
    path: PathBuf,
    interval: Duration,
    /// Fingerprint of the file.
    seen: u128,
    /// Files that the file names, and their fingerprint.
    others: ScrapeConfigFiles,
    seen_others: u128,
}

// === impl ConfigWatch ===

impl ConfigWatch {
    /// Records the contents of the file at `path`. Has to be called before the file is loaded,
    /// so that no change in between is missed.
    pub fn new(path: &Path, args: &WatchArgs) -> Self {
        let path = path.to_owned();
        let seen = fingerprint(std::slice::from_ref(&path));
        let others = ScrapeConfigFiles::read(&path);
        Self {
            path,
            interval: args.config_check_interval,
            seen,
            seen_others: fingerprint(&others.matching()),
            others,
        }
    }

    /// Waits for the next change. Never returns if the interval is zero.
    pub(super) async fn changed(&mut self) {
        if self.interval.is_zero() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.interval).await;
            let now = fingerprint(std::slice::from_ref(&self.path));
            let has_changed = std::mem::replace(&mut self.seen, now) != now;
            if has_changed {
                self.others = ScrapeConfigFiles::read(&self.path);
            }
            let now = fingerprint(&self.others.matching());
            if std::mem::replace(&mut self.seen_others, now) != now || has_changed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    /// Swaps the contents of a folder as the kubelet does for a ConfigMap.
    fn swap(folder: &Path, version: u32, files: &[(&str, &str)]) {
        let data = folder.join(format!("..{version}"));
        std::fs::create_dir(&data).unwrap();
        for (name, text) in files {
            std::fs::write(data.join(name), text).unwrap();
        }
        let aside = folder.join("..data_tmp");
        symlink(&data, &aside).unwrap();
        std::fs::rename(&aside, folder.join("..data")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn notices_a_swapped_folder_and_files_that_the_new_file_names() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let main = ("prometheus.yml", "scrape_config_files: [jobs-*.yml]\n");
        swap(folder, 1, &[main]);
        for name in ["prometheus.yml", "jobs-a.yml"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        let args = WatchArgs {
            config_check_interval: Duration::from_secs(5),
        };
        let mut watch = ConfigWatch::new(&folder.join("prometheus.yml"), &args);
        let wait = Duration::from_secs(60);
        assert!(timeout(wait, watch.changed()).await.is_err());

        swap(folder, 2, &[main, ("jobs-a.yml", "scrape_configs: []\n")]);
        assert!(timeout(wait, watch.changed()).await.is_ok());
        swap(folder, 3, &[main, ("jobs-a.yml", "nonsense")]);
        assert!(timeout(wait, watch.changed()).await.is_ok());
        // A file that cannot be loaded is watched too.
        swap(folder, 4, &[("prometheus.yml", "{"), ("jobs-a.yml", "")]);
        assert!(timeout(wait, watch.changed()).await.is_ok());
        swap(folder, 5, &[("prometheus.yml", "{}"), ("jobs-a.yml", "")]);
        assert!(timeout(wait, watch.changed()).await.is_ok());
        assert!(timeout(wait, watch.changed()).await.is_err());
    }
}
