"""NeCA-W: noise of a predicted level, then correlated with its neighbours, one set of networks for each camera.

Fu, Guo and Wen, "sRGB Real Noise Synthesizing with Neighboring Correlation-Aware Noise Model", CVPR 2023.
"""
