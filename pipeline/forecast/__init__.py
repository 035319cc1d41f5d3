"""How many series recorded flows would make, whose they are, and what a pipeline's budget would fold of them.

`label_sets` counts them in a history, family by family; `folding` puts them through the budget that the pipeline has;
`tables` says what came of it. Nothing here knows how the budget works.
"""

from .tables import BY_FAMILY, BY_METRIC, BY_NAMESPACE, Forecast, forecast

__all__ = ["BY_FAMILY", "BY_METRIC", "BY_NAMESPACE", "Forecast", "forecast"]
