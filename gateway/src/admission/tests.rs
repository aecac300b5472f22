use http::Request;
use mesh_model::flags::ByteSize;

use super::*;

fn request(peer: [u8; 4], headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::new(());
    let peer = Peer((peer, 1234).into());
    request.extensions_mut().insert(peer);
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request.into_parts().0
}

fn admission(trust_forwarded_for: bool, limits: LimitArgs) -> Admission {
    let metrics = AdmissionMetrics::default();
    Admission::new(
        Authenticator::default(),
        &limits,
        trust_forwarded_for,
        metrics,
    )
}

#[test]
fn trusts_forwarded_for_only_if_enabled() {
    let forwarded = |value| request([10, 0, 0, 1], &[(FORWARDED_FOR, value)]);
    let client = |trust, request: &Parts| {
        let admission = admission(trust, LimitArgs::default());
        admission.client(request).unwrap().to_string()
    };
    assert_eq!(client(false, &forwarded("10.9.9.9")), "10.0.0.1");
    for (value, expected) in [
        ("10.9.9.9", "10.9.9.9"),
        ("6.6.6.6, 10.9.9.9", "10.9.9.9"),
        ("[fd00::1]", "fd00::1"),
        ("unknown", "10.0.0.1"),
    ] {
        assert_eq!(client(true, &forwarded(value)), expected, "{value}");
    }
}

#[test]
fn dropping_a_permit_frees_its_place_and_memory() {
    let limits = LimitArgs {
        max_concurrent_pushes: 3,
        max_concurrent_pushes_per_client: 2,
        memory_budget: ByteSize(10 << 10),
        ..Default::default()
    };
    let admission = admission(false, limits);
    let (a, b) = (request([10, 0, 0, 1], &[]), request([10, 0, 0, 2], &[]));
    let reason = |request| admission.admit(request).unwrap_err().reason();
    let mut first = admission.admit(&a).unwrap();
    let second = admission.admit(&a).unwrap();
    assert_eq!(reason(&a), "client_limit");
    let _other = admission.admit(&b).unwrap();
    assert_eq!(reason(&b), "push_limit");
    first.grow_to(8 << 10).unwrap();
    drop(second);
    let mut third = admission.admit(&b).unwrap();
    assert_eq!(third.grow_to(3 << 10).unwrap_err().reason(), "memory");
    drop(first);
    third.grow_to(3 << 10).unwrap();
}
