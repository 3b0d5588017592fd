"""Readers of the real data sets, in the files' own order: no shuffling, no augmentation."""
import os, struct
import numpy as np

ROOT = os.environ.get("HESSDENS_DATA") or os.path.join(os.path.expanduser("~"), ".cache", "hessdens-data")
TEXT = os.environ.get("HESSDENS_TEXT") or os.path.join(ROOT, "tinyshakespeare.txt")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))   # what the ResNet-20 checkpoint was trained with


def idx(folder, split, n):
    """x (n,1,28,28) in [0,1], y (n,). folder: mnist | fashion-mnist; split: train | t10k"""
    with open(f"{ROOT}/{folder}/{split}-images-idx3-ubyte", "rb") as f:
        _, m, r, c = struct.unpack(">iiii", f.read(16))
        x = np.frombuffer(f.read(min(n, m) * r * c), np.uint8).reshape(-1, 1, r, c)
    with open(f"{ROOT}/{folder}/{split}-labels-idx1-ubyte", "rb") as f:
        f.read(8)
        y = np.frombuffer(f.read(len(x)), np.uint8)
    return x / 255.0, y.astype(np.int64)


def cifar(n, mean=IMAGENET[0], std=IMAGENET[1]):
    """First n images of data_batch_1..5, x (n,3,32,32) normalised, y (n,)."""
    raw = []
    for i in range(1, 6):
        raw.append(np.fromfile(f"{ROOT}/cifar-10-batches-bin/data_batch_{i}.bin", np.uint8).reshape(-1, 3073))
        if sum(len(r) for r in raw) >= n:
            break
    raw = np.concatenate(raw)[:n]
    x = raw[:, 1:].reshape(-1, 3, 32, 32) / 255.0
    return (x - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1)), raw[:, 0].astype(np.int64)


def text(n, ctx):
    """tinyshakespeare as characters: ids (n, ctx), targets (n, ctx) one to the right; windows do not overlap."""
    with open(TEXT) as f:
        s = f.read()
    v = {c: i for i, c in enumerate(sorted(set(s)))}
    a = np.array([v[c] for c in s[: n * ctx + 1]])
    return a[:-1].reshape(n, ctx), a[1:].reshape(n, ctx)
