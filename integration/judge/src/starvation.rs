//! Detects runs in which other programs left too little CPU to the processes under test.
//!
//! Laws such as "samples flow 10 s after a failure" hold only if the machine runs the
//! processes. A run that breaks only such laws on a starved machine is void: it is
//! neither a success nor a failure.

use std::{
    fmt,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::time::error::Elapsed;

use crate::cpu;

/// Exit status of a command whose only failures are void runs. `.ci/run` reports the stage
/// as skipped.
pub const EXIT_STATUS: u8 = 75;

/// Measures over a time how much CPU the machine gave to this process tree.
#[derive(Debug)]
pub struct Watchdog {
    stop: Sender<()>,
    thread: JoinHandle<Duration>,
    started: Instant,
    before: Option<CpuTimes>,
}

/// CPU that the machine gave to this process tree over a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Starvation {
    /// Longest time by which a sleeping thread woke up too late.
    pub longest_pause: Duration,
    /// Share of the time during which some task waited for a CPU, from 0 to 1.
    pub pressure: f64,
    /// Share of the machine's CPU time that other programs used, from 0 to 1.
    pub others: f64,
}

/// The machine was starved, and laws that depend on the clock were broken.
#[derive(Clone, Debug)]
pub struct Void {
    /// Names of the void runs.
    pub runs: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct CpuTimes {
    pressure: Duration,
    machine: Duration,
    tree: Duration,
}

const SLEEP: Duration = Duration::from_millis(100);
/// A pause this long uses up half of the shortest scrape timeout.
const LONG_PAUSE: Duration = Duration::from_millis(500);
/// Pressure and share of other programs that starve the processes under test. An idle
/// machine has neither; a compiler beside the run has both.
const HIGH_PRESSURE: f64 = 0.5;
const HIGH_SHARE: f64 = 0.25;

/// Runs `run`. If the result is excusable and the machine was starved, runs it once more.
///
/// Returns the last result. The second value is set if that result is void, too.
pub(crate) async fn retry_if_void<T>(
    name: &str,
    run: impl AsyncFn() -> T,
    is_excusable: impl Fn(&T) -> bool,
) -> (T, Option<Starvation>) {
    let mut is_retry = false;
    loop {
        let watchdog = Watchdog::start();
        let result = run().await;
        let starvation = watchdog.stop();
        if !is_excusable(&result) || !starvation.is_starved() {
            return (result, None);
        }
        println!("VOID: the machine was starved ({starvation}): {name}");
        if is_retry {
            return (result, Some(starvation));
        }
        is_retry = true;
    }
}

/// Returns `true` if an error says that something took too long.
pub(crate) fn is_timeout(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Elapsed>())
}

// === impl Watchdog ===

impl Watchdog {
    /// Starts to measure.
    pub fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let asleep = Instant::now();
                let woken = stopped.recv_timeout(SLEEP);
                longest = longest.max(asleep.elapsed().saturating_sub(SLEEP));
                if woken != Err(RecvTimeoutError::Timeout) {
                    return longest;
                }
            }
        });
        Self {
            stop,
            thread,
            started: Instant::now(),
            before: CpuTimes::now().ok(),
        }
    }

    /// Stops and returns what was measured.
    pub fn stop(self) -> Starvation {
        // The thread ends if the channel is closed, too.
        let _ = self.stop.send(());
        let longest_pause = self.thread.join().unwrap_or_default();
        let elapsed = self.started.elapsed();
        let mut starvation = Starvation {
            longest_pause,
            ..Starvation::default()
        };
        if let (Some(before), Ok(after)) = (self.before, CpuTimes::now()) {
            let machine = after.machine.saturating_sub(before.machine);
            let others = machine.saturating_sub(after.tree.saturating_sub(before.tree));
            let cpus = thread::available_parallelism().map_or(1, usize::from) as f64;
            let pressure = after.pressure.saturating_sub(before.pressure);
            starvation.pressure = pressure.div_duration_f64(elapsed);
            starvation.others = others.div_duration_f64(elapsed) / cpus;
        }
        starvation
    }
}

// === impl Starvation ===

impl Starvation {
    /// Returns `true` if laws that depend on the clock may be broken for want of CPU.
    pub fn is_starved(&self) -> bool {
        let is_contended = self.pressure >= HIGH_PRESSURE && self.others >= HIGH_SHARE;
        is_contended || self.longest_pause >= LONG_PAUSE
    }
}

impl fmt::Display for Starvation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "longest pause {:.1} s, CPU pressure {:.0} %, other programs used {:.0} % of the CPU",
            self.longest_pause.as_secs_f64(),
            self.pressure * 100.0,
            self.others * 100.0
        )
    }
}

// === impl Void ===

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "void, as the machine was starved: {}; repeat on an idle machine",
            self.runs.join(", ")
        )
    }
}

impl std::error::Error for Void {}

// === impl CpuTimes ===

impl CpuTimes {
    fn now() -> anyhow::Result<Self> {
        Ok(Self {
            pressure: cpu::pressure()?,
            machine: cpu::of_machine()?,
            tree: cpu::of_this_tree()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn starvation_needs_other_programs_or_a_long_pause() {
        let starved = |pause_ms, pressure, others| {
            let longest_pause = Duration::from_millis(pause_ms);
            let starvation = Starvation {
                longest_pause,
                pressure,
                others,
            };
            starvation.is_starved()
        };
        assert!(!starved(20, 0.1, 0.1));
        assert!(starved(20, 0.9, 0.6));
        // The processes under test themselves keep the CPUs busy.
        assert!(!starved(20, 0.9, 0.05));
        // Another program uses a CPU that nothing else needs.
        assert!(!starved(20, 0.1, 0.5));
        assert!(starved(700, 0.0, 0.0));
    }

    #[tokio::test]
    async fn a_result_that_needs_no_excuse_is_not_repeated() {
        for (is_excusable, result) in [(false, "failed"), (true, "passed")] {
            let runs = Cell::new(0);
            let run = async || {
                runs.set(runs.get() + 1);
                result
            };
            let excusable = |result: &&str| is_excusable && *result == "failed";
            assert_eq!(retry_if_void("run", run, excusable).await.0, result);
            assert_eq!(runs.get(), 1);
        }
    }

    #[tokio::test]
    async fn an_excusable_result_of_a_starved_run_is_repeated_once() {
        let runs = Cell::new(0);
        let run = async || {
            runs.set(runs.get() + 1);
            runs.get()
        };
        let (result, void) = retry_if_void("run", run, |_| true).await;
        // An idle machine gives one run, a starved one two.
        assert_eq!(result, if void.is_some() { 2 } else { 1 });
    }

    #[tokio::test]
    async fn a_timeout_is_found_below_its_context() {
        let elapsed = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>());
        let elapsed = elapsed.await.unwrap_err();
        assert!(is_timeout(&anyhow::Error::new(elapsed).context("late")));
        assert!(!is_timeout(&anyhow::anyhow!("late")));
    }
}
