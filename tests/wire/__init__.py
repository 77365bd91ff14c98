"""The data plane between two independent codecs, in memory, on a fake clock: each wire rule by name."""
