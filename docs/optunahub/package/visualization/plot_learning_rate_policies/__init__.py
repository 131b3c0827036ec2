"""Plotly figures of learning-rate policies that an Optuna study searches."""

from ._plots import plot_policy_table, plot_rate_surfaces, plot_rate_traces

__all__ = ["plot_policy_table", "plot_rate_surfaces", "plot_rate_traces"]
