"""A node without containers: its pods are network namespaces, its containers processes that think they are alone.

    __main__.py   the node's process: wires the rest together
    client.py     the API server: requests, and collections kept up to date
    kubelet.py    the pods of the node, each a PodRun; binds pods that have no node
    pod.py        one pod from its first init container to its last signal
    container.py  one container: its process, probes, restarts, its end
    probes.py     asking a container how it is
    sandbox.py    what a container sees of the machine: network, files, user, environment
    root.py       makes a file system for a process, and becomes that process
    images.py     what runs as which image
    network.py    addresses and links of pods
    services.py   Service addresses, as kube-proxy has them with iptables
    dns.py        the cluster's DNS

It runs in the network namespace of the node, and so reaches pods as a kubelet does. What it does not do: limits of
memory and CPU, logs and exec for kubectl, images.
"""
