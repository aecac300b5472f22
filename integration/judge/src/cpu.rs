//! CPU time of processes and of the machine, as Linux reports it below `/proc`.

use std::{fs, time::Duration};

use anyhow::Context;

/// Unit of CPU times in `/proc`. It is 100 on every architecture.
const TICKS_PER_SECOND: u64 = 100;
/// Index of `ppid` among the fields after the process name.
const PARENT: usize = 4 - 3;
/// Index of `utime` among these fields. `stime`, `cutime` and `cstime` follow.
const USER_TIME: usize = 14 - 3;

/// CPU time that a process has used, without its children.
///
/// # Errors
/// Returns an error if the process does not exist.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    Ok(times(&stat(&pid.to_string())?, 2))
}

/// CPU time that this process and its children have used.
///
/// # Errors
/// Returns an error if `/proc` cannot be read.
pub(crate) fn of_this_tree() -> anyhow::Result<Duration> {
    // The last two times are those of children that have ended.
    let own = times(&stat("self")?, 4);
    let pid = std::process::id().to_string();
    let mut running = Duration::ZERO;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let is_process = name.to_string_lossy().parse::<u32>().is_ok();
        // A process may end after it was listed.
        let stat = is_process.then(|| stat(&name.to_string_lossy()).ok());
        let stat = stat.flatten().unwrap_or_default();
        if stat.get(PARENT) == Some(&pid) {
            running += times(&stat, 4);
        }
    }
    Ok(own + running)
}

/// CPU time that all programs on the machine have used, and that its host took from it.
///
/// # Errors
/// Returns an error if `/proc` cannot be read.
pub(crate) fn of_machine() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split(' ').filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].map(|field| fields.get(field).copied().unwrap_or(0));
    Ok(duration(busy.iter().sum()))
}

/// Total time during which some task of the machine waited for a CPU.
///
/// # Errors
/// Returns an error if the kernel does not report pressure.
pub(crate) fn pressure() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/pressure/cpu")?;
    let line = text.lines().next().unwrap_or_default();
    let (_, total) = line.rsplit_once("total=").context("no total")?;
    Ok(Duration::from_micros(total.parse()?))
}

/// Fields of a process's `stat` file that follow its name.
fn stat(pid: &str) -> anyhow::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name is in parentheses and may contain any character.
    let (_, fields) = stat.rsplit_once(") ").context("no process name")?;
    Ok(fields.split(' ').map(str::to_owned).collect())
}

/// Sum of the first `count` CPU times.
fn times(stat: &[String], count: usize) -> Duration {
    let times = stat.iter().skip(USER_TIME).take(count);
    let ticks = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    duration(ticks)
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_part_of_its_tree_and_of_the_machine() {
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let own = of_process(std::process::id()).unwrap();
        let tree = of_this_tree().unwrap();
        assert!(!own.is_zero() && own <= tree, "{own:?}, {tree:?}");
        assert!(tree <= of_machine().unwrap());
    }
}
