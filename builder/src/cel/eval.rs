//! What an expression comes to.
//!
//! In: a checked tree, what is bound. Out: true, false, or what failed.
//!
//! Source: the CEL language definition, "Logical Operators" and "Macros",
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md#evaluation>; cel-go
//! `interpreter/interpretable.go`. `&&`, `||`, `all` and `exists` pass over a failure where the
//! rest decides.
//!
//! Not here: functions and operators on values (`call`).

use std::sync::Arc;

use super::ast::{Ast, Fold, How, Id, Kind};
use super::call::{Failure, call, index};
use super::value::{Value, position};
use super::{Bindings, Error, SystemDisk};

/// How much work an evaluation may be: about as many values as are made or looked at.
const MAX_STEPS: u64 = 1 << 20;

/// Evaluates a condition.
pub(super) fn evaluate(ast: &Ast, bindings: &Bindings<'_>) -> Result<bool, Box<Error>> {
    let mut machine = Machine { ast, bindings, locals: vec![], steps: MAX_STEPS };
    let found = machine.of(ast.root);
    // A failure for want of steps must not be passed over.
    if machine.steps == 0 {
        let message = "the expression is more work than a selector may be";
        return Err(Error::new(ast.nodes[ast.root].offset, message));
    }
    match found? {
        Value::Bool(value) => Ok(value),
        other => Err(machine.error(ast.root, format!("this is a {}", other.type_name()))),
    }
}

struct Machine<'a> {
    ast: &'a Ast,
    bindings: &'a Bindings<'a>,
    /// The names that macros around the present place give, the innermost last.
    locals: Vec<(&'a str, Value)>,
    /// How much work is left.
    steps: u64,
}

impl<'a> Machine<'a> {
    fn error(&self, at: Id, message: impl Into<String>) -> Box<Error> {
        Error::new(self.ast.nodes[at].offset, message)
    }

    /// Counts so much work.
    fn work(&mut self, at: Id, steps: usize) -> Result<(), Box<Error>> {
        self.steps = self.steps.saturating_sub(u64::try_from(steps).unwrap_or(u64::MAX));
        if self.steps == 0 { Err(self.error(at, "too much work")) } else { Ok(()) }
    }

    fn failed<T>(&mut self, at: Id, result: Result<T, Failure>) -> Result<T, Box<Error>> {
        result.map_err(|failure| match failure {
            Failure::Steps => {
                self.steps = 0;
                self.error(at, "too much work")
            }
            Failure::Because(message) => self.error(at, message),
        })
    }

    fn of(&mut self, id: Id) -> Result<Value, Box<Error>> {
        self.work(id, 1)?;
        let ast = self.ast;
        match &ast.nodes[id].kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Name(name) => self.name(id, name),
            Kind::Select { operand, field } => {
                let operand = self.of(*operand)?;
                self.select(id, &operand, field)
            }
            Kind::Has { operand, field } => {
                let operand = self.of(*operand)?;
                self.has(id, &operand, field).map(Value::Bool)
            }
            Kind::Call { function, target, args } => self.call(id, function, *target, args),
            Kind::And(terms) => self.decide(id, terms, false),
            Kind::Or(terms) => self.decide(id, terms, true),
            Kind::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.push(self.of(item.value)?);
                }
                Ok(Value::List(Arc::new(values)))
            }
            Kind::Map(entries) => {
                let mut made: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
                for entry in entries {
                    let (key, value) = (self.of(entry.key)?, self.of(entry.value.value)?);
                    let found = position(&made, &key, &mut self.steps).ok_or(Failure::Steps);
                    match self.failed(id, found)? {
                        Some(at) => made[at] = (key, value),
                        None => made.push((key, value)),
                    }
                }
                Ok(Value::Map(Arc::new(made)))
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::OptionalSelect { .. } | Kind::Bind { .. } => {
                Err(self.error(id, "optional values are not evaluated"))
            }
        }
    }

    fn name(&self, id: Id, name: &str) -> Result<Value, Box<Error>> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(local, _)| *local == name) {
            return Ok(value.clone());
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        let found = match (self.bindings, plain) {
            (Bindings::Disk(disk, _), "disk") => Some(disk.value()),
            (Bindings::Disk(_, SystemDisk::No), "system_disk") => Some(Value::Bool(false)),
            (Bindings::Disk(_, SystemDisk::Yes), "system_disk") => Some(Value::Bool(true)),
            (Bindings::Link(link), "link") => Some(link.value()),
            _ => None,
        };
        found.ok_or_else(|| self.error(id, format!("`{plain}` is not known here")))
    }

    fn select(&mut self, id: Id, operand: &Value, field: &str) -> Result<Value, Box<Error>> {
        match operand {
            Value::Message(message, fields) => {
                let known = message.fields.iter().find(|known| known.name == field);
                let known = known.ok_or_else(|| self.error(id, "there is no such field"))?;
                Ok(Value::field(fields, known))
            }
            Value::Map(_) => {
                let found = index(operand, &Value::String(field.into()), &mut self.steps);
                self.failed(id, found)
            }
            other => Err(self.error(id, format!("a {} has no fields", other.type_name()))),
        }
    }

    fn has(&mut self, id: Id, operand: &Value, field: &str) -> Result<bool, Box<Error>> {
        match operand {
            Value::Message(message, fields) => {
                if !message.fields.iter().any(|known| known.name == field) {
                    return Err(self.error(id, "there is no such field"));
                }
                Ok(fields.iter().any(|(name, value)| *name == field && !value.is_zero()))
            }
            Value::Map(entries) => {
                let key = Value::String(field.into());
                let found = position(entries, &key, &mut self.steps).ok_or(Failure::Steps);
                self.failed(id, found).map(|at| at.is_some())
            }
            other => Err(self.error(id, format!("a {} has no fields", other.type_name()))),
        }
    }

    fn call(
        &mut self,
        id: Id,
        function: &str,
        target: Option<Id>,
        args: &[Id],
    ) -> Result<Value, Box<Error>> {
        if let ("?:", &[condition, yes, no]) = (function, args) {
            return match self.of(condition)? {
                Value::Bool(true) => self.of(yes),
                Value::Bool(false) => self.of(no),
                other => Err(self.error(condition, format!("this is a {}", other.type_name()))),
            };
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for &arg in target.iter().chain(args) {
            values.push(self.of(arg)?);
        }
        let found = call(function, &values, &mut self.steps);
        let found = self.failed(id, found)?;
        self.work(id, found.len())?;
        Ok(found)
    }

    /// `&&` (which false decides) or `||` (which true decides).
    fn decide(&mut self, id: Id, terms: &[Id], decisive: bool) -> Result<Value, Box<Error>> {
        let mut outcome = Ok(Value::Bool(!decisive));
        for &term in terms {
            let found = self.truth(term);
            if self.weigh(&mut outcome, found, decisive) {
                break;
            }
        }
        self.work(id, 1)?;
        outcome
    }

    /// A part that is true or false.
    fn truth(&mut self, id: Id) -> Result<bool, Box<Error>> {
        match self.of(id)? {
            Value::Bool(value) => Ok(value),
            other => Err(self.error(id, format!("this is a {}", other.type_name()))),
        }
    }

    /// Adds one term to the outcome; tells whether that decides.
    fn weigh(
        &self,
        outcome: &mut Result<Value, Box<Error>>,
        term: Result<bool, Box<Error>>,
        decisive: bool,
    ) -> bool {
        match term {
            Ok(value) if value == decisive => {
                *outcome = Ok(Value::Bool(decisive));
                true
            }
            Err(error) if outcome.is_ok() => {
                *outcome = Err(error);
                self.steps == 0
            }
            _ => self.steps == 0,
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Result<Value, Box<Error>> {
        let items = match self.of(fold.range)? {
            Value::List(items) => items,
            Value::Map(entries) => {
                self.work(fold.range, entries.len())?;
                Arc::new(entries.iter().map(|(key, _)| key.clone()).collect())
            }
            other => {
                let message = format!("a {} is no list and no map", other.type_name());
                return Err(self.error(fold.range, message));
            }
        };
        match fold.how {
            How::All => self.quantify(fold, &items, false),
            How::Exists => self.quantify(fold, &items, true),
            How::ExistsOne => self.kept(fold, &items).map(|kept| Value::Bool(kept.len() == 1)),
            How::Filter => self.kept(fold, &items).map(|kept| Value::List(Arc::new(kept))),
            How::Map => self.map(fold, &items),
        }
    }

    /// Evaluates a part with a value for the macro's name.
    fn truth_with(&mut self, fold: &'a Fold, item: &Value, part: Id) -> Result<bool, Box<Error>> {
        self.locals.push((&fold.name, item.clone()));
        let found = self.truth(part);
        self.locals.pop();
        found
    }

    fn quantify(&mut self, fold: &'a Fold, items: &[Value], is: bool) -> Result<Value, Box<Error>> {
        let mut outcome = Ok(Value::Bool(!is));
        for item in items {
            let found = self.truth_with(fold, item, fold.body);
            if self.weigh(&mut outcome, found, is) {
                break;
            }
        }
        outcome
    }

    /// The items for which the condition holds.
    fn kept(&mut self, fold: &'a Fold, items: &[Value]) -> Result<Vec<Value>, Box<Error>> {
        let mut kept = vec![];
        for item in items {
            if self.truth_with(fold, item, fold.body)? {
                kept.push(item.clone());
            }
        }
        Ok(kept)
    }

    fn map(&mut self, fold: &'a Fold, items: &[Value]) -> Result<Value, Box<Error>> {
        let mut made = vec![];
        for item in items {
            if let Some(filter) = fold.filter
                && !self.truth_with(fold, item, filter)?
            {
                continue;
            }
            self.locals.push((&fold.name, item.clone()));
            let found = self.of(fold.body);
            self.locals.pop();
            made.push(found?);
        }
        Ok(Value::List(Arc::new(made)))
    }
}
