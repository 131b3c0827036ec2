"""Records to verdicts, and verdicts to a page, a text and figures."""
