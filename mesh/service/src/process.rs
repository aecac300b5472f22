//! Metrics of the process: version, start time, CPU, memory and open files.
//!
//! The names are those that all Prometheus client libraries use, so that common dashboards work.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, family::Family, gauge::ConstGauge, gauge::Gauge},
    registry::Registry,
};
use rustix::process::{Resource, getrlimit};

/// Ticks a second in which Linux reports times to programs, on all architectures of promesh.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the metrics of this process from `/proc` each time that they are asked for.
#[derive(Debug)]
struct Process;

/// Labels of `promesh_build_info`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    service: &'static str,
    version: &'static str,
}

/// Values of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Time between the start of the machine and that of the process.
    started_after: f64,
    threads: i64,
    virtual_bytes: i64,
}

/// Returns a registry with the metrics of the process of `service`.
pub(crate) fn registry(service: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Family::<Build, Gauge>::default();
    let version = crate::VERSION;
    build.get_or_create(&Build { service, version }).set(1);
    let help = "Version of the service; the value is always 1";
    registry.register("promesh_build_info", help, build);
    registry.register_collector(Box::new(Process));
    registry
}

// === impl Process ===

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let stat = Stat::parse(&read("/proc/self/stat"));
        let booted = booted_at(&read("/proc/stat"));
        if let Some(stat) = stat {
            let (name, help) = ("process_cpu_seconds", "CPU time of the process");
            let cpu = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(stat.cpu_seconds).encode(cpu)?;
        }
        let started = stat.zip(booted).map(|(it, at)| at + it.started_after);
        let gauges = [
            (
                "process_start_time_seconds",
                "Start of the process as Unix time; the uptime is time() minus this",
                started,
            ),
            (
                "process_resident_memory_bytes",
                "Memory of the process in RAM",
                resident_bytes(&read("/proc/self/status")),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory of the process",
                stat.map(|it| it.virtual_bytes as f64),
            ),
            (
                "process_threads",
                "Threads of the process",
                stat.map(|it| it.threads as f64),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                fs::read_dir("/proc/self/fd")
                    .ok()
                    .map(|it| it.count() as f64),
            ),
            (
                "process_max_fds",
                "Maximum number of open file descriptors",
                getrlimit(Resource::Nofile).current.map(|it| it as f64),
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(gauge)?;
            }
        }
        Ok(())
    }
}

// === impl Stat ===

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the name of the program, which may contain spaces and parentheses.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        // proc_pid_stat(5) counts from 1, and the state after the name is field 3.
        let field = |n: usize| fields.get(n - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            started_after: field(22)? / TICKS_PER_SECOND,
            threads: field(20)? as i64,
            virtual_bytes: field(23)? as i64,
        })
    }
}

/// Returns the start of the machine as Unix time, from `/proc/stat`.
fn booted_at(stat: &str) -> Option<f64> {
    let mut lines = stat.lines();
    lines.find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Returns the memory in RAM, from `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<f64> {
    let kib = |line: &str| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    };
    status.lines().find_map(kib).map(|kib: f64| kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_files_of_the_kernel() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1234 8192 3 1";
        let expected = Stat {
            cpu_seconds: 3.0,
            started_after: 12.34,
            threads: 9,
            virtual_bytes: 8192,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(booted_at("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
        let status = "Name:\tx\nVmRSS:\t    2048 kB\n";
        assert_eq!(resident_bytes(status), Some(2_097_152.0));
    }

    #[test]
    fn reports_this_process() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry("test-svc")).unwrap();
        let value = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value
                .unwrap_or_else(|| panic!("no {name} in {text}"))
                .parse::<f64>()
                .unwrap()
        };
        let now = mesh_base::clock::Clock::system().now_ms() as f64 / 1000.0;
        let uptime = now - value("process_start_time_seconds");
        assert!((-5.0..86_400.0).contains(&uptime), "{uptime}");
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        let build = format!(
            "promesh_build_info{{service=\"test-svc\",version=\"{}\"}} 1",
            crate::VERSION
        );
        assert!(text.contains(&build), "{text}");
    }
}
