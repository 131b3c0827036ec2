"""Readers: one module for each kind of file or folder that a task is read from, and the registry of them."""
