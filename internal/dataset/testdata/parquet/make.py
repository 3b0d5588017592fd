"""Makes the Parquet files of this folder, in the forms of Hugging Face's datasets and of pandas.

Run as python make.py in this folder (pyarrow 26, Pillow 13.0). images/data: 6 pictures of 9 x 8 pixels in
two shards, and 2 for validation, picture i of colour (20 i, 255 - 20 i, i) and class i % 3.
"""

import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def write(name, table, **options):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    pq.write_table(table, name, write_statistics=False, **options)


def png(i):
    b = io.BytesIO()
    Image.new("RGB", (9, 8), (20 * i, 255 - 20 * i, i)).save(b, "PNG")
    return b.getvalue()


features = {"image": {"_type": "Image"}, "label": {"names": ["ant", "bee", "cat"], "_type": "ClassLabel"}}
meta = {"huggingface": json.dumps({"info": {"features": features}})}


def pictures(rows):
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in rows]
    return pa.table({"image": images, "label": pa.array([i % 3 for i in rows], pa.int64())}).replace_schema_metadata(meta)


write("images/data/train-00000-of-00002.parquet", pictures(range(4)), row_group_size=3)
write("images/data/train-00001-of-00002.parquet", pictures(range(4, 6)))
write("images/data/validation-00000-of-00001.parquet", pictures(range(6, 8)))

rows = range(10)
write(
    "table.parquet",
    pa.table(
        {
            "a": pa.array([i / 2 for i in rows]),
            "word": pa.array(["cat" if i % 3 else "ant" for i in rows]),
            "b": pa.array([i for i in rows], pa.int32()),
            "c": pa.array([i % 2 == 0 for i in rows]),
            "quantity": pa.array([i * 0.25 for i in rows]),
            "day": pa.array(list(rows), pa.date32()),
            "hole": pa.array([None if i == 7 else i for i in rows], pa.int64()),
        }
    ),
    row_group_size=4,
)
write(
    "lists.parquet",
    pa.table(
        {
            "x": pa.array([[i, i + 0.5, -i] for i in rows], pa.list_(pa.float32())),
            "pixels": pa.array([[[i, 2 * i], [3 * i, 255 - i]] for i in rows], pa.list_(pa.list_(pa.uint8()))),
            "tokens": pa.array([[i, i + 1] for i in rows], pa.list_(pa.int32())),
            "ragged": pa.array([[1.0] * (3 if i == 8 else 2) for i in rows]),
            "y": pa.array([i % 4 for i in rows], pa.int8()),
        }
    ),
    row_group_size=6,
)
write("text.parquet", pa.table({"text": ["one", "two"], "label": [0, 1]}))
# A table of pandas whose index is not 0, 1, 2, …: it is written as a column.
index = pa.table({"a": pa.array([0.5, 1.5]), "b": pa.array([2.5, 3.5]), "label": pa.array([1, 0]), "__index_level_0__": pa.array([7, 3])})
write("index.parquet", index)
