"""Series under others' names: as many as there are here, with the ends where others look for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.rules import SHIM_RULES
from tests.dashboards.promtool import PAIR, SERVICE, complaint

FLOW = f'{PAIR},{SERVICE},protocol="TCP"'
OUT = FLOW.replace('"data"', '""').replace('"db"', '"outside"').replace('"StatefulSet"', '"External"')
WEB_TO_DB = (
    'SrcK8S_Namespace="shop",SrcK8S_OwnerName="web",SrcK8S_OwnerType="Deployment",'
    'DstK8S_Namespace="data",DstK8S_OwnerName="db",DstK8S_OwnerType="StatefulSet"'
)
DB_TO_WEB = (
    'SrcK8S_Namespace="data",SrcK8S_OwnerName="db",SrcK8S_OwnerType="StatefulSet",'
    'DstK8S_Namespace="shop",DstK8S_OwnerName="web",DstK8S_OwnerType="Deployment"'
)
ENDS = "SrcK8S_Namespace, SrcK8S_OwnerName, SrcK8S_OwnerType, DstK8S_Namespace, DstK8S_OwnerName, DstK8S_OwnerType"
SERIES = {
    f'flowatlas_flow_bytes_total{{{FLOW},flow_direction="request"}}': "5x5",
    f'flowatlas_flow_bytes_total{{{FLOW},flow_direction="reply"}}': "7x5",
    f'flowatlas_flow_bytes_total{{{OUT},flow_direction="request"}}': "11x5",
    f'flowatlas_flow_bytes_total{{{OUT},flow_direction="reply"}}': "13x5",
    f'flowatlas_drops_total{{{PAIR},reason="no_socket"}}': "3x5",
    'flowatlas_dns_queries_total{source_namespace="shop",type="A",rcode="NOERROR"}': "2x5",
    'flowatlas_dns_queries_total{source_namespace="shop",type="A",rcode="no_answer"}': "4x5",
}


@pytest.mark.prometheus
@pytest.mark.parametrize(("kind", "told"), [("External", 1), ("Cloud", 1), ("Node", 2), ("Unknown", 2), ("other", 2)])
def test_what_is_told_is_told_in_the_cluster(kind: str, told: int, tmp_path: Path) -> None:
    """Ranges beyond it are of the kinds that their file gives them."""
    flow = OUT.replace('"External"', f'"{kind}"')
    series = {f'flowatlas_flow_bytes_total{{{flow},flow_direction="{way}"}}': "5x5" for way in ("request", "reply")}
    samples = [{"labels": "{}", "value": told}]
    test = {"expr": "count(netobserv_workload_ingress_bytes_total)", "eval_time": "3m", "exp_samples": samples}
    assert complaint(tmp_path, series, "1m", SHIM_RULES, promql_expr_test=[test]) == ""


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            f'sum by ({ENDS}) (netobserv_workload_ingress_bytes_total{{DstK8S_OwnerName!="web"}})',
            {f"{{{WEB_TO_DB}}}": 5},
        ),
        (f'sum by ({ENDS}) (netobserv_workload_egress_bytes_total{{SrcK8S_OwnerName="db"}})', {f"{{{DB_TO_WEB}}}": 7}),
        ('sum(netobserv_workload_ingress_bytes_total{DstK8S_OwnerName="web"})', {"{}": 7 + 13}),
        ('sum(netobserv_workload_egress_bytes_total{SrcK8S_OwnerName="web"})', {"{}": 5 + 11}),
        ("sum(netobserv_workload_ingress_bytes_total)", {"{}": 5 + 7 + 13}),
        ("count(netobserv_workload_egress_bytes_total)", {"{}": 3}),
        (
            f"sum by ({ENDS}, PktDropLatestDropCause) (netobserv_workload_drop_packets_total)",
            {f'{{{WEB_TO_DB},PktDropLatestDropCause="no_socket"}}': 3},
        ),
        ("sum by (reason) (hubble_drop_total)", {'{reason="no_socket"}': 3}),
        ("sum by (qtypes) (hubble_dns_queries_total)", {'{qtypes="A"}': 6}),
        ("sum by (rcode) (hubble_dns_responses_total)", {'{rcode="NOERROR"}': 2}),
    ],
)
def test_what_others_ask_is_answered(query: str, expected: dict[str, int], tmp_path: Path) -> None:
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    test = {"expr": query, "eval_time": "3m", "exp_samples": samples}
    assert complaint(tmp_path, SERIES, "1m", SHIM_RULES, promql_expr_test=[test]) == ""
