//! Proofs of what becomes of a node's facts, version by version.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::address::derive;
use super::disk::{Disk, DiskKind, DiskSelector, SizeMatch};
use super::family::{common, families, subnets, unserved};
use super::network::{
    Bond, BondMode, Dynamic, HashPolicy, Kind, LacpRate, Link, Monitor, Network, Port, Route,
    Selector, Settings, Time, Vlan,
};
use super::prefix::{Family, Mac, Prefix};
use super::registry::{Auth, Endpoint, Mirror, Tls};
use super::volume::{Backing, Filesystem, Formatted, Key, KeySource};
use super::*;
use crate::config::schema::Schema;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// What a config has before the facts come, as short as can be.
fn base(minor: u32, kind: &str) -> Documents {
    let main = format!("version: v1alpha1\nmachine: {{type: {kind}}}\n");
    let before = format!("{main}cluster: {{network: {{serviceSubnets: [fd00::/112]}}}}\n");
    let since = format!(
        "{main}---\napiVersion: v1alpha1\nkind: KubeNetworkConfig\nserviceSubnets: [fd00::/112]\n"
    );
    let name = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n";
    let text = if minor >= 14 { since } else { before } + name;
    Documents::decode(Schema::of_minor(minor), "base.yaml", text.as_bytes()).unwrap()
}

/// The documents that the facts made or changed.
fn made(minor: u32, kind: &str, facts: &Facts) -> String {
    let mut documents = base(minor, kind);
    apply(&mut documents, facts).unwrap();
    documents.list_mut().retain(|document| document.source().is_none());
    documents.encode()
}

fn refused(minor: u32, facts: &Facts) -> Vec<Diagnostic> {
    let mut documents = base(minor, "controlplane");
    let before = documents.encode();
    let problems = apply(&mut documents, facts).unwrap_err();
    assert_eq!(documents.encode(), before, "a refused config is unchanged");
    assert!(problems.iter().all(|problem| problem.message.contains("node `cp-1`")));
    assert!(problems.iter().all(|problem| problem.help.is_some()));
    problems
}

fn codes(facts: &Facts) -> Vec<&'static str> {
    refused(13, facts).iter().map(|problem| problem.code).collect()
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

fn by_mac(mac: &str) -> Port {
    let selector = Selector { mac: Some(Mac::parse(mac).unwrap()), ..Selector::default() };
    Port::Select { selector, alias: None }
}

fn settings(addresses: &[&str], gateway: Option<&str>) -> Settings {
    Settings {
        addresses: addresses.iter().map(|text| prefix(text)).collect(),
        routes: gateway
            .map(|gateway| Route::default_by(gateway.parse().unwrap()))
            .into_iter()
            .collect(),
        ..Settings::default()
    }
}

fn physical(port: Port, settings: Settings) -> Link {
    Link { kind: Kind::Physical(port), settings, vlans: Vec::new() }
}

fn named(name: &str, settings: Settings) -> Link {
    physical(Port::Name(name.into()), settings)
}

fn with_links(links: Vec<Link>) -> Facts {
    let network = Network { links, ..Network::default() };
    Facts { hostname: "cp-1".into(), network, ..Facts::default() }
}

fn fabric() -> Facts {
    let port = by_mac("52:54:00:AA:01:11");
    with_links(vec![physical(port, settings(&["2001:db8:0:1::11/64"], Some("2001:db8:0:1::1")))])
}

fn bond() -> Bond {
    Bond {
        name: "bond0".into(),
        members: vec![by_mac("52:54:00:AA:00:01"), by_mac("52:54:00:AA:00:02")],
        mode: BondMode::Lacp,
        monitor: Monitor::default(),
        lacp_rate: Some(LacpRate::Fast),
        xmit_hash_policy: Some(HashPolicy::Layer34),
    }
}

/// A bond of two ports with a VLAN that has all, and a port that has IPv4 by DHCP.
fn bonded() -> Facts {
    let mut vlan = settings(&["2001:db8:0:100::11/64"], Some("fe80::1"));
    vlan.vips = vec!["2001:db8:0:100::10".parse().unwrap()];
    vlan.routes.push(Route {
        destination: Some(prefix("2001:db8:ffff::/48")),
        gateway: Some("2001:db8:0:100::ffff".parse().unwrap()),
        source: Some("2001:db8:0:100::11".parse().unwrap()),
        metric: Some(512),
        mtu: Some(1400),
    });
    let bond = Link {
        kind: Kind::Bond(bond()),
        settings: Settings { mtu: Some(9000), ..Settings::default() },
        vlans: vec![Vlan { id: 100, settings: vlan }],
    };
    let dynamic = BTreeSet::from([Dynamic::Dhcp4, Dynamic::Dhcp6]);
    let storage = named("enp9s0", Settings { dynamic, ..Settings::default() });
    with_links(vec![bond, storage])
}

/// A bond of every mode, and of every hash policy.
fn modes() -> Facts {
    let rated = |mode| (mode, None, (mode == BondMode::Lacp).then_some(LacpRate::Slow));
    let hashed = |policy| (BondMode::BalanceXor, Some(policy), None);
    let all = BondMode::ALL.into_iter().map(rated).chain(HashPolicy::ALL.into_iter().map(hashed));
    let bonds = (0..).zip(all).map(|(number, (mode, xmit_hash_policy, lacp_rate))| {
        let (name, member) = (format!("bond{number}"), format!("enp{number}s0"));
        let members = vec![Port::Name(member)];
        let bond = Bond { name, members, mode, lacp_rate, xmit_hash_policy, ..bond() };
        Link { kind: Kind::Bond(bond), settings: Settings::default(), vlans: Vec::new() }
    });
    with_links(bonds.collect())
}

fn serial(serial: &str) -> Disk {
    Disk::Selector(DiskSelector { serial: Some(serial.into()), ..DiskSelector::default() })
}

fn install(disk: Disk) -> Facts {
    let image = Some("factory.talos.dev/metal-installer/3765:v1.13.9".into());
    Facts { install: Some(Install { disk, wipe: false, image }), ..fabric() }
}

fn keys(sources: impl IntoIterator<Item = KeySource>) -> Encryption {
    let key = |source| Key { source, lock_to_state: false };
    Encryption { keys: sources.into_iter().map(key).collect() }
}

/// Everything that has nothing to do with links and disks.
fn furnished() -> Facts {
    let texts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let secret = |text: &str| Secret::new(text.into());
    let endpoints =
        vec![Endpoint { url: secret("https://u:hunter2@r.example/v2/k8s"), override_path: true }];
    let password = Auth::Password { username: "u".into(), password: secret("hunter2") };
    let mut facts = fabric();
    facts.labels = texts(&[("rack", "1.20")]);
    facts.annotations = texts(&[("example.org/owner", "ops")]);
    facts.taints = texts(&[("gpu", "yes:NoSchedule")]);
    facts.network.nameservers = vec!["2001:db8:0:53::53".parse().unwrap()];
    facts.network.search_domains = vec!["fabric.example".into()];
    facts.network.time = Some(Time::Servers(vec!["2001:db8:0:53::123".into()]));
    facts.proxy.https = Some(secret("http://u:hunter2@proxy.example:3128"));
    facts.proxy.no_proxy = vec!["2001:db8::/32".into(), ".example".into()];
    facts.environment.insert("GRPC_GO_LOG_SEVERITY_LEVEL".into(), secret("hunter2"));
    facts.trusted_roots = texts(&[("site", PEM)]);
    facts.registries = Registries {
        mirrors: [("registry.k8s.io".into(), Mirror { endpoints, skip_fallback: true })].into(),
        auth: [
            ("a.example".into(), password),
            ("b.example".into(), Auth::Basic(secret("hunter2"))),
            ("c.example".into(), Auth::IdentityToken(secret("hunter2"))),
        ]
        .into(),
        tls: [("a.example:5000".into(), Tls { insecure_skip_verify: true, ..Tls::default() })]
            .into(),
    };
    facts
}

fn volumes() -> Facts {
    let tpm = KeySource::Tpm { pcrs: vec![0, 7], check_secure_boot: true };
    let kms = KeySource::Kms { endpoint: "https://kms.example".into() };
    let mut ephemeral = keys([KeySource::Static(Secret::new("hunter2".into())), kms]);
    ephemeral.keys[0].lock_to_state = true;
    let disk = Disk::Match("disk.transport == \"nvme\" && !system_disk".into());
    let encryption = Some(keys([KeySource::NodeId]));
    let on = Formatted { disk, filesystem: Some(Filesystem::Ext4), encryption };
    let part = Backing::Partition {
        on,
        min_size: Some("100GiB".into()),
        max_size: Some("50%".into()),
        grow: true,
    };
    let disk = Formatted { disk: serial("S4EV*"), filesystem: None, encryption: None };
    let user = [("data", part), ("scratch", Backing::Directory), ("bulk", Backing::Disk(disk))];
    Facts {
        encryption: [
            (SystemVolume::State, keys([KeySource::NodeId, tpm])),
            (SystemVolume::Ephemeral, ephemeral),
        ]
        .into(),
        user_volumes: user.map(|(name, backing)| UserVolume { name: name.into(), backing }).into(),
        ..fabric()
    }
}

fn selected() -> Facts {
    let selector = DiskSelector {
        size: SizeMatch::parse(">= 200GB"),
        model: Some("WD*".into()),
        serial: Some("S4\"EV".into()),
        modalias: Some("scsi:*".into()),
        uuid: Some("0000*".into()),
        wwid: Some("eui.*".into()),
        kind: Some(DiskKind::Ssd),
        bus_path: Some("/pci0000:00/*".into()),
    };
    install(Disk::Selector(selector))
}

fn all() -> Vec<(&'static str, Facts)> {
    vec![
        ("fabric", fabric()),
        ("bonded", bonded()),
        ("modes", modes()),
        ("furnished", furnished()),
        ("volumes", volumes()),
        ("selected", selected()),
        ("path", install(Disk::Path("/dev/nvme0n1".into()))),
        ("link", install(Disk::Path("/dev/disk/by-id/nvme-eui.0025".into()))),
        ("nothing", Facts { hostname: "cp-1.fabric.example".into(), ..Facts::default() }),
    ]
}

/// Each release's own types take what is written for it, and nothing is lost on the way.
#[test]
fn what_is_written_reads_back_in_every_version() {
    for (name, facts) in all() {
        for (minor, kind) in
            (12..=14).flat_map(|minor| [(minor, "controlplane"), (minor, "worker")])
        {
            let mut documents = base(minor, kind);
            apply(&mut documents, &facts).unwrap();
            let text = documents.encode();
            let read = Documents::decode(documents.schema, name, text.as_bytes());
            assert_eq!(read.unwrap().encode(), text, "{name} in 1.{minor}");
        }
    }
}

#[test]
fn applying_twice_is_applying_once() {
    for (name, facts) in all() {
        let mut documents = base(14, "controlplane");
        apply(&mut documents, &facts).unwrap();
        let once = documents.encode();
        apply(&mut documents, &facts).unwrap();
        assert_eq!(documents.encode(), once, "{name}");
    }
}

#[test]
fn a_static_address_is_the_nodes_own() {
    insta::assert_snapshot!(made(13, "controlplane", &fabric()), @r#"
    version: v1alpha1
    machine:
        type: controlplane
        kubelet:
            nodeIP:
                validSubnets:
                    - 2001:db8:0:1::11/128
    cluster:
        network:
            serviceSubnets:
                - fd00::/112
        etcd:
            advertisedSubnets:
                - 2001:db8:0:1::11/128
    ---
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: cp-1
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net0
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:01:11"'
    ---
    apiVersion: v1alpha1
    kind: LinkConfig
    name: net0
    up: true
    addresses:
        - address: 2001:db8:0:1::11/64
    routes:
        - gateway: 2001:db8:0:1::1
    "#);
    insta::assert_snapshot!(made(14, "worker", &fabric()), @r#"
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: cp-1
    ---
    apiVersion: v1alpha1
    kind: KubeNodeConfig
    nodeIP:
        validSubnets:
            - 2001:db8:0:1::11/128
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net0
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:01:11"'
    ---
    apiVersion: v1alpha1
    kind: LinkConfig
    name: net0
    up: true
    addresses:
        - address: 2001:db8:0:1::11/64
    routes:
        - gateway: 2001:db8:0:1::1
    "#);
}

#[test]
fn bonds_vlans_routes_and_shared_addresses_are_documents() {
    insta::assert_snapshot!(made(12, "controlplane", &bonded()), @r#"
    version: v1alpha1
    machine:
        type: controlplane
        kubelet:
            nodeIP:
                validSubnets:
                    - 2001:db8:0:100::11/128
    cluster:
        network:
            serviceSubnets:
                - fd00::/112
        etcd:
            advertisedSubnets:
                - 2001:db8:0:100::11/128
    ---
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: cp-1
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net0
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:00:01"'
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net1
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:00:02"'
    ---
    apiVersion: v1alpha1
    kind: BondConfig
    name: bond0
    links:
        - net0
        - net1
    bondMode: 802.3ad
    miimon: 100
    updelay: 200
    downdelay: 200
    xmitHashPolicy: layer3+4
    lacpRate: fast
    up: true
    mtu: 9000
    ---
    apiVersion: v1alpha1
    kind: VLANConfig
    name: bond0.100
    vlanID: 100
    parent: bond0
    up: true
    addresses:
        - address: 2001:db8:0:100::11/64
    routes:
        - gateway: fe80::1
        - destination: 2001:db8:ffff::/48
          gateway: 2001:db8:0:100::ffff
          source: 2001:db8:0:100::11
          metric: 512
          mtu: 1400
    ---
    apiVersion: v1alpha1
    kind: Layer2VIPConfig
    name: 2001:db8:0:100::10
    link: bond0.100
    ---
    apiVersion: v1alpha1
    kind: LinkConfig
    name: enp9s0
    up: true
    ---
    apiVersion: v1alpha1
    kind: DHCPv4Config
    name: enp9s0
    ---
    apiVersion: v1alpha1
    kind: DHCPv6Config
    name: enp9s0
    "#);
    assert!(!made(12, "worker", &bonded()).contains("Layer2VIPConfig"));
}

#[test]
fn a_node_takes_what_it_is_told_of_kubernetes_registries_and_time() {
    insta::assert_snapshot!(made(12, "worker", &furnished()), @r#"
    version: v1alpha1
    machine:
        type: worker
        kubelet:
            nodeIP:
                validSubnets:
                    - 2001:db8:0:1::11/128
        env:
            GRPC_GO_LOG_SEVERITY_LEVEL: hunter2
            https_proxy: http://u:hunter2@proxy.example:3128
            no_proxy: 2001:db8::/32,.example
        nodeLabels:
            rack: '1.20'
        nodeAnnotations:
            example.org/owner: ops
        nodeTaints:
            gpu: yes:NoSchedule
    cluster:
        network:
            serviceSubnets:
                - fd00::/112
    ---
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: cp-1
    ---
    apiVersion: v1alpha1
    kind: ResolverConfig
    nameservers:
        - address: 2001:db8:0:53::53
    searchDomains:
        domains:
            - fabric.example
    ---
    apiVersion: v1alpha1
    kind: TimeSyncConfig
    ntp:
        servers:
            - 2001:db8:0:53::123
    ---
    apiVersion: v1alpha1
    kind: TrustedRootsConfig
    name: site
    certificates: |
        -----BEGIN CERTIFICATE-----
        MIIB
        -----END CERTIFICATE-----
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net0
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:01:11"'
    ---
    apiVersion: v1alpha1
    kind: LinkConfig
    name: net0
    up: true
    addresses:
        - address: 2001:db8:0:1::11/64
    routes:
        - gateway: 2001:db8:0:1::1
    ---
    apiVersion: v1alpha1
    kind: RegistryMirrorConfig
    name: registry.k8s.io
    endpoints:
        - url: https://u:hunter2@r.example/v2/k8s
          overridePath: true
    skipFallback: true
    ---
    apiVersion: v1alpha1
    kind: RegistryAuthConfig
    name: a.example
    username: u
    password: hunter2
    ---
    apiVersion: v1alpha1
    kind: RegistryAuthConfig
    name: b.example
    auth: hunter2
    ---
    apiVersion: v1alpha1
    kind: RegistryAuthConfig
    name: c.example
    identityToken: hunter2
    ---
    apiVersion: v1alpha1
    kind: RegistryTLSConfig
    name: a.example:5000
    insecureSkipVerify: true
    "#);
    insta::assert_snapshot!(made(14, "worker", &furnished()), @r#"
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: cp-1
    ---
    apiVersion: v1alpha1
    kind: ResolverConfig
    nameservers:
        - address: 2001:db8:0:53::53
    searchDomains:
        domains:
            - fabric.example
    ---
    apiVersion: v1alpha1
    kind: TimeSyncConfig
    ntp:
        servers:
            - 2001:db8:0:53::123
    ---
    apiVersion: v1alpha1
    kind: KubeNodeConfig
    nodeIP:
        validSubnets:
            - 2001:db8:0:1::11/128
    labels:
        rack: '1.20'
    annotations:
        example.org/owner: ops
    taints:
        gpu: yes:NoSchedule
    ---
    apiVersion: v1alpha1
    kind: EnvironmentConfig
    variables:
        GRPC_GO_LOG_SEVERITY_LEVEL: hunter2
        https_proxy: http://u:hunter2@proxy.example:3128
        no_proxy: 2001:db8::/32,.example
    ---
    apiVersion: v1alpha1
    kind: TrustedRootsConfig
    name: site
    certificates: |
        -----BEGIN CERTIFICATE-----
        MIIB
        -----END CERTIFICATE-----
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net0
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:01:11"'
    ---
    apiVersion: v1alpha1
    kind: LinkConfig
    name: net0
    up: true
    addresses:
        - address: 2001:db8:0:1::11/64
    routes:
        - gateway: 2001:db8:0:1::1
    ---
    apiVersion: v1alpha1
    kind: RegistryMirrorConfig
    name: registry.k8s.io
    endpoints:
        - url: https://u:hunter2@r.example/v2/k8s
          overridePath: true
    skipFallback: true
    ---
    apiVersion: v1alpha1
    kind: RegistryAuthConfig
    name: a.example
    username: u
    password: hunter2
    ---
    apiVersion: v1alpha1
    kind: RegistryAuthConfig
    name: b.example
    auth: hunter2
    ---
    apiVersion: v1alpha1
    kind: RegistryAuthConfig
    name: c.example
    identityToken: hunter2
    ---
    apiVersion: v1alpha1
    kind: RegistryTLSConfig
    name: a.example:5000
    insecureSkipVerify: true
    "#);
    assert!(made(13, "worker", &furnished()).contains("EnvironmentConfig"));
}

#[test]
fn time_may_come_from_elsewhere_or_nowhere() {
    let time = |time| {
        let network = Network { time: Some(time), ..Network::default() };
        made(13, "worker", &Facts { network, ..fabric() })
    };
    assert!(time(Time::Off).contains("kind: TimeSyncConfig\nenabled: false\n"));
    let devices = time(Time::Ptp(vec!["/dev/ptp0".into()]));
    assert!(devices.contains("ptp:\n    devices:\n        - /dev/ptp0\n"), "{devices}");
}

#[test]
fn volumes_are_encrypted_and_made() {
    insta::assert_snapshot!(made(13, "worker", &volumes()), @r#"
    version: v1alpha1
    machine:
        type: worker
        kubelet:
            nodeIP:
                validSubnets:
                    - 2001:db8:0:1::11/128
    cluster:
        network:
            serviceSubnets:
                - fd00::/112
    ---
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: cp-1
    ---
    apiVersion: v1alpha1
    kind: LinkAliasConfig
    name: net0
    selector:
        match: 'mac(link.permanent_addr) == "52:54:00:aa:01:11"'
    ---
    apiVersion: v1alpha1
    kind: LinkConfig
    name: net0
    up: true
    addresses:
        - address: 2001:db8:0:1::11/64
    routes:
        - gateway: 2001:db8:0:1::1
    ---
    apiVersion: v1alpha1
    kind: VolumeConfig
    name: STATE
    encryption:
        provider: luks2
        keys:
            - slot: 0
              nodeID: {}
            - slot: 1
              tpm:
                  options:
                      pcrs:
                          - 0
                          - 7
                  checkSecurebootStatusOnEnroll: true
    ---
    apiVersion: v1alpha1
    kind: VolumeConfig
    name: EPHEMERAL
    encryption:
        provider: luks2
        keys:
            - slot: 0
              static:
                  passphrase: hunter2
              lockToState: true
            - slot: 1
              kms:
                  endpoint: https://kms.example
    ---
    apiVersion: v1alpha1
    kind: UserVolumeConfig
    name: data
    provisioning:
        diskSelector:
            match: 'disk.transport == "nvme" && !system_disk'
        grow: true
        minSize: 100GiB
        maxSize: '50%'
    filesystem:
        type: ext4
    encryption:
        provider: luks2
        keys:
            - slot: 0
              nodeID: {}
    ---
    apiVersion: v1alpha1
    kind: UserVolumeConfig
    name: scratch
    volumeType: directory
    ---
    apiVersion: v1alpha1
    kind: UserVolumeConfig
    name: bulk
    volumeType: disk
    provisioning:
        diskSelector:
            match: 'glob("S4EV*", disk.serial) && !disk.readonly && !disk.cdrom && disk.transport != "" && disk.transport != "usb"'
    "#);
}

#[test]
fn install_disks_have_the_form_of_the_version() {
    let install_of = |minor, facts: &Facts| {
        let text = made(minor, "worker", facts);
        let kinds = ["machine:", "kind: UnattendedInstallConfig"];
        let found = |part: &&str| kinds.iter().any(|kind| part.contains(kind));
        text.split("---\n").filter(found).collect::<Vec<_>>().join("---\n")
    };
    insta::assert_snapshot!(install_of(12, &selected()), @r#"
    version: v1alpha1
    machine:
        type: worker
        kubelet:
            nodeIP:
                validSubnets:
                    - 2001:db8:0:1::11/128
        install:
            diskSelector:
                size: '>= 200GB'
                model: 'WD*'
                serial: 'S4"EV'
                modalias: 'scsi:*'
                uuid: '0000*'
                wwid: 'eui.*'
                type: ssd
                busPath: '/pci0000:00/*'
            image: factory.talos.dev/metal-installer/3765:v1.13.9
            wipe: false
    cluster:
        network:
            serviceSubnets:
                - fd00::/112
    "#);
    insta::assert_snapshot!(install_of(14, &selected()), @r#"
    apiVersion: v1alpha1
    kind: UnattendedInstallConfig
    installer:
        image: factory.talos.dev/metal-installer/3765:v1.13.9
    provisioning:
        diskSelector:
            match: 'disk.size >= 200u * GB && glob("WD*", disk.model) && disk.serial == "S4\"EV" && glob("scsi:*", disk.modalias) && glob("0000*", disk.uuid) && glob("eui.*", disk.wwid) && glob("/pci0000:00/*", disk.bus_path) && !disk.rotational && !disk.readonly && !disk.cdrom && disk.transport != "" && disk.transport != "usb"'
        wipe: false
    "#);
    let chosen = |disk| {
        let mut documents = base(14, "worker");
        apply(&mut documents, &install(disk)).unwrap();
        let install = documents.get("UnattendedInstallConfig", None).unwrap();
        install.text_at(&["provisioning", "diskSelector", "match"]).unwrap().to_owned()
    };
    let path = |text: &str| chosen(Disk::Path(text.into()));
    assert_eq!(path("/dev/sda"), "disk.dev_path == \"/dev/sda\"");
    assert_eq!(path("/dev/disk/by-id/x"), "\"/dev/disk/by-id/x\" in disk.symlinks");
    assert_eq!(chosen(Disk::Match("disk.size > 1u * TB".into())), "disk.size > 1u * TB");
    let kind = DiskSelector { kind: Some(DiskKind::Nvme), ..DiskSelector::default() };
    let nvme = "disk.transport == \"nvme\" && !disk.readonly && !disk.cdrom";
    assert_eq!(chosen(Disk::Selector(kind)), nvme);
}

#[test]
fn an_old_install_section_gives_way() {
    let text = "machine: {type: worker, install: {disk: /dev/sda, image: a, wipe: true}}\n";
    let mut documents = Documents::decode(Schema::of_minor(13), "a", text.as_bytes()).unwrap();
    let disk = serial("S4");
    let install = Some(Install { disk, wipe: false, image: None });
    apply(&mut documents, &Facts { install, ..fabric() }).unwrap();
    let install = documents.main().unwrap().at(&["machine", "install"]).unwrap();
    assert_eq!(install.get("disk"), None);
    assert_eq!(install.text_at(&["diskSelector", "serial"]), Some("S4"));
    assert_eq!(install.text_at(&["image"]), Some("a"));
    assert_eq!(install.get("wipe").unwrap().bool(), Some(false));
}

#[test]
fn expressions_for_disks_need_talos_1_14() {
    let facts = install(Disk::Match("true".into()));
    insta::assert_snapshot!(refused(13, &facts)[0], @r"
    error: install disk of node `cp-1` is chosen by an expression, which Talos 1.13 cannot
    help: choose it by `selector`, or use Talos 1.14 or newer
    ");
}

#[test]
fn ports_without_an_alias_are_numbered_around_those_with_one() {
    let own = Port::Select {
        selector: Selector {
            driver: Some("mlx5_*".into()),
            bus_path: Some("0000:01:00.0".into()),
            pci_id: Some("15b3:1017".into()),
            ..Selector::default()
        },
        alias: Some("net1".into()),
    };
    let ports =
        [by_mac("52:54:00:00:00:01"), own, by_mac("52:54:00:00:00:02"), Port::Name("net3".into())];
    let last = by_mac("52:54:00:00:00:03");
    let links = ports.into_iter().chain([last]).map(|port| physical(port, Settings::default()));
    let mut documents = base(14, "worker");
    apply(&mut documents, &with_links(links.collect())).unwrap();
    let name = |tree: &crate::config::tree::Tree| tree.text_at(&["name"]).unwrap().to_owned();
    let links: Vec<_> = documents.all("LinkConfig").map(name).collect();
    assert_eq!(links, ["net0", "net1", "net2", "net3", "net4"]);
    let aliases: Vec<_> = documents.all("LinkAliasConfig").map(name).collect();
    assert_eq!(aliases, ["net0", "net1", "net2", "net4"]);
    let own = documents.get("LinkAliasConfig", Some("net1")).unwrap();
    let want = "glob(\"mlx5_*\", link.driver) && link.bus_path == \"0000:01:00.0\" \
                && link.pciid == \"15B3:1017\"";
    assert_eq!(own.text_at(&["selector", "match"]), Some(want));
}

#[test]
fn links_that_cannot_work_are_refused() {
    let one = |settings: Settings| with_links(vec![named("enp1s0", settings)]);
    let cases: Vec<(&str, Facts)> = vec![
        ("link-name", with_links(vec![named("net%d", Settings::default())])),
        ("link-name", with_links(vec![named("a-name-too-long-for-linux", Settings::default())])),
        (
            "link-duplicate",
            with_links(vec![named("a", Settings::default()), named("a", Settings::default())]),
        ),
        (
            "link-duplicate",
            with_links(vec![
                physical(by_mac("52:54:00:00:00:01"), Settings::default()),
                physical(by_mac("52-54-00-00-00-01"), Settings::default()),
            ]),
        ),
        (
            "link-selector",
            with_links(vec![physical(
                Port::Select { selector: Selector::default(), alias: None },
                Settings::default(),
            )]),
        ),
        ("link-address", one(settings(&["10.0.0.0/24"], None))),
        ("link-address", one(settings(&["2001:db8::/64"], None))),
        ("link-address", one(settings(&["ff02::1/64"], None))),
        ("link-address", one(settings(&["10.0.0.1/24", "10.0.0.1/16"], None))),
        ("link-mtu", one(Settings { mtu: Some(1000), ..settings(&["2001:db8::1/64"], None) })),
        ("link-mtu", one(Settings { mtu: Some(0), ..Settings::default() })),
        ("route-gateway", one(settings(&["10.0.0.5/24"], Some("10.0.1.1")))),
        ("route-gateway", one(settings(&["10.0.0.5/24"], Some("0.0.0.0")))),
        ("route-gateway", one(settings(&["2001:db8:1::5/64"], Some("2001:db8:2::1")))),
        (
            "route-default",
            with_links(vec![
                named("a", settings(&["10.0.0.5/24"], Some("10.0.0.1"))),
                named("b", settings(&["10.0.1.5/24"], Some("10.0.1.1"))),
            ]),
        ),
        (
            "link-vip",
            one(Settings {
                vips: vec!["10.1.0.1".parse().unwrap()],
                ..settings(&["10.0.0.5/24"], None)
            }),
        ),
        (
            "link-vip",
            one(Settings {
                vips: vec!["10.0.0.5".parse().unwrap()],
                ..settings(&["10.0.0.5/24"], None)
            }),
        ),
    ];
    for (code, facts) in cases {
        assert_eq!(codes(&facts), [code], "{facts:?}");
    }
    let route = |route| one(Settings { routes: vec![route], ..settings(&["10.0.0.5/24"], None) });
    let gateway = Route::default_by("10.0.0.1".parse().unwrap());
    let mixed = Route { destination: Some(prefix("2001:db8::/32")), ..gateway.clone() };
    assert_eq!(codes(&route(mixed)), ["route-family"]);
    assert_eq!(codes(&route(Route { gateway: None, ..gateway.clone() })), ["route-gateway"]);
    let written = Route { destination: Some(prefix("0.0.0.0/0")), ..gateway };
    let text = made(13, "worker", &route(written));
    assert!(text.ends_with("routes:\n    - gateway: '10.0.0.1'\n"), "{text}");
}

#[test]
fn a_gateway_may_be_reached_by_a_route_of_its_own() {
    let mut hosted = settings(&["192.0.2.7/32"], Some("198.51.100.1"));
    let direct = Route { gateway: None, ..hosted.routes[0].clone() };
    hosted.routes.push(Route { destination: Some(prefix("198.51.100.1/32")), ..direct });
    apply(&mut base(13, "worker"), &with_links(vec![named("enp1s0", hosted)])).unwrap();
}

#[test]
fn bonds_and_vlans_that_cannot_work_are_refused() {
    let bonded = |change: fn(&mut Bond)| {
        let mut bond = bond();
        change(&mut bond);
        let settings = Settings::default();
        codes(&with_links(vec![Link { kind: Kind::Bond(bond), settings, vlans: Vec::new() }]))
    };
    assert_eq!(bonded(|bond| bond.members.clear()), ["bond-members"]);
    assert_eq!(bonded(|bond| bond.monitor.updelay = 150), ["bond-monitor"]);
    assert_eq!(bonded(|bond| bond.monitor.miimon = 0), ["bond-monitor"]);
    assert_eq!(bonded(|bond| bond.mode = BondMode::BalanceXor), ["bond-lacp"]);
    assert_eq!(bonded(|bond| bond.mode = BondMode::ActiveBackup), ["bond-lacp", "bond-hash"]);
    assert_eq!(bonded(|bond| bond.members = vec![Port::Name("bond0".into())]), ["link-duplicate"]);
    let vlan = |id, mtu| {
        let settings = Settings { mtu, ..Settings::default() };
        let mut link = named("enp1s0", Settings { mtu: Some(1500), ..Settings::default() });
        link.vlans = vec![Vlan { id, settings }];
        codes(&with_links(vec![link]))
    };
    assert_eq!(vlan(4095, None), ["vlan-id"]);
    assert_eq!(vlan(0, None), ["vlan-id"]);
    assert_eq!(vlan(7, Some(9000)), ["link-mtu"]);
}

#[test]
fn other_facts_that_cannot_work_are_refused() {
    let changed = |change: fn(&mut Facts)| {
        let mut facts = furnished();
        facts.encryption = volumes().encryption;
        facts.user_volumes = volumes().user_volumes;
        change(&mut facts);
        refused(14, &facts).iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    type Change = fn(&mut Facts);
    let cases: [(&str, Change); 11] = [
        ("node-proxy", |facts| {
            drop(facts.environment.insert("HTTPS_PROXY".into(), Secret::new("x".into())))
        }),
        ("node-certificate", |facts| drop(facts.trusted_roots.insert("x".into(), "x".into()))),
        ("registry-url", |facts| {
            let mirror = facts.registries.mirrors.values_mut().next().unwrap();
            mirror.endpoints[0].url = Secret::new("ftp://x".into());
        }),
        ("registry-certificate", |facts| {
            facts.registries.tls.values_mut().next().unwrap().ca = Some("x".into());
        }),
        ("volume-lock", |facts| {
            facts.encryption.get_mut(&SystemVolume::State).unwrap().keys[0].lock_to_state = true;
        }),
        ("volume-keys", |facts| {
            facts.encryption.get_mut(&SystemVolume::State).unwrap().keys.clear();
        }),
        ("volume-keys", |facts| {
            let tpm = KeySource::Tpm { pcrs: vec![24], check_secure_boot: false };
            facts.encryption.insert(SystemVolume::State, keys([tpm]));
        }),
        ("volume-duplicate", |facts| facts.user_volumes.push(facts.user_volumes[1].clone())),
        ("disk-selector", |facts| {
            let disk = Disk::Selector(DiskSelector::default());
            facts.install = Some(Install { disk, wipe: true, image: None });
        }),
        ("disk-path", |facts| {
            let disk = Disk::Path("nvme0n1".into());
            facts.install = Some(Install { disk, wipe: true, image: None });
        }),
        ("disk-match", |facts| {
            let disk = Disk::Match(" ".into());
            facts.install = Some(Install { disk, wipe: true, image: None });
        }),
    ];
    for (code, change) in cases {
        assert_eq!(changed(change), [code]);
    }
}

#[test]
fn no_secret_shows() {
    for facts in [furnished(), volumes()] {
        let shown = format!("{facts:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let mut wrong = facts.clone();
        wrong.trusted_roots.insert("x".into(), "hunter2".into());
        wrong.registries.mirrors.insert(
            "x".into(),
            Mirror {
                endpoints: vec![Endpoint {
                    url: Secret::new("hunter2".into()),
                    override_path: false,
                }],
                skip_fallback: false,
            },
        );
        let told = format!("{:?}", refused(13, &wrong));
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn families_are_those_of_links_that_lead_out() {
    let of = |links| families(&with_links(links));
    let v4 = || named("a", settings(&["10.0.0.5/24"], Some("10.0.0.1")));
    let v6 = || named("b", settings(&["2001:db8::5/64"], Some("fe80::1")));
    let storage = || named("c", settings(&["10.9.0.5/24"], None));
    let dynamic = |kinds: &[Dynamic]| {
        named("d", Settings { dynamic: kinds.iter().copied().collect(), ..Settings::default() })
    };
    assert_eq!(of(vec![]), [Family::V4]);
    assert_eq!(of(vec![v6(), v4()]), [Family::V6, Family::V4]);
    assert_eq!(of(vec![v4(), v6()]), [Family::V4, Family::V6]);
    assert_eq!(of(vec![storage(), v6()]), [Family::V6]);
    assert_eq!(of(vec![storage()]), [Family::V4]);
    assert_eq!(of(vec![dynamic(&[Dynamic::Slaac])]), [Family::V6]);
    assert_eq!(of(vec![dynamic(&[Dynamic::Dhcp4, Dynamic::Dhcp6])]), [Family::V4, Family::V6]);
    let nodes = [with_links(vec![v6(), v4()]), with_links(vec![v6()])];
    assert_eq!(common(&nodes), [Family::V6]);
    let both = subnets(&[Family::V6, Family::V4]);
    assert_eq!(both.0, ["fc00:db8:10::/56", "10.244.0.0/16"]);
    assert_eq!(both.1, ["fc00:db8:20::/112", "10.96.0.0/12"]);
}

#[test]
fn services_of_a_family_that_a_node_lacks_are_told() {
    let facts = with_links(vec![named("a", settings(&["10.0.0.5/24"], Some("10.0.0.1")))]);
    for minor in [12, 14] {
        let problems = unserved(&base(minor, "worker"), &facts);
        assert_eq!(problems.len(), 1);
        insta::allow_duplicates! {
            insta::assert_snapshot!(problems[0], @r"
            error: services have IPv6 addresses, and node `cp-1` has none
            help: give the node an IPv6 address, or the services a network it has
            ");
        }
        assert!(unserved(&base(minor, "worker"), &fabric()).is_empty());
    }
}

#[test]
fn addresses_are_pinned_where_there_is_a_choice() {
    let pins = |services: &str, links: Vec<Link>| {
        let text = format!(
            "machine: {{type: controlplane}}\ncluster: {{network: {{serviceSubnets: [{services}]}}}}\n"
        );
        let mut documents = Documents::decode(Schema::of_minor(13), "a", text.as_bytes()).unwrap();
        apply(&mut documents, &with_links(links)).unwrap();
        let main = documents.main().unwrap();
        let texts = |path: &[&str]| -> Vec<String> {
            let items = main.at(path).map(|list| list.items().to_vec()).unwrap_or_default();
            items.iter().map(|item| item.text().unwrap().to_owned()).collect()
        };
        let node = texts(&["machine", "kubelet", "nodeIP", "validSubnets"]);
        (node.join(" "), texts(&["cluster", "etcd", "advertisedSubnets"]).join(" "))
    };
    let v4 = || named("a", settings(&["10.0.0.5/24"], Some("10.0.0.1")));
    let v6 = || named("b", settings(&["2001:db8::5/64"], Some("fe80::1")));
    let storage = || named("c", settings(&["10.9.0.5/24"], None));
    let dhcp = || {
        let dynamic = BTreeSet::from([Dynamic::Dhcp4]);
        named("d", Settings { dynamic, ..Settings::default() })
    };
    let pair = |node: &str, etcd: &str| (node.to_owned(), etcd.to_owned());
    let (one, two) = ("10.96.0.0/12", "fd00::/112, 10.96.0.0/12");
    assert_eq!(pins(one, vec![]), pair("", ""));
    assert_eq!(pins(one, vec![v4()]), pair("", ""));
    assert_eq!(pins(one, vec![dhcp()]), pair("", ""));
    assert_eq!(pins(one, vec![storage(), v4()]), pair("10.0.0.5/32", "10.0.0.5/32"));
    assert_eq!(pins(one, vec![v4(), dhcp()]), pair("10.0.0.5/32", "10.0.0.5/32"));
    assert_eq!(pins(one, vec![v6(), v4()]), pair("", ""));
    let both = "2001:db8::5/128 10.0.0.5/32";
    assert_eq!(pins(two, vec![v4(), v6()]), pair(both, "2001:db8::5/128"));
    assert_eq!(pins(two, vec![v6(), dhcp()]), pair("2001:db8::5/128 0.0.0.0/0", "2001:db8::5/128"));
    let swapped = "10.96.0.0/12, fd00::/112";
    assert_eq!(pins(swapped, vec![v6(), dhcp()]), pair("0.0.0.0/0 2001:db8::5/128", ""));
}

#[test]
fn derived_addresses_are_addresses_of_nodes() {
    let net = prefix("2001:db8:0:1::/64");
    let address = derive(net, "w-1", &BTreeMap::new()).unwrap();
    let own = format!("{address}/64");
    apply(
        &mut base(14, "worker"),
        &with_links(vec![named("a", settings(&[&own], Some("fe80::1")))]),
    )
    .unwrap();
}

proptest! {
    /// Odd texts are refused, or written so that they come back as they were.
    #[test]
    fn any_text_is_refused_or_comes_back(
        name in ".{0,16}",
        text in ".{0,40}",
        minor in 12u32..=14,
    ) {
        let selector = Selector { driver: Some(text.clone()), ..Selector::default() };
        let port = Port::Select { selector, alias: Some(name.clone()) };
        let mut facts = with_links(vec![physical(port, Settings::default())]);
        facts.install = install(serial(&text)).install;
        facts.labels.insert("a".into(), text.clone());
        let mut documents = base(minor, "worker");
        if apply(&mut documents, &facts).is_ok() {
            let written = documents.encode();
            let read = Documents::decode(documents.schema, "a", written.as_bytes()).unwrap();
            let alias = read.get("LinkAliasConfig", Some(&name)).unwrap();
            let given = documents.get("LinkAliasConfig", Some(&name)).unwrap();
            prop_assert_eq!(alias.at(&["selector"]), given.at(&["selector"]));
            prop_assert_eq!(read.encode(), written);
        } else {
            prop_assert!(!name.chars().all(|c| c.is_ascii_alphanumeric()) || name.len() > 15 || name.is_empty());
        }
    }
}
