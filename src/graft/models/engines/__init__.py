"""What runs a network on the CPU: PyTorch itself, OpenVINO, ONNX Runtime."""
