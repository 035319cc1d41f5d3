"""Analyses of the history. The `.py` files are the sources, in jupytext's percent format; `build` writes `.ipynb`."""
