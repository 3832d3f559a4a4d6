"""Where networks come from: the catalogue, downloads, published checkpoints and the networks in this package."""
