"""What the cluster looks like: slim objects, where they are read from, and one frozen picture of them as frames.

Objects come in through any iterable (`manifests.load` for files; a watch on the API feeds the same), and
`snapshot.build` turns them into a `Snapshot`, which is all that attribution ever sees. Nothing here knows of flows.
"""
