"""Where networks come from: the catalogue, downloads, published checkpoints and the weights that ship."""
