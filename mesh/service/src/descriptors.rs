//! Limit of open file descriptors.
//!
//! Each connection takes a descriptor. Many systems start programs with a soft limit of 1,024 or
//! less, which exists for programs that use `select`. Go raises it at the start, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the soft limit of open file descriptors to the hard limit. Logs a failure.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let limit = limit.current;
        warn!(?limit, %error, "Cannot raise the limit of open files, start with a higher one (ulimit -n)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_the_soft_limit_to_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(512),
            ..before
        };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(512));
        raise_limit();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.current, after.maximum);
        assert_eq!(after.maximum, before.maximum);
    }
}
