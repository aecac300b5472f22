//! Bearer tokens from a file.
//!
//! The file has one token per line. To rotate a token, list the old and the new one for a while.

use std::{fmt, path::PathBuf};

use http::{HeaderMap, header::AUTHORIZATION};
use mesh_base::watched_file::WatchedFile;
use subtle::{Choice, ConstantTimeEq};

/// Tokens of a file, which is re-read after a change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BearerTokens(WatchedFile<Tokens>);

/// Tokens of a file. Their `Debug` output shows only how many there are.
struct Tokens(Vec<String>);

/// Error in the file of tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("{flag}={path}: {source}")]
    Unreadable {
        /// Flag that names the file.
        flag: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the read.
        source: std::io::Error,
    },
    /// The file has no token. The server would reject every client.
    #[error("{flag}={path}: no token, expected one per line")]
    Empty {
        /// Flag that names the file.
        flag: &'static str,
        /// Path of the file.
        path: PathBuf,
    },
}

// === impl BearerTokens ===

impl BearerTokens {
    /// Reads the file that `flag` names and starts to watch it. Must be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or has no token.
    pub fn watch(flag: &'static str, path: PathBuf) -> Result<Self, TokensError> {
        let files = vec![path.clone()];
        let read = move || Tokens::read(flag, &path);
        WatchedFile::watch("bearer tokens", files, read).map(Self)
    }

    /// Checks the `Authorization` header of a request.
    ///
    /// # Errors
    /// Returns the problem if the header has no known token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let header = header.ok_or("no Authorization header; send a bearer token")?;
        match header.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                if self.0.load().contains(token.trim_ascii()) {
                    Ok(())
                } else {
                    Err("unknown bearer token")
                }
            }
            _ => Err("Authorization header without a bearer token"),
        }
    }

    /// First token of the file, for requests to servers that share the file.
    pub fn first(&self) -> Option<String> {
        self.0.load().0.first().cloned()
    }
}

// === impl Tokens ===

impl Tokens {
    fn read(flag: &'static str, path: &PathBuf) -> Result<Self, TokensError> {
        let text = std::fs::read_to_string(path).map_err(|source| TokensError::Unreadable {
            flag,
            path: path.clone(),
            source,
        })?;
        let tokens = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens: Vec<_> = tokens.map(str::to_owned).collect();
        if tokens.is_empty() {
            let path = path.clone();
            Err(TokensError::Empty { flag, path })
        } else {
            Ok(Self(tokens))
        }
    }

    /// Compares with every token in constant time, so that timing reveals no token.
    fn contains(&self, candidate: &[u8]) -> bool {
        let equal = |token: &String| token.as_bytes().ct_eq(candidate);
        let any = self.0.iter().map(equal).fold(Choice::from(0), |a, b| a | b);
        any.into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn tokens(text: &str) -> (Result<BearerTokens, TokensError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        (BearerTokens::watch("--flag", path), folder)
    }

    #[tokio::test]
    async fn accepts_only_known_tokens() {
        let (tokens, _folder) = tokens("first\n\n  second  \n");
        let tokens = tokens.unwrap();
        let check = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            tokens.check(&headers).is_ok()
        };
        for right in ["Bearer first", "bearer second", "BEARER first "] {
            assert!(check(Some(right)), "{right}");
        }
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer firs",
            "Bearer firstt",
            "Basic first",
            "first",
            "",
        ] {
            assert!(!check(Some(wrong)), "{wrong}");
        }
        assert!(!check(None));
    }

    #[tokio::test]
    async fn rejects_a_file_without_tokens() {
        let (tokens, _folder) = tokens(" \n\n");
        let error = tokens.unwrap_err().to_string();
        assert!(error.contains("no token, expected one per line"), "{error}");
    }
}
