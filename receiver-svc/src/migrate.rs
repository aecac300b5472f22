//! `receiver-svc migrate`: translates the configuration of another scraper.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Parser;
use mesh_migrate::{Input, MigrateError, Migration, SOURCES, migrate};

/// Translates the configuration of another scraper.
///
/// Writes prometheus.yml, values of the Helm chart, and a note for everything without an exact
/// counterpart. Exit codes: 0 if it writes them, 1 if it does not recognise a file, 2 for a usage
/// error.
#[derive(Clone, Debug, Parser)]
#[command(name = "migrate", after_help = format!("Files that it reads:\n{SOURCES}"))]
pub struct MigrateArgs {
    /// Files to translate into one configuration.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Folder for prometheus.yml, values.yaml (of the Helm chart) and notes.txt. It is created.
    #[arg(long, default_value = "migrated")]
    pub output_dir: PathBuf,
}

/// Reason why a migration writes nothing, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files cannot be translated.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

// === impl MigrateArgs ===

impl MigrateArgs {
    /// Translates the files, writes the result, and returns the lines to print.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, is not recognised or exists already.
    pub fn run(&self) -> Result<String, Error> {
        let inputs = self.files.iter().map(|path| {
            let text = fs::read_to_string(path).map_err(|error| file(path, error))?;
            let name = path.display().to_string();
            Ok(Input { name, text })
        });
        let inputs = inputs.collect::<Result<Vec<_>, Error>>()?;
        let beside = |name: &str| {
            let folders = self.files.iter().filter_map(|path| path.parent());
            folders
                .map(|folder| folder.join(name))
                .find_map(|path| fs::read_to_string(path).ok())
        };
        let migration = migrate(&inputs, &beside)?;
        self.write(&migration)
    }

    fn write(&self, migration: &Migration) -> Result<String, Error> {
        let folder = &self.output_dir;
        fs::create_dir_all(folder).map_err(|error| file(folder, error))?;
        let notes: String = migration
            .notes
            .iter()
            .map(|note| format!("{note}\n"))
            .collect();
        let mut shown = notes.clone();
        for (name, text) in [
            ("prometheus.yml", &migration.prometheus),
            ("values.yaml", &migration.values),
            ("notes.txt", &notes),
        ] {
            let path = folder.join(name);
            let created = fs::File::create_new(&path);
            let written =
                created.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
            written.map_err(|error| file(&path, error))?;
            shown.push_str(&format!("Wrote {}\n", path.display()));
        }
        Ok(shown)
    }
}

fn file(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path, text: &str) -> MigrateArgs {
        let path = folder.join("input.yaml");
        fs::write(&path, text).unwrap();
        MigrateArgs {
            files: vec![path],
            output_dir: folder.join("out"),
        }
    }

    #[test]
    fn writes_a_configuration_values_and_notes_once() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path(), "scrape_configs: [{job_name: node}]");
        let shown = args.run().unwrap();
        assert!(shown.starts_with("remote_write: the source names no destination"));
        let written = |name: &str| fs::read_to_string(args.output_dir.join(name)).unwrap();
        assert!(written("prometheus.yml").contains("job_name: node"));
        assert!(written("values.yaml").contains("__replica__: ${REPLICA}"));
        assert!(shown.starts_with(&written("notes.txt")));
        let error = args.run().unwrap_err().to_string();
        assert!(error.contains("prometheus.yml: File exists"), "{error}");
    }

    #[test]
    fn lists_what_it_reads_for_an_unknown_file() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path(), "a: 1");
        let error = args.run().unwrap_err().to_string();
        assert!(
            error.contains(
                "input.yaml: not recognised; migrate can read:\n  OpenTelemetry Collector"
            )
        );
        assert!(!args.output_dir.exists());
    }
}
