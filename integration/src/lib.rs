//! The judge: an AMP stand-in, a sample app, a validator and the demo.
