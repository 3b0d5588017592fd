"""What the programs of a comparison share: the data of a workload, its weights, and a probe as hessdens draws it.

MODEL is a name of torch_models.build: mlp:784-20-10, lenet5, resnet20a, resnet18, gpt:layers,heads,width,context. With :batch at its end batch
normalisation goes by the statistics of each batch (chunk)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "reference", "scripts"))  # networks and readers
import numpy as np
import data


def split(model):
    """The network's name, and whether its batch normalisation goes by the batch."""
    return model.removesuffix(":batch"), model.endswith(":batch")


def noise(n):
    """Normal numbers (n, 3, 64, 64) and labels (n,) of 10 classes."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3, 64, 64)).astype(np.float32), rng.integers(10, size=n)


def read(model, n):
    """The first n examples: inputs in float32, tokens as integers; labels."""
    if model.startswith("gpt"):
        return data.text(n, int(model.split(",")[3]))
    if model == "resnet18":
        return noise(n)
    x, y = data.cifar(n) if model.startswith("resnet") else data.idx("mnist", "train", n)
    return x.astype(np.float32), y


def write_weights(model, file):
    """PyTorch's initial values, seeded, under the names of state_dict()."""
    import torch
    from torch_models import build
    torch.manual_seed(0)
    np.savez(file, **{k: v.numpy() for k, v in build(split(model)[0]).state_dict().items() if not k.endswith("num_batches_tracked")})


def read_weights(file):
    """Parameters in their order, and the statistics of batch normalisation."""
    with np.load(file) as z:
        every = {k: z[k] for k in z.files}
    statistic = lambda k: k.rpartition(".")[2] in ("running_mean", "running_var")
    return {k: v for k, v in every.items() if not statistic(k)}, {k: v for k, v in every.items() if statistic(k)}


def probe(n):
    """Probe 0 of seed 0 as hessdens draws it (n,): Philox4x32-10 through the normal quantile, scaled to length 1."""
    from scipy.special import ndtri
    pair = np.arange((n + 1) // 2, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c, k = [pair, pair * 0, pair * 0, pair * 0], np.zeros(2, np.uint64)
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & low, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & low]
        k = (k + np.array([0x9E3779B9, 0xBB67AE85], np.uint64)) & low
    word = np.stack([c[1] << np.uint64(32) | c[0], c[3] << np.uint64(32) | c[2]], 1).ravel()[:n]
    v = ndtri(((word >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52)
    return v / np.linalg.norm(v)
