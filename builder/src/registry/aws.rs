//! Where an S3-compatible store is, and with which key it is asked: what AWS' own tools know.
//!
//! In: variables, `~/.aws/credentials`, `~/.aws/config`. Out: an endpoint, a region, a key.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Environment
//! variables", "Service-specific endpoints".
//!
//! Not here: how questions are signed (`sigv4`), keys that other services give out (IMDS, SSO).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::pki::secret::Secret;

/// The most bytes of a file of settings.
const LIMIT: u64 = 1 << 20;
/// Where stores without regions are, as their own documents have it.
const REGION: &str = "us-east-1";

/// A key, as an account has it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Which key it is.
    pub id: Secret,
    /// The key.
    pub secret: Secret,
    /// What comes with a key that ends with a session.
    pub token: Option<Secret>,
}

/// What AWS' tools would take.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The URL that stands for AWS' own.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The key.
    pub key: Key,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum AwsError {
    /// Neither variables nor files have one.
    #[error(
        "there is no key for the S3 store: `AWS_ACCESS_KEY_ID` is not set, and no file has the profile `{profile}`"
    )]
    NoKey {
        /// The profile.
        profile: String,
    },
    /// A part of it is missing, or is no text.
    #[error("`{0}` is missing or is no text")]
    Incomplete(&'static str),
    /// A file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

type Section = BTreeMap<String, Zeroizing<String>>;

impl Aws {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// Where there is no key, or half of one.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, AwsError> {
        let text = |name: &str| variable(name)?.into_string().ok().filter(|text| !text.is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let file = |name: &str, usual: &str| {
            let named = variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            named.or_else(|| home.as_ref().map(|home| home.join(usual)))
        };
        let profile = text("AWS_PROFILE").unwrap_or_else(|| "default".into());
        let named = match profile.as_str() {
            "default" => "default".to_owned(),
            other => format!("profile {other}"),
        };
        let config = section(file("AWS_CONFIG_FILE", ".aws/config"), &named)?;
        let keys = section(file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), &profile)?;
        let known = |name: &str| keys.get(name).or_else(|| config.get(name));
        let set = |name: &str| known(name).map(|value| value.to_string());
        let key = match text("AWS_ACCESS_KEY_ID").map(Secret::new) {
            Some(id) => Key {
                id,
                secret: text("AWS_SECRET_ACCESS_KEY")
                    .map(Secret::new)
                    .ok_or(AwsError::Incomplete("AWS_SECRET_ACCESS_KEY"))?,
                token: text("AWS_SESSION_TOKEN").map(Secret::new),
            },
            None => Key {
                id: set("aws_access_key_id").map(Secret::new).ok_or(AwsError::NoKey { profile })?,
                secret: set("aws_secret_access_key")
                    .map(Secret::new)
                    .ok_or(AwsError::Incomplete("aws_secret_access_key"))?,
                token: set("aws_session_token").map(Secret::new),
            },
        };
        let endpoint =
            ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().find_map(|name| text(name));
        let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| text(name));
        Ok(Self {
            endpoint: endpoint.or_else(|| set("endpoint_url")),
            region: region.or_else(|| set("region")).unwrap_or_else(|| REGION.into()),
            key,
        })
    }
}

impl AwsError {
    /// What to do, as an imperative.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoKey { .. } | Self::Incomplete(_) => {
                "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or run `aws configure`"
            }
            Self::File { .. } => "see that you may read it",
        }
    }
}

/// A section of a file of settings; nothing is in a file that is not there.
fn section(path: Option<PathBuf>, wanted: &str) -> Result<Section, AwsError> {
    let Some(path) = path else { return Ok(Section::new()) };
    let mut text = Zeroizing::new(String::new());
    let read =
        std::fs::File::open(&path).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(parse(&text, wanted)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Section::new()),
        Err(source) => Err(AwsError::File { path, source }),
    }
}

/// Lines `name = value` below `[wanted]`. Those that are indented belong to the line before them and
/// are of no use here.
fn parse(text: &str, wanted: &str) -> Section {
    let mut found = Section::new();
    let mut is_inside = false;
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', ';'])) {
        let head = line.trim_end().strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        if let Some(name) = head {
            is_inside = name.trim() == wanted;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| is_inside) {
            found.insert(name.trim().to_owned(), Zeroizing::new(value.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Aws, AwsError> {
        Aws::from_environment(&|name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn variables_stand_before_files_and_profiles_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().to_str().unwrap();
        assert!(matches!(read(&[("HOME", at)]), Err(AwsError::NoKey { .. })));
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let keys = "# x\n[default]\naws_access_key_id = one\naws_secret_access_key=s1\n\
                    [lab]\naws_access_key_id=two\naws_secret_access_key = s2\naws_session_token=t\n";
        std::fs::write(home.path().join(".aws/credentials"), keys).unwrap();
        let config = "[default]\nregion = eu-1\ns3 =\n  region = no\n[profile lab]\nendpoint_url=https://lab\n";
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        let usual = read(&[("HOME", at)]).unwrap();
        assert_eq!((usual.key.id.reveal(), usual.key.secret.reveal()), ("one", "s1"));
        assert_eq!((usual.region.as_str(), usual.endpoint), ("eu-1", None));
        let lab = read(&[("HOME", at), ("AWS_PROFILE", "lab")]).unwrap();
        assert_eq!((lab.key.id.reveal(), lab.key.token.unwrap().reveal()), ("two", "t"));
        assert_eq!((lab.region.as_str(), lab.endpoint.as_deref()), (REGION, Some("https://lab")));
        let set = [("HOME", at), ("AWS_ACCESS_KEY_ID", "three"), ("AWS_SECRET_ACCESS_KEY", "s3")];
        let set = [&set[..], &[("AWS_ENDPOINT_URL", "http://x"), ("AWS_REGION", "r")]].concat();
        let own = read(&set).unwrap();
        assert_eq!((own.key.id.reveal(), own.region.as_str()), ("three", "r"));
        assert_eq!(own.endpoint.as_deref(), Some("http://x"));
        let half = read(&set[..2]).unwrap_err();
        assert!(
            half.to_string().contains("AWS_SECRET_ACCESS_KEY") && !half.to_string().contains("s1")
        );
    }
}
