//! Proofs of the site file: what is read, what is filled in, and that nothing panics.

use proptest::prelude::*;

use super::*;
use crate::catalog;
use crate::catalog::Output;
use crate::config::facts::network::Route;
use crate::oci::reference::Reference;

const CONTROL_PLANE: &str =
    "version: v1alpha1\nmachine: {type: controlplane, install: {disk: /dev/vda}}\n";
const WORKER: &str = "version: v1alpha1\nmachine: {type: worker, install: {disk: /dev/vda}}\n";
const DISKLESS: &str = "version: v1alpha1\nmachine: {type: worker}\n";
const PARTIAL: &str = "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n";
const MINE: &str = "version: 1\nabout: mine\narch: [amd64]\nkernel_args: {amd64: [mine=1]}
values:
  tree: {about: a, kind: tree}
  list: {about: b, kind: list}
  text: {about: c, kind: file}
patches: [{patch: \"a: ${tree}\\nb: ${list}\\nc: ${text}\"}]
";

pub(super) const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

/// The files that the tests' sites name.
pub(super) fn files(path: &Path, _: u64) -> io::Result<Vec<u8>> {
    let text = match path.to_str().unwrap() {
        "d/cp.yaml" | "d/configs/cp-1.yaml" => CONTROL_PLANE,
        "d/w.yaml" | "d/configs/w-1.yaml" => WORKER,
        "d/diskless.yaml" => DISKLESS,
        "d/partial.yaml" => PARTIAL,
        "d/mine.yaml" | "d/./mine.yaml" => MINE,
        "d/patches/all.yaml" => "machine: {sysctls: {a: b}}\n",
        "d/secrets.yaml" => "cluster: {}\n",
        "d/ca.pem" | "d/key.pem" => PEM,
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(text.as_bytes().to_vec())
}

/// Those files, and an environment without identities.
const WORLD: World<'_> = World { read: &files, variable: &|_| None };

pub(super) fn read(text: &str) -> Result<Site, Vec<Diagnostic>> {
    load_text(Path::new("d/site.yaml"), text.as_bytes(), WORLD)
}

/// A site of which the rest is right.
pub(super) fn with(talos: &str, boot: &str, defaults: &str, node: &str) -> String {
    format!(
        "version: 1
cluster: {{name: home, endpoint: \"https://192.0.2.10:6443\", talos: {talos}}}
boot: {{assets: \"dir:assets\"{boot}}}
defaults: {{{defaults}}}
nodes:
  - {{name: n-1{node}}}
"
    )
}

fn node(defaults: &str, node: &str) -> Node {
    let site = read(&with("v1.13.9", ", kernel_args: [boot=1]", defaults, node)).unwrap();
    assert_eq!(site.warnings, []);
    site.nodes.into_iter().next().unwrap()
}

/// Codes and places of all problems.
pub(super) fn told(text: &str) -> Vec<String> {
    let problems = read(text).map_or_else(|problems| problems, |site| site.warnings);
    let place = |problem: &Diagnostic| {
        problem
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!("{}:{}", place.line, place.column))
    };
    problems.iter().map(|problem| format!("{} {}", problem.code, place(problem))).collect()
}

#[test]
fn what_is_not_said_is_filled_in() {
    let node = node("", ", role: worker, config: w.yaml");
    assert_eq!((node.profile_name.as_str(), node.embed), ("metal-iso", Embed::Auto));
    assert_eq!(Some(node.profile), catalog::profile("metal-iso"));
    assert_eq!(&**node.config.unwrap().bytes(), WORKER.as_bytes());
    assert_eq!(node.place.to_string(), "d/site.yaml:6:5");
    let site = read(&with("v1.13.9", "", "", ", role: worker, config: w.yaml")).unwrap();
    assert_eq!(site.boot.arch, Arch::Amd64);
    assert_eq!(site.boot.assets, [AssetSource::Dir("d/assets".into())]);
    assert_eq!(site.boot.grub, None);
}

#[test]
fn a_node_overrides_and_extends_the_defaults() {
    let node = node(
        "profile: metal-disk, overlays: [no-kexec], kernel_args: [defaults=1], embed: addon, \
         meta: {12: a, 0x0d: b}",
        ", role: controlplane, config: cp.yaml, profile: vm, overlays: [./mine.yaml, no-kexec], \
         kernel_args: [-console, node=1], embed: initramfs, meta: {0x0c: 0644}",
    );
    assert_eq!((node.role, node.embed), (Role::ControlPlane, Embed::Initramfs));
    assert_eq!(node.profile_name, "vm");
    assert!(matches!(node.profile.output, Output::Disk(_)));
    let overlays: Vec<_> = node.overlays.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(overlays, ["no-kexec", "./mine.yaml"]);
    assert_eq!(
        node.kernel_args.join(" "),
        "boot=1 defaults=1 sysctl.kernel.kexec_load_disabled=1 mine=1 -console node=1"
    );
    assert_eq!(node.meta, BTreeMap::from([(12, "0644".to_owned()), (13, "b".to_owned())]));
}

fn assets(text: &str) -> Result<AssetSource, String> {
    let site = with("v1.13.9", "", "", ", role: worker, config: w.yaml");
    let site = site.replace("dir:assets", text);
    let sole = |site: Site| site.boot.assets.into_iter().next().unwrap();
    read(&site).map(sole).map_err(|problems| problems[0].message.clone())
}

#[test]
fn assets_come_from_what_people_have() {
    assert_eq!(assets("uki:a.efi"), Ok(AssetSource::Uki("d/a.efi".into())));
    assert_eq!(assets("uki:/x/a.efi"), Ok(AssetSource::Uki("/x/a.efi".into())));
    assert_eq!(assets("../assets"), Ok(AssetSource::Dir("d/../assets".into())));
    assert_eq!(assets("iso:a.iso"), Ok(AssetSource::Iso("d/a.iso".into())));
    assert_eq!(assets("raw:a.raw.zst"), Ok(AssetSource::Raw("d/a.raw.zst".into())));
    assert_eq!(assets("ftp://x"), Err("`ftp` is no source of boot assets".into()));
    let kind = |kind| Err(format!("a file of boot assets is named by its kind, `{kind}:`"));
    assert_eq!(assets("a.efi"), kind("uki"));
    assert_eq!(assets("b/a.raw.xz"), kind("raw"));
    assert_eq!(assets("uki:"), Err("`assets` is no path".into()));
}

#[test]
fn assets_come_from_images_and_servers() {
    let image = |text: &str| match assets(text) {
        Ok(AssetSource::Image { written, source }) => {
            assert_eq!(written, text);
            Some(source)
        }
        _ => None,
    };
    let name = Reference::parse("ghcr.io/siderolabs/imager:v1.13.9").unwrap();
    let want = ImageSource::Registry(name);
    assert_eq!(image("oci://ghcr.io/siderolabs/imager:v1.13.9").unwrap(), want);
    let layout = |pick: Option<&str>| ImageSource::Layout {
        path: "d/b/c".into(),
        pick: pick.map(str::to_owned),
    };
    assert_eq!(image("oci-layout:b/c").unwrap(), layout(None));
    assert_eq!(image("oci-layout:b/c:v1").unwrap(), layout(Some("v1")));
    let archive = ImageSource::Archive { path: "d/i.tar".into(), pick: None };
    assert_eq!(image("docker-archive:i.tar").unwrap(), archive);
    let web = "https://factory.talos.dev/image/x/v1.13.9/metal-amd64.iso";
    assert_eq!(assets(web), Ok(AssetSource::Web(Url::parse(web).unwrap())));
    for bad in ["oci://imager", "oci-layout:", "https://h", "https://u:p@h/a.iso", "https://h/a b"]
    {
        assert!(assets(bad).is_err(), "{bad}");
    }
    assert!(!assets("https://u:geheim@h/a.iso").unwrap_err().contains("geheim"));
}

#[test]
fn extensions_add_up_and_each_is_there_once() {
    let node = node(
        "extensions: [ghcr.io/siderolabs/a:v1, ./own]",
        ", role: worker, config: w.yaml, extensions: [tar:x.tar.gz, ./own, siderolabs/gvisor]",
    );
    let shown = node.extensions.iter().map(|source| match source {
        TreeSource::Image { source: ImageSource::Registry(name), .. } => name.to_string(),
        TreeSource::Image { source, .. } => format!("{source:?}"),
        TreeSource::Official(name) => format!("official {name}"),
        TreeSource::Tar(path) => format!("tar {}", path.display()),
        TreeSource::Dir(path) => format!("dir {}", path.display()),
    });
    let want =
        ["ghcr.io/siderolabs/a:v1", "dir d/./own", "tar d/x.tar.gz", "official siderolabs/gvisor"];
    assert_eq!(shown.collect::<Vec<_>>(), want);
    let wrong = |text: &str| {
        told(&with(
            "v1.13.9",
            "",
            "",
            &format!(", role: worker, config: w.yaml, extensions: {text}"),
        ))
    };
    assert_eq!(wrong("[iscsi-tools]"), ["source 6:60"]);
    assert_eq!(wrong("[ftp:x, tar:a.tar, tar:a.tar]"), ["source 6:60", "duplicate-source 6:78"]);
}

#[test]
fn an_old_talos_embeds_nothing() {
    let site = |talos, node: &str| told(&with(talos, "", "", &format!(", role: worker{node}")));
    assert_eq!(site("v1.12.0-alpha.1", ", config: w.yaml"), [""; 0]);
    assert_eq!(site("v1.11.9", ", config: w.yaml"), [""; 0]);
    assert_eq!(site("v1.11.9", ", config: w.yaml, embed: auto"), [""; 0]);
    assert_eq!(site("v1.11.9", ", config: w.yaml, embed: volume"), [""; 0]);
    assert_eq!(site("v1.11.9", ", config: w.yaml, embed: addon"), ["embed-too-old 6:54"]);
    assert_eq!(site("v1.11.9", ", config: w.yaml, embed: initramfs"), ["embed-too-old 6:54"]);
    assert_eq!(site("v1.11.9", ", config: w.yaml, profile: metal-pxe"), ["embed-too-old 2:67"]);
    assert_eq!(site("v1.11.9", ", embed: none"), [""; 0]);
    assert_eq!(site("v1.9.9", ", embed: none"), ["talos-too-old 2:67"]);
}

#[test]
fn an_addon_needs_something_to_read_it() {
    let site = |profile: &str| {
        let node = format!(", role: worker, config: w.yaml, embed: addon, profile: {profile}");
        told(&with("v1.13.9", "", "", &node))
    };
    assert_eq!(site("metal-iso"), [""; 0]);
    assert_eq!(site("vm"), [""; 0]);
    assert_eq!(site("metal-iso-hybrid"), [""; 0]);
    assert_eq!(site("metal-pxe"), ["embed-profile 6:54"]);
}

#[test]
fn a_volume_needs_someone_who_looks_for_it() {
    let site = |embed: &str, profile: &str| {
        let node = format!(", role: worker, config: w.yaml, embed: {embed}, profile: {profile}");
        told(&with("v1.13.9", "", "", &node))
    };
    assert_eq!(site("volume", "metal-disk"), [""; 0]);
    assert_eq!(site("volume", "nocloud-disk"), [""; 0]);
    assert_eq!(site("volume", "metal-seed"), [""; 0]);
    assert_eq!(site("auto", "nocloud-seed"), [""; 0]);
    assert_eq!(site("volume", "metal-pxe"), ["embed-profile 6:54"]);
    assert_eq!(site("addon", "metal-seed"), ["embed-profile 6:54"]);
    assert_eq!(site("none", "metal-seed"), ["unused-config 6:39", "embed-profile 6:54"]);
}

#[test]
fn a_disk_for_machines_without_uefi_is_warned_of() {
    let site = |profile: &str| {
        let node = format!(", role: worker, config: w.yaml, profile: {profile}");
        told(&with("v1.13.9", "", "", &node))
    };
    assert_eq!(site("gcp"), [""; 0]);
    assert_eq!(site("digital-ocean"), ["firmware 6:56"]);
    assert_eq!(site("akamai"), ["firmware 6:56"]);
}

#[test]
fn a_seed_takes_nothing_that_is_for_what_boots() {
    let site = |said: &str| {
        let node = format!(", role: worker, config: w.yaml, profile: metal-seed{said}");
        told(&with("v1.13.9", "", "", &node))
    };
    assert_eq!(site(""), [""; 0]);
    assert_eq!(site(", kernel_args: [a=1]"), ["seed-unused 6:81"]);
    assert_eq!(
        site(", extensions: [./x], meta: {12: a}"),
        ["seed-unused 6:80", "seed-unused 6:93"]
    );
}

#[test]
fn install_sections_are_asked_for_as_talos_does() {
    let site = |talos, config: &str, profile: &str| {
        let node = format!(", role: worker, config: {config}.yaml, profile: {profile}");
        told(&with(talos, "", "", &node))
    };
    assert_eq!(site("v1.13.9", "diskless", "metal-iso"), ["config-install 2:10"]);
    assert_eq!(site("v1.13.9", "diskless", "metal-disk"), ["config-install 2:10"]);
    assert_eq!(site("v1.13.9", "diskless", "nocloud-disk"), [""; 0]);
    assert_eq!(site("v1.14.0", "diskless", "metal-disk"), [""; 0]);
    assert_eq!(site("v1.14.0", "diskless", "metal-iso"), ["config-install 2:10"]);
    assert!(read(&with("v1.14.0", "", "", ", role: worker, config: diskless.yaml")).is_ok());
    assert_eq!(site("v1.13.9", "partial", "metal-iso"), ["config-incomplete 1:1"]);
}

#[test]
fn a_document_that_is_too_new_is_refused() {
    let site = |talos, embed| {
        told(&with(talos, "", "", &format!(", role: worker, config: partial.yaml{embed}")))
    };
    assert_eq!(
        site("v1.11.0", ", embed: none"),
        ["unused-config 6:39", "config-too-new 1:1", "config-incomplete 1:1"]
    );
}

#[test]
fn what_many_nodes_share_is_told_once() {
    let mut text = with("v1.13.9", "", "profile: metall-iso", "");
    text.truncate(text.find("  - ").unwrap());
    for n in 0..50 {
        text.push_str(&format!("  - {{name: n-{n}, role: worker, config: none.yaml}}\n"));
    }
    assert_eq!(told(&text), ["unknown-name 4:21", "no-file 6:39"]);
}

#[test]
fn names_differ_in_more_than_case() {
    let text = with("v1.13.9", "", "", ", role: worker, config: w.yaml")
        + "  - {name: N-1, role: worker, config: w.yaml}\n";
    assert_eq!(told(&text), ["duplicate-node 7:12"]);
}

#[test]
fn the_starter_loads_once_its_files_are_there() {
    let site = read(starter()).unwrap();
    assert_eq!(site.warnings, []);
    assert_eq!(site.nodes.len(), 2);
    // What is commented out must be right too.
    let is_key = |text: &str| {
        let text = text.trim_start().trim_start_matches("- ");
        let key = text.split_once(':').map_or("", |(key, _)| key);
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let uncommented = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_key(rest) => {
            format!("{indent}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    let others = |line: &&str| !line.contains("embed: none") && !line.contains("arch: arm64");
    let all: String = starter().lines().filter(others).map(uncommented).collect();
    let site = read(&all).unwrap_or_else(|problems| panic!("{problems:?}\n{all}"));
    assert_eq!(site.nodes[1].profile_name, "vm");
    assert_eq!(site.nodes[1].overlays[0].0, "serial-console");
    let facts = site.nodes[2].facts.as_ref().unwrap();
    let settings = &facts.network.links[0].settings;
    assert_eq!(settings.addresses, [Prefix::parse("192.0.2.22/24").unwrap()]);
    assert_eq!(settings.routes, [Route::default_by("192.0.2.1".parse().unwrap())]);
    assert_eq!((settings.vips.len(), site.nodes[2].patches.len()), (0, 1));
}

#[test]
fn neither_debug_nor_problems_hold_a_secret() {
    let node = node("", ", role: worker, config: w.yaml, meta: {0x10: hunter2}");
    assert!(!format!("{node:?}").contains("hunter2"));
    let text = with("v1.13.9", "", "", ", role: worker, config: w.yaml, meta: {0x10: 'hunter2;'}")
        .replace("192.0.2.10", "user:hunter2@192.0.2.10");
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
}

#[test]
fn no_problem_steers_a_terminal() {
    let text = "\"\\e[31m\": 1\nversion: \"\\e[2J\"\n";
    let problems = read(text).unwrap_err();
    assert!(problems.iter().all(|problem| !problem.to_string().contains('\u{1b}')), "{problems:?}");
}

#[test]
fn a_site_of_a_thousand_nodes_loads() {
    let mut text = with("v1.13.9", "", "overlays: [no-kexec]", ", role: worker, config: w.yaml");
    for n in 2..=1000 {
        text.push_str(&format!("  - {{name: n-{n}, role: worker, config: w.yaml}}\n"));
    }
    assert_eq!(read(&text).unwrap().nodes.len(), 1000);
}

#[test]
fn a_site_file_that_is_too_large_is_refused_unread() {
    let text = vec![b'['; (4 << 20) + 1];
    let problems = load_text(Path::new("site.yaml"), &text, WORLD).unwrap_err();
    assert_eq!(problems[0].code, "site-too-large");
}

/// Pieces that a site file is made of, right and wrong.
fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "1",
        "home",
        "v1.13.9",
        "v1.11.0",
        "",
        "[]",
        "{}",
        "[a, a]",
        "{a: b}",
        "null",
        "~",
        "!x y",
        "w.yaml",
        "cp.yaml",
        "none.yaml",
        "metal-iso",
        "vm",
        "metal-pxe",
        "auto",
        "none",
        "addon",
        "worker",
        "controlplane",
        "https://a",
        "dir:a",
        "uki:a",
        "oci:a",
        "[no-kexec]",
        "[pti=off]",
        "{0x0c: a}",
        "{17: a}",
        "[{name: a, role: worker}]",
        "*a",
        "&a 1",
        "arm64",
        "\"\\0\"",
    ])
    .prop_map(str::to_owned)
}

prop_compose! {
    fn odd_site()(
        values in prop::collection::vec((prop::sample::select(vec![
            "version", "cluster", "boot", "defaults", "nodes", "name", "endpoint", "talos",
            "kubernetes", "assets", "arch", "grub", "kernel_args", "profile", "overlays", "embed",
            "meta", "role", "config", "secrets", "nmae",
        ]), value(), 0usize..4), 0..25),
    ) -> String {
        values.iter().map(|(key, value, indent)| {
            format!("{}{key}: {value}\n", ["", "  ", "  - ", "    "][*indent])
        }).collect()
    }
}

proptest! {
    #[test]
    fn an_odd_site_is_read_or_refused_with_places(text in odd_site()) {
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.place.is_some()), "{problems:?}");
        }
    }

    #[test]
    fn a_mutated_site_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let mut bytes = starter().as_bytes().to_vec();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        match load_text(Path::new("d/site.yaml"), &bytes, WORLD) {
            Ok(site) => prop_assert!(!site.nodes.is_empty()),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    #[test]
    fn a_line_of_the_starter_with_an_odd_value_is_read_or_refused(
        line in any::<prop::sample::Index>(), value in value(),
    ) {
        let lines: Vec<_> = starter().lines().collect();
        let at = line.index(lines.len());
        let odd = lines[at].split_once(": ").map_or(String::new(), |(key, _)| format!("{key}: {value}"));
        let text: Vec<_> =
            lines.iter().enumerate().map(|(n, line)| if n == at { odd.as_str() } else { line }).collect();
        if let Err(problems) = read(&text.join("\n")) {
            prop_assert!(problems.iter().all(|problem| problem.place.is_some()), "{problems:?}");
        }
    }
}
