//! Every field alone, then the ways in which fields mean something together.
//!
//! In: fragments. Out: documents, deletions and refusals as text.
//!
//! Source: Talos v1.14.1, whose answers for both styles were compared by its own packages.
//!
//! Not here: patches as a whole (`patch`).

use std::fmt::Write as _;

use super::*;
use crate::config::leaf::Leaf;
use crate::config::schema::Type;
use crate::config::tree::Data;

fn schema() -> &'static Schema {
    Schema::of_minor(14)
}

fn decoded(yaml: &str) -> Tree {
    let documents = Documents::decode(schema(), "patch.yaml", yaml.as_bytes()).unwrap();
    documents.main().unwrap().clone()
}

/// The outcome as one text: deletions, then what lies beneath, then what is merged.
fn show(outcome: &Result<Translated, Vec<Diagnostic>>) -> String {
    let mut text = String::new();
    let translated = match outcome {
        Ok(translated) => translated,
        Err(problems) => {
            problems.iter().for_each(|problem| writeln!(text, "{problem}").unwrap());
            return text;
        }
    };
    for Delete { kind, name, path } in &translated.deletes {
        let line = format!("delete {kind} {} {}", name.as_deref().unwrap_or("*"), path.join("/"));
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    let mut documents = Documents::new(schema());
    translated.beneath.iter().for_each(|document| documents.push(document.clone()));
    for line in documents.encode().lines() {
        writeln!(text, "beneath {line}").unwrap();
    }
    let mut documents = Documents::new(schema());
    if !translated.main.entries().is_empty() {
        documents.push(Document::new(schema().kind(MAIN).unwrap(), translated.main.clone()));
    }
    translated.documents.iter().for_each(|document| documents.push(document.clone()));
    text.push_str(&documents.encode().replace("apiVersion: v1alpha1\n", ""));
    for warning in &translated.warnings {
        writeln!(text, "{}", warning.code).unwrap();
    }
    text
}

fn translated_for(role: MachineType, yaml: &str) -> String {
    show(&fragment(schema(), &decoded(yaml), role, &[]))
}

fn translated(yaml: &str) -> String {
    translated_for(MachineType::ControlPlane, yaml)
}

fn deleted(path: &[&str]) -> String {
    let path = path.iter().map(|&key| key.to_owned()).collect();
    show(&fragment(schema(), &Tree::empty(), MachineType::ControlPlane, &[path]))
}

// Every field of the schema, one by one.

#[derive(Clone, Debug)]
enum Step {
    Key(&'static str),
    Item,
    Entry,
}

/// All paths to values, with the types of the values.
fn leaves(ty: &'static Type, path: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, &'static Type)>) {
    match ty {
        Type::Pointer(inner) => leaves(inner, path, found),
        Type::List(inner) => deeper(Step::Item, inner, path, found),
        Type::Map(inner) => deeper(Step::Entry, inner, path, found),
        Type::Struct(number) if !schema().structure(*number).fields.is_empty() => {
            for field in &schema().structure(*number).fields {
                deeper(Step::Key(field.key), &field.ty, path, found);
            }
        }
        _ => found.push((path.clone(), ty)),
    }
}

fn deeper(
    step: Step,
    ty: &'static Type,
    path: &mut Vec<Step>,
    found: &mut Vec<(Vec<Step>, &'static Type)>,
) {
    path.push(step);
    leaves(ty, path, found);
    path.pop();
}

fn dotted(path: &[Step]) -> String {
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(*key),
        Step::Item | Step::Entry => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

/// What stands beside the fields of a section, so that they mean anything.
fn beside(section: &str) -> &'static str {
    match section {
        "machine.network.interfaces" => "{interface: eth0}",
        "machine.network.interfaces.vlans" => "{vlanId: 10}",
        "machine.network.interfaces.routes" | "machine.network.interfaces.vlans.routes" => {
            "{gateway: 192.0.2.1}"
        }
        "machine.network.interfaces.vip" | "machine.network.interfaces.vlans.vip" => {
            "{ip: 192.0.2.8}"
        }
        "machine.network.extraHostEntries" => "{ip: 192.0.2.7}",
        "machine.kernel.modules" | "cluster.apiServer.admissionControl" => "{name: a}",
        "cluster.apiServer.authorizationConfig" => "{name: a, type: Webhook}",
        "cluster.inlineManifests" => "{name: a, contents: b}",
        "machine.files" => "{path: /etc/a, op: overwrite}",
        "machine.registries.mirrors" => "{endpoints: ['https://a.example']}",
        "machine.features.kubernetesTalosAPIAccess" => "{enabled: true}",
        "machine.install.diskSelector" => "{serial: a}",
        "cluster.network.cni" => "{name: flannel}",
        "cluster.discovery" => "{enabled: true}",
        _ => "{}",
    }
}

/// Further fields without which one means nothing.
fn context(path: &str) -> &'static str {
    match path {
        _ if path.ends_with("dhcpOptions.duidv6") => {
            "machine: {network: {interfaces: [{dhcp: true, dhcpOptions: {ipv6: true}, \
             vlans: [{vlanId: 10, dhcp: true, dhcpOptions: {ipv6: true}}]}]}}"
        }
        _ if path.contains("dhcpOptions") => {
            "machine: {network: {interfaces: [{dhcp: true, vlans: [{vlanId: 10, dhcp: true}]}]}}"
        }
        "cluster.extraManifestHeaders" => "cluster: {extraManifests: ['https://a.example']}",
        "cluster.secretboxEncryptionSecret" => "cluster: {aescbcEncryptionSecret: a}",
        "cluster.aescbcEncryptionSecret" => "cluster: {secretboxEncryptionSecret: a}",
        _ => "{}",
    }
}

/// Values, of which at least one must make a difference.
fn samples(path: &str, ty: &Type) -> Vec<Tree> {
    let key = path.rsplit('.').next().unwrap();
    let text = match key {
        "ip" => "192.0.2.9",
        "addresses" | "cidr" => "192.0.2.2/24",
        "gateway" | "source" => "192.0.2.3",
        "network" => "198.51.100.0/24",
        "nameservers" => "192.0.2.53",
        "excludeAdvertisedNetworks" | "podSubnets" | "serviceSubnets" | "allowedIPs" => {
            "10.0.0.0/8"
        }
        "endpoint" if path.contains("wireguard") => "192.0.2.1:51820",
        "endpoint" | "endpoints" | "extraManifests" | "urls" => "https://b.example",
        "type" if path.contains("diskSelector") => "ssd",
        "op" => "append",
        "path" => "/etc/b",
        "size" => "> 1GB",
        "duidv6" => "0a0b",
        "name" if path == "cluster.network.cni.name" => "none",
        "mode" if path.contains("bond") => "802.3ad",
        "xmitHashPolicy" => "layer3+4",
        "lacpRate" => "fast",
        "arpValidate" => "all",
        "arpAllTargets" => "any",
        "primaryReselect" => "better",
        "failOverMac" => "active",
        "adSelect" => "count",
        _ => "b",
    };
    let pem = || Tree::from("UEVN");
    match ty {
        Type::Text => vec![text.into()],
        Type::Bool => vec![true.into(), false.into()],
        Type::Int(..) => vec![Tree::from(7_u32)],
        Type::Free | Type::Any | Type::Map(_) => vec![Tree::map([("b", Tree::from("c"))])],
        Type::Leaf(Leaf::Pair) => vec![Tree::map([("crt", pem()), ("key", pem())])],
        Type::Leaf(Leaf::Certificate) => vec![Tree::map([("crt", pem())])],
        Type::Leaf(Leaf::Key) => vec![Tree::map([("key", pem())])],
        Type::Leaf(Leaf::Base64) => vec![pem()],
        Type::Leaf(Leaf::FileMode | Leaf::DiskSize) => vec![Tree::from(420_u32)],
        Type::Leaf(Leaf::Duration) => vec!["90s".into()],
        Type::Leaf(Leaf::Manifests) => {
            vec![Tree::list([Tree::map([("name", "b".into()), ("contents", "c".into())])])]
        }
        Type::Leaf(_) => vec![text.into()],
        Type::Struct(_) => vec![Tree::empty()],
        Type::Pointer(_) | Type::List(_) => unreachable!("they were followed"),
    }
}

/// A fragment of one value and what stands beside it.
fn built(path: &[Step], at: usize, leaf: Option<&Tree>) -> Tree {
    let section = dotted(&path[..at]);
    let is_section = !matches!(path.get(at), Some(Step::Item | Step::Entry));
    let mut tree = if is_section { plain(beside(&section)) } else { Tree::empty() };
    match path.get(at) {
        None => return leaf.cloned().unwrap_or_else(Tree::empty),
        Some(Step::Key(key)) if at + 1 < path.len() => {
            tree.set(key, built(path, at + 1, leaf));
        }
        Some(Step::Key(key)) => {
            if let Some(leaf) = leaf {
                if key == &"deviceSelector" || key == &"diskSelector" {
                    unreachable!("they have fields");
                }
                tree.set(key, leaf.clone());
            }
        }
        Some(Step::Item) if at + 1 == path.len() => {
            tree = Tree::list(leaf.cloned());
        }
        Some(Step::Item) => tree = Tree::list([built(path, at + 1, leaf)]),
        Some(Step::Entry) if at + 1 == path.len() => {
            tree = Tree::map(leaf.map(|leaf| ("example", leaf.clone())));
        }
        Some(Step::Entry) => tree = Tree::map([("example", built(path, at + 1, leaf))]),
    }
    if tree.get("deviceSelector").is_some() {
        tree.remove("interface");
    }
    tree
}

/// A mapping without types.
fn plain(yaml: &str) -> Tree {
    fn tree(node: &crate::yaml::Node) -> Tree {
        if let Some(entries) = node.entries() {
            let mut map = Tree::empty();
            for entry in entries {
                map.set(&entry.key, tree(&entry.value));
            }
            return map;
        }
        if let Some(items) = node.items() {
            return Tree::list(items.iter().map(tree));
        }
        match node.text().unwrap_or_default() {
            "true" => true.into(),
            "false" => false.into(),
            text => match text.parse::<u32>() {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
        }
    }
    tree(&crate::yaml::parse("beside.yaml", yaml.as_bytes()).unwrap()[0])
}

/// Lays one tree over another, item by item.
fn laid(under: &Tree, over: &Tree) -> Tree {
    match (under.data(), over.data()) {
        (Data::Map(_), Data::Map(entries)) => {
            let mut tree = under.clone();
            for (key, value) in entries {
                let value = under.get(key).map_or_else(|| value.clone(), |old| laid(old, value));
                tree.set(key, value);
            }
            tree
        }
        (Data::List(old), Data::List(new)) if old.len() == 1 && new.len() == 1 => {
            Tree::list([laid(&old[0], &new[0])])
        }
        (_, Data::List(new)) if new.is_empty() => under.clone(),
        _ => over.clone(),
    }
}

/// All fields of the document of machine and cluster.
fn fields() -> Vec<(Vec<Step>, &'static Type)> {
    let Type::Struct(root) = schema().root(schema().kind(MAIN).unwrap()) else { unreachable!() };
    let mut found = Vec::new();
    for field in &schema().structure(root).fields {
        deeper(Step::Key(field.key), &field.ty, &mut Vec::new(), &mut found);
    }
    found
}

/// Fields that have no effect in any Talos that is known, whatever they say.
const WITHOUT_EFFECT: [&str; 2] =
    ["machine.install.bootloader", "cluster.apiServer.disablePodSecurityPolicy"];

#[test]
fn every_field_of_the_older_style_is_translated_or_stays_or_is_refused() {
    let found = fields();
    assert!(found.len() > 290, "{} fields", found.len());
    let outcome = |tree: &Tree| fragment(schema(), tree, MachineType::ControlPlane, &[]);
    let mut forgotten = Vec::new();
    for (path, ty) in &found {
        let name = dotted(path);
        let context = plain(context(&name));
        let without = outcome(&laid(&context, &built(path, 0, None)));
        // A section that is refused as a whole is refused whatever it says.
        let whole = |problem: &Diagnostic| problem.code == "translate-refused";
        let mut seen = without.as_ref().is_err_and(|problems| problems.iter().all(whole));
        let without = show(&without);
        for sample in samples(&name, ty) {
            let outcome = outcome(&laid(&context, &built(path, 0, Some(&sample))));
            let with = show(&outcome);
            seen |= with != without;
            let problems = outcome.err().unwrap_or_default();
            if problems.iter().any(|problem| problem.code == "translate-unknown") {
                forgotten.push(format!("{name}: {with}"));
            }
        }
        if seen == WITHOUT_EFFECT.contains(&name.as_str()) {
            forgotten.push(format!("{name} makes no difference: {without}"));
        }
    }
    assert!(forgotten.is_empty(), "{}", forgotten.join("\n"));
}

// What fields mean together.

#[test]
fn switches_turn_round_and_paths_are_those_of_the_documents() {
    insta::assert_snapshot!(translated(
        "machine:
  time: {disabled: true, servers: [192.0.2.1]}
  kubelet: {extraConfig: {maxPods: 250}, nodeIP: {validSubnets: [10.0.0.0/8]}}
  nodeLabels: {rack: ''}
cluster: {proxy: {disabled: true}, token: a.b}
"
    ), @r"
    version: v1alpha1
    cluster:
        token: a.b
    ---
    kind: KubeletConfig
    config:
        maxPods: 250
    ---
    kind: KubeNodeConfig
    nodeIP:
        validSubnets:
            - 10.0.0.0/8
    labels:
        rack: ''
    ---
    kind: TimeSyncConfig
    enabled: false
    ntp:
        servers:
            - '192.0.2.1'
    ---
    kind: KubeProxyConfig
    enabled: false
    ");
}

#[test]
fn a_hostname_takes_the_place_of_the_one_that_talos_makes() {
    insta::assert_snapshot!(translated("machine: {network: {hostname: n1}}"), @r"
    delete HostnameConfig * auto
    kind: HostnameConfig
    hostname: n1
    ");
}

#[test]
fn without_a_network_plug_in_flannel_goes() {
    insta::assert_snapshot!(
        translated("cluster: {network: {cni: {name: none}, podSubnets: ['fd00::/56']}}"), @r"
    delete KubeFlannelCNIConfig *
    kind: KubeNetworkConfig
    podSubnets:
        - fd00::/56
    "
    );
    insta::assert_snapshot!(
        translated("cluster: {network: {cni: {name: custom, urls: ['https://a.example/b']}}}"), @r"
    delete KubeFlannelCNIConfig *
    kind: KubeExternalManifestConfig
    name: custom-cni
    url: https://a.example/b
    "
    );
    insta::assert_snapshot!(
        translated("cluster: {network: {cni: {name: flannel, flannel: {extraArgs: [-v]}}}}"), @r"
    beneath apiVersion: v1alpha1
    beneath kind: KubeFlannelCNIConfig
    beneath backendType: vxlan
    beneath backendPort: 4789
    kind: KubeFlannelCNIConfig
    extraArgs:
        - '-v'
    "
    );
}

#[test]
fn an_empty_list_of_subnets_is_the_one_that_talos_had() {
    insta::assert_snapshot!(translated("cluster: {network: {podSubnets: []}}"), @r"
    kind: KubeNetworkConfig
    podSubnets:
        - 10.244.0.0/16
    ");
}

#[test]
fn workers_get_nothing_that_only_control_planes_take() {
    let yaml = "machine: {nodeLabels: {a: b}}
cluster:
  proxy: {disabled: true}
  apiServer: {extraVolumes: [{hostPath: /a, mountPath: /b}]}
  network: {cni: {name: none}, dnsDomain: a.example}
  controlPlane: {endpoint: 'https://a.example:6443'}
  allowSchedulingOnControlPlanes: true
";
    insta::assert_snapshot!(translated_for(MachineType::Worker, yaml), @r"
    kind: KubeNodeConfig
    labels:
        a: b
    ---
    kind: KubeNetworkConfig
    dnsDomain: a.example
    ---
    kind: KubeClusterConfig
    endpoint: https://a.example:6443
    ");
}

#[test]
fn scheduling_on_control_planes_is_a_taint() {
    insta::assert_snapshot!(translated("cluster: {allowSchedulingOnControlPlanes: true}"), @"delete KubeNodeConfig * taints/node-role.kubernetes.io/control-plane");
    insta::assert_snapshot!(translated("cluster: {allowSchedulingOnControlPlanes: false}"), @r"
    kind: KubeNodeConfig
    taints:
        node-role.kubernetes.io/control-plane: NoSchedule
    ");
}

#[test]
fn a_disk_selector_never_takes_what_it_never_took() {
    insta::assert_snapshot!(translated(
        "machine: {install: {diskSelector: {size: '> 1.5 TB', model: 'WD*', serial: 'a\"b'}}}"
    ), @r#"
    delete UnattendedInstallConfig * provisioning/diskSelector
    beneath apiVersion: v1alpha1
    beneath kind: UnattendedInstallConfig
    beneath provisioning:
    beneath     wipe: false
    kind: UnattendedInstallConfig
    provisioning:
        diskSelector:
            match: 'disk.size > 1500000000000u && glob("WD*", disk.model) && disk.serial == "a\"b" && disk.transport != "" && !disk.readonly && !disk.cdrom'
    "#);
    insta::assert_snapshot!(translated("machine: {install: {disk: /dev/sda, image: a/b:c}}"), @r#"
    delete UnattendedInstallConfig * provisioning/diskSelector
    beneath apiVersion: v1alpha1
    beneath kind: UnattendedInstallConfig
    beneath provisioning:
    beneath     wipe: false
    kind: UnattendedInstallConfig
    installer:
        image: a/b:c
    provisioning:
        diskSelector:
            match: 'disk.dev_path == "/dev/sda"'
    "#);
    insta::assert_snapshot!(translated("machine: {install: {disk: /dev/disk/by-id/a}}"), @r#"
    delete UnattendedInstallConfig * provisioning/diskSelector
    beneath apiVersion: v1alpha1
    beneath kind: UnattendedInstallConfig
    beneath provisioning:
    beneath     wipe: false
    kind: UnattendedInstallConfig
    provisioning:
        diskSelector:
            match: '"/dev/disk/by-id/a" in disk.symlinks'
    "#);
    assert_eq!(translated("machine: {install: {bootloader: true}}"), "");
}

#[test]
fn install_settings_of_the_image_are_refused() {
    insta::assert_snapshot!(translated(
        "machine:
  install:
    extraKernelArgs: [console=ttyS0]
    extensions: [{image: a}]
    grubUseUKICmdline: false
    legacyBIOSSupport: true
    diskSelector: {name: a}
"
    ), @r"
    error: Talos chooses no disk by `name`
      --> patch.yaml:7:26
    help: name the disk by what it has, `serial`, `wwid` or `busPath`
    error: the disk selector selects nothing
      --> patch.yaml:7:19
    help: name a serial or a wwid
    error: Talos 1.14 adds no kernel arguments when it installs: the image has its own
      --> patch.yaml:3:22
    help: put them into the image that is booted and the schematic of the installer's
    error: Talos adds no extensions when it installs: the installer's image has its own
      --> patch.yaml:4:17
    help: name an installer image of a schematic that has them:
    kind: UnattendedInstallConfig
    installer:
      image: ...
    error: Talos 1.14 marks no partition as bootable for old firmware
      --> patch.yaml:6:24
    help: drop it, or boot by UEFI
    error: Talos 1.14 always takes the kernel's arguments from the image
      --> patch.yaml:5:24
    help: drop it, and put the arguments into the image
    ");
}

#[test]
fn a_link_keeps_its_addresses_routes_and_clients() {
    insta::assert_snapshot!(translated(
        "machine:
  network:
    interfaces:
      - interface: eth0
        addresses: [192.0.2.10/24, '2001:db8::10']
        routes: [{network: 0.0.0.0/0, gateway: 192.0.2.1}, {network: 10.0.0.0/8, gateway: 192.0.2.2, metric: 7}]
        mtu: 9000
        vip: {ip: 192.0.2.9}
        vlans: [{vlanId: 10, dhcp: true, dhcpOptions: {ipv6: true, duidv6: 0a0b}}]
      - {interface: eth1, dhcp: false}
      - {interface: eth2, ignore: true}
"
    ), @r"
    delete DHCPv4Config eth1
    delete DHCPv6Config eth1
    kind: LinkConfig
    name: eth0
    mtu: 9000
    addresses:
        - address: 192.0.2.10/24
        - address: 2001:db8::10/128
    routes:
        - gateway: '192.0.2.1'
        - destination: 10.0.0.0/8
          gateway: '192.0.2.2'
          metric: 7
    ---
    kind: Layer2VIPConfig
    name: '192.0.2.9'
    link: eth0
    ---
    kind: VLANConfig
    name: eth0.10
    vlanID: 10
    parent: eth0
    ---
    kind: DHCPv4Config
    name: eth0.10
    clientIdentifier: none
    ---
    kind: DHCPv6Config
    name: eth0.10
    clientIdentifier: duid
    duidRaw: 0a:0b
    ---
    kind: LinkConfig
    name: eth1
    translate-default-dhcp
    ");
}

#[test]
fn masters_keep_their_links_and_their_defaults() {
    insta::assert_snapshot!(translated(
        "machine:
  network:
    interfaces:
      - {interface: bond0, bond: {interfaces: [eth0], deviceSelectors: [{hardwareAddr: '00:aa:00:00:00:01'}], tlbDynamicLb: 1}}
      - {interface: br0, bridge: {interfaces: [eth2]}}
      - {interface: eth3, bridgePort: {master: br0}}
      - {interface: dummy0, dummy: true}
      - {interface: enp0s31f6abc, vlans: [{vlanId: 5}]}
"
    ), @r#"
    beneath apiVersion: v1alpha1
    beneath kind: BondConfig
    beneath name: bond0
    beneath bondMode: balance-rr
    beneath ---
    beneath apiVersion: v1alpha1
    beneath kind: BridgeConfig
    beneath name: br0
    beneath stp:
    beneath     enabled: true
    kind: BondConfig
    name: bond0
    links:
        - eth0
        - nic80aa7e
    tlbLogicalLb: 1
    ---
    kind: LinkAliasConfig
    name: nic80aa7e
    selector:
        match: 'mac(link.permanent_addr) == "00:aa:00:00:00:01"'
    ---
    kind: BridgeConfig
    name: br0
    links:
        - eth2
        - eth3
    ---
    kind: LinkConfig
    name: eth3
    ---
    kind: DummyLinkConfig
    name: dummy0
    ---
    kind: LinkConfig
    name: enp0s31f6abc
    ---
    kind: VLANConfig
    name: enp049a506.5
    vlanID: 5
    parent: enp0s31f6abc
    translate-default-dhcp
    "#);
}

#[test]
fn a_selector_has_an_alias_of_its_own() {
    let yaml =
        "machine: {network: {interfaces: [{deviceSelector: {driver: igb, busPath: '00*'}}]}}";
    insta::assert_snapshot!(translated(yaml), @r#"
    kind: LinkAliasConfig
    name: nic76572e
    selector:
        match: 'link.driver == "igb" && glob("00*", link.bus_path)'
    ---
    kind: LinkConfig
    name: nic76572e
    translate-selector
    translate-default-dhcp
    "#);
    let yaml = "machine: {network: {interfaces: [{deviceSelector: {physical: true}, mtu: 9000}]}}";
    insta::assert_snapshot!(translated(yaml), @r"
    kind: LinkAliasConfig
    name: nicb5bea4
    selector:
        match: 'true'
    ---
    kind: LinkConfig
    name: nicb5bea4
    mtu: 9000
    translate-selector
    translate-default-dhcp
    ");
}

#[test]
fn what_a_link_cannot_be_is_refused_at_its_place() {
    insta::assert_snapshot!(translated(
        "machine:
  network:
    interfaces:
      - {interface: eth0, deviceSelector: {driver: igb}}
      - {interface: eth1, bond: {mode: 802.3ad}, bridge: {}}
      - {interface: eth2, addresses: [a], vlans: [{vlanId: 3, addresses: [192.0.2.1]}]}
      - {interface: eth3, routes: [{network: '::/0'}, {metric: 3}, {gateway: 0.0.0.0}]}
      - {interface: eth4, dhcpOptions: {routeMetric: 3}}
      - {interface: eth5, bridgePort: {master: br9}}
      - {interface: eth6, vip: {ip: 192.0.2.1, equinixMetal: {apiToken: hush}}}
      - {interface: wg0, wireguard: {privateKey: hush, peers: [{endpoint: 'a.example:1'}]}}
      - {deviceSelector: {permanentAddr: 'AA:00:00:00:00:00'}}
      - {interface: bond1, bond: {deviceSelectors: [{driver: igb}]}}
"
    ), @r"
    error: an interface has either `interface` or `deviceSelector`
      --> patch.yaml:4:9
    help: write one of them
    error: a link is of one kind
      --> patch.yaml:5:9
    help: keep one of `bond`, `bridge`, `wireguard` and `dummy`
    error: this is no address that Talos sets on the link
      --> patch.yaml:6:39
    help: write an address and its length, `192.0.2.1/24`
    error: this is no address that Talos sets on the link
      --> patch.yaml:6:75
    help: write an address and its length, `192.0.2.1/24`
    error: in documents a default route has the family of its gateway
      --> patch.yaml:7:46
    help: write the `gateway`, an IPv6 address
    error: the route leads nowhere
      --> patch.yaml:7:55
    help: write its `network` or its `gateway`
    error: this is no host's address
      --> patch.yaml:7:78
    help: write one, or drop it
    error: options of DHCP mean nothing without it
      --> patch.yaml:8:40
    help: write `dhcp: true` beside
    error: there is no document for shared addresses of Equinix Metal
      --> patch.yaml:10:62
    help: use a load balancer or BGP: `kind: BGPInstanceConfig`
    error: in documents a peer's endpoint is an address, no name
      --> patch.yaml:11:75
    help: write an address and a port, `192.0.2.1:51820`
    error: an address in upper case is that of no link
      --> patch.yaml:12:42
    help: write it in lower case, as Talos does
    error: in documents a bond names each of its links, and this may be several
      --> patch.yaml:13:53
    help: write one selector for each link, by `permanentAddr` or `busPath`
    error: in documents a bridge names its links
      --> patch.yaml:9:48
    help: name the link at its bridge:
    kind: BridgeConfig
    name: NAME
    links:
      - ...
    ");
    let vip = "machine: {network: {interfaces: [{interface: eth0, vip: {ip: 192.0.2.1}}]}}";
    insta::assert_snapshot!(translated_for(MachineType::Worker, vip), @r"
    error: Talos takes a shared address on control planes alone
      --> patch.yaml:1:57
    help: put it into a patch for control planes
    ");
    let ignored = "machine: {network: {interfaces: [{interface: eth0, ignore: true}]}}";
    insta::assert_snapshot!(translated(ignored), @r"
    error: documents leave a link alone by describing others, never by its name
      --> patch.yaml:1:60
    help: describe the links that are to be used:
    kind: DHCPv4Config
    name: NAME
    ");
}

#[test]
fn no_message_quotes_a_value() {
    let hush = Tree::from("hush");
    let values = [
        hush.clone(),
        Tree::list([hush.clone()]),
        Tree::map([("crt", hush.clone()), ("key", hush.clone()), ("name", hush)]),
    ];
    for (path, _) in fields() {
        for (value, role) in values.iter().flat_map(|value| {
            [MachineType::ControlPlane, MachineType::Worker].map(|role| (value, role))
        }) {
            let findings = match fragment(schema(), &built(&path, 0, Some(value)), role, &[]) {
                Ok(translated) => translated.warnings,
                Err(problems) => problems,
            };
            for finding in findings {
                assert!(!finding.to_string().contains("hush"), "{}: {finding}", dotted(&path));
            }
        }
    }
}

#[test]
fn authorities_are_plain_pem_and_workers_only_trust_them() {
    let yaml = "cluster: {ca: {crt: UEVN, key: S0VZ}, acceptedCAs: [{crt: T0xE}]}";
    insta::assert_snapshot!(translated(yaml), @r"
    kind: KubeAPIServerCAConfig
    issuingCA:
        cert: PEM
        key: KEY
    acceptedCAs:
        - OLD
    ");
    let yaml = "cluster: {ca: {crt: UEVN, key: ''}}";
    insta::assert_snapshot!(translated_for(MachineType::Worker, yaml), @r"
    delete KubeAPIServerCAConfig * acceptedCAs
    kind: KubeAPIServerCAConfig
    acceptedCAs:
        - PEM
    ");
}

#[test]
fn both_keys_of_etcd_keep_their_order_and_names() {
    let yaml = "cluster: {secretboxEncryptionSecret: a, aescbcEncryptionSecret: b}";
    insta::assert_snapshot!(translated(yaml), @r"
    delete KubeEtcdEncryptionConfig * config
    kind: KubeEtcdEncryptionConfig
    config:
        resources:
            - providers:
                  - secretbox:
                        keys:
                            - name: key2
                              secret: a
                  - aescbc:
                        keys:
                            - name: key1
                              secret: b
              resources:
                  - secrets
    ");
}

#[test]
fn authorizers_that_would_be_asked_in_another_order_are_refused() {
    let authorizers = |list: &str| {
        translated(&format!("cluster: {{apiServer: {{authorizationConfig: [{list}]}}}}"))
    };
    let (node, hook) = ("{type: Node, name: node}", "{type: Webhook, name: a}");
    assert!(authorizers(&format!("{node}, {hook}")).starts_with("kind: KubeAuthorizerConfig"));
    assert!(authorizers(&format!("{hook}, {node}")).contains("asks `node`, then `rbac`"));
    assert!(authorizers("{type: Node, name: a}").contains("asks `node`, then `rbac`"));
}

#[test]
fn arguments_that_documents_replace_are_refused_by_their_name_alone() {
    insta::assert_snapshot!(translated(
        "cluster: {apiServer: {extraArgs: {v: 4, oidc-issuer-url: hush}}}"
    ), @r"
    error: Talos 1.14 takes no argument `oidc-issuer-url` for kube-apiserver
      --> patch.yaml:1:58
    help: write the document for it:
    kind: KubeAuthenticationConfig
    configuration:
      jwt: ...
    ");
}

#[test]
fn discovery_is_a_document_or_none() {
    insta::assert_snapshot!(translated("cluster: {discovery: {enabled: false}}"), @"delete DiscoveryServiceConfig *");
    insta::assert_snapshot!(translated("cluster: {discovery: {enabled: true}}"), @r"
    beneath apiVersion: v1alpha1
    beneath kind: DiscoveryServiceConfig
    beneath name: default
    beneath endpoint: https://discovery.talos.dev/
    ");
    let kubernetes = "cluster: {discovery: {registries: {kubernetes: {disabled: false}}}}";
    assert!(translated(kubernetes).contains("discover by a service"));
}

#[test]
fn files_in_etc_are_documents_and_others_stay() {
    insta::assert_snapshot!(translated(
        "machine:
  files:
    - {path: /etc/a.conf, op: overwrite, permissions: 0o600, content: b}
    - {path: /etc/cri/conf.d/20-customization.part, op: create, content: c}
    - {path: /var/d, op: create, content: e}
"
    ), @r"
    version: v1alpha1
    machine:
        files:
            - content: e
              path: /var/d
              op: create
    ---
    kind: EtcFileConfig
    name: a.conf
    mode: 0o600
    contents: b
    ---
    kind: CRICustomizationConfig
    name: machine-files
    content: c
    ");
    insta::assert_snapshot!(translated(
        "machine:
  files:
    - {path: /etc/resolv.conf, op: overwrite}
    - {path: /etc/../var/a, op: create}
    - {path: /etc/a, op: append}
    - {path: /etc/kubernetes/manifests/a.yaml, op: create}
"
    ), @r"
    error: Talos writes this file itself
      --> patch.yaml:3:7
    help: drop it, and use the document for what it configures
    error: Talos writes this file itself
      --> patch.yaml:4:7
    help: drop it, and use the document for what it configures
    error: Talos 1.14 writes a file in `/etc` only as a whole
      --> patch.yaml:5:7
    help: write the whole file:
    kind: EtcFileConfig
    name: PATH BELOW /etc
    mode: 0o644
    contents: ...
    error: Talos 1.14 reads no static pods from files
      --> patch.yaml:6:7
    help: write it as a document:
    kind: KubeStaticPodConfig
    name: NAME
    pod: ...
    ");
}

#[test]
fn a_value_that_the_new_type_refuses_is_refused_where_it_stands() {
    insta::assert_snapshot!(translated(
        "machine: {network: {interfaces: [{interface: bond0, bond: {xmitHashPolicy: a}, mtu: -1}]}}
"
    ), @r"
    error: no such choice
      --> patch.yaml:1:76
    help: write one of layer2, layer3+4, layer2+3, encap2+3, encap3+4
    error: the number is out of bounds
      --> patch.yaml:1:85
    help: write one from 0 to 4294967295
    ");
}

#[test]
fn deletions_follow_the_fields() {
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    insta::assert_snapshot!(deleted(&["machine", "nodeLabels", label]), @"delete KubeNodeConfig * labels/node.kubernetes.io/exclude-from-external-load-balancers");
    insta::assert_snapshot!(deleted(&["cluster", "apiServer", "admissionControl"]), @"delete KubeAdmissionControlConfig *");
    insta::assert_snapshot!(
        deleted(&["cluster", "apiServer", "admissionControl", "PodSecurity"]), @"delete KubeAdmissionControlConfig PodSecurity"
    );
    insta::assert_snapshot!(deleted(&["machine", "install", "disk"]), @"delete UnattendedInstallConfig * provisioning/diskSelector");
    insta::assert_snapshot!(deleted(&["cluster", "apiServer", "extraArgs", "v"]), @"delete KubeAPIServerConfig * extraArgs/v");
    insta::assert_snapshot!(deleted(&["machine", "certSANs"]), @"delete v1alpha1 * machine/certSANs");
    insta::assert_snapshot!(deleted(&["machine", "registries", "mirrors", "docker.io"]), @"delete RegistryMirrorConfig docker.io");
    insta::assert_snapshot!(deleted(&["cluster", "network", "cni"]), @r"
    error: deleting `cluster.network.cni` has no certain counterpart in Talos 1.14
    help: delete the document that has it now, or a value of it:
    apiVersion: v1alpha1
    kind: KIND
    $patch: delete
    ");
}

#[test]
fn a_config_is_changed_in_the_order_that_keeps_the_meaning() {
    let mut config = Documents::decode(
        schema(),
        "config.yaml",
        b"apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n---\n\
          apiVersion: v1alpha1\nkind: KubePrismConfig\nport: 1\n",
    )
    .unwrap();
    let yaml = "machine: {certSANs: [b], network: {hostname: a}, install: {disk: /dev/sda},
 features: {kubePrism: {enabled: true}}}
cluster: {network: {cni: {name: none}}}";
    let role = MachineType::ControlPlane;
    fragment(schema(), &decoded(yaml), role, &[]).unwrap().apply(&mut config).unwrap();
    insta::assert_snapshot!(config.encode(), @r#"
    apiVersion: v1alpha1
    kind: HostnameConfig
    hostname: a
    ---
    apiVersion: v1alpha1
    kind: KubePrismConfig
    port: 1
    ---
    apiVersion: v1alpha1
    kind: UnattendedInstallConfig
    provisioning:
        diskSelector:
            match: 'disk.dev_path == "/dev/sda"'
        wipe: false
    ---
    version: v1alpha1
    machine:
        certSANs:
            - b
    "#);
}

#[test]
fn older_versions_have_documents_of_links_too() {
    let list = |schema: &'static Schema, yaml: &str| {
        let documents = Documents::decode(schema, "patch.yaml", yaml.as_bytes()).unwrap();
        let list = documents.main().unwrap().at(&["machine", "network", "interfaces"]).unwrap();
        interfaces(schema, list, MachineType::Worker)
    };
    let yaml =
        "machine: {network: {interfaces: [{interface: eth0, dhcp: true, vlans: [{vlanId: 3}]}]}}";
    for minor in [12, 13, 14] {
        let translated = list(Schema::of_minor(minor), yaml).unwrap();
        let kinds: Vec<_> = translated.documents.iter().map(Document::kind).collect();
        assert_eq!(kinds, ["LinkConfig", "DHCPv4Config", "VLANConfig"], "1.{minor}");
    }
    let yaml = "machine: {network: {interfaces: [{interface: b, bond: {primary: a}}]}}";
    let problems = list(Schema::of_minor(13), yaml).unwrap_err();
    assert_eq!(
        problems[0].message,
        "Talos 1.13 has no `primary` in BondConfig, which this asks for"
    );
}

#[test]
fn a_field_that_nobody_knows_is_refused_with_its_path() {
    let mut tree = Tree::empty();
    tree.set_at(&["machine", "network", "later"], "a");
    let problems = fragment(schema(), &tree, MachineType::Worker, &[]).unwrap_err();
    assert_eq!(problems[0].code, "translate-unknown");
    assert!(problems[0].message.starts_with("`machine.network.later`"));
}
