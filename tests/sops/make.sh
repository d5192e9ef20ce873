#!/bin/sh
# Makes what lies in this folder, once: run it in an empty folder with sops 3.13.3 and age 1.3.1
# on the PATH, and copy what comes out here. Every key is made here and thrown away: `ours.key` opens
# the files, `other.key` opens none of them, and nothing else was ever encrypted with either.
#
# NAME.sops.yaml and NAME.sops.json are files that `sops encrypt` wrote; NAME.plain.yaml and
# NAME.plain.json are what `sops decrypt` gives for them: the judge of our own reading.
set -eu

age-keygen -o ours.key
age-keygen -o other.key
ours=$(age-keygen -y ours.key)
other=$(age-keygen -y other.key)
export SOPS_AGE_KEY_FILE=ours.key
unset SOPS_AGE_KEY SOPS_AGE_KEY_CMD

# make NAME EXTENSION FLAG...: encrypts standard input.
make() {
    name=$1 kind=$2
    shift 2
    cat > "in.$kind"
    sops encrypt "$@" "in.$kind" > "$name.sops.$kind"
    sops decrypt "$name.sops.$kind" > "$name.plain.$kind"
    rm "in.$kind"
}

# rule KEY VALUE...: what has no flag.
rule() {
    printf 'creation_rules:\n- age: %s\n' "$ours" > .sops.yaml
    printf '  %s: %s\n' "$@" >> .sops.yaml
}

types() {
    cat <<'YAML'
# A comment at the top.
version: v1alpha1
debug: false
persist: True
machine:
    type: controlplane # at the end of a line
    token: abc123.0123456789abcdef
    ca:
        crt: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t
        key: ""
    certSANs:
        # before an item
        - 192.0.2.10
        - "true"
        # after the last
    empty: []
    none: {}
    nothing: null
    install:
        disk: /dev/sda
        wipe: no
numbers:
    int: 42
    negative: -7
    octal: 0644
    octal12: 0o644
    hex: 0x1F
    binary: 0b101
    grouped: 1_000_000
    zero: 0
    max: 9223372036854775807
    quoted: "0644"
    float: 1.5
    whole: 2.0
    million: 1000000.0
    large: 1e+30
    huge: 123456789012345678901234567890
    small: 1.25e-9
    eight: 08
    inf: .inf
    minus-inf: -.Inf
    nan: .NaN
times:
    date: 2024-02-29
    time: 2024-01-02T03:04:05.600Z
    offset: 2024-01-02t03:04:05+02:30
    space: 2024-1-2 3:4:5
    quoted: "2024-01-02"
texts:
    block: |
        line one
          line two

        last: "quoted" \ and # all
    keep: |+
        ends with lines

    folded: >-
        one
        two
    plain: several
        lines

        of text
    german: Zürich – Straße
    emoji: "🦀 \u0001\u0085\u2028\uFEFF"
    looks: "- [x] {y}: &z *w !v | > %u @t `s"
    yes: "no"
    null-like: "~"
    tilde: ~
    binary: !!binary //79/A==
    tagged: !!str 12
    spaces: "  around  "
"key with spaces: and # more": 1
"": empty key
aliased: &anchor
    - {inner: one, other: [two, [three, four], {five: 5}]}
    - - - deep
      - deeper
    - []
again: *anchor
plain_unencrypted: left as it is
number_unencrypted: 0o17
below_unencrypted:
    any: 2024-01-02
    float: 1.50
    list: [1, two, ~, true, .nan, 1e3]
    multi: "one\ntwo"
    octal: 0777
    tagged: !!float 3
---
apiVersion: v1alpha1
kind: HostnameConfig
hostname: cp-1
---
apiVersion: v1alpha1
kind: TrustedRootsConfig
name: roots
certificates: |-
    -----BEGIN CERTIFICATE-----
    AAAA
    -----END CERTIFICATE-----
YAML
}

types | make types yaml --age "$other,$ours"
rule mac_only_encrypted true encrypted_regex '^(token|key|crt|certSANs|inner)$'
types | make mac-only yaml
rm .sops.yaml
types | make regex yaml --age "$ours" --encrypted-regex '(?i)^(TOKEN|key|crt|int|date|list)$'
types | make unencrypted-regex yaml --age "$ours" --unencrypted-regex '^(numbers|times|kind|apiVersion)$'
types | make suffix yaml --age "$ours" --encrypted-suffix 'ken'

comments() {
    cat <<'YAML'
# secret: the first mapping
first:
    token: one
    number: 5
second:
    # public
    name: plain text
    # secret
    key: two
    list:
        # secret
        - three
        - 4
third: 0x10
YAML
}

rule encrypted_comment_regex secret
comments | make comment yaml
rule unencrypted_comment_regex public
comments | make uncomment yaml
rm .sops.yaml

make object json --age "$ours" <<'JSON'
{
    "machine": {
        "type": "worker", "token": "<a&b>\u2028\n\t\u0001/", "list": [1, 2.5, true, null, "x", [], {}],
        "big": 9007199254740993, "large": 1e30, "beyond": 18446744073709551615, "small": 1.5e-10
    },
    "big_unencrypted": 9007199254740993,
    "float_unencrypted": 2.50,
    "date_unencrypted": "2024-01-02",
    "yes": "no",
    "empty": ""
}
JSON

echo 'a: secret' > in.yaml
cat > .sops.yaml <<YAML
creation_rules:
    - shamir_threshold: 2
      key_groups:
          - age: [$ours]
          - age: [$other]
YAML
sops encrypt in.yaml > groups.sops.yaml
rm .sops.yaml

types > in.yaml
age -r "$ours" in.yaml > binary.age
age -a -r "$other" -r "$ours" in.yaml > armored.age
mv in.yaml file.plain.yaml
