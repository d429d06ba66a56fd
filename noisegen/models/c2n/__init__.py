"""C2N (Jang et al., ICCV 2021): noise learned from clean and noisy pictures that are no pairs."""
