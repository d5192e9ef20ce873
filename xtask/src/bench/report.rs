//! The table of a bench: for people in Markdown, for programs in JSON.
//!
//! In: what was measured. Out: a report, the drawing of the growth beside it; a JSON value.
//!
//! Source: none.
//!
//! Not here: what is measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::growth::Curve;
use super::{Bound, Row, Section};

/// The drawing's name, beside the report.
const DRAWING: &str = "growth.svg";

/// Where and of what it was measured.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) machine: String,
    pub(super) version: String,
}

/// The table, for programs.
pub(super) fn json(machine: &str, sections: &[Section]) -> Value {
    let rows = sections.iter().flat_map(|section| {
        let title = section.part.title();
        section.rows.iter().flatten().map(move |row| {
            let (sign, target) = match row.bound {
                Some(Bound::AtMost(most)) => (Some("at most"), Some(most)),
                Some(Bound::AtLeast(least)) => (Some("at least"), Some(least)),
                None => (None, None),
            };
            json!({
                "part": title, "what": row.what, "value": row.value, "unit": row.unit,
                "bound": sign, "target": target, "kept": row.verdict().map(|verdict| verdict.1),
            })
        })
    });
    let rows: Vec<_> = rows.collect();
    let missing = sections.iter().filter_map(|section| {
        let why = section.rows.as_ref().err()?;
        Some(json!({"part": section.part.title(), "why": why}))
    });
    json!({"machine": machine, "rows": rows, "missing": missing.collect::<Vec<_>>()})
}

/// Writes the report, and the drawing where growth was measured.
///
/// # Errors
///
/// Where a file cannot be written.
pub(super) fn write(
    file: &Path,
    setting: &Setting,
    sections: &[Section],
    curve: Option<&Curve>,
) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let command: Vec<_> = std::env::args().skip(1).collect();
    let text = markdown(&command, setting, sections, curve.is_some());
    fs::write(file, text).with_context(|| file.display().to_string())?;
    if let Some(curve) = curve {
        let path = folder.join(DRAWING);
        fs::write(&path, curve.svg()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn markdown(
    command: &[String],
    setting: &Setting,
    sections: &[Section],
    has_drawing: bool,
) -> String {
    let Setting { machine, version } = setting;
    let command = command.join(" ");
    let mut text = format!(
        "# What talforge costs\n\n\
         Made by `cargo xtask {command}`, which measures each number beside its peer in one run.\n\n\
         - Machine: {machine}\n- Program: {version}\n\
         - Times are the least of several. XFS and ext4 are made in files, mounted by loop devices; \
         all is synced to them.\n\
         - The boot assets are stand-ins of a release's size. The fleet's site is \
         `tests/sites/ipv6-fabric` with more workers. On ext4, where each node takes all its room, 20 \
         are built.\n",
    );
    for section in sections {
        text += &format!("\n## {}\n\n", section.part.title());
        match &section.rows {
            Ok(rows) => {
                text += "| | measured | must be | is |\n|---|--:|--:|---|\n";
                rows.iter().for_each(|row| text += &line(row));
            }
            Err(why) => text += &format!("Not measured: {why}.\n"),
        }
    }
    if has_drawing {
        text += &format!(
            "\n![Time and memory by the number of nodes, on logarithmic axes]({DRAWING})\n\n\
             Points are measured; the lines are `a + b·n`, fitted by least squares of relative \
             errors.\n"
        );
    }
    text
}

/// A row of a table. What belongs to the row above is set in.
fn line(row: &Row) -> String {
    let what = match row.what.strip_prefix("  ") {
        Some(what) => format!("&emsp;{what}"),
        None => row.what.clone(),
    };
    let (bound, word) = match row.verdict() {
        Some((bound, true)) => (bound, "kept"),
        Some((bound, false)) => (bound, "**not kept**"),
        None => (String::new(), ""),
    };
    let value = format!("{:.2} {}", row.value, row.unit);
    format!("| {} | {} | {bound} | {word} |\n", what.replace('|', "\\|"), value.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;

    fn sections() -> Vec<Section> {
        let rows = vec![
            Row::new("a thousand nodes", 812.345, "ms").at_most(1000.0),
            Row::new("  peak memory", 80.0, "MiB").at_most(72.0),
            Row::new("speed | beside", 1.5, "×").at_least(1.0),
            Row::new("  ours", 0.5, "s"),
        ];
        vec![
            Section { part: Part::Fleet, rows: Ok(rows) },
            Section { part: Part::Pull, rows: Err("no registry".to_owned()) },
        ]
    }

    #[test]
    fn the_report_says_what_was_kept_and_what_is_missing() {
        let setting = Setting { machine: "m".to_owned(), version: "v".to_owned() };
        let command = ["bench".to_owned(), "--report".to_owned(), "x.md".to_owned()];
        let text = markdown(&command, &setting, &sections(), true);
        for part in [
            "Made by `cargo xtask bench --report x.md`",
            "| a thousand nodes | 812.35 ms | ≤ 1000 ms | kept |\n",
            "| &emsp;peak memory | 80.00 MiB | ≤ 72 MiB | **not kept** |\n",
            "| speed \\| beside | 1.50 × | ≥ 1 × | kept |\n",
            "| &emsp;ours | 0.50 s |  |  |\n",
            "Not measured: no registry.\n",
            "](growth.svg)",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!markdown(&command, &setting, &sections(), false).contains("svg"));
    }

    #[test]
    fn programs_get_the_same() {
        let table = json("m", &sections());
        assert_eq!(table["rows"][0]["kept"], true);
        assert_eq!(table["rows"][1]["kept"], false);
        assert_eq!(table["rows"][2]["bound"], "at least");
        assert_eq!(table["rows"][3]["target"], Value::Null);
        assert_eq!(table["missing"][0]["why"], "no registry");
    }
}
