//! Problems as a compiler prints them.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

use super::Problem;

/// Whether a text may carry terminal colours. The text says everything either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours.
    Ansi,
}

/// Columns beyond which lines of the spec are cut in the output.
const WIDTH_MAX: usize = 120;

/// Problems as a compiler prints them: file, line, caret, hint; plain text.
pub fn render_problems(file: &str, text: &str, problems: &[Problem]) -> String {
    render_problems_in(Colour::Never, file, text, problems)
}

/// As [`render_problems`], with colours if asked for.
pub fn render_problems_in(colour: Colour, file: &str, text: &str, problems: &[Problem]) -> String {
    let renderer = match colour {
        Colour::Never => Renderer::plain(),
        Colour::Ansi => Renderer::styled(),
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH_MAX);
    let mut out = String::new();
    for problem in problems {
        let mut group = Level::ERROR.primary_title(problem.message.as_str()).id(problem.code).element(
            Snippet::source(text).path(file).annotation(AnnotationKind::Primary.span(caret(text, problem.span))),
        );
        if let Some(hint) = &problem.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out.push_str(&match problems.len() {
        1 => "1 problem\n".to_owned(),
        n => format!("{n} problems\n"),
    });
    out
}

/// A byte range that the renderer can take: inside the text, on character
/// borders, and on one line, because a caret under a whole table says nothing.
fn caret(text: &str, (start, end): (usize, usize)) -> std::ops::Range<usize> {
    let border = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (border(start), border(end.max(start)));
    let line_end = text[start..end].find('\n').map_or(end, |newline| start + newline);
    start..line_end
}
