"""The look of index.html: system fonts, one column, readable on paper."""

from __future__ import annotations

STYLESHEET = """
:root { --ink: #1f2933; --muted: #52606d; --line: #d9dee4; --soft: #f5f7f9; --accent: #0b5394; }
* { box-sizing: border-box; }
html { scroll-padding-top: 4rem; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.55; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header > div, nav > div { max-width: 1060px; margin: 0 auto; padding: 0 1.5rem; }
header { padding: 2.25rem 0 0.5rem; }
h1 { font-size: 1.85rem; line-height: 1.2; margin: 0 0 0.4rem; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.45rem; margin: 2.25rem 0 0.5rem; padding-top: 0.8rem; border-top: 2px solid var(--ink);
  overflow-wrap: anywhere; }
h3 { font-size: 1.08rem; margin: 1.7rem 0 0.5rem; }
p, ul, dl { max-width: 46rem; }
a { color: var(--accent); }
ul { padding-left: 1.2rem; }
li { margin: 0.3rem 0; }
.subtitle, .note, caption, .price { color: var(--muted); }
.note { font-size: 0.92rem; margin: 0.25rem 0 0.5rem; }
nav { position: sticky; top: 0; z-index: 10; background: #fffffff2; border-bottom: 1px solid var(--line); }
nav > div { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding-top: 0.55rem; padding-bottom: 0.55rem;
  font-size: 0.92rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.verdict { border: 1px solid var(--line); border-left: 6px solid var(--label); border-radius: 4px;
  padding: 1rem 1.25rem 0.9rem; margin: 1rem 0; break-inside: avoid; }
.verdict p { margin: 0.35rem 0; max-width: none; }
.verdict .sentence { font-size: 1.14rem; line-height: 1.45; }
.lead { font-size: 1.14rem; line-height: 1.45; max-width: none; margin: 1rem 0; }
.faster { --label: #0b6e4f; } .tie { --label: #52606d; } .slower { --label: #b23c17; }
.badge { display: inline-block; color: #fff; background: var(--label); border-radius: 3px; padding: 0.12rem 0.6rem;
  font-size: 0.85rem; font-weight: 600; letter-spacing: 0.02em; white-space: nowrap; vertical-align: middle;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.flag { display: inline-block; border: 1px solid var(--line); border-radius: 3px; padding: 0 0.5rem; font-size: 0.85rem;
  color: var(--muted); margin: 0.35rem 0.5rem 0 0; }
.verdict-head { display: flex; gap: 0.75rem; align-items: baseline; flex-wrap: wrap; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; margin: 0.5rem 0;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.4rem; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.34rem 0.7rem 0.34rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--muted); vertical-align: bottom; }
td.number, th.number { text-align: right; padding-right: 0; padding-left: 0.7rem; }
td.number { white-space: nowrap; }
th[scope=row] { font-weight: 400; white-space: nowrap; }
tr.chosen th, tr.chosen td { background: #eef5fb; font-weight: 600; }
.swatch { display: inline-block; width: 1.6rem; border-top-width: 3px; margin-right: 0.5rem; vertical-align: middle; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.25rem; font-size: 0.95rem; }
dl.facts dt { color: var(--muted); } dl.facts dd { margin: 0; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 0.9rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 4px; padding: 0.8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.formula { font-size: 1rem; }
details { margin: 0.75rem 0; } summary { cursor: pointer; color: var(--accent); }
figure { margin: 0.5rem 0 0.5rem; break-inside: avoid; }
figcaption { color: var(--muted); font-size: 0.92rem; max-width: 46rem; }
footer { margin: 3rem 0 2rem; }
#failure { background: #fdecea; border: 1px solid #b23c17; padding: 0.75rem 1rem; margin: 1rem 0; }
@media print {
  body { font-size: 11pt; } nav, .modebar { display: none; } h2 { break-before: page; } h2, h3 { break-after: avoid; }
  main, header > div { max-width: none; padding: 0; } a { color: inherit; text-decoration: none; }
}
"""
