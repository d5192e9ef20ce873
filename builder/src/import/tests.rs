//! Tests of what an import makes. That it renders what talhelper makes is proven in `tests/import.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const SECRETS: &str = "cluster: {id: a, secret: plain-secret}\n";

/// An identity of age that opens the files of the tests of `sops`.
const IDENTITY: &str = include_str!("../../../tests/sops/ours.key");

type Given = BTreeMap<PathBuf, Vec<u8>>;

fn import_of(files: &Given, variables: &[(&str, &str)]) -> Result<Imported, Vec<Diagnostic>> {
    let read = |path: &Path, limit: u64| {
        let bytes = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let end = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        Ok(bytes[..bytes.len().min(end)].to_vec())
    };
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    talhelper(Path::new("talconfig.yaml"), &World { read: &read, variable: &variable })
}

fn files<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Given {
    given.into_iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec())).collect()
}

/// A site with a node, and further lines of the file and of the node.
fn small(more: &str, node: &str) -> String {
    format!(
        "clusterName: c\ntalosVersion: v1.13.9\nkubernetesVersion: v1.35.0\n\
         endpoint: https://192.0.2.1:6443\n{more}\nnodes:\n  - hostname: n1\n    \
         ipAddress: 192.0.2.11\n    controlPlane: true\n    installDisk: /dev/sda\n{node}"
    )
}

fn given(text: &str) -> Given {
    files([("talconfig.yaml", text), ("talsecret.yaml", SECRETS)])
}

fn imported(text: &str) -> Imported {
    import_of(&given(text), &[]).unwrap()
}

fn text_of<'i>(imported: &'i Imported, path: &str) -> &'i str {
    let found = imported.files.iter().find(|(known, _)| known == path);
    std::str::from_utf8(&found.unwrap_or_else(|| panic!("no {path}: {imported:?}")).1).unwrap()
}

fn site(imported: &Imported) -> &str {
    text_of(imported, "site.yaml")
}

fn codes(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|finding| finding.code).collect()
}

fn environment<'w>(given: &str, variable: &'w dyn Fn(&str) -> Option<OsString>) -> Environment<'w> {
    let mut environment = Environment::new(variable);
    let mut problems = Vec::new();
    environment.add("talenv.yaml", given.as_bytes(), false, &mut problems);
    assert_eq!(problems, []);
    environment
}

#[test]
fn variables_are_replaced_as_envsubst_does() {
    let variable = |name: &str| (name == "FROM" || name == "A").then(|| "world".into());
    let environment = environment("A: x\nE: \"\"\nQ: 'p$q'\n", &variable);
    let replaced = |text: &str| environment.replace(text, 1000).map(|done| done.text);
    for (text, want) in [
        ("$A ${A}b $FROM", "x xb world"),
        ("$$A $ $. $_ 5$", "$A $ $. $_ 5$"),
        ("${A:-d} ${U:-d e} ${U-d} ${E:-d} ${U:=d} ${U=$A}", "x d e d d d x"),
        ("${A:+y}${U:+y}${A+z}", "yz"),
        ("$Q", "p$q"),
    ] {
        assert_eq!(replaced(text).as_deref(), Ok(want), "{text}");
    }
    use env::Wrong;
    for (text, want) in [
        ("$U", Wrong::Unset("U".into())),
        ("${U:-}", Wrong::Unset("U".into())),
        ("$1", Wrong::Unset("1".into())),
        ("$E", Wrong::Empty("E".into())),
        ("${E-d}", Wrong::Empty("E".into())),
        ("${A", Wrong::Syntax),
        ("${}", Wrong::Syntax),
        ("${A?d}", Wrong::Syntax),
        ("${U:-${A}}", Wrong::Syntax),
        ("${U:-a\nb}", Wrong::Syntax),
    ] {
        assert_eq!(replaced(text), Err(want), "{text}");
    }
    assert_eq!(environment.replace("$Q$Q", 5).err(), Some(Wrong::TooLarge));
}

#[test]
fn comments_have_no_variables_and_plain_values_become_what_they_say() {
    let text = small("clusterPodNets: ${NETS}  # ${NONE}", "");
    let mut files = given(&text);
    files.insert("talenv.yaml".into(), b"NETS: '[10.1.0.0/16, \"fd00::/56\"]'".to_vec());
    let imported = import_of(&files, &[("NETS", "the file goes before the environment")]).unwrap();
    let nets = "  pod_subnets:\n    - 10.1.0.0/16\n    - fd00::/56\n";
    assert!(site(&imported).contains(nets), "{}", site(&imported));
    let found = import_of(&given(&text), &[]).unwrap_err();
    assert_eq!(codes(&found), ["import-variable"]);
    assert_eq!(found[0].place.as_ref().map(|place| place.line), Some(5));
}

#[test]
fn patches_of_all_stay_so_where_nothing_collides() {
    let patch = |key: &str| format!("patches: [\"machine: {{sysctls: {{{key}: '1'}}}}\"]");
    let apart = imported(&small(&patch("a"), &format!("    {}\n", patch("b"))));
    assert!(site(&apart).contains("  patches:\n    - patches/all-1.yaml\n"), "{}", site(&apart));
    assert!(site(&apart).contains("    patches:\n      - patches/n1-1.yaml\n"));
    let both = imported(&small(&patch("a"), &format!("    {}\n", patch("a"))));
    // They are equal, so they are one file, which the node names twice.
    assert!(site(&both).contains("      - patches/all-1.yaml\n      - patches/all-1.yaml\n"));
    let other = patch("a").replace("'1'", "'2'");
    let both = imported(&small(&patch("a"), &format!("    {other}\n")));
    assert!(site(&both).contains("      - patches/n1-1.yaml\n      - patches/all-1.yaml\n"));
    assert!(!site(&both).contains("\n  patches:"), "{}", site(&both));
    assert!(site(&both).contains("each node names them"));
}

#[test]
fn operations_and_marks_keep_their_place() {
    let operation = "patches: ['[{\"op\": \"remove\", \"path\": \"/machine/install/wipe\"}]']";
    let own = "    patches: ['machine: {sysctls: {a: b}}']\n";
    let both = imported(&small(operation, own));
    assert!(site(&both).contains("      - patches/n1-1.yaml\n      - patches/all-1.yaml\n"));
    let mark = "patches: ['cluster: {apiServer: {admissionControl: [{name: PodSecurity, $patch: delete}]}}']"
        .replace("$", "$$");
    let both = imported(&small(&mark, own));
    assert!(site(&both).contains("      - patches/n1-1.yaml\n      - patches/all-1.yaml\n"));
}

#[test]
fn a_file_is_carried_byte_for_byte() {
    let text = "# A comment.\nmachine:   {sysctls: {a: \"b\"}}\n";
    let mut files = given(&small("patches: ['@./p/x.yaml']", ""));
    files.insert("./p/x.yaml".into(), text.into());
    assert_eq!(text_of(&import_of(&files, &[]).unwrap(), "patches/x.yaml"), text);
    files.insert("./p/x.yaml".into(), b"machine: {sysctls: {a: '{{ .ClusterName }}'}}".to_vec());
    assert_eq!(codes(&import_of(&files, &[]).unwrap().notes), ["import-template"]);
    files.remove(Path::new("./p/x.yaml"));
    assert_eq!(codes(&import_of(&files, &[]).unwrap_err()), ["no-file"]);
}

#[test]
fn what_was_encrypted_is_never_written_in_plain() {
    let identity: String = IDENTITY.lines().filter(|line| line.starts_with("AGE-")).collect();
    let variables = [("SOPS_AGE_KEY", identity.as_str())];
    let sealed = include_bytes!("../../../tests/sops/types.sops.yaml");
    let mut files = given(&small("", ""));
    files.insert("talsecret.sops.yaml".into(), sealed.to_vec());
    let done = import_of(&files, &variables).unwrap();
    let copy = done.files.iter().find(|(path, _)| path == "secrets.sops.yaml").unwrap();
    assert_eq!(*copy.1, sealed);
    let unopened = import_of(&files, &[]).unwrap_err();
    assert!(codes(&unopened)[0].starts_with("sops-"), "{unopened:?}");
}

#[test]
fn a_secret_variable_goes_nowhere() {
    let none = |_: &str| None;
    let mut environment = Environment::new(&none);
    let mut problems = Vec::new();
    environment.add("talenv.sops.yaml", b"TOKEN: hunter2\n", true, &mut problems);
    let file = small(
        "domain: ${TOKEN}",
        "    patches: ['machine: {token: $TOKEN}']\n    machineFiles: [{content: $TOKEN, path: /a}]\n",
    );
    let nodes = yaml::parse("talconfig.yaml", file.as_bytes()).unwrap();
    let mut reader = Reader::new(&environment);
    let (file, _) = reader.read(&nodes[0]).unwrap();
    let files = given("");
    let read = |path: &Path, _: u64| files.get(path).cloned().ok_or(io::ErrorKind::NotFound.into());
    let world = World { read: &read, variable: &none };
    let (mut files, mut notes) = (Files::new(Path::new("talconfig.yaml"), &world), Vec::new());
    let mut shop =
        Shop { files: &mut files, reader: &mut reader, problems: &mut problems, notes: &mut notes };
    let made = import("talconfig.yaml", &file, &mut shop).unwrap_or_default();
    assert!(made.iter().all(|(_, bytes)| !String::from_utf8_lossy(bytes).contains("hunter2")));
    let told = problems.iter().chain(&notes);
    assert!(told.clone().all(|finding| !finding.to_string().contains("hunter2")));
    assert_eq!(codes(&problems), ["import-secret"]);
    assert_eq!(codes(&notes), ["import-secret"; 2]);
    assert!(notes[0].message.contains("`TOKEN`"));
}

#[test]
fn what_is_lost_is_told_and_stands_in_the_site() {
    let node = "    filenameTmpl: x\n    colour: red\n    nodeLabels: {a: '{{ .x }}'}\n    machineSpec: {mode: nocloud, secureboot: true}\n";
    let done = imported(&small("", node));
    let want = ["import-unknown-key", "import-mode", "import-secureboot", "import-template"];
    assert_eq!(codes(&done.notes), want);
    for note in &done.notes[..3] {
        assert!(site(&done).contains(&note.message), "{}", site(&done));
    }
}

#[test]
fn an_older_release_is_refused() {
    let old = small("", "").replace("v1.13.9", "v1.9.0");
    assert_eq!(codes(&import_of(&given(&old), &[]).unwrap_err()), ["import-talos"]);
    let found = import_of(&given("a: b"), &[]).unwrap_err();
    assert!(found.iter().all(|finding| finding.code == "import-missing"), "{found:?}");
    assert_eq!(codes(&import_of(&given("- a"), &[]).unwrap_err()), ["import-empty"]);
}

#[test]
fn aliases_cannot_make_a_tree_of_any_size() {
    let long = "x".repeat(1 << 20);
    let aliases = "*a, ".repeat(100);
    let text = small(&format!("a: &a {long}\nb: [{aliases}]"), "");
    assert_eq!(codes(&import_of(&given(&text), &[]).unwrap_err()), ["import-too-large"]);
    let text = small("domain: $A", "");
    let mut files = given(&text);
    files.insert("talenv.yaml".into(), format!("A: {}", "$$".repeat(9)).into());
    assert_eq!(codes(&import_of(&files, &[]).unwrap_err()), ["import-variables"]);
}

/// Values of any shape, with texts that readers of YAML trip over.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[ -~]{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\\PC{0,8}(\n\\PC{0,8}){0,3}\n?".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("~".to_owned()),
        Just("0644".to_owned()),
        Just("yes".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map("[ -~]{0,9}", inner, 0..4).prop_map(|map| {
                let entry = |(key, value): (String, String)| {
                    format!("{}: {value}", serde_json::to_string(&key).unwrap())
                };
                format!("{{{}}}", map.into_iter().map(entry).collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}

/// Whether two values say the same.
fn same(one: &Value, other: &Value) -> bool {
    match (one.data(), other.data()) {
        (value::Data::Scalar(a), value::Data::Scalar(b)) => a == b,
        (value::Data::List(a), value::Data::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (value::Data::Map(a), value::Data::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(text in value()) {
        let none = |_: &str| None;
        let environment = Environment::new(&none);
        let text = text.replace('$', "S");
        let Ok(nodes) = yaml::parse("a", text.as_bytes()) else { return Ok(()) };
        let (given, _) = Reader::new(&environment).read(&nodes[0]).unwrap();
        let written = emit::document(&given);
        let nodes = yaml::parse("b", written.as_bytes());
        let nodes = nodes.map_err(|e| TestCaseError::fail(format!("{e}\n{}", *written)))?;
        let (again, _) = Reader::new(&environment).read(&nodes[0]).unwrap();
        prop_assert!(same(&given, &again), "{}", *written);
    }

    #[test]
    fn no_file_is_too_strange(at in 0_usize..6000, cut in 0_usize..60, put in "[ -~\n\\PC]{0,12}") {
        let text = include_str!("../../../tests/talhelper/cluster/talconfig.yaml");
        let at = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((at + cut).min(text.len()));
        let text = format!("{}{put}{}", &text[..at], &text[end..]);
        let mut files = given(&text);
        for path in ["manifests/config.yaml", "patches/worker.yaml", "files/auth.env", "extra/watchdog.yaml"] {
            files.insert(path.into(), b"machine: {}\n".to_vec());
        }
        let _ = import_of(&files, &[("NAMESPACE", "n")]);
    }
}
