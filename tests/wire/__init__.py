"""The data plane between two independent codecs, in memory, on a fake clock: each rule of docs' wire contract by name."""
