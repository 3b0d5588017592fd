"""Writes the files beside it: PyTorch files that are made to do harm, and must all be refused.

    python make.py

Nothing but Python's library. None of them is to be given to torch.load.
"""

import io
import pathlib
import struct
import tarfile
import zipfile

here = pathlib.Path(__file__).parent


def text(s):
    b = s.encode()
    return b"X" + struct.pack("<I", len(b)) + b


def number(n):
    if 0 <= n < 256:
        return b"K" + bytes([n])
    return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)


def tup(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(key="0", n=4, kind="FloatStorage", legacy=False):
    more = (b"N",) if legacy else ()
    return tup(text("storage"), b"ctorch\n" + kind.encode() + b"\n", text(key), text("cpu"), number(n), *more) + b"Q"


def tensor(source=None, offset=0, shape=(4,), stride=(1,), name="_rebuild_tensor_v2"):
    args = tup(source or storage(), number(offset), tup(*map(number, shape)), tup(*map(number, stride)), b"\x89", b"}")
    return b"ctorch._utils\n" + name.encode() + b"\n" + args + b"R"


def state(**tensors):
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in tensors.items()) + b"u."


data = struct.pack("<4f", 1, 2, 3, 4)


def archive(pkl, storages=(("0", data),), method=zipfile.ZIP_STORED, more=(), order="little"):
    buf = io.BytesIO()
    with zipfile.ZipFile(buf, "w", method) as z:
        z.writestr("a/data.pkl", pkl)
        z.writestr("a/byteorder", order)
        for key, b in storages:
            z.writestr("a/data/" + key, b)
        for key, b in more:
            z.writestr(key, b)
        z.writestr("a/version", "3\n")
    return buf.getvalue()


def legacy(pkl, keys=("0",), storages=(struct.pack("<q", 4) + data,)):
    out = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    return out + pkl + b"\x80\x02](" + b"".join(map(text, keys)) + b"e." + b"".join(storages)


def patch_directory(z, name, field, value, fmt="<I"):
    """Sets a field of the central directory entry of a name."""
    b = bytearray(z)
    at = b.index(b"PK\x01\x02")
    while True:
        n = struct.unpack_from("<H", b, at + 28)[0]
        if b[at + 46 : at + 46 + n] == name.encode():
            break
        at = b.index(b"PK\x01\x02", at + 1)
    struct.pack_into(fmt, b, at + field, value)
    return bytes(b)


BIG = 2**62
files = {}
# Code. What it would run is harmless, and is never run.
call = b"cos\nsystem\n" + tup(text("echo executed > /tmp/hessdens-executed")) + b"R"
files["system.pt"] = archive(b"\x80\x02" + call + b".")
files["system-in-dict.pt"] = archive(b"\x80\x02}" + text("state_dict") + call + b"s.")
files["system-as-tensor.pt"] = archive(state(w=b"ctorch._utils\n_rebuild_parameter\n" + tup(b"cbuiltins\neval\n" + tup(text("1/0")) + b"R", b"\x88", b"}") + b"R"))
files["system-from-type.pt"] = archive(state(w=b"ctorch._tensor\n_rebuild_from_type_v2\n" + tup(b"cos\nsystem\n", b"cos\npopen\n", tup(text("true")), b"}") + b"R"))
files["getattr.pkl"] = b"\x80\x04" + text("os") + text("system") + b"\x93" + tup(text("true")) + b"R."
files["storage.pkl"] = state(w=tensor())
files["inst.pkl"] = b"\x80\x02(" + text("true") + b"ios\nsystem\n."
files["storage-class.pt"] = archive(state(w=tensor(tup(text("storage"), b"cos\nFloatStorage\n", text("0"), text("cpu"), number(4)) + b"Q")))
# Lengths.
files["long-string.pkl"] = b"\x80\x02X\xff\xff\xff\xff"
files["long-bytes8.pkl"] = b"\x80\x04\x8e" + struct.pack("<Q", 2**63 + 5) + b"x"
files["long-frame.pkl"] = b"\x80\x04\x95" + struct.pack("<Q", 2**64 - 1) + b"}."
files["long-integer.pkl"] = b"\x80\x02\x8b\xff\xff\xff\x7f\x00."
files["negative-integer.pkl"] = b"\x80\x02\x8b\xff\xff\xff\xff\x00."
files["far-memo.pkl"] = b"\x80\x02}r\xff\xff\xff\xff0j\xfe\xff\xff\xff."
files["no-memo.pkl"] = b"\x80\x02h\x05."
files["empty-stack.pkl"] = b"\x80\x02R."
files["no-mark.pkl"] = b"\x80\x02t."
files["below-mark.pkl"] = b"\x80\x02}(s."
files["protocol-9.pkl"] = b"\x80\x05\x80\x09}."
files["opcode.pkl"] = b"\x80\x02\xfe."
files["extension.pkl"] = b"\x80\x02\x82\x01."
files["no-stop.pkl"] = b"\x80\x02}"
files["persistent.pkl"] = b"\x80\x02" + text("0") + b"Q."
files["unhashable.pkl"] = b"\x80\x02}(" + b"]K\x01" + b"}K\x02" + b"(K\x01tK\x03" + b"u."
# Views.
for name, view in {
    "shape-beyond": dict(shape=(5,)),
    "shape-huge": dict(shape=(BIG, BIG), stride=(0, 0)),
    "shape-negative": dict(shape=(-4,)),
    "stride-beyond": dict(shape=(2, 2), stride=(3, 1)),
    "stride-overflow": dict(shape=(5, 2), stride=(BIG, 1)),
    "stride-negative": dict(stride=(-1,), offset=3),
    "stride-missing": dict(shape=(2, 2), stride=(1,)),
    "offset-beyond": dict(offset=1),
    "offset-negative": dict(offset=-1),
    "offset-huge": dict(offset=2**63 - 1),
    "expanded": dict(shape=(2**40,), stride=(0,)),
    "axes": dict(shape=(1,) * 2000, stride=(1,) * 2000),
    "bigger-integer": dict(shape=(2**70,)),
}.items():
    if name == "bigger-integer":
        pkl = state(w=tensor(shape=(4,)).replace(tup(number(4)), tup(b"\x8a\x0b" + (2**80).to_bytes(11, "little")), 1))
    else:
        pkl = state(w=tensor(**view))
    files[name + ".pt"] = archive(pkl)
for name, s in {
    "storage-beyond": storage(n=5),
    "storage-huge": storage(n=BIG),
    "storage-negative": storage(n=-1),
    "storage-missing": storage(key="7"),
    "storage-path": storage(key="../data.pkl"),
}.items():
    files[name + ".pt"] = archive(state(w=tensor(s)))
view = tup(text("v"), number(2), number(BIG))
part = tup(text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(4), view) + b"Q"
files["view-beyond.legacy.pt"] = legacy(state(w=tensor(part)))
w = state(w=tensor(storage(legacy=True)))
files["cut.legacy.pt"] = legacy(w)[:-1]
files["size-huge.legacy.pt"] = legacy(w, storages=(struct.pack("<q", BIG) + data,))
files["size-negative.legacy.pt"] = legacy(w, storages=(struct.pack("<q", -4) + data,))
files["size-other.legacy.pt"] = legacy(w, storages=(struct.pack("<q", 3) + data,))
files["key-unknown.legacy.pt"] = legacy(w, keys=("9",))
files["key-twice.legacy.pt"] = legacy(w, keys=("0", "0"), storages=(struct.pack("<q", 4) + data,) * 2)
files["key-missing.legacy.pt"] = legacy(w, keys=(), storages=())
# Values that contain each other.
files["cyclic-list.pkl"] = b"\x80\x02]q\x00h\x00a."
files["cyclic-dict.pkl"] = b"\x80\x02}q\x00" + text("model") + b"h\x00s."
files["cyclic-tuple.pkl"] = b"\x80\x02]q\x00(h\x00tq\x010h\x01a0h\x01."
module = b"cm\nNet\n)\x81q\x00}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}" + text("m") + b"h\x00su" + b"b."
files["cyclic-module.pt"] = archive(b"\x80\x02" + module)
script = b"c__torch__\nNet\n)\x81q\x00}" + text("m") + b"h\x00sb."
files["cyclic-script.pt"] = archive(b"\x80\x02" + script)
files["deep-list.pkl"] = b"\x80\x02" + b"]" * 10000 + b"a" * 9999 + b"."
files["deep-tuple.pkl"] = b"\x80\x02)" + b"\x85" * 10000 + b"."
files["deep-dict.pkl"] = b"\x80\x02" + (b"}" + text("model")) * 2000 + b"N" + b"s" * 2000 + b"."
files["marks.pkl"] = b"\x80\x02" + b"(" * 10000 + b"."
# Exponential: each value holds the one before it ten times.
bomb = b"]q\x00" + b"".join(b"]q" + bytes([i]) + b"(" + b"h" + (bytes([i - 1]) + b"h") * 9 + bytes([i - 1]) + b"e" for i in range(1, 40))
files["bomb-list.pkl"] = b"\x80\x02" + bomb + b"."
bomb = b"}q\x00" + b"".join(b"}q" + bytes([i]) + b"(" + b"".join(text(str(k)) + b"h" + bytes([i - 1]) for k in range(10)) + b"u" for i in range(1, 40))
files["bomb-dict.pkl"] = b"\x80\x02" + bomb + b"."
bomb = tensor() + b"q\x000" + b"".join(b"}q" + bytes([i]) + b"(" + b"".join(text(str(k)) + b"h" + bytes([i - 1]) for k in range(10)) + b"u0" for i in range(1, 40))
files["bomb-tensors.pt"] = archive(b"\x80\x02" + bomb + b"}" + text("model") + b"h\x27s.")
optimizer = b"}(" + text("state") + b"h\x27" + text("param_groups") + b"]u"
files["bomb-optimizer.pt"] = archive(b"\x80\x02" + bomb + b"}(" + text("optimizer") + optimizer + text("model") + b"}" + text("w") + b"h\x00su.")


def modules(levels, inner):
    out = inner
    for i in range(levels):
        out = out + b"q" + bytes([i]) + b"0"
        branches = b"".join(text(str(k)) + b"h" + bytes([i]) for k in range(10))
        out += b"cm\nNet\n)\x81}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}(" + branches + b"uub"
    return out


leaf = b"cm\nNet\n)\x81}(" + text("_parameters") + b"}" + text("w") + tensor() + b"s" + text("_buffers") + b"}" + text("_modules") + b"}ub"
files["bomb-module.pt"] = archive(b"\x80\x02" + modules(30, leaf) + b".")
# Zips.
good = archive(state(w=tensor()))
files["bomb-inflate.pt"] = archive(b"\x80\x02" + b"]" * 20_000_000 + b".", method=zipfile.ZIP_DEFLATED)
zeros = archive(state(w=tensor(storage(n=10**6), shape=(10**6,))), storages=(("0", bytes(4 * 10**6)),), method=zipfile.ZIP_DEFLATED)
files["inflate-lie.pt"] = patch_directory(zeros, "a/data/0", 24, 0xFFFFFFF0)
files["size-lie.pt"] = patch_directory(patch_directory(good, "a/data/0", 24, 0x7FFFFFFF), "a/data/0", 20, 0x7FFFFFFF)
files["offset-lie.pt"] = patch_directory(good, "a/data/0", 42, 0x7FFFFFFF)
two = archive(state(w=tensor(), v=tensor(storage("1"))), storages=(("0", data), ("1", data)))
at = zipfile.ZipFile(io.BytesIO(two)).getinfo("a/data/0").header_offset
files["overlap.pt"] = patch_directory(two, "a/data/1", 42, at)
files["twice.pt"] = archive(state(w=tensor()), more=(("a/data/0", data),))
files["two-pickles.pt"] = archive(state(w=tensor()), more=(("b/data.pkl", state(w=tensor())),))
files["encrypted.pt"] = patch_directory(good, "a/data.pkl", 8, 1, "<H")
files["byteorder.pt"] = archive(state(w=tensor()), order="middle")
files["checksum.pt"] = good.replace(data, data[:-1] + b"\x41")
files["cut.pt"] = good[:-30]
# Tars.


def tarball(**members):
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w:", format=tarfile.USTAR_FORMAT) as tar:
        for name, b in members.items():
            m = tarfile.TarInfo(name)
            m.size = len(b)
            tar.addfile(m, io.BytesIO(b))
    return buf.getvalue()[:4096]


one = b"\x80\x02K\x01."
head = b"\x80\x02" + tup(b"K\x01", text("cpu"), b"ctorch\nFloatStorage\n") + b"."
body = one + head + struct.pack("<q", 4) + data + b"\x80\x02]."
kind = b"\x80\x02" + tup(b"K\x05", b"K\x01", b"ctorch\nFloatTensor\n") + b"."
meta = struct.pack("<ii4q", 1, 0, 4, 1, 0, 0)[:-8]
main = b"\x80\x02}" + text("w") + text("5") + b"Qs."
files["storages.tar.pt"] = tarball(pickle=main, tensors=one + kind + meta, storages=b"\x80\x02\x8a\x08" + struct.pack("<q", BIG) + b"." + head + struct.pack("<q", BIG))
files["rank.tar.pt"] = tarball(pickle=main, tensors=one + kind + struct.pack("<ii", 2**31 - 1, 0), storages=body)
files["beyond.tar.pt"] = tarball(pickle=main, tensors=one + kind + struct.pack("<ii3q", 1, 0, 5, 1, 0), storages=body)
files["views.tar.pt"] = tarball(pickle=main, tensors=one + kind + meta, storages=body[:-1] + b"(" + tup(b"K\x01", b"K\x01", b"K\x00", number(BIG)) + b"e.")
files["id.tar.pt"] = tarball(pickle=main.replace(b"5", b"6"), tensors=one + kind + meta, storages=body)
files["storage.tar.pt"] = tarball(pickle=state(w=tensor()), tensors=one + kind + meta, storages=body)

for name, b in files.items():
    (here / name).write_bytes(b)
print(len(files), "files,", sum(map(len, files.values())), "bytes")
