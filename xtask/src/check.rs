//! `cargo xtask check`: everything that must hold before a change is handed in, in one command. All steps run
//! to their end, so that one run tells everything that is wrong.

mod steps;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

/// Most entries that the summary repeats for one step.
const SHOWN: usize = 20;

/// What to do.
#[derive(Args, Default)]
pub(crate) struct Check {
    /// Repair what can be repaired: format, and write the generated files.
    #[arg(long)]
    fix: bool,
}

/// One step: what it is called, and what returns the list of what is wrong.
struct Step {
    name: &'static str,
    work: fn(fix: bool) -> Result<Vec<String>>,
}

const STEPS: &[Step] = &[
    Step { name: "format", work: steps::format },
    Step { name: "tidy", work: steps::tidy },
    Step { name: "clippy", work: steps::clippy },
    Step { name: "codegen", work: steps::codegen },
    Step { name: "extension", work: steps::extension },
    Step { name: "tests", work: steps::tests },
];

/// Runs all steps and fails if any did.
pub(crate) fn run(check: &Check) -> Result<()> {
    let mut failed = Vec::new();
    let mut lines = Vec::new();
    for step in STEPS {
        println!("== {}", step.name);
        let began = Instant::now();
        let problems = (step.work)(check.fix).unwrap_or_else(|error| vec![format!("{error:#}")]);
        let seconds = began.elapsed().as_secs_f64();
        let outcome = if problems.is_empty() { "ok" } else { "FAILED" };
        println!("== {}: {outcome} ({seconds:.1} s)\n", step.name);
        lines.push(format!("{outcome:>6}  {:<8} {seconds:>6.1} s", step.name));
        if !problems.is_empty() {
            failed.push(step.name);
            lines.extend(shortened(&problems));
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    if failed.is_empty() { Ok(()) } else { bail!("check: {} failed", failed.join(", ")) }
}

fn shortened(problems: &[String]) -> Vec<String> {
    let mut shown: Vec<_> = problems.iter().take(SHOWN).map(|problem| format!("          {problem}")).collect();
    if problems.len() > SHOWN {
        shown.push(format!("          … and {} more, see above", problems.len() - SHOWN));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let problems = |count: usize| vec!["x".to_owned(); count];
        assert_eq!(shortened(&problems(SHOWN)).len(), SHOWN);
        let cut = shortened(&problems(SHOWN + 3));
        assert_eq!((cut.len(), cut[SHOWN].trim()), (SHOWN + 1, "… and 3 more, see above"));
    }
}
