//! `talforge plan`: what would be built, and why.
//!
//! In: the site file. Out: the plans on standard output; nothing is written.
//!
//! Source: none.
//!
//! Not here: the decisions (`plan`).

use serde_json::Value;

use crate::cli::Plan;
use crate::plan::NodePlan;
use crate::report::progress::Progress;
use crate::verb::{Failure, decide};

/// Shows the plans.
///
/// # Errors
///
/// Where the site file is wrong.
pub fn show(args: &Plan, progress: &Progress) -> Result<(), Failure> {
    let (_, plans) = decide(&args.site, &args.nodes, progress)?;
    if progress.is_json() {
        let plans = plans.iter().map(NodePlan::to_json).collect();
        progress.print(format!("{:#}\n", Value::Array(plans)).as_bytes());
    } else {
        plans.iter().for_each(|plan| progress.say(&about(plan)));
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
        plan.cmdline,
    );
    if !meta.is_empty() {
        text += &format!("  META     {}\n", meta.join(", "));
    }
    text
}
