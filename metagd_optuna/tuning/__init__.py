"""Studies: study files, search spaces, phases, and the trial store."""
