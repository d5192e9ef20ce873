//! What is made, beside what Talos' own library makes.

use std::time::{Duration, SystemTime};

use super::*;
use crate::config::facts::prefix::Family;
use crate::config::tree::Data;

/// What Talos' own library made, from one bundle: see `tests/talos-gen/README.md`.
fn golden(name: &str) -> String {
    let path = format!("{}/../tests/talos-gen/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn bundle(text: &str) -> Bundle {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Bundle::parse("secrets.yaml", text.as_bytes(), now).unwrap().bundle
}

fn secrets() -> Bundle {
    bundle(&golden("secrets.yaml"))
}

/// The bundle of a cluster that began before Talos 1.3.
fn old_secrets() -> Bundle {
    bundle(&golden("secrets.yaml").replace("secretboxencryption", "aescbcencryption"))
}

struct Case {
    talos: Version,
    role: Role,
    image: String,
    pods: Vec<String>,
    services: Vec<String>,
    sans: Vec<String>,
    secrets: Bundle,
}

impl Case {
    fn new(talos: &str, role: Role) -> Self {
        let talos = Version::parse(talos).unwrap();
        Self {
            image: defaults::installer_image(&talos),
            talos,
            role,
            pods: vec![Family::V4.pod_subnet().to_owned()],
            services: vec![Family::V4.service_subnet().to_owned()],
            sans: Vec::new(),
            secrets: secrets(),
        }
    }

    fn input(&self) -> Input<'_> {
        Input {
            talos: &self.talos,
            role: self.role,
            cluster: "fabric",
            endpoint: "https://[2001:db8:0:1::10]:6443",
            kubernetes: defaults::kubernetes(&self.talos),
            install_disk: Some("/dev/nvme0n1"),
            install_image: &self.image,
            additional_sans: &self.sans,
            dns_domain: defaults::DNS_DOMAIN,
            pod_subnets: &self.pods,
            service_subnets: &self.services,
            discovery: true,
            kubespan: false,
            secrets: &self.secrets,
        }
    }
}

const ROLES: [(Role, &str); 2] = [(Role::ControlPlane, "controlplane"), (Role::Worker, "worker")];

/// Where two trees differ, as a path: order counts, absence counts.
fn difference(ours: &Tree, theirs: &Tree) -> Option<String> {
    match (ours.data(), theirs.data()) {
        (Data::Map(ours), Data::Map(theirs)) => {
            let names =
                |map: &[(String, Tree)]| map.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
            if names(ours) != names(theirs) {
                return Some(format!(": {:?} and not {:?}", names(ours), names(theirs)));
            }
            let mut pairs = ours.iter().zip(theirs);
            pairs.find_map(|((key, ours), (_, theirs))| {
                difference(ours, theirs).map(|at| format!(".{key}{at}"))
            })
        }
        (Data::List(ours), Data::List(theirs)) if ours.len() == theirs.len() => {
            let mut pairs = ours.iter().zip(theirs);
            pairs.find_map(|(ours, theirs)| difference(ours, theirs).map(|at| format!("[]{at}")))
        }
        (ours, theirs) => (ours != theirs).then(|| format!(": {ours:?} and not {theirs:?}")),
    }
}

/// Compares documents in order, kinds, keys in order and values.
fn assert_same(ours: &Documents, theirs: &Documents, name: &str) {
    let kinds = |documents: &Documents| documents.iter().map(|d| d.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(ours), kinds(theirs), "{name}");
    for (ours, theirs) in ours.iter().zip(theirs.iter()) {
        let found = difference(ours.tree(), theirs.tree());
        assert_eq!(found, None, "{name}: {}", ours.kind());
    }
}

fn decode(schema: &'static Schema, name: &str, text: &str) -> Documents {
    Documents::decode(schema, name, text.as_bytes()).unwrap()
}

#[test]
fn each_release_and_role_gets_what_talos_makes() {
    let releases = [("v1.12.11", "v1.12.0", None), ("v1.13.9", "v1.13.0", None), {
        ("v1.14.0-rc.1", "v1.14.0", Some("1.37.0-rc.0"))
    }];
    for (talos, tag, kubernetes) in releases {
        for (role, file) in ROLES {
            let mut case = Case::new(talos, role);
            let factory = defaults::installer_image(&Version::parse("v1.14.0").unwrap());
            case.image = factory.replace("v1.14.0", tag);
            let mut input = case.input();
            input.kubernetes = kubernetes.unwrap_or(input.kubernetes);
            let name = format!("talos-{}/{file}.yaml", &tag[1..5]);
            let ours = base(&input);
            assert_same(&ours, &decode(ours.schema, &name, &golden(&name)), &name);
        }
    }
}

#[test]
fn options_change_what_they_change_in_talos() {
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        for (role, file) in ROLES {
            let mut case = Case::new(talos, role);
            case.sans = ["2001:db8:0:1::11", "api.fabric.example"].map(str::to_owned).to_vec();
            let mut input = case.input();
            input.kubernetes = "1.34.1";
            input.install_disk = None;
            input.dns_domain = "fabric.example";
            input.discovery = false;
            input.kubespan = true;
            let name = format!("talos-{}/{file}-options.yaml", &talos[1..5]);
            let ours = base(&input);
            assert_same(&ours, &decode(ours.schema, &name, &golden(&name)), &name);
        }
    }
}

#[test]
fn what_is_made_is_read_again_as_it_was() {
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        for (role, file) in ROLES {
            let mut case = Case::new(talos, role);
            case.pods.push(Family::V6.pod_subnet().to_owned());
            case.services.push(Family::V6.service_subnet().to_owned());
            let ours = base(&case.input());
            let name = format!("{talos} {file}");
            assert_same(&ours, &decode(ours.schema, &name, &ours.encode()), &name);
        }
    }
}

/// Every text of a config, and what those that are base64 hold.
fn texts_of(documents: &Documents) -> Vec<String> {
    fn collect(tree: &Tree, texts: &mut Vec<String>) {
        if let Some(text) = tree.text() {
            texts.push(text.to_owned());
            let decoded = pem::from_base64(text);
            texts.extend(decoded.map(|text| text.reveal().to_owned()));
        }
        tree.items().iter().for_each(|item| collect(item, texts));
        tree.entries().iter().for_each(|(_, value)| collect(value, texts));
    }
    let mut texts = Vec::new();
    documents.iter().for_each(|document| collect(document.tree(), &mut texts));
    texts
}

#[test]
fn a_worker_holds_no_key_and_nothing_of_etcd_the_aggregator_and_encryption() {
    for secrets in [secrets(), old_secrets()] {
        let (EncryptionSecret::Secretbox(encryption) | EncryptionSecret::AesCbc(encryption)) =
            secrets.encryption();
        let withheld = [
            "PRIVATE KEY",
            encryption.reveal(),
            secrets.etcd().certificate().pem(),
            secrets.k8s_aggregator().certificate().pem(),
        ];
        for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
            for (role, file) in ROLES {
                let case = Case { secrets: secrets.clone(), ..Case::new(talos, role) };
                let texts = texts_of(&base(&case.input()));
                for withheld in withheld {
                    let found = texts.iter().any(|text| text.contains(withheld));
                    assert_eq!(found, role == Role::ControlPlane, "{talos} {file}");
                }
            }
        }
    }
}

#[test]
fn an_aescbc_secret_stays_one() {
    let secrets = old_secrets();
    let EncryptionSecret::AesCbc(secret) = secrets.encryption() else { panic!("not replaced") };
    for talos in ["v1.12.7", "v1.13.9"] {
        let case = Case { secrets: secrets.clone(), ..Case::new(talos, Role::ControlPlane) };
        let documents = base(&case.input());
        let cluster = documents.main().unwrap().get("cluster").unwrap();
        assert_eq!(cluster.text_at(&["aescbcEncryptionSecret"]), Some(secret.reveal()), "{talos}");
        assert!(cluster.get("secretboxEncryptionSecret").is_none(), "{talos}");
    }
    let case = Case { secrets: secrets.clone(), ..Case::new("v1.14.1", Role::ControlPlane) };
    let documents = base(&case.input());
    let config = documents.get("KubeEtcdEncryptionConfig", None).unwrap().get("config").unwrap();
    let providers = config.get("resources").unwrap().items()[0].get("providers").unwrap().items();
    let [aescbc, identity] = providers else { panic!("{providers:?}") };
    let key = &aescbc.at(&["aescbc", "keys"]).unwrap().items()[0];
    assert_eq!(key.text_at(&["name"]), Some("key1"));
    assert_eq!(key.text_at(&["secret"]), Some(secret.reveal()));
    assert_eq!(identity, &Tree::map([("identity", Tree::empty())]));
}

#[test]
fn a_disk_is_quoted_as_cel_wants_it() {
    let case = Case::new("v1.14.1", Role::Worker);
    let input = Input { install_disk: Some("/dev/disk/by-id/a\"b\\c\n"), ..case.input() };
    let documents = base(&input);
    let install = documents.get("UnattendedInstallConfig", None).unwrap();
    let expected = r#"disk.dev_path == "/dev/disk/by-id/a\"b\\c\u000a""#;
    let path = ["provisioning", "diskSelector", "match"];
    assert_eq!(install.text_at(&path), Some(expected));
}

#[test]
fn an_input_shows_no_secret() {
    let case = Case::new("v1.14.1", Role::ControlPlane);
    let shown = format!("{:?} {:?}", case.input(), base(&case.input()));
    for text in golden("secrets.yaml").split_ascii_whitespace().filter(|text| text.len() > 20) {
        if !text.ends_with(':') {
            assert!(!shown.contains(text), "{shown}");
        }
    }
}
