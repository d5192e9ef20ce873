//! The documents of Talos' own runtime: logs, watchdog, files, registries, images, the install.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types`: `runtime`, `runtime/extensions`, `cri`, `security`.
//!
//! Not here: Kubernetes (`k8s`), containers (`container`).

use super::block::is_too_short;
use super::found::Found;
use super::network::not_negative;
use super::selector::{self, Scope};
use super::url::Url;
use super::{Context, Rule, go, name, pem, spec, view};
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("EnvironmentConfig", environment),
    ("EtcFileConfig", etc_file),
    ("EventSinkConfig", event_sink),
    ("ExtensionServiceConfig", extension_service),
    ("KernelModuleConfig", |doc, _, found| {
        name::required(doc, "kernel module", found);
    }),
    ("KmsgLogConfig", kmsg_log),
    ("OOMConfig", oom),
    ("SysctlConfig", parameters),
    ("SysfsConfig", parameters),
    ("WatchdogTimerConfig", watchdog),
    ("UnattendedInstallConfig", unattended_install),
    ("CRIBaseRuntimeSpecConfig", |doc, _, found| spec::check(doc, "overrides", found)),
    ("CRICustomizationConfig", cri_customization),
    ("RegistryMirrorConfig", registry_mirror),
    ("RegistryAuthConfig", registry_auth),
    ("RegistryTLSConfig", registry_tls),
    ("ImageVerificationConfig", image_verification),
];

fn environment(doc: &Tree, _: Context, found: &mut Found) {
    for (key, value) in view::entries(doc, &["variables"]) {
        let inner = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !inner || key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{key}` is no name of an environment variable");
            let help = "keep to letters, digits and `_`, with no digit first";
            found.refuse(value, "talos-environment-name", message, help);
        }
    }
}

/// What Talos writes below `/etc` itself: files, and folders.
const MANAGED_FILES: [&str; 7] = [
    "resolv.conf",
    "hosts",
    "machine-id",
    "extensions.yaml",
    "localtime",
    "os-release",
    "xattr.conf",
];
const MANAGED_FOLDERS: [&str; 12] = [
    "apparmor.d",
    "apparmor",
    "ca-certificates",
    "cni",
    "cri",
    "iscsi",
    "kubernetes",
    "lvm",
    "nvme",
    "pki",
    "selinux",
    "ssl",
];

fn etc_file(doc: &Tree, _: Context, found: &mut Found) {
    let path = view::text(doc, &["name"]);
    let at = view::place(doc, &["name"]);
    if !is_local(path) || path.starts_with('.') {
        let message = "the name of the file is no path below `/etc`";
        let help = "write it without `/etc/` before it: `multipath.conf`";
        return found.refuse(at, "talos-etc-path", message, help);
    }
    let first = path.split('/').next().unwrap_or_default();
    if MANAGED_FILES.contains(&path) || MANAGED_FOLDERS.contains(&first) {
        let message = format!("Talos writes `/etc/{path}` itself");
        found.refuse(at, "talos-etc-managed", message, "use the document that is meant for it");
    }
}

/// Whether a path stays below the folder that it starts in.
fn is_local(path: &str) -> bool {
    let mut depth = 0_i64;
    let mut stays = !path.is_empty() && !path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        stays &= depth >= 0;
    }
    stays
}

fn event_sink(doc: &Tree, _: Context, found: &mut Found) {
    if go::split_host_port(view::text(doc, &["endpoint"])).is_none() {
        let at = view::place(doc, &["endpoint"]);
        let message = "the event sink has no host and port";
        found.refuse(at, "talos-event-sink", message, "write `endpoint: host.example:8080`");
    }
}

fn extension_service(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "extension service", found);
    let files = view::items(doc, &["configFiles"]);
    if files.is_empty() && view::items(doc, &["environment"]).is_empty() {
        let message = "the extension service has neither files nor an environment";
        found.refuse(doc, "talos-extension-empty", message, "add `configFiles` or `environment`");
    }
    for file in files {
        let missing = |key| view::text(file, &[key]).is_empty();
        if missing("content") || missing("mountPath") {
            let message = "a file of the extension service has no content or no path";
            found.refuse(file, "talos-extension-file", message, "add `content` and `mountPath`");
        }
    }
}

fn kmsg_log(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "kernel log", found);
    let url = Url::parse(view::text(doc, &["url"])).unwrap_or_default();
    let known = matches!(url.scheme.to_lowercase().as_str(), "tcp" | "udp");
    if !known || !matches!(url.path, "" | "/") || url.port().is_empty() {
        let at = view::place(doc, &["url"]);
        let message = "the kernel log has no URL of `tcp` or `udp` with a port and no path";
        found.refuse(at, "talos-kmsg-url", message, "write `url: udp://host.example:514`");
    }
}

fn oom(doc: &Tree, context: Context, found: &mut Found) {
    selector::optional(doc, &["triggerExpression"], Scope::OomTrigger, context, found);
    selector::optional(doc, &["cgroupRankingExpression"], Scope::OomRanking, context, found);
    not_negative(doc, &["sampleInterval"], found);
}

fn parameters(doc: &Tree, _: Context, found: &mut Found) {
    for (key, value) in view::entries(doc, &["params"]) {
        if key.is_empty() {
            let message = "a parameter of the kernel has no name";
            found.refuse(value, "talos-parameter", message, "name it, or drop the line");
        }
    }
}

fn watchdog(doc: &Tree, _: Context, found: &mut Found) {
    if view::text(doc, &["device"]).is_empty() {
        let message = "the watchdog has no device";
        found.refuse(doc, "talos-watchdog-device", message, "write `device: /dev/watchdog0`");
    }
    if is_too_short(doc, &["timeout"]) {
        let at = view::place(doc, &["timeout"]);
        let message = "the timeout of the watchdog is below 10 seconds";
        found.refuse(at, "talos-watchdog-timeout", message, "write `1m`");
    }
}

fn unattended_install(doc: &Tree, context: Context, found: &mut Found) {
    if view::text(doc, &["installer", "image"]).is_empty() {
        let at = view::place(doc, &["installer"]);
        let message = "no installer is named: only media of the Image Factory know theirs";
        let help = "write `installer.image`: `ghcr.io/siderolabs/installer:v1.14.1`";
        found.warn(at, "talos-install-image", message, help);
    }
    let path = ["provisioning", "diskSelector", "match"];
    selector::required(doc, &path, Scope::Disk, context, found);
}

fn cri_customization(doc: &Tree, _: Context, found: &mut Found) {
    let name = view::text(doc, &["name"]);
    let at = view::place(doc, &["name"]);
    if let Some(problem) = name::key_problem(name) {
        let message = format!("the name `{name}` {problem}");
        found.refuse(at, "talos-cri-name", message, "write a name such as `registries`");
    } else if name == "customization" {
        let message = "the name `customization` is taken by the file of older configs";
        found.refuse(at, "talos-cri-name", message, "write another name");
    }
}

fn registry_mirror(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "registry mirror", found);
    for endpoint in view::items(doc, &["endpoints"]) {
        let url = Url::parse(view::text(endpoint, &["url"])).unwrap_or_default();
        if !matches!(url.scheme.to_lowercase().as_str(), "http" | "https") {
            let at = view::place(endpoint, &["url"]);
            let message = "an endpoint of the registry has no URL of `http` or `https`";
            found.refuse(at, "talos-registry-url", message, "write `url: https://mirror.example`");
        }
    }
}

fn registry_auth(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "registry", found);
    let ways = ["username", "identityToken", "auth"];
    let ways = ways.iter().filter(|way| !view::text(doc, &[way]).is_empty());
    if ways.count() > 1 {
        let message = "the registry is given more than one way to log in";
        let help = "keep one of `username` with `password`, `identityToken`, `auth`";
        found.refuse(doc, "talos-registry-auth", message, help);
    }
}

fn registry_tls(doc: &Tree, context: Context, found: &mut Found) {
    name::required(doc, "registry", found);
    let ca = view::text(doc, &["ca"]);
    if !ca.is_empty() && !pem::holds_certificate(ca) {
        let at = view::place(doc, &["ca"]);
        let message = "the CA is no PEM of a certificate";
        found.refuse(at, "talos-certificate", message, "put the whole PEM text under `ca: |`");
    }
    if let Some(identity) = view::pointer(doc, &["clientIdentity"]) {
        if context.minor >= 14 {
            pem::pair(identity, pem::Depth::Text, found);
        } else {
            pem::registry_identity(identity, found);
        }
    }
}

fn image_verification(doc: &Tree, context: Context, found: &mut Found) {
    for rule in view::items(doc, &["rules"]) {
        image_pattern(rule, context, found);
        let verifiers = ["keyless", "publicKey"].map(|key| view::pointer(rule, &[key]));
        let given = verifiers.iter().flatten().count();
        let (skip, deny) = (view::is_on(rule, &["skip"]), view::is_on(rule, &["deny"]));
        if usize::from(skip) + usize::from(deny) + given != 1 {
            let message = "a rule for images skips, denies or verifies: one of them";
            let help = "keep one of `skip`, `deny`, `keyless` and `publicKey`";
            found.refuse(rule, "talos-image-rule", message, help);
        }
        if let [Some(keyless), _] = verifiers {
            let set = |key: &str| !view::text(keyless, &[key]).is_empty();
            if !set("issuer") || !(set("subject") || set("subjectRegex")) {
                let message = "the keyless verifier has no issuer or no subject";
                let help = "add `issuer`, and `subject` or `subjectRegex`";
                found.refuse(keyless, "talos-image-keyless", message, help);
            }
        }
        if let [_, Some(key)] = verifiers
            && view::text(key, &["certificate"]).is_empty()
        {
            let message = "the verifier has no public key";
            found.refuse(key, "talos-image-public-key", message, "add `certificate`");
        }
    }
}

fn image_pattern(rule: &Tree, context: Context, found: &mut Found) {
    let pattern = view::text(rule, &["image"]);
    let at = view::place(rule, &["image"]);
    if pattern.is_empty() {
        let message = "a rule for images names none";
        return found.refuse(at, "talos-image-pattern", message, "write `image: \"*\"` for all");
    }
    let path = pattern.split_once('/').map(|(_, path)| path);
    if pattern.contains('@') || path.is_some_and(|path| path.contains(':')) {
        let message = format!("the pattern `{pattern}` has a tag or a digest, which do not count");
        found.warn(at, "talos-image-pattern-tag", message, "write registry and repository alone");
    }
    let never = if context.minor >= 14 {
        let (prefix, glob) = pattern.split_once('*').map_or((pattern, false), |(a, _)| (a, true));
        match prefix.split_once('/') {
            None => !glob,
            Some((host, _)) => {
                !host.contains(['.', ':']) && !host.eq_ignore_ascii_case("localhost")
            }
        }
    } else {
        path.is_none() && pattern != "*"
    };
    if never {
        let message = format!("the pattern `{pattern}` may match no image");
        let help = "write the registry too: `docker.io/library/nginx`";
        found.warn(at, "talos-image-pattern-registry", message, help);
    }
}
