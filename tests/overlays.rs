//! What the overlays that we ship make of the configs that Talos' generator makes.
//!
//! Not here: which values stand where (`builder/src/catalog/expand/tests.rs`).

#[cfg(test)]
mod overlays {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::time::{Duration, SystemTime};

    use talforge::catalog::expand::{Cluster, Machine, Scope, Values};
    use talforge::catalog::{overlay, overlay_names};
    use talforge::config::documents::Documents;
    use talforge::config::generate::{Input, base, defaults};
    use talforge::config::patch::Patch;
    use talforge::config::translate;
    use talforge::config::tree::Tree;
    use talforge::pki::Bundle;
    use talforge::report::{Diagnostic, Place};
    use talforge::talos::Role;
    use talforge::talos::Version;
    use talforge::yaml::{self, Node};

    const ENDPOINT: &str = "https://[2001:db8:0:1::10]:6443";

    /// What the site of these tests gives to all nodes.
    const VALUES: &str = "
asn: 4200000011
neighbors: [{link: fab0, peerASN: 4200000001, bfd: {}}, {link: fab1, peerASN: 4200000001}]
peers:
  - {name: leaf, peerAddress: 2001:db8:0:1::1, peerASN: 4200000001, peerConfigRef: {name: fabric}}
pool: [{cidr: 2001:db8:0:f::/112}]
registry: http://[2001:db8:0:1::5]:5000
forward_kube_dns_to_host: false
subnets: [2001:db8:0:1::/64]
";

    fn values(text: &str) -> Values {
        let node = yaml::parse("site.yaml", text.as_bytes()).unwrap().remove(0);
        let entries = node.entries().unwrap().iter();
        entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }

    /// A site of one control plane and one worker, with one version of Talos.
    struct Site {
        talos: Version,
        minor: u32,
        secrets: Bundle,
        subnets: [Vec<String>; 2],
    }

    impl Site {
        fn new(talos: &str) -> Self {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let talos = Version::parse(talos).unwrap();
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/talos-gen/secrets.yaml");
            let secrets = std::fs::read_to_string(path).unwrap();
            Self {
                minor: talos.minor,
                secrets: Bundle::parse("secrets.yaml", secrets.as_bytes(), now).unwrap().bundle,
                subnets: ["2001:db8:1::/56", "2001:db8:2::/112"].map(|net| vec![net.to_owned()]),
                talos,
            }
        }

        fn base(&self, role: Role) -> Documents {
            base(&Input {
                talos: &self.talos,
                role,
                cluster: "fabric",
                endpoint: ENDPOINT,
                kubernetes: defaults::kubernetes(&self.talos),
                install_disk: Some("/dev/nvme0n1"),
                install_image: &defaults::installer_image(&self.talos),
                additional_sans: &[],
                dns_domain: defaults::DNS_DOMAIN,
                pod_subnets: &self.subnets[0],
                service_subnets: &self.subnets[1],
                discovery: true,
                kubespan: false,
                secrets: &self.secrets,
            })
        }

        /// The config of a node with an overlay, where the site gives such values.
        fn with(&self, name: &str, role: Role, given: &str) -> Result<Documents, Vec<Diagnostic>> {
            let mut common = values(given);
            let rendered =
                "# Rendered.\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: cilium\n";
            common.insert("manifest".into(), Node::whole("cilium.yaml", rendered.into()));
            let own = |number: u8| {
                let own = format!("router_id: 192.0.2.{number}\nloopback: 2001:db8::{number}\n");
                common.clone().into_iter().chain(values(&own)).collect::<BTreeMap<_, _>>()
            };
            let own = [own(11), own(21)];
            let addresses = ["2001:db8:0:1::11", "2001:db8:0:1::21"];
            let addresses = addresses.map(|text| [text.parse::<IpAddr>().unwrap()]);
            let node = |at: usize, name, role| Machine {
                name,
                role,
                addresses: &addresses[at],
                values: &own[at],
            };
            let nodes = [node(0, "cp-1", Role::ControlPlane), node(1, "w-1", Role::Worker)];
            let scope = Scope {
                place: Place { file: "site.yaml".into(), line: 1, column: 1 },
                cluster: Cluster {
                    name: "fabric",
                    endpoint: ENDPOINT,
                    pod_subnets: &self.subnets[0],
                    service_subnets: &self.subnets[1],
                    values: &common,
                },
                node: *nodes.iter().find(|node| node.role == role).unwrap(),
                nodes: &nodes,
            };
            let expansion = overlay(name).unwrap().expand(name, &scope, self.minor)?;
            let mut documents = self.base(role);
            for patch in &expansion.patches {
                let patch = Patch::of(documents.schema, patch)?;
                let warnings = translate::apply(&mut documents, &patch, role)?;
                assert_eq!(warnings, [], "{name}");
            }
            for (name, text) in &expansion.manifests {
                if self.minor >= 14 {
                    let manifest = documents.open("KubeInlineManifestConfig", Some(name));
                    manifest.set("manifest", text.as_str());
                } else {
                    let manifest =
                        [("name", name.as_str().into()), ("contents", text.as_str().into())];
                    let main = documents.open("v1alpha1", None);
                    let mut list: Vec<Tree> = main
                        .at(&["cluster", "inlineManifests"])
                        .map(|list| list.items().to_vec())
                        .unwrap_or_default();
                    list.push(Tree::map(manifest));
                    main.set_at(&["cluster", "inlineManifests"], Tree::list(list));
                }
            }
            Ok(documents)
        }
    }

    /// The lines that an overlay takes away and those that it adds, in order.
    fn difference(before: &str, after: &str) -> String {
        let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
        let (mut at, mut text) = (0, String::new());
        for line in after {
            match before[at..].iter().position(|old| *old == line) {
                // What comes again soon was not taken away.
                Some(gone) if gone <= 8 => {
                    before[at..at + gone].iter().for_each(|old| text += &format!("-{old}\n"));
                    at += gone + 1;
                }
                _ => text += &format!("+{line}\n"),
            }
        }
        before[at..].iter().for_each(|old| text += &format!("-{old}\n"));
        text
    }

    const RELEASES: [&str; 3] = ["v1.12.7", "v1.13.9", "v1.14.1"];
    const ROLES: [(Role, &str); 2] =
        [(Role::ControlPlane, "controlplane"), (Role::Worker, "worker")];

    /// What an overlay does, by what it does: the releases and roles, then the lines.
    fn effect(name: &str) -> String {
        let mut effects: Vec<(String, String)> = Vec::new();
        for release in RELEASES {
            let site = Site::new(release);
            for (role, role_name) in ROLES {
                let text = match site.with(name, role, VALUES) {
                    Ok(documents) => difference(&site.base(role).encode(), &documents.encode()),
                    Err(problems) => {
                        problems.iter().map(|problem| format!("{problem}\n")).collect()
                    }
                };
                let whose = format!("v1.{} {role_name}", site.minor);
                match effects.iter_mut().find(|(_, known)| *known == text) {
                    Some((list, _)) => *list += &format!(", {whose}"),
                    None => effects.push((whose, text)),
                }
            }
        }
        effects.iter().map(|(whose, text)| format!("# {whose}\n{text}")).collect()
    }

    #[test]
    fn every_overlay_changes_configs_of_every_release_or_says_why_not() {
        for name in overlay_names() {
            for release in RELEASES {
                let site = Site::new(release);
                for (role, _) in ROLES {
                    match site.with(name, role, VALUES) {
                        Ok(documents) => {
                            let text = documents.encode();
                            let read =
                                Documents::decode(documents.schema, "made.yaml", text.as_bytes());
                            let read = read.unwrap_or_else(|e| panic!("{name} {release}: {e:?}"));
                            assert_eq!(read.encode(), text);
                        }
                        Err(problems) => {
                            assert_eq!((name, problems.len()), ("bgp", 1), "{problems:?}");
                            assert_eq!(problems[0].code, "overlay-release");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_patch_cannot_take_is_told_at_the_value() {
        let given = VALUES.replace("asn: 4200000011", "asn: many");
        let problems = Site::new("v1.14.1").with("bgp", Role::Worker, &given).unwrap_err();
        let places = problems.iter().map(|problem| problem.place.as_ref().unwrap().to_string());
        assert_eq!(places.collect::<Vec<_>>(), ["site.yaml:2:6"], "{problems:?}");
        let given = VALUES.replace("bfd: {}", "bdf: {}");
        let problems = Site::new("v1.14.1").with("bgp", Role::Worker, &given).unwrap_err();
        let places = problems.iter().map(|problem| problem.place.as_ref().unwrap().to_string());
        assert_eq!(places.collect::<Vec<_>>(), ["site.yaml:3:47"], "{problems:?}");
    }

    #[test]
    fn cilium_takes_the_place_of_flannel_and_kube_proxy() {
        insta::assert_snapshot!(effect("cilium"), @r"
        # v1.12 controlplane, v1.13 controlplane
        +            forwardKubeDNSToHost: false
        -            forwardKubeDNSToHost: true
        +        cni:
        +            name: none
        +        disabled: true
        +    inlineManifests:
        +        - name: cilium
        +          contents: |
        +              # Rendered.
        +              apiVersion: v1
        +              kind: Namespace
        +              metadata:
        +                name: cilium
        # v1.12 worker, v1.13 worker
        +            forwardKubeDNSToHost: false
        -            forwardKubeDNSToHost: true
        # v1.14 controlplane
        +    forwardKubeDNSToHost: false
        -    forwardKubeDNSToHost: true
        +enabled: false
        -kind: KubeFlannelCNIConfig
        -backendType: vxlan
        -backendPort: 4789
        ----
        -apiVersion: v1alpha1
        +---
        +apiVersion: v1alpha1
        +kind: KubeInlineManifestConfig
        +name: cilium
        +manifest: |
        +    # Rendered.
        +    apiVersion: v1
        +    kind: Namespace
        +    metadata:
        +      name: cilium
        # v1.14 worker
        +    forwardKubeDNSToHost: false
        -    forwardKubeDNSToHost: true
        ");
    }

    #[test]
    fn cilium_bgp_is_objects_of_cilium() {
        insta::assert_snapshot!(effect("cilium-bgp"), @r"
        # v1.12 controlplane, v1.13 controlplane
        +    inlineManifests:
        +        - name: cilium-bgp
        +          contents: |
        +              apiVersion: cilium.io/v2
        +              kind: CiliumBGPAdvertisement
        +              metadata:
        +                name: fabric
        +                labels:
        +                  advertise: fabric
        +              spec:
        +                advertisements:
        +                  - advertisementType: PodCIDR
        +                  - advertisementType: Service
        +                    service:
        +                      addresses:
        +                        - LoadBalancerIP
        +                    selector:
        +                      matchExpressions:
        +                        - key: bgp.talforge.dev/advertise
        +                          operator: NotIn
        +                          values:
        +                            - never
        +              ---
        +              apiVersion: cilium.io/v2
        +              kind: CiliumBGPPeerConfig
        +              metadata:
        +                name: fabric
        +              spec:
        +                gracefulRestart:
        +                  enabled: true
        +                families:
        +                  - afi: ipv4
        +                    safi: unicast
        +                    advertisements:
        +                      matchLabels:
        +                        advertise: fabric
        +                  - afi: ipv6
        +                    safi: unicast
        +                    advertisements:
        +                      matchLabels:
        +                        advertise: fabric
        +              ---
        +              apiVersion: cilium.io/v2
        +              kind: CiliumBGPClusterConfig
        +              metadata:
        +                name: fabric
        +              spec:
        +                bgpInstances:
        +                  - name: fabric
        +                    localASN: 4200000011
        +                    peers:
        +                      - name: leaf
        +                        peerAddress: 2001:db8:0:1::1
        +                        peerASN: 4200000001
        +                        peerConfigRef:
        +                          name: fabric
        +        - name: cilium-bgp-nodes
        +          contents: |
        +              apiVersion: cilium.io/v2
        +              kind: CiliumBGPNodeConfigOverride
        +              metadata:
        +                name: cp-1
        +              spec:
        +                bgpInstances:
        +                  - name: fabric
        +                    routerID: 192.0.2.11
        +                    localASN: 4200000011
        +              ---
        +              apiVersion: cilium.io/v2
        +              kind: CiliumBGPNodeConfigOverride
        +              metadata:
        +                name: w-1
        +              spec:
        +                bgpInstances:
        +                  - name: fabric
        +                    routerID: 192.0.2.21
        +                    localASN: 4200000011
        +        - name: cilium-load-balancer-pool
        +          contents: |
        +              apiVersion: cilium.io/v2
        +              kind: CiliumLoadBalancerIPPool
        +              metadata:
        +                name: fabric
        +              spec:
        +                blocks:
        +                  - cidr: 2001:db8:0:f::/112
        # v1.12 worker, v1.13 worker, v1.14 worker
        # v1.14 controlplane
        +---
        +apiVersion: v1alpha1
        +kind: KubeInlineManifestConfig
        +name: cilium-bgp
        +manifest: |
        +    apiVersion: cilium.io/v2
        +    kind: CiliumBGPAdvertisement
        +    metadata:
        +      name: fabric
        +      labels:
        +        advertise: fabric
        +    spec:
        +      advertisements:
        +        - advertisementType: PodCIDR
        +        - advertisementType: Service
        +          service:
        +            addresses:
        +              - LoadBalancerIP
        +          selector:
        +            matchExpressions:
        +              - key: bgp.talforge.dev/advertise
        +                operator: NotIn
        +                values:
        +                  - never
        +    ---
        +    apiVersion: cilium.io/v2
        +    kind: CiliumBGPPeerConfig
        +    metadata:
        +      name: fabric
        +    spec:
        +      gracefulRestart:
        +        enabled: true
        +      families:
        +        - afi: ipv4
        +          safi: unicast
        +          advertisements:
        +            matchLabels:
        +              advertise: fabric
        +        - afi: ipv6
        +          safi: unicast
        +          advertisements:
        +            matchLabels:
        +              advertise: fabric
        +    ---
        +    apiVersion: cilium.io/v2
        +    kind: CiliumBGPClusterConfig
        +    metadata:
        +      name: fabric
        +    spec:
        +      bgpInstances:
        +        - name: fabric
        +          localASN: 4200000011
        +          peers:
        +            - name: leaf
        +              peerAddress: 2001:db8:0:1::1
        +              peerASN: 4200000001
        +              peerConfigRef:
        +                name: fabric
        +---
        +apiVersion: v1alpha1
        +kind: KubeInlineManifestConfig
        +name: cilium-bgp-nodes
        +manifest: |
        +    apiVersion: cilium.io/v2
        +    kind: CiliumBGPNodeConfigOverride
        +    metadata:
        +      name: cp-1
        +    spec:
        +      bgpInstances:
        +        - name: fabric
        +          routerID: 192.0.2.11
        +          localASN: 4200000011
        +    ---
        +    apiVersion: cilium.io/v2
        +    kind: CiliumBGPNodeConfigOverride
        +    metadata:
        +      name: w-1
        +    spec:
        +      bgpInstances:
        +        - name: fabric
        +          routerID: 192.0.2.21
        +          localASN: 4200000011
        +---
        +apiVersion: v1alpha1
        +kind: KubeInlineManifestConfig
        +name: cilium-load-balancer-pool
        +manifest: |
        +    apiVersion: cilium.io/v2
        +    kind: CiliumLoadBalancerIPPool
        +    metadata:
        +      name: fabric
        +    spec:
        +      blocks:
        +        - cidr: 2001:db8:0:f::/112
        ");
    }

    #[test]
    fn bgp_is_a_link_an_instance_and_the_node_s_address() {
        insta::assert_snapshot!(effect("bgp"), @r"
        # v1.12 controlplane, v1.12 worker
        error: overlay `bgp` has nothing for Talos v1.12
          --> site.yaml:1:1
        help: use Talos v1.14 or newer, or drop the overlay
        # v1.13 controlplane, v1.13 worker
        error: overlay `bgp` has nothing for Talos v1.13
          --> site.yaml:1:1
        help: use Talos v1.14 or newer, or drop the overlay
        # v1.14 controlplane
        +        advertisedSubnets:
        +            - 2001:db8::11/128
        +nodeIP:
        +    validSubnets:
        +        - 2001:db8::11/128
        -nodeIP: {}
        +---
        +apiVersion: v1alpha1
        +kind: DummyLinkConfig
        +name: lo-fabric
        +addresses:
        +    - address: 2001:db8::11/128
        +---
        +apiVersion: v1alpha1
        +kind: BGPInstanceConfig
        +name: fabric
        +localASN: 4200000011
        +routerID: '192.0.2.11'
        +routeSource: 2001:db8::11
        +advertise:
        +    - lo-fabric
        +multipath: true
        +neighbors:
        +    - link: fab0
        +      peerASN: 4200000001
        +      bfd: {}
        +    - link: fab1
        +      peerASN: 4200000001
        # v1.14 worker
        +nodeIP:
        +    validSubnets:
        +        - 2001:db8::21/128
        -nodeIP: {}
        +---
        +apiVersion: v1alpha1
        +kind: DummyLinkConfig
        +name: lo-fabric
        +addresses:
        +    - address: 2001:db8::21/128
        +---
        +apiVersion: v1alpha1
        +kind: BGPInstanceConfig
        +name: fabric
        +localASN: 4200000011
        +routerID: '192.0.2.21'
        +routeSource: 2001:db8::21
        +advertise:
        +    - lo-fabric
        +multipath: true
        +neighbors:
        +    - link: fab0
        +      peerASN: 4200000001
        +      bfd: {}
        +    - link: fab1
        +      peerASN: 4200000001
        ");
    }

    #[test]
    fn ipv6_only_says_which_addresses_are_the_node_s() {
        insta::assert_snapshot!(effect("ipv6-only"), @r"
        # v1.12 controlplane, v1.13 controlplane
        +        nodeIP:
        +            validSubnets:
        +                - 2001:db8:0:1::/64
        +            forwardKubeDNSToHost: false
        -            forwardKubeDNSToHost: true
        +        advertisedSubnets:
        +            - 2001:db8:0:1::/64
        # v1.12 worker, v1.13 worker
        +        nodeIP:
        +            validSubnets:
        +                - 2001:db8:0:1::/64
        +            forwardKubeDNSToHost: false
        -            forwardKubeDNSToHost: true
        # v1.14 controlplane
        +        advertisedSubnets:
        +            - 2001:db8:0:1::/64
        +nodeIP:
        +    validSubnets:
        +        - 2001:db8:0:1::/64
        -nodeIP: {}
        # v1.14 worker
        +nodeIP:
        +    validSubnets:
        +        - 2001:db8:0:1::/64
        -nodeIP: {}
        ");
    }

    #[test]
    fn single_node_takes_taint_and_label_away() {
        insta::assert_snapshot!(effect("single-node"), @r"
        # v1.12 controlplane, v1.13 controlplane
        +    nodeLabels: {}
        -    nodeLabels:
        -        node.kubernetes.io/exclude-from-external-load-balancers: ''
        +    allowSchedulingOnControlPlanes: true
        # v1.12 worker, v1.13 worker, v1.14 worker
        # v1.14 controlplane
        +taints: {}
        -    node.kubernetes.io/exclude-from-external-load-balancers: ''
        -taints:
        -    node-role.kubernetes.io/control-plane: NoSchedule
        ");
    }

    #[test]
    fn registry_mirror_names_each_public_registry() {
        insta::assert_snapshot!(effect("registry-mirror"), @r"
        # v1.12 controlplane, v1.12 worker, v1.13 controlplane, v1.13 worker, v1.14 controlplane, v1.14 worker
        +---
        +apiVersion: v1alpha1
        +kind: RegistryMirrorConfig
        +name: docker.io
        +endpoints:
        +    - url: 'http://[2001:db8:0:1::5]:5000'
        +skipFallback: true
        +---
        +apiVersion: v1alpha1
        +kind: RegistryMirrorConfig
        +name: gcr.io
        +endpoints:
        +    - url: 'http://[2001:db8:0:1::5]:5000'
        +skipFallback: true
        +---
        +apiVersion: v1alpha1
        +kind: RegistryMirrorConfig
        +name: ghcr.io
        +endpoints:
        +    - url: 'http://[2001:db8:0:1::5]:5000'
        +skipFallback: true
        +---
        +apiVersion: v1alpha1
        +kind: RegistryMirrorConfig
        +name: quay.io
        +endpoints:
        +    - url: 'http://[2001:db8:0:1::5]:5000'
        +skipFallback: true
        +---
        +apiVersion: v1alpha1
        +kind: RegistryMirrorConfig
        +name: registry.k8s.io
        +endpoints:
        +    - url: 'http://[2001:db8:0:1::5]:5000'
        +skipFallback: true
        +---
        +apiVersion: v1alpha1
        +kind: RegistryMirrorConfig
        +name: factory.talos.dev
        +endpoints:
        +    - url: 'http://[2001:db8:0:1::5]:5000'
        +skipFallback: true
        ");
    }

    #[test]
    fn self_bootstrap_tells_etcd_of_its_members() {
        insta::assert_snapshot!(effect("self-bootstrap"), @r"
        # v1.12 controlplane, v1.13 controlplane, v1.14 controlplane
        +        extraArgs:
        +            initial-cluster-state: new
        +            initial-cluster: 'cp-1=https://[2001:db8:0:1::11]:2380'
        +            initial-cluster-token: fabric
        +            initial-advertise-peer-urls: 'https://[2001:db8:0:1::11]:2380'
        # v1.12 worker, v1.13 worker, v1.14 worker
        ");
    }
}
