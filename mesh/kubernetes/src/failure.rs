//! The description of a failed watch.

use std::{error, fmt, io, time::Duration};

use kube::{Error, core::Status, runtime::watcher};
use mesh_base::error::causes;
use mesh_net::describe;

use crate::connections::StartTimeout;

/// Describes a failed watch, as a line for logs and as a label for metrics.
#[derive(Clone, Copy, Debug)]
pub struct WatchFailure<'a>(pub &'a watcher::Error);

/// Cause of a failed watch.
enum Cause<'a> {
    /// The API server responded with an error status.
    Status(&'a Status),
    /// The request failed without a valid response.
    Request(&'a Error),
    /// The list had no resource version.
    NoResourceVersion,
}

// === impl WatchFailure ===

impl<'a> WatchFailure<'a> {
    /// Returns the reason as a metric label. There are few of them.
    pub fn reason(&self) -> &'static str {
        match self.cause() {
            Cause::Status(status) => status_reason(status),
            Cause::Request(Error::Service(error)) if error.is::<StartTimeout>() => "timeout",
            Cause::Request(Error::Auth(_)) => "unauthorized",
            Cause::Request(Error::SerdeError(_) | Error::FromUtf8(_))
            | Cause::NoResourceVersion => "malformed",
            Cause::Request(_) => "connection",
        }
    }

    /// Returns the minimum delay before a retry, if the API server asks for one.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let Cause::Status(status) = self.cause() else {
            return None;
        };
        let details = status.details.as_ref()?;
        Some(Duration::from_secs(details.retry_after_seconds.into()))
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
                let inner = causes(error).find(|cause| !is_wrapper(*cause));
                f.write_str(&describe(inner.unwrap_or(error)))
            }
            Cause::NoResourceVersion => self.0.fmt(f),
        }
    }
}

/// Returns true for the errors that kube wraps around each failure of a request or a body.
/// Their text is "Error reading events stream: ServiceError: " and the text of the cause.
fn is_wrapper(error: &(dyn error::Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().is_some_and(|inner| inner.is::<Error>()),
        None => matches!(
            error.downcast_ref(),
            Some(Error::Service(_) | Error::ReadEvents(_) | Error::HyperError(_))
        ),
    }
}

/// All values of [`WatchFailure::reason`].
pub const FAILURE_REASONS: [&str; 10] = [
    "timeout",
    "unauthorized",
    "malformed",
    "connection",
    "forbidden",
    "not_found",
    "gone",
    "throttled",
    "server",
    "refused",
];

fn status_reason(status: &Status) -> &'static str {
    match status.code {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        // The resource version is too old. The watch starts again with a list.
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
    fn shows_the_status_of_the_api_server() {
        let describe = |code| {
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
        assert_eq!(describe(403), "forbidden status 403: pods is forbidden");
        let reasons = [401, 404, 410, 429, 503, 418].map(|code| {
            let text = describe(code);
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

    #[test]
    fn describes_a_broken_watch_without_the_words_of_kube() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let body = Error::Service(Error::Service(reset.into()).into());
        let broken = watcher::Error::WatchFailed(Error::ReadEvents(io::Error::other(body)));
        let broken = WatchFailure(&broken);
        assert_eq!(broken.to_string(), "connection reset");
        assert_eq!(broken.reason(), "connection");
    }
}
