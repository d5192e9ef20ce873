//! What `talosctl gen config` takes where nobody says otherwise, by release.
//!
//! In: a version of Talos. Out: versions, image references, networks.
//!
//! Source: Talos `pkg/machinery/constants/constants.go` (`DefaultKubernetesVersion` of every release
//! from v1.12.0 to v1.14.1, networks, domain), `pkg/machinery/compatibility/talos112` to `talos114`,
//! `cmd/talosctl/cmd/mgmt/gen/config.go` and `pkg/images/images.go` (installer).
//!
//! Not here: whether a version of Kubernetes may be used (`valid`).

use std::ops::RangeInclusive;

use crate::talos::Version;

/// The DNS domain of a cluster.
pub const DNS_DOMAIN: &str = "cluster.local";

/// A minor version of Talos 1.
struct Release {
    minor: u32,
    /// Its patches, from the first, with which the version of Kubernetes changed.
    kubernetes: &'static [(u32, &'static str)],
    /// The minor versions of Kubernetes 1 that it runs.
    supported: RangeInclusive<u32>,
}

const RELEASES: [Release; 3] = [
    Release {
        minor: 12,
        kubernetes: &[(0, "1.35.0"), (5, "1.35.2"), (7, "1.35.4")],
        supported: 30..=35,
    },
    Release {
        minor: 13,
        kubernetes: &[(0, "1.36.0"), (3, "1.36.1"), (5, "1.36.2"), (9, "1.36.3")],
        supported: 31..=36,
    },
    Release { minor: 14, kubernetes: &[(0, "1.37.0")], supported: 32..=37 },
];

/// The version of Kubernetes, without a `v`. A pre-release of Talos gets that of its release, a
/// patch newer than those that are known that of the newest, and a release that is not known at all
/// that of the nearest one.
pub fn kubernetes(talos: &Version) -> &'static str {
    let (minor, patch) = match talos.major {
        1 => (talos.minor, talos.patch),
        _ => (u32::MAX, u32::MAX),
    };
    let mut found = RELEASES[0].kubernetes[0].1;
    for release in RELEASES.iter().filter(|release| release.minor <= minor) {
        for &(since, version) in release.kubernetes {
            if release.minor < minor || since <= patch {
                found = version;
            }
        }
    }
    found
}

/// The minor versions of Kubernetes 1 that a release runs. Nothing, where it is not known.
pub fn supported_kubernetes(talos: &Version) -> Option<RangeInclusive<u32>> {
    let release = RELEASES.iter().find(|release| (1, release.minor) == (talos.major, talos.minor));
    release.map(|release| release.supported.clone())
}

/// The installer's image of a release. Since 1.14 only the Image Factory has one; the digest is that
/// of the schematic that changes nothing (`DefaultInstallerImageSchematic`).
pub fn installer_image(talos: &Version) -> String {
    let repository = if talos.at_least(1, 14) {
        "factory.talos.dev/metal-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
    } else {
        "ghcr.io/siderolabs/installer"
    };
    format!("{repository}:{talos}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(tag: &str) -> Version {
        Version::parse(tag).unwrap()
    }

    #[test]
    fn kubernetes_is_that_of_the_exact_release() {
        let cases = [
            ("v1.12.0", "1.35.0"),
            ("v1.12.4", "1.35.0"),
            ("v1.12.6", "1.35.2"),
            ("v1.12.7", "1.35.4"),
            ("v1.12.11", "1.35.4"),
            ("v1.13.0-rc.0", "1.36.0"),
            ("v1.13.4", "1.36.1"),
            ("v1.13.8", "1.36.2"),
            ("v1.13.9", "1.36.3"),
            ("v1.14.1", "1.37.0"),
        ];
        for (talos, expected) in cases {
            assert_eq!(kubernetes(&version(talos)), expected, "{talos}");
        }
    }

    #[test]
    fn releases_that_are_not_known_get_the_nearest_version() {
        assert_eq!(kubernetes(&version("v1.10.9")), "1.35.0");
        assert_eq!(kubernetes(&version("v1.15.0")), "1.37.0");
        assert_eq!(kubernetes(&version("v2.0.0")), "1.37.0");
    }

    #[test]
    fn a_default_is_one_that_the_release_runs() {
        for release in &RELEASES {
            for (patch, kubernetes) in release.kubernetes {
                let minor: u32 = kubernetes.split('.').nth(1).unwrap().parse().unwrap();
                assert!(release.supported.contains(&minor), "1.{}.{patch}", release.minor);
            }
        }
        assert_eq!(supported_kubernetes(&version("v1.13.9")), Some(31..=36));
        assert_eq!(supported_kubernetes(&version("v1.15.0")), None);
    }

    #[test]
    fn the_installer_comes_from_the_factory_since_1_14() {
        assert_eq!(installer_image(&version("v1.13.9")), "ghcr.io/siderolabs/installer:v1.13.9");
        assert_eq!(
            installer_image(&version("v1.14.1")),
            "factory.talos.dev/metal-installer/\
             376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba:v1.14.1"
        );
    }
}
