"""DNS: what pods ask and are answered, how fast, what search lists waste, and who asks past the cluster's DNS."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import links
from .advice import to_do
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, COUNT, RED, Query, Value, stat, table, timeseries
from .queries import increase, or_zero, quantile, rate, share, zero_while
from .variables import datasource, label

_QUERIES: Final = "flowatlas_dns_queries_total"
_LATENCY: Final = "flowatlas_dns_latency_seconds"
_BYPASSES: Final = "flowatlas_dns_bypass_queries_total"
_ANY: Final = {"source_namespace": "$namespace", "source_workload": "$workload"}
_CHOSEN: Final = (_ANY,)
_FAILED: Final = ({**_ANY, "rcode": "SERVFAIL|REFUSED|FORMERR|NOTIMP|no_answer|[0-9]+"},)
_UNKNOWN: Final = ({**_ANY, "rcode": "NXDOMAIN"},)
_SEARCHED: Final = ({**_ANY, "name_class": "search"},)
_CLIENT: Final = ("source_namespace", "source_workload")


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-dns",
        title="Flowatlas / DNS",
        description="What pods ask of DNS, what they are answered and how fast, what search lists waste, and who asks "
        "something else than the cluster's DNS.",
        variables=[
            datasource(),
            label("namespace", "Client namespace", _QUERIES, "source_namespace"),
            label(
                "workload",
                "Client workload",
                _QUERIES,
                "source_workload",
                {"source_namespace": "$namespace"},
            ),
        ],
        sections=[_key_figures(), _answers(), _latency(), _clients()],
    )


def _key_figures() -> Section:
    questions = rate(_QUERIES, where=_CHOSEN)
    return section(
        "",
        line(
            4,
            stat("Questions", "Questions a second of the chosen clients.", "reqps", questions),
            stat(
                "Failed",
                "The part of the questions that nobody answered, or that the server failed or refused to answer."
                f" {to_do('FlowatlasDnsErrors')}",
                "percentunit",
                zero_while(_QUERIES, share(rate(_QUERIES, where=_FAILED), questions)),
                {0.01: AMBER, 0.05: RED},
            ),
            stat(
                "NXDOMAIN",
                "The part of the questions for a name that is not there, those of search lists among them.",
                "percentunit",
                zero_while(_QUERIES, share(rate(_QUERIES, where=_UNKNOWN), questions)),
            ),
            stat(
                "Search waste",
                "The part of the questions for names that only a search list makes, which ndots:5 asks in vain before "
                "the name itself."
                f" {to_do('FlowatlasDnsSearchWaste')}",
                "percentunit",
                zero_while(_QUERIES, share(rate(_QUERIES, where=_SEARCHED), questions)),
                {0.5: AMBER},
            ),
            stat(
                "Latency, 99 %",
                f"99 of 100 answers came at least as fast. {to_do('FlowatlasDnsSlow')}",
                "s",
                quantile(0.99, _LATENCY, where=_CHOSEN),
                {0.1: AMBER, 1: RED},
            ),
            stat(
                "Past the cluster's DNS",
                f"Questions a second of pods to something else than the cluster's DNS. {to_do('FlowatlasDnsBypass')}",
                "reqps",
                zero_while(_QUERIES, rate(_BYPASSES, where=_CHOSEN)),
                {0.001: AMBER},
            ),
        ),
    )


def _answers() -> Section:
    return section(
        "Questions and answers",
        line(
            8,
            timeseries(
                "Questions by answer",
                "By response code; no_answer where none came within 5 s.",
                "reqps",
                Query(rate(_QUERIES, by=("rcode",), where=_CHOSEN), "{{rcode}}"),
                stacked=True,
            ),
            timeseries(
                "Questions by class of name",
                "What the names mean: Services, pods, what a search list made, names beyond the cluster.",
                "reqps",
                Query(rate(_QUERIES, by=("name_class",), where=_CHOSEN), "{{name_class}}"),
                stacked=True,
            ),
            timeseries(
                "Questions by type",
                "A and AAAA for addresses, SRV for ports, PTR for names of addresses.",
                "reqps",
                Query(rate(_QUERIES, by=("type",), where=_CHOSEN), "{{type}}"),
                stacked=True,
            ),
        ),
    )


def _latency() -> Section:
    return section(
        "Latency",
        line(
            8,
            timeseries(
                "Time to answer",
                "Half, 95 and 99 of 100 answers came at least as fast, at the client's own interface.",
                "s",
                *(Query(quantile(q, _LATENCY, where=_CHOSEN), f"{q:.0%}") for q in (0.5, 0.95, 0.99)),
            ),
            timeseries(
                "99 % by class of name",
                "Names beyond the cluster take the way to another server.",
                "s",
                Query(quantile(0.99, _LATENCY, by=("name_class",), where=_CHOSEN), "{{name_class}}"),
            ),
        ),
    )


def _clients() -> Section:
    asked = increase(_QUERIES, by=_CLIENT, where=_CHOSEN)
    return section(
        "Clients",
        line(
            9,
            table(
                "Clients by questions",
                "The 50 workloads that asked most over the time shown.",
                {"source_namespace": "Namespace", "source_workload": "Workload"},
                [
                    Value("Questions", COUNT, asked),
                    Value("Failed", COUNT, or_zero(increase(_QUERIES, by=_CLIENT, where=_FAILED), asked)),
                    Value("NXDOMAIN", COUNT, or_zero(increase(_QUERIES, by=_CLIENT, where=_UNKNOWN), asked)),
                    Value("By search lists", COUNT, or_zero(increase(_QUERIES, by=_CLIENT, where=_SEARCHED), asked)),
                    Value("Past the cluster's", COUNT, or_zero(increase(_BYPASSES, by=_CLIENT, where=_CHOSEN), asked)),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Workload": links.workload("Namespace")},
            ),
        ),
    )
