"""A finished run as an ONNX model with what encodes rows for it, for services without widedeep, torch and Polars."""
