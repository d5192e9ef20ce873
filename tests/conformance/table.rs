//! What people write, and the one thing that it means: each row is read by both, in each release.

use crate::bench::each_release;
use crate::reading::difference;

/// A value, and the document that it stands in: `@` is its place.
const ROWS: [(&str, &[&str]); 17] = [
    (
        "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: @\n",
        &[
            "01500",
            "0x2328",
            "9_000",
            "4294967296",
            "-1",
            "1500\nmtu: 1500",
            "\"1500\"",
            "1500.0",
            "1500.5",
        ],
    ),
    (
        "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nup: @\n",
        &["yes", "on", "y", "off", "\"true\"", "1", "True"],
    ),
    (
        "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses: [{address: @}]\n",
        &["FD00:0:0::0001/64", "192.168.010.1/24", "192.168.10.1/24", "\"::/0\"", "10.0.0.1"],
    ),
    (
        "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nroutes: [{destination: @, gateway: fd00::1}]\n",
        &["\"::/0\"", "::/0", "0.0.0.0/0", "default"],
    ),
    (
        "machine:\n  files:\n    - path: /var/a\n      content: x\n      permissions: @\n",
        &["0644", "0o644", "644", "\"0644\"", "0x1a4", "4294967296"],
    ),
    (
        "machine: {sysctls: {a: @}}\n",
        &[
            "0x10",
            "1e3",
            "1.20",
            "0777",
            "1_000",
            "null",
            "~",
            "\"\"",
            "no",
            "2024-01-02",
            "'2024-01-02'",
            "12:34:56",
            "!!binary Zm9v",
            "!vault foo",
            "[a]",
            "{a: b}",
            "\"a\\tb\\u2028\\x07\"",
        ],
    ),
    (
        "machine:\n  sysctls:\n    a: @\n",
        &[
            "|\n      one\n        two\n",
            "|+\n      one\n\n",
            "|-\n      one\n",
            ">\n      one\n      two\n",
            "",
        ],
    ),
    (
        "machine: {kubelet: {extraConfig: {a: @}}}\n",
        &[
            "yes",
            "off",
            "1.0",
            "1e3",
            "0755",
            "0o755",
            "0b11",
            "+1",
            "100000000000000000000",
            "2024-01-02",
            "null",
            "{1: x}",
            "[1, two, null, {b: [c]}]",
            "'null'",
            "18446744073709551615",
            "-9223372036854775808",
            ".5",
            "0.1",
            "1e-7",
            "123456789.125",
            "1e21",
            "-0.0",
        ],
    ),
    (
        "machine: {kubelet: {extraConfig: {@}}}\n",
        &["1: a", "true: a", "1.5: a", "null: a", "a: &x {p: 1}, b: {<<: *x, q: 2}"],
    ),
    (
        "machine: {kubelet: {extraArgs: {a: @}}}\n",
        &["b", "[b, c]", "1", "true", "[1, true]", "null"],
    ),
    (
        "machine: {certSANs: @}\n",
        &[
            "[a, null, 1, yes]",
            "a",
            "[]",
            "null",
            "{}",
            "[fd00::1]",
            "[fd00::]",
            "[a:]",
            "[a:b, http://a]",
            "[a?b]",
            "[?a]",
            "[-a]",
            "[a#b]",
            "[::1]",
            "['::1']",
            "[a, ]",
            "[a, , b]",
            "[a b]",
            "[\"a\":b]",
            "[a: b]",
            "[a\n b]",
            "[@a]",
            "[%a]",
            "[a]b",
        ],
    ),
    (
        "machine:\n  certSANs:\n    - @\n",
        &[
            "::1", "a: b", "- a", "a:b", "a #b", "a#b", ":a", "? a", "fd00::", "%a", "`a`", "'a",
            "a\tb", "a'b",
        ],
    ),
    (
        "apiVersion: v1alpha1\nkind: TimeSyncConfig\nbootTimeout: @\n",
        &["1.5h", "168h", "7d", "60", "604800000000000", "\"0\"", "-1s"],
    ),
    (
        "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {maxSize: @}\n",
        &["100000000", "50%", "100GB", "100 GB", "1.5TiB", "101%", "x"],
    ),
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: @\n",
        &["off", "\"off\"", "stable", "OFF", "nope"],
    ),
    (
        "apiVersion: v1alpha1\nkind: BondConfig\nname: bond0\nlinks: [a]\nbondMode: @\nmiimon: 100\n",
        &["802.3ad", "active-backup", "1", "Active-Backup"],
    ),
    (
        "@",
        &[
            "",
            "---\n",
            "# nothing\n",
            "---\n---\n",
            "---\nmachine: {}\n---\n",
            "\u{feff}machine: {}\n",
            "%YAML 1.1\n---\nmachine: {}\n",
            "machine: {}\n...\n",
            "machine: {}\n---\nmachine: {}\n",
            "machine: {}\n--- # two\ncluster: {}\n",
            "a: b\n",
            "- a\n",
            "text\n",
            "version: v1alpha1\n",
            "kind: LinkConfig\n",
            "apiVersion: v1alpha1\nkind: Nope\n",
            "apiVersion: v1\nkind: LinkConfig\nname: a\n",
            "machine: {MTU: 1}\n",
            "apiVersion: v1alpha1\nkind: LinkConfig\nname: a\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: b\n",
            "apiVersion: v1alpha1\nkind: LinkConfig\nname: a\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: a\n",
            "machine: &m {}\ncluster: *m\n",
            "machine: {}\r\ncluster: {}\r\n",
            "--- {machine: {}}\n",
            "null\n---\nmachine: {}\n",
            "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses:\n  - &a {address: fd00::1/64}\n  - *a\n",
            "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses:\n  - &a {address: fd00::1/64}\n  - {<<: *a}\n",
        ],
    ),
];

#[test]
fn what_people_write_is_read_as_talos_reads_it() {
    each_release(|oracle| {
        let mut failed = Vec::new();
        for (document, values) in ROWS {
            for value in values {
                let text = document.replace('@', value);
                let different = difference(oracle, &text);
                failed.extend(
                    different.map(|different| format!("1.{}: {text:?}\n{different}", oracle.minor)),
                );
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n##########\n"));
    });
}
