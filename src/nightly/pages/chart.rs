//! The number of differing paths, run by run, as inline SVG.

use maud::{Markup, html};

use super::class;
use crate::history::{Class, Run};
use crate::text::counted;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 130.0;
/// The margin for the numbers at the left, and above and below the line.
const MARGIN: f64 = 36.0;
const EDGE: f64 = 16.0;

/// The chart of a stream's runs with their counts, oldest first. A failed run has a mark on the
/// axis but no point in the line.
pub(super) fn trend(stream: &str, counts: &[(Run, u64)]) -> Markup {
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let step = (WIDTH - MARGIN - EDGE) / (counts.len().max(2) - 1) as f64;
    let x = |i: usize| MARGIN + step * i as f64;
    let y = |n: u64| HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * n as f64 / most as f64;
    let ended = |run: &Run| matches!(run.verdict.class(), Class::Good | Class::Bad);
    let all = counts.iter().enumerate();
    let line = all.clone().filter(|(_, (run, _))| ended(run));
    let line: Vec<_> = line.map(|(i, (_, n))| format!("{:.1},{:.1}", x(i), y(*n))).collect();
    let said =
        format!("{stream}: paths that differed in the last {}", counted(counts.len(), "run"));
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(said) {
            line.axis x1=(MARGIN) y1=(y(0)) x2=(WIDTH - EDGE) y2=(y(0)) {}
            text x=(MARGIN - 6.0) y=(y(most) + 4.0) text-anchor="end" { (most) }
            text x=(MARGIN - 6.0) y=(y(0) + 4.0) text-anchor="end" { "0" }
            polyline.line points=(line.join(" ")) {}
            @for (i, (run, n)) in all {
                circle.{ "dot " (class(run.verdict)) } cx=(format!("{:.1}", x(i)))
                    cy=(format!("{:.1}", y(if ended(run) { *n } else { 0 }))) r="3.5" {
                    title { "run " (run.id) ": " (run.verdict) ", " (counted(*n, "path")) }
                }
            }
        }
    }
}
