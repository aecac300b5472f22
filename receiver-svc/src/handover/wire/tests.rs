use std::sync::Arc;

use mesh_outbox::OldestPending;

use super::*;

type Edit = fn(&mut wire::HandoverRequest);
type EditResponse<'a> = &'a dyn Fn(&mut wire::HandoverResponse);

fn request() -> wire::HandoverRequest {
    let process = wire::Process {
        id: 7,
        age_ms: 1,
        wait: Some(wire::WaitTimes::default()),
    };
    wire::HandoverRequest {
        sender: "10.0.0.1:9095".to_owned(),
        process: Some(process),
        claimed: vec![1, 2],
        ..Default::default()
    }
}

fn decoded(edit: impl Fn(&mut wire::HandoverRequest)) -> Checked<HandoverRequest> {
    let mut request = request();
    edit(&mut request);
    HandoverRequest::decode(request.encode_to_vec().into())
}

#[test]
fn rejects_requests_that_no_receiver_sends() {
    assert!(decoded(|_| {}).is_ok());
    let impossible: [(&str, Edit); 11] = [
        ("sender", |it| it.sender.clear()),
        ("sender", |it| it.sender = "a".repeat(300)),
        ("sender", |it| it.sender = "victim/path?:80".to_owned()),
        ("sender", |it| it.sender = "user@victim:80".to_owned()),
        ("process", |it| it.process = None),
        ("process.id", |it| it.process.as_mut().unwrap().id = 1 << 53),
        ("process.age_ms", |it| {
            it.process.as_mut().unwrap().age_ms = u64::MAX
        }),
        ("process.wait", |it| {
            it.process.as_mut().unwrap().wait = Some(wire::WaitTimes {
                export_ms: 0,
                away_ms: u64::MAX,
            });
        }),
        ("shutdown", |it| it.shutdown = 3),
        ("claimed", |it| it.claimed = vec![2, 1]),
        ("held_back", |it| it.held_back = vec![1, 1]),
    ];
    for (field, edit) in impossible {
        let expected = InvalidMessage::Impossible { field };
        assert_eq!(decoded(edit).unwrap_err(), expected);
    }
    let garbage = HandoverRequest::decode(Bytes::from_static(b"{}"));
    assert!(matches!(garbage, Err(InvalidMessage::Malformed(_))));
}

#[test]
fn rejects_responses_that_no_receiver_sends() {
    let request = decoded(|_| {}).unwrap();
    let response = wire::HandoverResponse {
        process: self::request().process,
        ..Default::default()
    };
    let state = |target| wire::TargetState {
        target,
        ..Default::default()
    };
    let report = wire::PeerReport {
        wait: Some(wire::WaitTimes::default()),
        ..Default::default()
    };
    let decode = |edit: &dyn Fn(&mut wire::HandoverResponse)| {
        let mut response = response.clone();
        edit(&mut response);
        HandoverResponse::decode(response.encode_to_vec().into(), &request)
    };
    assert!(decode(&|it| it.targets = vec![state(1), state(2)]).is_ok());
    let column: [(&str, EditResponse<'_>); 8] = [
        ("targets", &|it| it.targets = vec![state(1), state(1)]),
        ("targets.target", &|it| it.targets = vec![state(3)]),
        ("targets.oldest_batch_ms", &|it| {
            let oldest_batch_ms = Some(i64::MIN);
            it.targets = vec![wire::TargetState {
                oldest_batch_ms,
                ..state(1)
            }];
        }),
        ("destinations", &|it| {
            it.destinations = vec!["a".to_owned(), "a".to_owned()];
        }),
        ("targets.backlogs", &|it| {
            it.destinations = vec!["a".to_owned()];
            it.targets = vec![wire::TargetState {
                oldest_batch_ms: Some(1),
                backlogs: vec![wire::DestinationBacklog {
                    destination: 1,
                    oldest_batch_ms: 1,
                }],
                ..state(1)
            }];
        }),
        ("peers", &|it| {
            it.peers = (0..MAX_PEERS + 2)
                .map(|n| (format!("p{n}:1"), report))
                .collect();
        }),
        ("peers.earlier_exports_ms", &|it| {
            let earlier_exports_ms = u64::MAX;
            let report = wire::PeerReport {
                earlier_exports_ms,
                ..report
            };
            it.peers.insert("b:1".to_owned(), report);
        }),
        ("peers.wait", &|it| {
            let report = wire::PeerReport {
                wait: None,
                ..report
            };
            it.peers.insert("b:1".to_owned(), report);
        }),
    ];
    for (field, edit) in column {
        let expected = InvalidMessage::Impossible { field };
        assert_eq!(decode(edit).unwrap_err(), expected);
    }
}

#[test]
fn decodes_what_it_encodes() {
    let request = HandoverRequest {
        sender: "a:1".to_owned(),
        process: Process::default(),
        shutdown: Some(ShutdownPhase::Drained),
        claimed: vec![1, 5],
        watched: vec![2],
        held_back: vec![5],
    };
    let decoded = HandoverRequest::decode(request.encode().into()).unwrap();
    assert_eq!(decoded, request);
    let report = PeerReport {
        stated_ms: Some(3),
        drained_process: Some(0),
        is_pod_deleted: true,
        ..PeerReport::default()
    };
    let response = HandoverResponse {
        shutdown: Some(ShutdownPhase::Stopped),
        scraped: [1].into(),
        claimed: [2].into(),
        ended: [5].into(),
        up: [1].into(),
        last_scrape_ms: [(1, 1_000)].into(),
        oldest_pending: [
            (1, at_each(&[("a", None), ("b", Some(800))])),
            (5, OldestPending::everywhere(900)),
        ]
        .into(),
        peers: [("b:1".to_owned(), report)].into(),
        ..HandoverResponse::default()
    };
    let decoded = HandoverResponse::decode(response.encode().into(), &request).unwrap();
    assert_eq!(decoded, response);
}

#[test]
fn many_backlogs_of_a_target_count_for_all_destinations() {
    let request = HandoverRequest {
        sender: "a:1".to_owned(),
        process: Process::default(),
        shutdown: None,
        claimed: vec![1],
        watched: vec![],
        held_back: vec![],
    };
    let names: Vec<_> = (0..=MAX_BACKLOGS).map(|n| format!("d{n}")).collect();
    let times: Vec<_> = names.iter().map(|name| (name.as_str(), Some(7))).collect();
    let response = HandoverResponse {
        oldest_pending: [(1, at_each(&times))].into(),
        ..HandoverResponse::default()
    };
    let decoded = HandoverResponse::decode(response.encode().into(), &request).unwrap();
    let expected = [(1, OldestPending::everywhere(7))].into();
    assert_eq!(decoded.oldest_pending, expected);
}

fn at_each(times: &[(&str, Option<i64>)]) -> OldestPending {
    let times = times.iter().map(|(name, ms)| (Arc::from(*name), *ms));
    OldestPending::at_each(times.collect()).unwrap()
}
