//! Properties of the exposition parsers. They read back every rendered scrape, accept
//! exactly what a simple grammar accepts, and survive every body.

mod grammar;
mod hostile;
mod model;
mod render;
mod round_trip;
