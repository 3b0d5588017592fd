"""Makes the files of the embedded example: python train.py [FASHION_MNIST_FOLDER]

    mlp-784-20-10.safetensors      the trained network, float32
    train-images-idx3-ubyte.gz     the first 1,000 training images of Fashion-MNIST
    train-labels-idx1-ubyte.gz     their labels

The network is the one that the paper checks its estimator on (Ghorbani, Krishnan and Xiao, ICML 2019, arXiv:1901.10159):
784-20-10, ReLU, 15,910 parameters, trained on 1,000 images. Its parameters have the names that PyTorch gives to
nn.Sequential(Flatten(), Linear(784, 20), ReLU(), Linear(20, 10)).

    risk        mean cross-entropy, natural logarithm, no weight decay
    pixels      byte / 255
    start       PyTorch's for Linear: uniform in ±1/sqrt(inputs), weights and biases
    training    SGD, momentum 0.9, 60 epochs of mini-batches of 50 in a new order each epoch; learning rate 0.05, and 0.005
                in the last 20 epochs, so that the end is near a minimum and not in the middle of a bounce

Needs Python 3.9 or later and numpy. Everything is seeded and computed in float64; the files were made with numpy 2.4.6. Another
build of numpy may sum in another order and end at slightly other weights: then the checksums, the loss and the accuracy in
example.go and example_test.go have to follow. The gzip files have no time stamp and no name inside."""
import gzip, json, os, struct, sys
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = sys.argv[1] if len(sys.argv) > 1 else os.path.expanduser("~/.cache/hessdens-data/fashion-mnist")
EXAMPLES = 1000


def excerpt(name, dims):
    """The first EXAMPLES entries of an IDX file of unsigned bytes with `dims` dimensions, as an IDX file."""
    with open(os.path.join(SOURCE, name), "rb") as f:
        magic, count, *rest = struct.unpack(f">{1 + dims}i", f.read(4 * (1 + dims)))
        assert magic == 0x0800 + dims and count >= EXAMPLES
        body = f.read(EXAMPLES * int(np.prod(rest, dtype=int)))
    return struct.pack(f">{1 + dims}i", magic, EXAMPLES, *rest) + body


def write(name, data):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)
    print(f"{name}: {len(data)} bytes")


def safetensors(tensors, metadata):
    """The bytes of a safetensors file: header length, JSON header padded to 8 bytes, float32 data in little-endian order."""
    header, data = {"__metadata__": metadata}, b""
    for name, a in tensors.items():
        raw = a.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def forward(p, x):
    """Logits and the hidden layer."""
    h = np.maximum(x @ p["1.weight"].T + p["1.bias"], 0)
    return h @ p["3.weight"].T + p["3.bias"], h


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def gradient(p, x, y):
    z, h = forward(p, x)
    dz = np.exp(log_softmax(z))
    dz[np.arange(len(y)), y] -= 1
    dz /= len(y)
    dh = dz @ p["3.weight"] * (h > 0)
    return {"1.weight": dh.T @ x, "1.bias": dh.sum(0), "3.weight": dz.T @ h, "3.bias": dz.sum(0)}


def train(x, y, epochs=60, batch=50, momentum=0.9, seed=0):
    rng = np.random.default_rng(seed)
    p = {}
    for layer, inputs, outputs in (("1", 784, 20), ("3", 20, 10)):
        bound = 1 / np.sqrt(inputs)
        p[f"{layer}.weight"] = rng.uniform(-bound, bound, (outputs, inputs))
        p[f"{layer}.bias"] = rng.uniform(-bound, bound, outputs)
    velocity = {k: np.zeros_like(a) for k, a in p.items()}
    for epoch in range(epochs):
        rate = 0.05 if epoch < epochs - 20 else 0.005
        order = rng.permutation(len(y))
        for i in range(0, len(y), batch):
            ix = order[i:i + batch]
            for k, g in gradient(p, x[ix], y[ix]).items():
                velocity[k] = momentum * velocity[k] + g
                p[k] -= rate * velocity[k]
    return p


def main():
    images, labels = excerpt("train-images-idx3-ubyte", 3), excerpt("train-labels-idx1-ubyte", 1)
    write("train-images-idx3-ubyte.gz", gzip.compress(images, 9, mtime=0))
    write("train-labels-idx1-ubyte.gz", gzip.compress(labels, 9, mtime=0))

    x = np.frombuffer(images[16:], np.uint8).reshape(EXAMPLES, 784) / 255.0
    y = np.frombuffer(labels[8:], np.uint8).astype(int)
    p = {k: a.astype(np.float32) for k, a in train(x, y).items()}
    metadata = {"architecture": "mlp:784-20-10", "data": "Fashion-MNIST, first 1000 training images, pixels / 255", "loss": "cross-entropy"}
    write("mlp-784-20-10.safetensors", safetensors(p, metadata))

    z, _ = forward({k: a.astype(float) for k, a in p.items()}, x)
    g = gradient({k: a.astype(float) for k, a in p.items()}, x, y)
    print(f"loss {-log_softmax(z)[np.arange(len(y)), y].mean():.13g}")
    print(f"accuracy {(z.argmax(1) == y).mean():.4g}")
    print(f"gradient norm {np.sqrt(sum((a * a).sum() for a in g.values())):.13g}")


main()
