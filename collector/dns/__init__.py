"""DNS seen on the node: questions and answers of the pods, their names, and how long an answer took.

Only headers, questions and address records are read; nothing else of a payload is looked at, and no payload is kept.
"""
