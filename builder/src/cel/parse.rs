//! From tokens to a tree, macros and limits included.
//!
//! In: an expression. Out: its [`Ast`], no deeper than cel-go lets it be.
//!
//! Source: cel-go `parser/gen/CEL.g4`, `parser/parser.go`, `parser/macro.go`, and `cel/library.go`
//! of optional types.
//!
//! Not here: whether names exist and types agree (`check`).

use super::ast::{Ast, Entry, Fold, How, Id, Item, Kind, Node};
use super::lex::{Spanned, Token, tokens};
use super::value::Value;
use super::{Env, Error, MAX_TEXT};

/// How often a rule of the grammar may be open at once, and how deep operators may nest: cel-go's
/// "recursion limit".
const MAX_DEPTH: u16 = 250;

/// Words that are no variables: cel-go `parser.go#reservedIds`.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Words that are no names at all, not even of fields.
const WORDS: [&str; 4] = ["in", "true", "false", "null"];

/// What cel-go calls the variable that collects a macro's result.
const ACCUMULATOR: &str = "__result__";

const RELATIONS: [&str; 7] = ["<", "<=", ">=", ">", "==", "!=", "in"];

/// Reads an expression.
pub(super) fn parse(env: Env, text: &str) -> Result<Ast, Box<Error>> {
    if text.chars().count() > MAX_TEXT {
        return Err(Error::new(0, format!("an expression has {MAX_TEXT} characters at most")));
    }
    let tokens = tokens(text)?;
    let mut parser =
        Parser { env, tokens, at: 0, ast: Ast::default(), heights: vec![], open: Open::default() };
    let root = parser.expr()?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    parser.ast.root = root;
    Ok(parser.ast)
}

struct Parser {
    env: Env,
    tokens: Vec<Spanned>,
    at: usize,
    ast: Ast,
    /// How many operators are on the longest way down from each node.
    heights: Vec<u16>,
    open: Open,
}

/// How often each rule that can hold itself is open.
#[derive(Clone, Copy, Default)]
struct Open {
    expr: u16,
    relation: u16,
    calc: u16,
    member: u16,
}

impl Open {
    fn fits(self) -> bool {
        [self.expr, self.relation, self.calc, self.member].into_iter().all(|n| n <= MAX_DEPTH)
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |spanned| spanned.offset)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        match self.peek() {
            Token::Sign(found) => *found == sign,
            Token::Name(word) => word == sign && WORDS.contains(&sign),
            _ => false,
        }
    }

    /// Takes the sign if it comes next; gives its place.
    fn take(&mut self, sign: &str) -> Option<usize> {
        let offset = self.offset();
        self.is(sign).then(|| {
            self.at += 1;
            offset
        })
    }

    fn expect(&mut self, sign: &str) -> Result<usize, Box<Error>> {
        self.take(sign).ok_or_else(|| self.unexpected(&format!("`{sign}`")))
    }

    fn unexpected(&self, wanted: &str) -> Box<Error> {
        let found = match self.peek() {
            Token::End => "the text ends".to_owned(),
            Token::Sign(sign) => format!("`{sign}` stands"),
            Token::Name(word) if WORDS.contains(&word.as_str()) => format!("`{word}` stands"),
            Token::Name(_) | Token::Quoted(_) => "a name stands".to_owned(),
            Token::Int { .. } | Token::Uint(_) | Token::Double(_) => "a number stands".to_owned(),
            Token::String(_) | Token::Bytes(_) => "a text in quotes stands".to_owned(),
        };
        Error::new(self.offset(), format!("{found} where {wanted} is expected"))
    }

    fn too_deep(&self) -> Box<Error> {
        Error::new(self.offset(), format!("the expression nests deeper than {MAX_DEPTH} levels"))
    }

    /// Counts one more open rule.
    fn enter(&mut self, rule: impl Fn(&mut Open) -> &mut u16) -> Result<(), Box<Error>> {
        *rule(&mut self.open) += 1;
        if self.open.fits() { Ok(()) } else { Err(self.too_deep()) }
    }

    /// Adds a node that holds others. Operators count as a level.
    fn node(&mut self, offset: usize, kind: Kind, parts: &[Id]) -> Result<Id, Box<Error>> {
        let own = match &kind {
            Kind::Call { function, target, .. } => {
                u16::from(target.is_some() || !function.starts_with(|c: char| c.is_alphanumeric()))
            }
            Kind::Select { .. } | Kind::Has { .. } | Kind::OptionalSelect { .. } => 1,
            Kind::Fold(_) | Kind::Bind { .. } => 1,
            _ => 0,
        };
        let below = parts.iter().filter_map(|&part| self.heights.get(part)).max();
        let height = own + below.copied().unwrap_or(0);
        if height > MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.heights.push(height);
        self.ast.nodes.push(Node { offset, kind });
        Ok(self.ast.nodes.len() - 1)
    }

    fn call(&mut self, offset: usize, function: &str, args: Vec<Id>) -> Result<Id, Box<Error>> {
        let parts = args.clone();
        let kind = Kind::Call { function: function.to_owned(), target: None, args };
        self.node(offset, kind, &parts)
    }

    /// `or ('?' or ':' expr)?`
    fn expr(&mut self) -> Result<Id, Box<Error>> {
        let before = self.open;
        self.enter(|open| &mut open.expr)?;
        let mut id = self.or()?;
        if let Some(offset) = self.take("?") {
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.expr()?;
            id = self.call(offset, "?:", vec![id, yes, no])?;
        }
        self.open = before;
        Ok(id)
    }

    /// `and ('||' and)*`, and the same of `relation ('&&' relation)*`.
    fn or(&mut self) -> Result<Id, Box<Error>> {
        let mut any = vec![];
        let start = self.offset();
        loop {
            let mut all = vec![self.relation()?];
            while self.take("&&").is_some() {
                all.push(self.relation()?);
            }
            any.push(self.logic(start, all, Kind::And)?);
            if self.take("||").is_none() {
                return self.logic(start, any, Kind::Or);
            }
        }
    }

    fn logic(
        &mut self,
        at: usize,
        ids: Vec<Id>,
        of: fn(Vec<Id>) -> Kind,
    ) -> Result<Id, Box<Error>> {
        match ids[..] {
            [only] => Ok(only),
            _ => {
                let parts = ids.clone();
                self.node(at, of(ids), &parts)
            }
        }
    }

    fn relation(&mut self) -> Result<Id, Box<Error>> {
        let before = self.open;
        self.enter(|open| &mut open.relation)?;
        let mut id = self.calc(0)?;
        while let Some((sign, offset)) = self.take_one_of(&RELATIONS) {
            let inner = self.open;
            self.enter(|open| &mut open.relation)?;
            let right = self.calc(0)?;
            self.open = inner;
            id = self.call(offset, sign, vec![id, right])?;
        }
        self.open = before;
        Ok(id)
    }

    fn take_one_of(&mut self, signs: &[&'static str]) -> Option<(&'static str, usize)> {
        signs.iter().find_map(|sign| self.take(sign).map(|offset| (*sign, offset)))
    }

    /// Sums (level 0) of products (level 1) of members with a sign.
    fn calc(&mut self, level: u8) -> Result<Id, Box<Error>> {
        const LEVELS: [&[&str]; 2] = [&["+", "-"], &["*", "/", "%"]];
        let before = self.open;
        self.enter(|open| &mut open.calc)?;
        let mut id = self.unary()?;
        loop {
            let product = self.take_one_of(LEVELS[1]);
            let sum = || level == 0;
            let Some((sign, offset)) =
                product.or_else(|| sum().then(|| self.take_one_of(LEVELS[0])).flatten())
            else {
                break;
            };
            let right = if product.is_some() { self.factor()? } else { self.calc(1)? };
            id = self.call(offset, sign, vec![id, right])?;
        }
        self.open = before;
        Ok(id)
    }

    /// What stands right of `*`: one member, which is open in the grammar's rule of sums, too.
    fn factor(&mut self) -> Result<Id, Box<Error>> {
        let before = self.open;
        self.enter(|open| &mut open.calc)?;
        let id = self.unary()?;
        self.open = before;
        Ok(id)
    }

    /// `'!'+ member`, `'-'+ member` or a member; signs in pairs are none.
    fn unary(&mut self) -> Result<Id, Box<Error>> {
        let (sign, function) = if self.is("!") { ("!", "!") } else { ("-", "-_") };
        let offset = self.offset();
        let mut signs = 0_usize;
        while self.take(sign).is_some() {
            signs += 1;
        }
        let number = matches!(self.peek(), Token::Int { .. } | Token::Double(_));
        if sign == "-" && signs == 1 && number {
            return self.member(true, offset);
        }
        let member = self.member(false, self.offset())?;
        if signs.is_multiple_of(2) { Ok(member) } else { self.call(offset, function, vec![member]) }
    }

    fn member(&mut self, negative: bool, start: usize) -> Result<Id, Box<Error>> {
        let before = self.open;
        self.enter(|open| &mut open.member)?;
        let mut id = self.primary(negative, start)?;
        loop {
            if let Some(offset) = self.take(".") {
                id = self.after_point(id, offset)?;
            } else if let Some(offset) = self.take("[") {
                let optional = self.optional_mark()?;
                let index = self.expr()?;
                self.expect("]")?;
                let function = if optional { "[?]" } else { "[]" };
                id = self.call(offset, function, vec![id, index])?;
            } else {
                self.open = before;
                return Ok(id);
            }
        }
    }

    /// A `?` of the syntax of optional values, if there is one.
    fn optional_mark(&mut self) -> Result<bool, Box<Error>> {
        match self.take("?") {
            Some(offset) if !self.env.has_optionals() => {
                Err(Error::new(offset, "there are no optional values here")
                    .help("drop the `?`; `has(a.b)` asks whether a field is set"))
            }
            found => Ok(found.is_some()),
        }
    }

    fn after_point(&mut self, operand: Id, offset: usize) -> Result<Id, Box<Error>> {
        let optional = self.optional_mark()?;
        let place = self.offset();
        let plain = matches!(self.peek(), Token::Name(_));
        let field = self.field()?;
        if optional {
            return self.node(offset, Kind::OptionalSelect { operand, field }, &[operand]);
        }
        let Some(open) = self.take("(").filter(|_| plain) else {
            return self.node(offset, Kind::Select { operand, field }, &[operand]);
        };
        let args = self.args()?;
        self.method(open, place, operand, field, args)
    }

    /// A field's name, in backticks from Talos 1.14 on.
    fn field(&mut self) -> Result<String, Box<Error>> {
        match self.peek().clone() {
            Token::Name(name) if !WORDS.contains(&name.as_str()) => {
                self.at += 1;
                Ok(name)
            }
            Token::Quoted(name) if self.env.minor >= 14 => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a field's name")),
        }
    }

    /// `expr (',' expr)* ')'`
    fn args(&mut self) -> Result<Vec<Id>, Box<Error>> {
        let mut args = vec![];
        if self.take(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    /// A call with a target: a macro, or a function. `offset` is that of the bracket, which is
    /// where cel-go sees a call.
    fn method(
        &mut self,
        offset: usize,
        place: usize,
        target: Id,
        function: String,
        args: Vec<Id>,
    ) -> Result<Id, Box<Error>> {
        let how = match (function.as_str(), args.len()) {
            ("all", 2) => Some(How::All),
            ("exists", 2) => Some(How::Exists),
            ("exists_one", 2) => Some(How::ExistsOne),
            ("filter", 2) => Some(How::Filter),
            ("map", 2 | 3) => Some(How::Map),
            _ => None,
        };
        let mut parts = args.clone();
        parts.push(target);
        let flat = function == "optFlatMap";
        let binds = args.len() == 2 && self.env.has_optionals() && (flat || function == "optMap");
        let kind = match (how, &args[..]) {
            (Some(how), &[name, body]) => {
                let name = self.variable(name)?;
                Kind::Fold(Fold { how, range: target, name, filter: None, body })
            }
            (Some(how), &[name, filter, body]) => {
                let name = self.variable(name)?;
                Kind::Fold(Fold { how, range: target, name, filter: Some(filter), body })
            }
            (None, &[name, body]) if binds => {
                Kind::Bind { target, name: self.variable(name)?, body, flat }
            }
            _ => {
                return self.node(
                    place,
                    Kind::Call { function, target: Some(target), args },
                    &parts,
                );
            }
        };
        self.node(offset, kind, &parts)
    }

    /// The name that a macro gives to what it looks at.
    fn variable(&self, id: Id) -> Result<String, Box<Error>> {
        let node = &self.ast.nodes[id];
        match &node.kind {
            Kind::Name(name) if name == ACCUMULATOR => {
                Err(Error::new(node.offset, format!("`{name}` is CEL's own"))
                    .help("choose another"))
            }
            Kind::Name(name) => Ok(name.clone()),
            _ => Err(Error::new(node.offset, "the first argument of this macro is no simple name")
                .help("write a name such as `x`; the second argument may use it")),
        }
    }

    fn primary(&mut self, negative: bool, start: usize) -> Result<Id, Box<Error>> {
        let offset = self.offset();
        if self.take("(").is_some() {
            let id = self.expr()?;
            self.expect(")")?;
            return Ok(id);
        }
        if self.take("[").is_some() {
            return self.list(offset);
        }
        if self.take("{").is_some() {
            return self.map(offset);
        }
        if self.is(".")
            || matches!(self.peek(), Token::Name(word) if !WORDS.contains(&word.as_str()))
        {
            return self.name(offset);
        }
        let value = self.literal(negative, start)?;
        self.node(start.min(offset), Kind::Literal(value), &[])
    }

    /// A value that stands for itself.
    fn literal(&mut self, negative: bool, start: usize) -> Result<Value, Box<Error>> {
        let value = match self.peek().clone() {
            Token::Int { digits, radix } => self.int(negative, &digits, radix, start)?,
            Token::Uint(value) => Value::Uint(value),
            Token::Double(value) => Value::Double(if negative { -value } else { value }),
            Token::String(text) => Value::String(text.into()),
            Token::Bytes(bytes) => Value::Bytes(bytes.into()),
            Token::Name(word) if word == "true" => Value::Bool(true),
            Token::Name(word) if word == "false" => Value::Bool(false),
            Token::Name(word) if word == "null" => Value::Null,
            _ => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(value)
    }

    fn int(
        &self,
        minus: bool,
        digits: &str,
        radix: u32,
        start: usize,
    ) -> Result<Value, Box<Error>> {
        let text = if minus { format!("-{digits}") } else { digits.to_owned() };
        let value = i64::from_str_radix(&text, radix);
        value.map(Value::Int).map_err(|_| {
            Error::new(start, "this number is larger than an int can be")
                .help("a `u` behind it makes it a uint, which holds twice as much")
        })
    }

    /// A name, or the call of a function; both may start with a point.
    fn name(&mut self, offset: usize) -> Result<Id, Box<Error>> {
        let pointed = self.take(".").is_some();
        // The cel-go of Talos 1.12 finds a macro's name behind a point, too.
        let point = if pointed && self.env.minor > 12 { "." } else { "" };
        let Token::Name(word) = self.next() else {
            self.at -= 1;
            return Err(self.unexpected("a name"));
        };
        if RESERVED.contains(&word.as_str()) {
            return Err(Error::new(offset, format!("`{word}` is a word of the language")));
        }
        if self.is("{") {
            return Err(Error::new(self.offset(), "messages cannot be made here")
                .help("compare the fields one by one"));
        }
        let name = format!("{point}{word}");
        let Some(open) = self.take("(") else {
            return self.node(offset, Kind::Name(name), &[]);
        };
        let args = self.args()?;
        if word == "has" && !pointed && args.len() == 1 {
            return self.has(open, args[0]);
        }
        let parts = args.clone();
        self.node(offset, Kind::Call { function: name, target: None, args }, &parts)
    }

    fn has(&mut self, offset: usize, of: Id) -> Result<Id, Box<Error>> {
        match &self.ast.nodes[of].kind {
            Kind::Select { operand, field } => {
                let (operand, field) = (*operand, field.clone());
                self.node(offset, Kind::Has { operand, field }, &[operand])
            }
            _ => Err(Error::new(self.ast.nodes[of].offset, "`has` takes a field")
                .help("write it as `has(a.b)`")),
        }
    }

    /// `(item (',' item)*)? ','? ']'`
    fn list(&mut self, offset: usize) -> Result<Id, Box<Error>> {
        let (mut items, mut parts) = (vec![], vec![]);
        while self.take("]").is_none() {
            if !items.is_empty() {
                self.expect(",")?;
                if self.take("]").is_some() {
                    break;
                }
            } else if self.take(",").is_some() {
                self.expect("]")?;
                break;
            }
            let optional = self.optional_mark()?;
            let value = self.expr()?;
            items.push(Item { value, optional });
            parts.push(value);
        }
        self.node(offset, Kind::List(items), &parts)
    }

    /// `(item ':' expr (',' item ':' expr)*)? ','? '}'`
    fn map(&mut self, offset: usize) -> Result<Id, Box<Error>> {
        let (mut entries, mut parts) = (vec![], vec![]);
        while self.take("}").is_none() {
            if !entries.is_empty() {
                self.expect(",")?;
                if self.take("}").is_some() {
                    break;
                }
            } else if self.take(",").is_some() {
                self.expect("}")?;
                break;
            }
            let optional = self.optional_mark()?;
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(Entry { key, value: Item { value, optional } });
            parts.extend([key, value]);
        }
        self.node(offset, Kind::Map(entries), &parts)
    }
}
