//! Errors and their causes.

use std::{error::Error, io, iter};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_error_that_an_io_error_wraps() {
        let invalid = "x".parse::<u8>().unwrap_err();
        let error = io::Error::other(io::Error::other(invalid.clone()));
        let found: Vec<_> = causes(&error).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].downcast_ref(), Some(&invalid));
    }
}
