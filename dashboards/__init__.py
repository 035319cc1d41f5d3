"""Grafana dashboards as programs: built by grafanalib, normalised, checked against the metric catalogue."""
