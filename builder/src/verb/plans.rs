//! `talforge plan`: what would be built, and why.
//!
//! In: the site file. Out: the plans on standard output; nothing is written.
//!
//! Source: none.
//!
//! Not here: the decisions (`plan`).

use std::time::SystemTime;

use serde_json::json;

use crate::cli::Plan;
use crate::plan::NodePlan;
use crate::report::progress::Progress;
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

fn about(plan: &NodePlan) -> String {
    let config = plan.embed.config().map_or("none".to_owned(), |config| {
        format!("{} bytes, sha256 {}", config.bytes().len(), config.digest())
    });
    let meta: Vec<_> = plan.meta.keys().map(|key| format!("{key:#04x}")).collect();
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
        plan.shown_line().unwrap_or_else(|| "that of the UKI as it was shipped".to_owned()),
    );
    if !meta.is_empty() {
        text += &format!("  META     {}\n", meta.join(", "));
    }
    text
}
