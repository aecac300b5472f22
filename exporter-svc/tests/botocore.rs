//! Compares signatures with those of botocore, AWS' own implementation.
//!
//! Uses `PYTHON` or `python3` if it has botocore. Otherwise installs botocore from PyPI
//! into a folder of the build.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use bytes::Bytes;
use exporter_svc::sigv4::{Scope, sign_at};
use http::{HeaderName, HeaderValue, Method, Request};
use serde_json::{Value, json};

/// Reads requests as JSON and writes the headers that botocore adds.
const PROGRAM: &str = r#"
import datetime, json, sys
from unittest import mock
import botocore.auth, botocore.awsrequest, botocore.credentials

class At(datetime.datetime):
    @classmethod
    def utcnow(cls): return cls.now_
    @classmethod
    def now(cls, tz=None): return cls.now_.replace(tzinfo=tz)

answers = []
for case in json.load(sys.stdin):
    At.now_ = datetime.datetime.fromtimestamp(case["time"], datetime.timezone.utc).replace(tzinfo=None)
    keys = botocore.credentials.Credentials(case["key"], case["secret"], case["token"])
    request = botocore.awsrequest.AWSRequest(
        "POST", case["url"], headers=dict(case["headers"]), data=bytes(case["body"]))
    now = lambda *args, **kwargs: At.now_
    patches = [mock.patch("datetime.datetime", At)]
    if hasattr(botocore.auth, "get_current_datetime"):
        patches.append(mock.patch("botocore.auth.get_current_datetime", now))
    for patch in patches: patch.start()
    signer = botocore.auth.SigV4Auth(keys, case["service"], case["region"])
    request.headers["x-amz-content-sha256"] = signer.payload(request)
    signer.add_auth(request)
    for patch in patches: patch.stop()
    answers.append({name.lower(): value for name, value in request.headers.items()})
json.dump(answers, sys.stdout)
"#;

const INSTRUCTION: &str = "the test needs botocore; install python3-venv and allow access to PyPI, \
                           or set PYTHON to a Python that has botocore";

/// Path of a Python with botocore.
fn python() -> PathBuf {
    let has_botocore = |python: &Path| {
        let mut command = Command::new(python);
        let imported = command
            .args(["-c", "import botocore.auth"])
            .stderr(Stdio::null());
        imported.status().is_ok_and(|status| status.success())
    };
    let given = std::env::var_os("PYTHON").map(PathBuf::from);
    let found = given.unwrap_or_else(|| "python3".into());
    if has_botocore(&found) {
        return found;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("botocore");
    let own = folder.join("bin/python");
    if !has_botocore(&own) {
        let run = |program: &Path, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            assert!(status.is_ok_and(|status| status.success()), "{INSTRUCTION}");
        };
        run(&found, &["-m", "venv", folder.to_str().unwrap()]);
        run(&own, &["-m", "pip", "install", "--quiet", "botocore"]);
    }
    own
}

/// Headers that botocore adds to these requests.
fn botocore(cases: &[Value]) -> Vec<Value> {
    let mut child = Command::new(python())
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(INSTRUCTION);
    serde_json::to_writer(child.stdin.take().unwrap(), cases).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{INSTRUCTION}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn cases() -> Vec<Value> {
    let amp = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";
    let case = |url: &str, region: &str, service: &str, token: Option<&str>, body: &[u8]| {
        json!({
            "url": url, "region": region, "service": service, "token": token, "body": body,
            "key": "AKIDEXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "time": 1_795_437_296,
            "headers": [
                ["content-encoding", "snappy"],
                ["content-type", "application/x-protobuf"],
                ["x-prometheus-remote-write-version", "0.1.0"],
            ],
        })
    };
    let mut cases = vec![
        case(amp, "us-east-1", "aps", None, b"\x05\x10hello"),
        case(amp, "us-east-1", "aps", Some("a/session+token=="), b""),
        case(
            "https://aps-workspaces-fips.us-gov-west-1.api.aws/workspaces/ws-2/api/v1/remote_write",
            "us-gov-west-1",
            "aps",
            None,
            &[0; 4096],
        ),
        case(
            "https://aps-workspaces.cn-north-1.amazonaws.com.cn/workspaces/ws-3/api/v1/remote_write",
            "cn-north-1",
            "aps",
            Some("t"),
            b"\xff\x00",
        ),
        case(
            "https://proxy.example.com:8443/a/b?z=1&a=2",
            "eu-west-2",
            "execute-api",
            None,
            b"x",
        ),
        case("https://example.com/", "r", "s", None, b"x"),
    ];
    // The last second of a day, and an additional header.
    let mut late = case(amp, "ap-south-1", "aps", None, b"late");
    late["time"] = json!(1_798_761_599);
    let more = json!(["x-extra", "  two   spaces "]);
    late["headers"].as_array_mut().unwrap().push(more);
    cases.push(late);
    cases
}

/// Request signed by the exporter's code.
fn signed(case: &Value) -> Request<Bytes> {
    let text = |name: &str| case[name].as_str().unwrap();
    let body: Vec<u8> = serde_json::from_value(case["body"].clone()).unwrap();
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = text("url").parse().unwrap();
    for header in case["headers"].as_array().unwrap() {
        let name: HeaderName = header[0].as_str().unwrap().parse().unwrap();
        let value: HeaderValue = header[1].as_str().unwrap().parse().unwrap();
        request.headers_mut().insert(name, value);
    }
    let token = case["token"].as_str().map(str::to_owned);
    let credentials = Credentials::new(text("key"), text("secret"), token, None, "test");
    let scope = Scope {
        region: text("region").to_owned(),
        service: text("service").to_owned(),
    };
    let time = Duration::from_secs(case["time"].as_u64().unwrap());
    sign_at(
        &mut request,
        &scope,
        &credentials,
        SystemTime::UNIX_EPOCH + time,
    )
    .unwrap();
    request
}

#[test]
fn signatures_match_botocore() {
    let cases = cases();
    let theirs = botocore(&cases);
    assert_eq!(theirs.len(), cases.len());
    for (case, theirs) in cases.iter().zip(&theirs) {
        let ours = signed(case);
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
            let ours = ours.headers()[name].to_str().unwrap();
            assert_eq!(
                Some(ours),
                theirs[name].as_str(),
                "{name} of {}",
                case["url"]
            );
        }
    }
}
