"""The beds: rpm-ostree's compose done with real parts, twice, and compared. See ../README.md."""
