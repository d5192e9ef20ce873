//! Asking again: after a challenge, after a cut, after a while.
//!
//! In: what to ask for, how much of it is here. Out: the rest of it in the store.
//!
//! Source: RFC 9110, §14 (ranges), §13.1.5 (`If-Range`), §10.2.3 (`Retry-After`).
//!
//! Not here: which hosts are asked, and whether what came is right (`registry`).

use std::sync::PoisonError;
use std::time::Duration;

use ureq::http::header::{ACCEPT, IF_RANGE, RANGE};

use crate::digest::Digest;
use crate::registry::auth::Work;
use crate::registry::bucket::Bucket;
use crate::registry::error::Trouble;
use crate::registry::http::{Answer, Ask, Fail};
use crate::registry::url::Url;
use crate::registry::{Client, Wait, auth, credentials};
use crate::report::progress::Task;
use crate::store::Incoming;

/// How often a host may let us down in a row.
const TRIES: u32 = 5;
/// The wait after its first failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest that a host may ask us to stay away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So many bytes make up for the failures so far.
const MAKES_UP: u64 = 1 << 20;
/// The bytes that are read at once.
const STEP: usize = 256 << 10;

/// Something to fetch from one host.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    /// Where it is.
    pub(super) url: Url,
    /// Where we must show who we are.
    pub(super) gate: Gate<'a>,
    /// Its digest, if that is known. Then bytes from anywhere can be joined.
    pub(super) digest: Option<Digest>,
    /// Its length in bytes, if that is known.
    pub(super) len: Option<u64>,
    /// The most bytes that it may have.
    pub(super) limit: u64,
    /// The kinds of content that are taken.
    pub(super) accept: &'static str,
    /// Its name for progress.
    pub(super) label: String,
}

/// Who wants to know who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gate<'a> {
    /// Nobody.
    Open,
    /// A registry, by its host, for work in a repository.
    Registry(&'a str, Work<'a>),
    /// An S3-compatible store.
    Bucket(&'a Bucket),
}

/// What was learnt from the answers so far.
#[derive(Default)]
struct Known {
    etag: Option<String>,
    task: Option<Task>,
}

/// How much more a host may let us down.
pub(super) struct Patience<'a> {
    wait: &'a Wait,
    failures: u32,
}

impl<'a> Patience<'a> {
    /// All of it.
    pub(super) fn new(wait: &'a Wait) -> Self {
        Self { wait, failures: 0 }
    }

    /// Waits before the next try, or gives up.
    pub(super) fn after(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        self.failures += 1;
        if !trouble.is_passing() || self.failures >= TRIES {
            return Err(trouble);
        }
        let own = FIRST_WAIT * (1 << (self.failures - 1));
        let asked = match trouble {
            Trouble::Status { retry_after: Some(time), .. } => time,
            _ => Duration::ZERO,
        };
        if asked > LONGEST_WAIT {
            return Err(trouble);
        }
        (self.wait)(own.max(asked));
        Ok(())
    }
}

impl Client {
    /// The whole of a short content, and the answer's headers that matter.
    pub(super) fn short(&self, request: &Request) -> Result<Short, Fail> {
        let mut patience = Patience::new(&self.settings.wait);
        loop {
            match self.short_once(request) {
                Err(Fail::Trouble(trouble)) => patience.after(trouble)?,
                other => return other,
            }
        }
    }

    fn short_once(&self, request: &Request) -> Result<Short, Fail> {
        let ask = Ask::new(request.url.clone()).header(ACCEPT, request.accept);
        let answer = self.asked(ask, request.gate)?;
        if answer.status() != 200 {
            return Err(answer.refusal().into());
        }
        let said =
            answer.header("docker-content-digest").and_then(|text| text.strip_prefix("sha256:"));
        let said = said.and_then(|hex| hex.parse().ok());
        let media_type = answer.header("content-type").map(str::to_owned);
        let length = answer.length();
        let bytes = answer.short(request.limit)?;
        match length.or(request.len) {
            Some(wanted) if wanted != bytes.len() as u64 => {
                Err(Trouble::Length { wanted, found: bytes.len() as u64 }.into())
            }
            _ => Ok(Short { bytes, said, media_type }),
        }
    }

    /// Does something again where that may help.
    pub(super) fn patiently<T>(&self, work: impl Fn() -> Result<T, Fail>) -> Result<T, Fail> {
        let mut patience = Patience::new(&self.settings.wait);
        loop {
            match work() {
                Err(Fail::Trouble(trouble)) => patience.after(trouble)?,
                other => return other,
            }
        }
    }

    /// Fetches what is missing of a content. Its digest is for the caller to look at.
    pub(super) fn pull(
        &self,
        request: &Request,
        into: &mut Incoming,
    ) -> Result<Option<Task>, Fail> {
        let mut patience = Patience::new(&self.settings.wait);
        let mut known = Known::default();
        while request.len != Some(into.len()) {
            let before = into.len();
            match self.piece(request, into, &mut known) {
                Ok(()) => break,
                Err(Fail::Trouble(trouble)) => {
                    if into.len() >= before.saturating_add(MAKES_UP) {
                        patience.failures = 0;
                    }
                    patience.after(trouble)?;
                }
                Err(fail) => return Err(fail),
            }
        }
        Ok(known.task)
    }

    /// Asks once, and takes what comes.
    fn piece(&self, request: &Request, into: &mut Incoming, known: &mut Known) -> Result<(), Fail> {
        if request.digest.is_none() && known.etag.is_none() {
            restart(into, known)?;
        }
        let mut ask = Ask::new(request.url.clone()).header(ACCEPT, request.accept);
        if !into.is_empty() {
            ask = ask.header(RANGE, format!("bytes={}-", into.len()));
            if let Some(etag) = &known.etag {
                ask = ask.header(IF_RANGE, etag);
            }
        }
        let answer = self.asked(ask, request.gate)?;
        let total = match answer.status() {
            200 => {
                restart(into, known)?;
                answer.length()
            }
            206 => match answer.header("content-range").and_then(content_range) {
                Some((start, total)) if start == into.len() => {
                    total.or(answer.length().and_then(|rest| start.checked_add(rest)))
                }
                _ => {
                    restart(into, known)?;
                    return Err(Trouble::Broken("it sent another part".into()).into());
                }
            },
            416 if !into.is_empty() => {
                restart(into, known)?;
                return Err(Trouble::Broken("it does not have the rest".into()).into());
            }
            _ => return Err(answer.refusal().into()),
        };
        if let (Some(found), Some(wanted)) = (total, request.len)
            && found != wanted
        {
            return Err(Trouble::Length { wanted, found }.into());
        }
        let end = request.len.or(total);
        if end.is_none() && request.digest.is_none() && answer.header("transfer-encoding").is_none()
        {
            // A cut would look like the end.
            return Err(Trouble::Answer("bytes whose end nothing tells").into());
        }
        if end.is_some_and(|end| end > request.limit) {
            return Err(Trouble::TooLong(request.limit).into());
        }
        // A weak one does not say that bytes are the same.
        known.etag = answer.header("etag").filter(|tag| tag.starts_with('"')).map(str::to_owned);
        let task = known.task.get_or_insert_with(|| {
            let task = self.progress.task(&request.label, end.unwrap_or(0));
            task.add(into.len());
            task
        });
        drain(answer, into, end, request.limit, task)
    }

    /// Asks, and once more with credentials where they are wanted.
    pub(super) fn asked(&self, ask: Ask, gate: Gate<'_>) -> Result<Answer, Fail> {
        let unauthorized = |credentials| Trouble::Unauthorized { credentials };
        let (host, work) = match gate {
            Gate::Registry(host, work) => (host, work),
            Gate::Bucket(bucket) => return self.web.send(&bucket.signed(ask)?),
            Gate::Open => {
                let answer = self.web.send(&ask)?;
                return match answer.status() {
                    401 => Err(unauthorized(None).into()),
                    _ => Ok(answer),
                };
            }
        };
        let repository = work.repository();
        let key = match work {
            Work::Pull(_) => (host.to_owned(), repository.to_owned()),
            // No repository's name has a blank.
            Work::Push(_) => (host.to_owned(), format!("{repository} push")),
        };
        let cached = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let answer = self.web.send(&Ask { authorization: cached, ..ask.clone() })?;
        if answer.status() != 401 || !answer.url.is_same_origin(&ask.url) {
            return Ok(answer);
        }
        let challenges = auth::challenges(&answer.headers("www-authenticate"));
        drop(answer);
        let files = &self.settings.credential_files;
        let found = credentials::find(files, host, repository).map_err(Trouble::Credentials)?;
        let authorization = auth::answer(&self.web, &ask.url, &challenges, found.as_ref(), work)?;
        let answer = self.web.send(&Ask { authorization: Some(authorization.clone()), ..ask })?;
        if answer.status() == 401 {
            return Err(unauthorized(found.map(|found| found.from)).into());
        }
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(key, authorization);
        Ok(answer)
    }
}

/// A short content.
pub(super) struct Short {
    /// The whole of it.
    pub(super) bytes: Vec<u8>,
    /// The digest that the registry says it has.
    pub(super) said: Option<Digest>,
    /// The kind that the registry says it is.
    pub(super) media_type: Option<String>,
}

/// Drops what came so far.
fn restart(into: &mut Incoming, known: &mut Known) -> Result<(), Fail> {
    if !into.is_empty() {
        into.restart()?;
        *known = Known::default();
    }
    Ok(())
}

/// Takes a body to its end.
fn drain(
    answer: Answer,
    into: &mut Incoming,
    end: Option<u64>,
    limit: u64,
    task: &Task,
) -> Result<(), Fail> {
    let mut flow = answer.body()?;
    let mut buffer = vec![0; STEP];
    loop {
        let count = flow.read(&mut buffer)?;
        let found = into.len() + count as u64;
        match end {
            Some(wanted) if found > wanted => return Err(Trouble::Length { wanted, found }.into()),
            Some(wanted) if count == 0 && found < wanted => {
                return Err(Trouble::Broken("before the end".into()).into());
            }
            _ if found > limit => return Err(Trouble::TooLong(limit).into()),
            _ if count == 0 => return Ok(()),
            _ => {}
        }
        into.append(&buffer[..count])?;
        task.add(count as u64);
    }
}

/// The start and the whole length of `bytes 5-9/10`; `*` is no length.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.trim().split_once('-')?;
    let (start, last): (u64, u64) = (start.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse::<u64>().ok().filter(|total| last < *total)?),
    };
    (start <= last).then_some((start, total))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn busy(retry_after: Option<u64>) -> Trouble {
        let retry_after = retry_after.map(Duration::from_secs);
        Trouble::Status { status: 503, code: None, retry_after }
    }

    #[test]
    fn waits_double_and_end_and_heed_the_host() {
        let waits = Arc::new(Mutex::new(Vec::new()));
        let told = waits.clone();
        let wait: Wait = Arc::new(move |time| told.lock().unwrap().push(time.as_millis()));
        let mut patience = Patience::new(&wait);
        while patience.after(busy(None)).is_ok() {}
        assert_eq!(*waits.lock().unwrap(), [500, 1000, 2000, 4000]);
        let mut patience = Patience::new(&wait);
        patience.after(busy(Some(7))).unwrap();
        assert_eq!(waits.lock().unwrap().last(), Some(&7000));
        patience.after(busy(Some(61))).unwrap_err();
        let mut patience = Patience::new(&wait);
        patience.after(Trouble::Plain).unwrap_err();
        assert_eq!(waits.lock().unwrap().len(), 5);
    }

    #[test]
    fn parts_are_what_they_say() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in
            ["", "bytes */10", "bytes 5-/10", "bytes 5-10/10", "items 5-9/10", "bytes 9-5/10"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
