//! Images and files over the network: from Docker's registry, from nginx, and from a server that
//! does all that can go wrong.

#[cfg(test)]
#[path = "registry/rig.rs"]
mod rig;

#[cfg(test)]
mod pulling {
    use std::fs;
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use lab::tools::have;
    use serde_json::Value;
    use talforge::digest::Digest;
    use talforge::oci::Content as _;
    use talforge::registry::error::{RegistryError, Trouble};
    use talforge::registry::{Host, Network, Settings};
    use talforge::store::Store;

    use crate::rig::{Rig, TIMEOUT, name};

    const MIB: usize = 1 << 20;
    const PULLER: &str = env!("CARGO_BIN_EXE_puller");

    /// What the last host said, where that is why something cannot be had.
    fn trouble<T: std::fmt::Debug>(result: Result<T, RegistryError>) -> Trouble {
        match result.unwrap_err() {
            RegistryError::Unavailable { mut tried, .. } => tried.pop().unwrap().trouble,
            other => panic!("{other:?}"),
        }
    }

    fn count(store: &Store, folder: &str) -> usize {
        fs::read_dir(store.root().join(folder)).map_or(0, Iterator::count)
    }

    /// Pulls the whole image and compares it.
    fn pull_all(rig: &Rig, settings: Settings, host: &str, repository: &str) {
        let client = rig.client(settings);
        let name = name(host, repository);
        let manifest = client.resolve(&name).unwrap();
        assert_eq!(manifest.digest, rig.digest());
        let image = client.image(&name);
        assert_eq!(image.get(&manifest).unwrap().to_vec().unwrap(), rig.manifest);
        let blobs = client.fetch_all(&name, &rig.all_layers()).unwrap();
        for (blob, layer) in blobs.iter().zip(&rig.layers) {
            assert_eq!(blob.to_vec().unwrap(), *layer);
        }
        assert_eq!((count(&rig.store(), "partial"), count(&rig.store(), "incoming")), (0, 0));
    }

    #[test]
    fn dockers_registry_gives_an_image_to_anybody_and_only_where_it_may_be_asked_so() {
        if !have(&["docker-registry"]) {
            return;
        }
        let rig = Rig::new(&[3 * MIB, 1, 70_000, 0, 5 * MIB]);
        let (_running, host) = rig.docker_registry(false);
        let refused = rig.client(Settings::default()).resolve(&name(&host, "img"));
        assert!(matches!(trouble(refused), Trouble::Tls(_)));
        let (settings, _) = rig.settings(&[&host]);
        pull_all(&rig, settings.clone(), &host, "img");
        let gone = rig.client(settings).resolve(&name(&host, "no/such"));
        let Trouble::Status { status: 404, code: Some(code), .. } = trouble(gone) else {
            panic!("a 404")
        };
        assert_eq!(code, "MANIFEST_UNKNOWN");
    }

    #[test]
    fn dockers_registry_gives_an_image_by_tls_to_who_knows_the_password() {
        if !have(&["docker-registry", "openssl", "htpasswd", "python3"]) {
            return;
        }
        let rig = Rig::new(&[2 * MIB, MIB]);
        let ca = rig.certificates();
        let (_running, host) = rig.docker_registry(true);
        let trusting = Settings { ca_file: Some(ca), timeout: TIMEOUT, ..Settings::default() };
        let resolve = |settings| trouble(rig.client(settings).resolve(&name(&host, "img")));
        assert!(matches!(resolve(Settings::default()), Trouble::Tls(_)));
        assert!(matches!(resolve(trusting.clone()), Trouble::Unauthorized { credentials: None }));
        let wrong = rig.login(&host, "me:hunter2");
        let with =
            |file: &Path| Settings { credential_files: vec![file.to_owned()], ..trusting.clone() };
        let error = rig.client(with(&wrong)).resolve(&name(&host, "img")).unwrap_err();
        let text = format!("{error} {error:?} {}", error.help());
        assert!(text.contains("config.json") && text.contains(&host), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("bWU6aHVudGVyMg"), "{text}");
        let right = rig.login(&format!("https://{host}/v1/"), "me:word");
        pull_all(&rig, with(&right), &host, "img");
        // The image is in the store; a registry need not be asked for what has a digest.
        let pinned = name(&host, "img").pinned(rig.digest());
        assert_eq!(rig.client(trusting).resolve(&pinned).unwrap().digest, rig.digest());
    }

    #[test]
    fn a_helper_program_is_asked_where_the_settings_name_it() {
        if !have(&["docker-registry", "openssl", "htpasswd"]) {
            return;
        }
        let rig = Rig::new(&[MIB]);
        let ca = rig.certificates();
        let (_running, host) = rig.docker_registry(true);
        let bin = rig.at("bin");
        fs::create_dir(&bin).unwrap();
        let helper = bin.join("docker-credential-tests");
        let pull = |secret: &str| {
            let script = format!(
                "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get {host}\" ] || exit 1\n\
                 echo '{{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"{secret}\"}}'\n"
            );
            fs::write(&helper, script).unwrap();
            fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).unwrap();
            let config = format!("{{\"credHelpers\":{{\"{host}\":\"tests\"}}}}");
            fs::write(rig.at("config.json"), config).unwrap();
            let path = std::env::var("PATH").unwrap();
            let mut command = Command::new(PULLER);
            command.arg(rig.at("store")).arg(format!("{host}/img:v1")).env_clear();
            command.env("PATH", format!("{}:{path}", bin.display()));
            command.env("DOCKER_CONFIG", rig.folder.path()).env("SSL_CERT_FILE", &ca);
            command.output().unwrap()
        };
        let refused = pull("hunter2");
        let said = String::from_utf8(refused.stdout).unwrap();
        assert!(!refused.status.success() && said.contains("docker-credential-tests"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        let out = pull("word");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        assert!(rig.store().get(rig.layer(0).digest).unwrap().is_some());
    }

    #[test]
    fn token_servers_are_asked_with_what_is_known() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB, MIB]);
        let (_running, host, log) = rig.wrong(false);
        let (settings, _) = rig.settings(&[&host]);
        pull_all(&rig, settings.clone(), &host, "anonymous");
        assert_eq!(log.of("/token").len(), 1, "a token is for all of a repository");
        let fresh = |settings| {
            fs::remove_dir_all(rig.at("store")).unwrap();
            pull_all(&rig, settings, &host, "token");
        };
        let refused = rig.client(settings.clone()).resolve(&name(&host, "token"));
        assert!(matches!(trouble(refused), Trouble::Unauthorized { credentials: None }));
        let files = vec![rig.login(&host, "me:wrong")];
        let wrong = Settings { credential_files: files.clone(), ..settings.clone() };
        let refused = rig.client(wrong).resolve(&name(&host, "token"));
        assert!(matches!(trouble(refused), Trouble::Unauthorized { credentials: Some(_) }));
        rig.login(&host, "me:word");
        fresh(Settings { credential_files: files.clone(), ..settings.clone() });
        let identity = format!("{{\"auths\":{{\"{host}\":{{\"identitytoken\":\"refresh\"}}}}}}");
        fs::write(&files[0], identity).unwrap();
        fresh(Settings { credential_files: files, ..settings });
        assert!(log.of("/token").iter().any(|asked| asked["method"] == "POST"));
    }

    #[test]
    fn mirrors_are_asked_first_and_what_each_said_is_told() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB]);
        let (_running, host, log) = rig.wrong(false);
        let (mut settings, _) = rig.settings(&[&host]);
        let mirrors =
            vec!["localhost:1".to_owned(), format!("{host}/gone"), format!("{host}/fine")];
        let mirrored = Host { mirrors, plain_http: false };
        settings.hosts.insert("registry.invalid".into(), mirrored.clone());
        pull_all(&rig, settings.clone(), "registry.invalid", "img");
        assert!(log.of("/v2/fine/img/manifests/v1").len() == 1);
        fs::remove_dir_all(rig.at("store")).unwrap();
        let mut mirrors = mirrored.mirrors;
        mirrors.truncate(2);
        settings.hosts.insert("registry.invalid".into(), Host { mirrors, plain_http: false });
        let error = rig.client(settings).resolve(&name("registry.invalid", "img")).unwrap_err();
        let text = error.to_string();
        for part in ["`localhost:1` cannot be reached", "404 (NAME_UNKNOWN)", "`registry.invalid` "]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_cut_connection_is_taken_up_where_it_was_cut() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[20 * MIB]);
        let (_running, host, log) = rig.wrong(false);
        let (settings, waits) = rig.settings(&[&host]);
        pull_all(&rig, settings.clone(), &host, "cut");
        assert_eq!(log.of("/cut/blobs/").len(), 7);
        assert!(log.sent() * 10 <= 20 * MIB as u64 * 11, "{} bytes were sent", log.sent());
        assert_eq!(waits.lock().unwrap().len(), 6);
        // Who knows no ranges sends all of it again.
        fs::remove_dir_all(rig.at("store")).unwrap();
        pull_all(&rig, settings, &host, "whole");
    }

    #[test]
    fn a_file_without_a_digest_is_joined_only_while_it_stays_the_same() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB]);
        let (_running, host, log) = rig.wrong(false);
        let url = format!("http://{host}/v2/changing/blobs/file");
        let (digest, blob) = rig.plain(&host).file(&url, None).unwrap();
        let bytes = blob.to_vec().unwrap();
        assert!(bytes.len() == 6_000_000 && bytes.starts_with(b"new"));
        assert_eq!(digest, Digest::of(&bytes));
        let asked = log.of("changing");
        assert_eq!((&asked[1]["if_range"], &asked[1]["status"]), (&"\"1\"".into(), &200.into()));
        let (settings, _) = rig.settings(&[&host]);
        let network = Network::Offline { command: "x".into() };
        let offline = rig.client(Settings { network, ..settings });
        assert_eq!(offline.file(&url, None).unwrap().0, digest);
    }

    #[test]
    fn wrong_bytes_are_never_stored() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[2 * MIB]);
        let (_running, host, log) = rig.wrong(false);
        let get = |way: &str| rig.plain(&host).fetch_all(&name(&host, way), &rig.all_layers());
        assert!(matches!(trouble(get("wrong")), Trouble::Digest(_)));
        assert_eq!(log.of("/wrong/").len(), 2, "once more, and no more");
        assert!(matches!(trouble(get("long")), Trouble::Length { .. }));
        assert!(matches!(trouble(get("endless")), Trouble::Length { .. }));
        assert_eq!((count(&rig.store(), "sha256"), count(&rig.store(), "incoming")), (0, 0));
        get("once").unwrap();
        let mut lies = rig.layer(0);
        lies.len += 1;
        let client = rig.plain(&host);
        let error = client.fetch_all(&name(&host, "fine"), &[lies]).unwrap_err();
        assert!(matches!(error, RegistryError::Length { .. }));
        assert!(matches!(trouble(client.resolve(&name(&host, "html"))), Trouble::Answer(_)));
        let pinned = name(&host, "fine").pinned(Digest::of(b"other"));
        assert!(matches!(
            trouble(client.resolve(&pinned)),
            Trouble::Broken(_) | Trouble::Status { .. }
        ));
        let url = format!("http://{host}/v2/fine/blobs/{}", rig.layer(0).digest);
        let other = Digest::of(b"other");
        assert!(matches!(trouble(client.file(&url, Some(other))), Trouble::Digest(_)));
        let url = url.replace("/fine/", "/untold/");
        assert!(matches!(trouble(client.file(&url, None)), Trouble::Answer(_)));
    }

    #[test]
    fn a_busy_host_is_asked_again_for_a_while() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB]);
        let (_running, host, log) = rig.wrong(false);
        let (settings, waits) = rig.settings(&[&host]);
        pull_all(&rig, settings.clone(), &host, "busy");
        let second = Duration::from_secs(1);
        assert!(waits.lock().unwrap().iter().all(|wait| *wait >= second), "Retry-After is heeded");
        let never = rig.client(settings.clone()).resolve(&name(&host, "never"));
        assert!(matches!(trouble(never), Trouble::Status { status: 503, .. }));
        assert_eq!(log.of("/never/").len(), 5);
        let gone = rig.client(settings).resolve(&name(&host, "gone"));
        assert!(matches!(trouble(gone), Trouble::Status { status: 404, .. }));
        assert_eq!(log.of("/gone/").len(), 1, "what is not there is not asked for again");
    }

    #[test]
    fn credentials_go_nowhere_else_and_redirects_end() {
        if !have(&["python3", "openssl"]) {
            return;
        }
        let rig = Rig::new(&[MIB]);
        let ca = rig.certificates();
        let (_running, host, log) = rig.wrong(false);
        let other = host.replace("localhost", "127.0.0.1");
        let (settings, _) = rig.settings(&[&host, &other]);
        let files = vec![rig.login(&host, "me:word")];
        let settings = Settings { credential_files: files, ca_file: Some(ca), ..settings };
        pull_all(&rig, settings.clone(), &host, "redirect");
        let elsewhere = log.of("/elsewhere/");
        assert_eq!(elsewhere.len(), 1);
        assert_eq!(elsewhere[0]["authorization"], Value::Null);
        assert_eq!(elsewhere[0]["host"], other.as_str());
        let fails = |host: &str, way: &str| {
            let error = rig.client(settings.clone()).resolve(&name(host, way)).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2") && !text.contains("word"), "{text}");
            trouble::<()>(Err(error))
        };
        assert!(matches!(fails(&host, "loop"), Trouble::Redirect("it is a loop")));
        let (_tls, host, _) = rig.wrong(true);
        assert!(matches!(fails(&host, "downgrade"), Trouble::Redirect("it has no TLS")));
    }

    #[test]
    fn a_host_that_stalls_is_left_in_time() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[2 * MIB]);
        let (_running, host, _) = rig.wrong(false);
        let timeout = Duration::from_millis(500);
        let (settings, _) = rig.settings(&[&host]);
        let client = rig.client(Settings { timeout, ..settings });
        for way in ["stalled", "drip"] {
            let begin = Instant::now();
            let stalled = client.fetch_all(&name(&host, way), &rig.all_layers());
            assert!(matches!(trouble(stalled), Trouble::Stalled(_)), "{way}");
            // Five tries, each of which may take twice the time; and the machine is busy.
            assert!(begin.elapsed() < timeout * 20, "{way}: {:?}", begin.elapsed());
            // What came was kept, as long as the host can go on with it.
            let partial = rig.at("store/partial").join(rig.layer(0).digest.to_string());
            let kept = fs::metadata(partial).unwrap().len();
            assert!(kept > 0 && (way == "drip" || kept == MIB as u64), "{way}: {kept}");
        }
    }

    #[test]
    fn fifty_programs_that_want_one_blob_fetch_it_once() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[3 * MIB]);
        let (_running, host, log) = rig.wrong(false);
        let start = || {
            let mut command = Command::new(PULLER);
            command.arg(rig.at("store")).arg(format!("{host}/fine:v1")).arg(&host).env_clear();
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        let running: Vec<_> = (0..50).map(|_| start()).collect();
        for child in running {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        }
        assert_eq!(log.of(&rig.layer(0).digest.to_string()).len(), 1);
        assert_eq!((count(&rig.store(), "partial"), count(&rig.store(), "incoming")), (0, 0));
        assert!(rig.store().get(rig.layer(0).digest).unwrap().is_some());
    }

    #[test]
    fn a_killed_program_leaves_what_the_next_goes_on_with() {
        if !have(&["nginx", "openssl"]) {
            return;
        }
        let rig = Rig::new(&[12 * MIB]);
        let ca = rig.certificates();
        let layer = rig.layer(0);
        let mut child = {
            let (_nginx, host, _) = rig.nginx(4_000_000);
            let mut command = Command::new(PULLER);
            command.arg(rig.at("store")).arg(format!("https://{host}/files/{}", layer.digest));
            command.env_clear().env("SSL_CERT_FILE", &ca).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let bytes = |line: &str| {
                let event: Value = serde_json::from_str(line).unwrap();
                event["bytes"].as_u64().unwrap_or(0)
            };
            assert!(lines.map_while(Result::ok).any(|line| bytes(&line) >= 2 * MIB as u64));
            child.kill().unwrap();
            child
        };
        child.wait().unwrap();
        assert_eq!(count(&rig.store(), "sha256"), 0, "nothing half is under a final name");

        // A file whose digest is known goes on over runs, too.
        let (_nginx, host, log) = rig.nginx(0);
        let half = rig.at("store/partial").join(layer.digest.to_string());
        fs::create_dir_all(half.parent().unwrap()).unwrap();
        fs::write(&half, &rig.layers[0][..11 * MIB]).unwrap();
        let (settings, _) = rig.settings(&[]);
        let client = rig.client(Settings { ca_file: Some(ca), ..settings });
        let url = format!("https://{host}/old/{}", layer.digest);
        let (_, blob) = client.file(&url, Some(layer.digest)).unwrap();
        assert_eq!(blob.to_vec().unwrap(), rig.layers[0]);
        drop(_nginx);
        let log = fs::read_to_string(log).unwrap();
        assert!(log.lines().any(|line| line == format!("206 {MIB}")), "{log}");
    }

    #[test]
    fn a_killed_pull_is_taken_up_by_the_next() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[2 * MIB]);
        let (_running, host, log) = rig.wrong(false);
        let mut command = Command::new(PULLER);
        command.arg(rig.at("store")).arg(format!("{host}/stalled:v1")).arg(&host).env_clear();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let partial = rig.at("store/partial").join(rig.layer(0).digest.to_string());
        let begin = Instant::now();
        while fs::metadata(&partial).map_or(0, |meta| meta.len()) < MIB as u64 {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let blobs = rig.plain(&host).fetch_all(&name(&host, "fine"), &rig.all_layers()).unwrap();
        assert_eq!(blobs[0].to_vec().unwrap(), rig.layers[0]);
        let asked = log.of("/fine/blobs/");
        assert_eq!(asked[0]["range"], format!("bytes={MIB}-"));
    }

    #[test]
    fn a_broken_file_of_the_store_is_fetched_again() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB]);
        let (_running, host, log) = rig.wrong(false);
        let (settings, _) = rig.settings(&[&host]);
        pull_all(&rig, settings.clone(), &host, "fine");
        let path = rig.at("store/sha256").join(rig.layer(0).digest.to_string());
        let mut bytes = fs::read(&path).unwrap();
        bytes[77] ^= 1;
        fs::write(&path, bytes).unwrap();
        pull_all(&rig, settings, &host, "fine");
        assert_eq!(log.of("/fine/blobs/").len(), 2);
    }

    #[test]
    fn offline_the_store_is_all_there_is() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB, MIB]);
        let (running, host, _) = rig.wrong(false);
        let (settings, _) = rig.settings(&[&host]);
        let network = Network::Offline { command: "talforge fetch".into() };
        let offline = Settings { network, ..settings.clone() };
        let error = rig.client(offline.clone()).resolve(&name(&host, "fine")).unwrap_err();
        assert!(error.to_string().contains("/fine:v1` is not in the store"), "{error}");
        assert_eq!(error.help(), "run `talforge fetch` where there is a network");
        pull_all(&rig, settings, &host, "fine");
        drop(running);
        pull_all(&rig, offline.clone(), &host, "fine");
        fs::remove_file(rig.at("store/sha256").join(rig.layer(1).digest.to_string())).unwrap();
        let client = rig.client(offline);
        let error = client.fetch_all(&name(&host, "fine"), &rig.all_layers()).unwrap_err();
        assert!(matches!(error, RegistryError::Offline { .. }), "{error}");
        assert!(matches!(client.file("https://h/x", None), Err(RegistryError::Offline { .. })));
    }

    #[test]
    fn what_is_no_url_to_fetch_from_is_refused_without_what_is_in_it() {
        let rig = Rig::new(&[]);
        let client = rig.client(Settings::default());
        for url in ["https://me:hunter2@h/x", "file:///etc/hunter2?", "ftp://h/", "x"] {
            let error = client.file(url, None).unwrap_err();
            assert!(matches!(error, RegistryError::Url { .. }));
            assert!(!error.to_string().contains("hunter2@"), "{error}");
        }
        assert!(matches!(trouble(client.file("http://h/x", None)), Trouble::Plain));
        let hosts = [("r".to_owned(), Host { mirrors: vec!["u:p@h".into()], plain_http: false })];
        let settings = Settings { hosts: hosts.into(), ..Settings::default() };
        let store = rig.store();
        let error = talforge::registry::Client::new(settings, store, crate::rig::quiet());
        assert!(!error.unwrap_err().to_string().contains("u:p"));
    }

    #[test]
    fn the_store_is_listed_verified_and_pruned_by_the_program() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[MIB, 1000]);
        let (_running, host, _) = rig.wrong(false);
        let (settings, _) = rig.settings(&[&host]);
        pull_all(&rig, settings, &host, "fine");
        let store = rig.at("store").display().to_string();
        let run = |args: &[&str]| {
            let all = [&["store"][..], args, &["--store", &store, "--json"]].concat();
            let said = lab::product::run(rig.folder.path(), &all).unwrap();
            said.well().unwrap().events().unwrap()
        };
        let listed = run(&["list"]);
        assert_eq!(listed.iter().filter(|event| event["event"] == "stored").count(), 3);
        let origin = format!("{host}/fine:v1");
        assert!(listed[..3].iter().all(|event| event["origin"] == origin.as_str()));
        let last = listed.last().unwrap();
        let len = (MIB + 1000 + rig.manifest.len()) as u64;
        assert_eq!((&last["count"], &last["len"]), (&3.into(), &len.into()));
        let path = rig.at("store/sha256").join(rig.layer(1).digest.to_string());
        fs::write(&path, "broken").unwrap();
        let verified = run(&["verify"]);
        assert_eq!(verified.last().unwrap()["broken"], 1);
        assert!(!path.exists());
        let lock = rig.at("site.lock");
        fs::write(&lock, format!("image: {host}/fine@sha256:{}\n", rig.digest())).unwrap();
        let lock = lock.display().to_string();
        assert_eq!(run(&["prune"]).last().unwrap()["count"], 0);
        assert_eq!(run(&["prune", "--all", "--keep", &lock]).last().unwrap()["count"], 0);
        assert_eq!(run(&["prune", "--all"]).last().unwrap()["count"], 2);
        let mut left = String::new();
        fs::File::open(rig.at("store/CACHEDIR.TAG")).unwrap().read_to_string(&mut left).unwrap();
        assert!(left.starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
    }
}

#[cfg(test)]
mod pushing {
    use std::fs;
    use std::sync::Arc;

    use lab::noise::noise;
    use lab::tools::have;
    use talforge::digest::Digest;
    use talforge::oci::Descriptor;
    use talforge::registry::Settings;
    use talforge::registry::error::{RegistryError, Trouble};

    use crate::rig::{Rig, name};

    fn blob() -> (Descriptor, Arc<[u8]>) {
        let bytes: Arc<[u8]> = noise(7, 1 << 20).into();
        let (digest, len) = (Digest::of(&bytes), bytes.len() as u64);
        (Descriptor { media_type: "application/x".into(), digest, len }, bytes)
    }

    fn refused(result: Result<(), RegistryError>) -> Trouble {
        let error = result.unwrap_err();
        let told = format!("{error} {error:?} {}", error.help());
        assert!(!told.contains("hunter2"), "{told}");
        match error {
            RegistryError::NotSent { attempt, .. } => attempt.trouble,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_server_is_asked_for_the_right_to_push() {
        if !have(&["python3"]) {
            return;
        }
        let rig = Rig::new(&[]);
        let (_running, host, log) = rig.wrong(false);
        let (settings, _) = rig.settings(&[&host]);
        let (descriptor, bytes) = blob();
        let into = name(&host, "token");
        let stranger = rig.client(settings.clone()).push_blob(&into, &descriptor, &bytes);
        assert!(matches!(refused(stranger), Trouble::Unauthorized { credentials: None }));
        let credential_files = vec![rig.login(&host, "me:word")];
        let client = rig.client(Settings { credential_files, ..settings });
        assert!(!client.has_blob(&into, &descriptor).unwrap());
        client.push_blob(&into, &descriptor, &bytes).unwrap();
        assert!(client.has_blob(&into, &descriptor).unwrap());
        client.push_manifest(&into, &descriptor, &bytes).unwrap();
        assert_eq!(fs::read(rig.at("content/pushed/v1")).unwrap(), bytes[..]);
        let asked = log.of("/token?");
        let scope = asked.last().unwrap()["path"].as_str().unwrap().to_owned();
        assert!(scope.contains("pull%2Cpush"), "{scope}");
        assert_eq!(asked.len(), 2, "a token is for all of a repository");
    }

    #[test]
    fn a_push_goes_on_after_a_while_and_takes_no_lie() {
        if !have(&["python3", "openssl"]) {
            return;
        }
        let rig = Rig::new(&[]);
        let ca = rig.certificates();
        let (_running, host, log) = rig.wrong(false);
        let (settings, waits) = rig.settings(&[&host]);
        let (descriptor, bytes) = blob();
        let push = |way: &str| {
            rig.client(settings.clone()).push_blob(&name(&host, way), &descriptor, &bytes)
        };
        push("busy").unwrap();
        assert_eq!(waits.lock().unwrap().len(), 2);
        assert!(matches!(refused(push("full")), Trouble::Status { status: 413, .. }));
        assert!(matches!(refused(push("liar")), Trouble::Digest(_)));
        // Another host takes the bytes only where it may be asked without TLS, and no credentials.
        assert!(matches!(refused(push("away")), Trouble::Plain));
        let other = host.replace("localhost", "127.0.0.1");
        let (settings, _) = rig.settings(&[&host, &other]);
        rig.client(settings).push_blob(&name(&host, "away"), &descriptor, &bytes).unwrap();
        let sent = log.of("/put/");
        assert!(sent.len() == 1 && sent[0]["authorization"].is_null(), "{sent:?}");
        let (_tls, host, _) = rig.wrong(true);
        let settings = Settings { ca_file: Some(ca), ..rig.settings(&[]).0 };
        let push = rig.client(settings).push_blob(&name(&host, "plain"), &descriptor, &bytes);
        assert!(matches!(refused(push), Trouble::Redirect(_)));
    }
}
