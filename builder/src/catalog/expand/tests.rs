//! Proofs of overlays: what comes of them, and that mistakes are told where they are.

use crate::talos::Role;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

const HEAD: &str = "version: 1\nabout: mine\narch: [amd64]\n";

fn overlay(rest: &str) -> Overlay {
    Overlay::parse("mine.yaml", format!("{HEAD}{rest}").as_bytes()).unwrap()
}

fn values(text: &str) -> Values {
    let node = yaml::parse("site.yaml", text.as_bytes()).unwrap().remove(0);
    let entries = node.entries().unwrap_or_default().iter();
    entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}

fn address(last: u16) -> [IpAddr; 1] {
    [IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last))]
}

/// Expands for the first node of a site of two control planes and a worker.
fn expand(
    overlay: &Overlay,
    common: &str,
    own: [&str; 3],
    role: Role,
    minor: u32,
) -> Result<Expansion, Vec<Diagnostic>> {
    let common = values(common);
    let own = own.map(|own| common.clone().into_iter().chain(values(own)).collect::<Values>());
    let addresses = [address(0x11), address(0x12), address(0x21)];
    let names = [("cp-1", Role::ControlPlane), ("cp-2", Role::ControlPlane), ("w-1", Role::Worker)];
    let nodes: Vec<_> = names
        .iter()
        .zip(&addresses)
        .zip(&own)
        .map(|((&(name, role), addresses), values)| Machine { name, role, addresses, values })
        .collect();
    let subnets = ["2001:db8:1::/56".to_owned()];
    let scope = Scope {
        place: Place { file: "site.yaml".into(), line: 7, column: 3 },
        cluster: Cluster {
            name: "fabric",
            endpoint: "https://[2001:db8:0:1::10]:6443",
            pod_subnets: &subnets,
            service_subnets: &subnets,
            values: &common,
        },
        node: *nodes.iter().find(|node| node.role == role).unwrap(),
        nodes: &nodes,
    };
    overlay.expand("mine", &scope, minor)
}

/// The first patch, as text.
fn patch(overlay: &Overlay, common: &str) -> String {
    let expansion = expand(overlay, common, ["{}"; 3], Role::ControlPlane, 14).unwrap();
    emit::documents(&expansion.patches[0])
}

fn told(problems: &[Diagnostic]) -> String {
    let line = |problem: &Diagnostic| {
        let place = problem.place.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{}: {} --> {place}\n", problem.code, problem.message)
    };
    problems.iter().map(line).collect()
}

const VALUES: &str = "values: {t: {about: t, kind: text}, l: {about: l, kind: list}, a: {about: a, kind: tree}, n: {about: n, kind: text, required: true}, d: {about: d, kind: text, default: 1.20}, f: {about: f, kind: file}}\n";

fn with_patch(text: &str) -> Overlay {
    let indented: String = text.lines().map(|line| format!("      {line}\n")).collect();
    overlay(&format!("{VALUES}patches:\n  - patch: |\n{indented}"))
}

#[test]
fn a_scalar_that_is_a_placeholder_becomes_the_value() {
    let overlay = with_patch("a: ${t}\nb: '${t}'\nc: [\"${l}\", x]\nd: ${d}\ne: ${a}\n");
    assert_eq!(
        patch(&overlay, "{t: 0644, l: [1.20, '1.20'], a: {x: yes}}"),
        "a: 0644\nb: 0644\nc:\n  - - 1.20\n    - '1.20'\n  - x\nd: 1.20\ne:\n  x: yes\n"
    );
}

#[test]
fn what_is_within_a_text_stays_a_text() {
    let overlay = with_patch("a: ${t}${d}\nb: x-${t}-$${t}\nc: $$${t}\nd: $${x}\n");
    let text = patch(&overlay, "{t: 1}");
    assert_eq!(text, "a: '11.20'\nb: 'x-1-${t}'\nc: $${t}\nd: ${x}\n");
}

#[test]
fn no_value_breaks_out_of_its_place() {
    let overlay = with_patch("a: \"${t} \"\nb: ${t}\n");
    let evil = "\"\nmachine:\n  token: x\n---\nz: ${n}";
    let node = Node::whole("f", evil.to_owned());
    let given = Values::from([("t".to_owned(), node)]);
    let machine = Machine { name: "w", role: Role::Worker, addresses: &[], values: &given };
    let cluster = Cluster {
        name: "c",
        endpoint: "e",
        pod_subnets: &[],
        service_subnets: &[],
        values: &given,
    };
    let place = Place { file: "s".into(), line: 1, column: 1 };
    let scope = Scope { place, cluster, node: machine, nodes: &[machine] };
    let documents = overlay.expand("mine", &scope, 14).unwrap().patches.remove(0);
    let again = yaml::parse("f", emit::documents(&documents).as_bytes()).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].entries().unwrap().len(), 2);
    assert_eq!(again[0].get("b").unwrap().text(), Some(evil));
    assert_eq!(again[0].get("a").unwrap().text(), Some(format!("{evil} ").as_str()));
}

#[test]
fn built_in_names_are_facts_of_the_site() {
    let overlay = with_patch(
        "a: ${cluster.name} ${cluster.endpoint} ${node.name} ${node.address} ${etcd.peer_url}\n\
         b: ${etcd.initial_cluster}\nc: ${cluster.pod_subnets}\nd: ${node.addresses}\n\
         e: ${cluster.service_subnets}\n",
    );
    insta::assert_snapshot!(patch(&overlay, "{}"), @r"
    a: 'fabric https://[2001:db8:0:1::10]:6443 cp-1 2001:db8:0:1::11 https://[2001:db8:0:1::11]:2380'
    b: 'cp-1=https://[2001:db8:0:1::11]:2380,cp-2=https://[2001:db8:0:1::12]:2380'
    c:
      - '2001:db8:1::/56'
    d:
      - '2001:db8:0:1::11'
    e:
      - '2001:db8:1::/56'
    ");
}

#[test]
fn entries_are_for_roles_releases_and_given_values() {
    let overlay = overlay(
        "values: {t: {about: t, kind: text}}\npatches:\n\
         - {roles: [worker], patch: 'a: 1'}\n- {since: 1.14, patch: 'b: 1'}\n\
         - {until: \"1.13\", patch: 'c: 1'}\n- {patch: 'd: ${t}'}\n",
    );
    let of = |common: &str, role, minor| {
        let expansion = expand(&overlay, common, ["{}"; 3], role, minor).unwrap();
        expansion.patches.iter().map(|patch| emit::documents(patch)).collect::<String>()
    };
    assert_eq!(of("{}", Role::ControlPlane, 14), "b: 1\n");
    assert_eq!(of("{t: x}", Role::ControlPlane, 13), "c: 1\nd: x\n");
    assert_eq!(of("{}", Role::Worker, 15), "a: 1\nb: 1\n");
}

const MANIFESTS: &str = "values: {asn: {about: the number, kind: text, required: true}, pool: {about: p, kind: list}, file: {about: f, kind: file}}
manifests:
  - name: all
    objects: |
      {apiVersion: v1, kind: A, asn: \"${asn}\"}
  - name: each
    each_node: true
    objects: |
      apiVersion: v1
      kind: B
      metadata: {name: \"${node.name}\"}
      asn: ${asn}
  - name: pool
    objects: '{apiVersion: v1, kind: C, pool: \"${pool}\"}'
  - name: file
    objects: ${file}
";

#[test]
fn manifests_are_the_same_for_every_control_plane() {
    let overlay = overlay(MANIFESTS);
    let own = ["{asn: 2}", "{}", "{asn: 3}"];
    let expansion = expand(&overlay, "{asn: 1}", own, Role::ControlPlane, 13).unwrap();
    assert!(expansion.patches.is_empty());
    let text: String =
        expansion.manifests.iter().map(|(name, text)| format!("# {name}\n{text}")).collect();
    insta::assert_snapshot!(text, @r"
    # all
    apiVersion: v1
    kind: A
    asn: 1
    # each
    apiVersion: v1
    kind: B
    metadata:
      name: cp-1
    asn: 2
    ---
    apiVersion: v1
    kind: B
    metadata:
      name: cp-2
    asn: 1
    ---
    apiVersion: v1
    kind: B
    metadata:
      name: w-1
    asn: 3
    ");
    let worker = expand(&overlay, "{}", ["{}"; 3], Role::Worker, 13).unwrap();
    assert!(worker.manifests.is_empty());
}

#[test]
fn a_file_is_a_manifest_as_it_is() {
    let overlay = overlay(
        "values: {file: {about: f, kind: file, required: true}}\nmanifests: [{name: f, objects: '${file}'}]\n",
    );
    let given = |text: &str| {
        let values =
            Values::from([("file".to_owned(), Node::whole("cilium.yaml", text.to_owned()))]);
        let role = Role::ControlPlane;
        let machine = Machine { name: "cp", role, addresses: &[], values: &values };
        let cluster = Cluster {
            name: "c",
            endpoint: "e",
            pod_subnets: &[],
            service_subnets: &[],
            values: &values,
        };
        let place = Place { file: "s".into(), line: 1, column: 1 };
        overlay.expand("mine", &Scope { place, cluster, node: machine, nodes: &[machine] }, 14)
    };
    let text = "---\n# Rendered.\napiVersion: v1 # ${not} ours\nkind: 'A'\n---\n";
    assert_eq!(given(text).unwrap().manifests, [("f".to_owned(), text.to_owned())]);
    assert_eq!(format!("{:?}", given(text).unwrap()), r#"0 patches, manifests ["f"]"#);
    let errors = |text: &str| told(&given(text).unwrap_err());
    insta::assert_snapshot!([
        errors("# nothing\n"), errors("apiVersion: v1\n---\n[]\n"), errors("a: [\n"),
        errors(&"x".repeat(5 << 20)),
    ].concat(), @r"
    overlay-object: there is no object in it --> cilium.yaml:1:1
    overlay-object: an object of Kubernetes has `apiVersion` and `kind`, and this has not --> cilium.yaml:1:1
    overlay-object: an object of Kubernetes has `apiVersion` and `kind`, and this has not --> cilium.yaml:3:1
    yaml-syntax: this is no YAML: unclosed bracket '[' --> cilium.yaml:1:4
    overlay-too-large: more than 4MiB would come of this overlay for one node --> cilium.yaml:1:1
    ");
}

#[test]
fn values_that_are_wrong_are_told_where_they_are() {
    let manifests = overlay(MANIFESTS);
    let errors = |common, own, role| told(&expand(&manifests, common, own, role, 14).unwrap_err());
    let [none, lists] = [["{}"; 3], ["{}", "{asn: [1]}", "{asn: ~}"]];
    let node_free = overlay("patches: [{patch: 'a: ${node.address}'}]\n");
    let late = overlay("patches: [{since: \"1.14\", patch: 'a: 1'}]\n");
    let scope_place = Place { file: "site.yaml".into(), line: 7, column: 3 };
    let empty = Values::new();
    let machine = Machine { name: "w", role: Role::Worker, addresses: &[], values: &empty };
    let cluster = Cluster {
        name: "c",
        endpoint: "e",
        pod_subnets: &[],
        service_subnets: &[],
        values: &empty,
    };
    let scope = Scope { place: scope_place, cluster, node: machine, nodes: &[machine] };
    insta::assert_snapshot!([
        errors("{}", none, Role::ControlPlane),
        errors("{asn: 1, pool: x}", lists, Role::ControlPlane),
        told(&node_free.expand("mine", &scope, 14).unwrap_err()),
        told(&late.expand("mine", &scope, 13).unwrap_err()),
    ].concat(), @r"
    overlay-value-missing: overlay `mine` needs the value `asn` --> site.yaml:7:3
    overlay-value-missing: overlay `mine` needs the value `asn` for node `cp-1` --> site.yaml:7:3
    overlay-value-missing: overlay `mine` needs the value `asn` for node `cp-2` --> site.yaml:7:3
    overlay-value-missing: overlay `mine` needs the value `asn` for node `w-1` --> site.yaml:7:3
    overlay-value-kind: the value `asn` is a text, and this is a list --> site.yaml:1:7
    overlay-value-kind: the value `asn` is a text, and this is nothing --> site.yaml:1:7
    overlay-value-kind: the value `pool` is a list, and this is a text --> site.yaml:1:16
    overlay-address: overlay `mine` needs a fixed address of node `w` --> site.yaml:7:3
    overlay-release: overlay `mine` has nothing for Talos v1.13 --> site.yaml:7:3
    ");
}

#[test]
fn mistakes_in_an_overlay_are_told_where_they_are() {
    let error = |rest: &str| {
        let text = format!("{HEAD}{rest}");
        told(&[Overlay::parse("mine.yaml", text.as_bytes()).unwrap_err()])
    };
    let patch = |text: &str| {
        error(&format!("{VALUES}patches:\n  - patch: |\n      a:\n        - {text}\n"))
    };
    let all = [
        patch("${nope}"),
        patch("x${l}"),
        patch("${t"),
        patch("${t}: x"),
        patch("{b: 1, b: 2}"),
        error("patches: [{patch: ''}]\n"),
        error("patches: [{patch: x}]\n"),
        error("patches: [{roles: [], patch: 'a: 1'}]\n"),
        error("patches: [{roles: [init], patch: 'a: 1'}]\n"),
        error("patches: [{since: \"1.14\", until: \"1.13\", patch: 'a: 1'}]\n"),
        error("patches: [{since: v1.14, patch: 'a: 1'}]\n"),
        error("patches: [{patch: {a: 1}}]\n"),
        error("manifests: [{name: x, objects: 'a: ${node.name}'}]\n"),
        error("manifests: [{name: X, objects: 'a: 1'}]\n"),
        error("manifests: [{name: x, objects: 'a: 1'}, {name: x, objects: 'a: 1'}]\n"),
        error("values: {a.b: {about: a, kind: text}}\n"),
        error("values: {a: {about: a, kind: number}}\n"),
        error("values: {a: {about: a, kind: text, default: []}}\n"),
        error("values: {a: {about: a, kind: file, default: x}}\n"),
        error("values: {a: {about: a, kind: text, required: true, default: x}}\n"),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    overlay-placeholder: nothing is named `nope` --> mine.yaml:8:11
    overlay-placeholder: `l` is no text and cannot stand within one --> mine.yaml:8:11
    overlay-placeholder: a placeholder has no end --> mine.yaml:8:11
    overlay-placeholder: a key has no placeholders --> mine.yaml:8:11
    yaml-duplicate-key: this key is in the mapping already, on line 2 --> mine.yaml:8:18
    overlay-empty: there is no document in this text --> mine.yaml:4:19
    overlay-patch: a patch is a mapping or a list of operations, not a text --> mine.yaml:4:19
    overlay-range: this patch is for no machine --> mine.yaml:4:30
    catalog-shape: this is no overlay: patches[0].roles[0]: unknown variant `init`, expected `controlplane` or `worker` --> mine.yaml:4:20
    overlay-range: this patch is for no release --> mine.yaml:4:49
    catalog-shape: this is no overlay: patches[0]: `v1.14` is no minor release of Talos; write it as "1.14" --> mine.yaml:4:11
    catalog-shape: this is no overlay: patches[0].patch: invalid type: map, expected a string --> mine.yaml:4:19
    overlay-placeholder: `node.name` differs from node to node, and `x` does not --> mine.yaml:4:32
    catalog-shape: this is no overlay: manifests[0]: `X` is no name; use lower-case letters, digits, `_` and `-` --> mine.yaml:4:13
    overlay-name: two manifests are named `x` --> mine.yaml:4:60
    catalog-shape: this is no overlay: values: `a.b` is no name; use lower-case letters, digits, `_` and `-` --> mine.yaml:4:9
    catalog-shape: this is no overlay: values.a.kind: unknown variant `number`, expected one of `text`, `list`, `tree`, `file` --> mine.yaml:4:30
    overlay-value-default: the default of `a` is a list --> mine.yaml:4:45
    overlay-value-default: `a` is a file, which cannot come with an overlay --> mine.yaml:4:45
    overlay-value-default: `a` must be given, so that its default never stands --> mine.yaml:4:61
    "#);
}

#[test]
fn much_from_little_is_refused() {
    let text: String = (0..4000).map(|n| format!("k{n}: ${{l}}\n")).collect();
    let list = format!("{{l: [{}]}}", "x, ".repeat(2000));
    let problems = expand(&with_patch(&text), &list, ["{}"; 3], Role::Worker, 14).unwrap_err();
    assert_eq!(problems[0].code, "overlay-too-large");
}

proptest! {
    #[test]
    fn any_text_of_a_placeholder_is_taken_or_told(text in "[ab$\\{\\}:'\"\\[ \n.-]{0,40}") {
        let text: String = text.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!("{HEAD}values: {{a: {{about: a, kind: tree}}, b: {{about: b, kind: text}}}}\npatches:\n  - patch: |\n{text}");
        if let Ok(overlay) = Overlay::parse("f", text.as_bytes()) {
            expand(&overlay, "{a: [x], b: y}", ["{}"; 3], Role::Worker, 14).unwrap();
        }
    }
}
