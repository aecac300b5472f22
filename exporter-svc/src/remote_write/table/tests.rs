//! Rows of the table, and their agreement with the documentation.

use http::header;

use super::*;

use ProtobufMessage::{V1, V2};

const WRITTEN_7: [(&str, &str); 1] = [(WRITTEN[0], "7")];
const WRITTEN_10: [(&str, &str); 1] = [(WRITTEN[0], "10")];

/// Action on an answer to a request of ten samples.
fn action(
    protocol: ProtobufMessage,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> Action {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let headers: HeaderMap = headers.collect();
    Answer {
        protocol,
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        body,
        sent: 10,
        confirmed_v2: false,
        extent: Extent::Unknown,
        now: SystemTime::UNIX_EPOCH,
    }
    .action()
}

/// Name of the action and number of samples that count as rejected.
fn kind(action: &Action) -> (&'static str, Option<u64>) {
    match action {
        Action::Stored => ("stored", None),
        Action::Deduplicated => ("deduplicated", None),
        Action::StoredInPart { count, .. } => ("in part", *count),
        Action::Split(_) => ("split", None),
        Action::FallBack { .. } => ("fall back", None),
        Action::Throttled { .. } => ("throttled", None),
        Action::Failed { .. } => ("failed", None),
        Action::Hold { .. } => ("hold", None),
    }
}

#[test]
fn each_status_has_its_action_in_both_protocols() {
    let cortex = "user=1: err: out of order sample. timestamp=1, series={a=\"b\"}";
    let limit = "user=1: per-user series limit of 5 exceeded";
    let rate = "ingestion rate limit (6666.6) exceeded while adding 499 samples";
    for (status, body, v1, v2) in [
        (200, "", "stored", "fall back"),
        (204, "", "stored", "fall back"),
        (202, "", "deduplicated", "fall back"),
        (
            202,
            "replicas did not match",
            "deduplicated",
            "deduplicated",
        ),
        (400, cortex, "in part", "in part"),
        (409, cortex, "in part", "in part"),
        (400, "out of order sample", "split", "split"),
        (422, "out of order sample", "split", "split"),
        (400, "proto: illegal wireType 7", "split", "fall back"),
        (413, "", "split", "split"),
        (415, "", "hold", "fall back"),
        (429, rate, "throttled", "throttled"),
        (429, limit, "in part", "in part"),
        (429, "series limit reached", "split", "split"),
        (408, "", "failed", "failed"),
        (425, "", "failed", "failed"),
        (500, "", "failed", "failed"),
        (503, "out of order sample", "failed", "failed"),
    ] {
        assert_eq!(
            kind(&action(V1, status, &[], body)).0,
            v1,
            "1.0 {status} {body}"
        );
        assert_eq!(
            kind(&action(V2, status, &[], body)).0,
            v2,
            "2.0 {status} {body}"
        );
    }
    for status in [
        304, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 410, 411, 431, 451,
    ] {
        for protocol in [V1, V2] {
            assert_eq!(
                kind(&action(protocol, status, &[], "")).0,
                "hold",
                "{status}"
            );
        }
    }
}

#[test]
fn counts_of_version_2_decide() {
    for (status, headers, want) in [
        (200, &WRITTEN_10[..], ("stored", None)),
        (200, &WRITTEN_7[..], ("in part", Some(3))),
        (202, &WRITTEN_10[..], ("deduplicated", None)),
        (400, &WRITTEN_7[..], ("in part", Some(3))),
        (400, &WRITTEN_10[..], ("in part", Some(0))),
        (503, &WRITTEN_7[..], ("failed", None)),
    ] {
        assert_eq!(kind(&action(V2, status, headers, "")), want, "{status}");
    }
    // Version 1.0 has no counts.
    assert_eq!(kind(&action(V1, 200, &WRITTEN_7, "")), ("stored", None));
}

#[test]
fn a_backend_that_speaks_version_2_refuses_samples_with_400() {
    let headers = HeaderMap::new();
    let answer = |confirmed_v2| Answer {
        protocol: V2,
        status: StatusCode::BAD_REQUEST,
        headers: &headers,
        body: "no",
        sent: 10,
        confirmed_v2,
        extent: Extent::Unknown,
        now: SystemTime::UNIX_EPOCH,
    };
    assert_eq!(kind(&answer(false).action()).0, "fall back");
    assert_eq!(kind(&answer(true).action()).0, "split");
}

#[test]
fn earlier_answers_decide_about_messages_without_a_mark() {
    let kind_of = |extent, body| {
        let answer = Answer {
            protocol: V1,
            status: StatusCode::BAD_REQUEST,
            headers: &HeaderMap::new(),
            body,
            sent: 10,
            confirmed_v2: false,
            extent,
            now: SystemTime::UNIX_EPOCH,
        };
        kind(&answer.action()).0
    };
    assert_eq!(
        kind_of(Extent::StoresRest, "sample missing metric name"),
        "in part"
    );
    assert_eq!(
        kind_of(Extent::Unknown, "sample missing metric name"),
        "split"
    );
    assert_eq!(
        kind_of(Extent::WholeRequest, "sample missing metric name"),
        "split"
    );
    // Neither the words of Prometheus nor an unknown reason are of such a backend.
    assert_eq!(kind_of(Extent::StoresRest, "out of order sample"), "split");
    assert_eq!(kind_of(Extent::StoresRest, "Bad Request"), "split");
}

#[test]
fn a_refused_exemplar_refuses_no_sample() {
    let body = "user=t: err: out of order exemplar. timestamp=1, series={}, exemplar={}";
    assert_eq!(kind(&action(V1, 400, &[], body)), ("in part", Some(0)));
}

#[test]
fn honours_retry_after() {
    for status in [429, 503] {
        let (Action::Throttled { after, .. } | Action::Failed { after, .. }) =
            action(V1, status, &[(header::RETRY_AFTER.as_str(), "30")], "")
        else {
            panic!("{status}")
        };
        assert_eq!(after, Some(Duration::from_secs(30)));
    }
}

#[test]
fn a_redirect_names_the_address_to_configure() {
    let Action::Hold { message, .. } = action(V1, 302, &[("location", "https://b/w")], "page")
    else {
        panic!("a hold")
    };
    assert_eq!(
        message,
        "302 Found: redirect to https://b/w; set the url of the destination to its final address"
    );
}

#[test]
fn truncates_messages_of_the_backend() {
    let Action::Failed { message, .. } = action(V1, 500, &[], &"é".repeat(5000)) else {
        panic!("a failure")
    };
    assert!(message.starts_with("500 Internal Server Error: é") && message.len() < 2200);
    let Action::Split(refusal) = action(V1, 400, &[], &"é".repeat(50_000)) else {
        panic!("a refusal")
    };
    assert!((16_000..17_000).contains(&refusal.message.len()));
}

/// The table in `docs/backends.md` has the rows of [`TABLE`], in this order.
#[test]
fn the_documentation_has_the_same_table() {
    let doc = include_str!("../../../../docs/backends.md");
    let rows = TABLE.map(|row| format!("| {} | {} | {} |\n", row.answer, row.protocol, row.does));
    assert!(
        doc.contains(&rows.concat()),
        "expected in docs/backends.md:\n{}",
        rows.concat()
    );
}
