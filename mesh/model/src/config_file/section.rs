//! Types that all sections of a configuration file share.

use std::{
    fmt::Display,
    path::{Component, Path, PathBuf},
};

use serde_saphyr::{Location, Spanned};

use crate::config::{ConfigError, ConfigWarning, Place};

/// Entries of a list with their places. `null` is a valid entry to the YAML parser, as in
/// Go; [`build_all`] rejects it, as Prometheus does.
pub(super) type List<T> = Option<Vec<Spanned<Option<T>>>>;

/// A problem in a configuration file, with its place if that is known.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) location: Option<Location>,
    pub(super) message: String,
    /// Further problems that were found at the same time.
    further: Vec<Problem>,
}

/// The environment in which a section is built.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Folder that relative paths are relative to.
    pub(super) folder: &'a Path,
    /// Returns the value of an environment variable.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Builds every entry of a list. `what` is the description of an entry in messages. The error has
/// the problems of all entries.
pub(super) fn build_all<T, U>(
    list: List<T>,
    what: &str,
    mut build: impl FnMut(T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    let mut all = Ok(Vec::new());
    for entry in list.unwrap_or_default() {
        let location = entry.referenced;
        let built = match entry.value {
            Some(value) => build(value),
            None => Err(Problem::new(format!("empty or null {what}"))),
        };
        let both = both(all, built.map_err(|problem| problem.at(location)));
        all = both.map(|(mut all, built)| {
            all.push(built);
            all
        });
    }
    all
}

/// Joins the results of two parts that do not depend on each other. The error has the problems of
/// both.
pub(super) fn both<T, U>(
    one: Result<T, Problem>,
    other: Result<U, Problem>,
) -> Result<(T, U), Problem> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(mut problem), Err(other)) => {
            problem.further.push(other);
            Err(problem)
        }
        (Err(problem), Ok(_)) | (Ok(_), Err(problem)) => Err(problem),
    }
}

/// Rejects keys of Prometheus that promesh does not implement. `keys` are their names, and
/// true if the key is given; `advice` says what to do instead.
pub(super) fn refuse<'a>(
    advice: &str,
    keys: impl IntoIterator<Item = (&'a str, bool)>,
) -> Result<(), Problem> {
    match keys.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(Problem::new(format!("{key} is not supported: {advice}"))),
        None => Ok(()),
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(message: impl Display) -> Self {
        Self {
            location: None,
            message: message.to_string(),
            further: Vec::new(),
        }
    }

    /// Sets the place, unless a more precise one is known.
    pub(super) fn at(self, location: Location) -> Self {
        self.map(&|mut problem| {
            problem.location.get_or_insert(location);
            problem
        })
    }

    /// Names what the problem concerns.
    pub(super) fn of(self, what: &str) -> Self {
        self.map(&|problem| Self {
            message: format!("{} for {what}", problem.message),
            ..problem
        })
    }

    /// Changes this problem and the further ones.
    fn map(mut self, change: &dyn Fn(Self) -> Self) -> Self {
        let further = std::mem::take(&mut self.further).into_iter();
        let further = further.map(|problem| problem.map(change)).collect();
        Self {
            further,
            ..change(self)
        }
    }

    /// Turns the problem, without the further ones, into an error of the file at `path`.
    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        ConfigError::new(path, self.location.and_then(position), self.message)
    }

    /// Turns the problem and the further ones into errors of the file at `path`, in the order of
    /// the file.
    pub(super) fn all_in_file(self, path: &Path) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        self.add_to(&mut errors, path);
        errors.sort_by_key(|error| error.place().position());
        errors
    }

    fn add_to(mut self, errors: &mut Vec<ConfigError>, path: &Path) {
        let further = std::mem::take(&mut self.further);
        errors.push(self.in_file(path));
        for problem in further {
            problem.add_to(errors, path);
        }
    }

    /// Turns the problem into a warning about the file at `path`.
    pub(super) fn warning(self, path: &Path) -> ConfigWarning {
        ConfigWarning {
            place: Place::new(path, self.location.and_then(position)),
            message: self.message,
        }
    }
}

/// Returns the line and the column of a location, if it is known.
fn position(location: Location) -> Option<(u64, u64)> {
    let position = (location.line(), location.column());
    Some(position).filter(|(line, _)| *line > 0)
}

/// Turns a location into a place in the file at `path`.
pub(super) fn place(path: &Path, location: Location) -> Place {
    Place::new(path, position(location))
}

/// Returns the location of each entry of a list.
pub(super) fn locations<T>(list: &List<T>) -> Vec<Location> {
    let entries = list.iter().flatten();
    entries.map(|entry| entry.referenced).collect()
}

// === impl Context ===

impl Context<'_> {
    /// Resolves a path relative to the file's folder. Removes `.` and `..`, as Go does; the
    /// result is visible in `__meta_filepath`.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        if path.is_absolute() {
            return path.to_owned();
        }
        let mut clean = PathBuf::new();
        for part in self.folder.join(path).components() {
            match (part, clean.components().next_back()) {
                (Component::CurDir, _) => {}
                (Component::ParentDir, Some(Component::Normal(_))) => {
                    clean.pop();
                }
                (Component::ParentDir, Some(Component::RootDir)) => {}
                (part, _) => clean.push(part),
            }
        }
        clean
    }
}
