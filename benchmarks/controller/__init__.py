"""The endpoint service and its load: a process that serves and changes endpoints, and one that is many sidecars.

Each changed endpoint's uid is the time of the change, on the clock that all processes of a machine share. So a sidecar
sees in what it receives how long ago each change was made.
"""
