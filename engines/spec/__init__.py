"""Descriptions of networks as plain data: signatures, architectures and manifests, and the cache folder."""
