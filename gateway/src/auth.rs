//! Who may push: bearer tokens, read from a file.

use std::{fmt, path::PathBuf};

use http::{HeaderMap, header::AUTHORIZATION};
use mesh::reread::Reread;
use subtle::{Choice, ConstantTimeEq};

use crate::refusal::Refusal;

/// Who may push, as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthArgs {
    /// File with the bearer tokens that clients may show, one a line; it is read
    /// again when it has changed, so that a token can be replaced by having both in
    /// it for a while. Without it anybody may push who reaches the port.
    #[arg(
        long = "auth.bearer-token-file",
        env = "PROMESH_AUTH_BEARER_TOKEN_FILE"
    )]
    pub bearer_token_file: Option<PathBuf>,
}

/// Tells who may push. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auth(Option<Reread<Tokens>>);

/// The tokens of a file, none of which may be shown.
pub(crate) struct Tokens(Vec<String>);

/// A file of tokens that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("--auth.bearer-token-file={path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It has none, which would lock everybody out.
    #[error("--auth.bearer-token-file={0}: no token, expected one a line")]
    Empty(PathBuf),
}

// === impl AuthArgs ===

impl AuthArgs {
    /// Authentication as the flags say.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub(crate) fn build(&self) -> Result<Auth, TokensError> {
        let Some(path) = self.bearer_token_file.clone() else {
            return Ok(Auth(None));
        };
        let files = vec![path.clone()];
        let tokens = Reread::follow("bearer tokens", files, move || Tokens::read(&path))?;
        Ok(Auth(Some(tokens)))
    }
}

// === impl Auth ===

impl Auth {
    /// Whether a request with these headers may push.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(tokens) = &self.0 else {
            return Ok(());
        };
        let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let header = header.ok_or(Refusal::Unauthenticated(
            "no Authorization header, expected a bearer token",
        ))?;
        match header.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                match tokens.load().has(token.trim_ascii()) {
                    true => Ok(()),
                    false => Err(Refusal::Unauthenticated("the bearer token is not known")),
                }
            }
            _ => Err(Refusal::Unauthenticated(
                "the Authorization header has no bearer token",
            )),
        }
    }

    /// The token this gateway shows to other gateways, which know the same ones.
    pub(crate) fn own_token(&self) -> Option<String> {
        let tokens = self.0.as_ref()?.load();
        tokens.0.first().cloned()
    }
}

// === impl Tokens ===

impl Tokens {
    fn read(path: &PathBuf) -> Result<Self, TokensError> {
        let text = std::fs::read_to_string(path).map_err(|source| TokensError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let tokens = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens: Vec<_> = tokens.map(str::to_owned).collect();
        match tokens.is_empty() {
            true => Err(TokensError::Empty(path.clone())),
            false => Ok(Self(tokens)),
        }
    }

    /// Compares with every token to its end, so that how long it takes says nothing
    /// of any.
    fn has(&self, shown: &[u8]) -> bool {
        let equal = |token: &String| token.as_bytes().ct_eq(shown);
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

    fn auth(text: &str) -> (Result<Auth, TokensError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        let args = AuthArgs {
            bearer_token_file: Some(path),
        };
        (args.build(), folder)
    }

    #[tokio::test]
    async fn a_token_is_known_or_refused() {
        let (auth, _folder) = auth("first\n\n  second  \n");
        let auth = auth.unwrap();
        let check = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            auth.check(&headers).is_ok()
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
        assert!(Auth::default().check(&HeaderMap::new()).is_ok());
    }

    #[tokio::test]
    async fn a_file_without_tokens_locks_nobody_out() {
        let (auth, _folder) = auth(" \n\n");
        let error = auth.unwrap_err().to_string();
        assert!(error.contains("no token, expected one a line"), "{error}");
    }
}
