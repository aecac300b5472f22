//! A page that is sent while it is written.
//!
//! A receiver can know a million targets. The whole page would need gigabytes of memory.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};

/// Size of the parts that are sent.
const PART_BYTES: usize = 64 << 10;

/// Writer of a page. Waits while the client does not read.
#[derive(Debug)]
pub(super) struct Page {
    unsent: String,
    parts: mpsc::Sender<Bytes>,
}

/// The client has disconnected.
#[derive(Debug)]
pub(super) struct Disconnected;

/// Returns a page and the body to send it in.
pub(super) fn page() -> (Page, Body) {
    let (parts, body) = mpsc::channel(1);
    let page = Page {
        unsent: String::new(),
        parts,
    };
    (page, Body::from_stream(body.map(Ok::<_, Infallible>)))
}

// === impl Page ===

impl Page {
    /// Appends a text.
    pub(super) async fn write(&mut self, text: &str) -> Result<(), Disconnected> {
        self.unsent.push_str(text);
        if self.unsent.len() >= PART_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Sends what is not sent yet, and ends the page.
    pub(super) async fn end(mut self) -> Result<(), Disconnected> {
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Disconnected> {
        let part = Bytes::from(std::mem::take(&mut self.unsent));
        self.parts.send(part).await.map_err(|_| Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        time::Duration,
    };

    use super::*;

    /// Text longer than a part.
    fn long() -> String {
        "x".repeat(PART_BYTES)
    }

    #[tokio::test]
    async fn sends_all_parts() {
        let (mut page, body) = page();
        tokio::spawn(async move {
            page.write("a").await?;
            page.write(&long()).await?;
            page.write("z").await?;
            page.end().await
        });
        let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        assert_eq!(whole, format!("a{}z", long()));
    }

    #[tokio::test(start_paused = true)]
    async fn holds_a_few_parts_of_a_page_that_nobody_reads() {
        let (mut page, body) = page();
        let written = Arc::new(AtomicUsize::new(0));
        let counter = written.clone();
        let writer = tokio::spawn(async move {
            while page.write(&long()).await.is_ok() {
                counter.fetch_add(1, Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = written.load(Relaxed);
        assert!(held <= 3, "{held}");
        drop(body);
        writer.await.unwrap();
    }
}
