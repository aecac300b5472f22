//! Bounds of what one body may cost: its texts, the memory of its series and samples, and the
//! time until the scrape timeout.
//!
//! Prometheus has no such limits by default. The receiver has, since one hostile target must
//! not end the scrapes of the others, and since a batch has to fit into a request to an
//! exporter.

use std::time::Duration;

use mesh_base::budget::{Budget, Reservation};
use tokio::time::Instant;

/// Maximum lengths of the texts of a body in bytes, and maximum memory of its series.
#[derive(Clone, Copy, Debug)]
pub struct TextLimits {
    /// Maximum length of the name and labels of a sample, as exposed
    /// (`--scrape.max-line-bytes`).
    pub line: usize,
    /// Maximum length of a metric name or a label name (`--scrape.max-name-bytes`).
    pub name: usize,
    /// Maximum length of a label value (`--scrape.max-value-bytes`).
    pub value: usize,
    /// Maximum length of a HELP text or a unit (`--scrape.max-help-bytes`).
    pub help: usize,
}

/// Body that exceeds a bound. The scrape fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// Text that is too long.
    #[error("{what} of {bytes} bytes in {metric:?}, expected at most {limit} ({flag})")]
    Text {
        /// Description of the text.
        what: &'static str,
        /// Beginning of the metric name.
        metric: String,
        /// Length in bytes.
        bytes: usize,
        /// Maximum length in bytes.
        limit: usize,
        /// Flag that sets the limit.
        flag: &'static str,
    },
    /// Series of one target, or of all targets, that need too much memory.
    #[error("the series of the target need more than {limit} bytes of memory ({flag})")]
    Series {
        /// Maximum memory in bytes.
        limit: usize,
        /// Flag that sets the limit.
        flag: &'static str,
    },
    /// Samples that need more memory than all scrapes together have left.
    #[error(
        "memory budget of all scrapes exceeded: the samples need {bytes} bytes \
         (--scrape.memory-budget)"
    )]
    Samples {
        /// Memory in bytes.
        bytes: usize,
    },
    /// Body that could not be processed within the scrape timeout.
    #[error(
        "the body was not processed within the scrape timeout of {}",
        mesh_model::config::duration::format(*.0)
    )]
    Timeout(Duration),
}

/// Bounds of one body. Without a value, a bound does not apply.
#[derive(Debug, Default)]
pub(crate) struct Bounds<'a> {
    pub(crate) texts: TextLimits,
    /// Time at which the scrape times out, and its timeout.
    pub(crate) deadline: Option<(Instant, Duration)>,
    /// Memory of the body and its samples.
    pub(crate) memory: Option<&'a mut Reservation>,
    /// Memory of all series, and the maximum for one target.
    pub(crate) series: Option<(&'a Budget, usize)>,
}

/// Beginning of a name in an error message, in characters.
const SHOWN_CHARS: usize = 50;
/// Bytes that series grow by until their memory is reserved again.
const STEP: usize = 256 << 10;

// === impl TextLimits ===

impl TextLimits {
    /// Checks the text of a series before it is parsed.
    ///
    /// # Errors
    /// Returns an error if it is too long.
    pub(crate) fn check_line(&self, text: &[u8]) -> Result<(), BoundError> {
        let metric = || String::from_utf8_lossy(&text[..text.len().min(SHOWN_CHARS)]).into_owned();
        let flag = "--scrape.max-line-bytes";
        check("a line", metric, text.len(), self.line, flag)
    }

    /// Checks the name and the labels of a series.
    ///
    /// # Errors
    /// Returns an error if a name or a value is too long.
    pub(crate) fn check_labels(&self, labels: &[(String, String)]) -> Result<(), BoundError> {
        for (at, (name, value)) in labels.iter().enumerate() {
            let metric = || {
                labels
                    .first()
                    .map_or_else(String::new, |(_, metric)| shown(metric))
            };
            let flag = "--scrape.max-name-bytes";
            // The first label is the name of the metric.
            if at == 0 {
                check("a metric name", metric, value.len(), self.name, flag)?;
                continue;
            }
            check("a label name", metric, name.len(), self.name, flag)?;
            let flag = "--scrape.max-value-bytes";
            check("a label value", metric, value.len(), self.value, flag)?;
        }
        Ok(())
    }

    /// Checks a line of metadata.
    ///
    /// # Errors
    /// Returns an error if the name or the text is too long.
    pub(crate) fn check_metadata(&self, metric: &str, text: &str) -> Result<(), BoundError> {
        let name = || shown(metric);
        let flag = "--scrape.max-name-bytes";
        check("a metric name", name, metric.len(), self.name, flag)?;
        check(
            "a help text or unit",
            name,
            text.len(),
            self.help,
            "--scrape.max-help-bytes",
        )
    }
}

impl Default for TextLimits {
    fn default() -> Self {
        Self {
            line: usize::MAX,
            name: usize::MAX,
            value: usize::MAX,
            help: usize::MAX,
        }
    }
}

// === impl Bounds ===

impl Bounds<'_> {
    /// Checks that the scrape has not timed out.
    ///
    /// # Errors
    /// Returns an error after the timeout.
    pub(crate) fn check_time(&self) -> Result<(), BoundError> {
        match self.deadline {
            Some((deadline, timeout)) if Instant::now() >= deadline => {
                Err(BoundError::Timeout(timeout))
            }
            _ => Ok(()),
        }
    }

    /// Reserves the memory of the body and its samples, `bytes` in total.
    ///
    /// # Errors
    /// Returns an error if too little of the budget of all scrapes is free.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), BoundError> {
        let fits = self
            .memory
            .as_mut()
            .is_none_or(|memory| memory.grow_to(bytes));
        if fits {
            Ok(())
        } else {
            Err(BoundError::Samples { bytes })
        }
    }

    /// Reserves the memory of the target's series, `bytes` in total.
    ///
    /// # Errors
    /// Returns an error if the target or all targets together exceed their limit.
    pub(crate) fn reserve_series(
        &self,
        reservation: &mut Option<Reservation>,
        bytes: usize,
    ) -> Result<(), BoundError> {
        let Some((budget, limit)) = self.series else {
            return Ok(());
        };
        if bytes > limit {
            let flag = "--scrape.max-series-bytes";
            return Err(BoundError::Series { limit, flag });
        }
        let reservation = reservation.get_or_insert_with(|| budget.empty_reservation());
        if bytes <= reservation.bytes() {
            return Ok(());
        }
        if reservation.grow_to(bytes + STEP) || reservation.grow_to(bytes) {
            return Ok(());
        }
        Err(BoundError::Series {
            limit: budget.capacity(),
            flag: "--scrape.series-memory-budget, for all targets",
        })
    }
}

fn check(
    what: &'static str,
    metric: impl FnOnce() -> String,
    bytes: usize,
    limit: usize,
    flag: &'static str,
) -> Result<(), BoundError> {
    if bytes <= limit {
        return Ok(());
    }
    Err(BoundError::Text {
        what,
        metric: metric(),
        bytes,
        limit,
        flag,
    })
}

fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use mesh_model::labels::Labels;

    use super::*;
    use crate::scrape::{AppendError, Cache, FailureReason, InOrder, Scrape, ScrapeError, cache};

    const NOW_MS: i64 = 1_700_000_000_000;

    fn append(cache: &mut Cache, body: &str, bounds: Bounds<'_>) -> Result<usize, AppendError> {
        let options = cache::tests::options();
        let target: Labels = [("job", "j")].into_iter().collect();
        let storage = InOrder::at(NOW_MS);
        let mut scrape = Scrape::begin(cache, &options, &target, storage, NOW_MS);
        let format = Some("text/plain; version=0.0.4");
        let appended = scrape.append_within(format, body.as_bytes(), bounds);
        if appended.is_err() {
            scrape.append_nothing();
        }
        let samples = scrape.commit().samples().count();
        appended.map(|()| samples)
    }

    fn reason(error: AppendError) -> FailureReason {
        ScrapeError::from(error).reason()
    }

    /// A body with this many short series.
    fn short_series(count: usize) -> String {
        (0..count).map(|i| format!("s{i} 1\n")).collect()
    }

    #[test]
    fn each_text_has_a_limit_that_the_error_names() {
        let texts = TextLimits {
            line: 100,
            name: 10,
            value: 20,
            help: 30,
        };
        let with_texts = |body: &str| {
            let bounds = Bounds {
                texts,
                ..Bounds::default()
            };
            append(&mut Cache::new(), body, bounds)
        };
        let (name, value, help) = ("n".repeat(10), "v".repeat(20), "h".repeat(30));
        let fits = format!("# HELP {name} {help}\n{name}{{{name}=\"{value}\"}} 1\n");
        assert_eq!(with_texts(&fits), Ok(1));
        for (body, flag) in [
            (format!("a{{b=\"{}\"}} 1\n", "v".repeat(100)), "line"),
            (format!("{}a 1\n", name), "name"),
            (format!("# TYPE {name}a counter\n"), "name"),
            (format!("a{{{name}a=\"\"}} 1\n"), "name"),
            (format!("a{{b=\"{value}a\"}} 1\n"), "value"),
            (format!("# HELP a {help}a\n"), "help"),
        ] {
            let error = with_texts(&body).unwrap_err();
            let flag = format!("--scrape.max-{flag}-bytes");
            assert!(error.to_string().contains(&flag), "{error}");
            assert_eq!(reason(error), FailureReason::TextLimit);
        }
    }

    #[test]
    fn the_memory_of_series_is_bounded_per_target_and_for_all() {
        let budget = Budget::new(4 << 20);
        let series = |limit| Bounds {
            series: Some((&budget, limit)),
            ..Bounds::default()
        };
        let (mut one, mut other) = (Cache::new(), Cache::new());
        let error = append(&mut one, &short_series(20_000), series(1 << 20)).unwrap_err();
        assert!(
            error.to_string().contains("--scrape.max-series-bytes"),
            "{error}"
        );
        assert_eq!(reason(error), FailureReason::SeriesMemory);
        assert!(budget.reserved() <= 2 << 20, "{}", budget.reserved());
        // A smaller body succeeds, and the memory of the refused series is free again.
        assert_eq!(
            append(&mut one, &short_series(100), series(1 << 20)),
            Ok(100)
        );
        assert_eq!(
            append(&mut one, &short_series(100), series(1 << 20)).ok(),
            Some(0)
        );
        let error = append(&mut other, &short_series(40_000), series(usize::MAX)).unwrap_err();
        assert!(
            error.to_string().contains("--scrape.series-memory-budget"),
            "{error}"
        );
        drop((one, other));
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn metadata_without_series_is_bounded_too() {
        let budget = Budget::new(1 << 20);
        let bounds = Bounds {
            series: Some((&budget, 1 << 20)),
            ..Bounds::default()
        };
        let body: String = (0..20_000)
            .map(|i| format!("# TYPE f{i} counter\n"))
            .collect();
        let error = append(&mut Cache::new(), &body, bounds).unwrap_err();
        assert_eq!(reason(error), FailureReason::SeriesMemory);
    }

    #[test]
    fn the_memory_budget_covers_samples_and_repeated_help() {
        let budget = Budget::new(8 << 20);
        let run = |body: &str| {
            let mut memory = budget.empty_reservation();
            let bounds = Bounds {
                memory: Some(&mut memory),
                ..Bounds::default()
            };
            append(&mut Cache::new(), body, bounds)
        };
        assert_eq!(run(&short_series(10_000)), Ok(10_000));
        assert_eq!(
            reason(run(&short_series(60_000)).unwrap_err()),
            FailureReason::MemoryBudget
        );
        // Each sample is of another metric than the one before, so each repeats the text.
        let help = format!("# HELP a {}\n# TYPE a summary\n", "h".repeat(20_000));
        let repeating: String = (0..1000)
            .map(|i| format!("a_sum{{b=\"{i}\"}} 1\na_count{{b=\"{i}\"}} 1\n"))
            .collect();
        let error = run(&format!("{help}{repeating}")).unwrap_err();
        assert_eq!(reason(error), FailureReason::MemoryBudget);
    }

    #[test]
    fn parsing_stops_at_the_scrape_timeout() {
        let timeout = Duration::from_secs(10);
        let bounds = || Bounds {
            deadline: Some((Instant::now(), timeout)),
            ..Bounds::default()
        };
        let error = append(&mut Cache::new(), &short_series(1000), bounds()).unwrap_err();
        assert_eq!(reason(error), FailureReason::Timeout);
    }

    #[test]
    fn many_labels_on_a_line_take_no_quadratic_time() {
        // Comparing all pairs would take minutes.
        let labels: String = (0..200_000)
            .map(|i| format!("l{}=\"v\",", i * 7919 % 200_000))
            .collect();
        let body = format!("a{{{labels}}} 1\n");
        assert_eq!(append(&mut Cache::new(), &body, Bounds::default()), Ok(1));
        let twice = format!("a{{{labels}l0=\"w\"}} 1\n");
        let error = append(&mut Cache::new(), &twice, Bounds::default()).unwrap_err();
        assert!(error.to_string().contains("not unique"), "{error}");
    }
}
