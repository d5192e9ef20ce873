//! How a registry is told who asks.
//!
//! In: a registry's challenges, credentials. Out: the value of an `Authorization` header.
//!
//! Source: RFC 9110, §11 (challenges); distribution/distribution, `docs/content/spec/auth/token.md`
//! and `oauth.md` (the token server); RFC 7617 (`Basic`).
//!
//! Not here: where credentials come from (`credentials`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::pki::secret::Secret;
use crate::registry::credentials::{Credentials, Kind};
use crate::registry::error::Trouble;
use crate::registry::http::{Ask, Fail, Web};
use crate::registry::url::{self, Url};

/// The most bytes of a token server's answer.
const LIMIT: u64 = 1 << 20;
/// What we call ourselves to a token server.
const CLIENT: &str = "talforge";

/// A way that a server takes credentials in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token, to be had from a token server.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// What the token is for.
        service: Option<String>,
        /// What the token allows.
        scope: Option<String>,
    },
    /// The credentials themselves.
    Basic,
}

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work<'a> {
    /// Its content is read.
    Pull(&'a str),
    /// Content is added to it.
    Push(&'a str),
}

impl<'a> Work<'a> {
    /// The repository.
    pub(super) fn repository(self) -> &'a str {
        match self {
            Self::Pull(repository) | Self::Push(repository) => repository,
        }
    }
}

/// Reads the values of `WWW-Authenticate`. Ways that are not known are left out.
pub(super) fn challenges(headers: &[String]) -> Vec<Challenge> {
    headers.iter().flat_map(|header| challenges_of(header)).collect()
}

fn challenges_of(header: &str) -> Vec<Challenge> {
    // A scheme, and its parameters up to the next scheme.
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for item in items(header) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let (scheme, name) = match name.trim().split_once(' ') {
            Some((scheme, name)) => (Some(scheme), name.trim()),
            None if !item.contains('=') => (Some(name.trim()), ""),
            None => (None, name.trim()),
        };
        if let Some(scheme) = scheme {
            found.push((scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let Some((_, parameters)) = found.last_mut() {
            parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    let challenge = |(scheme, parameters): (String, Vec<(String, String)>)| {
        let get = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        match scheme.as_str() {
            "bearer" => Some(Challenge::Bearer {
                realm: get("realm")?,
                service: get("service"),
                scope: get("scope"),
            }),
            "basic" => Some(Challenge::Basic),
            _ => None,
        }
    };
    found.into_iter().filter_map(challenge).collect()
}

/// Splits at commas that are not quoted.
fn items(header: &str) -> Vec<&str> {
    let (mut found, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                found.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&header[start..]);
    found.into_iter().map(str::trim).filter(|item| !item.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut is_escaped = false;
    let keep = |c: &char| {
        is_escaped = *c == '\\' && !is_escaped;
        !is_escaped
    };
    inner.chars().filter(keep).collect()
}

/// Answers a challenge for what is to be done in a repository.
///
/// # Errors
///
/// What the token server says, and where there are no credentials that fit.
pub(super) fn answer(
    web: &Web,
    asked: &Url,
    challenges: &[Challenge],
    credentials: Option<&Credentials>,
    work: Work<'_>,
) -> Result<Secret, Fail> {
    let unauthorized =
        || Trouble::Unauthorized { credentials: credentials.map(|found| found.from.clone()) };
    let bearer = challenges.iter().find(|challenge| **challenge != Challenge::Basic);
    let Some(Challenge::Bearer { realm, service, scope }) = bearer else {
        let is_basic = challenges.contains(&Challenge::Basic);
        return match credentials.map(|found| &found.kind) {
            Some(Kind::Basic { user, password }) if is_basic => Ok(basic(user, password)),
            _ => Err(unauthorized().into()),
        };
    };
    let scope = match work {
        Work::Pull(repository) => {
            scope.clone().unwrap_or_else(|| format!("repository:{repository}:pull"))
        }
        // Some registries ask for the right to pull alone, whatever they were asked.
        Work::Push(repository) => format!("repository:{repository}:pull,push"),
    };
    let service = service.as_deref().unwrap_or_default();
    let realm = asked.join(realm).map_err(|_| Trouble::Answer("a token server that has no URL"))?;
    if asked.is_tls() && !realm.is_tls() {
        return Err(Trouble::Answer("a token server without TLS").into());
    }
    let ask = question(realm, service, &scope, credentials.map(|found| &found.kind))?;
    let answer = web.send(&ask)?;
    match answer.status() {
        200 => {}
        // OAuth 2 says `invalid_grant` by 400.
        400 | 401 => return Err(unauthorized().into()),
        _ => return Err(answer.refusal().into()),
    }
    let body = Zeroizing::new(answer.short(LIMIT)?);
    let told: Told = serde_json::from_slice(&body)
        .map_err(|_| Trouble::Answer("a token server that gives no token"))?;
    let token = told.token.or(told.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or(Trouble::Answer("a token server that gives no token"))?;
    Ok(Secret::new(format!("Bearer {}", *token)))
}

/// What a token server answers.
#[derive(Deserialize)]
struct Told {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

fn question(
    realm: Url,
    service: &str,
    scope: &str,
    credentials: Option<&Kind>,
) -> Result<Ask, Trouble> {
    if let Some(Kind::Identity(token)) = credentials {
        let body = url::form(&[
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", CLIENT),
            ("scope", scope),
            ("refresh_token", token.reveal()),
        ]);
        return Ok(Ask::form(realm, Zeroizing::new(body)));
    }
    let realm = realm.with_query(&[("service", service), ("scope", scope)]);
    let realm = realm.map_err(|_| Trouble::Answer("a token server that has no URL"))?;
    let authorization = match credentials {
        Some(Kind::Basic { user, password }) => Some(basic(user, password)),
        _ => None,
    };
    Ok(Ask { authorization, ..Ask::new(realm) })
}

fn basic(user: &Secret, password: &Secret) -> Secret {
    let pair = Zeroizing::new(format!("{}:{}", user.reveal(), password.reveal()));
    Secret::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
        Challenge::Bearer { realm: realm.into(), service, scope }
    }

    fn of(header: &str) -> Vec<Challenge> {
        challenges(&[header.to_owned()])
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let ghcr = r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull,push""#;
        let want =
            bearer("https://ghcr.io/token", Some("ghcr.io"), Some("repository:a/b:pull,push"));
        assert_eq!(of(ghcr), [want]);
        assert_eq!(of(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(of("basic"), [Challenge::Basic]);
        let both = r#"Negotiate, Basic realm="a, Bearer b", bearer Realm=x , service = "q\"\\r" "#;
        assert_eq!(of(both), [Challenge::Basic, bearer("x", Some("q\"\\r"), None)]);
        for none in ["", ",,,", "Bearer", "Bearer service=\"x\"", "realm=\"x\"", "\"", "Digest a=b"]
        {
            assert_eq!(of(none), [], "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "[ -~]{0,60}|([Bb]asic|Bearer)( |,|=|\"|realm|\\\\|x){0,20}") {
            prop_assert!(of(&header).len() <= header.len());
        }
    }
}
