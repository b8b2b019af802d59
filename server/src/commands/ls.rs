//! `mirror ls`: what can be a target.

use config::target::{KINDS, Kind, TargetKind};

use crate::cli::{ListFormat, Ls};
use crate::failure::{Class, Failure, Result, nearest};
use crate::kube::client::Cluster;
use crate::kube::list::{Row, list};
use crate::settings;

/// Runs the command.
pub async fn run(command: &Ls) -> Result<()> {
    let loaded = settings::load(&command.source, Vec::new())?;
    let cluster = Cluster::open(&settings::cluster_options(loaded.valid()?)).await?;
    let kinds = kinds(&command.kinds)?;
    let namespace = if command.all_namespaces { None } else { Some(cluster.namespace.as_str()) };
    let lenient = command.kinds.is_empty();
    // A cluster that refuses everything must not look like an empty one.
    let lists = kinds.iter().map(|kind| list(&cluster, kind, namespace, lenient && kind.kind != TargetKind::Pod));
    let mut rows: Vec<Row> = futures_util::future::try_join_all(lists).await?.into_iter().flatten().collect();
    // A Deployment's ReplicaSets and a CronJob's Jobs are its own matter unless somebody asks for them.
    rows.retain(|row| !(lenient && row.owned && row.kind != TargetKind::Pod));
    if rows.is_empty()
        && let Some(namespace) = namespace
        && let Some(failure) = crate::kube::target::namespace_missing(&cluster, namespace).await
    {
        return Err(failure);
    }
    super::answer(&render(&rows, command)?)
}

fn kinds(words: &[String]) -> Result<Vec<&'static Kind>> {
    if words.is_empty() {
        return Ok(KINDS.iter().collect());
    }
    let unknown = |word: &str| {
        let known = KINDS.iter().map(|kind| kind.word);
        let failure = Failure::new(Class::Usage, format!("{word:?} is no kind of target"))
            .detail(format!("kinds there are: {}", known.clone().collect::<Vec<_>>().join(", ")));
        match nearest(word, known).first() {
            Some(near) => failure.next(format!("did you mean {near}?")),
            None => failure,
        }
    };
    words.iter().map(|word| TargetKind::from_word(word).map(TargetKind::row).ok_or_else(|| unknown(word))).collect()
}

fn render(rows: &[Row], command: &Ls) -> Result<String> {
    match command.output {
        ListFormat::Json => serde_json::to_string_pretty(rows)
            .map(|text| text + "\n")
            .map_err(|error| Failure::new(Class::Internal, format!("the list cannot be written as JSON: {error}"))),
        ListFormat::Name => Ok(rows.iter().map(|row| format!("{}\n", row.path)).collect()),
        ListFormat::Table if rows.is_empty() => {
            Ok("nothing here can be a target; -A lists all namespaces\n".to_owned())
        }
        ListFormat::Table => {
            let mut lines =
                vec![["TARGET", "READY", "CONTAINERS", "PORTS", "IMAGE", "AGE", "NOTE"].map(str::to_owned).to_vec()];
            lines.extend(rows.iter().map(columns));
            if command.all_namespaces {
                let namespaces = std::iter::once("NAMESPACE").chain(rows.iter().map(|row| row.namespace.as_str()));
                for (line, namespace) in lines.iter_mut().zip(namespaces) {
                    line.insert(0, namespace.to_owned());
                }
            }
            Ok(table(&lines).iter().map(|line| format!("{line}\n")).collect())
        }
    }
}

fn columns(row: &Row) -> Vec<String> {
    let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        row.path.clone(),
        or_dash(row.ready.clone()),
        or_dash(row.containers.join(",")),
        or_dash(ports.join(",")),
        or_dash(row.images.first().cloned().unwrap_or_default()),
        age(row.age),
        row.reason.clone().unwrap_or_default(),
    ]
}

/// Ages as kubectl shows them: one or two units.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn table(lines: &[Vec<String>]) -> Vec<String> {
    let n_columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..n_columns).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let pad = |line: &Vec<String>| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(pad).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_kind_is_answered_with_the_nearest() {
        let failure = kinds(&["deploymnt".to_owned()]).expect_err("unknown");
        assert_eq!(failure.next.as_deref(), Some("did you mean deployment?"));
        assert_eq!(kinds(&["deploy".to_owned()]).expect("an alias")[0].word, "deployment");
    }

    #[test]
    fn ages_are_short() {
        assert_eq!([age(5), age(600), age(10_000), age(900_000)], ["5s", "10m", "2h", "10d"]);
    }
}
