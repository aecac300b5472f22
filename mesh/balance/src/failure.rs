//! Why an exporter cannot be connected to.

use std::{error::Error, io};

use tokio::time::error::Elapsed;

/// A bounded name for it.
pub(super) fn reason(error: &(dyn Error + 'static)) -> &'static str {
    sources(error).find_map(known).unwrap_or("broken")
}

/// All that an error comes from: hyper's own messages do not say why.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<_> = sources(error).map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
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

/// An error, what it comes from, and so on.
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
    fn reasons_are_found_below_what_wraps_them() {
        let is = |error: io::Error, name, words| {
            assert_eq!(reason(&error), name);
            assert_eq!(chain(&error), words);
        };
        let refused = io::ErrorKind::ConnectionRefused;
        is(refused.into(), "refused", "connection refused");
        is(io::ErrorKind::TimedOut.into(), "timeout", "timed out");
        let tls = io::Error::other(rustls::Error::NoCertificatesPresented);
        is(io::Error::other(tls), "tls", "peer sent no certificates");
        is(io::Error::other("odd"), "broken", "odd");
    }
}
