"""Models made fit for accelerators: each part reads ONNX files and writes ONNX files."""
