"""What the cluster's policies say of a connection: the verdict of each direction and every policy responsible for it.

Objects become terms (`readers`), terms become tables over identities and classes (`identities`, `classes`, `matcher`,
`side`), and questions are answered in columns (`evaluation`, `engine`). `timeline` has the policies of every time that
is kept. Nothing here watches traffic being dropped: a verdict is what the objects mean, enforced or not.
"""

from .engine import Judgement, Policies, compile_policies
from .pairs import PAIR
from .timeline import PolicyTimeline

__all__ = ["PAIR", "Judgement", "Policies", "PolicyTimeline", "compile_policies"]
