//! Which types agree, and what the unknown ones turn out to be.
//!
//! In: pairs of types. Out: whether the one may stand where the other is wanted.
//!
//! Source: cel-go `checker/types.go`.
//!
//! Not here: what expressions have which type (`check`).

use super::types::{Head, Type};

/// How many pairs of types are compared for one expression: a long one needs some thousands.
const MAX_STEPS: u32 = 1 << 20;

/// How deep comparisons may nest.
const MAX_DEPTH: u32 = 1 << 9;

/// The types are too many, or too large.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooComplex;

/// What is known of the variables so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What each variable stands for.
    variables: Vec<Option<Type>>,
    /// What was there before, to go back to.
    trail: Vec<(usize, Option<Type>)>,
    steps: u32,
    depth: u32,
}

impl Known {
    /// A new variable.
    pub(super) fn fresh(&mut self) -> Type {
        self.variables.push(None);
        Type::Variable(self.variables.len() - 1)
    }

    /// A type made of others.
    pub(super) fn made(&self, head: Head, parts: Vec<Type>) -> Result<Type, TooComplex> {
        Type::made(head, parts).ok_or(TooComplex)
    }

    /// Whether values of the types `a` may stand where `b` are wanted; what is learned on the way
    /// is forgotten where they may not.
    pub(super) fn all_fit(&mut self, a: &[Type], b: &[Type]) -> Result<bool, TooComplex> {
        self.trail.clear();
        let fits = self.parts_fit(a, b)?;
        if !fits {
            while let Some((variable, before)) = self.trail.pop() {
                self.variables[variable] = before;
            }
        }
        Ok(fits)
    }

    /// Whether a value of type `a` may stand where `b` is wanted.
    pub(super) fn fits(&mut self, a: &Type, b: &Type) -> Result<bool, TooComplex> {
        self.all_fit(std::slice::from_ref(a), std::slice::from_ref(b))
    }

    fn parts_fit(&mut self, a: &[Type], b: &[Type]) -> Result<bool, TooComplex> {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.iter().zip(b) {
            if !self.one_fits(a, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(&mut self) -> Result<(), TooComplex> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.depth > MAX_DEPTH { Err(TooComplex) } else { Ok(()) }
    }

    fn one_fits(&mut self, a: &Type, b: &Type) -> Result<bool, TooComplex> {
        self.depth += 1;
        self.step()?;
        let fits = self.compare(a, b);
        self.depth -= 1;
        fits
    }

    fn compare(&mut self, a: &Type, b: &Type) -> Result<bool, TooComplex> {
        if let Type::Variable(variable) = b {
            let (valid, bound) = self.stands_for(a, *variable)?;
            if valid || bound {
                return Ok(valid);
            }
        }
        if let Type::Variable(variable) = a {
            return Ok(self.stands_for(b, *variable)?.0);
        }
        match (a, b) {
            (Type::Dyn, _) | (_, Type::Dyn) => Ok(true),
            (Type::Null, other) | (other, Type::Null) => Ok(may_be_null(other)),
            (Type::Made(a), Type::Made(b)) if a.head == b.head => match a.head {
                Head::Type => Ok(true),
                _ => self.parts_fit(&a.parts, &b.parts),
            },
            _ => Ok(a == b),
        }
    }

    /// Whether the variable may stand for the type, and whether it stood for one before.
    fn stands_for(&mut self, a: &Type, variable: usize) -> Result<(bool, bool), TooComplex> {
        if *a == Type::Variable(variable) {
            return Ok((true, true));
        }
        let Some(bound) = self.variables[variable].clone() else {
            let free = self.is_free_of(a, variable)?;
            if free {
                self.bind(variable, a.clone());
            }
            return Ok((free, false));
        };
        if *a == bound {
            return Ok((true, true));
        }
        if !self.one_fits(a, &bound)? {
            return Ok((false, true));
        }
        let general = self.most_general(a, &bound)?;
        if self.is_free_of(&general, variable)? {
            self.bind(variable, general);
        }
        Ok((true, true))
    }

    fn bind(&mut self, variable: usize, to: Type) {
        let before = self.variables[variable].replace(to);
        self.trail.push((variable, before));
    }

    /// Whether the variable is nowhere in the type.
    fn is_free_of(&mut self, within: &Type, variable: usize) -> Result<bool, TooComplex> {
        let mut rest = vec![within.clone()];
        while let Some(next) = rest.pop() {
            self.step()?;
            match next {
                Type::Variable(other) if other == variable => return Ok(false),
                Type::Variable(other) => rest.extend(self.variables[other].clone()),
                Type::Made(made) => rest.extend(made.parts.iter().cloned()),
                _ => {}
            }
        }
        Ok(true)
    }

    /// The one of two types that says less.
    pub(super) fn most_general(&mut self, a: &Type, b: &Type) -> Result<Type, TooComplex> {
        Ok(if self.says_no_more(a, b)? { a.clone() } else { b.clone() })
    }

    fn says_no_more(&mut self, a: &Type, b: &Type) -> Result<bool, TooComplex> {
        let mut rest = vec![(a.clone(), b.clone())];
        while let Some((a, b)) = rest.pop() {
            self.step()?;
            match (&a, &b) {
                (Type::Dyn | Type::Variable(_), _) => {}
                (_, Type::Dyn | Type::Variable(_)) => return Ok(false),
                (Type::Made(x), Type::Made(y)) if x.head == y.head => {
                    if x.head != Head::Type {
                        rest.extend(x.parts.iter().cloned().zip(y.parts.iter().cloned()));
                    }
                }
                _ if a == b => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The type with what is known of its variables.
    pub(super) fn known(&mut self, of: &Type) -> Result<Type, TooComplex> {
        self.depth += 1;
        self.step()?;
        let known = match of {
            Type::Variable(variable) => match self.variables[*variable].clone() {
                Some(bound) => self.known(&bound),
                None => Ok(of.clone()),
            },
            Type::Made(made) => {
                let parts: Result<_, _> = made.parts.iter().map(|part| self.known(part)).collect();
                parts.and_then(|parts| self.made(made.head, parts))
            }
            other => Ok(other.clone()),
        };
        self.depth -= 1;
        known
    }

    /// The type with what is known of its variables; of an unknown one nothing is known.
    pub(super) fn settled(&mut self, of: &Type) -> Result<Type, TooComplex> {
        Ok(match self.known(of)? {
            Type::Variable(_) => Type::Dyn,
            Type::Made(made) => {
                let parts: Result<_, _> =
                    made.parts.iter().map(|part| self.settled(part)).collect();
                self.made(made.head, parts?)?
            }
            other => other,
        })
    }
}

/// Whether `null` may stand for a value of the type.
fn may_be_null(of: &Type) -> bool {
    matches!(of, Type::Null | Type::Duration | Type::Timestamp | Type::Message(_))
        || of.optional().is_some()
}
