//! Properties of the exposition parsers: what is rendered is read back, what a
//! plain grammar refuses is refused, and no body brings a parser down.

mod grammar;
mod hostile;
mod model;
mod render;
mod round_trip;
