"""Finished runs, replayed into TensorBoard, MLflow and Weights & Biases, whose pages show them beside other runs."""
