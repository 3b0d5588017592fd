"""Makes the pictures of this folder and pillow.npz: what Pillow and torchvision make of them.

Run as python make.py in this folder (numpy, Pillow 13.0, torchvision 0.29). Keys of pillow.npz:
NAME/rgb [H, W, 3] and NAME/l [H, W] are convert('RGB') and, after that, convert('L'); rgb.png/R-CxD
and grey.png/R-CxD are Resize(R) and CenterCrop((C, D)) of rgb.png and grey.png, 0 where one is left out.
"""

import struct
import zlib

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

rng = np.random.default_rng(0)


def scene(h, w, channels=3):
    """Smooth colours, edges and some noise."""
    y, x = np.mgrid[:h, :w]
    planes = [127 + 100 * np.sin((x * (c + 1) + 2 * y) / 9 + c) for c in range(channels)]
    a = np.stack(planes, -1) + rng.normal(0, 8, (h, w, channels))
    a[h // 3 : h // 2, w // 4 : w // 2] = [250, 10, 30, 128][:channels]
    return np.clip(a, 0, 255).astype(np.uint8)


def png(name, w, h, depth, color, rows, extra=b""):
    """A PNG of a form that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + r for r in rows))
    with open(name, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b""))


rgb = Image.fromarray(scene(30, 40))
odd = Image.fromarray(scene(23, 37))
rgba = Image.fromarray(scene(12, 15, 4), "RGBA")
small = Image.fromarray(scene(12, 15))
grey = small.convert("L")
palette = small.quantize(16)

rgb.save("rgb.png")
rgb.convert("L").save("grey.png")
rgba.save("rgba.png")
grey.convert("LA").save("grey-alpha.png")
palette.save("palette.png")
palette.save("palette-clear.png", transparency=bytes(range(0, 256, 16)))
small.convert("1").save("bits1.png")
small.save("rgb-clear.png", transparency=small.getpixel((4, 3)))
deep = rng.integers(0, 65536, (9, 11, 3)).astype(">u2")
png("rgb16.png", 11, 9, 16, 2, [r.tobytes() for r in deep])
png("grey16.png", 11, 9, 16, 0, [r[:, 0].tobytes() for r in deep])
png("grey2.png", 12, 9, 2, 0, [rng.bytes(3) for _ in range(9)])
small.save("rgb.bmp")
rgba.save("rgba.bmp")
grey.save("grey.bmp")
palette.save("palette.bmp")
small.convert("1").save("bits1.bmp")
palette.save("palette.gif")
palette.save("clear.gif", transparency=3)
palette.save("frames.gif", save_all=True, append_images=[palette.rotate(180)])
rgb.save("lossy.webp", quality=80)
odd.save("odd.webp", quality=50)
odd.save("lossless.webp", lossless=True)
Image.fromarray(scene(20, 26, 4), "RGBA").save("alpha.webp", quality=80)
rgb.save("444.jpg", quality=90, subsampling="4:4:4")
rgb.save("422.jpg", quality=90, subsampling="4:2:2")
rgb.save("420.jpg", quality=90, subsampling="4:2:0")
odd.save("odd.jpg", quality=75, subsampling="4:2:0")
odd.save("progressive.jpg", quality=75, progressive=True)
rgb.convert("L").save("grey.jpg", quality=90)
Image.fromarray(scene(16, 16, 4), "CMYK").save("cmyk.jpg", quality=95)

out = {}
for name in """rgb.png grey.png rgba.png grey-alpha.png palette.png palette-clear.png bits1.png rgb-clear.png rgb16.png grey16.png
        grey2.png rgb.bmp rgba.bmp grey.bmp palette.bmp bits1.bmp palette.gif clear.gif frames.gif lossy.webp odd.webp lossless.webp
        alpha.webp 444.jpg 422.jpg 420.jpg odd.jpg progressive.jpg grey.jpg cmyk.jpg""".split():
    m = Image.open(name).convert("RGB")
    out[name + "/rgb"] = np.asarray(m)
    out[name + "/l"] = np.asarray(m.convert("L"))
# Pillow cuts a grey of 16 bits off at 255; the upper 8 are what it takes of a colour.
out["grey16.png/l"] = (deep[:, :, 0] >> 8).astype(np.uint8)
out["grey16.png/rgb"] = np.repeat(out["grey16.png/l"][..., None], 3, -1)
for name, mode in ("rgb.png", "RGB"), ("grey.png", "L"):
    for resize, h, w in (16, 14, 14), (37, 32, 32), (64, 0, 0), (9, 9, 9), (0, 21, 21), (0, 29, 33), (0, 35, 48), (0, 33, 21), (7, 5, 12), (1, 0, 0):
        m = Image.open(name).convert(mode)
        if resize:
            m = Resize(resize)(m)
        if h:
            m = CenterCrop((h, w))(m)
        out[f"{name}/{resize}-{h}x{w}"] = np.asarray(m)
np.savez_compressed("pillow.npz", **out)
