"""The dashboards drawn without a Grafana: one page of HTML and SVG made from what a Prometheus answers now.

It draws the panel types that `dashboards.lint` lets pass, in Grafana's grid. It is no Grafana: nothing can be chosen or
zoomed. The page loads nothing and runs no script; light and dark are the same markup under two palettes.
"""

from .page import Preview

__all__ = ["Preview"]
