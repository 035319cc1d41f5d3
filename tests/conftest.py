"""What all tests share: markers for what a machine may lack, the corpus, and one Kafka broker a session.

The rule: a missing component skips its tests by name on a person's machine and fails them in CI (`CI=true`), so nothing
is left out there unseen. Privileges and the corpus, which is no part of the project, are the exceptions: without root
the privileged tests are skipped everywhere, without a corpus the conformance tests.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from deploy.render import HELM
from tests.deploy_check.review import CHECKOV
from tests.kafka_broker import KafkaBroker, KafkaUnavailableError, jars
from tests.kube_apiserver import BINARY, KubeApiServer

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAMS: Final = {
    "root": ("ip", "nft", "conntrack"),
    "prometheus": ("prometheus", "promtool"),
    "kafka": ("java",),
    "apiserver": ("etcd", "openssl"),
    "terminal": ("tmux",),
}
"""The programs that a marker's tests cannot do without."""

# A loaded machine is no failure. In CI Hypothesis loads its own profile, which also tries the same examples each time.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if os.environ.get("CI", "").lower() != "true":
    settings.load_profile("steady")


def pytest_configure() -> None:
    """Let SIGINT end a run also where a shell that has no job control began it in the background: such a shell lets its
    children ignore it, and theirs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def missing(what: str) -> NoReturn:
    """Skip the running test, or fail it in CI, for want of `what`."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"missing in CI: {what}", pytrace=False)
    pytest.skip(what)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    for marker, programs in PROGRAMS.items():
        if item.get_closest_marker(marker):
            absent = [program for program in programs if shutil.which(program) is None]
            if absent:
                missing(f"not installed: {', '.join(absent)}")
    if item.get_closest_marker("kafka") and (problem := kafka_problem()):
        missing(problem)
    if item.get_closest_marker("manifests") and not HELM.exists():
        missing("no helm: make manifest-tools")
    if item.get_closest_marker("checkov") and not CHECKOV.exists():
        missing("no checkov: make deploy-check")
    if item.get_closest_marker("apiserver") and not BINARY.exists():
        missing("no kube-apiserver: make apiserver")


@cache
def kafka_problem() -> str:
    """Why there is no Kafka to start here; empty where there is."""
    try:
        jars()
    except KafkaUnavailableError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of conformance cases: FLOWATLAS_CORPUS, or `shared/corpus` beside the checkout."""
    folder = Path(os.environ.get("FLOWATLAS_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        pytest.skip(f"no corpus at {folder}; set FLOWATLAS_CORPUS")
    return folder


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[str]:
    """The address `127.0.0.1:PORT` of a real broker that creates topics when they are first used, 3 partitions each."""
    if problem := kafka_problem():
        missing(problem)
    with KafkaBroker() as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def apiserver() -> Iterator[KubeApiServer]:
    """A real API server without a cluster behind it. Tests use namespaces of their own and leave it running."""
    with KubeApiServer() as server:
        yield server
