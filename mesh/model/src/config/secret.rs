//! Secrets in a configuration.

use std::fmt;

use url::Url;

/// A secret string. `Debug` does not print it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

/// Returns a URL for messages, with `xxxxx` in place of its password.
pub fn redacted(url: &Url) -> Url {
    let mut shown = url.clone();
    if url.password().is_some() {
        // Fails only for URLs without a host, which have no password.
        let _ = shown.set_password(Some("xxxxx"));
    }
    shown
}

// === impl Secret ===

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret itself, for sending it to a peer.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_the_password_of_a_url() {
        let shown = |url: &str| redacted(&url.parse().unwrap()).to_string();
        assert_eq!(shown("http://u:secret@h/p"), "http://u:xxxxx@h/p");
        assert_eq!(shown("http://u@h/p"), "http://u@h/p");
    }
}
