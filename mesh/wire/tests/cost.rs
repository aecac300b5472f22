//! Compares the estimated memory of decoded requests with the bytes that an allocator counts.
//!
//! The allocator counts the whole process, so there is only one test.

use mesh_wire::{
    otlp::{cost::Cost, schema::Kind},
    protobuf::{put_bytes, put_varint},
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use peak_alloc::PeakAlloc;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use prost::Message;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Numbers of the fields that contain the points of a gauge, a point, buckets, bounds, an entity
/// and a resource, from the inside out.
const GAUGE: &[u32] = &[5, 2, 2, 1];
const POINT: &[u32] = &[1, 5, 2, 2, 1];
const BUCKETS: &[u32] = &[8, 1, 10, 2, 2, 1];
const HISTOGRAM: &[u32] = &[1, 9, 2, 2, 1];
const ENTITY: &[u32] = &[3, 1, 1];
const METRIC: &[u32] = &[2, 2, 1];

/// Encodes the fields that contain a message, up to the request.
fn wrap(mut message: Vec<u8>, path: &[u32]) -> Vec<u8> {
    for field in path {
        message = repeated(*field, &message, 1);
    }
    message
}

/// Encodes a field several times.
fn repeated(field: u32, message: &[u8], count: usize) -> Vec<u8> {
    let mut one = Vec::new();
    put_bytes(field, message, &mut one);
    one.repeat(count)
}

/// Requests that decode to many times their size.
fn amplifying() -> Vec<(&'static str, Vec<u8>)> {
    const MANY: usize = 100_001;
    let mut unpacked = Vec::new();
    for _ in 0..MANY {
        put_varint(2 << 3, &mut unpacked);
        put_varint(1, &mut unpacked);
    }
    let counts = repeated(2, &vec![1; MANY], 1);
    let bounds = repeated(7, &vec![0; 8 * MANY], 1);
    let gauge = |points| repeated(5, &repeated(1, &[], points), 1);
    let sum = |points| repeated(7, &repeated(1, &[], points), 1);
    vec![
        ("points", wrap(repeated(1, &[], MANY), GAUGE)),
        ("attributes", wrap(repeated(7, &[], MANY), POINT)),
        ("exemplars", wrap(repeated(5, &[], MANY), POINT)),
        ("resources", repeated(1, &[], MANY)),
        ("scopes", wrap(repeated(2, &[], MANY), &[1])),
        ("metrics", wrap(repeated(2, &[], MANY), &[2, 1])),
        ("packed counts", wrap(counts, BUCKETS)),
        ("unpacked counts", wrap(unpacked, BUCKETS)),
        ("bounds", wrap(bounds, HISTOGRAM)),
        ("empty ids", wrap(repeated(3, b"", MANY), ENTITY)),
        ("short ids", wrap(repeated(4, b"a", MANY), ENTITY)),
        (
            "merged gauges",
            wrap([gauge(65), gauge(1)].concat(), METRIC),
        ),
        ("replaced data", wrap([gauge(1), sum(99)].concat(), METRIC)),
    ]
}

/// Encodes a random message of a type. Each decision takes a byte of `choices`.
fn random(kind: Kind, choices: &mut dyn Iterator<Item = u8>, depth: usize) -> Vec<u8> {
    let known: Vec<u32> = (1..=13)
        .filter(|field| kind.child(*field).is_some())
        .collect();
    let mut message = Vec::new();
    for _ in 0..choices.next().unwrap_or(0) % 7 {
        let choice = choices.next().unwrap_or(0);
        let field = known.get(usize::from(choice) % (known.len() + 1));
        let count = 1 + usize::from(choices.next().unwrap_or(0) % 12);
        match field.and_then(|field| Some((*field, kind.child(*field)?))) {
            Some((field, child)) if depth < 20 => {
                let nested = random(child, choices, depth + 1);
                // Copies of copies would grow without bounds.
                let count = if nested.len() < 64 { count } else { 1 };
                message.extend(repeated(field, &nested, count));
            }
            _ => {
                let field = 1 + u32::from(choice % 13);
                message.extend(repeated(field, &vec![b'a'; 3 * count], count));
            }
        }
    }
    message
}

/// Estimated bytes, and bytes that the decoded request occupies if it can be decoded.
fn measure(request: &[u8]) -> (usize, Option<usize>) {
    let estimated = Cost::of(Kind::Request, request).bytes;
    let before = ALLOCATOR.current_usage();
    let decoded = ExportMetricsServiceRequest::decode(request);
    let used = ALLOCATOR.current_usage() - before;
    (estimated, decoded.ok().map(|_| used))
}

#[test]
fn never_estimates_less_than_a_decoded_request_occupies() {
    for (name, request) in amplifying() {
        let (estimated, used) = measure(&request);
        let used = used.unwrap_or_else(|| panic!("{name} cannot be decoded"));
        assert!(used <= estimated, "{name}: {used} > {estimated}");
        assert!(estimated <= 3 * used, "{name}: {estimated} for {used}");
    }
    let decoded = std::cell::Cell::new(0_u32);
    let check = |choices: Vec<u8>| {
        let request = random(Kind::Request, &mut choices.into_iter(), 0);
        if let (estimated, Some(used)) = measure(&request) {
            decoded.set(decoded.get() + u32::from(used > 0));
            prop_assert!(used <= estimated, "{} > {}: {:?}", used, estimated, request);
        }
        Ok(())
    };
    TestRunner::deterministic()
        .run(&vec(any::<u8>(), 0..600), check)
        .unwrap();
    assert!(decoded.get() > 20, "{decoded:?} requests could be decoded");
}
