"""Outputs of networks by ONNX Runtime, which network_test.go holds this package's against: python expect.py [FILE.onnx ...]

Takes the files in onnx/ and those named, and writes expected.json: of each the shape of the inputs, tokens where it takes such
(images are a fixed pattern of numbers from 0 to 1), and the first 600 outputs. Made with onnxruntime 1.32.0 from this folder's files,
reference/onnx/*.onnx and data/mnist-12.onnx. The networks in onnx/ are from that reference folder, which says how each was made and
exported; mnist-12.onnx is from the ONNX model zoo (validated/vision/classification/mnist, Apache-2.0)."""
import glob, json, os, sys
import numpy as np, onnxruntime

HERE = os.path.dirname(os.path.abspath(__file__))
out = {}
for f in glob.glob(os.path.join(HERE, "onnx", "*.onnx")) + sys.argv[1:]:
    session = onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"])
    i = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 3 for d in i.shape]
    tokens = "int64" in i.type
    if tokens:
        x = np.random.default_rng(1).integers(0, 65, shape)
    else:
        x = ((np.arange(np.prod(shape), dtype=np.int64) * 7919) % 251 / 250).astype(np.float32).reshape(shape)
    y = session.run(None, {i.name: x})[0]
    out[os.path.basename(f)] = {"shape": shape, "tokens": x.ravel().tolist() if tokens else None, "outputs": list(y.shape),
                                "values": [round(float(v), 6) for v in y.ravel()[:600]]}
json.dump(dict(sorted(out.items())), open(os.path.join(HERE, "expected.json"), "w"))
