//! Whether an expression's names exist and its types agree.
//!
//! In: a tree. Out: the tree with constants and types in place of their names, and its type.
//!
//! Source: cel-go `checker/checker.go`; types that the text does not tell are `dyn`, and lists may
//! mix them, as cel-go has it unless told otherwise.
//!
//! Not here: which types agree (`unify`), what functions take (`functions`).

use super::ast::{Ast, Entry, Fold, How, Id, Item, Kind};
use super::functions::{names, overloads, signature};
use super::types::{Head, Type};
use super::unify::{Known, TooComplex};
use super::value::Value;
use super::{Env, Error, env};
use crate::yaml::meant::nearest;

/// Finds the type of an expression, and puts constants and types in place of their names.
pub(super) fn check(env: Env, ast: &mut Ast) -> Result<Type, Box<Error>> {
    let root = ast.root;
    let mut checker = Checker { env, ast, known: Known::default(), locals: vec![] };
    let found = checker.of(root)?;
    checker.settle(root, &found)
}

struct Checker<'a> {
    env: Env,
    ast: &'a mut Ast,
    known: Known,
    /// The names that macros around the present place give, the innermost last.
    locals: Vec<(String, Type)>,
}

impl Checker<'_> {
    fn error(&self, at: Id, message: impl Into<String>) -> Box<Error> {
        Error::new(self.ast.nodes[at].offset, message)
    }

    fn complex<T>(&self, at: Id, result: Result<T, TooComplex>) -> Result<T, Box<Error>> {
        result.map_err(|TooComplex| self.error(at, "the types of this expression are too complex"))
    }

    fn settle(&mut self, at: Id, of: &Type) -> Result<Type, Box<Error>> {
        let settled = self.known.settled(of);
        self.complex(at, settled)
    }

    fn known(&mut self, at: Id, of: &Type) -> Result<Type, Box<Error>> {
        let known = self.known.known(of);
        self.complex(at, known)
    }

    fn made(&self, at: Id, head: Head, parts: Vec<Type>) -> Result<Type, Box<Error>> {
        self.complex(at, self.known.made(head, parts))
    }

    fn fits(&mut self, at: Id, a: &Type, b: &Type) -> Result<bool, Box<Error>> {
        let fits = self.known.fits(a, b);
        self.complex(at, fits)
    }

    /// The type of a node.
    fn of(&mut self, id: Id) -> Result<Type, Box<Error>> {
        // The node's kind is taken out and put back, so that its parts can be changed meanwhile.
        let kind = std::mem::replace(&mut self.ast.nodes[id].kind, Kind::Literal(Value::Null));
        let (found, kind) = self.of_kind(id, kind)?;
        self.ast.nodes[id].kind = kind;
        Ok(found)
    }

    fn of_kind(&mut self, id: Id, kind: Kind) -> Result<(Type, Kind), Box<Error>> {
        let found = match &kind {
            Kind::Literal(value) => literal(value),
            Kind::Name(name) => {
                let (found, value) = self.name(id, name)?;
                return Ok((found, value.map_or(kind, Kind::Literal)));
            }
            Kind::Select { operand, field } => {
                if let Some(path) = self.path(*operand, field)
                    && let Some((found, value)) = env::type_name(self.env, &path)
                {
                    return Ok((found, Kind::Literal(value)));
                }
                self.select(id, *operand, field)?
            }
            Kind::Has { operand, field } => {
                self.select(id, *operand, field)?;
                Type::Bool
            }
            Kind::OptionalSelect { operand, field } => {
                let found = self.select(id, *operand, field)?;
                match found.optional() {
                    Some(_) => found,
                    None => self.made(id, Head::Optional, vec![found])?,
                }
            }
            Kind::Call { .. } => return self.call(id, kind),
            Kind::And(terms) | Kind::Or(terms) => {
                for &term in terms {
                    self.condition(term)?;
                }
                Type::Bool
            }
            Kind::List(items) => self.list(id, items)?,
            Kind::Map(entries) => self.map(id, entries)?,
            Kind::Fold(fold) => self.fold(id, fold)?,
            Kind::Bind { target, name, body, flat } => {
                self.bind(id, *target, name, *body, *flat)?
            }
        };
        Ok((found, kind))
    }

    /// A name's type, and its value if it stands for one.
    fn name(&mut self, id: Id, name: &str) -> Result<(Type, Option<Value>), Box<Error>> {
        if let Some((_, found)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Ok((found.clone(), None));
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        if let Some(found) = env::variable(self.env, plain) {
            return Ok((found, None));
        }
        if let Some(value) = env::constant(self.env, plain) {
            return Ok((literal(&value), Some(value)));
        }
        if let Some((found, value)) = env::type_name(self.env, plain) {
            return Ok((found, Some(value)));
        }
        let error = self.error(id, format!("there is no `{plain}`"));
        let known: Vec<_> = env::names(self.env).collect();
        Err(match nearest(plain, known.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("there are {}", listed(&env::variables(self.env)))),
        })
    }

    /// The dotted name that a selection may be, unless it starts with a macro's name.
    fn path(&self, operand: Id, field: &str) -> Option<String> {
        let mut parts = vec![field];
        let mut at = operand;
        loop {
            match &self.ast.nodes[at].kind {
                Kind::Select { operand, field } => {
                    parts.push(field);
                    at = *operand;
                }
                Kind::Name(name) if !self.locals.iter().any(|(local, _)| local == name) => {
                    parts.push(name.strip_prefix('.').unwrap_or(name));
                    parts.reverse();
                    return Some(parts.join("."));
                }
                _ => return None,
            }
        }
    }

    fn select(&mut self, id: Id, operand: Id, field: &str) -> Result<Type, Box<Error>> {
        let whole = self.of(operand)?;
        let whole = self.known(operand, &whole)?;
        let target = whole.optional().unwrap_or(&whole);
        let found = match target {
            Type::Dyn => Type::Dyn,
            Type::Variable(_) => {
                self.fits(id, &Type::Dyn, target)?;
                Type::Dyn
            }
            Type::Message(message) => {
                let minor = self.env.minor;
                match message.fields(minor).find(|known| known.name == field) {
                    Some(known) => known.kind.of(),
                    None => return Err(self.no_field(id, message, field)),
                }
            }
            other => match other.entry() {
                Some((_, value)) => value.clone(),
                None => {
                    return Err(self.error(id, format!("a value of type {other} has no fields")));
                }
            },
        };
        match whole.optional() {
            Some(_) => self.made(id, Head::Optional, vec![found]),
            None => Ok(found),
        }
    }

    fn no_field(&self, id: Id, message: &super::schema::Message, field: &str) -> Box<Error> {
        let minor = self.env.minor;
        let short = message.name.rsplit('.').next().unwrap_or(message.name);
        if let Some(later) = message.fields.iter().find(|known| known.name == field) {
            let since = later.since;
            return self
                .error(id, format!("`{field}` of {short} is new in Talos 1.{since}"))
                .help(format!("this is for Talos 1.{minor}; compare another field"));
        }
        let known: Vec<_> = message.fields(minor).map(|field| field.name).collect();
        let error = self.error(id, format!("{short} has no field `{field}`"));
        match nearest(field, known.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("its fields are {}", listed(&known))),
        }
    }

    fn call(&mut self, id: Id, kind: Kind) -> Result<(Type, Kind), Box<Error>> {
        let Kind::Call { function, target, args } = kind else { return Ok((Type::Dyn, kind)) };
        let mut types = vec![];
        if let Some(target) = target {
            // `optional.of(x)`: a function whose name has a point.
            if let Kind::Name(name) = &self.ast.nodes[target].kind {
                let name = format!("{}.{function}", name.strip_prefix('.').unwrap_or(name));
                if !overloads(self.env, &name).is_empty() {
                    return self.call(id, Kind::Call { function: name, target: None, args });
                }
            }
        }
        for &arg in &args {
            types.push(self.of(arg)?);
        }
        if let Some(target) = target {
            types.insert(0, self.of(target)?);
        }
        let found = self.resolve(id, &function, &types, target.is_some())?;
        Ok((found, Kind::Call { function, target, args }))
    }

    fn resolve(
        &mut self,
        id: Id,
        function: &str,
        types: &[Type],
        member: bool,
    ) -> Result<Type, Box<Error>> {
        let name = function.strip_prefix('.').unwrap_or(function);
        let candidates = overloads(self.env, name);
        if candidates.is_empty() {
            let error = self.error(id, format!("there is no function `{name}`"));
            let near = nearest(name, names(self.env));
            return Err(match near {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("see the standard functions of CEL, `glob` and `mac`"),
            });
        }
        let mut result: Option<Type> = None;
        for overload in candidates.into_iter().filter(|o| o.member == member) {
            let made = signature(&mut self.known, overload);
            let (takes, gives) = self.complex(id, made)?;
            let fits = self.known.all_fit(types, &takes);
            if self.complex(id, fits)? {
                let gives = self.known(id, &gives)?;
                result = Some(match result {
                    Some(before) if before != Type::Dyn && before != gives => Type::Dyn,
                    Some(before) => before,
                    None => gives,
                });
            }
        }
        match result {
            Some(found) => Ok(found),
            None => Err(self.no_overload(id, name, types, member)?),
        }
    }

    fn no_overload(
        &mut self,
        id: Id,
        name: &str,
        types: &[Type],
        member: bool,
    ) -> Result<Box<Error>, Box<Error>> {
        let mut settled = vec![];
        for found in types {
            settled.push(self.settle(id, found)?);
        }
        let sign = if name == "-_" { "-" } else { name };
        let words: Vec<_> = settled.iter().map(ToString::to_string).collect();
        let message = match (&words[..], member) {
            ([], _) => format!("`{sign}` takes arguments"),
            ([target], true) => format!("`{sign}()` is not for a value of type {target}"),
            ([target, args @ ..], true) => {
                format!("`{sign}` of a value of type {target} does not take {}", args.join(" and "))
            }
            (args, false) => format!("`{sign}` does not take {}", args.join(" and ")),
        };
        let numbers = settled.contains(&Type::Uint)
            && (settled.contains(&Type::Int) || settled.contains(&Type::Double));
        let error = self.error(id, message);
        Ok(if numbers {
            error.help("sizes and counters are unsigned: write whole numbers with a `u`, `500u`")
        } else {
            error
        })
    }

    /// A part that must be true or false.
    fn condition(&mut self, id: Id) -> Result<(), Box<Error>> {
        let found = self.of(id)?;
        if self.fits(id, &found, &Type::Bool)? {
            return Ok(());
        }
        let found = self.settle(id, &found)?;
        Err(self.error(id, format!("this is of type {found}, and must be true or false")))
    }

    /// The type of all values that are of one or the other type.
    fn join(&mut self, at: Id, before: Option<Type>, next: Type) -> Result<Type, Box<Error>> {
        let Some(before) = before else { return Ok(next) };
        if !self.fits(at, &before, &next)? {
            return Ok(Type::Dyn);
        }
        let general = self.known.most_general(&before, &next);
        self.complex(at, general)
    }

    fn item(&mut self, item: Item) -> Result<Type, Box<Error>> {
        let found = self.of(item.value)?;
        match found.optional() {
            Some(inner) if item.optional => Ok(inner.clone()),
            None if item.optional && found != Type::Dyn => {
                let found = self.settle(item.value, &found)?;
                Err(self
                    .error(item.value, format!("this is of type {found}, and not optional"))
                    .help("drop the `?`"))
            }
            _ => Ok(found),
        }
    }

    fn list(&mut self, id: Id, items: &[Item]) -> Result<Type, Box<Error>> {
        let mut all = None;
        for &item in items {
            let next = self.item(item)?;
            all = Some(self.join(item.value, all, next)?);
        }
        let all = all.unwrap_or_else(|| self.known.fresh());
        self.made(id, Head::List, vec![all])
    }

    fn map(&mut self, id: Id, entries: &[Entry]) -> Result<Type, Box<Error>> {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.of(entry.key)?;
            keys = Some(self.join(entry.key, keys, key)?);
            let value = self.item(entry.value)?;
            values = Some(self.join(entry.value.value, values, value)?);
        }
        let keys = keys.unwrap_or_else(|| self.known.fresh());
        let values = values.unwrap_or_else(|| self.known.fresh());
        self.made(id, Head::Map, vec![keys, values])
    }

    fn fold(&mut self, id: Id, fold: &Fold) -> Result<Type, Box<Error>> {
        let range = self.of(fold.range)?;
        let range = self.known(fold.range, &range)?;
        let item = match &range {
            Type::Dyn => Type::Dyn,
            Type::Variable(_) => {
                self.fits(fold.range, &Type::Dyn, &range)?;
                Type::Dyn
            }
            other => match other.item().or_else(|| Some(other.entry()?.0)) {
                Some(item) => item.clone(),
                None => {
                    let message = format!("this is of type {other}, and no list or map");
                    return Err(self.error(fold.range, message));
                }
            },
        };
        self.locals.push((fold.name.clone(), item.clone()));
        let found = self.folded(id, fold, item);
        self.locals.pop();
        found
    }

    fn folded(&mut self, id: Id, fold: &Fold, item: Type) -> Result<Type, Box<Error>> {
        if let Some(filter) = fold.filter {
            self.condition(filter)?;
        }
        match fold.how {
            How::All | How::Exists | How::ExistsOne => {
                self.condition(fold.body)?;
                Ok(Type::Bool)
            }
            How::Filter => {
                self.condition(fold.body)?;
                self.made(id, Head::List, vec![item])
            }
            How::Map => {
                let body = self.of(fold.body)?;
                self.made(id, Head::List, vec![body])
            }
        }
    }

    fn bind(
        &mut self,
        id: Id,
        target: Id,
        name: &str,
        body: Id,
        flat: bool,
    ) -> Result<Type, Box<Error>> {
        let found = self.of(target)?;
        let inner = self.resolve(id, "value", std::slice::from_ref(&found), true)?;
        self.locals.push((name.to_owned(), inner));
        let made = self.of(body);
        self.locals.pop();
        let made = made?;
        if !flat {
            return self.made(id, Head::Optional, vec![made]);
        }
        let any = self.known.fresh();
        let none = self.made(id, Head::Optional, vec![any])?;
        self.resolve(id, "?:", &[Type::Bool, made, none], false)
    }
}

/// The type of a value that stands in an expression.
fn literal(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        Value::List(_) | Value::Map(_) | Value::Type(_) | Value::Message(..) => Type::Dyn,
    }
}

/// Names as a text.
fn listed(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
