//! Proofs of patches: what Talos was seen to make of them.

use super::*;

const KUBELET: &str = "apiVersion: v1alpha1\nkind: KubeletConfig\n";
const LINKS: &str = "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: 1500\naddresses: [{address: fd00::1/64}]\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: eth1\n";
const ETH0: &str = "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\n";

fn patched(base: &str, patch: &str) -> Result<String, Vec<Diagnostic>> {
    let schema = Schema::of_minor(14);
    let mut documents = Documents::decode(schema, "base.yaml", base.as_bytes())?;
    documents.apply(&Patch::read(schema, "patch.yaml", patch.as_bytes())?)?;
    documents.list_mut().iter_mut().for_each(|document| _ = document.tree_mut());
    Ok(documents.encode())
}

fn code(base: &str, patch: &str) -> &'static str {
    patched(base, patch).unwrap_err()[0].code
}

/// Appendix rows of what Talos 1.14 was seen to do.
#[test]
fn values_without_a_type_are_merged_by_their_own() {
    let base = |config: &str| format!("{KUBELET}image: a\nconfig: {config}\n");
    let patch = |config: &str| format!("{KUBELET}config: {config}\n");
    let both = |left: &str, right: &str| patched(&base(left), &patch(right)).unwrap();
    assert_eq!(code(&base("{a: 1}"), &patch("{a: null}")), "patch-null");
    assert_eq!(code(&base("{a: 1}"), &patch("{a: x}")), "patch-type");
    assert_eq!(code(&base("{a: 1}"), &patch("{a: 1.5}")), "patch-type");
    assert!(
        both("{l: [a, b]}", "{l: [b, c]}")
            .ends_with("l:\n        - a\n        - b\n        - b\n        - c\n")
    );
    let zeros = both("{a: 5, s: foo, b: true}", "{a: 0, s: \"\", b: false}");
    assert!(zeros.ends_with("    a: 5\n    s: foo\n    b: false\n"), "{zeros}");
    let deleted = both("{a: 5, s: {x: 1, z: 2}}", "{s: {x: {$patch: delete}}}");
    assert!(deleted.ends_with("    a: 5\n    s:\n        z: 2\n"), "{deleted}");
    assert_eq!(
        code(&base("{l: [{name: a}]}"), &patch("{l: [{name: a, $patch: delete}]}")),
        "patch-delete"
    );
}

#[test]
fn documents_meet_by_kind_and_name() {
    let gone = patched(LINKS, &format!("{ETH0}$patch: delete\n")).unwrap();
    assert_eq!(gone, "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth1\n");
    let schema = Schema::of_minor(14);
    let mut documents = Documents::decode(schema, "base.yaml", LINKS.as_bytes()).unwrap();
    let nameless = "apiVersion: v1alpha1\nkind: LinkConfig\n$patch: delete\n";
    let patch = Patch::read(schema, "patch.yaml", nameless.as_bytes()).unwrap();
    let warnings = documents.apply(&patch).unwrap();
    assert_eq!((warnings[0].code, documents.len()), ("patch-deletes-nothing", 2));
    let twice = patched(LINKS, &format!("{ETH0}mtu: 1400\n---\n{ETH0}mtu: 9000\n")).unwrap();
    assert!(twice.contains("mtu: 9000"));
    assert_eq!(code(LINKS, &format!("{ETH0}nope: 1\n")), "config-unknown-key");
    let item = format!("{ETH0}addresses: [{{address: fd00::2/64, $patch: delete}}]\n");
    assert_eq!(code(LINKS, &item), "patch-delete");
    let item = format!("{ETH0}addresses: [{{address: FD00:0::1/64, $patch: delete}}]\n");
    assert_eq!(code(LINKS, &item), "patch-delete");
    let item = format!("{ETH0}addresses: [{{address: fd00::1/64, $patch: delete}}]\n");
    assert!(patched(LINKS, &item).unwrap().contains("addresses: []"));
}

#[test]
fn lists_are_joined_or_replaced_as_their_key_says() {
    let network = |pods: &str| {
        format!("apiVersion: v1alpha1\nkind: KubeNetworkConfig\npodSubnets: [{pods}]\n")
    };
    let replaced = patched(&network("10.244.0.0/16"), &network("fd00::/56")).unwrap();
    assert!(!replaced.contains("10.244"));
    let sans = |name: &str| format!("machine: {{certSANs: [{name}]}}\n");
    let joined = patched(&sans("a"), &sans("b")).unwrap();
    assert!(joined.ends_with("certSANs:\n        - a\n        - b\n"), "{joined}");
    let devices = "machine: {network: {interfaces: [{interface: eth0, dhcp: true, vlans: [{vlanId: 10}]}]}}\n";
    let patch = "machine: {network: {interfaces: [{interface: eth0, dhcp: false, vlans: [{vlanId: 10, mtu: 9000}, {vlanId: 11}]}]}}\n";
    let merged = patched(devices, patch).unwrap();
    assert_eq!((merged.matches("vlanId").count(), merged.matches("dhcp: false").count()), (2, 1));
}

#[test]
fn operations_change_the_document_of_machine_and_cluster() {
    let base = "machine: {type: worker, sysctls: {a: \"0777\"}, certSANs: [x, z]}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n";
    let patch = "- {op: add, path: /machine/sysctls/net.core~1x, value: \"1\"}\n- {op: add, path: /machine/certSANs/1, value: m}\n- {op: test, path: /machine/type, value: worker}\n- {op: replace, path: /machine/type, value: controlplane}\n";
    let text = patched(base, patch).unwrap();
    assert!(text.contains("a: '0777'\n        net.core/x: '1'\n"), "{text}");
    assert!(text.contains("- x\n        - m\n        - z\n"), "{text}");
    assert!(text.contains("type: controlplane"));
    for bad in [
        "- {op: replace, path: /machine/nope, value: 1}\n",
        "- {op: test, path: /machine/type, value: init}\n",
        "- {op: add, path: /machine/certSANs/9, value: m}\n",
        "- {op: remove, path: /machine/install}\n",
        "- {op: frob, path: /machine}\n",
        "- {op: add, path: machine, value: 1}\n",
    ] {
        assert_eq!(code(base, bad), "patch-operation", "{bad}");
    }
    let json = r#"[{"op": "remove", "path": "/machine/sysctls"}]"#;
    assert!(!patched(base, json).unwrap().contains("sysctls"));
}
