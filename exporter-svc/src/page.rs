//! Page with the state of each destination, in plain text.

use std::{fmt::Write, sync::Arc};

use axum::{Router, routing::get};
use tokio::time::Instant;

use crate::ingest::Ingest;

/// Path of the page on the admin port.
pub(crate) const PATH: &str = "/destinations";

/// Routes of the page.
pub(crate) fn routes(ingest: Arc<Ingest>) -> Router {
    Router::new().route(PATH, get(move || async move { render(&ingest) }))
}

fn render(ingest: &Ingest) -> String {
    let mut page = String::new();
    for destination in &ingest.destinations().all {
        let state = destination.client.knowledge().describe(Instant::now());
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}: {state}", destination.name);
    }
    page
}

#[cfg(test)]
mod tests {
    use mesh_contract::batch::BatchContext;

    use super::*;
    use crate::ingest::tests::{Backend, Scripted, batch, ingest, send_within};

    #[tokio::test]
    async fn names_the_state_of_each_destination() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("http://{}/write", listener.local_addr().unwrap());
        drop(listener);
        let (well, held) = (Backend::default(), Backend::default());
        held.script(Scripted::Respond(401, "token expired", None));
        let urls = [&well.serve().await, &held.serve().await, &nobody];
        let ingest = ingest(&urls.map(|url| url.as_str())).await;
        assert_eq!(
            render(&ingest),
            "backend-0: no request yet\nbackend-1: no request yet\nbackend-2: no request yet\n"
        );
        let _ = send_within(&ingest, &BatchContext::default(), batch(&[("m", 1)]), "2S").await;
        let page = render(&ingest);
        let lines: Vec<_> = page.lines().collect();
        assert_eq!(lines[0], "backend-0: answers, remote write 1.0");
        assert_eq!(
            lines[1],
            "backend-1: on hold: 401 Unauthorized: token expired"
        );
        let silent = "backend-2: has not answered since the start ";
        assert!(lines[2].starts_with(silent), "{}", lines[2]);
        let silence = |i: usize| ingest.destinations().all[i].client.knowledge().silence();
        assert!(silence(2).unwrap().contains("connecting to the backend"));
        assert_eq!((silence(0), silence(1)), (None, None));
    }
}
