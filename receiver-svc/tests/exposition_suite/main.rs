//! The exposition parsers against the cases and golden files of Prometheus and
//! OpenMetrics, which lie beside the checkout.

mod bodies;
mod cases;
mod entries;
mod headers;
mod suite;
