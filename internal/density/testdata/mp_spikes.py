"""Writes mp-spikes.npy: the eigenvalues of diag(5, 4, 3, 0, ...) + Z Z'/4000, Z of 2000 x 4000 standard normal numbers."""
import numpy as np

z = np.random.default_rng(7).standard_normal((2000, 4000))
d = np.zeros(2000)
d[:3] = 5, 4, 3
np.save("mp-spikes.npy", np.linalg.eigvalsh(z @ z.T / 4000 + np.diag(d)))
