"""Endpoints from the controller, which watches the Kubernetes API for all sidecars: Envoy's EDS v3.

`directory` keeps the stream, `messages` says what is in it, `eds.proto` is the part of the API that is used. The
protocol as both sides keep it is described in docs/discovery.md.
"""
