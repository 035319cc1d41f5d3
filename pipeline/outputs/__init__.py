"""Where results go: `/metrics` for Prometheus, and a lake of Parquet files for history.

An output is told what there is; it decides nothing about flows.
"""
