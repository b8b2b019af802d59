//! Routes in the machine's own namespace that make the cluster's addresses unreachable there: a
//! test can never pass by a way that does not lead through mirror, and no packet leaves.

use anyhow::Result;

use super::command::run;
use super::layout::{Layout, MACHINE_RANGE, POD_RANGE, Ranges, SERVICE_RANGE};

const RANGES: [Ranges; 3] = [POD_RANGE, SERVICE_RANGE, MACHINE_RANGE];

/// Adds the routes where missing.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    let metric = layout.route_metric().to_string();
    for range in RANGES.iter().flat_map(|ranges| [ranges.four, ranges.six]) {
        run("ip", &["route", "replace", "unreachable", range, "metric", &metric])?;
    }
    Ok(())
}

/// This cluster's routes that are there.
pub(crate) fn present(layout: &Layout) -> Result<Vec<String>> {
    let metric = format!("metric {}", layout.route_metric());
    let mut ours = Vec::new();
    for family in ["-4", "-6"] {
        let routes = run("ip", &[family, "route", "show", "type", "unreachable"])?;
        ours.extend(routes.lines().filter(|line| line.contains(&metric)).map(|line| line.trim().to_owned()));
    }
    Ok(ours)
}

/// Removes them.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    let metric = layout.route_metric().to_string();
    for route in present(layout)? {
        if let Some(range) = route.split_whitespace().find(|word| word.contains('/')) {
            run("ip", &["route", "delete", "unreachable", range, "metric", &metric])?;
        }
    }
    Ok(())
}
