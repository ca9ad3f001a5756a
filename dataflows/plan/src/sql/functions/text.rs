//! Functions of texts.

use super::{Definition, Kind, Signature};
use crate::sql::expr::{EvalError, Type, Value};
use crate::sql::literal::{fold_case, to_text};
use crate::sql::node::{Evaluated, Function, Node};
use crate::sql::resolve::{Resolver, Typed};
use sqlparser::ast;
use std::borrow::Cow;

/// `lower(text)`
pub static LOWER: Definition = Definition {
    name: "lower",
    takes: "text",
    kind: Kind::Strict(&[Signature {
        arguments: &[Type::Text],
        result: Type::Text,
        call: |a| of_text(a, |text| text.chars().map(fold_case).collect()),
    }]),
};

/// `upper(text)`
pub static UPPER: Definition = Definition {
    name: "upper",
    takes: "text",
    kind: Kind::Strict(&[Signature {
        arguments: &[Type::Text],
        result: Type::Text,
        call: |a| of_text(a, |text| text.chars().map(upper).collect()),
    }]),
};

/// `length(text)`: characters.
pub static LENGTH: Definition = Definition {
    name: "length",
    takes: "text",
    kind: Kind::Strict(&[Signature { arguments: &[Type::Text], result: Type::Bigint, call: length }]),
};

/// `substr(text, from [, count])`: characters, the first is 1.
pub static SUBSTR: Definition =
    Definition { name: "substr", takes: "text, from (bigint), and count (bigint) if wanted", kind: SUBSTR_OF };

/// `substring(text, from [, count])`, also written `substring(text FROM from FOR count)`.
pub static SUBSTRING: Definition =
    Definition { name: "substring", takes: "text, from (bigint), and count (bigint) if wanted", kind: SUBSTR_OF };

const SUBSTR_OF: Kind = Kind::Strict(&[
    Signature { arguments: &[Type::Text, Type::Bigint], result: Type::Text, call: substr },
    Signature { arguments: &[Type::Text, Type::Bigint, Type::Bigint], result: Type::Text, call: substr },
]);

/// `concat(any, …)`: NULLs are left out.
pub static CONCAT: Definition = Definition { name: "concat", takes: "anything", kind: Kind::Custom(resolve_concat) };

/// `||`, once both sides are texts.
pub const CONCAT_OPERATOR: Function = Function { name: "||", call: join };

/// The upper case where that is one character, else itself.
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(u), None) => u,
        _ => c,
    }
}

fn of_text<'r>(arguments: &[Value<'r>], f: fn(&str) -> String) -> Evaluated<'r> {
    match arguments {
        [Value::Text(text)] => Ok(Value::Text(Cow::Owned(f(text)))),
        _ => Err(EvalError::WrongType),
    }
}

fn length<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Text(text)] => {
            i64::try_from(text.chars().count()).map(Value::Bigint).map_err(|_| EvalError::OutOfRange("bigint"))
        }
        _ => Err(EvalError::WrongType),
    }
}

/// Positions before the first character count: `substr('abc', -1, 3)` is `a`.
fn substr<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    let (text, from, count) = match arguments {
        [text @ Value::Text(_), Value::Bigint(from)] => (text, *from, None),
        [text @ Value::Text(_), Value::Bigint(from), Value::Bigint(count)] => (text, *from, Some(*count)),
        _ => return Err(EvalError::WrongType),
    };
    if count.is_some_and(|count| count < 0) {
        return Err(EvalError::OutOfRange("substring length"));
    }
    // The first character left out at the end, counted from 1.
    let end = count.map(|count| from.saturating_add(count));
    let skip = from.saturating_sub(1).max(0);
    let take = end.map(|end| end.saturating_sub(1).saturating_sub(skip).max(0));
    let position = |text: &str, characters: i64| {
        let nth = usize::try_from(characters).unwrap_or(usize::MAX);
        text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at)
    };
    let cut = |text: &str| {
        let start = position(text, skip);
        start..take.map_or(text.len(), |take| start + position(&text[start..], take))
    };
    match std::mem::replace(text, Value::Null) {
        Value::Text(Cow::Borrowed(text)) => Ok(Value::Text(Cow::Borrowed(&text[cut(text)]))),
        Value::Text(Cow::Owned(text)) => Ok(Value::Text(Cow::Owned(text[cut(&text)].to_owned()))),
        _ => Err(EvalError::WrongType),
    }
}

fn resolve_concat<'a>(_: &mut Resolver<'_>, arguments: Vec<Typed<'a>>, at: &'a ast::Expr) -> Option<Typed<'a>> {
    if arguments.is_empty() {
        return None;
    }
    let nodes = arguments.into_iter().map(|argument| argument.node).collect();
    Some(Typed::new(Node::Variadic(Function { name: "concat", call: concat }, nodes), Type::Text, at))
}

fn concat<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    let mut text = String::new();
    for argument in arguments {
        match argument {
            // The one place where PostgreSQL shows a boolean's short form.
            Value::Boolean(b) => text.push(if *b { 't' } else { 'f' }),
            other => text.push_str(&to_text(other)),
        }
    }
    Ok(Value::Text(Cow::Owned(text)))
}

fn join<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Text(left), Value::Text(right)] => {
            let mut text = std::mem::take(left).into_owned();
            text.push_str(right);
            Ok(Value::Text(Cow::Owned(text)))
        }
        _ => Err(EvalError::WrongType),
    }
}
