//! Discovery of a receiver, before a stand-in for a Kubernetes API server.

mod attached;
mod deployed;
mod endpoints;
mod objects;
mod receiver;
mod sharing;
mod trouble;
