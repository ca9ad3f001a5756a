//! Simplifies nodes whose parts are constants, when they are made. What evaluation gives or raises, from left to right,
//! stays the same for every row: a constant part that would raise an error stays as it is, and raises it where a row
//! gets there; only what no row gets to goes away.

use super::eval::eval;
use super::expr::{Row, Value};
use super::node::{Constant, Node};

/// A row for expressions without columns.
struct NoRow;

impl Row for NoRow {
    fn column(&self, _: usize) -> Value<'_> {
        Value::Null
    }
}

/// The node, or a simpler one of the same meaning. Its parts are simple already.
pub fn simplify(node: Node) -> Node {
    match node {
        Node::And(nodes) => junction(nodes, false),
        Node::Or(nodes) => junction(nodes, true),
        Node::Coalesce(nodes) => coalesce(nodes),
        Node::Case { operand: None, branches, otherwise } => case(branches, *otherwise),
        node if is_constant(&node) => match eval(&node, &NoRow).map(Constant::from) {
            Ok(constant) => Node::Constant(constant),
            Err(_) => node,
        },
        node => node,
    }
}

fn is_null(node: &Node) -> bool {
    matches!(node, Node::Constant(Constant::Null))
}

fn known(node: &Node) -> bool {
    matches!(node, Node::Constant(_))
}

/// Whether all its parts are constants (and it has parts).
fn is_constant(node: &Node) -> bool {
    let parts = node.parts();
    !parts.is_empty() && parts.into_iter().all(known)
}

fn is_boolean(node: &Node, value: bool) -> bool {
    matches!(node, Node::Constant(Constant::Boolean(b)) if *b == value)
}

/// AND (`deciding` false) and OR (true): nothing after a constant with the deciding value is evaluated, its opposite
/// says nothing.
fn junction(nodes: Box<[Node]>, deciding: bool) -> Node {
    let mut kept = Vec::new();
    for node in nodes {
        let last = is_boolean(&node, deciding);
        if !is_boolean(&node, !deciding) {
            kept.push(node);
        }
        if last {
            break;
        }
    }
    match kept.len() {
        0 => Node::Constant(Constant::Boolean(!deciding)),
        1 => kept.remove(0),
        _ if kept.iter().all(is_null) => Node::Constant(Constant::Null),
        _ if deciding => Node::Or(kept.into()),
        _ => Node::And(kept.into()),
    }
}

fn coalesce(nodes: Box<[Node]>) -> Node {
    let mut kept = Vec::new();
    for node in nodes {
        if is_null(&node) {
            continue;
        }
        let last = known(&node);
        kept.push(node);
        if last {
            break;
        }
    }
    match kept.len() {
        0 => Node::Constant(Constant::Null),
        1 => kept.remove(0),
        _ => Node::Coalesce(kept.into()),
    }
}

fn case(branches: Box<[(Node, Node)]>, mut otherwise: Node) -> Node {
    let mut kept = Vec::new();
    for (condition, result) in branches {
        if is_boolean(&condition, true) {
            otherwise = result;
            break;
        }
        if !is_null(&condition) && !is_boolean(&condition, false) {
            kept.push((condition, result));
        }
    }
    if kept.is_empty() {
        return otherwise;
    }
    Node::Case { operand: None, branches: kept.into(), otherwise: Box::new(otherwise) }
}
