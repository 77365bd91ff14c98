"""Endpoints from the Kubernetes API: Services and EndpointSlices (discovery.k8s.io/v1).

    api.py        the one module that talks to the API server; errors of its own
    follow.py     a collection kept up to date: list, watch, bookmark, 410, list again
    records.py    what is kept of a Service and of an EndpointSlice
    names.py      which Service an authority names
    merge.py      the slices of a Service as one set of endpoints
    catalog.py    all of them, and who asked for which
    resolver.py   one configured cluster

`records`, `names`, `merge` and `catalog` are pure: no I/O and no event loop. Imported only where a cluster has
`kubernetes` as its source: the client costs 13 MB even without its models.
"""
