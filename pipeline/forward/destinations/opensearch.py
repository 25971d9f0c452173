"""OpenSearch: as Elasticsearch, whose `_bulk` it speaks; usually with user and password."""

from tachograph.pipeline.forward.destinations.elasticsearch import (
    FORMATS,
    Options,
    open,  # noqa: A004 - name of the seam
    render_options,
)

__all__ = ["FORMATS", "TYPE", "Options", "open", "render_options"]

TYPE = "opensearch"
