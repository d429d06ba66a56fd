"""NM-FlowGAN (Han and Yu, arXiv 2312.10112)."""
