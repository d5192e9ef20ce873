//! Who needs whom, and who is loaded first.
//!
//! In: modules with the symbols that they offer and need. Out: each one's needs, in load order.
//!
//! Source: kmod's `tools/depmod.c` (`depmod_calculate_dependencies`).
//!
//! Not here: how that is written (`files`).

use std::collections::{BTreeMap, BTreeSet};

use super::{KmodError, Module};

/// Which module offers a symbol. Of two, the one with the higher number does.
pub(super) struct Exports<'a>(BTreeMap<&'a [u8], usize>);

impl<'a> Exports<'a> {
    /// The symbols of numbered modules.
    pub(super) fn of(modules: &[&'a Module]) -> Self {
        let symbols = |(number, module): (usize, &&'a Module)| {
            module.facts.exports.iter().map(move |symbol| (symbol, number))
        };
        Self(modules.iter().enumerate().flat_map(symbols).collect())
    }

    /// Symbols and modules' numbers, in the order of bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a [u8], usize)> {
        self.0.iter().map(|(symbol, number)| (*symbol, *number))
    }

    fn owner(&self, symbol: &[u8]) -> Option<usize> {
        // 64-bit PowerPC's functions have a dot before their name, and depmod drops it for all.
        self.0.get(symbol.strip_prefix(b".").unwrap_or(symbol)).copied()
    }
}

/// What each module needs.
pub(super) struct Needs {
    direct: Vec<Vec<usize>>,
    place: Vec<usize>,
}

impl Needs {
    /// The needs of numbered modules.
    ///
    /// # Errors
    ///
    /// [`KmodError::Circle`].
    pub(super) fn of(modules: &[&Module], exports: &Exports<'_>) -> Result<Self, KmodError> {
        let direct: Vec<_> = modules.iter().map(|module| direct(module, exports)).collect();
        let place = sort(&direct).map_err(|circle| KmodError::Circle {
            names: circle.into_iter().map(|number| modules[number].name.clone()).collect(),
        })?;
        Ok(Self { direct, place })
    }

    /// All that a module needs, directly or not: the one to be loaded last comes first.
    pub(super) fn all(&self, number: usize, seen: &mut Seen) -> Vec<usize> {
        seen.restart();
        let mut found = Vec::new();
        let mut open = vec![number];
        while let Some(next) = open.pop() {
            for need in &self.direct[next] {
                if seen.is_new(*need) {
                    found.push(*need);
                    open.push(*need);
                }
            }
        }
        found.sort_unstable_by_key(|need| self.place[*need]);
        found
    }

    /// Marks for [`Self::all`], made once for all modules.
    pub(super) fn marks(&self) -> Seen {
        Seen { round: 0, last: vec![0; self.direct.len()] }
    }
}

/// Which modules were met in the present round.
pub(super) struct Seen {
    round: usize,
    last: Vec<usize>,
}

impl Seen {
    fn restart(&mut self) {
        self.round += 1;
    }

    fn is_new(&mut self, number: usize) -> bool {
        std::mem::replace(&mut self.last[number], self.round) != self.round
    }
}

/// The modules that offer what `module` needs, in the order of its symbols, each once.
fn direct(module: &Module, exports: &Exports<'_>) -> Vec<usize> {
    let mut needs = Vec::new();
    let mut met = BTreeSet::new();
    for owner in module.facts.needs.iter().filter_map(|symbol| exports.owner(symbol)) {
        if met.insert(owner) {
            needs.push(owner);
        }
    }
    needs
}

/// Each module's place in depmod's topological order, those that nobody needs first; or a circle,
/// its first module repeated at the end.
fn sort(direct: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut users = vec![0_usize; direct.len()];
    direct.iter().flatten().for_each(|need| users[*need] += 1);
    let mut open: Vec<_> = (0..direct.len()).filter(|number| users[*number] == 0).collect();
    let mut place = vec![usize::MAX; direct.len()];
    let mut sorted = 0;
    while let Some(next) = open.pop() {
        place[next] = sorted;
        sorted += 1;
        for need in &direct[next] {
            users[*need] -= 1;
            if users[*need] == 0 {
                open.push(*need);
            }
        }
    }
    if sorted < direct.len() { Err(circle(direct, &place)) } else { Ok(place) }
}

/// A circle among the modules that got no place. Each of them has a user among them, so walking
/// from user to user must come round.
fn circle(direct: &[Vec<usize>], place: &[usize]) -> Vec<usize> {
    let is_left = |number: &usize| place[*number] == usize::MAX;
    let mut user = vec![usize::MAX; direct.len()];
    for number in (0..direct.len()).filter(is_left) {
        direct[number].iter().for_each(|need| user[*need] = number);
    }
    let mut step = vec![None; direct.len()];
    let mut walk = Vec::new();
    let mut at = (0..direct.len()).find(is_left).expect("a module got no place");
    while step[at].is_none() {
        step[at] = Some(walk.len());
        walk.push(at);
        at = user[at];
    }
    walk.push(at);
    let first = step[at].expect("the walk came round");
    walk.drain(..first);
    walk.reverse();
    walk
}
