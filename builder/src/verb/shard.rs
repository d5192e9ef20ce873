//! Shards: which nodes of a site are built here, when they are built on several machines.
//!
//! In: a site, one of so many shards. Out: the plans of its nodes; what its manifest says of it.
//!
//! The names are sorted and cut into runs of one length, give or take one. So shards are even, what
//! a site file's order is does not matter, and a node that is added moves at most one node across
//! each cut. Neighbours by name mostly have one profile, and a profile's first medium is what costs:
//! a run makes few of them, where names spread by a hash would make all in every shard.
//!
//! A node that has moved is built in both shards' folders until one is cleared. It does no harm: a
//! shard's manifest names the nodes that are its own now, and `merge` takes those alone. The digest
//! of all names tells it whether the shards were cut from one list.
//!
//! Source: none.
//!
//! Not here: how manifests are joined (`merge`), and how `I/N` is read (`cli`).

use serde::{Deserialize, Serialize};

use crate::cli::Shard;
use crate::digest::Digest;
use crate::plan::NodePlan;
use crate::report::progress::Progress;
use crate::site::Site;

/// The field of a manifest that says which shard it is of.
pub const SHARD: &str = "shard";

/// What a manifest says of its shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number, from 0.
    pub index: u32,
    /// How many shards there are.
    pub count: u32,
    /// The names of its nodes, sorted.
    pub nodes: Vec<String>,
    /// The SHA-256 of the names of all the site's nodes, sorted, a line each.
    pub site_nodes_sha256: String,
}

/// Leaves a shard's plans, where there is one, and says so if those are none.
pub(super) fn take(
    shard: Option<Shard>,
    site: &Site,
    plans: &mut Vec<NodePlan>,
    progress: &Progress,
) -> Option<Part> {
    let shard = shard?;
    let part = part(shard, site.nodes.iter().map(|node| node.name.to_string()).collect());
    plans.retain(|plan| part.nodes.binary_search(&plan.name.to_string()).is_ok());
    let (index, count) = (shard.index(), shard.count());
    progress.event(serde_json::json!({
        "event": "shard", "index": index, "count": count, "nodes": plans.len(),
    }));
    if plans.is_empty() {
        progress.note(&format!("shard {index}/{count} has no node to build"));
    }
    Some(part)
}

/// The shard of a site whose nodes have these names.
pub(super) fn part(shard: Shard, mut names: Vec<String>) -> Part {
    names.sort_unstable();
    let len = names.len() as u64;
    // Counts of nodes are far below 2³²: the product is, too, below 2⁶⁴.
    let cut = |at: u32| {
        let rank = u64::from(at) * len / u64::from(shard.count());
        usize::try_from(rank).unwrap_or(usize::MAX).min(names.len())
    };
    Part {
        index: shard.index(),
        count: shard.count(),
        nodes: names[cut(shard.index())..cut(shard.index() + 1)].to_vec(),
        site_nodes_sha256: digest_of(&names).to_string(),
    }
}

/// The digest of names: sorted, a line each.
pub(super) fn digest_of<T: AsRef<str>>(sorted: &[T]) -> Digest {
    let text: String = sorted.iter().flat_map(|name| [name.as_ref(), "\n"]).collect();
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn parts(names: &BTreeSet<String>, count: u32) -> Vec<Part> {
        let shard = |index| Shard::parse(&format!("{index}/{count}")).unwrap();
        (0..count).map(|index| part(shard(index), names.iter().cloned().collect())).collect()
    }

    fn shard_of(parts: &[Part], name: &str) -> u32 {
        let part = parts.iter().find(|part| part.nodes.iter().any(|node| node == name));
        part.expect("each node has a shard").index
    }

    proptest! {
        #[test]
        fn shards_have_each_node_once_and_are_even(
            names in prop::collection::btree_set("[a-z]{1,4}", 0..60), count in 1u32..40,
        ) {
            let parts = parts(&names, count);
            let all: Vec<_> = parts.iter().flat_map(|part| part.nodes.clone()).collect();
            prop_assert_eq!(&all, &names.iter().cloned().collect::<Vec<_>>());
            let lens = parts.iter().map(|part| part.nodes.len());
            prop_assert!(lens.clone().max().unwrap() - lens.min().unwrap() <= 1);
        }

        #[test]
        fn a_node_more_moves_at_most_one_across_each_cut(
            names in prop::collection::btree_set("[a-z]{1,4}", 1..60), count in 1u32..20,
            added in "[a-z]{1,4}",
        ) {
            let before = parts(&names, count);
            let more: BTreeSet<_> = names.iter().cloned().chain([added]).collect();
            let after = parts(&more, count);
            let moved = names.iter().filter(|n| shard_of(&before, n) != shard_of(&after, n));
            prop_assert!(moved.count() < count as usize);
        }
    }

    #[test]
    fn the_order_of_a_site_file_does_not_matter() {
        let shard = Shard::parse("1/2").unwrap();
        let of = |names: [&str; 3]| part(shard, names.map(str::to_owned).to_vec());
        assert_eq!(of(["c", "a", "b"]), of(["a", "b", "c"]));
        assert_eq!(of(["c", "a", "b"]).nodes, ["b", "c"]);
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for bad in ["", "1", "/", "0/0", "1/1", "3/2", "-1/2", "+0/2", "0/ 2", "a/b", "0/2/3"] {
            assert!(Shard::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Shard::parse("4294967295/4294967295").is_err());
        let last = Shard::parse("4294967294/4294967295").unwrap();
        assert_eq!(part(last, vec!["a".to_owned()]).nodes, ["a"]);
        let first = Shard::parse("0/4294967295").unwrap();
        assert!(part(first, vec!["a".to_owned()]).nodes.is_empty());
    }
}
