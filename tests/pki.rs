//! Certificates and keys, judged by those who will be shown them: OpenSSL, Go, kubectl.
//!
//! Not here: that they are Talos' own to the byte, which `builder/src/pki/tests.rs` proves.

#[cfg(test)]
mod pki {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use lab::tools::{find, have, run, stdout};
    use talforge::pki::issue::{
        CLIENT_LIFETIME, Credentials, Role, kubernetes_admin, talos_client,
    };
    use talforge::pki::{Authority, Bundle, client::kubeconfig, pem};
    use talforge::talos::Version;

    /// A second in 2027 at which all that is made here is valid.
    const NOW: u64 = 1_800_000_000;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    /// A bundle, and a client of each of its two APIs.
    struct Issued {
        bundle: Bundle,
        talos: Credentials,
        kubernetes: Credentials,
    }

    impl Issued {
        fn new() -> Self {
            let bundle = Bundle::generate(&Version::parse("v1.14.1").unwrap(), now()).unwrap();
            let roles = BTreeSet::from([Role::Admin, Role::Reader]);
            let talos = talos_client(bundle.os(), &roles, now(), CLIENT_LIFETIME).unwrap();
            let kubernetes = kubernetes_admin(bundle.k8s(), now(), CLIENT_LIFETIME).unwrap();
            Self { bundle, talos, kubernetes }
        }

        fn authorities(&self) -> [(&'static str, &Authority); 4] {
            let bundle = &self.bundle;
            [
                ("etcd", bundle.etcd()),
                ("k8s", bundle.k8s()),
                ("aggregator", bundle.k8s_aggregator()),
                ("os", bundle.os()),
            ]
        }

        /// Writes `NAME.crt` and `NAME.key` of all.
        fn save(&self, dir: &Path) {
            let write = |name: &str, crt: &str, key: &str| {
                fs::write(dir.join(format!("{name}.crt")), crt).unwrap();
                fs::write(dir.join(format!("{name}.key")), key).unwrap();
            };
            for (name, ca) in self.authorities() {
                write(name, ca.certificate().pem(), ca.key().pem().reveal());
            }
            for (name, client) in [("talos", &self.talos), ("admin", &self.kubernetes)] {
                write(name, client.certificate.pem(), client.key.pem().reveal());
            }
        }
    }

    /// What `openssl verify` says of a client's certificate.
    fn verifies(dir: &Path, ca: &str, client: &str) -> bool {
        let (ca, client, now) = (format!("{ca}.crt"), format!("{client}.crt"), NOW.to_string());
        let args =
            ["verify", "-attime", &now, "-purpose", "sslclient", "-CAfile", &ca, "-no-CApath"];
        run("openssl", &[&args[..], &[&client]].concat(), dir).unwrap().status.success()
    }

    #[test]
    fn openssl_verifies_each_client_by_its_own_ca_alone() {
        if !have(&["openssl"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Issued::new().save(dir.path());
        for ca in ["etcd", "k8s", "aggregator", "os"] {
            assert_eq!(verifies(dir.path(), ca, "talos"), ca == "os", "{ca}");
            assert_eq!(verifies(dir.path(), ca, "admin"), ca == "k8s", "{ca}");
        }
    }

    #[test]
    fn openssl_finds_each_key_sound_and_of_its_certificate() {
        if !have(&["openssl"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let issued = Issued::new();
        issued.save(dir.path());
        let service_account = issued.bundle.k8s_service_account().pem().reveal();
        fs::write(dir.path().join("sa.key"), service_account).unwrap();
        stdout("openssl", &["rsa", "-in", "sa.key", "-check", "-noout"], dir.path()).unwrap();
        for name in ["etcd", "k8s", "aggregator", "os", "talos", "admin"] {
            let (crt, key) = (format!("{name}.crt"), format!("{name}.key"));
            // The label that Talos gives to Ed25519 keys is its own.
            let text = fs::read_to_string(dir.path().join(&key)).unwrap();
            fs::write(dir.path().join(&key), text.replace(" ED25519 PRIVATE", " PRIVATE")).unwrap();
            stdout("openssl", &["pkey", "-in", &key, "-check", "-noout"], dir.path()).unwrap();
            let of_key = stdout("openssl", &["pkey", "-in", &key, "-pubout"], dir.path()).unwrap();
            let args = ["x509", "-in", &crt, "-pubkey", "-noout"];
            assert_eq!(stdout("openssl", &args, dir.path()).unwrap(), of_key, "{name}");
        }
    }

    #[test]
    fn openssl_reads_what_certificates_say() {
        if !have(&["openssl"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Issued::new().save(dir.path());
        let mut said = String::new();
        for name in ["aggregator", "os", "talos", "admin"] {
            let crt = format!("{name}.crt");
            let exts = "keyUsage,extendedKeyUsage,basicConstraints,subjectAltName";
            let args = ["x509", "-in", &crt, "-noout", "-nameopt", "RFC2253", "-subject", "-dates"];
            let args = [&args[..], &["-issuer", "-ext", exts]].concat();
            let text = stdout("openssl", &args, dir.path()).unwrap();
            text.lines().for_each(|line| said += &format!("{}\n", line.trim_end()));
        }
        insta::assert_snapshot!(said, @r"
        subject=
        notBefore=Jan 15 08:00:00 2027 GMT
        notAfter=Jan 12 08:00:00 2037 GMT
        issuer=
        X509v3 Key Usage: critical
            Digital Signature, Certificate Sign
        X509v3 Extended Key Usage:
            TLS Web Server Authentication, TLS Web Client Authentication
        X509v3 Basic Constraints: critical
            CA:TRUE
        subject=O=talos
        notBefore=Jan 15 08:00:00 2027 GMT
        notAfter=Jan 12 08:00:00 2037 GMT
        issuer=O=talos
        X509v3 Key Usage: critical
            Digital Signature, Certificate Sign
        X509v3 Extended Key Usage:
            TLS Web Server Authentication, TLS Web Client Authentication
        X509v3 Basic Constraints: critical
            CA:TRUE
        subject=O=os:reader+O=os:admin
        notBefore=Jan 15 08:00:00 2027 GMT
        notAfter=Jan 15 08:00:00 2028 GMT
        issuer=O=talos
        X509v3 Key Usage: critical
            Digital Signature
        X509v3 Extended Key Usage:
            TLS Web Client Authentication
        subject=CN=admin,O=system:masters
        notBefore=Jan 15 07:59:50 2027 GMT
        notAfter=Jan 15 08:00:00 2028 GMT
        issuer=O=kubernetes
        X509v3 Key Usage: critical
            Digital Signature, Key Encipherment
        X509v3 Extended Key Usage:
            TLS Web Client Authentication
        ");
    }

    /// What Talos and Kubernetes do with a client's certificate.
    const GO: &str = r#"package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

func main() {
	for _, pair := range [][2]string{{"os", "talos"}, {"k8s", "admin"}} {
		pem, err := os.ReadFile(pair[0] + ".crt")
		check(err)
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			panic("no CA")
		}
		_, err = tls.LoadX509KeyPair(pair[0]+".crt", pair[0]+".key")
		check(err)
		client, err := tls.LoadX509KeyPair(pair[1]+".crt", pair[1]+".key")
		check(err)
		leaf, err := x509.ParseCertificate(client.Certificate[0])
		check(err)
		_, err = leaf.Verify(x509.VerifyOptions{
			Roots:       pool,
			CurrentTime: time.Unix(1800000000, 0),
			KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		check(err)
		subject := leaf.Subject
		fmt.Printf("%s %v %d %d\n", subject.CommonName, subject.Organization, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

    #[test]
    fn go_takes_each_client_as_talos_and_kubernetes_would() {
        if find("go").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Issued::new().save(dir.path());
        fs::write(dir.path().join("main.go"), GO).unwrap();
        // 1: digitalSignature; 5: keyEncipherment, too; [2]: clientAuth alone.
        let said = stdout("go", &["run", "main.go"], dir.path()).unwrap();
        assert_eq!(said, " [os:admin os:reader] 1 [2]\nadmin [system:masters] 5 [2]\n");
    }

    #[test]
    fn kubectl_reads_the_kubeconfig() {
        if find("kubectl").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let issued = Issued::new();
        let (ca, admin) = (issued.bundle.k8s().certificate(), &issued.kubernetes);
        let text = kubeconfig("prod", "https://[2001:db8::1]:6443", ca, admin);
        fs::write(dir.path().join("config"), text.reveal()).unwrap();
        let path = "{.clusters[0].cluster.server} {.current-context} {.users[0].name} \
                    {.users[0].user.client-key-data}";
        let path = format!("jsonpath={path}");
        let args = ["--kubeconfig", "config", "config", "view", "--raw", "--minify", "-o", &path];
        let key = pem::to_base64(admin.key.pem().reveal());
        let want = format!("https://[2001:db8::1]:6443 admin@prod admin@prod {}", key.reveal());
        assert_eq!(stdout("kubectl", &args, dir.path()).unwrap(), want);
    }
}
