//! Secrets, configs and credentials, by the program's own commands; judged by `openssl` and, for
//! what Talos thinks of them, in `conformance`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use lab::product::Said;
use lab::{product, tools};
use serde_json::Value;
use tempfile::TempDir;

/// A site of the folder `sites`, with another version of Talos and assets that are a folder.
fn site(name: &str, talos: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sites").join(name), folder.path())?;
    let path = folder.path().join("site.yaml");
    let text = fs::read_to_string(&path)?;
    let old = text.lines().find_map(|line| line.trim().strip_prefix("talos: ")).unwrap_or_default();
    fs::write(&path, text.replace(&format!("talos: {old}"), &format!("talos: {talos}")))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name()))?,
            false => _ = fs::copy(entry.path(), to.join(entry.file_name()))?,
        }
    }
    Ok(())
}

fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o7777)
}

#[test]
fn secrets_are_made_once_and_are_their_owners() -> Result<()> {
    let folder = tempfile::tempdir()?;
    product::run(folder.path(), &["secrets"])?.well()?;
    let path = folder.path().join("secrets.yaml");
    let first = fs::read_to_string(&path)?;
    assert_eq!(mode(&path), 0o600);
    let again = product::run(folder.path(), &["secrets"])?;
    assert_eq!(again.code, Some(3), "{}", again.err);
    assert!(again.err.contains("--force"), "{}", again.err);
    assert_eq!(fs::read_to_string(&path)?, first);
    product::run(folder.path(), &["secrets", "--force", "--talos", "v1.12.0"])?.well()?;
    assert_ne!(fs::read_to_string(&path)?, first);
    Ok(())
}

#[test]
fn secrets_come_back_out_of_a_control_planes_config() -> Result<()> {
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        let site = site("ipv6-fabric", talos)?;
        product::run(site.path(), &["render", "--out", "configs"])?.well()?;
        let args = ["secrets", "--out", "-", "--talos", talos, "--from-controlplane-config"];
        let from = |file| product::run(site.path(), &[&args[..], &[file]].concat());
        let secrets = fs::read_to_string(site.path().join("secrets.yaml"))?;
        assert_eq!(from("configs/cp-1.yaml")?.well()?.text(), secrets, "{talos}");
        let worker = from("configs/w-1.yaml")?;
        assert_eq!(worker.code, Some(1), "{}", worker.err);
    }
    Ok(())
}

#[test]
fn a_site_renders_for_every_version_with_only_the_version_changed() -> Result<()> {
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        let site = site("ipv6-fabric", talos)?;
        let said = product::run(site.path(), &["render", "--out", "configs"])?.well()?;
        assert_eq!(said.text(), "", "{}", said.err);
        let config =
            |node: &str| fs::read_to_string(site.path().join(format!("configs/{node}.yaml")));
        for node in ["cp-1", "cp-2", "cp-3", "w-1", "w-2"] {
            let text = config(node)?;
            assert!(text.contains(&format!("hostname: {node}\n")), "{node}: {talos}");
            assert!(text.contains("net.ipv6.conf.all.forwarding"), "{node}: {talos}");
            assert_eq!(mode(&site.path().join(format!("configs/{node}.yaml"))), 0o600);
            assert_eq!(text.contains("PRIVATE KEY"), talos == "v1.14.1" && node.starts_with("cp"));
        }
        assert!(config("cp-2")?.contains("2001:db8:0:1::12/64"));
        assert_eq!(config("w-1")?.contains("UnattendedInstallConfig"), talos == "v1.14.1");
        assert!(!config("cp-1")?.contains("KubeFlannelCNIConfig"), "{talos}");
        // One node alone goes to standard output: the same bytes.
        let one = product::run(site.path(), &["render", "--node", "w-2"])?.well()?;
        assert_eq!(one.text(), config("w-2")?);
        assert!(site.path().join("configs/talosconfig").is_file());
    }
    Ok(())
}

#[test]
fn a_derived_address_stays_when_nodes_come_and_go() -> Result<()> {
    let site = site("ipv6-fabric", "v1.13.9")?;
    let of =
        |node| product::run(site.path(), &["render", "--node", node])?.well().map(|s| s.text());
    let before = of("w-2")?;
    let path = site.path().join("site.yaml");
    let text = fs::read_to_string(&path)?;
    let fewer: Vec<&str> = text.lines().filter(|line| !line.contains("w-1")).collect();
    fs::write(&path, fewer.join("\n"))?;
    assert_eq!(of("w-2")?, before);
    Ok(())
}

#[test]
fn credentials_are_signed_by_the_clusters_own_authorities() -> Result<()> {
    if !tools::have(&["openssl", "base64"]) {
        return Ok(());
    }
    let site = site("ipv6-fabric", "v1.14.1")?;
    product::run(site.path(), &["talosconfig", "--lifetime", "30d"])?.well()?;
    product::run(site.path(), &["kubeconfig"])?.well()?;
    assert_eq!(mode(&site.path().join("talosconfig")), 0o600);
    let script = "set -e
        field() { sed -n \"s/^ *$2: //p\" $1 | head -n1 | base64 -d > $3; }
        field talosconfig ca os.crt; field talosconfig crt admin.crt
        openssl verify -CAfile os.crt admin.crt
        field kubeconfig certificate-authority-data k8s.crt
        field kubeconfig client-certificate-data kube.crt
        openssl verify -CAfile k8s.crt -purpose sslclient kube.crt
        openssl x509 -in admin.crt -noout -subject -checkend 2500000
        openssl x509 -in kube.crt -noout -subject";
    let said = tools::stdout("sh", &["-c", script], site.path())?;
    assert!(said.contains("admin.crt: OK") && said.contains("kube.crt: OK"), "{said}");
    assert!(said.contains("os:admin") && said.contains("system:masters"), "{said}");
    let talosconfig = fs::read_to_string(site.path().join("talosconfig"))?;
    assert!(talosconfig.contains("2001:db8:0:1::11"), "the endpoints are the control planes");
    let refused = product::run(site.path(), &["talosconfig", "--out", "x", "--role", "os:king"])?;
    assert!(refused.err.contains("os:admin"), "{}", refused.err);
    Ok(())
}

#[test]
fn no_secret_shows_in_what_is_said() -> Result<()> {
    let site = site("ipv6-fabric", "v1.13.9")?;
    let path = site.path().join("secrets.yaml");
    let secrets = fs::read_to_string(&path)?;
    // Another CA's key under a certificate, and a token that is none.
    let mut lines: Vec<String> = secrets.lines().map(str::to_owned).collect();
    let keys: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].contains("key: ")).collect();
    lines[keys[0]] = lines[keys[1]].clone();
    fs::write(&path, lines.join("\n").replace("bootstraptoken: ", "bootstraptoken: x"))?;
    let said = product::run(site.path(), &["--json", "check"])?;
    assert_eq!(said.code, Some(1));
    let codes: Vec<Value> = said.events()?.into_iter().map(|event| event["code"].clone()).collect();
    assert!(codes.len() >= 2, "{codes:?}");
    let words = secrets.split_whitespace().filter(|word| word.len() > 15);
    for word in words {
        assert!(!said.err.contains(word) && !said.text().contains(word), "a secret was shown");
    }
    Ok(())
}

#[test]
fn encrypted_secrets_and_patches_are_opened_in_memory_alone() -> Result<()> {
    if !tools::have(&["age", "age-keygen"]) {
        return Ok(());
    }
    let site = site("ipv6-fabric", "v1.13.9")?;
    let plain = product::run(site.path(), &["render", "--node", "cp-1"])?.well()?.text();
    let script = "set -e
        age-keygen -o key.txt 2>/dev/null
        age -R /dev/stdin -o s.age secrets.yaml <<END
$(age-keygen -y key.txt)
END
        age -a -R /dev/stdin -o p.age patches/all.yaml <<END
$(age-keygen -y key.txt)
END
        rm secrets.yaml patches/all.yaml
        sed -i 's,secrets.yaml,s.age,; s,patches/all.yaml,p.age,' site.yaml";
    tools::stdout("sh", &["-c", script], site.path())?;
    let before = fs::read_dir(site.path())?.count();
    let run = |key: &str| -> Result<Said> {
        let mut command = product::command(&[], site.path(), &["render", "--node", "cp-1"])?;
        Ok(Said::of(command.env("SOPS_AGE_KEY_FILE", site.path().join(key)).output()?))
    };
    assert_eq!(run("key.txt")?.well()?.text(), plain);
    assert_eq!(fs::read_dir(site.path())?.count(), before, "nothing is left beside the site");
    tools::stdout("sh", &["-c", "age-keygen -o other.txt 2>/dev/null"], site.path())?;
    let refused = run("other.txt")?;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("s.age"), "{}", refused.err);
    Ok(())
}

#[test]
fn secrets_are_taken_from_a_kubeadm_cluster() -> Result<()> {
    if !tools::have(&["openssl"]) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let script = "set -e; mkdir -p pki/etcd; cd pki
        for c in ca etcd/ca front-proxy-ca; do
            openssl req -x509 -newkey rsa:2048 -nodes -keyout $c.key -out $c.crt -days 3650 \
                -subj /CN=kubernetes -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign 2>&1
        done
        openssl genrsa -out sa.key 2048 2>&1
        echo abcdef.0123456789abcdef > token";
    tools::stdout("sh", &["-c", script], folder.path())?;
    let args = ["secrets", "--out", "-", "--from-kubernetes-pki", "pki"];
    let token = ["--kubernetes-bootstrap-token-file", "pki/token"];
    let made = product::run(folder.path(), &[&args[..], &token].concat())?.well()?.text();
    assert!(
        made.contains("bootstraptoken: abcdef.0123456789abcdef\n"),
        "the token goes on working"
    );
    fs::copy(folder.path().join("pki/ca.key"), folder.path().join("pki/etcd/ca.key"))?;
    let mixed = product::run(folder.path(), &args)?;
    assert_eq!(mixed.code, Some(1), "another CA's key: {}", mixed.err);
    Ok(())
}

#[test]
fn check_lists_its_findings_and_silences_them() -> Result<()> {
    let site = site("ipv6-fabric", "v1.13.9")?;
    let list = product::run(site.path(), &["--json", "check", "--list"])?.well()?.events()?;
    assert!(list.len() > 30, "{} codes", list.len());
    let path = site.path().join("site.yaml");
    let text = fs::read_to_string(&path)?
        .lines()
        .filter(|l| !l.contains("cp-3"))
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(&path, &text)?;
    let codes = |args: &[&str]| -> Result<Vec<String>> {
        let events = product::run(site.path(), args)?.events()?;
        let codes = events.iter().filter(|event| event["event"] == "diagnostic");
        Ok(codes.map(|event| event["code"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let found = codes(&["--json", "check"])?;
    let even = found.iter().find(|code| code.contains("even")).expect("two control planes").clone();
    fs::write(&path, format!("{text}\nsilence: [{even}]\n"))?;
    assert!(!codes(&["--json", "check"])?.contains(&even));
    // A warning about the site file itself, one of another room, and a code that there is not.
    let bare = text.replace(", install: {selector: {serial: \"S4EV*\"}}", "");
    let bare = bare.replace("talos: v1.13.9", "talos: v1.14.1");
    let lines = bare.lines().filter(|line| !line.contains("patches"));
    let bare = lines.collect::<Vec<_>>().join("\n");
    fs::write(&path, &bare)?;
    assert!(codes(&["--json", "check"])?.contains(&"missing-install".to_owned()));
    fs::write(&path, format!("{bare}\nsilence: [missing-install, {even}, nope]\n"))?;
    let told = codes(&["--json", "check"])?;
    assert!(!told.contains(&"missing-install".to_owned()), "{told:?}");
    assert_eq!(told.iter().filter(|code| *code == "silence-unknown").count(), 1);
    Ok(())
}

#[test]
fn an_ambiguous_selector_is_an_error_with_the_disks_at_hand() -> Result<()> {
    let site = site("ipv6-fabric", "v1.14.1")?;
    let disk = |id: &str, serial: &str| {
        format!(
            "node: 2001:db8::1\nmetadata:\n    namespace: runtime\n    type: Disks.block.talos.dev\n    id: {id}\n\
             spec:\n    dev_path: /dev/{id}\n    size: 1000000000000\n    serial: {serial}\n    transport: nvme\n"
        )
    };
    let disks =
        |second: &str| format!("{}---\n{}", disk("nvme0n1", "S4EV1"), disk("nvme1n1", second));
    let args = ["check", "--disks", "disks.yaml", "--node", "w-1"];
    fs::write(site.path().join("disks.yaml"), disks("X1"))?;
    let one = product::run(site.path(), &args)?;
    assert_eq!(one.code, Some(0), "{}", one.err);
    assert!(one.text().contains("w-1 is installed on /dev/nvme0n1"), "{}", one.text());
    fs::write(site.path().join("disks.yaml"), disks("S4EV2"))?;
    let two = product::run(site.path(), &args)?;
    assert_eq!(two.code, Some(1), "{}", two.err);
    Ok(())
}
