//! Classifies connection errors.

use std::{error::Error, io};

use mesh_base::error::causes;
use tokio::time::error::Elapsed;

/// Returns the `reason` label of an error in metrics.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> &'static str {
    causes(error).find_map(known).unwrap_or("broken")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_reason_in_a_wrapped_error() {
        let is = |error: io::Error, expected, message| {
            assert_eq!(reason(&error), expected);
            assert_eq!(mesh_net::describe(&error), message);
        };
        let refused = io::ErrorKind::ConnectionRefused;
        is(refused.into(), "refused", "connection refused");
        is(io::ErrorKind::TimedOut.into(), "timeout", "i/o timeout");
        let tls = io::Error::other(rustls::Error::NoCertificatesPresented);
        is(
            io::Error::other(tls),
            "tls",
            "tls: peer sent no certificates",
        );
        is(io::Error::other("odd"), "broken", "odd");
    }
}
