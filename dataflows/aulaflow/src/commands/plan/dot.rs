//! The plan as a graph for Graphviz.

use super::drawing::{Drawn, Shape, draw};
use aulaflow_engine::Description;
use std::fmt::Write;

/// Draws it.
pub fn render(description: &Description) -> String {
    let drawing = draw(description);
    let mut out = String::from("digraph aulaflow {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10];\n");
    // Writing to a string cannot fail.
    for node in &drawing.nodes {
        let _ = writeln!(out, "  {}", shape(node));
    }
    if !drawing.panes.is_empty() {
        out.push_str("  subgraph cluster_views {\n    label=\"Panes: grids and views\";\n");
        for node in &drawing.panes {
            let _ = writeln!(out, "    {}", shape(node));
        }
        out.push_str("  }\n");
    }
    for (from, to, dashed) in &drawing.edges {
        let _ = writeln!(out, "  {from} -> {to}{};", if *dashed { " [style=dashed]" } else { "" });
    }
    out.push_str("}\n");
    out
}

fn shape(node: &Drawn) -> String {
    let shape = match node.shape {
        Shape::Cylinder => "cylinder",
        Shape::Box => "box",
        Shape::Hexagon => "hexagon",
        Shape::Round => "ellipse",
    };
    let lines: Vec<_> = node.lines.iter().map(|line| escape(line)).collect();
    format!("{} [shape={shape}, label=\"{}\"];", node.id, lines.join("\\n"))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_end_early() {
        let node = Drawn { id: "a".into(), shape: Shape::Box, lines: vec!["\"\\".into(), "x".into()] };
        assert_eq!(shape(&node), "a [shape=box, label=\"\\\"\\\\\\nx\"];");
    }
}
