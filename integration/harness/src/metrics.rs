//! The metrics page of a service.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::time::timeout;

/// Maximum time until a service has answered. A busy machine may need several seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A metrics page, in the text format.
#[derive(Clone, Debug, Default)]
pub struct Metrics(String);

// === impl Metrics ===

impl Metrics {
    /// Fetches `/metrics` from an admin port.
    ///
    /// # Errors
    /// Returns an error if the service does not answer in time.
    pub async fn fetch(web: SocketAddr) -> anyhow::Result<Self> {
        let url = format!("http://{web}/metrics");
        let client = mesh_net::http_client::HttpClient::new(&Default::default())?;
        let request = http::Request::get(&url).body(bytes::Bytes::new())?;
        let response = timeout(TIMEOUT, client.request(request))
            .await
            .with_context(|| format!("{url} does not answer within {TIMEOUT:?}"))??;
        let body = http_body_util::BodyExt::collect(response.into_body()).await?;
        Ok(Self(String::from_utf8(body.to_bytes().to_vec())?))
    }

    /// Text of the page.
    pub fn into_text(self) -> String {
        self.0
    }

    /// Sum of all series of a metric. `name` may also be one series with its labels, as the
    /// page shows it.
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// Sum of the series of a metric that have a label, such as `outcome="stored"`.
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with([' ', '{']) && rest.contains(label))
                .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        // The sum of no values is -0.0.
        values.sum::<f64>() + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_of_a_metric() {
        let page =
            "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 9\nb 1\n";
        let metrics = Metrics(page.to_owned());
        assert_eq!(
            (metrics.sum("a_total"), metrics.sum("b"), metrics.sum("c")),
            (5.0, 1.0, 0.0)
        );
        assert_eq!(metrics.sum_where("a_total", "x=\"2\""), 3.0);
        assert!(metrics.sum("c").is_sign_positive());
    }
}
