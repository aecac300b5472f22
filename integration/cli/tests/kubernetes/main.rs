//! Kubernetes discovery of a receiver, against a stand-in for the API server.

mod attached;
mod deployed;
mod endpoints;
mod monitors;
mod objects;
mod receiver;
mod sharing;
mod trouble;
