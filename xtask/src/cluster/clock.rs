//! Points in time as certificates and Kubernetes write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// Year to second in UTC, without anything between: the form of certificates.
pub(crate) fn compact(since_epoch: Duration) -> String {
    let [year, month, day, hour, minute, second] = parts(since_epoch);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

/// The form of Kubernetes, in which earlier times sort before later ones.
pub(crate) fn rfc3339(since_epoch: Duration) -> String {
    let [year, month, day, hour, minute, second] = parts(since_epoch);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The present time.
pub(crate) fn now() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")
}

fn parts(since_epoch: Duration) -> [u64; 6] {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let [year, month, day] = civil(days);
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

/// Year, month and day of a day since 1970. Counts from 1 March of year 0, because then the leap
/// day is the last of its year.
fn civil(days: u64) -> [u64; 3] {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    [year_of_era + era * 400 + u64::from(month <= 2), month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let cases = [
            (0, "19700101000000Z"),
            (951_782_399, "20000228235959Z"),
            (951_782_400, "20000229000000Z"),
            (1_709_251_199, "20240229235959Z"),
            (4_102_444_800, "21000101000000Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(compact(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(rfc3339(Duration::from_secs(951_782_399)), "2000-02-28T23:59:59Z");
    }
}
