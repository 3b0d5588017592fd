"""ONNX's own tests of single operators as files, which node_test.go runs: python node_tests.py FOLDER

Writes FOLDER/NAME/model.onnx and test_data_set_K/{input,output}_I.pb, as older wheels of onnx hold them; newer ones have only what makes
them. Values that are no tensors are left out: such a test is not run."""
import os, sys
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

np.random.seed(0)
for case in collect_testcases(None):
    if case.kind != "node" or case.model is None:
        continue
    folder = os.path.join(sys.argv[1], case.name)
    os.makedirs(folder)
    with open(os.path.join(folder, "model.onnx"), "wb") as f:
        f.write(case.model.SerializeToString())
    for k, sides in enumerate(case.data_sets):
        os.makedirs(os.path.join(folder, f"test_data_set_{k}"))
        for side, values, infos in zip(("input", "output"), sides, (case.model.graph.input, case.model.graph.output)):
            for i, (value, info) in enumerate(zip(values, infos)):
                if not info.type.HasField("tensor_type"):
                    continue
                if not isinstance(value, onnx.TensorProto):
                    value = numpy_helper.from_array(np.asarray(value), info.name)
                with open(os.path.join(folder, f"test_data_set_{k}", f"{side}_{i}.pb"), "wb") as f:
                    f.write(value.SerializeToString())
