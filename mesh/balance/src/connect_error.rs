//! Classifies and prints connection errors.

use std::{error::Error, io};

use tokio::time::error::Elapsed;

/// Returns the `reason` label of an error in metrics.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> &'static str {
    sources(error).find_map(known).unwrap_or("broken")
}

/// Joins the messages of an error and its sources. hyper's own messages lack the cause.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut messages: Vec<_> = sources(error).map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}

fn known(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if error.is::<Elapsed>() {
        return Some("timeout");
    }
    if error.is::<rustls::Error>() {
        return Some("tls");
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some("refused"),
        io::ErrorKind::TimedOut => Some("timeout"),
        _ => None,
    }
}

/// Iterates over an error and its sources, outermost first.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_reason_in_a_wrapped_error() {
        let is = |error: io::Error, expected, message| {
            assert_eq!(reason(&error), expected);
            assert_eq!(chain(&error), message);
        };
        let refused = io::ErrorKind::ConnectionRefused;
        is(refused.into(), "refused", "connection refused");
        is(io::ErrorKind::TimedOut.into(), "timeout", "timed out");
        let tls = io::Error::other(rustls::Error::NoCertificatesPresented);
        is(io::Error::other(tls), "tls", "peer sent no certificates");
        is(io::Error::other("odd"), "broken", "odd");
    }
}
