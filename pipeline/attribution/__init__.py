"""Names for flows: which endpoint opened, which answered, which Service was dialled, and whether the row counts.

Pure functions of frames under one `Snapshot`; no clock, no network, no state. The invariant: every
row is judged alone, so any split of the rows over processes gives the same answers.
"""

from .counters import attribute_counters
from .flows import attribute
from .names import with_labels, with_structs

__all__ = ["attribute", "attribute_counters", "with_labels", "with_structs"]
