//! `talforge plan`: what would be built, and why.
//!
//! In: the site file. Out: the plans on standard output; nothing is written.
//!
//! Source: none.
//!
//! Not here: the decisions (`plan`).

use std::time::SystemTime;

use serde_json::json;

use crate::catalog::board::{Board, Esp};
use crate::cli::Plan;
use crate::plan::{Medium, NodePlan};
use crate::report::progress::Progress;
use crate::site::TreeSource;
use crate::verb::{Failure, decide};

/// Shows the plans.
///
/// # Errors
///
/// Where the site file is wrong.
pub fn show(args: &Plan, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let (_, plans) = decide(&args.site, &args.nodes, now, progress)?;
    for plan in &plans {
        match progress.is_json() {
            true => progress.event(json!({"event": "plan", "plan": plan.to_json()})),
            false => progress.print(format!("{}\n", about(plan)).as_bytes()),
        }
    }
    Ok(())
}

/// What to say of a command line that is not ours.
fn other_line(plan: &NodePlan) -> &'static str {
    match plan.medium {
        Medium::Seed if plan.platform.is_metal() => {
            "that of the medium that boots; it must hold `talos.config=metal-iso`"
        }
        Medium::Seed => "that of the medium that boots",
        _ => "that of the UKI as it was shipped",
    }
}

fn about(plan: &NodePlan) -> String {
    let config = plan.embed.config().map_or("none".to_owned(), |config| {
        format!("{} bytes, sha256 {}", config.bytes().len(), config.digest())
    });
    let meta: Vec<_> = plan.meta.keys().map(|key| format!("{key:#04x}")).collect();
    let layers: Vec<_> = plan.extensions.iter().map(TreeSource::name).collect();
    let mut text = format!(
        "{} ({})\n  writes   {}: {}\n  boots    Talos {} for {}, profile `{}`\n  config   {config}\n  \
         embed    {}: {}\n  cmdline  {}\n",
        plan.name,
        plan.role.name(),
        plan.output(),
        plan.medium.about(),
        plan.talos,
        plan.arch,
        plan.profile,
        plan.embed.name(),
        plan.embed.reason(),
        plan.shown_line().unwrap_or_else(|| other_line(plan).to_owned()),
    );
    if !layers.is_empty() {
        text += &format!("  layers   {}\n", layers.join(", "));
    }
    if let Some(board) = &plan.board {
        text += &board_text(board);
    }
    if !meta.is_empty() {
        text += &format!("  META     {}\n", meta.join(", "));
    }
    text
}

/// What a board has on its disk besides.
fn board_text(board: &Board) -> String {
    let Board { name, artifacts, first_partition, .. } = board;
    let mut text =
        format!("  board    {name}: files of `{artifacts}`, partitions from {first_partition}\n");
    for raw in &board.raw {
        text += &format!("           {} at {}\n", raw.from, raw.at);
    }
    for file in &board.esp {
        let (from, to) = match file {
            Esp::File { from, to } => (from.clone(), to.clone()),
            Esp::Folder { from, to } => (format!("{from}/"), format!("{to}/")),
            Esp::Text { text, to } => (format!("{} bytes of text", text.len()), to.clone()),
        };
        text += &format!("           {from} in the EFI partition as {to}\n");
    }
    text
}
