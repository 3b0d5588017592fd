"""Writes the PyTorch files beside it, and expected.safetensors: what they hold, exactly, as float32, float64 or int64.

    pip install torch safetensors numpy
    python make.py

Made with PyTorch 2.11.0. PyTorch no longer writes the tar format of versions before 0.1.10: write_tar follows
torch.serialization of 0.1.9, and torch.load reads what it wrote.
"""

import collections
import io
import pathlib
import pickle
import struct
import sys
import tarfile
import types
import warnings
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
# A module is saved with its source, and the file that has it: neither is wanted here.
torch.serialization.get_source_lines_and_file = lambda *a: (["class Source: pass\n"], "net.py", 1)
torch.manual_seed(0)
here = pathlib.Path(__file__).parent
expected = {}


def save(name, obj, tensors, **how):
    torch.save(obj, here / name, **how)
    check(name, tensors)


def check(name, tensors):
    """Keeps what the file is to give: under FILE|TENSOR."""
    for k, v in tensors.items():
        v = v.detach().resolve_neg()
        wide = torch.int64 if not v.dtype.is_floating_point else torch.float64 if v.dtype == torch.float64 else torch.float32
        expected[f"{name}|{k}"] = v.to(wide).contiguous().clone()


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
        self.head = torch.nn.Linear(8, 3, bias=False)
        self.tied = self.head
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.register_buffer("mask", torch.tril(torch.ones(3, 3)), persistent=False)
        self.register_buffer("count", torch.tensor(7))

    def forward(self, x):
        return self.scale * self.head(self.features(x).flatten(1))


# The class lies in a module that no reader can import.
gone = types.ModuleType("gone")
gone.Net = Net
Net.__module__, Net.__qualname__ = "gone", "Net"
sys.modules["gone"] = gone

values = torch.randn(4, 6)
kinds = {}
for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
    kinds[str(t)[6:]] = values.to(t)
for t in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool):
    kinds[str(t)[6:]] = torch.arange(6).to(t) if t != torch.bool else torch.tensor([True, False, True])
for t in (torch.int64, torch.int32, torch.int16, torch.int8):
    kinds[str(t)[6:] + ".min"] = torch.tensor(torch.iinfo(t).min, dtype=t)
save("dtypes.pt", kinds, kinds)
old = {k: v for k, v in kinds.items() if v.dtype not in torch.storage._new_dtypes()}
save("dtypes.legacy.pt", old, old, _use_new_zipfile_serialization=False)
for protocol in (3, 4, 5):
    save(f"protocol{protocol}.pt", old, old, pickle_protocol=protocol)

base = torch.arange(120, dtype=torch.float32)
big = torch.randn(32, 40)
strided = {
    "transposed": base[:60].view(3, 4, 5).permute(2, 0, 1),
    "offset": base[7:19],
    "steps": base.view(10, 12)[1:9:3, 2:11:4],
    "expanded": base[5:8].view(3, 1).expand(3, 4),
    "column": big[:, 3],                # sparse in its storage
    "block": big[5::20, 10:14],
    "scalar": base[99],
    "empty": torch.empty(0, 3),
    "empty.view": base[120:],
    "last": base[119:],
    "channels_last": torch.randn(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
}
save("strided.pt", strided, strided)
save("strided.legacy.pt", strided, strided, _use_new_zipfile_serialization=False)

shared = collections.OrderedDict(a=base, b=base, c=base[10:20].view(2, 5), d=torch.nn.Parameter(base[:3]))
shared["e"] = shared["d"]
with_state = torch.nn.Parameter(torch.ones(2))
with_state.tag = "x"
shared["f"] = with_state
save("shared.pt", shared, shared)
save("shared.legacy.pt", shared, shared, _use_new_zipfile_serialization=False)

torch.manual_seed(1)
net = Net()
net(torch.randn(5, 1, 4, 4))  # moves the running statistics
net.eval()
state = net.state_dict()
save("module.pt", net, state)
save("module.legacy.pt", net, state, _use_new_zipfile_serialization=False)

adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
for _ in range(3):
    adam.zero_grad()
    net(torch.randn(5, 1, 4, 4)).square().mean().backward()
    adam.step()
save("optimizer.pt", adam.state_dict(), {})
rng = np.random.default_rng(0)
training = {
    "epoch": 12,
    "best_acc1": torch.tensor(93.25),
    "args": __import__("argparse").Namespace(lr=0.1, arch="x", seed=2**70),
    "net": net.state_dict(),
    "ema": {k: v * 2 for k, v in net.state_dict().items()},
    "optimizer": adam.state_dict(),
    "history": {"loss": [0.5, np.float64(0.25)], "seen": {1, 2}, "rng": rng.bit_generator.state},
    "rng_state": torch.get_rng_state()[:16].clone(),
}
save("training.pt", training, training["net"])
check("training.pt#ema", training["ema"])
check("training.pt#optimizer", {f"state.{i}.{k}": torch.as_tensor(v) for i, s in adam.state_dict()["state"].items() for k, v in s.items()})
wrapped = {"state_dict": {"module." + k: v for k, v in net.state_dict().items()}, "iteration": 3}
save("nested.pt", {"model": wrapped, "version": "1"}, wrapped["state_dict"])
two = {"netG": {"w": torch.ones(2)}, "netD": {"w": torch.zeros(3)}, "epoch": 1}
save("two.pt", two, {})
check("two.pt#netD", two["netD"])
save("list.pt", [{"w": torch.ones(2)}, 3], {})
check("list.pt#0", {"w": torch.ones(2)})

scripted = torch.jit.script(net)
buf = io.BytesIO()
torch.jit.save(scripted, buf)
with zipfile.ZipFile(buf) as z, zipfile.ZipFile(here / "script.pt", "w", zipfile.ZIP_STORED) as out:
    for i in z.infolist():
        if not i.filename.endswith(".debug_pkl"):  # paths of this machine
            out.writestr(i.filename, z.read(i))
names = dict(scripted.state_dict())
check("script.pt", names)

odd = {
    "plain": torch.ones(2),
    "complex": torch.zeros(2, dtype=torch.complex64),
    "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 3, torch.quint8),
    "sparse": torch.eye(3).to_sparse(),
    "meta": torch.empty(2, 5, device="meta"),
    "size": torch.Size([1, 2]),
    "device": torch.device("cpu"),
    "dtype": torch.float32,
}
save("unread.pt", odd, {"plain": odd["plain"]})

torch.serialization.set_crc32_options(False)
save("nochecksum.pt", old, old)
torch.serialization.set_crc32_options(True)

# What a machine with the other byte order writes.
buf = io.BytesIO()
torch.save(kinds, buf)
size = lambda v: v.element_size()
swapped = {str(i): v for i, v in enumerate(kinds.values())}
with zipfile.ZipFile(buf) as z, zipfile.ZipFile(here / "bigendian.pt", "w", zipfile.ZIP_STORED) as out:
    for i in z.infolist():
        data = z.read(i)
        head, _, name = i.filename.partition("/")
        if name == "byteorder":
            data = b"big"
        elif name.startswith("data/"):
            n = swapped[name[5:]].element_size()
            data = b"".join(data[j : j + n][::-1] for j in range(0, len(data), n))
        out.writestr(i.filename, data)
check("bigendian.pt", kinds)

# The same, packed again by a person.
with zipfile.ZipFile(here / "strided.pt") as z, zipfile.ZipFile(here / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as out:
    for i in z.infolist():
        out.writestr(i.filename, z.read(i))
check("deflated.pt", strided)

arrays = {
    "model": {
        "c": np.arange(12, dtype="<f4").reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(12, dtype="<f8").reshape(3, 4)),
        "big": np.arange(5, dtype=">i4"),
        "half": np.linspace(0, 1, 7).astype("<f2"),
        "long": np.arange(1500, dtype="<f4"),
        "none": np.zeros((0, 2), dtype="<f4"),
    },
    "__author__": "numpy",
}
for protocol in (2, 3, 5):
    name = f"arrays{protocol}.pkl"
    (here / name).write_bytes(pickle.dumps(arrays, protocol=protocol))
    check(name, {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="), order="C")) for k, v in arrays["model"].items()})


def write_tar(path, obj):
    """torch.save of PyTorch 0.1.9."""
    tensors, storages, views = {}, {}, []

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            if isinstance(x, torch.Tensor):
                tensors[id(x)] = x
                return str(id(x))

    def dump(x, f):
        pickle.dump(x, f, protocol=2)

    main = io.BytesIO()
    p = Pickler(main, protocol=2)
    p.dump(obj)
    t = io.BytesIO()
    dump(len(tensors), t)
    for key, x in tensors.items():
        s = x.untyped_storage()
        root, part = s.data_ptr(), s.data_ptr() + 1  # the tensor's storage as a view of the whole one
        storages[root] = (s, x)
        views.append((part, root, 0, s.nbytes() // x.element_size()))
        dump((key, part, torch.FloatTensor), t)
        t.write(struct.pack("<ii", x.dim(), -1))
        t.write(struct.pack(f"<{x.dim()}q", *x.shape))
        t.write(struct.pack(f"<{x.dim()}q", *x.stride()))
        t.write(struct.pack("<q", x.storage_offset()))
    s = io.BytesIO()
    dump(len(storages), s)
    for root, (u, x) in storages.items():
        dump((root, "cpu", getattr(torch, x.storage()._pickle_storage_type())), s)
        s.write(struct.pack("<q", u.nbytes() // x.element_size()))
        s.write(bytes(u.tolist()))
    dump(list(dict.fromkeys(views)), s)
    info = io.BytesIO()
    dump({"protocol_version": 1000, "little_endian": True}, info)
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as tar:
        for name, b in (("sys_info", info), ("pickle", main), ("tensors", t), ("storages", s)):
            m = tarfile.TarInfo(name)
            m.size = len(b.getvalue())
            tar.addfile(m, io.BytesIO(b.getvalue()))


first = {"state_dict": collections.OrderedDict((k, v) for k, v in strided.items() if v.numel() and v.dtype == torch.float32), "epoch": 1}
write_tar(here / "first.tar.pt", first)
loaded = torch.load(here / "first.tar.pt", weights_only=False)
assert all(torch.equal(v, loaded["state_dict"][k]) for k, v in first["state_dict"].items())
check("first.tar.pt", first["state_dict"])

save_file(expected, here / "expected.safetensors")
print(sum(p.stat().st_size for p in here.iterdir()), "bytes")
