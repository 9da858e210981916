"""What a finished run leaves to look at: report, TensorBoard, figures."""
