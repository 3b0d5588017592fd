"""Makes the Parquet files of this folder: one table in the forms that writers give it.

Run as python make.py in this folder (pyarrow 26). Row i of 300 holds what parquet_test.go says.
"""

import pyarrow as pa
import pyarrow.parquet as pq

n = 300
rows = range(n)
table = pa.table(
    {
        "int": pa.array([7 * i - 1000 for i in rows], pa.int64()),
        "small": pa.array([i % 256 for i in rows], pa.uint8()),
        "float": pa.array([i / 3 for i in rows], pa.float32()),
        "double": pa.array([i / 7 for i in rows], pa.float64()),
        "bool": pa.array([i % 3 == 0 for i in rows]),
        "text": pa.array([f"row {i % 11}" for i in rows]),
        "null": pa.array([None if i % 5 == 0 else i for i in rows], pa.int32()),
        "list": pa.array([[i, i + 1, i + 2] if i % 4 else [] for i in rows], pa.list_(pa.int16())),
        "image": pa.array([{"bytes": bytes([i % 256] * (i % 7)), "path": f"{i}.png"} for i in rows]),
        "half": pa.array([i / 8 for i in rows], pa.float16()),
        "nested": pa.array([[[i, i + 0.5], [i + 1, i + 1.5]] for i in rows], pa.list_(pa.list_(pa.float64()))),
    }
)
for name, options in {
    "snappy": {},
    "none": {"compression": "none", "use_dictionary": False},
    "zstd": {"compression": "zstd", "data_page_version": "2.0"},
    "gzip": {"compression": "gzip", "row_group_size": 70},
    "pages": {"compression": "none", "data_page_size": 64, "write_batch_size": 8, "data_page_version": "2.0"},
    "runs": {"compression": "none", "column_encoding": {"bool": "RLE"}, "use_dictionary": ["text"], "data_page_version": "2.0"},
    "brotli": {"compression": "brotli"},
    "delta": {
        "use_dictionary": False,
        "column_encoding": {
            "int": "DELTA_BINARY_PACKED",
            "null": "DELTA_BINARY_PACKED",
            "text": "DELTA_BYTE_ARRAY",
            "image.bytes": "DELTA_LENGTH_BYTE_ARRAY",
            "float": "BYTE_STREAM_SPLIT",
            "double": "BYTE_STREAM_SPLIT",
            "half": "BYTE_STREAM_SPLIT",
        },
    },
}.items():
    t = table.select(["int"]) if name == "brotli" else table
    pq.write_table(t, name + ".parquet", store_schema=False, write_statistics=False, **options)
