//! Authenticates clients by bearer tokens from a file.

use std::path::PathBuf;

use http::HeaderMap;
use mesh_net::bearer::{BearerTokens, TokensError};

use crate::push_error::PushError;

/// Flags for authentication.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthArgs {
    /// File with the bearer tokens of clients, one per line. The gateway re-reads it after
    /// a change. To rotate a token, list the old and the new one for a while. Without this
    /// flag the gateway accepts every client.
    #[arg(
        long = "auth.bearer-token-file",
        env = "PROMESH_AUTH_BEARER_TOKEN_FILE"
    )]
    pub bearer_token_file: Option<PathBuf>,
}

/// Checks the bearer token of requests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authenticator(Option<BearerTokens>);

// === impl AuthArgs ===

impl AuthArgs {
    /// Builds the authenticator and starts to watch the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or has no token.
    pub(crate) fn build(&self) -> Result<Authenticator, TokensError> {
        let watch = |path| BearerTokens::watch("--auth.bearer-token-file", path);
        let tokens = self.bearer_token_file.clone().map(watch).transpose()?;
        Ok(Authenticator(tokens))
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// Checks the `Authorization` header of a request.
    ///
    /// # Errors
    /// Returns [`PushError::Unauthenticated`] if the header has no known token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), PushError> {
        let tokens = self.0.as_ref();
        let checked = tokens.map_or(Ok(()), |tokens| tokens.check(headers));
        checked.map_err(PushError::Unauthenticated)
    }

    /// Token that this gateway sends to other gateways, which share the file's tokens.
    pub(crate) fn own_token(&self) -> Option<String> {
        self.0.as_ref()?.first()
    }
}
