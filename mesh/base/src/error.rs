//! Errors and their causes.
//!
//! The messages of hyper, kube and the AWS SDK omit the cause. [`chain`] prints both.

use std::{error::Error, fmt, io, iter};

/// Displays an error and all its causes, separated by colons. Returned by [`chain`].
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(&'a (dyn Error + 'static));

/// Returns the text of an error and all its causes, outermost first.
///
/// A cause with the same text as the error around it is not repeated.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

/// Iterates over an error and its causes, outermost first.
///
/// Unlike [`Error::source`], it includes the error that an [`io::Error`] wraps.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| {
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

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        for cause in causes(self.0).skip(1) {
            let text = cause.to_string();
            if text != last {
                write!(f, ": {text}")?;
                last = text;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("connect")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn prints_each_cause_once() {
        let wrapped = io::Error::other("certificate expired");
        let error = Outer(io::Error::other(wrapped));
        assert_eq!(chain(&error).to_string(), "connect: certificate expired");
        assert_eq!(causes(&error).count(), 4);
    }

    #[test]
    fn prints_an_error_without_a_cause() {
        let error = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(chain(&error).to_string(), "timed out");
    }
}
