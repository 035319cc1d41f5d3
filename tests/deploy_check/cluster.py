"""A real API server's opinion: every object applied in server-side dry run, every pod at each Pod Security level.

Kinds of other projects are there as far as our objects use them (`crds/`), so that a field that is none is refused.
The invariant: nothing but those kinds and the namespaces is ever stored.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kube_apiserver import TOKEN, KubeApiServer

from .cases import Object

CRDS: Final = Path(__file__).parent / "crds"
NAMESPACE: Final = "flowatlas"
LEVELS: Final = ("restricted", "baseline", "privileged")
"""From the strictest."""

_KINDS_OF_BODY: Final[dict[bool, dict[str, str]]] = {True: {}, False: {"Content-Type": "application/apply-patch+yaml"}}


class RefusedError(Exception):
    """The API server's answer to what it does not take."""


class Cluster:
    """An API server made ready. Not thread-safe."""

    def __init__(self, server: KubeApiServer) -> None:
        self._server = server
        self._places: dict[tuple[str, str], tuple[str, bool]] = {}

    def prepare(self) -> None:
        """Store the kinds and the namespaces; wait until the kinds are served."""
        for path in sorted(CRDS.glob("*.yaml")):
            for definition in yaml.safe_load_all(path.read_text()):
                self.apply(definition, dry=False)
        for name, level in ((NAMESPACE, "privileged"), *((f"{NAMESPACE}-{level}", level) for level in LEVELS)):
            labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
            metadata = {"name": name, "labels": labels}
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, dry=False)

    def wrong(self, found: Iterable[Object]) -> list[str]:
        """What the API server refuses or warns of, by object."""
        problems = []
        for item in found:
            name = f"{item['kind']}/{item['metadata']['name']}"
            try:
                problems += [f"{name}: {warning}" for warning in self.apply(item)]
            except RefusedError as error:
                problems.append(f"{name}: {error}")
        return problems

    def level(self, pod: Object) -> str:
        """The strictest level of Pod Security at which a pod is admitted. Raises RefusedError where none is."""
        for level in LEVELS:
            metadata = {**pod["metadata"], "namespace": f"{NAMESPACE}-{level}"}
            try:
                self.apply({**pod, "metadata": metadata})
            except RefusedError as error:
                if "violates PodSecurity" not in str(error) or level == LEVELS[-1]:
                    raise
            else:
                return level
        raise AssertionError("the last level has returned or raised")

    def apply(self, item: Object, *, dry: bool = True) -> list[str]:
        """Apply an object on the server's side, strictly; its warnings. Raises RefusedError."""
        metadata = item["metadata"]
        plural, is_namespaced = self._place(item["apiVersion"], item["kind"])
        group = "api" if "/" not in item["apiVersion"] else "apis"
        within = f"/namespaces/{metadata.get('namespace', NAMESPACE)}" if is_namespaced else ""
        path = f"/{group}/{item['apiVersion']}{within}/{plural}/{metadata['name']}"
        query = "?fieldManager=flowatlas&fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        _, warnings = self._ask("PATCH", path + query, item)
        return warnings

    def _place(self, api_version: str, kind: str) -> tuple[str, bool]:
        """Plural, and whether objects of the kind are in namespaces. Kinds just stored take a moment to be served."""
        known = self._places.get((api_version, kind))
        if known is None:
            for _ in range(300):
                path = f"/{'api' if '/' not in api_version else 'apis'}/{api_version}"
                try:
                    answer, _ = self._ask("GET", path)
                except RefusedError:
                    answer = {"resources": []}
                served = {r["kind"]: r for r in answer["resources"] if "/" not in r["name"]}
                if kind in served:
                    known = served[kind]["name"], served[kind]["namespaced"]
                    break
                time.sleep(0.1)
            else:
                raise RefusedError(f"{api_version} {kind} is not served")
            self._places[api_version, kind] = known
        return known

    def _ask(self, method: str, path: str, body: Object | None = None) -> tuple[dict[str, Any], list[str]]:
        request = urllib.request.Request(  # noqa: S310  # our own address
            self._server.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Accept": "application/json", **_KINDS_OF_BODY[body is None]},
        )
        context = ssl.create_default_context(cafile=self._server.folder / "ca.crt")
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
                return answer, response.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            with error:
                try:
                    said = str(json.load(error).get("message"))
                except ValueError:
                    said = str(error)
            raise RefusedError(said) from None
