//! Why a watch failed.

use std::fmt;

use kube::{Error, core::Status, runtime::watcher};

/// A failed watch, told in one line and in one word.
#[derive(Clone, Copy, Debug)]
pub struct WatchFailure<'a>(pub &'a watcher::Error);

/// What the API server said, or why it could not be heard.
enum Cause<'a> {
    Status(&'a Status),
    Request(&'a Error),
    NoResourceVersion,
}

// === impl WatchFailure ===

impl<'a> WatchFailure<'a> {
    /// The reason: one of few words, for a metric's label.
    pub fn reason(&self) -> &'static str {
        match self.cause() {
            Cause::Status(status) => of_status(status),
            Cause::Request(Error::Auth(_)) => "unauthorized",
            Cause::Request(Error::SerdeError(_) | Error::FromUtf8(_))
            | Cause::NoResourceVersion => "malformed",
            Cause::Request(_) => "connection",
        }
    }

    fn cause(&self) -> Cause<'a> {
        match self.0 {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => match error {
                Error::Api(status) => Cause::Status(status),
                other => Cause::Request(other),
            },
            watcher::Error::WatchError(status) => Cause::Status(status),
            watcher::Error::NoResourceVersion => Cause::NoResourceVersion,
        }
    }
}

impl fmt::Display for WatchFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Cause::Status(status) => write!(f, "status {}: {}", status.code, status.message),
            Cause::Request(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            Cause::NoResourceVersion => self.0.fmt(f),
        }
    }
}

fn of_status(status: &Status) -> &'static str {
    match status.code {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        // The resource version is too old; a new list follows.
        410 => "gone",
        429 => "throttled",
        500.. => "server",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let of = |code| {
            let status = Status {
                code,
                message: "pods is forbidden".to_owned(),
                ..Status::default()
            };
            let listing = Error::Api(Box::new(status.clone()));
            let listing = watcher::Error::InitialListFailed(listing);
            let watching = watcher::Error::WatchError(Box::new(status));
            let (listing, watching) = (WatchFailure(&listing), WatchFailure(&watching));
            assert_eq!(listing.to_string(), watching.to_string());
            assert_eq!(listing.reason(), watching.reason());
            format!("{} {listing}", listing.reason())
        };
        assert_eq!(of(403), "forbidden status 403: pods is forbidden");
        let reasons = [401, 404, 410, 429, 503, 418].map(|code| {
            let text = of(code);
            text.split(' ').next().unwrap().to_owned()
        });
        assert_eq!(
            reasons,
            [
                "unauthorized",
                "not_found",
                "gone",
                "throttled",
                "server",
                "refused"
            ]
        );
    }
}
