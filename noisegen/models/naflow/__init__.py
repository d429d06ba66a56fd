"""NAFlow (Kim et al., ICLR 2024): a normalizing flow of noise whose latents tell camera settings apart."""
