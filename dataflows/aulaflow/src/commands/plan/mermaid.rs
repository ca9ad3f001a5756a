//! The plan as a Mermaid flowchart, as GitHub renders it.

use super::drawing::{Drawn, Shape, draw};
use aulaflow_engine::Description;
use std::fmt::Write;

/// Draws it.
pub fn render(description: &Description) -> String {
    let drawing = draw(description);
    let mut out = String::from("flowchart LR\n");
    // Writing to a string cannot fail.
    for node in &drawing.nodes {
        let _ = writeln!(out, "  {}", shape(node));
    }
    if !drawing.panes.is_empty() {
        out.push_str("  subgraph views[\"Panes: grids and views\"]\n");
        for node in &drawing.panes {
            let _ = writeln!(out, "    {}", shape(node));
        }
        out.push_str("  end\n");
    }
    for (from, to, dashed) in &drawing.edges {
        let _ = writeln!(out, "  {from} {} {to}", if *dashed { "-.->" } else { "-->" });
    }
    out
}

fn shape(node: &Drawn) -> String {
    let (open, close) = match node.shape {
        Shape::Cylinder => ("[(", ")]"),
        Shape::Box => ("[", "]"),
        Shape::Hexagon => ("{{", "}}"),
        Shape::Round => ("([", "])"),
    };
    let lines: Vec<_> = node.lines.iter().map(|line| escape(line)).collect();
    format!("{}{open}\"{}\"{close}", node.id, lines.join("<br/>"))
}

/// Mermaid's entities for what would end a label or be taken for markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '#' => out.push_str("#35;"),
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '`' => out.push_str("#96;"),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_end_early() {
        let node = Drawn { id: "a".into(), shape: Shape::Round, lines: vec!["\"#<b>&`".into(), "x".into()] };
        assert_eq!(shape(&node), "a([\"#quot;#35;#lt;b#gt;#amp;#96;<br/>x\"])");
    }
}
