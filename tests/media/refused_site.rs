//! Sites that are wrong: each mistake is told with its place, and nothing is written.

use anyhow::Result;
use talforge::talos::Arch;

use crate::fixture::{self, CANARY, Site, TALOS, config};
use crate::refused_assets::refusal;

const BOOT: &str = "{assets: \"dir:assets\"}";

/// What a build of these nodes says, which must fail.
fn nodes(site: &Site, nodes: &[&str]) -> Result<String> {
    site.site(TALOS, BOOT, nodes)?;
    refusal(site, &["build"])
}

/// What a build says of a config in the place of the right one. It must not quote it.
fn with_config(site: &Site, config: &[u8]) -> Result<String> {
    site.write("other.yaml", config)?;
    let said = nodes(site, &["name: cp, role: controlplane, config: other.yaml"])?;
    anyhow::ensure!(!said.contains(CANARY), "{said}");
    Ok(said)
}

fn site() -> Result<Site> {
    Site::new(Arch::Amd64)
}

#[test]
fn configs_that_cannot_be_taken_are_refused_without_a_word_of_them() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let right = config("controlplane");
    let mut large = right.clone().into_bytes();
    large.resize((4 << 20) + 1, b'\n');
    let mut said = with_config(&site, &large).unwrap();
    let broken = [right.as_bytes(), b"# caf\xe9\n"].concat();
    said += &with_config(&site, &broken).unwrap();
    said += &with_config(&site, right.replace("machine:", "machine: [").as_bytes()).unwrap();
    said += &with_config(&site, b"").unwrap();
    said += &with_config(&site, format!("- {CANARY}\n").as_bytes()).unwrap();
    said += &with_config(&site, config("worker").as_bytes()).unwrap();
    said += &with_config(&site, config("gateway").as_bytes()).unwrap();
    said += &nodes(&site, &["name: cp, role: controlplane, config: gone.yaml"]).unwrap();
    said += &nodes(&site, &["name: cp, role: controlplane, config: assets"]).unwrap();
    said += &nodes(&site, &["name: cp, role: controlplane"]).unwrap();
    insta::assert_snapshot!(said, @"
    exit code 1
    error: the machine config is larger than 4MiB
      --> site.yaml:5:44
    help: is this the right file?
    exit code 1
    error: this is no UTF-8 text
      --> other.yaml:99:6
    help: save it as UTF-8
    exit code 1
    error: this is no YAML: while parsing a flow mapping, did not find expected ',' or '}'
      --> other.yaml:7:10
    exit code 1
    error: the machine config holds no document
      --> other.yaml:1:1
    exit code 1
    error: a document of a machine config is a mapping, and this is a list
      --> other.yaml:1:1
    help: is this the right file?
    exit code 1
    error: node `cp` is a controlplane, and its config is a worker's
      --> other.yaml:6:11
    help: name another config or role in site.yaml:5:5
    exit code 1
    error: `machine.type` is no type of machine
      --> other.yaml:6:11
    help: write `controlplane` or `worker`
    exit code 1
    error: there is no machine config `gone.yaml`
      --> site.yaml:5:44
    help: check the path
    exit code 1
    error: the machine config `assets` cannot be read: it is no plain file
      --> site.yaml:5:44
    exit code 1
    error: node `cp` has no `config`
      --> site.yaml:5:5
    help: name its machine config, `config: configs/cp-1.yaml`; or name the cluster's secrets, of which one is made, `secrets: secrets.yaml` in `cluster`; or write `embed: none` and give it one over Talos' API
    ");
}

#[test]
fn names_that_are_taken_or_no_host_names_are_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let named = ["cp-1", "CP-1", "../evil", "a.b", "-a", "\"\"", "\"a b\""];
    let named = named.map(|name| format!("name: {name}, role: worker, config: w.yaml"));
    let said = nodes(&site, &named.each_ref().map(String::as_str)).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 1
    error: the name `CP-1` is taken by the node on line 5
      --> site.yaml:6:12
    help: names must differ in more than upper and lower case
    error: `../evil` is no host name
      --> site.yaml:7:12
    help: use letters, digits and inner hyphens, 63 at most, as in `cp-1`
    error: `a.b` is no host name
      --> site.yaml:8:12
    help: use letters, digits and inner hyphens, 63 at most, as in `cp-1`
    error: `-a` is no host name
      --> site.yaml:9:12
    help: use letters, digits and inner hyphens, 63 at most, as in `cp-1`
    error: `` is no host name
      --> site.yaml:10:12
    help: use letters, digits and inner hyphens, 63 at most, as in `cp-1`
    error: `a b` is no host name
      --> site.yaml:11:12
    help: use letters, digits and inner hyphens, 63 at most, as in `cp-1`
    ");
}

#[test]
fn unknown_words_are_refused_with_the_nearest_known_one() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let said = nodes(
        &site,
        &[
            "name: a, role: worker, config: w.yaml, profile: metal-isos",
            "name: b, role: worker, config: w.yaml, overlays: [serial-consol]",
            "name: c, role: worker, config: w.yaml, profil: metal-iso",
            "name: d, role: master, config: w.yaml",
            "name: e, role: worker, config: w.yaml, embed: adon",
            "name: f, role: worker, config: w.yaml, profile: ./gone.yaml",
        ],
    );
    insta::assert_snapshot!(said.unwrap(), @r"
    exit code 1
    error: there is no profile `metal-isos`
      --> site.yaml:5:54
    help: did you mean `metal-iso`?
    error: there is no overlay `serial-consol`
      --> site.yaml:6:56
    help: did you mean `serial-console`?
    error: a node has no key `profil`
      --> site.yaml:7:45
    help: did you mean `profile`?
    error: `master` is no value of `role`
      --> site.yaml:8:21
    help: use one of controlplane, worker
    error: `adon` is no value of `embed`
      --> site.yaml:9:52
    help: did you mean `addon`?
    error: there is no profile `./gone.yaml`
      --> site.yaml:10:54
    help: check the path
    ");
}

#[test]
fn a_disk_that_is_too_small_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let profile = fixture::small_disk(512, "36MiB").replace("size: auto", "size: 38MiB");
    site.write("small.yaml", profile.as_bytes()).unwrap();
    let node = "name: cp, role: controlplane, config: cp.yaml, profile: ./small.yaml";
    let mut said = nodes(&site, &[node]).unwrap();
    site.write("small.yaml", profile.replace("size: 38MiB", "siz: 1GiB").as_bytes()).unwrap();
    said += &nodes(&site, &[node]).unwrap();
    insta::assert_snapshot!(said, @"
    exit code 1
    error: the disk of the profile `./small.yaml` is 38MiB, and its partitions need 39MiB
      --> site.yaml:5:62
    help: write `size: 39MiB` or `size: auto` in the profile
    exit code 1
    error: this is no profile: output.disk: unknown field `siz`, expected one of `sector`, `esp`, `size`, `timeout`, `format`, `compress`
      --> ./small.yaml:6:42
    help: see `profile.schema.json` and our own profiles for the keys
    ");
}

#[test]
fn command_lines_that_would_not_boot_are_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let node = |args: &str| {
        format!("name: cp, role: controlplane, config: cp.yaml, kernel_args: [{args}]")
    };
    let long: Vec<_> = (0..40).map(|n| format!("a{n}={}", "x".repeat(50))).collect();
    let mut said = nodes(&site, &[&node(&long.join(", "))]).unwrap();
    said += &nodes(&site, &[&node("-slab_nomerge, -pti=on, \"a b\", talos.platform=aws")]).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 1
    error: node `cp`: the kernel command line has 2411 bytes; a kernel takes 1967, with what boot entries add, and cuts off the rest
      --> site.yaml:5:5
    help: shorten or mend its `kernel_args` and `meta`
    exit code 1
    error: the kernel argument `-slab_nomerge` would keep Talos from booting: it refuses to run without `slab_nomerge` and `pti=on`
      --> site.yaml:5:67
    help: drop the item
    error: the kernel argument `-pti=on` would keep Talos from booting: it refuses to run without `slab_nomerge` and `pti=on`
      --> site.yaml:5:82
    help: drop the item
    error: a kernel argument holds white space
      --> site.yaml:5:91
    help: write one list item for each argument; the kernel ends one at white space
    error: the kernel argument `talos.platform=aws` would undo the profile's platform
      --> site.yaml:5:98
    help: choose a profile of that platform, or write your own with `platform`
    ");
}

#[test]
fn what_a_release_of_talos_would_ignore_or_refuse_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let node = "name: cp, role: controlplane, config: cp.yaml";
    let release = |talos: &str| {
        site.site(talos, BOOT, &[node]).unwrap();
        refusal(&site, &["build"]).unwrap()
    };
    let mut said = release("v1.11.6") + &release("v1.9.0") + &release("latest");
    let right = config("controlplane");
    let (before, install) = right.split_once("    install:\n").unwrap();
    let (_, after) = install.split_once("    features:\n").unwrap();
    let bare = format!("{before}    features:\n{after}");
    site.write("cp.yaml", bare.as_bytes()).unwrap();
    said += &release("v1.13.9");
    insta::assert_snapshot!(said, @"
    exit code 1
    error: Talos v1.11.6 knows no HostnameConfig, and would refuse the whole config
      --> cp.yaml:96:1
    help: use Talos v1.12.0 or newer, or drop the document
    exit code 1
    error: Talos v1.9.0 is too old: media are made for v1.10.0 and newer
      --> site.yaml:2:77
    help: use Talos v1.10.0 or newer
    exit code 1
    error: `latest` is no version of Talos
      --> site.yaml:2:77
    help: write the release's whole tag: `v1.13.9`
    exit code 1
    error: the config has no `machine.install`: Talos v1.13.9 would refuse it at every boot
      --> cp.yaml:6:5
    help: write `install: {disk: /dev/…}`, also where Talos is on the disk already
    ");
    // Talos 1.11 without a config, and 1.14 without an install section, are good.
    let bare_node = "name: cp, role: controlplane, embed: none";
    site.site("v1.11.6", BOOT, &[bare_node]).unwrap();
    site.build().unwrap();
    site.site("v1.14.0", BOOT, &[node]).unwrap();
    site.build().unwrap();
}

#[test]
fn assets_of_another_architecture_than_the_profile_are_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let node = "name: cp, role: controlplane, config: cp.yaml, profile: metal-iso-hybrid";
    site.site(TALOS, "{assets: \"dir:assets\", arch: arm64}", &[node]).unwrap();
    insta::assert_snapshot!(refusal(&site, &["build"]).unwrap(), @r"
    exit code 1
    error: the profile `metal-iso-hybrid` is for amd64, and the site for arm64
      --> site.yaml:5:62
    help: choose another profile, or change `arch` in `boot`
    ");
}

#[test]
fn an_addon_where_nothing_would_read_it_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    let net = "name: a, role: worker, config: w.yaml, profile: metal-pxe, embed: addon";
    let said = nodes(&site, &[net]);
    insta::assert_snapshot!(said.unwrap(), @r"
    exit code 1
    error: `embed: addon` does not fit the profile `metal-pxe`: without a UKI nothing reads it
      --> site.yaml:5:72
    help: write `embed: auto`, or drop the line
    ");
}

#[test]
fn wrong_usage_and_unknown_nodes_are_told() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    site.nodes(&[
        "name: cp, role: controlplane, config: cp.yaml",
        "name: w, role: worker, config: w.yaml",
    ])
    .unwrap();
    let mut said = refusal(&site, &["build", "--node", "cp-2", "-n", "w"]).unwrap();
    said += &refusal(&site, &["build", "gone.yaml"]).unwrap();
    said += &refusal(&site, &["build", "--nod", "w"]).unwrap();
    said += &refusal(&site, &["inspect", "gone.iso"]).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 1
    error: the site has no node `cp-2`
    help: its nodes are cp, w
    exit code 1
    error: there is no site file `gone.yaml`
    help: check the path, or write one with `talforge init`
    exit code 2
    error: unexpected argument '--nod' found

      tip: a similar argument exists: '--node'

    Usage: talforge build --node <NAME> [SITE]

    For more information, try '--help'.
    exit code 3
    error: `gone.iso` cannot be read: No such file or directory (os error 2)
    ");
    let help = site.run(&["--help"]).unwrap().well().unwrap().text();
    assert!(
        help.contains("Exit codes: 0 done; 1 a file of yours is wrong; 2 wrong usage"),
        "{help}"
    );
    assert_eq!(site.run(&[]).unwrap().code, Some(2));
}
