//! Figures of paired runs: their spread, their ratios, and whether they reach a goal.

use std::fmt;

/// Smallest, median and largest value; not a number where there is none.
pub(super) fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let pick = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [pick(0), pick(values.len() / 2), pick(values.len().saturating_sub(1))]
}

/// What a figure, or the ratio of a pair, should be.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// Told for information.
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    /// The goal and whether `value` reaches it, for the last columns of a table.
    pub(super) fn judge(self, value: f64) -> String {
        let reached = match self {
            Goal::None => return String::new(),
            Goal::AtMost(limit) => value <= limit,
            Goal::AtLeast(limit) => value >= limit,
        };
        format!("{self:<8} {}", if reached { "ok" } else { "missed" })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Goal::None => String::new(),
            Goal::AtMost(limit) => format!("≤ {limit}"),
            Goal::AtLeast(limit) => format!("≥ {limit}"),
        };
        f.pad(&text)
    }
}

/// Heads the columns of [`print_pairs`].
pub(super) fn print_heading(title: &str) {
    println!("\n{title:<38} {:>9} {:>9} {:<9} {:>7} {:>15}  goal", "mirror", "baseline", "", "ratio", "least – most");
}

/// One row: the medians of both sides, and the median and the spread of the ratios of the pairs.
pub(super) fn print_pairs(name: &str, ours: &[f64], theirs: &[f64], baseline: &str, goal: Goal) {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let [least, ratio, most] = spread(ratios);
    let ([_, ours, _], [_, theirs, _]) = (spread(ours.to_vec()), spread(theirs.to_vec()));
    let range = format!("{least:.2} – {most:.2}");
    let verdict = goal.judge(ratio);
    println!("{name:<38} {ours:>9.2} {theirs:>9.2} {baseline:<9} {ratio:>7.2} {range:>15}  {verdict}");
}

/// One row of a figure that has no pair.
pub(super) fn print_alone(name: &str, value: f64, goal: Goal) {
    println!("{name:<38} {value:>9.2} {:>44}  {}", "", goal.judge(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_least_median_and_most() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert!(spread(Vec::new())[1].is_nan());
    }

    #[test]
    fn goals_include_their_limit_and_a_missing_figure_misses() {
        assert_eq!(Goal::AtMost(0.6).judge(0.6), "≤ 0.6    ok");
        assert_eq!(Goal::AtLeast(0.9).judge(0.89), "≥ 0.9    missed");
        assert!(Goal::AtMost(1.0).judge(f64::NAN).ends_with("missed"));
        assert_eq!(Goal::None.judge(1.0), "");
    }
}
