"""What networks are: signatures, architectures and manifests, as plain data."""
