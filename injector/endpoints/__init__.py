"""The endpoint service: what the controller knows of Services and their pods, said to sidecars.

It is the endpoint part (EDS) of Envoy's xDS protocol, version 3, in its state-of-the-world form: one gRPC stream for
each sidecar, which says which names it wants and is sent what each leads to, whenever that changes.

    server.py        the gRPC server: start, stop, limits of connections
    stream.py        one sidecar's stream: what it wants, what it was sent, what it is owed
    peers.py         what one address may have open
    request.py       what a sidecar says, checked
    assignments.py   what names lead to, worked out and serialized once for all streams
    messages.py      targets and errors as bytes of a response
    metrics.py       counters

`docs/discovery.md` describes the protocol. Imported by the controller only: gRPC and the protobufs cost 24 MB.
"""
