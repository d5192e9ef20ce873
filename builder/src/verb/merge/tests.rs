//! How shards join, and what keeps them apart.

use super::*;
use crate::cli;
use crate::verb::shard;
use proptest::prelude::*;

fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

fn node(name: &str) -> Value {
    let layout = format!("layout-{}", name.len() % 2);
    json!({"plan": {"name": name, "board": format!("board-{}", name.len() % 2)}, "files": [
        {"path": format!("{name}.iso"), "bytes": 1, "sha256": digest(name), "layout": layout},
        {"path": "base.qcow2", "bytes": 2, "sha256": digest("base")},
    ]})
}

/// A site's manifest, or a shard's: with its own nodes and one that has moved elsewhere.
fn manifest(names: &[String], part: Option<&Part>) -> Value {
    let own = part.map_or(names, |part| &part.nodes);
    let nodes: Map<_, _> = own.iter().map(|name| (name.clone(), node(name))).collect();
    let used: BTreeSet<_> = nodes.values().flat_map(names_of).map(str::to_owned).collect();
    let layouts = used.iter().filter(|id| id.starts_with("layout"));
    let layouts: Map<_, _> = layouts.map(|id| (id.clone(), json!([id]))).collect();
    let boards = used.iter().filter(|id| id.starts_with("board"));
    let boards: Map<_, _> = boards.map(|id| (id.clone(), json!({"id": id}))).collect();
    let references = own.iter().map(|name| json!({"reference": name, "sha256": digest(name)}));
    let mut manifest = json!({
        "version": 2, "talos": "v1.14.1", "inputs": [{"name": "a", "bytes": 1}],
        "references": references.collect::<Vec<_>>(), "layouts": layouts, "boards": boards, "nodes": nodes,
    });
    if let Some(part) = part {
        manifest["shard"] = json!(part);
        manifest["nodes"]["moved"] = node("moved");
        manifest["layouts"]["layout-of-old"] = json!([]);
        manifest["boards"]["board-of-old"] = json!({});
    }
    manifest
}

fn names(len: usize) -> Vec<String> {
    (0..len).map(|n| format!("n{n:0width$}", width = 3 + n % 2)).collect()
}

fn parts(names: &[String], count: u32) -> Vec<Part> {
    let shard = |index| cli::Shard::parse(&format!("{index}/{count}")).unwrap();
    (0..count).map(|index| shard::part(shard(index), names.to_vec())).collect()
}

fn read(from: &str, manifest: &Value) -> Shard {
    parse(from, manifest.to_string().as_bytes()).unwrap()
}

/// The shards of a site of five nodes, three in all.
fn three(change: impl Fn(u32, &mut Value)) -> Vec<Shard> {
    let names = names(5);
    let manifests = parts(&names, 3).into_iter().map(|part| {
        let mut manifest = manifest(&names, Some(&part));
        change(part.index, &mut manifest);
        read(&format!("s{}", part.index), &manifest)
    });
    manifests.collect()
}

/// What keeps shards apart.
fn problems(shards: Vec<Shard>) -> String {
    let problems = join(shards).expect_err("they cannot be joined");
    problems.iter().map(|problem| format!("{}\n", problem.message)).collect()
}

proptest! {
    #[test]
    fn shards_of_any_number_and_order_are_the_site(
        len in 0usize..30, count in 1u32..12, turn in 0usize..12,
    ) {
        let names = names(len);
        let mut shards: Vec<_> = parts(&names, count)
            .iter()
            .map(|part| read(&part.index.to_string(), &manifest(&names, Some(part))))
            .collect();
        shards.rotate_left(turn % count as usize);
        let whole = join(shards).unwrap();
        let mut want = manifest(&names, None);
        want["references"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        prop_assert_eq!(whole.manifest, want);
        prop_assert_eq!(whole.files.len(), len + usize::from(len > 0));
        prop_assert_eq!((whole.nodes, whole.shards), (len, count));
    }

    #[test]
    fn any_text_is_a_manifest_or_an_error(text in ".{0,60}", bytes: Vec<u8>) {
        let _ = parse("m", &bytes);
        let _ = parse("m", text.as_bytes());
    }
}

#[test]
fn missing_shards_are_named() {
    let mut shards = three(|_, _| ());
    shards.remove(1);
    assert_eq!(problems(shards), "1 shard is missing: 1/3\n");
    let names = names(1);
    let first = read("first", &manifest(&names, Some(&parts(&names, 40)[0])));
    let text = problems(vec![first]);
    assert!(text.starts_with("39 shards are missing: 1/40, 2/40, "), "{text}");
    assert!(text.ends_with("10/40, and 29 more\n"), "{text}");
}

#[test]
fn a_shard_that_says_there_are_very_many_costs_nothing() {
    let mut last = manifest(&[], Some(&parts(&[], 1)[0]));
    last["shard"]["count"] = json!(u32::MAX);
    let problems = problems(vec![read("last", &last)]);
    assert!(problems.starts_with("4294967294 shards are missing: 1/4294967295"), "{problems}");
}

#[test]
fn a_shard_is_there_once() {
    let shards = three(|_, _| ());
    let twice = [shards.clone(), vec![Shard { from: "copy".to_owned(), ..shards[1].clone() }]];
    assert_eq!(problems(twice.concat()), "`copy` and `s1` both are shard 1/3\n");
}

#[test]
fn heads_must_be_equal() {
    let other = |field: &'static str, value: Value| {
        problems(three(|index, manifest| {
            if index == 2 {
                manifest[field] = value.clone();
            }
        }))
    };
    let talos = other("talos", json!("v1.13.9"));
    assert_eq!(talos, "`s0` and `s2` differ in `talos`: `v1.14.1` and `v1.13.9`\n");
    assert_eq!(other("inputs", json!([])), "`s0` and `s2` differ in `inputs`\n");
    assert_eq!(other("new", json!(1)), "`s0` and `s2` differ in `new`\n");
}

#[test]
fn shards_are_of_one_split() {
    let names = names(5);
    let of = |names: &[String], index: usize, count| {
        let parts = parts(names, count);
        read(&format!("{index}/{count}"), &manifest(names, Some(&parts[index])))
    };
    let text = problems(vec![of(&names, 0, 2), of(&names, 1, 3)]);
    assert!(text.starts_with("`0/2` is one of 2 shards, and `1/3` one of 3\n"), "{text}");
    let text = problems(vec![of(&names, 0, 2), of(&names[1..], 1, 2)]);
    assert_eq!(text, "`0/2` and `1/2` are of sites with different nodes\n");
}

#[test]
fn a_node_that_was_not_built_is_named() {
    let shards = three(|index, manifest| {
        if index == 0 {
            manifest["nodes"].as_object_mut().unwrap().clear();
        }
    });
    let text = problems(shards);
    assert_eq!(text, "shard 0/3 in `s0` is not whole: 1 node was not built: n000\n");
}

#[test]
fn shards_that_lie_about_their_nodes_are_found_out() {
    for lie in [json!([]), json!(["n0001"]), json!(["n0003", "n000"])] {
        let shards = three(|index, manifest| {
            if index == 0 {
                let names = ["n000", "n0001", "n0003"];
                manifest["nodes"] =
                    names.map(|name| (name.to_owned(), node(name))).into_iter().collect();
                manifest["shard"]["nodes"] = lie.clone();
            }
        });
        let text = problems(shards);
        assert_eq!(text, "the shards' nodes, taken together, are not those of the site\n");
    }
}

#[test]
fn one_reference_means_one_thing() {
    let shards = three(|index, manifest| {
        manifest["references"] =
            json!([{"reference": "oci://x", "sha256": digest(&index.to_string())}]);
    });
    assert_eq!(problems(shards), "`oci://x` means something else in `s1` than in other shards\n");
}

#[test]
fn files_of_one_name_are_one_file() {
    let shards = three(|index, manifest| {
        for node in manifest["nodes"].as_object_mut().unwrap().values_mut() {
            node["files"][1]["sha256"] = json!(digest(&(index / 2).to_string()));
        }
    });
    let text = problems(shards);
    assert!(text.starts_with("two nodes have files `base.qcow2`, which differ"), "{text}");
}

#[test]
fn paths_that_lead_out_are_refused() {
    for (field, bad) in
        [("path", "../a"), ("path", "a\nb"), ("path", "SHA256SUMS"), ("sha256", "x")]
    {
        let shards = three(|_, manifest| {
            for node in manifest["nodes"].as_object_mut().unwrap().values_mut() {
                node["files"][0][field] = json!(bad);
            }
        });
        assert!(problems(shards).starts_with("`s0` is damaged: node `n000`: "), "{bad}");
    }
}

#[test]
fn what_is_no_shards_manifest_is_refused() {
    let whole = manifest(&names(2), None);
    let mut odd = manifest(&names(2), Some(&parts(&names(2), 1)[0]));
    assert!(parse("m", odd.to_string().as_bytes()).is_ok());
    odd["shard"]["index"] = json!(1);
    let no_shard = json!({"shard": {"index": 0}});
    for bad in ["", "[]", "{}", &whole.to_string(), &odd.to_string(), &no_shard.to_string()] {
        let problem = parse("m", bad.as_bytes()).unwrap_err();
        assert!(problem.message.starts_with("`m` is no manifest of a shard: "), "{problem}");
    }
}
