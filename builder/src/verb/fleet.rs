//! Many media at once.
//!
//! In: plans, and what they are built from. Out: files kept in a batch, each read back before; what
//! became of each node.
//!
//! The first medium of each kind is built alone: what it has in common with the others is unpacked,
//! hashed and copied once. The rest is built by several workers. Nothing depends on how many they
//! are: files go to their names together, and what is said of nodes is said in the order of the site.
//!
//! Source: none.
//!
//! Not here: what is built, and what comes before and after (`build`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::json;

use crate::asset::grub::Grub;
use crate::blob::Blob;
use crate::catalog::value::{Compression, Format};
use crate::digest::Digest;
use crate::inspect::memo::Memo;
use crate::layout::{self, LayoutError, OutputFile, esp};
use crate::payload;
use crate::plan::{Medium, NodePlan};
use crate::report::Diagnostic;
use crate::report::progress::{Progress, Total};
use crate::sink::SinkError;
use crate::sink::file::Batch;
use crate::sink::name::Name;
use crate::verb::build::{layout_failure, payload_failure, sink_failure, starts_by_bios};
use crate::verb::encode::Formats;
use crate::verb::interrupt::Interrupt;
use crate::verb::manifest::Manifest;
use crate::verb::output::{self, Form, Output};
use crate::verb::readback::{self, Mismatch};
use crate::verb::state::Present;
use crate::verb::variants::{Boards, Variants};
use crate::verb::{Cause, Failure, chain};

/// The memory that workers may take together, beside what plans take: 64 MiB.
const BUDGET: usize = 64 << 20;

/// What a worker takes at most: room to copy and to hash, a config unpacked, volumes' tables.
const WORKER: usize = 4 << 20;

/// The most media that are built alone, one of each kind.
const FIRSTS: usize = 16;

/// What all nodes are built from.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) plans: &'a [NodePlan],
    pub(super) boards: &'a Boards,
    pub(super) variants: &'a Variants,
    pub(super) grub: Option<&'a Grub>,
    pub(super) formats: &'a Formats,
    /// The output folder.
    pub(super) out: &'a Path,
}

/// A build of many under way.
pub(super) struct Fleet<'a> {
    parts: Parts<'a>,
    batch: &'a Batch,
    manifest: Mutex<&'a mut Manifest>,
    progress: &'a Progress,
    total: Total,
    interrupt: &'a Interrupt,
    /// Whether no more work is to be taken: the batch has failed.
    is_over: AtomicBool,
    told: Mutex<Told>,
    /// The kinds of files of which one was unpacked.
    unpacked: Mutex<BTreeSet<(Format, Compression)>>,
}

/// What became of a node.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was built: these are its files.
    Built(Vec<Present>),
    /// It is as it was.
    Unchanged(Vec<Present>),
    /// It cannot be built.
    Failed(Failure),
    /// It was not built because the whole ended before.
    Left,
}

/// Outcomes, as far as they were told of.
#[derive(Debug, Default)]
struct Told {
    /// In the order of the plans, up to the first that is missing.
    outcomes: Vec<Outcome>,
    /// Those behind the first that is missing.
    early: BTreeMap<usize, Outcome>,
    /// What ended the whole.
    fatal: Option<Failure>,
}

/// What a worker knows from the media that it has built.
#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    /// What is known of compressed segments.
    pub(super) memo: Memo,
    laid: esp::Memo,
    /// Whether a medium was read back whole, so that what later ones share with it is known.
    has_read: bool,
}

/// Why a node was not built.
enum Stop {
    /// It cannot be.
    Node(Failure),
    /// Nothing can be any more.
    All(Failure),
    /// Somebody has asked to end.
    Asked,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Node(failure)
    }
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        parts: Parts<'a>,
        batch: &'a Batch,
        manifest: &'a mut Manifest,
        interrupt: &'a Interrupt,
        progress: &'a Progress,
    ) -> Self {
        let total = progress.total("media", parts.plans.len() as u64);
        Self {
            parts,
            batch,
            manifest: Mutex::new(manifest),
            progress,
            total,
            interrupt,
            is_over: AtomicBool::new(false),
            told: Mutex::default(),
            unpacked: Mutex::default(),
        }
    }

    /// Builds all nodes but those of `unchanged`, so many at once. Gives what became of each, in the
    /// order of the plans, and what ended it early, if something did.
    pub(super) fn run(
        self,
        mut unchanged: BTreeMap<usize, Vec<Present>>,
        jobs: Option<NonZeroUsize>,
        mut worker: Worker,
    ) -> (Vec<Outcome>, Option<Failure>) {
        let todo: Vec<usize> =
            (0..self.parts.plans.len()).filter(|at| !unchanged.contains_key(at)).collect();
        while let Some((at, files)) = unchanged.pop_first() {
            self.tell(at, Outcome::Unchanged(files));
        }
        let (firsts, rest) = self.firsts(&todo);
        self.work(&Queue::new(&firsts), &mut worker);
        let queue = Queue::new(&rest);
        let jobs = workers(jobs).min(rest.len());
        thread::scope(|scope| {
            for _ in 1..jobs {
                let mut worker = worker.clone();
                let (this, queue) = (&self, &queue);
                // Where there is no room for another thread there are fewer.
                let _ = thread::Builder::new()
                    .spawn_scoped(scope, move || this.work(queue, &mut worker));
            }
            self.work(&queue, &mut worker.clone());
        });
        for at in todo {
            if self.is_missing(at) {
                self.tell(at, Outcome::Left);
            }
        }
        let told = self.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        let count = |is: fn(&Outcome) -> bool| told.outcomes.iter().filter(|o| is(o)).count();
        let built = count(|outcome| matches!(outcome, Outcome::Built(_)));
        let unchanged = count(|outcome| matches!(outcome, Outcome::Unchanged(_)));
        if count(|outcome| matches!(outcome, Outcome::Left)) == 0 {
            self.total.done(&format!("{built} written and read back, {unchanged} unchanged"));
        }
        (told.outcomes, told.fatal)
    }

    /// The first node of each kind, and all others.
    fn firsts(&self, todo: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut kinds: Vec<String> = Vec::new();
        let is_first = |at: &&usize| {
            let NodePlan { profile, medium, embed, extensions, board, .. } =
                &self.parts.plans[**at];
            let kind = format!("{profile} {medium:?} {} {extensions:?} {board:?}", embed.name());
            let is_new = kinds.len() < FIRSTS && !kinds.contains(&kind);
            if is_new {
                kinds.push(kind);
            }
            is_new
        };
        todo.iter().partition(is_first)
    }

    fn work(&self, queue: &Queue<'_>, worker: &mut Worker) {
        while self.interrupt.cause().is_none()
            && !self.is_over.load(Ordering::Relaxed)
            && let Some(at) = queue.next()
        {
            let outcome = match self.node(at, worker) {
                Ok(files) => Outcome::Built(files),
                Err(Stop::Node(failure)) => Outcome::Failed(failure),
                Err(Stop::Asked) => Outcome::Left,
                Err(Stop::All(failure)) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    lock(&self.told).fatal.get_or_insert(failure);
                    Outcome::Left
                }
            };
            self.tell(at, outcome);
        }
    }

    fn is_missing(&self, at: usize) -> bool {
        let told = lock(&self.told);
        told.outcomes.len() <= at && !told.early.contains_key(&at)
    }

    /// Takes an outcome, and tells of all whose turn it is.
    fn tell(&self, at: usize, outcome: Outcome) {
        self.total.part_done();
        let mut told = lock(&self.told);
        told.early.insert(at, outcome);
        let mut next = told.outcomes.len();
        while let Some(outcome) = told.early.remove(&next) {
            self.tell_one(&self.parts.plans[next], &outcome);
            told.outcomes.push(outcome);
            next += 1;
        }
    }

    fn tell_one(&self, plan: &NodePlan, outcome: &Outcome) {
        let is_unchanged = match outcome {
            Outcome::Built(_) => false,
            Outcome::Unchanged(_) => true,
            Outcome::Failed(_) | Outcome::Left => return,
        };
        tell_node(plan, is_unchanged, self.total.has_few(), self.progress);
    }

    /// Builds one node's medium; all of it, or nothing.
    fn node(&self, at: usize, worker: &mut Worker) -> Result<Vec<Present>, Stop> {
        let plan = &self.parts.plans[at];
        let mut outputs = Vec::new();
        for file in self.lay_out(plan, &mut worker.laid)? {
            outputs.extend(self.encode(plan, file)?);
        }
        let (mut pending, mut digests) = (Vec::new(), Vec::new());
        for output in &outputs {
            digests.push(self.write(plan, output, worker, &mut pending)?);
        }
        self.batch.keep_all(pending).map_err(|error| match error {
            SinkError::Twice { .. } => Stop::Node(sink_failure(&error)),
            _ if self.interrupt.cause().is_some() => Stop::Asked,
            _ => Stop::All(sink_failure(&error)),
        })?;
        let files = outputs.iter().zip(&digests);
        let entries: Vec<(&str, &Blob, Digest)> =
            files.clone().map(|(file, digest)| (&*file.path, &file.blob, *digest)).collect();
        lock(&self.manifest).add(plan, &entries);
        let present = |(file, digest): (&Output, &Digest)| Present {
            path: file.path.clone(),
            len: file.blob.len(),
            digest: *digest,
        };
        Ok(files.map(present).collect())
    }

    /// Lays out a node's medium.
    fn lay_out(&self, plan: &NodePlan, laid: &mut esp::Memo) -> Result<Vec<OutputFile>, Failure> {
        let failed = |error: LayoutError| layout_failure(plan, &error);
        if plan.medium == Medium::Seed {
            return layout::seed(plan).map_err(failed);
        }
        let assets = self.parts.variants.of(plan)?;
        let payload = payload::build(plan, assets);
        let payload = payload.map_err(|error| payload_failure(plan, &error))?;
        let grub = self.parts.grub.filter(|_| starts_by_bios(plan));
        let board = self.parts.boards.of(plan);
        let parts = layout::Parts { plan, assets, payload: &payload, grub, board };
        layout::lay_out(&parts, laid).map_err(failed)
    }

    /// Brings a medium into the format that its plan wants.
    fn encode(&self, plan: &NodePlan, file: OutputFile) -> Result<Vec<Output>, Stop> {
        let (path, len) = (file.path.clone(), file.blob.len());
        let task = output::is_packed(plan).then(|| self.total.task(&path, len));
        let tell = |bytes| {
            if let Some(task) = &task {
                task.add(bytes);
            }
            match self.interrupt.cause() {
                None => Ok(()),
                Some(_) => Err(io::ErrorKind::Interrupted.into()),
            }
        };
        let outputs = output::encode(self.parts.formats, plan, file, &tell);
        let outputs = outputs.map_err(|error| match self.interrupt.cause() {
            None => Stop::Node(error.failure(&path)),
            Some(_) => Stop::Asked,
        })?;
        if let Some(task) = task {
            task.done("packed");
        }
        Ok(outputs)
    }

    /// Writes one file aside and reads it back.
    fn write(
        &self,
        plan: &NodePlan,
        output: &Output,
        worker: &mut Worker,
        pending: &mut Vec<crate::sink::file::Pending>,
    ) -> Result<Digest, Stop> {
        let sink = |error: SinkError| match error {
            SinkError::Stopped { .. } => Stop::Asked,
            error => Stop::Node(sink_failure(&error)),
        };
        let name = Name::parse(&output.path).map_err(sink)?;
        let task = self.total.task(&output.path, output.blob.len());
        if let Form::Shared = output.form {
            let digest = self.batch.write_shared(&name, &output.blob, &task).map_err(sink)?;
            task.done("written");
            return Ok(digest);
        }
        let written = self.batch.write(&name, &output.blob, &task).map_err(sink)?;
        let digest = written.digest();
        match &output.form {
            Form::Plain => {
                let file = written.blob();
                let file = file.map_err(|error| Failure::of(Cause::World, "read-back", &error))?;
                // The first medium is read from the disk to its last byte of initramfs. What later
                // ones copied from the same place is known then, and is not unpacked again.
                if worker.has_read {
                    worker.memo.alias(&file, &output.blob);
                }
                self.read_back(plan, &output.path, &file, &mut worker.memo)?;
                worker.has_read = true;
                task.done("written and read back");
            }
            Form::Encoded { medium, kind, base } => {
                let file = written.blob();
                let file = file.map_err(|error| Failure::of(Cause::World, "read-back", &error))?;
                let is_first = lock(&self.unpacked).insert(*kind);
                let room = is_first.then_some(self.parts.out);
                let inside = readback::take_out(&file, base.as_ref(), room)
                    .map_err(|mismatch| not_meant(&output.path, &mismatch))?;
                if worker.has_read {
                    worker.memo.alias(&file, &output.blob);
                }
                let inside = inside.as_ref().unwrap_or(medium);
                self.read_back(plan, &output.path, inside, &mut worker.memo)?;
                task.done("written and read back");
            }
            Form::Part | Form::Shared => task.done("written"),
        }
        pending.push(written);
        Ok(digest)
    }

    fn read_back(
        &self,
        plan: &NodePlan,
        path: &str,
        medium: &Blob,
        memo: &mut Memo,
    ) -> Result<(), Failure> {
        let keeps_line = match plan.medium {
            Medium::Seed => false,
            _ => payload::keeps_uki(plan, self.parts.variants.of(plan)?)
                .map_err(|error| payload_failure(plan, &error))?,
        };
        readback::check(plan, medium, keeps_line, memo)
            .map_err(|mismatch| not_meant(path, &mismatch))
    }
}

fn not_meant(path: &str, mismatch: &Mismatch) -> Failure {
    let message = format!("`{path}` is not what was meant: {}", chain(mismatch));
    let help = "nothing was kept of it; check the disk and the boot assets, and report this if it \
                comes again";
    Failure::new(Cause::Medium, Diagnostic::error("read-back", message).help(help))
}

/// Tells of a node whose medium is there.
pub(super) fn tell_node(plan: &NodePlan, is_unchanged: bool, has_few: bool, progress: &Progress) {
    if is_unchanged && has_few {
        progress.note(&format!("{}: unchanged", plan.output()));
    }
    if progress.is_json() {
        let config = plan.embed.config().map(|config| config.digest().to_string());
        progress.event(json!({
            "event": "node", "node": plan.name.to_string(), "output": plan.output(),
            "embed": plan.embed.name(), "config_sha256": config, "unchanged": is_unchanged,
        }));
    }
}

/// Indices that are taken one after another, by whoever has time.
struct Queue<'q> {
    all: &'q [usize],
    next: AtomicUsize,
}

impl<'q> Queue<'q> {
    fn new(all: &'q [usize]) -> Self {
        Self { all, next: AtomicUsize::new(0) }
    }

    fn next(&self) -> Option<usize> {
        self.all.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

/// How many workers there are: as many as asked for, or as processors; no more than have memory.
fn workers(jobs: Option<NonZeroUsize>) -> usize {
    let jobs = jobs.or_else(|| thread::available_parallelism().ok());
    jobs.map_or(1, NonZeroUsize::get).min(BUDGET / WORKER)
}

/// What a panic of another thread left behind is still good: each entry is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
