"""`meshctl check`: what is wrong with an installation, and how to mend it.

`gather` reads facts from the cluster, stage by stage; checks are records around pure functions, facts in and problems
out (`kubernetes`, `controller`, `webhook`, `sidecars`, `services`); `run` decides which of them can be asked;
`report` prints. `stages` puts them together. docs/troubleshooting.md has a section for every check, by its name.
"""
