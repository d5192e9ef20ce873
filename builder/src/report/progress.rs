//! Progress of long work: bars on a terminal, plain lines elsewhere, JSON events for machines.
//!
//! In: tasks and bytes done, many of them together, notes, findings, results. Out: lines.
//!
//! | mode | standard output | standard error |
//! |---|---|---|
//! | auto, on a terminal | results | bars, a line for each finished task, notes, findings |
//! | auto elsewhere, plain | results | the same lines; every 10 s one for a long task |
//! | json | one JSON object a line | nothing |
//! | quiet | nothing | errors |
//!
//! Of many tasks that are parts of one ([`Progress::total`]) people get no line each, but one for all,
//! and bars for those that last.
//!
//! Source: <https://no-color.org>; the objects are those of [`Progress::event`].
//!
//! Not here: when to say what (`verb`).

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::report::{Diagnostic, Paint, Severity, printable};

/// The version of the JSON events. New fields may come without a new version.
const VERSION: u64 = 1;

/// The least time between two JSON events of a running task: with its first and last event that is
/// at most five a second.
const EVENTS_APART: Duration = Duration::from_millis(250);

/// The least time between two plain lines of a running task.
const LINES_APART: Duration = Duration::from_secs(10);

/// Up to so many parts are told of one by one.
const FEW: u64 = 20;

/// How long a part of a total lasts before it gets a bar: shorter ones would only flicker.
const BAR_AFTER: Duration = Duration::from_millis(200);

/// The bar of a total: name, bar, parts done, what else there is to say.
const TOTAL_BAR: &str = "{prefix:24!} {bar:24} {pos:>11} of {len:<11} {msg:>13} {eta:>4}";

/// A bar: name, bar, bytes, rate, time left.
const BAR: &str = "{prefix:24!} {bar:24} {binary_bytes:>11} of {binary_total_bytes:<11} \
                   {binary_bytes_per_sec:>13} {eta:>4}";

/// How much is said, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To a person: bars on a terminal, lines elsewhere.
    Auto,
    /// To a person: lines.
    Plain,
    /// To a program: JSON lines.
    Json,
    /// To a person: errors only.
    Quiet,
}

/// Where everything that is said goes. Its clones are one and the same.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

/// Work on a number of bytes. Dropped without [`Task::done`], it has failed.
#[derive(Debug)]
pub struct Task {
    progress: Progress,
    id: u64,
    name: String,
    total: u64,
    started: Instant,
    state: Mutex<State>,
    of: Option<Arc<Sum>>,
}

#[derive(Debug)]
struct State {
    bytes: u64,
    told: Instant,
    is_over: bool,
    bar: Option<ProgressBar>,
}

/// Work of many parts, which may run at once.
#[derive(Debug)]
pub struct Total {
    progress: Progress,
    name: String,
    started: Instant,
    sum: Arc<Sum>,
}

/// What was done of a total.
#[derive(Debug)]
struct Sum {
    parts: u64,
    done: AtomicU64,
    bytes: AtomicU64,
    told: Mutex<Instant>,
    bar: Option<ProgressBar>,
}

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its columns.
    pub columns: usize,
    /// Whether it takes colours.
    pub paint: Paint,
}

impl Page {
    /// What is no terminal: always the same, so that what is printed there is, too.
    const PLAIN: Self = Self { columns: 80, paint: Paint::Plain };

    fn of(out: &(impl IsTerminal + AsFd), takes_colours: bool) -> Self {
        if !out.is_terminal() {
            return Self::PLAIN;
        }
        let size = rustix::termios::tcgetwinsize(out).map(|size| usize::from(size.ws_col));
        Self {
            columns: size.ok().filter(|&columns| columns > 0).unwrap_or(Self::PLAIN.columns),
            paint: if takes_colours { Paint::Ansi } else { Paint::Plain },
        }
    }
}

/// [`Mode`], once it is known what standard error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bars,
    Lines,
    Json,
    Quiet,
}

struct Shared {
    style: Style,
    paint: Paint,
    page: Page,
    bars: MultiProgress,
    tasks: AtomicU64,
    out: Mutex<Out>,
    err: Mutex<Box<dyn Write + Send>>,
}

/// Standard output, and the first error on it.
struct Out {
    to: Box<dyn Write + Send>,
    error: Option<io::Error>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Progress {
    /// To the standard streams.
    pub fn new(mode: Mode) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = match mode {
            Mode::Auto if is_terminal && !is_dumb => Style::Bars,
            Mode::Auto | Mode::Plain => Style::Lines,
            Mode::Json => Style::Json,
            Mode::Quiet => Style::Quiet,
        };
        let paint = match is_terminal && !is_dumb && !wants_none {
            true => Paint::Ansi,
            false => Paint::Plain,
        };
        let page = Page::of(&io::stdout(), !is_dumb && !wants_none);
        Self::with(style, paint, page, [Box::new(io::stdout()), Box::new(io::stderr())])
    }

    /// To any two streams, neither a terminal.
    pub fn to(mode: Mode, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let style = match mode {
            Mode::Auto | Mode::Plain => Style::Lines,
            Mode::Json => Style::Json,
            Mode::Quiet => Style::Quiet,
        };
        Self::with(style, Paint::Plain, Page::PLAIN, [out, err])
    }

    fn with(
        style: Style,
        paint: Paint,
        page: Page,
        [out, err]: [Box<dyn Write + Send>; 2],
    ) -> Self {
        let target = match style {
            Style::Bars => ProgressDrawTarget::stderr_with_hz(10),
            _ => ProgressDrawTarget::hidden(),
        };
        Self(Arc::new(Shared {
            style,
            paint,
            page,
            bars: MultiProgress::with_draw_target(target),
            tasks: AtomicU64::new(0),
            out: Mutex::new(Out { to: out, error: None }),
            err: Mutex::new(err),
        }))
    }

    /// Starts a task of so many bytes.
    pub fn task(&self, name: &str, total_bytes: u64) -> Task {
        let task = self.part(name, total_bytes, None);
        lock(&task.state).bar = task.new_bar();
        task
    }

    /// Starts work of so many parts. Each is told of where they are few, all together where they are
    /// many.
    pub fn total(&self, name: &str, parts: u64) -> Total {
        let name = printable(name);
        let bar = (self.0.style == Style::Bars && parts > 1).then(|| {
            let style = ProgressStyle::with_template(TOTAL_BAR).expect("the template is right");
            let bar = self.0.bars.add(ProgressBar::new(parts).with_style(style));
            bar.set_prefix(name.clone());
            bar
        });
        let (done, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let started = Instant::now();
        let sum = Sum { parts, done, bytes, told: Mutex::new(started), bar };
        Total { progress: self.clone(), name, started, sum: Arc::new(sum) }
    }

    fn part(&self, name: &str, total_bytes: u64, of: Option<Arc<Sum>>) -> Task {
        let name = printable(name);
        let id = self.0.tasks.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let state = State { bytes: 0, told: started, is_over: false, bar: None };
        let state = Mutex::new(state);
        let task =
            Task { progress: self.clone(), id, name, total: total_bytes, started, state, of };
        task.tell("started", 0);
        task
    }

    /// Says something by the way, to a person: on standard error.
    pub fn note(&self, text: &str) {
        if matches!(self.0.style, Style::Bars | Style::Lines) {
            self.error_line(&printable(text));
        }
    }

    /// Says a result, to a person: on standard output. Machines get theirs as an event.
    pub fn say(&self, line: &str) {
        if matches!(self.0.style, Style::Bars | Style::Lines) {
            self.out_line(&printable(line));
        }
    }

    /// Prints what was asked for, such as a schema, as it is and in every mode.
    pub fn print(&self, bytes: &[u8]) {
        let mut out = lock(&self.0.out);
        let written = out.to.write_all(bytes).and_then(|()| out.to.flush());
        if let (Err(error), None) = (written, &out.error) {
            out.error = Some(error);
        }
    }

    /// What standard output is, for what is drawn there.
    pub fn page(&self) -> Page {
        self.0.page
    }

    /// Whether a program listens.
    pub fn is_json(&self) -> bool {
        self.0.style == Style::Json
    }

    /// Tells of a finding.
    pub fn diagnostic(&self, diagnostic: &Diagnostic) {
        match (self.0.style, diagnostic.severity) {
            (Style::Json, _) => self.event(diagnostic_event(diagnostic)),
            (Style::Quiet, Severity::Warning) => {}
            _ => self.error_line(&diagnostic.render(self.0.paint)),
        }
    }

    /// Tells a program something: one JSON object on a line, of which `event` is the kind; the
    /// version is added. For people it is nothing.
    ///
    /// # Panics
    ///
    /// If the value is no object.
    pub fn event(&self, mut event: Value) {
        if self.0.style == Style::Json {
            let object = event.as_object_mut().expect("an event is an object");
            object.insert("version".into(), VERSION.into());
            self.out_line(&event.to_string());
        }
    }

    /// How writing to standard output went. A reader that went away is no error: it had enough.
    ///
    /// # Errors
    ///
    /// The first failure; what came after it may be missing too.
    pub fn outcome(&self) -> io::Result<()> {
        match lock(&self.0.out).error.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn out_line(&self, line: &str) {
        self.0.bars.suspend(|| {
            let mut out = lock(&self.0.out);
            let written = writeln!(out.to, "{line}").and_then(|()| out.to.flush());
            if let (Err(error), None) = (written, &out.error) {
                out.error = Some(error);
            }
        });
    }

    fn error_line(&self, line: &str) {
        // `MultiProgress::println` prints nothing where there is no terminal.
        self.0.bars.suspend(|| {
            // There is nowhere to tell that this failed.
            let _ = writeln!(lock(&self.0.err), "{line}");
        });
    }
}

impl Total {
    /// Starts a task that is a part of it, or of one of its parts.
    pub fn task(&self, name: &str, total_bytes: u64) -> Task {
        self.progress.part(name, total_bytes, Some(self.sum.clone()))
    }

    /// Whether its parts are told of one by one.
    pub fn has_few(&self) -> bool {
        self.sum.parts <= FEW
    }

    /// Says that one more part is done, well or not.
    pub fn part_done(&self) {
        let done = self.sum.done.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = HumanBytes(self.sum.bytes.load(Ordering::Relaxed));
        if let Some(bar) = &self.sum.bar {
            bar.set_message(bytes.to_string());
            bar.inc(1);
        }
        if self.has_few() || self.progress.0.style != Style::Lines {
            return;
        }
        let mut told = lock(&self.sum.told);
        if told.elapsed() >= LINES_APART {
            *told = Instant::now();
            let (name, parts) = (&self.name, self.sum.parts);
            self.progress.error_line(&format!("{name}: {done} of {parts}, {bytes}"));
        }
    }

    /// Ends it; `text` says what came of it where its parts did not: `"written"`.
    pub fn done(self, text: &str) {
        if let Some(bar) = &self.sum.bar {
            bar.finish_and_clear();
        }
        if !self.has_few() {
            let bytes = HumanBytes(self.sum.bytes.load(Ordering::Relaxed));
            let seconds = self.started.elapsed().as_secs_f64();
            self.progress.note(&format!("{}: {text} ({bytes} in {seconds:.1} s)", self.name));
        }
    }
}

impl Drop for Total {
    fn drop(&mut self) {
        if let Some(bar) = &self.sum.bar {
            bar.finish_and_clear();
        }
    }
}

impl Task {
    /// Adds bytes done.
    pub fn add(&self, bytes: u64) {
        let apart = match self.progress.0.style {
            Style::Json => EVENTS_APART,
            _ => LINES_APART,
        };
        if let Some(sum) = &self.of {
            sum.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        let mut state = lock(&self.state);
        state.bytes = state.bytes.saturating_add(bytes);
        if state.bar.is_none() && self.of.is_some() && self.started.elapsed() >= BAR_AFTER {
            state.bar = self.new_bar();
            state.bar.iter().for_each(|bar| bar.inc(state.bytes - bytes));
        }
        if let Some(bar) = &state.bar {
            bar.inc(bytes);
        }
        if state.told.elapsed() < apart {
            return;
        }
        state.told = Instant::now();
        let bytes = state.bytes;
        drop(state);
        self.tell("running", bytes);
        if self.progress.0.style == Style::Lines {
            let (name, done, total) = (&self.name, HumanBytes(bytes), HumanBytes(self.total));
            self.progress.error_line(&format!("{name}: {done} of {total}"));
        }
    }

    /// Ends the task well; `text` says what came of it: `"written"`.
    pub fn done(self, text: &str) {
        let mut state = lock(&self.state);
        state.is_over = true;
        let (bytes, bar) = (state.bytes, state.bar.take());
        drop(state);
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        self.tell("done", bytes);
        if self.of.as_ref().is_none_or(|sum| sum.parts <= FEW) {
            let (size, seconds) = (HumanBytes(self.total), self.started.elapsed().as_secs_f64());
            self.progress.note(&format!("{}: {text} ({size} in {seconds:.1} s)", self.name));
        }
    }

    /// A bar for it, where there are bars.
    fn new_bar(&self) -> Option<ProgressBar> {
        let shared = &self.progress.0;
        (shared.style == Style::Bars).then(|| {
            let style = ProgressStyle::with_template(BAR).expect("the template is right");
            let bar = shared.bars.add(ProgressBar::new(self.total).with_style(style));
            bar.set_prefix(self.name.clone());
            bar
        })
    }

    fn tell(&self, state: &str, bytes: u64) {
        if !self.progress.is_json() {
            return;
        }
        self.progress.event(json!({
            "event": "task",
            "id": self.id,
            "name": self.name,
            "state": state,
            "bytes": bytes,
            "total": self.total,
        }));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let (bytes, is_over, bar) = (state.bytes, state.is_over, state.bar.take());
        drop(state);
        if is_over {
            return;
        }
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        self.tell("failed", bytes);
    }
}

fn diagnostic_event(diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = diagnostic.place.as_ref();
    json!({
        "event": "diagnostic",
        "severity": severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "place": place.map(|p| json!({"file": p.file, "line": p.line, "column": p.column})),
        "help": diagnostic.help,
    })
}

/// What a panic of another thread left behind is still good: it is counters and streams.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream whose content a test can see.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A stream that fails in one way.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    /// What a build of two files says: on standard output, and on standard error without times.
    fn said(mode: Mode) -> (String, String) {
        let (out, err) = (Page::default(), Page::default());
        let progress = Progress::to(mode, Box::new(out.clone()), Box::new(err.clone()));
        let task = progress.task("cp-1.iso", 3 << 20);
        task.add(1 << 20);
        progress.note("kept `cp-2.iso`");
        progress.diagnostic(&Diagnostic::warning("old", "`v1.10.0` is old"));
        progress.diagnostic(&Diagnostic::error("gone", "`w-1` is gone").help("bring it back"));
        task.add(2 << 20);
        task.done("written");
        drop(progress.task("w-1.raw", 4096));
        progress.say("out/cp-1.iso");
        progress.event(json!({"event": "written", "path": "out/cp-1.iso"}));
        let text = |page: &Page| String::from_utf8(lock(&page.0).clone()).unwrap();
        let (out, err) = (text(&out), text(&err));
        let timed = err.split_inclusive('\n').map(|line| match line.split_once(" in ") {
            Some((head, _)) => format!("{head} in …\n"),
            None => line.to_owned(),
        });
        (out, timed.collect())
    }

    #[test]
    fn a_person_gets_lines() {
        let (out, err) = said(Mode::Auto);
        assert_eq!((&out, &err), (&said(Mode::Plain).0, &said(Mode::Plain).1));
        insta::assert_snapshot!(out, @"out/cp-1.iso");
        insta::assert_snapshot!(err, @r"
        kept `cp-2.iso`
        warning: `v1.10.0` is old
        error: `w-1` is gone
        help: bring it back
        cp-1.iso: written (3.00 MiB in …
        ");
    }

    #[test]
    fn a_program_gets_json_and_nothing_else() {
        let (out, err) = said(Mode::Json);
        insta::assert_snapshot!(out, @r#"
        {"bytes":0,"event":"task","id":0,"name":"cp-1.iso","state":"started","total":3145728,"version":1}
        {"code":"old","event":"diagnostic","help":null,"message":"`v1.10.0` is old","place":null,"severity":"warning","version":1}
        {"code":"gone","event":"diagnostic","help":"bring it back","message":"`w-1` is gone","place":null,"severity":"error","version":1}
        {"bytes":3145728,"event":"task","id":0,"name":"cp-1.iso","state":"done","total":3145728,"version":1}
        {"bytes":0,"event":"task","id":1,"name":"w-1.raw","state":"started","total":4096,"version":1}
        {"bytes":0,"event":"task","id":1,"name":"w-1.raw","state":"failed","total":4096,"version":1}
        {"event":"written","path":"out/cp-1.iso","version":1}
        "#);
        assert_eq!(err, "");
    }

    #[test]
    fn quiet_leaves_errors() {
        let (out, err) = said(Mode::Quiet);
        assert_eq!(out, "");
        insta::assert_snapshot!(err, @r"
        error: `w-1` is gone
        help: bring it back
        ");
    }

    /// Of many parts there is no line each, but one for all; a program gets all events.
    #[test]
    fn many_parts_are_told_of_together() {
        for (mode, parts) in [(Mode::Plain, 3_u64), (Mode::Plain, 21), (Mode::Json, 21)] {
            let (out, err) = (Page::default(), Page::default());
            let progress = Progress::to(mode, Box::new(out.clone()), Box::new(err.clone()));
            let total = progress.total("media", parts);
            for n in 0..parts {
                let task = total.task(&format!("{n}.iso"), 1 << 20);
                task.add(1 << 20);
                task.done("written");
                total.part_done();
            }
            total.done("written");
            let text = String::from_utf8(lock(&err.0).clone()).unwrap();
            let events = lock(&out.0).iter().filter(|byte| **byte == b'\n').count();
            match (mode, parts) {
                (Mode::Json, _) => assert_eq!((events, text.as_str()), (42, "")),
                (_, 3) => assert_eq!(text.lines().count(), 3, "{text}"),
                _ => assert!(text.starts_with("media: written (21.00 MiB in "), "{text}"),
            }
        }
    }

    /// A hundred thousand steps in well under a second are a handful of events.
    #[test]
    fn events_come_at_most_five_a_second() {
        let out = Page::default();
        let progress = Progress::to(Mode::Json, Box::new(out.clone()), Box::new(io::sink()));
        let started = Instant::now();
        let task = progress.task("cp-1.iso", 100_000);
        for _ in 0..100_000 {
            task.add(1);
        }
        task.done("written");
        let lines = lock(&out.0).iter().filter(|b| **b == b'\n').count();
        let most = 2 + started.elapsed().as_millis() / EVENTS_APART.as_millis();
        assert!(lines >= 2 && lines as u128 <= most, "{lines} of {most}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_but_a_full_disk_is() {
        for (kind, is_fine) in
            [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)]
        {
            let progress = Progress::to(Mode::Auto, Box::new(Broken(kind)), Box::new(Broken(kind)));
            progress.say("result");
            progress.note("note");
            assert_eq!(progress.outcome().is_ok(), is_fine);
        }
    }
}
