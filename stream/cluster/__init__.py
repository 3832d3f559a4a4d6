"""The cameras of sites on many hosts: where each runs, and what happens when a host dies, is drained or is late."""
